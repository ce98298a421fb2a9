"""What spans of any sender say about calls of models: pure functions, without a database and without HTTP.

A span's attributes become `facts.py: Facts`, whichever sender wrote them; `kinds.py` says which spans are
calls; `duplicates.py` which of them are one call, told by several; `calls.py` makes that call.
"""
