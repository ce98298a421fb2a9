"""What `get_stats()` counts in Prometheus' text format, without any package of Prometheus'."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import banyan_hp
from banyan_hp import ConfigurationError, HuggingPlace, PromptStackLogger
from banyan_hp.guide import page
from banyan_hp.integrations.families import FAMILIES, GAUGES, REASONS, STATES, samples_of
from banyan_hp.integrations.prometheus import metrics_text
from tests.conftest import MakeLogger
from tests.support.scripted import Reply, ScriptedServer
from tests.support.servers import wait_until

NOWHERE = "http://127.0.0.1:9"
SAMPLE = re.compile(r'(\w+)(\{(?:\w+="(?:[^"\\\n]|\\["\\n])*",?)*\})? (-?[\d.e+]+)')
NOT_EXPORTED = {
    "last_error": "a text",
    "logs_recovered": "adopted.recovered",
    "adopted.logs": "the sum of those that wait and of those that are settled",
}


class Fixed:
    """A logger with these stats."""

    def __init__(self, **stats: Any) -> None:
        self.stats = {**PromptStackLogger(enabled=False).get_stats(), **stats}

    def get_stats(self) -> dict[str, Any]:
        return self.stats


def parsed(text: str) -> dict[str, float]:
    """Each sample by its name and labels; every line is checked for its form."""
    found, typed = {}, set()
    for line in text.splitlines():
        kind, name, *_ = line.removeprefix("# ").split(" ")
        if kind in ("HELP", "TYPE"):
            typed.add(name)
            continue
        match = SAMPLE.fullmatch(line)
        assert match is not None, line
        assert match[1] in typed, line
        assert f"{match[1]}{match[2] or ''}" not in found, line
        found[f"{match[1]}{match[2] or ''}"] = float(match[3])
    return found


def test_every_number_of_the_stats_is_exported() -> None:
    """Or it is said here why not."""
    stats = Fixed().stats
    plain = [key for key, value in stats.items() if not isinstance(value, (dict, bool, str))]
    nested = [f"adopted.{key}" for key in stats["adopted"]]
    missing = set()
    for number, key in enumerate([*plain, *nested], start=1001):
        changed = dict(stats)
        if key.startswith("adopted."):
            changed["adopted"] = {**stats["adopted"], key.removeprefix("adopted."): number}
        else:
            changed[key] = number
        values = {value for each in FAMILIES for value in samples_of(each, {"x": changed}).values()}
        if number not in values and key != "last_success_age_s":  # which is a time
            missing.add(key)
    assert missing == set(NOT_EXPORTED)


def test_reasons_and_states_are_those_of_the_guide() -> None:
    """Each has a series before it first occurs."""
    text = page("stats").text
    states = text.partition("## States")[2].partition("\n## ")[0]
    reasons = text.partition("## Why records are dropped")[2].partition("\n## ")[0]
    beginnings = [line.partition(": ")[0] for line in reasons.splitlines() if line.startswith("- ")]
    assert set(re.findall(r"`(\w+)`", " ".join(beginnings))) == set(REASONS)
    assert set(STATES) <= set(re.findall(r"`(\w+)`:", states))
    assert re.findall(r"`(\w+)`:", states) == [*STATES]


def test_names_follow_the_conventions() -> None:
    """Prefix, base units, `_total` of counters only, a sentence of help, no name twice."""
    names = [each.sample_name for each in FAMILIES]
    assert len(names) == len(set(names))
    for each in FAMILIES:
        assert re.fullmatch(r"banyan_hp_[a-z_]+[a-z]", each.sample_name)
        assert (each.kind == "counter") == each.sample_name.endswith("_total")
        assert re.fullmatch(r"[A-Z][^\n\\]*\.", each.help)
        assert not re.search(r"(_s|_ms|_count|_sum|_total_total)$", each.sample_name)
    assert {each.together for each in GAUGES} == {"livesum", "livemax", "max"}


def test_the_text_says_what_became_of_records(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """Delivered, and refused by the backend; the state; whose they are."""
    client = make_logger(server.url)
    client.log_prompt("q", "a")
    assert client.flush(5)
    before = time.time()
    found = parsed(metrics_text({"checkout": client}))
    assert found['banyan_hp_records_accepted_total{logger="checkout"}'] == 1
    assert found['banyan_hp_records_total{logger="checkout",outcome="delivered"}'] == 1
    assert found['banyan_hp_records_total{logger="checkout",outcome="dropped"}'] == 0
    assert found['banyan_hp_records_dropped_total{logger="checkout",reason="queue_full"}'] == 0
    assert found['banyan_hp_state{logger="checkout",state="online"}'] == 1
    assert found['banyan_hp_state{logger="checkout",state="auth_error"}'] == 0
    assert found['banyan_hp_last_success_timestamp_seconds{logger="checkout"}'] == pytest.approx(
        before, abs=5
    )
    assert "banyan_hp_contexts_unknown_total" in found


def test_a_backlog_on_disk_shows_its_age_and_size(make_logger: MakeLogger, server: ScriptedServer) -> None:
    """Which the queue in memory does not."""
    server.handler = lambda _request: Reply(401)
    client = make_logger(server.url, max_retries=0)
    client.log_prompt("q", "a")
    assert client.flush(5).spooled == 1
    found = parsed(metrics_text(client))
    assert found['banyan_hp_records_waiting{logger="default",place="disk"}'] == 1
    assert found['banyan_hp_spool_bytes{logger="default"}'] > 100
    assert 0 <= found['banyan_hp_oldest_record_age_seconds{logger="default",place="disk"}'] < 60
    assert found['banyan_hp_state{logger="default",state="auth_error"}'] == 1
    stats = client.get_stats()
    assert stats["oldest_spooled_age_s"] is not None
    server.handler = lambda _request: Reply(200)
    assert client.flush(5)
    wait_until(lambda: not client.get_stats()["spool_bytes"], 5, lambda: "the file is still there")
    assert client.get_stats()["oldest_spooled_age_s"] is None


def test_what_another_key_left_on_disk_counts_until_it_is_sent(server: ScriptedServer) -> None:
    """After `update_config()` the engine before drains; once it has ended, nothing of it is left."""
    server.handler = lambda _request: Reply(401)
    with HuggingPlace("hp_old", "org", base_url=server.url, max_retries=0, flush_interval=0.05) as client:
        client.log({"user_prompt": "q", "response": "a"})
        client.flush(5)
        wait_until(lambda: client.get_stats()["logs_spooled"] == 1, 5, lambda: str(client.get_stats()))
        client.update_config(api_key="hp_new")
        stats = client.get_stats()
        assert stats["spool_bytes"] > 100
        assert stats["oldest_spooled_age_s"] is not None
        server.handler = lambda _request: Reply(200)
        wait_until(lambda: bool(client.flush(5)), 20, lambda: str(client.get_stats()))
        wait_until(lambda: not client.get_stats()["spool_bytes"], 5, lambda: str(client.get_stats()))
        assert client.get_stats()["oldest_spooled_age_s"] is None


def test_several_loggers_make_one_text() -> None:
    """Each with its own label; prompts only where there are prompts; what is of the process once."""
    with (
        PromptStackLogger("psk_a", base_url=NOWHERE, spool=False) as banyan,
        HuggingPlace("hp_a", "org", base_url=NOWHERE, spool=False) as huggingplace,
    ):
        found = parsed(metrics_text({"banyan": banyan, "hp": huggingplace}))
    assert 'banyan_hp_prompt_calls_total{logger="banyan",cache="hit"}' in found
    assert 'banyan_hp_prompt_calls_total{logger="hp",cache="hit"}' not in found
    assert [name for name in found if "contexts_unknown" in name] == ["banyan_hp_contexts_unknown_total"]


def test_labels_are_escaped() -> None:
    """Names of experiments and loggers are texts of others."""
    text = metrics_text({'a"b': Fixed(experiments={"x\\y\nz": {"v": 3}})})
    assert parsed(text)
    assert r'banyan_hp_experiment_exposures_total{logger="a\"b",experiment="x\\y\nz",version="v"} 3' in text


def test_the_default_logger_needs_no_name() -> None:
    """Also before there is one."""
    assert parsed(metrics_text())['banyan_hp_state{logger="default",state="idle"}'] == 1
    banyan_hp.configure("psk_a", base_url=NOWHERE, spool=False)
    banyan_hp.shutdown(0)
    assert parsed(metrics_text())['banyan_hp_state{logger="default",state="stopped"}'] == 1


@pytest.mark.parametrize("wrong", ["psk_key", {"a": "psk_key"}, {}, {1: Fixed()}, PromptStackLogger])
def test_what_is_no_logger_is_refused(wrong: Any) -> None:
    """At the call."""
    with pytest.raises(ConfigurationError, match="logger must be a PromptStackLogger, a HuggingPlace"):
        metrics_text(wrong)


def test_the_wrong_entry_of_a_dict_is_named() -> None:
    """A dict is allowed: it is no use to say that one came."""
    with pytest.raises(ConfigurationError, match="was a dict with int in it"):
        metrics_text({"a": Fixed(), "b": 3})  # type: ignore[dict-item]
    with pytest.raises(ConfigurationError, match="was a dict with a name that is int in it"):
        metrics_text({1: Fixed()})  # type: ignore[dict-item]


def test_promtool_finds_nothing_wrong(tmp_path: Path) -> None:
    """Prometheus' own linter of names, units and help texts."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    text = metrics_text(Fixed(last_success_age_s=1.5, experiments={"e": {"v": 1}}))
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
