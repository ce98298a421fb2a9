"""`banyan-hp spool`: look at the on-disk queue, send it, put records back, throw them away.

Works on directories, while applications run or not; what it sends goes through the engine.

    arguments.py    what can be said on the command line
    running.py      runs one, and turns failures into exit codes (outcome.py)
    places.py       which destinations are meant
    segments.py     path, ls, show, purge
    replay.py       replay, with progress.py
    quarantine.py   quarantine ls, show, requeue, purge
    words.py        tables, sizes, ages, questions
"""
