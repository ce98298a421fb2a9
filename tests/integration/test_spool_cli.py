"""`banyan-hp spool`, against directories that real engines have left behind during an outage."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from banyan_hp import HuggingPlace
from banyan_hp.cli.main import main
from banyan_hp.cli.spool.replay import Progress
from banyan_hp.engine.spool.entries import LINE, UNSCRUBBED, Entry
from banyan_hp.engine.spool.layout import (
    ADDRESS_NAME,
    Address,
    key_fingerprint,
    segment_name,
    short_directory,
)
from banyan_hp.engine.spool.lease import take_over
from banyan_hp.engine.spool.quarantine import Quarantine
from banyan_hp.engine.spool.segment import Segment
from banyan_hp.engine.sync import Clock
from tests.conftest import MakeLogger
from tests.support.scripted import Reply, ScriptedServer, batching, one_by_one

KEY = "psk_local"
DESTINATION = r"[0-9a-f]{16}-[0-9a-f]{16}"


class Spools:
    """What is below the base directory, and the command line that looks at it."""

    def __init__(self, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.base = base
        self._capsys = capsys

    def run(self, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        self._capsys.readouterr()
        try:
            code = main(["spool", *words])
        except SystemExit as ended:
            code = int(str(ended.code))
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def json(self, *words: str) -> list[dict[str, Any]]:
        code, out, err = self.run(*words, "--json")
        assert (code, err) == (0, "")
        return [json.loads(line) for line in out.splitlines()]

    def directory(self) -> Path:
        (only,) = (self.base / "spool").iterdir()
        return only

    def segments(self) -> list[Path]:
        return sorted((self.base / "spool").glob("*/*-*-*.jsonl"))

    def quarantine(self) -> Quarantine:
        return Quarantine(self.directory(), Clock())


@pytest.fixture
def spools(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Spools:
    monkeypatch.setenv("BANYAN_API_KEY", KEY)
    monkeypatch.setenv("COLUMNS", "110")
    return Spools(tmp_path / "state", capsys)


@pytest.fixture
def port() -> int:
    with ScriptedServer() as reserved:
        return reserved.port


@pytest.fixture
def outage(make_logger: MakeLogger, port: int) -> Callable[..., None]:
    """Log so many records at a backend that is down, and end in good order."""

    def log(count: int, **options: Any) -> None:
        logger = make_logger(f"http://127.0.0.1:{port}", max_retries=0, **options)
        for number in range(count):
            assert logger.log_prompt(input=f"question {number}", output="x", metadata={"number": number})
        logger.shutdown(timeout=5)

    return log


@pytest.fixture
def up(port: int) -> Iterator[Callable[[], ScriptedServer]]:
    """Bring the backend up again."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(ScriptedServer(batching(), port=port))


def acknowledge(path: Path, number: int) -> None:
    """As a process does that has delivered this record and dies."""
    segment = take_over(path)
    assert segment is not None
    segment.read_index()
    segment.acknowledge([number])
    segment.close()


def numbers(server: ScriptedServer) -> list[int]:
    return [body["metadata"]["number"] for _, body in server.records()]


# -- path and destinations -----------------------------------------------------------------------------------


def test_path_says_where_it_is(spools: Spools, tmp_path: Path, outage: Callable[..., None]) -> None:
    """The option wins over the environment; a destination's own directory is told by its id."""
    assert spools.run("path") == (0, f"{spools.base / 'spool'}\n", "")
    assert spools.run("path", "--dir", str(tmp_path / "x")) == (0, f"{tmp_path / 'x' / 'spool'}\n", "")
    outage(1)
    ident = spools.directory().name
    assert spools.run("path", "--destination", ident[:6]) == (0, f"{spools.directory()}\n", "")


