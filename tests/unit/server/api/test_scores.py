"""Scores through the API: what makes a record one, what is refused, and where scores show."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.app import AppCaller

USAGE, STORE = "/api/logs/prompt-usage", "/v2/chatgpt/store_generated_response"
GOOD = {"kind": "score", "v": 1, "name": "thumbs", "value": True, "record_id": "r1"}
WITHOUT = {"input": "", "output": ""}
INTERACTION = {"user_prompt": "[score]", "response": "[score]", "org_id": "o", "mode": "prod"}


def banyan(mark: Any, **more: Any) -> dict[str, Any]:
    return {**WITHOUT, "metadata": {"banyan_hp": mark}, **more}


def sent(app: AppCaller, body: Any, path: str = USAGE, **headers: str) -> Any:
    answer = app.call("POST", path, body, headers=headers)
    assert answer.is_success, answer.text
    return answer.json()


def shown(app: AppCaller, path: str = "/api/calls", **query: str) -> list[str]:
    """The ids of what a list shows."""
    found = app.get(path, *query.items())
    return [each["id"] for each in found["scores" if path.endswith("scores") else "calls"]]


@pytest.mark.parametrize("path", [USAGE, STORE])
def test_a_score_is_kept_and_shown_with_its_record(app: AppCaller, path: str) -> None:
    """In either client's form; a repeat is folded like any other record's."""
    usage = {"input": "q", "output": "a", "metadata": {}}
    sent(app, usage, **{"Idempotency-Key": "r1", "X-Event-Time": "2026-01-02T00:00:00Z"})
    more = {
        "session_id": "s",
        "sticky_key": "user_id",
        "sticky_value": "u",
        "comment": "so",
        "rater": "judge",
    }
    body = banyan({**GOOD, **more}) if path == USAGE else {**INTERACTION, **banyan({**GOOD, **more})}
    if path == STORE:
        del body["input"], body["output"]
    headers = {"Idempotency-Key": "s1", "X-Event-Time": "2026-01-03T00:00:00Z"}
    assert sent(app, body, path, **headers)["id"] == "s1"
    assert sent(app, body, path, **headers)["repeat"] is True
    (found,) = app.get("/api/calls/r1")["scores"]
    assert found.pop("seq") > 0
    assert found == {
        "project": app.project,
        "id": "s1",
        "at": "2026-01-03T00:00:00.000000+00:00",
        "name": "thumbs",
        "value": True,
        "record_id": "r1",
        "experiment_id": None,
        "experiment_version_id": None,
        **more,
    }
    as_call = app.get("/api/calls/s1")
    assert (as_call["source"], as_call["session"], as_call["user"]) == ("score", "s", "u")
    assert (as_call["body"], as_call["deliveries"], as_call["scores"]) == (body, 2, [])


def test_scores_are_listed_by_what_they_are_about(app: AppCaller) -> None:
    """Newest first, in pages."""
    for number, (name, value) in enumerate(
        [("record_id", "r"), ("session_id", "s"), ("sticky_value", "u"), ("record_id", "r")]
    ):
        mark = {"kind": "score", "v": 1, "name": "n", "value": number + 0.5, name: value}
        headers = {"Idempotency-Key": f"s{number}", "X-Event-Time": f"2026-01-0{number + 1}T00:00:00Z"}
        sent(app, banyan(mark), **headers)
    assert shown(app, "/api/scores") == ["s3", "s2", "s1", "s0"]
    assert shown(app, "/api/scores", record_id="r") == ["s3", "s0"]
    assert shown(app, "/api/scores", session_id="s") == ["s1"]
    assert shown(app, "/api/scores", user="u") == ["s2"]
    page = app.get("/api/scores", ("limit", "3"))
    assert [each["value"] for each in page["scores"]] == [3.5, 2.5, 1.5]
    assert shown(app, "/api/scores", limit="3", after=page["next"]) == ["s0"]
    assert app.get("/api/scores", ("limit", "4"))["next"] is None


def test_lists_and_sums_leave_scores_out_unless_asked(app: AppCaller) -> None:
    """So do the counts of either client's records."""
    sent(app, {"input": "q", "output": "a", "metadata": {}}, **{"Idempotency-Key": "r1"})
    sent(app, banyan({**GOOD, "comment": "splendid"}, prompt_name="p"), **{"Idempotency-Key": "s1"})
    assert shown(app) == ["r1"]
    assert shown(app, source="score") == ["s1"]
    assert shown(app, source="score", prompt_name="p") == ["s1"]
    assert shown(app, prompt_name="p") == []
    assert app.get("/api/calls/summary")["groups"][0]["calls"] == 1
    by_source = app.get("/api/calls/summary", ("source", "score"))["groups"]
    assert [each["calls"] for each in by_source] == [1]
    assert app.get("/api/logs/count")["count"] == 1
    assert app.get("/api/interactions/count")["count"] == 0


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"input": "", "output": "", "metadata": {"score": 1}}, USAGE),
        ({"input": "q", "output": "a", "metadata": {"banyan_hp": GOOD}}, USAGE),
        (banyan({**GOOD, "v": 2}), USAGE),
        (banyan({**GOOD, "v": True}), USAGE),
        (banyan({**GOOD, "kind": "other"}), USAGE),
        (banyan([GOOD]), USAGE),
        ({**INTERACTION, "response": "a", "metadata": {"banyan_hp": GOOD}}, STORE),
        ({**INTERACTION, "metadata": "text"}, STORE),
    ],
)
def test_what_does_not_say_that_it_is_a_score_is_a_call(app: AppCaller, body: Any, path: str) -> None:
    """A user's own metadata mean nothing to the backend."""
    sent(app, body, path)
    assert len(shown(app)) == 1
    assert shown(app, "/api/scores") == []


