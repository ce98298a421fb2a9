"""The backend: the Banyan and HuggingPlace HTTP APIs over SQLite or PostgreSQL.

It stands in for the hosted service on a laptop and in tests, and for a team that runs its own. It shares no
code with the client, since a mistake in an encoder that both used would agree with itself; only the routing
of `experiments.py`, and the place of a laptop's key, `local_keys.py`.

`app` puts the rooms together: `api/` has the routes, one file a resource, and `store/` is the only place that
knows SQL. `serving`, `opening` (keys), `seed` and `starting` run it; `housekeeping` is what it does besides.
"""
