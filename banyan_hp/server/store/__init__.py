"""What the backend keeps: the only room that knows SQL.

`calls.py` says what any store of calls has to offer; `sql_calls.py` offers it over SQLite and PostgreSQL.
What people edit (projects, keys, prompts, experiments) has one file each, over the same `Database`.
"""
