"""The tables of sums by hour and day, as SQLAlchemy describes them to queries."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Date, Float, Integer, Table, Text

from .tables import Number, metadata

_KEY = (
    ("project", Text),
    ("kind", Integer),  # see `hours.Kind`
    ("span", Integer),  # seconds: an hour's or a day's
    ("start", BigInteger),
    ("name", Text),  # of a prompt or a model; "" where there is none
)

sums = Table(
    "call_sums",
    metadata,
    *(Column(name, kind, primary_key=True) for name, kind in _KEY),
    Column("calls", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("priced", BigInteger, nullable=False),  # calls with a cost
    # In billionths of a USD: whole numbers, whose sum is the same in any order.
    Column("cost", Float, nullable=False),
)

latencies = Table(
    "call_latencies",
    metadata,
    *(Column(name, kind, primary_key=True) for name, kind in _KEY),
    Column("bucket", Integer, primary_key=True),
    Column("calls", BigInteger, nullable=False),
)

# Calls that can be found by text, but are not in the sums: these are counted anew.
to_count = Table(
    "calls_to_count",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("day", Date, nullable=False),
)

# Days whose sums have to be made anew, by their calls; `UNDATED`: all of them.
to_recount = Table("days_to_recount", metadata, Column("day", Date, primary_key=True))
