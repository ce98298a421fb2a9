"""gevent and eventlet: patched before us, patched after us, and merely installed."""

from __future__ import annotations

import importlib.util

import pytest

from tests.lifecycle.test_exit_and_fork import ids
from tests.support.process import run_python
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import batching
from tests.support.timing import assert_in_time

QUIET = "import warnings; warnings.simplefilter('ignore'); "  # both warn of being late, or of their own age
PATCH = {
    "gevent": QUIET + "from gevent import monkey; monkey.patch_all()",
    "eventlet": QUIET + "import eventlet; eventlet.monkey_patch()",
}
SPAWN = {
    "gevent": "import gevent; spawn, sleep = gevent.spawn, gevent.sleep; wait = lambda g: g.join(20)",
    "eventlet": "import eventlet; spawn, sleep = eventlet.spawn, eventlet.sleep; wait = lambda g: g.wait()",
}
SET_FORWARD = """
import time
seen, real = 0, time.monotonic
time.monotonic = lambda: real() + 0.002 * seen
"""
HUNDRED_GREENLETS = """
logger = make(flush_interval=0.05)
def log(offset):
    for number in range(offset, offset + 10):
        assert logger.log_prompt("q", "a", metadata={"number": number})
        sleep(0)
beats = []
def beat():
    while True:
        beats.append(time.monotonic())
        sleep(0.01)
spawn(beat)
greenlets = [spawn(log, 10 * n) for n in range(100)]
for greenlet in greenlets: wait(greenlet)
began = len(beats)
assert logger.flush(10)
"""


def skip_without(library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
@pytest.mark.parametrize("when", ["before the import", "before the first logger"])
def test_a_hundred_greenlets_log_and_flush(library: str, when: str) -> None:
    """All records arrive; while one greenlet flushes, the others go on; the exit drains."""
    skip_without(library)
    early, late = (PATCH[library], "") if when == "before the import" else ("", PATCH[library])
    with ScriptedServer(batching(latency=0.1)) as server:
        finished = run_python(
            f"{late}\n{SPAWN[library]}\n{HUNDRED_GREENLETS}"
            "assert len(beats) - began > 3, (began, len(beats))\n"
            "logger.log_prompt('q', 'a', metadata={'number': 1000})\n",
            url=server.url,
            before=early,
        )
        assert (finished.status, finished.stderr) == (0, "")
        assert ids(server) == list(range(1001))


def test_gevent_forks() -> None:
    """Parent and child, each on a hub of its own, send their own."""
    skip_without("gevent")
    with ScriptedServer(batching()) as server:
        finished = run_python(
            SPAWN["gevent"]
            + HUNDRED_GREENLETS
            + """
pid = os.fork()
if pid == 0:
    log(1000)
    assert logger.flush(10)
    assert logger.get_stats()["logs_sent"] == 10
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
""",
            url=server.url,
            before=PATCH["gevent"],
        )
        assert (finished.status, finished.stderr) == (0, "")
        assert ids(server) == list(range(1010))


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_merely_installed_or_imported_they_change_nothing(library: str) -> None:
    """Not patched: the worker is a thread, and is not held up by a busy hub."""
    skip_without(library)
    with ScriptedServer(batching()) as server:
        finished = run_python(
            f"import warnings; warnings.simplefilter('ignore'); import {library}\n"
            """
logger = make(flush_interval=0.01)
assert logger.log_prompt("q", "a", metadata={"number": 0})
assert any(isinstance(t, threading.Thread) and t.name == "banyan_hp-0" for t in threading.enumerate())
end = time.monotonic() + 30
while logger.get_stats()["logs_sent"] < 1 and time.monotonic() < end: pass
assert logger.get_stats()["logs_sent"] == 1
""",
            url=server.url,
        )
        assert (finished.status, finished.stderr) == (0, "")


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
@pytest.mark.parametrize("hub", ["idle", "busy"])
def test_sigterm_drains(library: str, hub: str) -> None:
    """SIGTERM while the hub waits, or while greenlets run: all is delivered before its default action."""
    skip_without(library)
    with ScriptedServer(batching()) as server:
        finished = run_python(
            f"import signal, subprocess\n{SPAWN[library]}\n"
            f"""
logger = make(flush_interval=30)
for number in range(20):
    logger.log_prompt("q", "a", metadata={{"number": number}})
leave()
if "{hub}" == "idle":
    subprocess.Popen(["sh", "-c", f"sleep 0.2; kill -TERM {{os.getpid()}}"])
    sleep(20)
else:
    os.kill(os.getpid(), signal.SIGTERM)
    end = time.monotonic() + 20
    while time.monotonic() < end: sleep(0.01)
""",
            url=server.url,
            before=PATCH[library],
        )
        assert (finished.status, finished.stderr) == (-15, "")
        assert ids(server) == list(range(20))
        assert_in_time(finished.exit_seconds, 10)


def test_timers_and_sockets_have_their_turn_beside_a_slow_before_send() -> None:
    """gevent: while a backlog is prepared, a greenlet that sleeps has its turn after each slice.

    Told by the records that a slice of 20 ms has time for, of 2 ms each by a clock that `before_send` sets
    forward; a machine that stands still only makes them fewer.
    """
    skip_without("gevent")
    with ScriptedServer(batching()) as server:
        finished = run_python(
            SPAWN["gevent"]
            + """
def slow(record):
    global seen
    seen += 1
    return record
logger = make(before_send=slow)
for number in range(300):
    logger.log_prompt("q", "a", metadata={"number": number})
beats = []
def beat():
    while True:
        beats.append(seen)
        sleep(0.00001)
spawn(beat)
assert logger.flush(20)
assert seen == 300
gaps = sorted(later - earlier for earlier, later in zip(beats, beats[1:]))
assert gaps[-1] <= 20, gaps[-20:]
""",
            url=server.url,
            before=PATCH["gevent"] + SET_FORWARD,
        )
        assert (finished.status, finished.stderr) == (0, "")


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_greenlets_of_one_thread_change_the_configuration_one_at_a_time(library: str) -> None:
    """A change waits for a disk, where greenlets switch: the next one begins when it is through."""
    skip_without(library)
    program = f"""
    {SPAWN[library]}
    from banyan_hp import HuggingPlace
    from banyan_hp.engine.engine import Engine
    client = HuggingPlace("key", "org", base_url="http://127.0.0.1:9", on_sigterm="off")
    steps, reconfigure = [], Engine.reconfigure
    def slowly(engine, *arguments):
        steps.append("begins")
        sleep(0.05)
        reconfigure(engine, *arguments)
        steps.append("ends")
    Engine.reconfigure = slowly
    for greenlet in [spawn(client.update_config, timeout=1000 + n) for n in range(3)]: wait(greenlet)
    print(*steps)
    """
    finished = run_python(program, url="http://127.0.0.1:9", before=PATCH[library])
    assert (finished.status, finished.stderr) == (0, "")
    assert finished.stdout.split() == ["begins", "ends"] * 3
