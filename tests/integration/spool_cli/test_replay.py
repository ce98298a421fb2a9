"""`banyan-hp spool replay`, against what real engines have left during an outage."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

from banyan_hp import HuggingPlace
from banyan_hp.cli.spool.replay import Progress
from banyan_hp.engine.spool.entries import LINE
from banyan_hp.engine.spool.layout import (
    ADDRESS_NAME,
    Address,
    key_fingerprint,
    segment_name,
    short_directory,
)
from banyan_hp.engine.spool.lease import take_over
from tests.conftest import MakeLogger
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply, batching, one_by_one
from tests.support.spools import KEY, Spools, Terminal, numbers


def test_replay_sends_everything(
    spools: Spools, outage: Callable[..., None], up: Callable[[], ScriptedServer]
) -> None:
    """Each record once, with the ids of the first attempt; nothing is left on disk."""
    outage(250)
    back = up()
    ids = [record["id"] for record in spools.json("show")]
    code, out, err = spools.run("replay")
    assert code == 0
    assert out.splitlines()[1] == "  delivered 250, still on disk 0, quarantined 0, lost 0"
    assert re.fullmatch(r"  250 of 250, [\d,]+/s\n", err)
    assert sorted(numbers(back)) == list(range(250))
    assert sorted(back.ids()) == sorted(ids)
    assert spools.segments() == []
    assert spools.run("replay")[1] == "nothing waits at 1 destination; --all shows it\n"
    assert spools.run("replay", "--all")[1].splitlines()[1] == "  nothing to send"


def test_replay_sends_what_is_older_than_any_cap(
    spools: Spools, outage: Callable[..., None], up: Callable[[], ScriptedServer]
) -> None:
    """An application would give it up; who asks for a replay wants it sent."""
    outage(2)
    back = up()
    (segment,) = spools.segments()
    segment.rename(segment.with_name(segment_name(1_000_000_000, "abc", 0)))
    assert spools.run("replay")[0] == 0
    assert sorted(numbers(back)) == [0, 1]


def test_replay_leaves_on_disk_what_it_can_t_deliver(
    spools: Spools, outage: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives up when the backend is down, says why, and loses nothing."""
    monkeypatch.setattr("banyan_hp.cli.spool.replay.SETTINGS", quick())
    outage(3)
    code, out, err = spools.run("replay")
    assert (code, out.splitlines()[1]) == (1, "  delivered 0, still on disk 3, quarantined 0, lost 0")
    assert "given up, offline: " in err
    assert [seen["unsent"] for seen in spools.json("ls")] == [3]


def quick() -> Any:
    from dataclasses import replace

    from banyan_hp.cli.spool import replay

    return replace(replay.SETTINGS, max_retries=0)


def test_replay_stops_at_its_timeout(
    spools: Spools, outage: Callable[..., None], up: Callable[[], ScriptedServer]
) -> None:
    """A backend that says "later" is believed, and the rest stays."""
    outage(2)
    back = up()
    back.handler = lambda _request: Reply(503, {"error": "later"}, headers={"Retry-After": "60"})
    code, out, err = spools.run("replay", "--timeout", "0.3")
    assert (code, "still on disk 2" in out) == (1, True)
    assert "stopped after 0.3 s" in err or "given up" in err


def test_replay_tells_what_was_refused(
    spools: Spools, outage: Callable[..., None], up: Callable[[], ScriptedServer]
) -> None:
    """Not all was delivered: that is an exit code, and the records are in quarantine."""
    outage(3)
    back = up()
    back.handler = batching(
        verdicts=lambda record: (422, "no") if record["body"]["metadata"]["number"] == 1 else (201, None)
    )
    code, out, _ = spools.run("replay")
    assert (code, out.splitlines()[1]) == (1, "  delivered 2, still on disk 0, quarantined 1, lost 0")
    assert [entry.status for entry in spools.quarantine().entries()] == [422]


