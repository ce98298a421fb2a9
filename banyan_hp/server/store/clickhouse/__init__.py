"""Calls and spans in ClickHouse: the adapter of the store's protocols for more than one PostgreSQL takes.

What is edited (projects, keys, prompts, experiments, the audit) stays in the database beside it.
"""
