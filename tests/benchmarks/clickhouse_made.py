"""Millions of calls, made inside ClickHouse through the tables' own views and indexes, as intake leaves them.

Nine of ten belong to the project `p`. They are stored in the order of their times: sessions of 8 calls among
others, 50 prompts and many users, some far busier than others, five models. One call in a hundred failed, one
in a thousand has a rare word. The experiments `x` and `y` have three calls of each of their users, and a
score for one user in three: up to 10,000 and 100,000 users, or as many as there are calls for.
"""

from __future__ import annotations

import random
from datetime import datetime
from string import Template
from typing import Any

from banyan_hp.server.store.calls import microseconds
from banyan_hp.server.store.clickhouse.client import ClickHouse
from banyan_hp.server.store.hours import RATIO
from banyan_hp.server.store.rows import json_of
from banyan_hp.server.store.search import words_of
from tests.benchmarks.workload import VOCABULARY

STEP = 250_000  # calls of one INSERT
RARE = 1_000
USERS_OF_X, USERS_OF_Y = 10_000, 100_000
_TEXT_WORDS = 150_000
_INPUT_WORDS, _OUTPUT_WORDS = 85, 136  # about 500 and 800 characters
_TEXTS = """
CREATE TABLE IF NOT EXISTS made_texts
(json String, starts Array(UInt32), words String, words_starts Array(UInt32)) ENGINE = Memory
"""


def _cut(text: str, starts: str, at: str, many: int) -> str:
    return f"substring({text}, {starts}[{at}], {starts}[{at} + {many}] - {starts}[{at}] - 1)"


# A call for each number.
_NUMBERED = Template("""
WITH (SELECT json FROM made_texts) AS json, (SELECT starts FROM made_texts) AS starts,
    (SELECT words FROM made_texts) AS words, (SELECT words_starts FROM made_texts) AS words_starts
SELECT {first:UInt64} + number AS n,
    sipHash64(n, 1) AS r1, sipHash64(n, 2) AS r2, sipHash64(n, 3) AS r3,
    {start:Int64} + toInt64(n * {apart:Float64}) AS at,
    if(r1 % 10 < 9, 'p', concat('p', toString(r1 % 9))) AS owner,
    intDiv(n, 8000) * 1000 + n % 1000 AS session_number,
    toUInt64(pow(sipHash64(session_number) / 18446744073709551616., 2) * {users:UInt64}) AS user_number,
    multiIf(n % 30 = 7, 'y', n % 300 = 8, 'x', '') AS tried,
    intDiv(n, if(tried = 'y', 90, 900)) AS tried_by,
    tried != '' AND owner = 'p' AND tried_by < if(tried = 'y', $users_of_y, $users_of_x) AS counts,
    1 + r1 % $last_input AS asked_at, 1 + r2 % $last_output AS said_at,
    if(n % $rare = 0, ' zanzibar', '') AS rare,
    100 + pow(r2 / 18446744073709551616., 4) * 20000 AS latency,
    concat('{"input":"Question ', toString(n), ': ', $input, rare,
        '","output":"Answer ', toString(n), ': ', $output,
        '","metadata":{"user_id":"user-', toString(user_number), '","session_id":"session-', lower(hex(r3)),
        '","request_number":', toString(n), ',"temperature":0.', toString(r2 % 1000),
        ',"tokens":', toString(100 + r1 % 900), ',"streamed":', if(r1 % 2 = 0, 'true', 'false'), '}}'
    ) AS made,
    concat(' question ', toString(n), ' ', $input_words, rare, ' answer ', toString(n), ' ', $output_words,
        ' user ', toString(user_number), ' session ', lower(hex(r3)), ' ') AS made_words
FROM numbers({step:UInt64})
""").substitute(
    users_of_x=USERS_OF_X,
    users_of_y=USERS_OF_Y,
    last_input=_TEXT_WORDS - _INPUT_WORDS - 1,
    last_output=_TEXT_WORDS - _OUTPUT_WORDS - 1,
    rare=RARE,
    input=_cut("json", "starts", "asked_at", _INPUT_WORDS),
    output=_cut("json", "starts", "said_at", _OUTPUT_WORDS),
    input_words=_cut("words", "words_starts", "asked_at", _INPUT_WORDS),
    output_words=_cut("words", "words_starts", "said_at", _OUTPUT_WORDS),
)
_ID = "leftPad(lower(hex(n * 11400714819323198485)), 16, '0')"  # in no order, as clients' ids are
_DAY = "toDate32(fromUnixTimestamp64Micro(at))"

