"""Other people's frameworks. Each module imports its framework, so import the module only where you use it."""
