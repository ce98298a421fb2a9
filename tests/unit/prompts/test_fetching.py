"""Fetches that fail or are superseded, step by step: pauses, waits, invalidation, clearing."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.prompts.fetching import LONGEST_PAUSE
from banyan_hp.prompts.store import Store
from tests.support.clock import FakeClock
from tests.support.parts import part_of
from tests.support.prompts import Held, always, prompt_json
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Hang, Reply
from tests.unit.prompts.conftest import (
    HELLO,
    NONE,
    PINNED,
    TTL,
    Make,
    P,
    all_done,
    reported,
    routed,
    user,
)

# -- trouble -------------------------------------------------------------------------------------------------


def test_in_trouble_the_pauses_double_up_to_a_limit(
    make: Make, server: ScriptedServer, clock: FakeClock
) -> None:
    """A warm key asks again seldom; the first quick failure costs no pause; success ends it."""
    random.seed(1)
    cache = make()
    cache.get(P)
    clock.advance(TTL)
    server.handler = always(Reply(500))
    asked_at: list[float] = []
    for _ in range(400):
        before = cache.counters.prompt_errors
        cache.get(P)
        all_done(cache)
        if cache.counters.prompt_errors > before:
            asked_at.append(clock.monotonic())
        clock.advance(0.5)
    gaps = [later - earlier for earlier, later in pairwise(asked_at)]
    assert gaps[0] == 0.5
    assert all(gap <= LONGEST_PAUSE + 0.5 for gap in gaps)
    assert max(gaps) > LONGEST_PAUSE / 2
    server.handler = always(HELLO)
    clock.advance(LONGEST_PAUSE)
    cache.get(P)
    all_done(cache)
    assert reported(cache.get(P)) == ("Hello", "cache")


def test_many_failures_at_the_same_time_count_as_one(
    make: Make, server: ScriptedServer, clock: FakeClock
) -> None:
    """Users whose own fetches fail together do not drive the pause to its limit."""
    server.handler = routed
    cache = make()
    cache.get(user("u0"))
    held = Held(Reply(500))
    server.handler = always(held)
    flights = [cache.start(user(f"u{number}")) for number in range(1, 11)]
    server.wait_for(11)
    held.go.set()
    assert all(flight.done.wait(5) for flight in flights)
    assert cache.counters.prompt_errors == 10
    clock.advance(2.0)
    server.handler = routed
    assert reported(cache.get(user("u1"))) == ("for u1", "backend")


def test_trouble_with_one_user_spares_the_others_the_wait(make: Make, server: ScriptedServer) -> None:
    """They get the default version, and the backend no request each."""
    cache = make()
    cache.get(P)
    server.handler = routed
    cache.get(user("u0"))
    server.handler = always(Reply(500))
    for ident in ("u1", "u2"):
        cache.get(user(ident))
    asked = len(server.requests)
    assert reported(cache.get(user("u3"))) == ("Hello", "stale")
    assert len(server.requests) == asked


def test_who_has_a_fallback_does_not_wait_for_a_backend_in_trouble(
    make: Make, server: ScriptedServer, clock: FakeClock
) -> None:
    """The fetch goes on without it, and its answer is there for the next."""
    server.handler = always(Reply(500))
    cache = make()
    cache.get(P)
    held = Held()
    server.handler = always(held)
    assert cache.get(P, patient=False) is None
    held.go.set()
    all_done(cache)
    assert reported(cache.get(P, patient=False)) == ("Hello", "cache")


def test_a_fetch_that_is_overdue_is_waited_for_by_nobody(
    make: Make, server: ScriptedServer, clock: FakeClock
) -> None:
    """Only the first callers pay the timeout; who comes later gets the next rung at once."""
    server.handler = always(Hang(HELLO))
    cache = make(timeout=30.0)
    flight = cache.start(P)
    server.wait_for(1)
    clock.advance(30.0)
    assert cache.get(P) is None
    assert not flight.done.is_set()
    assert len(server.requests) == 1


def test_a_fetch_that_had_to_wait_too_long_for_its_turn_is_not_made(
    make: Make, server: ScriptedServer, clock: FakeClock
) -> None:
    """A backend that comes back is not asked for those who gave up."""
    server.handler = always(Hang(HELLO))
    cache = make(timeout=30.0)
    flights = [cache.start(P._replace(name=str(number))) for number in range(20)]
    server.wait_for(16)
    clock.advance(30.0)
    server.release()
    assert all(flight.done.wait(5) for flight in flights)
    assert len(server.requests) == 16
    assert [flight.entry is None for flight in flights] == [False] * 16 + [True] * 4


# -- forgetting ----------------------------------------------------------------------------------------------


def test_an_answer_asked_for_before_the_invalidation_is_not_kept(
    make: Make, server: ScriptedServer, clock: FakeClock
) -> None:
    """Who waited for it gets it; who asks afterwards gets the newer one, whichever lands last."""
    old = Held(Reply(200, prompt_json("old")))
    cache = make()
    server.script([old])
    server.handler = always(Reply(200, prompt_json("new")))
    flight = cache.start(P)
    server.wait_for(1)
    cache.invalidate("p")
    assert reported(cache.get(P)) == ("new", "backend")
    old.go.set()
    assert flight.done.wait(5)
    assert reported(cache.get(P)) == ("new", "cache")
    server.handler = always(Reply(500))
    assert reported(make().get(P)) == ("new", "disk")


def test_a_late_404_does_not_delete_what_came_after_it(make: Make, server: ScriptedServer) -> None:
    """The prompt was made meanwhile, and asked for again."""
    late = Held(NONE)
    cache = make()
    server.script([late])
    flight = cache.start(P)
    server.wait_for(1)
    assert reported(cache.get(P, use_cache=False)) == ("Hello", "backend")
    late.go.set()
    assert flight.done.wait(5)
    assert reported(cache.get(P)) == ("Hello", "cache")
    server.handler = always(Reply(500))
    assert reported(make().get(P)) == ("Hello", "disk")


def test_invalidated_answers_stay_the_next_best(make: Make, server: ScriptedServer) -> None:
    """Only those of that name are asked for again; pinned ones, too."""
    cache = make()
    other = P._replace(name="q")
    for question in (P, PINNED, other):
        cache.get(question)
    cache.invalidate("p")
    assert reported(cache.get(other)) == ("Hello", "cache")
    server.handler = always(Reply(500))
    assert reported(cache.get(P)) == ("Hello", "stale")
    server.handler = always(HELLO)
    assert reported(cache.get(PINNED)) == ("Hello", "backend")
    assert reported(cache.get(P)) == ("Hello", "backend")


def test_what_is_only_on_disk_is_invalidated_too(make: Make, server: ScriptedServer) -> None:
    """It is not given while the fetch that was to confirm it is under way; pinned versions neither."""
    make().get(P)
    make().get(PINNED)
    for question in (P, PINNED):
        cache = make()
        cache.invalidate("p")
        held = Held(Reply(200, prompt_json("new")))
        server.script([held])
        asked = len(server.requests)
        cache.start(question)
        server.wait_for(asked + 1)
        assert cache.cached(question) is None
        held.go.set()
        assert (reported(cache.get(question)) or ("",))[0] == "new"


def test_cleared_is_forgotten_on_disk_too_even_by_a_fetch_under_way(
    make: Make, server: ScriptedServer, tmp_path: Path
) -> None:
    """Nothing that was asked for before is kept anywhere."""
    cache = make()
    cache.get(P._replace(name="q"))
    held = Held()
    server.handler = always(held)
    flight = cache.start(P)
    server.wait_for(2)
    cache.clear()
    held.go.set()
    assert flight.done.wait(5)
    assert not cache.has(P)
    assert list((tmp_path / "prompts").iterdir()) == []


def test_cleared_while_an_answer_is_being_written(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The file does not outlive the clearing."""
    cache = make()
    store = part_of(cache, Store)
    keep = store.keep

    def keep_after_clearing(*arguments: Any) -> None:
        cache.clear()
        keep(*arguments)

    monkeypatch.setattr(store, "keep", keep_after_clearing)
    cache.get(P)
    assert list((tmp_path / "prompts").iterdir()) == []


def test_use_cache_false_asks_in_any_case(make: Make, server: ScriptedServer) -> None:
    """In trouble it takes the ladder's next rungs."""
    cache = make()
    assert reported(cache.get(P)) == ("Hello", "backend")
    assert reported(cache.get(P, use_cache=False)) == ("Hello", "backend")
    server.handler = always(Reply(500))
    for _ in range(3):
        assert reported(cache.get(P, use_cache=False)) == ("Hello", "stale")
    assert len(server.requests) == 5
