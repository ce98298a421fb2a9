"""Prompts: fetched once, kept fresh in the background, and there when the backend is not.

`client` decides which prompt a caller gets: a cached or fetched one, an experiment's version of it, or the
fallback. `cache` gives it entries, fresh or old: from memory (`memory` has the entries, `state` the lock), by
`fetching`, or from disk (`store`). `queries` are what can be fetched: the requests, and how responses
are read (their JSON: `reading`). `data` is the prompt that callers get. `counters` are their part of
`get_stats()`.
"""
