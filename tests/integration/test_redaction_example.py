"""`examples/redaction.py` against the local backend, and what `get_stats()` says of redaction."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from banyan_hp import HuggingPlace, redact
from tests.conftest import MakeLogger
from tests.support.backend import Backend
from tests.support.scripted import ScriptedServer, batching

ROOT = Path(__file__).parents[2]
SALT = "a secret of sixteen bytes or more"


@pytest.mark.parametrize("salt", [{}, {"REDACTION_SALT": SALT}])
def test_the_example_stores_nothing_that_it_should_not(salt: dict[str, str]) -> None:
    """Words or hashes in the place of values, and no texts for one prompt."""
    with Backend() as backend:
        finished = subprocess.run(
            [sys.executable, "examples/redaction.py"],
            cwd=ROOT,
            env=os.environ | {"BANYAN_BASE_URL": backend.url, "BANYAN_API_KEY": "psk_local"} | salt,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        stored = [each["body"] for each in backend.logs()]
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.splitlines() == [
        "delivered: True", "credit_cards: 1", "emails: 1", "employee number: 1", "fields: 1", "phones: 1",
    ]  # fmt: skip
    (intake,) = (body for body in stored if body.get("prompt_name") == "medical-intake")
    (first,) = (body for body in stored if "prompt_name" not in body)
    assert (intake["input"], intake["output"]) == ("[content off]", "[content off]")
    kinds = re.findall(r"\[([a-z ]+)(:[a-z]{16})?\]", json.dumps([first["input"], first["output"]]))
    assert [kind for kind, _ in kinds] == ["email", "employee number", "credit card", "phone"]
    assert {bool(digest) for _, digest in kinds} == {bool(salt)}
    assert first["metadata"]["request"]["user"] == "alice"
    assert "hunter2" not in json.dumps(stored)


def test_what_was_replaced_is_counted(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """By kind, in both clients, also through functions of one's own; without any there is an empty dict."""
    server.handler = batching()
    before_send = redact.combine(redact.emails(), dict, redact.fields("password"))
    logger = make_logger(server.url, before_send=before_send)
    assert logger.get_stats()["redactions"] == {}
    logger.log_prompt("a@b.de c@d.de", "a@b.de", metadata={"password": "x"})
    logger.score("thumbs", True, record_id="r", comment="a@b.de")
    logger.flush(5)
    assert logger.get_stats()["redactions"] == {"emails": 4, "fields": 1}
    with HuggingPlace("key", "org", base_url=server.url, before_send=before_send, spool=False) as client:
        client.log({"user_prompt": "a@b.de", "response": "x", "step_data": [{"user_question": "a@b.de"}]})
        client.flush(5)
        client.update_config(mode="dev")
        client.log({"user_prompt": "a@b.de", "response": "x"})
        client.flush(5)
        assert client.get_stats()["redactions"] == {"emails": 3}
    sent = b"".join(request.body for request in server.requests)
    assert b"a@b.de" not in sent
    assert b"password" in sent
