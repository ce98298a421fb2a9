"""Where in a record values are replaced, and which fields stay intact."""

from __future__ import annotations

import json
import pickle
import re
from typing import Any

import pytest

from banyan_hp import redact
from banyan_hp.errors import ConfigurationError
from banyan_hp.redact.records import CONTAINERS, INTACT

SECRET = "alice@example.com"
SALT = "a secret of sixteen bytes or more"


def emails_in(record: dict[str, Any]) -> dict[str, Any]:
    clean = redact.emails()(record)
    assert clean is not None
    return clean


def test_both_clients_records_are_clean_from_top_to_bottom() -> None:
    """Texts, messages, steps, metadata with its names, a score's comment; the given record stays as it is."""
    record = {
        "input": f"write to {SECRET}",
        "output": json.dumps([{"role": "user", "content": [{"type": "text", "text": f"\n{SECRET}"}]}]),
        "user_id": SECRET,
        "anything": [SECRET, {"deep": {"er": SECRET}}],
        "metadata": {
            SECRET: 1,
            "step_data": [{"id": 1, "type": "search", "user_question": SECRET, "mine": [SECRET]}],
            "step_details": [{"id": 1, "error": SECRET, "note": SECRET}],
            "error": f"ValueError: {SECRET}",
            "banyan_hp": {"kind": "score", "name": "thumbs", "value": True, "comment": SECRET},
        },
        "step_data": [
            {"id": 1, "user_question": SECRET, "prompt_response": SECRET, "metadata": {"a": SECRET}}
        ],
        "user_metadata": {"email": SECRET},
    }
    before = json.dumps(record)
    clean = json.dumps(emails_in(record))
    assert (SECRET in clean, json.dumps(record), clean.count("[email]")) == (
        False,
        before,
        before.count(SECRET),
    )


@pytest.mark.parametrize("name", sorted(INTACT))
def test_what_identifies_and_routes_a_record_stays(name: str) -> None:
    """Even where it looks like an address: with another value it would not be found, joined or counted."""
    assert emails_in({name: SECRET}) == {name: SECRET}
    for spelling in (name, name.title().replace("_", "")):
        with pytest.raises(ConfigurationError, match="never redacted"):
            redact.fields(spelling)


def test_a_score_keeps_what_it_is_about() -> None:
    """Its name, its value and whom or what it is about."""
    about = {"kind": "score", "name": SECRET, "value": SECRET, "sticky_value": SECRET, "record_id": SECRET}
    record = {"input": "", "output": "", "metadata": {"banyan_hp": about, "session_id": SECRET}}
    assert emails_in(record) == record


def test_numbers_stay_numbers() -> None:
    """Also where their digits are a card's; in JSON inside a text, too."""
    record = {"input": '{"n":4111111111111111,"x":1.50}', "metadata": {"n": 4111111111111111, "b": True}}
    assert redact.credit_cards()(record) == record


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ('{"a":"\\nalice@example.com"}', '{"a":"\\n[email]"}'),
        ('{ "a" : "nothing" }', '{ "a" : "nothing" }'),
        (
            '[{"arguments":"{\\"to\\":\\"alice@example.com\\"}"}]',
            '[{"arguments":"{\\"to\\":\\"[email]\\"}"}]',
        ),
        ("[alice@example.com]", "[[email]]"),
        ('{"a": NaN, "b": "alice@example.com"}', '{"a": NaN, "b": "[email]"}'),
        ('{"a@b.com":1,"c@d.com":2}', '{"[email]":1,"[email] 2":2}'),
    ],
)
def test_json_in_a_text_stays_json(text: str, clean: str) -> None:
    """It is looked through value by value, to any depth; what only begins like JSON is a text."""
    assert emails_in({"input": text})["input"] == clean


def test_deeply_nested_json_is_looked_through_as_a_text() -> None:
    """It costs no record."""
    deep = "[" * 100_000
    assert emails_in({"input": f"{deep}{SECRET}"})["input"] == f"{deep}[email]"


def test_fields_are_found_by_name_in_any_spelling_at_any_depth() -> None:
    """Whatever they hold; None is nothing to redact."""
    secrets = {"Api-Key": "x", "apiKey": 5, "API_KEY": {"a": 1}, "api_keys": "other", "api key": None}
    record = {"input": json.dumps(secrets), "metadata": {"in": [secrets]}, "api_key": "x"}
    clean = redact.fields("api_key")(record)
    assert clean is not None
    masked = {**dict.fromkeys(list(secrets)[:3], "[redacted]"), "api_keys": "other", "api key": None}
    assert clean["metadata"] == {"in": [masked]}
    assert (json.loads(clean["input"]), clean["api_key"]) == (masked, "[redacted]")


