"""Calls in ClickHouse: the adapter of the store's protocols for more calls than one PostgreSQL takes.

What is edited (projects, keys, prompts, experiments, the audit) stays in the database beside it.
"""
