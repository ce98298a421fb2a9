"""`banyan-hp doctor`: looks at everything that delivery depends on, and writes no record anywhere.

arguments.py      the command line
findings.py       what a check found, and how it is shown
configuration.py  settings, and where each came from
network.py        proxy, name, connection, TLS, key, batches, clock
disk.py           the spool's directory, and what waits in it
installation.py   Python, packages, orjson
"""