def test_patterns_of_ones_own_come_first() -> None:
    """An expression as a text or compiled; an empty match is none."""
    by = redact.combine(
        redact.emails(), redact.pattern(r"[\w.]+@corp\.example", "colleague"), redact.pattern("x*", "x")
    )
    assert by({"input": "a@corp.example, b@c.de x"}) == {"input": "[colleague], [email] [x]"}
    compiled = redact.pattern(re.compile("EMP-[0-9]+"), "employee number")
    assert compiled({"input": "EMP-12"}) == {"input": "[employee number]"}


def test_a_hash_is_the_same_for_the_same_value_and_salt() -> None:
    """In whatever way it is written; another salt gives another one; it is itself nothing to redact."""
    by = redact.combine(redact.emails(), redact.credit_cards(), redact.fields("ssn"), salt=SALT)
    record = {"input": f"{SECRET} {SECRET.upper()} b@c.de", "output": "4111 1111 1111 1111 4111111111111111"}
    clean = by({**record, "metadata": {"ssn": "1"}})
    assert clean is not None
    one, same, other = clean["input"].split()
    assert re.fullmatch(r"\[email:[a-z]{16}\]", one) and one == same != other
    card, again = re.findall(r"\[credit card:[a-z]{16}\]", clean["output"])
    assert card == again
    assert re.fullmatch(r"\[redacted:[a-z]{16}\]", clean["metadata"]["ssn"])
    assert by({**clean, "metadata": {}}) == {**clean, "metadata": {}}
    assert redact.emails(salt=SALT.encode())(record) != redact.emails(salt=SALT[::-1])(record)


def test_pieces_and_functions_are_combined() -> None:
    """In the order given; None ends it; what was replaced is counted by kind."""
    seen: list[Any] = []

    def mine(record: dict[str, Any]) -> dict[str, Any] | None:
        seen.append(record["input"])
        return None if "drop" in record["input"] else {**record, "extra": "c@d.de"}

    by = redact.combine(redact.emails(), redact.phones(), mine, redact.emails())
    clean, found = by.counted({"input": "a@b.de +49 151 12345678"})
    assert clean == {"input": "[email] [phone]", "extra": "[email]"}
    assert (seen, found) == (["[email] [phone]"], {"emails": 2, "phones": 1})
    assert by({"input": "drop"}) is None
    assert redact.combine(by, redact.ibans()) == redact.combine(redact.emails(), redact.phones(), mine,
                                                                redact.emails(), redact.ibans())  # fmt: skip
    assert redact.combine()({"input": "a"}) == {"input": "a"}
    pickled = pickle.loads(pickle.dumps(redact.combine(redact.emails(), redact.fields("x"))))
    assert pickled == redact.combine(redact.emails(), redact.fields("x"))
    assert repr(redact.combine(redact.emails(salt=SALT), mine)) == "<Redactor: emails, a function>"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: redact.pattern("(", "x"), "can't be compiled"),
        (lambda: redact.pattern(b"x", "x"), "bytes"),  # type: ignore[arg-type]
        (lambda: redact.pattern(5, "x"), "can't be compiled"),  # type: ignore[arg-type]
        (lambda: redact.pattern("x", "1"), "a letter first"),
        (lambda: redact.fields(), "names of fields"),
        (lambda: redact.fields(""), "must be a text"),
        (lambda: redact.fields(5), "must be a text"),  # type: ignore[arg-type]
        (lambda: redact.emails(salt="short"), "at least 16 bytes"),
        (lambda: redact.emails(salt=5), "text or bytes"),  # type: ignore[arg-type]
        (lambda: redact.combine(redact.emails), "call it"),  # type: ignore[arg-type]
        (lambda: redact.combine(5), "takes functions"),  # type: ignore[arg-type]
        *[(lambda name=name: redact.fields(name), "never redacted") for name in CONTAINERS],
    ],
)
def test_what_can_not_work_is_refused_at_once(make: Any, says: str) -> None:
    """By a ConfigurationError that says what is wrong; a salt is never in it."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        make()
    assert "short" not in str(caught.value)