def test_without_a_home_directory_it_says_so(spools: Spools, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, and which option helps."""

    def homeless(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("BANYAN_HP_SPOOL_DIR")
    monkeypatch.setattr("platformdirs.user_state_path", homeless)
    code, out, err = spools.run("ls")
    assert (code, out) == (3, "")
    assert err.startswith("banyan-hp: no directory is known, say --dir")


def test_a_destination_must_be_one(spools: Spools, make_logger: MakeLogger, port: int) -> None:
    """No match, or several, are wrong usage; the message names them."""
    for project in ("one", "two"):
        logger = make_logger(f"http://127.0.0.1:{port}", max_retries=0, project_id=project)
        logger.log_prompt(input="x", output="y")
        logger.shutdown(timeout=5)
    code, _, err = spools.run("ls", "--destination", "zzz")
    assert (code, "begins with 'zzz'" in err) == (2, True)
    code, _, err = spools.run("ls", "--destination", "")
    assert (code, len(re.findall(DESTINATION, err))) == (2, 2)
    (first, second) = spools.json("ls")
    assert {first["project"], second["project"]} == {"one", "two"}


def test_the_directory_says_whose_it_is_but_not_the_key(
    spools: Spools, outage: Callable[..., None], port: int
) -> None:
    """Client, URL, project, and a fingerprint from which no key can be had."""
    outage(1, project_id="acme")
    said = spools.directory() / ADDRESS_NAME
    assert json.loads(said.read_text()) == {
        "client": "banyan",
        "base_url": f"http://127.0.0.1:{port}",
        "project": "acme",
        "key_fingerprint": key_fingerprint(KEY),
    }
    assert said.stat().st_mode & 0o777 == 0o600
    assert not any(KEY.encode() in path.read_bytes() for path in spools.directory().iterdir())


# -- ls ------------------------------------------------------------------------------------------------------


def test_ls_of_nothing(spools: Spools) -> None:
    """Nothing there is no trouble."""
    assert spools.run("ls") == (0, f"nothing in {spools.base / 'spool'}\n", "")
    assert spools.run("ls", "--json") == (0, "", "")


def test_ls_counts_what_is_there(spools: Spools, outage: Callable[..., None], port: int) -> None:
    """Unsent and all records, bytes, state, and whose they are."""
    outage(3)
    (seen,) = spools.json("ls")
    (segment,) = spools.segments()
    assert seen.pop("age_s") < 60
    assert re.fullmatch(r"20\d\d-.*Z", seen.pop("created"))
    assert seen == {
        "destination": segment.parent.name,
        "client": "banyan",
        "base_url": f"http://127.0.0.1:{port}",
        "project": "",
        "key_fingerprint": key_fingerprint(KEY),
        "segment": segment.name,
        "state": "free",
        "unsent": 3,
        "raw": 0,
        "records": 3,
        "damaged": 0,
        "bytes": segment.stat().st_size,
    }
    acknowledge(segment, 0)
    code, out, _ = spools.run("ls")
    title, head, row = out.splitlines()
    assert code == 0
    assert title == f"banyan http://127.0.0.1:{port}, key {key_fingerprint(KEY)} ({segment.parent.name})"
    assert head.split() == ["SEGMENT", "STATE", "UNSENT", "RECORDS", "BYTES", "AGE"]
    assert row.split()[:4] == [segment.name, "free", "2", "3"]


def test_ls_tells_states_apart(spools: Spools, outage: Callable[..., None]) -> None:
    """Held by a live process, damaged, of another version's format; torn while being written is no damage."""
    outage(2)
    (segment,) = spools.segments()
    segment.write_bytes(segment.read_bytes() + b'{"crc":"torn')
    (segment.with_name(segment.name.replace("v1", "v2"))).write_bytes(b"?")
    owner = take_over(segment)
    assert owner is not None
    states = {seen["segment"]: (seen["state"], seen["unsent"], seen["damaged"]) for seen in spools.json("ls")}
    assert states == {
        segment.name: ("held", 2, 0),
        segment.name.replace("v1", "v2"): ("unknown format", None, None),
    }
    owner.close()
    assert spools.json("ls")[0]["state"] == "damaged"
    assert "unknown format       ?        ?" in spools.run("ls")[1]


def test_looking_changes_nothing(spools: Spools, outage: Callable[..., None]) -> None:
    """`ls` and `show` are safe at any time."""
    outage(2)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in spools.directory().iterdir()}
    for words in (["ls"], ["show"], ["quarantine", "ls"], ["quarantine", "show"]):
        assert spools.run(*words)[0] == 0
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in spools.directory().iterdir()}
    assert after == before


# -- show ----------------------------------------------------------------------------------------------------