_CALLS = f"""
INSERT INTO calls (project, day, id, digest, event_time, received_at, source, session, user, prompt_name,
    version, branch, model, latency_ms, input_tokens, output_tokens, cost, error, experiment_id,
    experiment_version_id, sticky_key, sticky_value, bytes, output_length, latency_bucket, counted_input,
    counted_output, nanos, content)
SELECT owner, {_DAY}, {_ID}, MD5(made), at, at, 'banyan', concat('s', toString(session_number)),
    concat('u', toString(user_number)), concat('prompt ', toString(toUInt8(pow(r3 % 1000 / 1000, 2) * 50))),
    concat('1.', toString(n % 3)), 'main', concat('model ', toString(toUInt8(pow(r2 % 1000 / 1000, 2) * 5))),
    latency, 100 + r1 % 900, 50 + r2 % 300, (100 + r1 % 900) / 1000000,
    if(intDiv(r3, 1000) % 100 = 0, 'busy', NULL),
    if(counts, tried, NULL), if(counts, if(tried_by % 2 = 0, 'a', 'b'), NULL), if(counts, 'user_id', NULL),
    if(counts, concat('user-', toString(tried_by)), NULL), length(made), 800,
    toInt16(ceil(log(latency) / log({RATIO}))), 100 + r1 % 900, 50 + r2 % 300, (100 + r1 % 900) * 1000,
    concat(made, '\\n', made_words)
FROM ({_NUMBERED})
"""
_SCORES = f"""
INSERT INTO calls (project, day, id, digest, event_time, received_at, source, bytes, counted_input,
    counted_output, content, score_name, score_kind, score_number, score_record_id)
SELECT 'p', {_DAY}, concat('score-', toString(n)), MD5(toString(n)), at + 1000000, at + 1000000, 'score', 2,
    0, 0, '{{}}\\n  ', 'thumbs', 'bool', r1 % 2, {_ID}
FROM ({_NUMBERED}) WHERE counts AND tried_by % 3 = 0 AND intDiv(n, if(tried = 'y', 30, 300)) % 3 = 0
"""


def make_calls(clickhouse: ClickHouse, many: int, start: datetime, end: datetime) -> None:
    """Make so many calls between two times."""
    given = {
        "start": microseconds(start),
        "apart": (microseconds(end) - microseconds(start)) / many,
        "users": max(many // 100, 1),
    }
    clickhouse.do(_TEXTS)
    clickhouse.insert("made_texts", ("json", "starts", "words", "words_starts"), [_text()])
    for first in range(0, many, STEP):
        for statement in (_CALLS, _SCORES):
            clickhouse.do(statement, {**given, "first": first, "step": min(STEP, many - first)})
    clickhouse.do("DROP TABLE made_texts")


def _text() -> list[Any]:
    """Words to cut texts out of, as JSON has them and as a search does, and where each begins in both."""
    chosen = random.Random(0).choices(VOCABULARY, k=_TEXT_WORDS)
    written = {word: json_of(word)[1:-1] for word in VOCABULARY}
    found = {word: " ".join(words_of(word)) for word in VOCABULARY}
    return [part for forms in (written, found) for part in _joined([forms[word] for word in chosen])]


def _joined(words: list[str]) -> tuple[str, list[int]]:
    starts, at = [], 1
    for word in words:
        starts.append(at)
        at += len(word) + 1
    return " ".join(words), starts
