"""What all tests share: an environment of their own, and loggers whose ledgers are checked at the end."""

from __future__ import annotations

import gc
import os
import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import banyan_hp.clients.banyan
from banyan_hp import PromptStackLogger, logs
from banyan_hp.engine import sync
from banyan_hp.engine.policy import retry as chance
from banyan_hp.engine.process import exit as process_exit
from banyan_hp.engine.process import leftovers
from banyan_hp.tracking import scopes
from tests.support.databases import FreshDatabases, PostgresDatabases, SqliteDatabases
from tests.support.ledger import assert_balanced
from tests.support.postgres import MISSING, Postgres, programs
from tests.support.scripted import ScriptedServer
from tests.support.wheel import build_wheel

pytest_plugins = ["tests.support.timing"]

MakeLogger = Callable[..., PromptStackLogger]
NewDatabase = FreshDatabases
MEMORY = Path("/dev/shm")

# A shell has what it runs in the background ignore these, and all that is started there inherits that.
for signum, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
    if signal.getsignal(signum) is signal.SIG_IGN:
        signal.signal(signum, usual)

# private: what tests leave on disk is no news at the end of them all
leftovers._reported.add(os.getpid())

# An example that takes long is no failure: the machine may have stood still.
settings.register_profile("long", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples at each run: new ones are for `make soak`, not for whoever changes something else.
settings.register_profile("repeatable", settings.get_profile("long"), derandomize=True)
settings.load_profile("long" if os.environ.get("SOAK") else "repeatable")


def _assert_held(lock: sync.Lock) -> None:
    assert lock.is_mine(), "call with the lock held"


def pytest_collection_finish() -> None:
    """The tests themselves are no garbage: without them a collection takes a tenth of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No test sees the developer's keys, proxies or spool, nor another test's logger or open interaction."""
    scopes.forget_all()
    monkeypatch.setattr(sync.Lock, "assert_held", _assert_held)
    if not os.environ.get("SOAK"):
        # private: the same jitter at each run, for every engine there is, those of the module functions too
        monkeypatch.setattr(chance, "_system", random.Random(1))
    for name in list(os.environ):
        if name.startswith(("BANYAN", "HUGGINGPLACE")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BANYAN_HP_SPOOL_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("BANYAN_HP_KEYS_DIR", str(tmp_path / "state" / "keys"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    # What an earlier test has said keeps back no line of this one, nor does a command of this process.
    monkeypatch.setattr(logs, "last_said", {})
    monkeypatch.setattr(logs, "is_off_stderr", False)
    yield
    # private: the public calls would make a default logger where there is none
    default, banyan_hp.clients.banyan._default = banyan_hp.clients.banyan._default, None
    if default is not None:
        default.shutdown(timeout=5)


@pytest.fixture(autouse=True)
def own_sockets() -> Iterator[None]:
    """A socket that nobody closed is collected, and so reported, at the test that left it behind."""
    before = _open_sockets()
    yield
    if _open_sockets() - before:
        gc.collect()


def _open_sockets() -> set[str]:
    """As the kernel names them; empty where it does not say."""
    found = set()
    # Twice a test: paths would take four times as long.
    with suppress(OSError), os.scandir("/proc/self/fd") as descriptors:
        for each in descriptors:
            with suppress(OSError):
                found.add(os.readlink(each.path))  # noqa: PTH115
    return {name for name in found if name.startswith("socket:")}


@pytest.fixture
def may_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test may begin the end of the process: what that sets is undone."""
    # private: a process ends once, so there is no way back
    monkeypatch.setattr(logs, "_ending", False)
    # private: likewise
    monkeypatch.setattr(process_exit, "_leaving", set())


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, where there is one, for what makes thousands of files.

    On a busy disk a new directory can take a second.
    """
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with _directory_in_memory() as directory:
        yield directory


@contextmanager
def _directory_in_memory() -> Iterator[Path]:
    """Elsewhere where there is none."""
    where = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where, prefix="banyan_hp-tests-") as directory:
        yield Path(directory)


@pytest.fixture
def no_collection() -> Iterator[None]:
    """For tests that reach the recursion limit: finalisers of other tests' garbage would fail down there."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for all tests of a run; each makes databases of its own in it."""
    if programs() is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with Postgres() as running:
        yield running


@pytest.fixture(scope="session")
def postgres_databases(postgres: Postgres) -> PostgresDatabases:
    return PostgresDatabases(postgres)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def new_database(request: pytest.FixtureRequest) -> Iterator[NewDatabase]:
    """Makes fresh, empty databases for a backend, of each kind in turn, and returns their URLs."""
    if request.param == "postgres":
        databases: PostgresDatabases = request.getfixturevalue("postgres_databases")
        yield databases
        databases.give_back_all()
        return
    with _directory_in_memory() as directory:
        yield SqliteDatabases(directory)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this clone, built once for all tests."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as scripted:
        yield scripted


@pytest.fixture
def make_logger() -> Iterator[MakeLogger]:
    """Makes loggers with short back-offs; shuts them down and checks their ledgers when the test is over."""
    made: list[PromptStackLogger] = []

    def make(base_url: str, **options: Any) -> PromptStackLogger:
        defaults = {"api_key": "psk_local", "retry_delay": 0.05, "flush_interval": 0.05, "timeout": 5.0}
        logger = PromptStackLogger(base_url=base_url, **{**defaults, **options})
        made.append(logger)
        return logger

    yield make
    for logger in made:
        logger.shutdown(timeout=5)
        assert_balanced(logger.get_stats())
