"""`banyan-hp prompts`: the backend's prompts as files, so that they can live in git and be reviewed.

All of it over the HTTP API. What the backend says is checked before it becomes a file or a line.

    arguments.py  the command line
    backend.py    prompts and versions, as the backend has them
    files.py      a version as a text: Markdown with a small header
    folder.py     the directory: the files' names, no links, whole writes
    compare.py    a file and the backend: which of the two has changed
    looking.py    ls, show, history, release
    syncing.py    pull, push, diff
"""
