-- Spans, their log events, and the queue of traces whose calls are to be made.

-- Spans, by trace: of two tellings of one span the one that ends later counts, which `version` begins with.
-- By the month of their arrival, so that no sender's clock spreads an insert over many partitions.
-- sharded by cityHash64(project, trace_id)
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
    model LowCardinality(Nullable(String)),
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
SETTINGS index_granularity = 512;

-- sharded by cityHash64(project, trace_id)
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
SETTINGS index_granularity = 512;

-- The spans that may be calls, by time: where twins of a span are looked for.
-- sharded by cityHash64(project, trace_id)
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
ORDER BY (project, start_time, trace_id, span_id);

CREATE MATERIALIZED VIEW IF NOT EXISTS span_times_of TO span_times AS
SELECT project, start_time, trace_id, span_id, version, scope, role, end_time, input_tokens, output_tokens,
    response_id, received_at
FROM spans
WHERE counted_at IS NOT NULL;

-- Which call a span tells of: the last row counts; NULL: of none any more.
-- sharded by cityHash64(project, trace_id)
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
SETTINGS index_granularity = 512;

-- Traces to which something came: an arrival waits, until a second row with -1 takes it away.
-- sharded by cityHash64(project, trace_id)
CREATE TABLE IF NOT EXISTS spans_to_derive (
    project LowCardinality(String),
    trace_id String,
    number UInt64 DEFAULT generateSnowflakeID(),
    waiting Int32
)
ENGINE = SummingMergeTree(waiting)
ORDER BY (number, project, trace_id);
