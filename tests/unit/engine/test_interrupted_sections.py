"""An exception of a signal handler leaves none of the smaller locks held: those beside the engine's own.

The engine's are in `test_interrupted_calls`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

import pytest

import banyan_hp
from banyan_hp import HuggingPlace
from banyan_hp.clients import banyan
from banyan_hp.engine.core import Core
from banyan_hp.engine.delivery import stepwise
from banyan_hp.engine.delivery.final_write import Job
from banyan_hp.engine.succession import Life
from banyan_hp.engine.sync import EngineLock
from banyan_hp.prompts.counters import PromptCounters
from banyan_hp.prompts.fetching import Backend, FetchThreads
from banyan_hp.prompts.state import CacheState
from banyan_hp.tracking import scopes
from tests.support.clock import FakeClock
from tests.support.parts import lock_in, part_of
from tests.support.striking import is_inside
from tests.unit.engine.test_interrupted_calls import Interrupted, is_free

Case = tuple[object, str, Callable[[], object]]
"""Who has the lock, under which name, and a public call that takes it."""


class StrikingLock(EngineLock):
    """As CPython 3.14 has it: the exception strikes when the lock is held, and before the section begins."""

    __slots__ = ()

    def __enter__(self) -> bool:
        super().__enter__()
        raise Interrupted

    def acquire(self, *args: Any, **kwargs: Any) -> bool:
        super().acquire(*args, **kwargs)
        raise Interrupted


@pytest.fixture
def client(tmp_path: Path) -> Any:
    made = HuggingPlace("hp_key", "org", base_url="http://127.0.0.1:9", spool_dir=tmp_path / "hp")
    yield made
    made.shutdown(0)


@pytest.fixture
def logger(tmp_path: Path) -> Any:
    made = banyan_hp.PromptStackLogger("psk", "http://127.0.0.1:9", spool_dir=tmp_path, prompt_timeout=0.05)
    made.clear_cache()  # makes what prompts need
    yield made
    made.shutdown(0)


def receipts(client: Any, _: Any) -> Case:
    waiters = part_of(client, Core).loop_waiters()

    async def wait() -> None:
        await client.log({"user_prompt": "question", "response": "answer"})

    return *lock_in(waiters), lambda: asyncio.run(wait())


def session(client: Any, _: Any) -> Case:
    made = client.start_session()
    return *lock_in(made), lambda: made.update_defaults({"a": 1})


def succession(client: Any, _: Any) -> Case:
    return part_of(client, Life), "lock", lambda: client.update_config(api_key="another")


def changing(client: Any, _: Any) -> Case:
    return part_of(client, Life), "changing", lambda: client.update_config(timeout=5000)


def span_end(client: Any, _: Any) -> Case:
    span = client.interaction("question")
    return *lock_in(span), lambda: span.__exit__(None, None, None)


def span_id(client: Any, _: Any) -> Case:
    span = client.interaction("question")
    return *lock_in(span), lambda: span.id


def span_step(client: Any, _: Any) -> Case:
    span = client.interaction("question")
    return *lock_in(span), lambda: span.step("search")


def span_step_end(client: Any, _: Any) -> Case:
    span = client.interaction("question")
    step = span.step("search")
    return *lock_in(span), lambda: step.__exit__(None, None, None)


def prompt_counters(_: Any, logger: Any) -> Case:
    return *lock_in(part_of(logger, PromptCounters)), logger.get_stats


def prompt_counters_fallback(_: Any, logger: Any) -> Case:
    return *lock_in(part_of(logger, PromptCounters)), lambda: logger.get_prompt("a", fallback="text")


def prompt_cache(_: Any, logger: Any) -> Case:
    return *lock_in(part_of(logger, CacheState)), lambda: logger.get_prompt("a")


def prompt_cache_invalidate(_: Any, logger: Any) -> Case:
    return *lock_in(part_of(logger, CacheState)), logger.invalidate


def prompt_cache_clear(_: Any, logger: Any) -> Case:
    return *lock_in(part_of(logger, CacheState)), logger.clear_cache


def prompt_cache_prefetch(_: Any, logger: Any) -> Case:
    return *lock_in(part_of(logger, CacheState)), lambda: logger.prefetch(["a"])


def prompt_threads(_: Any, logger: Any) -> Case:
    return *lock_in(part_of(logger, FetchThreads)), lambda: logger.get_prompt("a")


def prompt_backend(_: Any, logger: Any) -> Case:
    backend = part_of(logger, Backend)
    return *lock_in(backend), backend.close


def configure(_: Any, logger: Any) -> Case:
    return *lock_in(banyan), lambda: banyan.configure("psk", "http://127.0.0.1:9", enabled=False)


def default_logger(_: Any, logger: Any) -> Case:
    return *lock_in(banyan), lambda: banyan.log_prompt("question", "answer")


def unknown_scope(_: Any, logger: Any) -> Case:
    return *lock_in(scopes), scopes._note_unknown  # private: else a stack that nobody can have on purpose


def last_write(_: Any, logger: Any) -> Case:
    job = Job(FakeClock(), lambda records: None)
    job.take([object()])  # type: ignore[list-item]
    return *lock_in(job), job.run


@pytest.mark.parametrize(
    "case",
    [
        receipts,
        session,
        succession,
        changing,
        span_end,
        span_id,
        span_step,
        span_step_end,
        prompt_counters,
        prompt_counters_fallback,
        prompt_cache,
        prompt_cache_invalidate,
        prompt_cache_clear,
        prompt_cache_prefetch,
        prompt_threads,
        prompt_backend,
        configure,
        default_logger,
        unknown_scope,
        last_write,
    ],
)
def test_an_exception_right_behind_the_entering_leaves_the_lock_free(
    case: Callable[[Any, Any], Case], client: Any, logger: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interrupt reaches the caller of the public call, and other threads find the lock free."""
    monkeypatch.setenv("BANYAN_HP_DISABLED", "1")
    owner, name, call = case(client, logger)
    lock, usual = StrikingLock(), getattr(owner, name)
    setattr(owner, name, lock)
    try:
        with pytest.raises(Interrupted):
            call()
    finally:
        setattr(owner, name, usual)
    assert not lock.is_mine()


