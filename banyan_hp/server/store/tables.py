"""The tables, as SQLAlchemy describes them to queries. `migrations/` makes them; nothing else does.

Times are microseconds since 1970, so that both databases compare and divide them alike. Bodies are JSON text
in ASCII: PostgreSQL takes no NUL and no lone surrogate in a text, and JSON's escapes hold both.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

metadata = MetaData()
Number = BigInteger().with_variant(Integer, "sqlite")  # only an INTEGER is SQLite's row number

calls = Table(
    "calls",
    metadata,
    Column("seq", Number, primary_key=True),
    # The transaction that stored it: sequence numbers are not the order of commits. Always 0 in SQLite.
    Column("xact", BigInteger, nullable=False),
    Column("project", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("id", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),  # of the body: a repeat has the same one
    Column("event_time", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("session", Text),
    Column("user", Text),
    Column("prompt_id", Text),
    Column("prompt_name", Text),
    Column("version", Text),
    Column("branch", Text),
    Column("model", Text),
    Column("latency_ms", Float),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cost", Float),
    Column("error", Text),
    Column("experiment_id", Text),
    Column("experiment_version_id", Text),
    Column("sticky_key", Text),
    Column("sticky_value", Text),
    Column("deliveries", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),  # of the body
    Column("output_length", Integer),  # in characters; None: it is no text
)

# Apart from the narrow rows, which lists and filters read. `seq` is that of the call.
bodies = Table(
    "call_bodies",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("day", Date, nullable=False),
    Column("body", Text, nullable=False),
)

# What is stored and can't be found by text yet.
to_index = Table(
    "calls_to_index",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("day", Date, nullable=False),
)

# Spans of other senders, by the day on which they began. What they say is in `span_bodies`.
spans = Table(
    "spans",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("project", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("span_id", Text, nullable=False),
    Column("parent_id", Text),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger, nullable=False),
    Column("counted_at", BigInteger),  # the start of a span whose tokens may count; None: of any other
    Column("received_at", BigInteger, nullable=False),
    Column("status", Integer, nullable=False),
    Column("model", Text),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("response_id", Text),
    Column("session", Text),
    Column("user", Text),
    Column("call_id", Text),  # of the call that it tells of; made with the call
    Column("digest", LargeBinary, nullable=False),
    Column("bytes", Integer, nullable=False),
)

span_bodies = Table(
    "span_bodies",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("day", Date, nullable=False),
    Column("body", Text, nullable=False),
)

# Log events that belong to a span, which may come before it.
span_events = Table(
    "span_events",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("project", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("span_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("body", Text, nullable=False),
)

# Traces to which something came that calls are not made of yet; a row for each arrival.
to_derive = Table(
    "spans_to_derive",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("project", Text, nullable=False),
    Column("trace_id", Text, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("sha256", LargeBinary, nullable=False, unique=True),
    Column("hint", Text, nullable=False),  # its last characters, for people
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

prompts = Table(
    "prompts",
    metadata,
    Column("project", Text, primary_key=True),
    Column("prompt_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("branch", Text, nullable=False),
    Column("version", Text),  # the released one that is served without a label; None: none is released yet
    Column("enable_logging", Boolean, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

prompt_versions = Table(
    "prompt_versions",
    metadata,
    Column("project", Text, primary_key=True),
    Column("prompt_id", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("content", Text, nullable=False),  # JSON: a text, or a list of messages
    Column("config", Text),  # JSON: an object
    Column("change_message", Text),
    Column("author", Text, nullable=False),  # the key that posted it
    Column("created_at", BigInteger, nullable=False),
    Column("released_at", BigInteger),
)

prompt_labels = Table(
    "prompt_labels",
    metadata,
    Column("project", Text, primary_key=True),
    Column("prompt_id", Text, primary_key=True),
    Column("label", Text, primary_key=True),
    Column("version", Text, nullable=False),
)

experiments = Table(
    "experiments",
    metadata,
    Column("project", Text, primary_key=True),
    Column("experiment_id", Text, primary_key=True),
    Column("prompt_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("sticky_type", Text, nullable=False),
    Column("salt", Text, nullable=False),
    Column("allocation", Integer, nullable=False),
    Column("control", Text),  # an experiment_version_id
    Column("primary_metric", Text),
    Column("versions", Text, nullable=False),  # JSON: a list
    Column("created_at", BigInteger, nullable=False),
    Column("analysis", Text, nullable=False, server_default="{}"),  # JSON: an object
    Column("removed_until", BigInteger),  # calls of it up to this event time were removed for their age
)

# Entries of seed files that were applied.
seeded = Table(
    "seeded",
    metadata,
    Column("entry", Text, primary_key=True),
    Column("digest", Text, nullable=False),
)

# Who changed what and when; for experiments with the whole configuration.
audit = Table(
    "audit",
    metadata,
    Column("seq", Number, primary_key=True),
    Column("project", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),  # prompt:<id>, experiment:<id>, key:<id>
    Column("detail", Text, nullable=False),  # JSON: an object
)

# Browsers that are logged in, and links that log in once: secrets as their SHA-256 (see `logins`).
browser_sessions = Table(
    "browser_sessions",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("key_sha256", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("name", Text),  # of the person, if it was given
)

login_links = Table(
    "login_links",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("key_sha256", LargeBinary, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)
