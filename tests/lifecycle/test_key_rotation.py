"""What waits under one key leaves under another one only if the application says so. In processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from banyan_hp.engine.spool.layout import key_fingerprint
from tests.support.backend import Backend
from tests.support.process import run_python

LOG_AND_LEAVE = """
logger = PromptStackLogger("psk_old", os.environ["URL"], retry_delay=0.05, max_retries=0)
for number in range(50):
    assert logger.log_prompt("q", "a", metadata={"number": number})
logger.shutdown(2)
assert logger.get_stats()["logs_spooled"] == 50
"""

COME_BACK = """
previous = os.environ["PREVIOUS"].split()
logger = PromptStackLogger(
    "psk_new", os.environ["URL"], retry_delay=0.05, flush_interval=0.05, previous_keys=previous
)
assert logger.log_prompt("q", "a", metadata={"number": 50})
assert logger.flush(5)
deadline = time.monotonic() + float(os.environ["PATIENCE"])
while logger.get_stats()["logs_recovered"] < 50 and time.monotonic() < deadline:
    time.sleep(0.02)
print(logger.get_stats()["logs_recovered"])
logger.shutdown(2)
"""


def test_what_waits_under_a_previous_key_leaves_under_the_new_one(tmp_path: Path) -> None:
    """An application that was started with a revoked key, stopped, and started with the new one."""
    with Backend(api_keys=("psk_new",)) as backend:
        finished = run_python(LOG_AND_LEAVE, url=backend.url)
        assert finished.status == 0, finished.stderr
        finished = run_python(COME_BACK, url=backend.url, PATIENCE="10", PREVIOUS="psk_old")
        assert (finished.status, finished.stdout) == (0, "50\n"), finished.stderr
        assert (backend.count(), backend.deliveries()) == (51, 51)
    assert not records_left(tmp_path)


@pytest.mark.parametrize("good", [("psk_new",), ("psk_new", "psk_old")])
def test_two_tenants_share_nothing(tmp_path: Path, good: tuple[str, ...]) -> None:
    """One of them ends with a key that is refused, or in an outage; the other must not send its records."""
    with Backend(api_keys=good) as backend:
        if "psk_old" in good:
            backend.stop()
        finished = run_python(LOG_AND_LEAVE, url=backend.url)
        assert finished.status == 0, finished.stderr
        if "psk_old" in good:
            backend.start()
        finished = run_python(COME_BACK, url=backend.url, PATIENCE="1", PREVIOUS="")
        assert (finished.status, finished.stdout) == (0, "0\n"), finished.stderr
        assert backend.count() == 1
    assert records_left(tmp_path) == 50


def records_left(tmp_path: Path) -> int:
    paths = [path for path in (tmp_path / "state").rglob("*.v1.jsonl") if path.name[0].isdigit()]
    return sum(len(path.read_bytes().splitlines()) for path in paths)


CHANGE_AND_LEAVE = """
client = banyan.HuggingPlace("hp_old", "org", base_url=os.environ["URL"], retry_delay=0.05)
client.log({"user_prompt": "q", "response": "under the old key"})
client.update_config(api_key="hp_new")
client.log({"user_prompt": "q", "response": "under the new key"})
"""


def test_an_exit_leaves_each_record_under_the_key_it_was_logged_with(tmp_path: Path) -> None:
    """The configuration has changed and the backend is down: two directories, a record in each."""
    with Backend() as backend:
        backend.stop()
        finished = run_python(CHANGE_AND_LEAVE, url=backend.url)
    assert (finished.status, finished.stderr) == (0, ""), finished.stderr
    found = {}
    for path in (tmp_path / "state" / "spool").rglob("*.v1.jsonl"):
        if path.name[0].isdigit():
            (line,) = path.read_bytes().splitlines()
            found[path.parent.name.rpartition("-")[2]] = json.loads(line)["body"]["response"]
    assert found == {
        key_fingerprint("hp_old"): "under the old key",
        key_fingerprint("hp_new"): "under the new key",
    }
