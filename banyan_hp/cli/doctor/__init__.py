"""`banyan-hp doctor`: looks at everything that delivery depends on, and writes no record anywhere.

Each check is a `Finding`; it goes on where one fails, as far as that makes sense.

    arguments.py      the command line
    examination.py    all checks, in order
    findings.py       what a check found, and how it is shown
    configuration.py  settings, and where each came from
    way.py            proxy, name, connection, TLS
    backend.py        key, batches, clock
    disk.py           the spool's directory, and what waits in it
    installation.py   Python, packages, orjson
"""
