-- Calls and scores, with what is looked up and summed of them.
--
-- A call is known by its project, its day and its id, which call_ids has in that order. Rows that two servers
-- inserted at the same moment are folded when parts are merged, and by FINAL before that: a delivery that is
-- repeated has the same event time. On a cluster all rows of a call are on one shard.
-- seq is a Snowflake ID: it grows with time, so it is the order of arrival.

-- sharded by number
CREATE TABLE IF NOT EXISTS schema_migrations (
    number UInt32,
    name String,
    applied_at DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY number;

-- A page reads the bodies of calls that lie far apart, of each the whole granule: so granules are small.
-- content is the body, a line end, and the body's words, which are read for phrases only: compressed together
-- with the body, they take half of what they take in a column of their own.
-- sharded by cityHash64(project, id)
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
    prompt_id LowCardinality(Nullable(String)),
    prompt_name LowCardinality(Nullable(String)),
    version LowCardinality(Nullable(String)),
    branch LowCardinality(Nullable(String)),
    model LowCardinality(Nullable(String)),
    latency_ms Nullable(Float64),
    input_tokens Nullable(Int64),
    output_tokens Nullable(Int64),
    cost Nullable(Float64),
    error Nullable(String),
    experiment_id LowCardinality(Nullable(String)),
    experiment_version_id LowCardinality(Nullable(String)),
    sticky_key LowCardinality(Nullable(String)),
    sticky_value Nullable(String),
    bytes UInt32,
    output_length Nullable(UInt32),
    latency_bucket Nullable(Int16),
    counted_input Int64,
    counted_output Int64,
    nanos Nullable(Int64),
    content String CODEC(ZSTD(3)),
    body String ALIAS substring(content, 1, position(content, '\n') - 1),
    words String ALIAS substring(content, position(content, '\n') + 1),
    score_name LowCardinality(Nullable(String)),
    score_kind LowCardinality(Nullable(String)),
    score_number Nullable(Float64),
    score_text Nullable(String),
    score_record_id Nullable(String),
    score_session Nullable(String),
    score_sticky_key LowCardinality(Nullable(String)),
    score_sticky_value Nullable(String),
    score_experiment_id LowCardinality(Nullable(String)),
    score_experiment_version_id LowCardinality(Nullable(String)),
    score_rater Nullable(String),
    score_comment Nullable(String),
    seq UInt64 DEFAULT generateSnowflakeID(),
    precedence UInt64 MATERIALIZED bitNot(seq),
    INDEX sessions session TYPE text(tokenizer = 'array'),
    INDEX users user TYPE text(tokenizer = 'array'),
    INDEX arrivals seq TYPE minmax GRANULARITY 8,
    INDEX found_by substring(content, position(content, '\n') + 1) TYPE text(tokenizer = 'splitByNonAlpha')
)
ENGINE = ReplacingMergeTree(precedence)
PARTITION BY toYYYYMM(toDate32(fromUnixTimestamp64Micro(event_time)))
ORDER BY (project, event_time, day, id)
SETTINGS index_granularity = 64, index_granularity_bytes = 262144;

-- sharded by cityHash64(project, id)
CREATE TABLE IF NOT EXISTS call_repeats (
    project LowCardinality(String),
    day Date32,
    id String,
    times UInt64,
    noted DateTime DEFAULT now()
)
ENGINE = SummingMergeTree(times)
ORDER BY (project, day, id);

