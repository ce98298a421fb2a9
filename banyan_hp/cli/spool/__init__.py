"""`banyan-hp spool`: look at the on-disk queue, send it, put records back, throw them away.

Works on directories, while applications run or not; what it sends goes through the engine.

    arguments.py    the command line; runs a command and turns failures into exit codes
    places.py       which destinations are meant
    segments.py     path, ls, show, purge
    replay.py       replay, and its progress
    quarantine.py   quarantine ls, show, requeue, purge
"""
