"""The tables, as statements that an operator can read.

A call is known by its project, its day and its id, which `call_ids` has in that order. Rows that two servers
inserted at the same moment are folded when parts are merged, and by `FINAL` before that: a delivery that is
repeated has the same event time. `seq` is a Snowflake ID: it grows with time, so it is the order of arrival.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import ClickHouse

_TEXT = "LowCardinality(Nullable(String))"
# A page reads the bodies of calls that lie far apart, of each the whole granule: so granules are small.
# `content` is the body, a line end, and the body's words, which are read for phrases only: compressed
# together with the body, they take half of what they take in a column of their own.
_WORDS = "substring(content, position(content, '\\n') + 1)"

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
    content String CODEC(ZSTD(3)),
    body String ALIAS substring(content, 1, position(content, '\\n') - 1),
    words String ALIAS {_WORDS},
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
    INDEX sessions session TYPE text(tokenizer = 'array'),
    INDEX users user TYPE text(tokenizer = 'array'),
    INDEX arrivals seq TYPE minmax GRANULARITY 8,
    INDEX found_by {_WORDS} TYPE text(tokenizer = 'splitByNonAlpha')
)
ENGINE = ReplacingMergeTree(precedence)
PARTITION BY toYYYYMM(toDate32(fromUnixTimestamp64Micro(event_time)))
ORDER BY (project, event_time, day, id)
SETTINGS index_granularity = 64, index_granularity_bytes = 262144
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

# Scores are few among the calls, and read without them.
SCORES = f"""
CREATE TABLE IF NOT EXISTS call_scores (
    project LowCardinality(String),
    event_time Int64,
    day Date32,
    id String,
    seq UInt64,
    precedence UInt64,
    name {_TEXT},
    kind {_TEXT},
    number Nullable(Float64),
    text Nullable(String),
    record_id Nullable(String),
    session Nullable(String),
    sticky_key {_TEXT},
    sticky_value Nullable(String),
    experiment_id {_TEXT},
    experiment_version_id {_TEXT},
    rater Nullable(String),
    comment Nullable(String),
    INDEX records record_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX sessions session TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX users sticky_value TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(precedence)
ORDER BY (project, event_time, day, id)
SETTINGS index_granularity = 512
"""

SCORES_OF = """
CREATE MATERIALIZED VIEW IF NOT EXISTS call_scores_of TO call_scores AS
SELECT project, event_time, day, id, seq, bitNot(seq) AS precedence, score_name AS name, score_kind AS kind,
    score_number AS number, score_text AS text, score_record_id AS record_id, score_session AS session,
    score_sticky_key AS sticky_key, score_sticky_value AS sticky_value, score_experiment_id AS experiment_id,
    score_experiment_version_id AS experiment_version_id, score_rater AS rater, score_comment AS comment
FROM calls
WHERE source = 'score'
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
    width UInt8,
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
ORDER BY (project, kind, width, start, name)
"""

LATENCIES = """
CREATE TABLE IF NOT EXISTS call_latencies (
    project LowCardinality(String),
    kind UInt8,
    width UInt8,
    start Int64,
    name String,
    bucket Int16,
    calls Int64
)
ENGINE = SummingMergeTree
ORDER BY (project, kind, width, start, name, bucket)
"""

# Of all calls, of each prompt's, and of each model's; by hour (a width of 0), and by day (1).
KINDS = """[0, 1, 2, 0, 1, 2] AS kind, [0, 0, 0, 1, 1, 1] AS width,
    arrayConcat(['', ifNull(c.prompt_name, ''), ifNull(c.model, '')] AS names, names) AS name"""
HOUR_SUMS = """
SELECT c.project AS project, kind, width,
    c.event_time - positiveModulo(c.event_time, if(width = 0, 3600000000, 86400000000)) AS start, name,
    {sign}toInt64(count()) AS calls, {sign}toInt64(count(c.error)) AS errors,
    {sign}sum(c.counted_input) AS input_tokens, {sign}sum(c.counted_output) AS output_tokens,
    {sign}toInt64(count(c.nanos)) AS priced, {sign}sum(coalesce(c.nanos, 0)) AS nanos
FROM {calls}
ARRAY JOIN {kinds}
WHERE c.source != 'score' {chosen}
GROUP BY project, kind, width, start, name
"""

LATENCY_SUMS = """
SELECT c.project AS project, kind, width,
    c.event_time - positiveModulo(c.event_time, if(width = 0, 3600000000, 86400000000)) AS start, name,
    assumeNotNull(c.latency_bucket) AS bucket, {sign}toInt64(count()) AS calls
FROM {calls}
ARRAY JOIN {kinds}
WHERE c.source != 'score' AND c.latency_bucket IS NOT NULL {chosen}
GROUP BY project, kind, width, start, name, bucket
"""
_COUNTED_IN = {"sign": "", "calls": "calls AS c", "chosen": "", "kinds": KINDS}
VIEWS = {
    "call_hours_of": "call_hours AS " + HOUR_SUMS.format(**_COUNTED_IN),
    "call_latencies_of": "call_latencies AS " + LATENCY_SUMS.format(**_COUNTED_IN),
}

STATEMENTS = (
    CALLS,
    REPEATS,
    IDS,
    IDS_OF,
    SCORES,
    SCORES_OF,
    EXPERIMENT_CALLS,
    EXPERIMENT_CALLS_OF,
    HOURS,
    LATENCIES,
    *(f"CREATE MATERIALIZED VIEW IF NOT EXISTS {name} TO {text}" for name, text in VIEWS.items()),
)


TABLES = (
    *("calls", "call_repeats", "call_ids", "call_scores", "experiment_calls"),
    *("call_hours", "call_latencies"),
)


def make_tables(clickhouse: ClickHouse) -> None:
    """Make what is not there yet."""
    for statement in STATEMENTS:
        clickhouse.do(statement)