-- What intake looks into for repeats: ids are in no order, so it is narrow and has small granules.
-- sharded by cityHash64(project, id)
CREATE TABLE IF NOT EXISTS call_ids (
    project LowCardinality(String),
    day Date32,
    id String,
    event_time Int64,
    received_at Int64,
    digest FixedString(16),
    source LowCardinality(String),
    seq UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (project, day, id)
SETTINGS index_granularity = 256;

CREATE MATERIALIZED VIEW IF NOT EXISTS call_ids_of TO call_ids AS
SELECT project, day, id, event_time, received_at, digest, source, seq
FROM calls;

-- Scores are few among the calls, and read without them.
-- sharded by cityHash64(project, id)
CREATE TABLE IF NOT EXISTS call_scores (
    project LowCardinality(String),
    event_time Int64,
    day Date32,
    id String,
    received_at Int64,
    seq UInt64,
    precedence UInt64,
    name LowCardinality(Nullable(String)),
    kind LowCardinality(Nullable(String)),
    number Nullable(Float64),
    text Nullable(String),
    record_id Nullable(String),
    session Nullable(String),
    sticky_key LowCardinality(Nullable(String)),
    sticky_value Nullable(String),
    experiment_id LowCardinality(Nullable(String)),
    experiment_version_id LowCardinality(Nullable(String)),
    rater Nullable(String),
    comment Nullable(String),
    INDEX records record_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX sessions session TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX users sticky_value TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(precedence)
ORDER BY (project, event_time, day, id)
SETTINGS index_granularity = 512;

CREATE MATERIALIZED VIEW IF NOT EXISTS call_scores_of TO call_scores AS
SELECT project, event_time, day, id, received_at, seq, bitNot(seq) AS precedence, score_name AS name, score_kind AS kind,
    score_number AS number, score_text AS text, score_record_id AS record_id, score_session AS session,
    score_sticky_key AS sticky_key, score_sticky_value AS sticky_value, score_experiment_id AS experiment_id,
    score_experiment_version_id AS experiment_version_id, score_rater AS rater, score_comment AS comment
FROM calls
WHERE source = 'score';

-- The calls of experiments' users, by user: results are computed of them when they are asked for.
-- sharded by cityHash64(project, id)
CREATE TABLE IF NOT EXISTS experiment_calls (
    project LowCardinality(String),
    experiment_id String,
    sticky_value String,
    event_time Int64,
    received_at Int64,
    day Date32,
    id String,
    sticky_key LowCardinality(Nullable(String)),
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
ORDER BY (project, experiment_id, sticky_value, event_time, day, id);

CREATE MATERIALIZED VIEW IF NOT EXISTS experiment_calls_of TO experiment_calls AS
SELECT project, assumeNotNull(experiment_id) AS experiment_id, assumeNotNull(sticky_value) AS sticky_value,
    event_time, received_at, day, id, sticky_key, assumeNotNull(experiment_version_id) AS version, session,
    latency_ms, input_tokens, output_tokens, cost, error IS NOT NULL AS failed, output_length
FROM calls
WHERE experiment_id IS NOT NULL AND sticky_value IS NOT NULL AND experiment_version_id IS NOT NULL;

-- The last call of each day of an experiment. It outlives the calls: results say up to when they were removed.
-- sharded by cityHash64(project, experiment_id)
CREATE TABLE IF NOT EXISTS experiment_days (
    project LowCardinality(String),
    experiment_id String,
    day Date32,
    last SimpleAggregateFunction(max, Int64)
)
ENGINE = AggregatingMergeTree
ORDER BY (project, experiment_id, day);

CREATE MATERIALIZED VIEW IF NOT EXISTS experiment_days_of TO experiment_days AS
SELECT project, experiment_id, toDate32(fromUnixTimestamp64Micro(c.event_time, 'UTC')) AS day,
    max(c.event_time) AS last
FROM experiment_calls AS c
GROUP BY project, experiment_id, day;

-- Sums of all calls, of each prompt's and of each model's, by hour (a width of 0) and by day (1).
-- sharded by cityHash64(project, kind, width, start, name)
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
ORDER BY (project, kind, width, start, name);

CREATE MATERIALIZED VIEW IF NOT EXISTS call_hours_of TO call_hours AS
SELECT c.project AS project, kind, width,
    c.event_time - positiveModulo(c.event_time, if(width = 0, 3600000000, 86400000000)) AS start, name,
    toInt64(count()) AS calls, toInt64(count(c.error)) AS errors,
    sum(c.counted_input) AS input_tokens, sum(c.counted_output) AS output_tokens,
    toInt64(count(c.nanos)) AS priced, sum(coalesce(c.nanos, 0)) AS nanos
FROM calls AS c
ARRAY JOIN [0, 1, 2, 0, 1, 2] AS kind, [0, 0, 0, 1, 1, 1] AS width,
    arrayConcat(['', ifNull(c.prompt_name, ''), ifNull(c.model, '')] AS names, names) AS name
WHERE c.source != 'score'
GROUP BY project, kind, width, start, name;

-- sharded by cityHash64(project, kind, width, start, name)
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
ORDER BY (project, kind, width, start, name, bucket);

CREATE MATERIALIZED VIEW IF NOT EXISTS call_latencies_of TO call_latencies AS
SELECT c.project AS project, kind, width,
    c.event_time - positiveModulo(c.event_time, if(width = 0, 3600000000, 86400000000)) AS start, name,
    assumeNotNull(c.latency_bucket) AS bucket, toInt64(count()) AS calls
FROM calls AS c
ARRAY JOIN [0, 1, 2, 0, 1, 2] AS kind, [0, 0, 0, 1, 1, 1] AS width,
    arrayConcat(['', ifNull(c.prompt_name, ''), ifNull(c.model, '')] AS names, names) AS name
WHERE c.source != 'score' AND c.latency_bucket IS NOT NULL
GROUP BY project, kind, width, start, name, bucket;
