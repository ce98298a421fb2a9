"""Django's commands: a module each."""
