"""The tables of scores, and of what experiments amount to for each user.

A score is a call of the source `score`, and has its row in `calls`, too; `seq` and `day` are that call's.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Date, Float, Table, Text

from .tables import Number, metadata

scores = Table(
    "scores",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("day", Date, nullable=False),
    Column("project", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),  # bool, number, category
    Column("number", Float),  # a bool is 0 or 1
    Column("text", Text),  # of a category
    Column("record_id", Text),
    Column("session", Text),
    Column("sticky_key", Text),
    Column("sticky_value", Text),
    Column("experiment_id", Text),
    Column("experiment_version_id", Text),
    Column("rater", Text),
    Column("comment", Text),
)

# Whom a score by record or session leads to, in each experiment; None: to several users.
owners = Table(
    "score_owners",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("day", Date, nullable=False),
    Column("project", Text, nullable=False),
    Column("experiment_id", Text, primary_key=True),
    Column("sticky_value", Text),
)

# Calls of users, and scores, that the sums don't know yet. The same one may be there several times. Without a
# number: something was removed, or users are to be computed anew, and are stale.
dirty = Table(
    "experiment_dirty",
    metadata,
    Column("mark", Number, primary_key=True),
    Column("seq", BigInteger),
    Column("day", Date),
)

FIRST_CALL = (
    *("first_latency", "first_input_tokens", "first_output_tokens", "first_cost", "first_error"),
    "first_output_length",
)
# For each user of an experiment the sums over the calls in the window after the first one. `…_of` is the
# number of calls that have such a value.
users = Table(
    "experiment_users",
    metadata,
    Column("project", Text, primary_key=True),
    Column("experiment_id", Text, primary_key=True),
    Column("sticky_value", Text, primary_key=True),
    Column("version", Text, nullable=False),  # of the first call
    Column("first_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),  # of the window
    Column("mixed", Boolean, nullable=False),  # there are calls of another version in the window
    Column("stale", Boolean, nullable=False),  # to be computed anew
    Column("calls", BigInteger, nullable=False),
    Column("latency", Float, nullable=False),
    Column("latency_of", BigInteger, nullable=False),
    Column("latency_p50", Float),
    Column("input_tokens", Float, nullable=False),
    Column("input_tokens_of", BigInteger, nullable=False),
    Column("output_tokens", Float, nullable=False),
    Column("output_tokens_of", BigInteger, nullable=False),
    Column("cost", Float, nullable=False),
    Column("cost_of", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("output_length", Float, nullable=False),
    Column("output_length_of", BigInteger, nullable=False),
    # Of the first call alone. None: it has no such value, or an earlier release made the row.
    *(Column(name, Float) for name in FIRST_CALL),
)

# For each user of an experiment who is in one version, and each name of scores: their sum and number. Of
# categories there is a row for each that occurred, and one without a category that has only the number.
values = Table(
    "experiment_values",
    metadata,
    Column("project", Text, primary_key=True),
    Column("experiment_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("category", Text, primary_key=True),
    Column("sticky_value", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("first_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("y", Float, nullable=False),
    Column("x", Float, nullable=False),
)