_VALUE = "value must be true, false, a number from -1e15 to 1e15, or a string of 1 to 200 characters, was "
BAD: dict[str, dict[str, Any]] = {
    "name must be a string of 1 to 100 characters, was ''": {"name": ""},
    "name must be a string of 1 to 100 characters, was None": {"name": None},
    _VALUE + "''": {"value": ""},
    _VALUE + "[1]": {"value": [1]},
    _VALUE + "1e+300": {"value": 1e300},
    "record_id must be a string that isn't empty, was 7": {"record_id": 7},
    "comment must be a string of at most 2000 characters, was 7": {"comment": 7},
    "targets is no field of the score, was 1": {"targets": 1},
}


@pytest.mark.parametrize("said", BAD)
def test_a_bad_score_is_refused_by_name(app: AppCaller, said: str) -> None:
    """With the status that the client takes for a mistake in the record."""
    mark = {**GOOD, **BAD[said]}
    for body, path, status in (
        (banyan(mark), USAGE, 422),
        ({**INTERACTION, "metadata": {"banyan_hp": mark}}, STORE, 400),
    ):
        answer = app.call("POST", path, body)
        assert answer.status_code == status, answer.text
        assert answer.json()["error"].startswith(f"metadata.banyan_hp.{said}")
    assert shown(app, source="score") == []


def test_a_score_is_about_something(app: AppCaller) -> None:
    """A record, a session or a user."""
    mark = {name: value for name, value in GOOD.items() if name != "record_id"}
    answer = app.call("POST", USAGE, banyan({**mark, "sticky_key": "user_id"}))
    told = "metadata.banyan_hp must have a record_id, a session_id or a sticky_value, was without any"
    assert (answer.status_code, answer.json()["error"]) == (422, told)


def test_a_bad_score_spoils_nothing_else_of_a_batch(app: AppCaller) -> None:
    """Texts that no database takes are no reason to refuse one, either."""
    odd = {**GOOD, "record_id": "a\x00\ud800", "comment": "c\x00\ud800" * 500, "rater": "x" * 5000}
    bodies = [banyan(odd), banyan({**GOOD, "value": None}), banyan(GOOD)]
    time = "2026-01-02T03:04:05Z"
    records = [{"id": f"s{number}", "ts": time, "body": body} for number, body in enumerate(bodies)]
    results = sent(app, {"records": records}, f"{USAGE}/batch")["results"]
    assert [each["status"] for each in results] == [201, 422, 201]
    assert shown(app, "/api/scores") == ["s2", "s0"]
    assert shown(app, "/api/scores", record_id="r1") == ["s2"]


def test_who_is_deleted_loses_the_scores(app: AppCaller) -> None:
    """Those that name the user, and those about the user's records."""
    record = {"input": "q", "output": "a", "metadata": {"user_id": "u", "session_id": "s"}}
    sent(app, record, **{"Idempotency-Key": "r1"})
    session = {"kind": "score", "v": 1, "name": "n", "value": 1}
    for number, about in enumerate(
        [{"sticky_value": "u"}, {"record_id": "r1"}, {"session_id": "s"}, {"session_id": "t"}]
    ):
        sent(app, banyan({**session, **about}), **{"Idempotency-Key": f"s{number}"})
    answer = app.call("DELETE", "/api/calls", query=[("user", "u")])
    assert answer.json() == {"deleted": 4, "more": False}
    assert shown(app, "/api/scores") == shown(app, source="score") == ["s3"]
