"""`banyan-hp spool path | ls | show | purge`, against what real engines have left during an outage."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from banyan_hp.engine.spool.layout import ADDRESS_NAME, key_fingerprint, segment_name
from banyan_hp.engine.spool.lease import take_over
from tests.conftest import MakeLogger
from tests.support.scripted import ScriptedServer
from tests.support.spools import DESTINATION, KEY, Spools, Terminal, acknowledge

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
    assert err.startswith("banyan-hp: no directory is known, pass --dir")


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


def test_ls_is_silent_about_what_is_delivered(
    spools: Spools, outage: Callable[..., None], up: Callable[[], ScriptedServer]
) -> None:
    """One line for all destinations where nothing waits; `--all` shows each."""
    for key in (KEY, "psk_other"):
        outage(1, api_key=key)
    up()
    assert spools.run("replay", "--from-key", key_fingerprint("psk_other"))[0] == 0
    out = spools.run("ls")[1]
    assert out.splitlines()[-1] == "nothing waits at 1 destination; --all shows it"
    assert key_fingerprint("psk_other") not in out
    assert spools.run("replay")[0] == 0
    assert spools.run("ls")[1] == "nothing waits at 2 destinations; --all shows them\n"
    assert spools.run("ls", "--all")[1].count("nothing waits to be sent") == 2


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
    for words in (["ls"], ["ls", "--all"], ["show"], ["quarantine", "ls"], ["quarantine", "show"]):
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


# -- purge ---------------------------------------------------------------------------------------------------


def test_purge_asks_and_does(spools: Spools, outage: Callable[..., None]) -> None:
    """Nothing happens without a yes: not even where nobody can be asked."""
    outage(3)
    code, _, err = spools.run("purge")
    assert code == 2
    assert (
        "Remove 1 segment with 3 unsent records for good? There is no terminal to ask on: pass --yes" in err
    )
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
