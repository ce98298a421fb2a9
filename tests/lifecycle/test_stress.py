"""Everything at once, by a seed: log, fork, flush, collect garbage, shut down, begin anew."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.support.backend import Backend
from tests.support.process import run_python

ROOT = Path(__file__).parents[2]

STORM = """
import gc, random, traceback
from pathlib import Path
seed, seconds, out = int(os.environ["SEED"]), float(os.environ["SECONDS"]), Path(os.environ["OUT"])
chance = random.Random(seed)
end = time.monotonic() + seconds
lock = threading.Lock()

class Chatty:
    def __init__(self, logger):
        self.me, self.logger = self, logger
    def __del__(self):
        log(self.logger, "destructor")

def log(logger, what):
    name = os.urandom(6).hex()
    accepted = logger.log_prompt(what, "a", metadata={"name": name})
    # Without a thread, False means "not delivered yet": it may be on disk, or deferred.
    sign = "+" if accepted else "?" if not logger._settings.background_thread else "-"
    os.write(notes, f"{sign}{name}\\n".encode())

def new_logger():
    return make(
        flush_interval=chance.choice([0.01, 0.1]),
        durability=chance.choice(["memory", "memory", "disk"]),
        queue_size=chance.choice([20, 10_000]),
        background_thread=chance.random() > 0.1,
    )

def child():
    for logger in loggers:
        for _ in range(chance.randrange(5)):
            log(logger, "child")
        if chance.random() < 0.3:
            Chatty(logger)
    if chance.random() < 0.3 and (pid := os.fork()):
        assert os.waitpid(pid, 0)[1] == 0
    gc.collect()
    for logger in loggers:
        log(logger, "child")
        logger.shutdown(10)

def act():
    action = chance.randrange(9)
    logger = chance.choice(loggers)
    if action < 4:
        for _ in range(chance.randrange(30)):
            log(logger, "log")
    elif action == 4:
        Chatty(logger)
        gc.collect()
    elif action == 5:
        logger.flush(chance.choice([0, 0.05, 5]))
    elif action == 6:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                child()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        children.append(pid)
    elif action == 7:
        loggers.remove(logger)
        logger.shutdown(chance.choice([0, 5]))
        loggers.append(new_logger())
    else:
        thread = threading.Thread(target=lambda: [log(logger, "thread") for _ in range(20)])
        thread.start()
        threads.append(thread)

notes = os.open(out, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
loggers, children, threads = [new_logger() for _ in range(3)], [], []
while time.monotonic() < end:
    act()
    while len(children) > 5:
        assert os.waitpid(children.pop(0), 0)[1] == 0, "a child failed"
for thread in threads: thread.join()
for pid in children: assert os.waitpid(pid, 0)[1] == 0, "a child failed"
"""

AFTER_SHUTDOWN = "is used after its shutdown()"

SWEEP = """
from pathlib import Path
logger = make()
logger.log_prompt("sweep", "a")
end = time.monotonic() + 20
while time.monotonic() < end and not logger.flush(1): pass
while time.monotonic() < end:
    adopted = logger.get_stats()["adopted"]
    left = list(Path(os.environ["BANYAN_HP_SPOOL_DIR"]).rglob("*-*.v1.jsonl"))
    if not adopted["pending"] and not left: break
    logger.flush(1)
    time.sleep(0.05)
"""


def storm(seconds: float, seed: int, tmp_path: Path) -> None:
    with Backend() as backend:
        out = tmp_path / "accepted"
        environment = {"SEED": str(seed), "SECONDS": str(seconds), "OUT": str(out)}
        finished = run_python(STORM, url=backend.url, timeout=seconds + 60, **environment)
        lines = finished.stderr.splitlines()
        unexpected = [line for line in lines if AFTER_SHUTDOWN not in line]  # threads and destructors do
        assert (finished.status, unexpected) == (0, []), f"SEED={seed}: {finished.stderr}"
        assert run_python(SWEEP, url=backend.url).status == 0, f"SEED={seed}"
        noted = {sign: {line[1:] for line in out.read_text().split() if line[0] == sign} for sign in "+?-"}
        logs = [log["body"]["metadata"].get("name", "sweep") for log in backend.logs()]
    arrived = set(logs) - {"sweep"}
    assert len(logs) == len(arrived) + 1, f"SEED={seed}: twice"
    assert noted["+"] - arrived == set(), f"SEED={seed}: lost"
    assert arrived - noted["+"] - noted["?"] == set(), f"SEED={seed}: refused, and yet delivered"


def seed_of_today() -> int:
    return int(os.environ.get("SEED") or random.randrange(10**9))


@pytest.mark.alone
def test_a_storm_of_forks_flushes_and_shutdowns_loses_nothing(tmp_path: Path) -> None:
    """Every record that was accepted, by whichever process, is at the backend once."""
    storm(3, seed_of_today(), tmp_path)


@pytest.mark.soak
def test_a_long_storm(tmp_path: Path) -> None:
    """The same for minutes."""
    storm(float(os.environ.get("SOAK_SECONDS", "120")), seed_of_today(), tmp_path)
