"""Batches on their way in: how large they may be, and that each record is kept as it was written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from banyan_hp.server.api import intake
from banyan_hp.server.api.plain import entries_of
from tests.support.app import LocalApp

PATH = "/api/logs/prompt-usage/batch"
TIME = "2026-11-28T10:00:00.000Z"
# As JSON may spell them; each is the input of a record.
SPELT = (
    r'"plain"',
    r'"tab \t, line \n, quote \", backslash \\, both \\\", end \\"',
    r'"nothing \u0000, half \ud800, whole \ud83d\ude00"',
    '"naïve 日本 😀"',
    r'"\\N \\. \\t"',
)


def post(app: LocalApp, text: str) -> Any:
    client = TestClient(app.app, headers={"X-API-Key": app.key}, base_url="http://localhost")
    return client.post(PATH, content=text.encode("utf-8"))


def written(*bodies: str) -> str:
    """A batch as our clients write it."""
    records = [f'{{"id":"id-{n}","ts":"{TIME}","body":{body}}}' for n, body in enumerate(bodies)]
    return '{"records":[' + ",".join(records) + "]}"


def test_each_record_comes_back_as_it_was_written(app: LocalApp) -> None:
    """Whatever is escaped in it, and with blanks, tabs and line breaks between its fields."""
    bodies = [f'{{"input":{text},"output":"","metadata":{{"n":1.50}}}}' for text in SPELT]
    bodies += [f'{{\r\n\t"input": {text},\n\t"output": "", "metadata": {{}}\t}}' for text in SPELT]
    assert entries_of(written(*bodies).encode("utf-8")) is not None
    assert post(app, written(*bodies)).json() == {"accepted": len(bodies)}
    logged = {each["id"]: each["body"] for each in app.get("/api/logs")["logs"]}
    assert logged == {f"id-{n}": json.loads(body) for n, body in enumerate(bodies)}
    assert post(app, written(*bodies)).json() == {"accepted": len(bodies)}
    compact = [json.dumps(json.loads(body)) for body in bodies]
    assert post(app, written(*compact)).json() == {"accepted": len(bodies)}
    assert app.get("/api/logs/count") == {"count": len(bodies), "deliveries": 3 * len(bodies)}


@pytest.mark.parametrize(
    "text",
    [
        written("{}") + "x",
        written("{}")[:-1],
        written("{}")[:-2],
        written('{"a":NaN}'),
        written('{"a":1e999}'),
        written("{").replace("]}", ""),
        written("[]"),
        written("{}").replace('"ts"', '"at"'),
        written("{}").replace("id-0", r"\u0041"),
        written("{}", "{}").replace("},", "},,"),
        written('{"a":' * 100_000),
        '{"records":[]}',
        "",
    ],
)
def test_what_is_written_in_another_way_is_read_in_the_usual_one(text: str) -> None:
    """Whether it is good or not."""
    assert entries_of(text.encode("utf-8")) is None


def test_bytes_that_are_no_text_are_read_in_the_usual_way() -> None:
    assert entries_of(written('{"a":"ä"}').encode("latin-1")) is None


def test_a_batch_has_a_number_of_records(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is a 413, for whose senders halve what they send; nothing of it is stored."""
    monkeypatch.setattr(intake, "MOST_RECORDS", 3)
    body = '{"input":"a","output":"b","metadata":{}}'
    answer = post(app, written(*[body] * 4))
    assert (answer.status_code, answer.json()) == (413, {"error": "records must be at most 3, were 4"})
    assert app.get("/api/logs/count")["count"] == 0
    assert post(app, written(*[body] * 3)).json() == {"accepted": 3}
