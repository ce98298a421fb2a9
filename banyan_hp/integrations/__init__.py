"""Other people's frameworks. Each module imports its own: import the module only where you use it."""
