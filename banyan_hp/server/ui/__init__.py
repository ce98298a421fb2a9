"""The pages: what has arrived, for people. One router for each subject; templates and assets beside them."""