def test_a_section_of_the_same_thread_stays_held_around_an_interrupted_end() -> None:
    """A destructor that ends a span in the middle of a section, and is interrupted, releases nothing."""
    span = banyan_hp.interaction("question")
    lock = StrikingLock()
    setattr(*lock_in(span), lock)
    EngineLock.__enter__(lock)
    with pytest.raises(Interrupted):
        span.__exit__(None, None, None)
    assert lock.is_mine()


def test_every_lock_of_ours_is_one_that_is_let_go() -> None:
    """No module makes a lock that an exception can leave held; a bell's is no section's."""
    package = Path(banyan_hp.__file__).parent
    makes = re.compile(r"threading\.(R?Lock|Condition|Event|Semaphore|BoundedSemaphore)\(")
    makers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[0] not in {"server", "testing"}
        and makes.search(path.read_text("utf-8"))
    }
    assert makers == {"engine/sync.py"}


def test_an_event_wakes_all_who_wait_and_takes_no_lock() -> None:
    """Set in the middle of a wait, by whatever interrupts it."""
    event, woken = stepwise.Event(), []
    threads = [Thread(target=lambda: woken.append(event.wait(5)), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    event.set()
    for thread in threads:
        thread.join(5)
    assert woken == [True, True, True]
    event.clear()
    assert (event.wait(0.001), event.is_set()) == (False, False)


@pytest.mark.parametrize("interruptions", [100, pytest.param(5000, marks=pytest.mark.soak)])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_timer_signals_in_the_middle_of_the_smaller_sections(
    interruptions: int, client: Any, logger: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their handler raises at any point: each time all locks are free, and other threads find them so."""
    monkeypatch.setattr(logging.getLogger("banyan_hp"), "disabled", True)  # its handlers' locks are not ours
    made, life = client.start_session(), part_of(client, Life)
    owners = [made, *(part_of(logger, kind) for kind in (PromptCounters, CacheState, FetchThreads)), scopes]
    locks = [life.lock, life.changing, *(getattr(*lock_in(owner)) for owner in owners)]

    def use_all() -> None:
        span = client.interaction("question")
        locks.append(getattr(*lock_in(span)))
        with span, span.step("search"):
            pass
        logger.get_prompt("a", fallback="text")
        logger.invalidate("a")
        logger.get_stats()
        made.update_defaults({"a": 1})
        client.update_config(timeout=5000)
        scopes._note_unknown()  # private: as above
        locks.pop()

    def strike(_signal: int, frame: FrameType | None) -> None:
        if is_inside(frame, use_all):
            raise Interrupted

    before = signal.signal(signal.SIGALRM, strike)
    try:
        for number in range(interruptions):
            with suppress(Interrupted):
                # Again and again: one that strikes in a destructor is swallowed by the interpreter.
                signal.setitimer(signal.ITIMER_REAL, 0.0005 + (number % 97) * 0.00001, 0.05)
                while True:
                    use_all()
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert not any(lock.is_mine() for lock in locks), number
            del locks[7:]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert all(is_free(lock) for lock in locks)
