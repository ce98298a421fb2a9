"""The local backend: the Banyan and HuggingPlace HTTP APIs over one SQLite file.

It stands in for the hosted service on a laptop and in tests, so it shares no code with the client:
a mistake in an encoder that both used would agree with itself.
"""
