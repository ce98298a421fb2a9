"""The local backend: the Banyan and HuggingPlace HTTP APIs over one SQLite file.

It stands in for the hosted service on a laptop and in tests. It shares no code with the client, since a
mistake in an encoder that both used would agree with itself; only the routing of `experiments.py`.

`app` puts the routes together (`*_routes`, over `requests`, `responses`, `auth`, `hosts`, `intake`,
`validation`); `database`, `records`, `prompts` and `experiments` (`allocation`, `moves`) keep the data;
`serving`, `seed` and `starting` run it.
"""