def test_show_tells_unsent_records(spools: Spools, outage: Callable[..., None]) -> None:
    """In the order of the disk, with the very body that will be sent."""
    outage(3)
    (segment,) = spools.segments()
    first, _, third = spools.json("show")
    assert {record["body"]["output"] for record in (first, third)} == {"x"}
    acknowledge(segment, 1)
    shown = spools.json("show")
    assert shown == [first, third]
    assert {record["destination"] for record in shown} == {segment.parent.name}
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT.*\.\d{3}Z", shown[0]["time"])
    assert spools.json("show", "--limit", "1") == shown[:1]
    assert spools.json("show", "--id", shown[1]["id"]) == shown[1:]
    assert spools.json("show", "--segment", segment.name) == shown
    assert spools.json("show", "--segment", "other") == []


def test_show_for_people_is_bounded_and_harmless(spools: Spools, make_logger: MakeLogger, port: int) -> None:
    """A line a record, as wide as the terminal; nothing in a record can steer the terminal."""
    logger = make_logger(f"http://127.0.0.1:{port}", max_retries=0)
    logger.log_prompt(input="\x9b31m" + "long " * 100, output="x")
    logger.shutdown(timeout=5)
    code, out, _ = spools.run("show")
    _, line = out.splitlines()
    assert code == 0
    assert len(line) == 110
    assert line.endswith("…")
    assert "\x9b" not in out


def test_a_reader_that_has_seen_enough_is_no_trouble(outage: Callable[..., None]) -> None:
    """`… | head -1` ends in peace."""
    outage(300)
    command = f"{sys.executable} -m banyan_hp.cli spool show | head -1"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("banyan http")


# -- replay --------------------------------------------------------------------------------------------------


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
    assert spools.run("replay")[1].splitlines()[1] == "  nothing to send"


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
    monkeypatch.setattr("banyan_hp.cli.spool.replay._SETTINGS", quick())
    outage(3)
    code, out, err = spools.run("replay")
    assert (code, out.splitlines()[1]) == (1, "  delivered 0, still on disk 3, quarantined 0, lost 0")
    assert "given up, offline: " in err
    assert [seen["unsent"] for seen in spools.json("ls")] == [3]


def quick() -> Any:
    from dataclasses import replace

    from banyan_hp.cli.spool import replay

    return replace(replay._SETTINGS, max_retries=0)


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
    assert "must be a fingerprint, as 'banyan-hp spool ls' shows it" in err
    assert not said or said not in err


def test_from_key_names_a_key_that_is_there(spools: Spools, outage: Callable[..., None]) -> None:
    """Else nothing would be sent, without a word."""
    outage(1)
    code, _, err = spools.run("replay", "--from-key", "0123456789abcdef")
    assert (code, "no destination has a key of the fingerprint" in err) == (2, True)


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
    assert f"Send 2 records and your API key to {url}? Say --yes, or --base-url with this URL" in err
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    code, _, err = spools.run(*there)
    assert (code, f"Send 2 records and your API key to {url}? [y/N]" in err) == (1, True)
    code, _, err = spools.run(*there, "--base-url", "http://127.0.0.1:9/")
    assert (code, f"these records go to {url}, not to the --base-url given" in err) == (2, True)
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


def test_replay_sends_no_key_to_what_is_no_url(spools: Spools, outage: Callable[..., None]) -> None:
    """A file that fits the directory's name, and names something else than a backend."""
    outage(1)
    forged = Address("banyan", "file:///etc", "", key_fingerprint(KEY))
    directory = spools.directory().rename(spools.base / "spool" / forged.directory_name)
    (directory / ADDRESS_NAME).write_text(json.dumps(forged.said()))
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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


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


# -- purge ---------------------------------------------------------------------------------------------------


def test_purge_asks_and_does(spools: Spools, outage: Callable[..., None]) -> None:
    """Nothing happens without a yes: not even where nobody can be asked."""
    outage(3)
    code, _, err = spools.run("purge")
    assert code == 2
    assert "Remove 1 segment with 3 unsent records for good? Say --yes" in err
    assert len(spools.segments()) == 1
    assert spools.run("purge", "--yes") == (0, "removed 1 segment with 3 unsent records\n", "")
    assert spools.segments() == []
    assert spools.run("purge") == (0, "removed 0 segments with 0 unsent records\n", "")


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 1, 1), ("", 1, 1)])
def test_purge_takes_yes_for_an_answer_and_nothing_else(
    spools: Spools,
    outage: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
    left: int,
) -> None:
    """No, or the end of the input, leaves everything."""
    outage(1)
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert spools.run("purge")[0] == code
    assert len(spools.segments()) == left


