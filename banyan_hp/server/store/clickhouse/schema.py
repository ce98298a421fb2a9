"""The tables, as statements that an operator can read.

A call is known by its project, its day and its id, which `call_ids` has in that order. Rows that two servers
inserted at the same moment are folded when parts are merged, and by `FINAL` before that: a delivery that is
repeated has the same event time. `seq` is a Snowflake ID: it grows with time, so it is the order of arrival.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import ClickHouse

# A page reads the bodies of calls that lie far apart, of each the whole granule: so granules are small.
_TEXT = "LowCardinality(Nullable(String))"

CALLS = f"""
CREATE TABLE IF NOT EXISTS calls (
    project LowCardinality(String),
    day Date32,
    id String,
    digest FixedString(16),
    event_time Int64,
    received_at Int64,
    source LowCardinality(String),
    session Nullable(String),
    user Nullable(String),
    prompt_id {_TEXT},
    prompt_name {_TEXT},
    version {_TEXT},
    branch {_TEXT},
    model {_TEXT},
    latency_ms Nullable(Float64),
    input_tokens Nullable(Int64),
    output_tokens Nullable(Int64),
    cost Nullable(Float64),
    error Nullable(String),
    experiment_id {_TEXT},
    experiment_version_id {_TEXT},
    sticky_key {_TEXT},
    sticky_value Nullable(String),
    bytes UInt32,
    output_length Nullable(UInt32),
    latency_bucket Nullable(Int16),
    counted_input Int64,
    counted_output Int64,
    nanos Nullable(Int64),
    body String CODEC(ZSTD(3)),
    words String CODEC(ZSTD(3)),
    score_name {_TEXT},
    score_kind {_TEXT},
    score_number Nullable(Float64),
    score_text Nullable(String),
    score_record_id Nullable(String),
    score_session Nullable(String),
    score_sticky_key {_TEXT},
    score_sticky_value Nullable(String),
    score_experiment_id {_TEXT},
    score_experiment_version_id {_TEXT},
    score_rater Nullable(String),
    score_comment Nullable(String),
    seq UInt64 DEFAULT generateSnowflakeID(),
    precedence UInt64 MATERIALIZED bitNot(seq),
    INDEX ids id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX sessions session TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX users user TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX sticky sticky_value TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX scored_records score_record_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX scored_sessions score_session TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX scored_users score_sticky_value TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX arrivals seq TYPE minmax GRANULARITY 1,
    INDEX found_by words TYPE text(tokenizer = 'splitByNonAlpha')
)
ENGINE = ReplacingMergeTree(precedence)
PARTITION BY toYYYYMM(toDate32(fromUnixTimestamp64Micro(event_time)))
ORDER BY (project, event_time, day, id)
SETTINGS index_granularity = 512
"""

REPEATS = """
CREATE TABLE IF NOT EXISTS call_repeats (
    project LowCardinality(String),
    day Date32,
    id String,
    times UInt64
)
ENGINE = SummingMergeTree(times)
ORDER BY (project, day, id)
"""

# What intake looks into for repeats: ids are in no order, so it is narrow and has small granules.
IDS = """
CREATE TABLE IF NOT EXISTS call_ids (
    project LowCardinality(String),
    day Date32,
    id String,
    event_time Int64,
    digest FixedString(16),
    source LowCardinality(String),
    seq UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (project, day, id)
SETTINGS index_granularity = 256
"""

IDS_OF = """
CREATE MATERIALIZED VIEW IF NOT EXISTS call_ids_of TO call_ids AS
SELECT project, day, id, event_time, digest, source, seq FROM calls
"""

# The calls of experiments' users, by user: results are computed of them when they are asked for.
EXPERIMENT_CALLS = f"""
CREATE TABLE IF NOT EXISTS experiment_calls (
    project LowCardinality(String),
    experiment_id String,
    sticky_value String,
    event_time Int64,
    day Date32,
    id String,
    sticky_key {_TEXT},
    version LowCardinality(String),
    session Nullable(String),
    latency_ms Nullable(Float64),
    input_tokens Nullable(Int64),
    output_tokens Nullable(Int64),
    cost Nullable(Float64),
    failed UInt8,
    output_length Nullable(UInt32),
    INDEX ids id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
ORDER BY (project, experiment_id, sticky_value, event_time, day, id)
"""

EXPERIMENT_CALLS_OF = """
CREATE MATERIALIZED VIEW IF NOT EXISTS experiment_calls_of TO experiment_calls AS
SELECT project, assumeNotNull(experiment_id) AS experiment_id, assumeNotNull(sticky_value) AS sticky_value,
    event_time, day, id, sticky_key, assumeNotNull(experiment_version_id) AS version, session,
    latency_ms, input_tokens, output_tokens, cost, error IS NOT NULL AS failed, output_length
FROM calls
WHERE experiment_id IS NOT NULL AND sticky_value IS NOT NULL AND experiment_version_id IS NOT NULL
"""

HOURS = """
CREATE TABLE IF NOT EXISTS call_hours (
    project LowCardinality(String),
    kind UInt8,
    start Int64,
    name String,
    calls Int64,
    errors Int64,
    input_tokens Int64,
    output_tokens Int64,
    priced Int64,
    nanos Int64
)
ENGINE = SummingMergeTree
ORDER BY (project, kind, start, name)
"""

LATENCIES = """
CREATE TABLE IF NOT EXISTS call_latencies (
    project LowCardinality(String),
    kind UInt8,
    start Int64,
    name String,
    bucket Int16,
    calls Int64
)
ENGINE = SummingMergeTree
ORDER BY (project, kind, start, name, bucket)
"""

HOUR_SUMS = """
SELECT c.project AS project, kind, c.event_time - positiveModulo(c.event_time, 3600000000) AS start, name,
    {sign}toInt64(count()) AS calls, {sign}toInt64(count(c.error)) AS errors,
    {sign}sum(c.counted_input) AS input_tokens, {sign}sum(c.counted_output) AS output_tokens,
    {sign}toInt64(count(c.nanos)) AS priced, {sign}sum(coalesce(c.nanos, 0)) AS nanos
FROM {calls}
ARRAY JOIN [0, 1, 2] AS kind, ['', ifNull(c.prompt_name, ''), ifNull(c.model, '')] AS name
WHERE c.source != 'score' {chosen}
GROUP BY project, kind, start, name
"""

LATENCY_SUMS = """
SELECT c.project AS project, kind, c.event_time - positiveModulo(c.event_time, 3600000000) AS start, name,
    assumeNotNull(c.latency_bucket) AS bucket, {sign}toInt64(count()) AS calls
FROM {calls}
ARRAY JOIN [0, 1, 2] AS kind, ['', ifNull(c.prompt_name, ''), ifNull(c.model, '')] AS name
WHERE c.source != 'score' AND c.latency_bucket IS NOT NULL {chosen}
GROUP BY project, kind, start, name, bucket
"""
_COUNTED_IN = {"sign": "", "calls": "calls AS c", "chosen": ""}
VIEWS = {
    "call_hours_of": "call_hours AS " + HOUR_SUMS.format(**_COUNTED_IN),
    "call_latencies_of": "call_latencies AS " + LATENCY_SUMS.format(**_COUNTED_IN),
}

# Spans, by trace: of two tellings of one span the one that ends later counts, which `version` begins with.
# By the month of their arrival, so that no sender's clock spreads an insert over many partitions.
SPANS = f"""
CREATE TABLE IF NOT EXISTS spans (
    project LowCardinality(String),
    trace_id String,
    span_id String,
    version UInt128,
    parent_id Nullable(String),
    name String,
    role LowCardinality(String),
    scope LowCardinality(String),
    start_time Int64,
    end_time Int64,
    counted_at Nullable(Int64),
    received_at Int64,
    status Int32,
    model {_TEXT},
    input_tokens Nullable(Int64),
    output_tokens Nullable(Int64),
    response_id Nullable(String),
    session Nullable(String),
    user Nullable(String),
    bytes UInt32,
    body String CODEC(ZSTD(3)),
    seq UInt64 DEFAULT generateSnowflakeID(),
    INDEX sessions session TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX users user TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(toDate32(fromUnixTimestamp64Micro(received_at)))
ORDER BY (project, trace_id, span_id)
SETTINGS index_granularity = 512
"""

SPAN_EVENTS = """
CREATE TABLE IF NOT EXISTS span_events (
    project LowCardinality(String),
    trace_id String,
    span_id String,
    digest FixedString(16),
    name String,
    time Int64,
    received_at Int64,
    body String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(toDate32(fromUnixTimestamp64Micro(received_at)))
ORDER BY (project, trace_id, span_id, digest)
SETTINGS index_granularity = 512
"""

# The spans that may be calls, by time: where twins of a span are looked for.
SPAN_TIMES = """
CREATE TABLE IF NOT EXISTS span_times (
    project LowCardinality(String),
    start_time Int64,
    trace_id String,
    span_id String,
    version UInt128,
    scope LowCardinality(String),
    role LowCardinality(String),
    end_time Int64,
    input_tokens Nullable(Int64),
    output_tokens Nullable(Int64),
    response_id Nullable(String),
    received_at Int64,
    INDEX traces trace_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(toDate32(fromUnixTimestamp64Micro(received_at)))
ORDER BY (project, start_time, trace_id, span_id)
"""

SPAN_TIMES_OF = """
CREATE MATERIALIZED VIEW IF NOT EXISTS span_times_of TO span_times AS
SELECT project, start_time, trace_id, span_id, version, scope, role, end_time, input_tokens, output_tokens,
    response_id, received_at
FROM spans
WHERE counted_at IS NOT NULL
"""

# Which call a span tells of: the last row counts; NULL: of none any more.
SPAN_CALLS = """
CREATE TABLE IF NOT EXISTS span_calls (
    project LowCardinality(String),
    trace_id String,
    span_id String,
    call_id Nullable(String),
    start_time Int64,
    noted UInt64 DEFAULT generateSnowflakeID(),
    INDEX calls call_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(noted)
ORDER BY (project, trace_id, span_id)
SETTINGS index_granularity = 512
"""

# Traces to which something came: an arrival waits, until a second row with -1 takes it away.
SPANS_TO_DERIVE = """
CREATE TABLE IF NOT EXISTS spans_to_derive (
    project LowCardinality(String),
    trace_id String,
    number UInt64 DEFAULT generateSnowflakeID(),
    waiting Int32
)
ENGINE = SummingMergeTree(waiting)
ORDER BY (number, project, trace_id)
"""

STATEMENTS = (
    CALLS,
    REPEATS,
    IDS,
    IDS_OF,
    EXPERIMENT_CALLS,
    EXPERIMENT_CALLS_OF,
    HOURS,
    LATENCIES,
    *(f"CREATE MATERIALIZED VIEW IF NOT EXISTS {name} TO {text}" for name, text in VIEWS.items()),
    SPANS,
    SPAN_EVENTS,
    SPAN_TIMES,
    SPAN_TIMES_OF,
    SPAN_CALLS,
    SPANS_TO_DERIVE,
)


def make_tables(clickhouse: ClickHouse) -> None:
    """Make what is not there yet."""
    for statement in STATEMENTS:
        clickhouse.do(statement)
