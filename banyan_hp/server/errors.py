"""The one exception that the command line shows: the backend can't start, and why."""


class StartError(Exception):
    """The backend can't start. The message is one line that names the file or address and the reason."""