def test_replay_takes_damaged_segments(
    spools: Spools, outage: Callable[..., None], up: Callable[[], ScriptedServer]
) -> None:
    """What can be read is sent, the rest is in quarantine."""
    outage(3)
    up()
    (segment,) = spools.segments()
    first, second, third = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(first + second.replace(b"question", b"answered") + third)
    assert spools.json("ls")[0]["state"] == "damaged"
    code, out, _ = spools.run("replay")
    assert (code, out.splitlines()[1]) == (1, "  delivered 2, still on disk 0, quarantined 1, lost 0")
    assert [entry.origin for entry in spools.quarantine().entries()] == [LINE]


def test_replay_needs_the_right_key(
    spools: Spools,
    outage: Callable[..., None],
    up: Callable[[], ScriptedServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """None, or another one, is refused, without telling any; `--from-key` is how to mean it."""
    outage(1)
    back = up()
    monkeypatch.delenv("BANYAN_API_KEY")
    code, _, err = spools.run("replay")
    assert (code, "no API key: set BANYAN_API_KEY" in err) == (2, True)
    code, _, err = spools.run("replay", "--api-key", "psk_other")
    assert code == 2
    assert key_fingerprint(KEY) in err
    assert key_fingerprint("psk_other") in err
    assert "psk_other" not in err
    assert back.requests == []
    back.handler = lambda _request: Reply(401, {"error": "unknown key"})
    other = ("--api-key", "psk_other", "--from-key", key_fingerprint(KEY))
    assert spools.run("replay", *other)[0] == 1
    back.handler = batching()
    assert spools.run("replay", *other)[0] == 0
    assert back.requests[-1].headers["X-API-Key"] == "psk_other"
    assert spools.segments() == []


def test_from_key_sends_what_was_logged_under_that_key_and_nothing_else(
    spools: Spools, outage: Callable[..., None], up: Callable[[], ScriptedServer]
) -> None:
    """Under the key at hand; not even that key's own records leave with them."""
    outage(2, api_key="psk_old")
    outage(1)
    back = up()
    assert spools.run("replay", "--from-key", key_fingerprint("psk_old"))[0] == 0
    assert {request.headers["X-API-Key"] for request in back.requests} == {KEY}
    assert sorted(numbers(back)) == [0, 1]
    assert [seen["key_fingerprint"] for seen in spools.json("ls")] == [key_fingerprint(KEY)]


@pytest.mark.parametrize("said", ["psk_secret_key", "0123456789ABCDEF", "0123456", ""])
def test_from_key_takes_no_key(spools: Spools, said: str) -> None:
    """Options show in process lists; the message does not repeat what may be a key."""
    code, out, err = spools.run("replay", "--from-key", said)
    assert (code, out) == (2, "")
    assert "must be a fingerprint as 'banyan-hp spool ls' shows it" in err
    assert not said or said not in err


def test_from_key_names_a_key_that_is_there(spools: Spools, outage: Callable[..., None]) -> None:
    """Else nothing would be sent, without a word."""
    outage(1)
    code, _, err = spools.run("replay", "--from-key", "0123456789abcdef")
    assert (code, "no destination has a key with the fingerprint" in err) == (2, True)


def test_directories_with_short_fingerprints_are_listed_and_sent_on_request(
    spools: Spools, outage: Callable[..., None], up: Callable[[], ScriptedServer]
) -> None:
    """An earlier version made them; even the right key sends them only with `--from-key`."""
    outage(2)
    back = up()
    directory = spools.directory()
    directory.rename(short_directory(directory))
    said = spools.directory() / ADDRESS_NAME
    short = key_fingerprint(KEY)[:8]
    said.write_text(said.read_text().replace(key_fingerprint(KEY), short))
    assert [(seen["key_fingerprint"], seen["unsent"]) for seen in spools.json("ls")] == [(short, 2)]
    assert f", key {short} (" in spools.run("ls")[1]
    code, _, err = spools.run("replay")
    assert (code, f"--from-key {short}" in err, back.requests) == (2, True, [])
    assert spools.run("replay", "--from-key", short)[0] == 0
    assert sorted(numbers(back)) == [0, 1]


def test_replay_of_a_directory_named_by_hand_asks_where_to(
    spools: Spools,
    outage: Callable[..., None],
    up: Callable[[], ScriptedServer],
    port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be anybody's, and its URL would get the key: nothing is sent before somebody has agreed."""
    outage(2)
    back = up()
    url = f"http://127.0.0.1:{port}"
    there = ("replay", "--dir", str(spools.base))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    code, _, err = spools.run(*there)
    assert code == 2
    assert f"Send 2 records and your API key to {url}? There is no terminal to ask on: pass --yes" in err
    assert "or --base-url with this URL" in err
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    code, _, err = spools.run(*there)
    assert (code, f"Send 2 records and your API key to {url}? [y/N]" in err) == (1, True)
    code, _, err = spools.run(*there, "--base-url", "http://127.0.0.1:9/")
    assert (code, "no destination has the URL in --base-url; see ls" in err) == (2, True)
    assert back.requests == []
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert spools.run(*there)[0] == 0
    assert sorted(numbers(back)) == [0, 1]


@pytest.mark.parametrize("agreed", [["--yes"], ["--base-url", "URL"]])
def test_a_script_agrees_beforehand_where_a_directory_s_records_go(
    spools: Spools,
    outage: Callable[..., None],
    up: Callable[[], ScriptedServer],
    port: int,
    agreed: list[str],
) -> None:
    """By `--yes`, or by the URL, which is compared."""
    outage(1)
    back = up()
    words = [word.replace("URL", f"http://127.0.0.1:{port}/") for word in agreed]
    assert spools.run("replay", "--dir", str(spools.base), *words)[0] == 0
    assert numbers(back) == [0]


def test_to_url_sends_what_was_logged_for_a_wrong_url_and_nothing_else(
    spools: Spools, outage: Callable[..., None], make_logger: MakeLogger, port: int
) -> None:
    """Under their ids and key; records for other URLs stay, and so do those of another key."""
    wrong = "http://127.0.0.1:9"
    for key in (KEY, "psk_other"):
        logger = make_logger(wrong, max_retries=0, api_key=key)
        for number in range(3):
            logger.log_prompt(input="q", output="x", metadata={"number": 100 + number})
        logger.shutdown(timeout=5)
    outage(2)
    ids = {record["id"] for record in spools.json("show") if record["body"]["metadata"]["number"] >= 100}
    with ScriptedServer(batching()) as right:
        code, out, err = spools.run("replay", "--base-url", wrong, "--to-url", f"{right.url}/")
        assert (code, "logged under the key" in err) == (2, True)  # those of the other key
        assert "delivered 3, still on disk 0, quarantined 0, lost 0" in out
        assert sorted(numbers(right)) == [100, 101, 102]
        assert set(right.ids()) < ids
        named = ("--base-url", wrong, "--from-key", key_fingerprint("psk_other"), "--to-url", right.url)
        assert spools.run("replay", *named)[0] == 0
        assert set(right.ids()) == ids
        assert {request.headers["X-API-Key"] for request in right.requests} == {KEY}
    assert [(seen["base_url"], seen["unsent"]) for seen in spools.json("ls")] == [
        (f"http://127.0.0.1:{port}", 2)
    ]


def test_to_url_leaves_on_disk_what_it_can_t_deliver_there(
    spools: Spools, outage: Callable[..., None], port: int
) -> None:
    """For the URL that they were logged for: that is where they would go next."""
    outage(2)
    before = [record["id"] for record in spools.json("show")]
    with ScriptedServer(lambda _request: Reply(404, {"error": "not here"})) as other:
        code, out, _ = spools.run("replay", "--base-url", f"http://127.0.0.1:{port}", "--to-url", other.url)
        assert (code, "delivered 0, still on disk 2" in out) == (1, True)
    assert [record["id"] for record in spools.json("show")] == before
    assert {seen["base_url"] for seen in spools.json("ls")} == {f"http://127.0.0.1:{port}"}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--to-url", "http://127.0.0.1:9"], "--to-url needs --base-url"),
        (["--to-url", "elsewhere", "--destination", "x"], "--to-url must be an http"),
    ],
)
def test_to_url_says_whose_records_and_where_to(
    spools: Spools, outage: Callable[..., None], words: list[str], complaint: str
) -> None:
    """Else all that waits, other customers' records among them, would go to one URL."""
    outage(1)
    code, _, err = spools.run("replay", *words)
    assert (code, complaint in err) == (2, True), err


def test_replay_sends_no_key_to_what_is_no_url(spools: Spools, outage: Callable[..., None]) -> None:
    """A file that fits the directory's name, and names something else than a backend."""
    outage(1)
    forged = Address("banyan", "file:///etc", "", key_fingerprint(KEY))
    directory = spools.directory().rename(spools.base / "spool" / forged.directory_name)
    (directory / ADDRESS_NAME).write_text(json.dumps(forged.fields()))
    code, _, err = spools.run("replay")
    assert (code, "does not say where its records go" in err) == (3, True)


def test_replay_of_huggingplace_goes_to_huggingplace(
    spools: Spools, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own endpoint, header and key."""
    url = f"http://127.0.0.1:{port}"
    client = HuggingPlace(api_key="hp_key", org_id="org", base_url=url, max_retries=0)
    client.log({"user_prompt": "a", "response": "b"})
    client.shutdown(timeout=5)
    monkeypatch.setenv("HUGGINGPLACE_API_KEY", "hp_key")
    with ScriptedServer(one_by_one(status=200), port=port) as server:
        code, out, _ = spools.run("replay")
        assert code == 0
        assert out.startswith(f"huggingplace {url} organisation org, key {key_fingerprint('hp_key')} (")
        sent = [request for request in server.requests if b"user_prompt" in request.body]
    assert [request.headers["Authorization"] for request in sent] == ["Bearer hp_key"]


def test_replay_trusts_no_forged_address(
    spools: Spools, outage: Callable[..., None], up: Callable[[], ScriptedServer]
) -> None:
    """An address that does not fit the directory's name gets neither the records nor the key."""
    outage(1)
    back = up()
    said = spools.directory() / ADDRESS_NAME
    said.write_text(said.read_text().replace("127.0.0.1", "localhost"))
    code, _, err = spools.run("replay")
    assert (code, "does not say where its records go" in err) == (3, True)
    assert back.requests == []
    assert spools.run("ls")[1].startswith("unknown destination")


def test_replay_leaves_alone_what_others_hold(
    spools: Spools, outage: Callable[..., None], up: Callable[[], ScriptedServer]
) -> None:
    """It is theirs to send, and no failure."""
    outage(2)
    back = up()
    owner = take_over(spools.segments()[0])
    assert owner is not None
    code, out, _ = spools.run("replay")
    assert (code, out.splitlines()[1]) == (0, "  nothing to send (2 records held by running applications)")
    assert back.requests == []
    owner.close()


def test_an_interrupted_replay_lets_go_of_the_rest(
    spools: Spools,
    outage: Callable[..., None],
    up: Callable[[], ScriptedServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C costs nothing: what was not delivered is free on disk."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "show", interrupt)
    outage(50)
    back = up()
    back.handler = one_by_one(latency=0.5)
    code, out, err = spools.run("replay")
    assert code == 1
    assert "interrupted" in err
    left = [seen["unsent"] for seen in spools.json("ls") if seen["state"] == "free"]
    delivered = int(re.findall(r"delivered (\d+)", out)[0])
    assert sum(left) + delivered == 50
    assert left


def test_the_bar_grows_on_a_terminal() -> None:
    """One line that is redrawn; it never goes beyond its end, whatever turns up."""
    times = iter([0.0, 1.0, 2.0, 2.0])
    stream = Terminal()
    progress = Progress(100, stream, lambda: next(times))
    progress.show(50)
    progress.end(120)
    half, full = stream.getvalue().replace("\x1b[K", "").strip().split("\r  ")
    assert half == f"[{'#' * 15}{' ' * 15}] 50 of 100, 50/s"
    assert full == f"[{'#' * 30}] 120 of 120, 60/s"


def test_elsewhere_a_line_now_and_then_is_enough() -> None:
    """A log file is not filled with bars."""
    now = [0.0]
    stream = io.StringIO()
    progress = Progress(100, stream, lambda: now[0])
    for second in range(12):
        now[0] = float(second)
        progress.show(second)
    progress.end(100)
    assert [line.split(",")[0].strip() for line in stream.getvalue().splitlines()] == [
        "5 of 100", "10 of 100", "100 of 100"
    ]  # fmt: skip