def test_ctrl_c_at_the_question_is_a_no(
    spools: Spools, outage: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no traceback."""

    class Interrupted(Terminal):
        def readline(self, _size: int = -1) -> str:  # type: ignore[override]
            raise KeyboardInterrupt

    outage(1)
    monkeypatch.setattr(sys, "stdin", Interrupted())
    code, _, err = spools.run("purge")
    assert (code, err.endswith("banyan-hp: interrupted\n")) == (1, True)
    assert len(spools.segments()) == 1


def test_purge_by_age_looks_at_the_youngest_record(spools: Spools, outage: Callable[..., None]) -> None:
    """A segment goes only when all that is unsent in it is older."""
    outage(1)
    (young,) = spools.segments()
    old_name = segment_name(1_000_000_000, "abc", 0)
    young.rename(young.with_name(old_name))
    assert spools.run("purge", "--yes", "--older-than", "1d")[0] == 0
    assert len(spools.segments()) == 1, "its record is young, whatever its name says"
    (old,) = spools.segments()
    acknowledge(old, 0)
    assert spools.run("purge", "--yes", "--older-than", "1d")[0] == 0
    assert spools.segments() == []


def test_purge_leaves_held_segments_unless_told(spools: Spools, outage: Callable[..., None]) -> None:
    """And those of another version in any case; what is left is an exit code."""
    outage(1)
    (segment,) = spools.segments()
    unknown = segment.with_name(segment.name.replace("v1", "v2"))
    unknown.write_bytes(b"?")
    owner = take_over(segment)
    assert owner is not None
    code, _, err = spools.run("purge", "--yes")
    assert (code, "running application holds it" in err, "another version" in err) == (1, True, True)
    assert spools.segments() == [segment, unknown]
    assert spools.run("purge", "--yes", "--held", "--segment", segment.name)[0] == 0
    assert spools.segments() == [unknown]
    owner.close()


# -- quarantine ----------------------------------------------------------------------------------------------


@pytest.fixture
def refused(spools: Spools, make_logger: MakeLogger, up: Callable[[], ScriptedServer]) -> ScriptedServer:
    """Records 1 and 3 of five are refused; the backend that refused them, now content with all."""
    back = up()
    back.handler = batching(
        verdicts=lambda record: (
            (422, "bad number") if record["body"]["metadata"]["number"] in (1, 3) else (201, None)
        )
    )
    logger = make_logger(back.url, flush_interval=60)  # one batch: what it accepts proves the others refused
    for number in range(5):
        logger.log_prompt(input=f"question {number}", output="x", metadata={"number": number})
    logger.shutdown(timeout=5)
    back.handler = batching()
    return back


def test_quarantine_ls_and_show(spools: Spools, refused: ScriptedServer) -> None:
    """How many and why; and each, with the backend's words and its body."""
    code, out, _ = spools.run("quarantine", "ls")
    assert code == 0
    assert [row.split()[:3] for row in out.splitlines()[1:]] == [
        ["REASON", "STATUS", "ENTRIES"], ["refused", "422", "2"]
    ]  # fmt: skip
    assert "quarantine: 2 entries" in spools.run("ls")[1]
    (kind,) = spools.json("quarantine", "ls")
    assert (kind["reason"], kind["status"], kind["entries"], kind["client"]) == ("refused", 422, 2, "banyan")
    shown = spools.json("quarantine", "show")
    assert [(entry["body"]["metadata"]["number"], entry["detail"]) for entry in shown] == [
        (1, "bad number"), (3, "bad number")
    ]  # fmt: skip
    assert spools.json("quarantine", "show", "--id", shown[1]["id"]) == shown[1:]
    assert spools.json("quarantine", "show", "--limit", "1") == shown[:1]
    text = spools.run("quarantine", "show")[1]
    assert f"{shown[0]['id']}  {shown[0]['quarantined']}  refused 422: bad number" in text


def test_requeued_records_are_sent_under_their_ids(spools: Spools, refused: ScriptedServer) -> None:
    """Out of the quarantine, into a segment of its own, and on to the backend."""
    ids = [entry["id"] for entry in spools.json("quarantine", "show")]
    times = [entry["time"] for entry in spools.json("quarantine", "show")]
    code, out, err = spools.run("quarantine", "requeue", "--all")
    assert (code, err) == (0, "")
    assert out == "requeued 2 records, to be sent with the rest of the queue\n"
    assert spools.run("quarantine", "ls")[1] == "nothing in quarantine\n"
    assert [(record["id"], record["time"]) for record in spools.json("show")] == list(
        zip(ids, times, strict=True)
    )
    before = len(refused.ids())
    assert spools.run("replay")[0] == 0
    assert refused.ids()[before:] == ids
    assert spools.run("quarantine", "requeue", "--all") == (0, "nothing to requeue\n", "")


def test_requeue_of_one_leaves_the_other(spools: Spools, refused: ScriptedServer) -> None:
    """By the beginning of its id; an id that nothing has is no success."""
    first, second = [entry["id"] for entry in spools.json("quarantine", "show")]
    assert spools.run("quarantine", "requeue", "--id", first)[0] == 0
    assert [entry["id"] for entry in spools.json("quarantine", "show")] == [second]
    assert spools.run("quarantine", "requeue", "--id", "nobody") == (1, "nothing to requeue\n", "")


def test_what_can_t_or_should_not_be_sent_stays(spools: Spools, refused: ScriptedServer) -> None:
    """Damaged lines never; records that before_send has not seen to, unless it is said, wait until it has."""
    kept = spools.quarantine()
    kept.take(lambda _: True, lambda _: None)
    kept.add_damage("segment", [b"\xff damaged"])
    kept.add(Entry(UNSCRUBBED, b'{"secret":1}', id="raw", time=1.0))
    code, _, err = spools.run("quarantine", "requeue", "--all")
    assert (code, len(spools.segments())) == (1, 1)
    assert "there is no whole record to send" in err
    requests = len(refused.requests)
    code, _, err = spools.run("replay", "--yes")
    assert (code, len(refused.requests)) == (1, requests)
    assert "left alone: 1 record that before_send has not seen" in err
    assert [seen["raw"] for seen in spools.json("ls")] == [1]
    assert spools.run("purge", "--yes")[0] == 0
    kept.add(Entry(UNSCRUBBED, b'{"secret":1}', id="raw", time=1.0))
    assert spools.run("quarantine", "requeue", "--id", "raw", "--unscrubbed")[0] == 0
    assert [seen["raw"] for seen in spools.json("ls")] == [0]
    assert [record["body"] for record in spools.json("show")] == [{"secret": 1}]
    (line,) = spools.json("quarantine", "show")
    assert (line["base64"], line["segment"]) == ("/yBkYW1hZ2Vk", "segment")


def test_a_crash_between_requeue_s_two_steps_loses_nothing(
    spools: Spools, refused: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records are in both places then, under the same ids."""

    def crash(*_: object) -> None:
        raise OSError("crash")

    ids = [entry["id"] for entry in spools.json("quarantine", "show")]
    monkeypatch.setattr(Quarantine, "_leave_out", crash)
    assert spools.run("quarantine", "requeue", "--all")[0] == 3
    assert [record["id"] for record in spools.json("show")] == ids
    assert [entry["id"] for entry in spools.json("quarantine", "show")] == ids


def test_a_requeue_that_the_disk_does_not_take_changes_nothing(
    spools: Spools, refused: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3, the entries where they were, and no half segment."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Segment, "write", full)
        code, _, err = spools.run("quarantine", "requeue", "--all")
    assert (code, "No space left" in err) == (3, True)
    assert spools.segments() == []
    assert len(spools.json("quarantine", "show")) == 2


def test_quarantine_purge(spools: Spools, refused: ScriptedServer) -> None:
    """It asks; by age, by id, or all."""
    first, second = [entry["id"] for entry in spools.json("quarantine", "show")]
    code, _, err = spools.run("quarantine", "purge")
    assert (code, "Remove 2 quarantined entries for good?" in err) == (2, True)
    assert spools.run("quarantine", "purge", "--yes", "--older-than", "1h")[1].startswith("removed 0 entries")
    assert spools.run("quarantine", "purge", "--yes", "--id", first)[1].startswith("removed 1 entry")
    assert [entry["id"] for entry in spools.json("quarantine", "show")] == [second]
    assert spools.run("quarantine", "purge", "--yes")[0] == 0
    assert not list(spools.directory().glob("quarantine*"))


# -- the README ----------------------------------------------------------------------------------------------


def transcript() -> list[tuple[str, str]]:
    """The commands of the README's transcript, each with what it prints."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    block = re.findall(r"^```console\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)[0]
    return re.findall(r"^\$ banyan-hp spool (.*)\n((?:(?!\$).*\n)*)", block, re.MULTILINE)


def alike(text: str) -> str:
    """With everything that is another one each time made the same."""
    text = re.sub(r":\d{4,5}\b", ":PORT", text)
    text = re.sub(DESTINATION, "DESTINATION", text)
    text = re.sub(r"\d{13}-[0-9a-f]{24}-", "SEGMENT-", text)
    text = re.sub(r"[0-9a-f]{16}-[0-9a-f]+-[0-9a-f]+", "ID", text)
    text = re.sub(r"20\d\d-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    return re.sub(r"\b\d+[smhd]\n", "AGE\n", text)


def test_the_readme_s_transcript_is_true(
    spools: Spools, make_logger: MakeLogger, port: int, up: Callable[[], ScriptedServer]
) -> None:
    """Three records of an outage, one of which the backend refuses until it has been mended."""
    logger = make_logger(f"http://127.0.0.1:{port}", max_retries=0)
    for number in range(3):
        logger.log_prompt(input=f"question {number}", output=f"answer {number}")
    logger.shutdown(timeout=5)
    back = up()
    back.handler = batching(
        verdicts=lambda record: (
            (422, "duration_ms is missing") if record["body"]["input"] == "question 1" else (201, None)
        )
    )
    commands = transcript()
    assert len(commands) == 5
    for words, printed in commands:
        assert alike(spools.run(*words.split())[1]) == alike(printed)
        if "requeue" in words:
            back.handler = batching()


# -- usage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "COMMAND"),
        (["quarantine"], "COMMAND"),
        (["show", "--limit", "0"], "must be a whole number of 1 or more, was '0'"),
        (["replay", "--timeout", "-1"], "must be a number of seconds above 0, was '-1'"),
        (["purge", "--older-than", "week"], "must be a number with s, m, h or d, as in 7d, was 'week'"),
        (["quarantine", "requeue"], "--id --all"),
    ],
)
def test_wrong_usage_is_2_and_named(spools: Spools, words: list[str], complaint: str) -> None:
    """As for the rest of the command line."""
    code, _, err = spools.run(*words)
    assert (code, complaint in err) == (2, True)


def test_one_bad_directory_does_not_keep_the_others_from_it(
    spools: Spools,
    outage: Callable[..., None],
    up: Callable[[], ScriptedServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is named, it makes the exit code, and the rest is done."""
    outage(1, project_id="one")
    outage(1, project_id="two")
    up()
    bad = sorted((spools.base / "spool").iterdir())[0]
    real = Path.stat

    def stat(path: Path, **options: Any) -> os.stat_result:
        found = real(path, **options)
        return os.stat_result((*found[:4], 12345, *found[5:])) if path == bad else found

    monkeypatch.setattr(Path, "stat", stat)
    for words in (["ls"], ["show"], ["quarantine", "ls"], ["replay"], ["purge", "--yes"]):
        code, out, err = spools.run(*words)
        assert (code, "belongs to another user" in err) == (3, True)
        assert bad.name in err
        assert bad.name not in out
    monkeypatch.undo()
    assert [path.parent for path in spools.segments()] == [bad]


@pytest.mark.parametrize("words", [["replay"], ["quarantine", "requeue"], ["purge"]])
def test_help_tells_the_exit_codes(spools: Spools, words: list[str]) -> None:
    """Where people look for them."""
    code, out, _ = spools.run(*words, "--help")
    assert (code, "exit codes:\n  0  done\n" in out) == (0, True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_can_t_be_read_is_3(spools: Spools, outage: Callable[..., None]) -> None:
    """One line, no traceback."""
    outage(1)
    spools.directory().chmod(0)
    try:
        assert spools.run("ls")[0] == 3
    finally:
        spools.directory().chmod(0o700)


def test_a_failing_disk_is_3(
    spools: Spools, outage: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, no traceback, whichever command it is."""
    outage(1)

    def broken(*_: object, **__: object) -> Segment:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("banyan_hp.engine.spool.survey.look", broken)
    for words in (["ls"], ["show"], ["replay"], ["purge", "--yes"]):
        code, _, err = spools.run(*words)
        assert (code, "the spool can't be used: [Errno 5]" in err) == (3, True)
