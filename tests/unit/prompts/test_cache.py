"""The cache, step by step: clocks that stand still, and a real server with scripted responses."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.prompts import memory
from banyan_hp.prompts.state import NEGATIVE_SECONDS
from banyan_hp.prompts.store import Store
from tests.support.clock import FakeClock
from tests.support.parts import part_of
from tests.support.patience import eventually
from tests.support.prompts import Held, all_at_once, always, experiment_json, prompt_json
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply, Request
from tests.unit.prompts.conftest import (
    HELLO,
    NONE,
    PINNED,
    PINNED_TTL,
    TTL,
    Make,
    P,
    all_done,
    reported,
    routed,
    user,
)

# -- fresh, stale --------------------------------------------------------------------------------------------


def test_fresh_until_the_ttl_then_stale_at_once_and_fresh_again(
    make: Make, server: ScriptedServer, clock: FakeClock
) -> None:
    """One request a TTL; its answer is there for the next caller."""
    cache = make()
    assert reported(cache.cached(P)) is None
    assert reported(cache.get(P)) == ("Hello", "backend")
    clock.advance(TTL * 0.8 - 0.1)
    assert reported(cache.get(P)) == ("Hello", "cache")
    clock.advance(TTL * 0.2 + 0.1)
    server.handler = always(Reply(200, prompt_json("new")))
    assert reported(cache.get(P)) == ("Hello", "stale")
    all_done(cache)
    assert reported(cache.get(P)) == ("new", "cache")
    assert len(server.requests) == 2
    counted = cache.counters.stats()
    assert counted == {
        "prompts_fetched": 2,
        "cache_hits": 2,
        "cache_misses": 1,
        "prompts_stale": 1,
        "prompts_from_disk": 0,
        "prompt_errors": 0,
    }


def test_the_ttl_is_shortened_by_chance(make: Make, clock: FakeClock) -> None:
    """By up to a fifth, so that prompts fetched together are not asked for together for ever."""
    random.seed(4)
    cache = make()
    for number in range(20):
        cache.get(P._replace(name=str(number)))
    left = {entry.fresh_until - clock.monotonic() for entry in part_of(cache, memory.Memory).entries.values()}
    assert len(left) == 20
    assert TTL * 0.8 <= min(left) < max(left) <= TTL


def test_a_cold_key_costs_one_request_however_many_ask(make: Make, server: ScriptedServer) -> None:
    """All of them get its answer."""
    held = Held()
    server.handler = always(held)
    cache = make()

    def all_ask() -> None:
        eventually(lambda: cache.counters.cache_misses == 50, "the question of each")
        held.go.set()

    found = all_at_once(50, lambda _: reported(cache.get(P)), all_ask)
    assert found == [("Hello", "backend")] * 50
    assert len(server.requests) == 1


def test_a_storm_after_the_ttl_costs_one_request(
    make: Make, server: ScriptedServer, clock: FakeClock
) -> None:
    """While it is under way, and after it has landed."""
    cache = make()
    cache.get(P)
    clock.advance(TTL)
    held = Held(Reply(200, prompt_json("new")))
    server.handler = always(held)
    assert all_at_once(50, lambda _: reported(cache.get(P))) == [("Hello", "stale")] * 50
    held.go.set()
    all_done(cache)
    assert all_at_once(50, lambda _: reported(cache.get(P))) == [("new", "cache")] * 50
    assert len(server.requests) == 2


def test_without_threads_what_is_stale_is_fetched_by_the_caller(
    make: Make, server: ScriptedServer, clock: FakeClock
) -> None:
    """Who has waited for the answer gets it, and in trouble the old one."""
    cache = make(threaded=False)
    cache.get(P)
    clock.advance(TTL)
    server.handler = always(Reply(200, prompt_json("new")))
    assert reported(cache.get(P)) == ("new", "backend")
    clock.advance(TTL)
    server.handler = always(Reply(500))
    assert reported(cache.get(P)) == ("new", "stale")


def test_the_least_recently_used_go(make: Make, server: ScriptedServer, clock: FakeClock) -> None:
    """Never more than `size` entries in memory; what was used lately is among them."""
    cache = make(size=3)
    for name in ("a", "b", "c"):
        clock.advance(1)
        cache.get(P._replace(name=name))
    clock.advance(1)
    cache.get(P._replace(name="a"))
    clock.advance(1)
    cache.get(P._replace(name="d"))
    assert {key.subject for key in part_of(cache, memory.Memory).entries} == {"a", "c", "d"}
    assert len(server.requests) == 4


def test_memory_is_bounded_in_bytes(
    make: Make, server: ScriptedServer, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large responses push out those unused for longest; the newest stays even if it is too large itself."""
    monkeypatch.setattr(memory, "MAX_BYTES", 50_000)

    def ask(name: str, size: int) -> None:
        clock.advance(1)
        server.handler = always(Reply(200, prompt_json("x" * size)))
        cache.get(P._replace(name=name), use_cache=False)

    cache = make()
    for name in "abcdefg":
        ask(name, 10_000)
    assert {key.subject for key in part_of(cache, memory.Memory).entries} == {"d", "e", "f", "g"}
    for _ in range(10):  # what takes its own place takes no room
        ask("g", 10_000)
    assert {key.subject for key in part_of(cache, memory.Memory).entries} == {"d", "e", "f", "g"}
    ask("large", 60_000)
    assert {key.subject for key in part_of(cache, memory.Memory).entries} == {"large"}
    ask("a", 10_000)
    assert {key.subject for key in part_of(cache, memory.Memory).entries} == {"a"}


# -- the disk ------------------------------------------------------------------------------------------------


def test_the_disk_has_the_last_known_good_in_trouble(
    make: Make, server: ScriptedServer, clock: FakeClock
) -> None:
    """After a restart; also where the memory is full of others."""
    make().get(P)
    cache = make(size=1)
    cache.get(P._replace(name="other"))
    server.handler = always(Reply(503))
    clock.advance(10)
    found = cache.get(P)
    assert reported(found) == ("Hello", "disk")
    assert found is not None
    assert clock.wall() - found[0].fetched_at == 10.0
    assert cache.counters.prompts_from_disk == 1


def test_a_pinned_version_is_validated_slowly_and_at_start(
    make: Make, server: ScriptedServer, clock: FakeClock
) -> None:
    """By its tag, within `pinned_ttl`: what was corrected in place is given from then on."""
    contents = ["Hello"]

    def tagged(request: Request) -> Reply:
        tag = f'"{contents[-1]}"'
        if request.headers.get("If-None-Match") == tag:
            return Reply(304, headers={"ETag": tag})
        return Reply(200, prompt_json(contents[-1]), {"ETag": tag})

    server.handler = tagged
    cache = make()
    assert reported(cache.get(PINNED)) == ("Hello", "backend")
    clock.advance(PINNED_TTL * 0.8 - 0.1)
    assert reported(cache.get(PINNED)) == ("Hello", "cache")
    assert len(server.requests) == 1
    clock.advance(PINNED_TTL * 0.2 + 0.1)
    assert reported(cache.get(PINNED)) == ("Hello", "stale")
    all_done(cache)
    assert reported(cache.get(PINNED)) == ("Hello", "cache")
    assert [request.headers.get("If-None-Match") for request in server.requests] == [None, '"Hello"']

    contents.append("corrected")
    clock.advance(PINNED_TTL)
    cache.get(PINNED)
    all_done(cache)
    assert reported(cache.get(PINNED)) == ("corrected", "cache")

    contents.append("corrected again")
    restarted = make()
    assert reported(restarted.get(PINNED)) == ("corrected again", "backend")
    assert server.requests[-1].headers["If-None-Match"] == '"corrected"'


def test_a_pinned_version_is_there_when_the_backend_is_not(
    make: Make, server: ScriptedServer, clock: FakeClock
) -> None:
    """From memory and, after a restart, from disk; never as if it had just been confirmed."""
    cache = make()
    cache.get(PINNED)
    server.handler = always(Reply(503))
    clock.advance(PINNED_TTL)
    assert reported(cache.get(PINNED)) == ("Hello", "stale")
    assert reported(make().get(PINNED)) == ("Hello", "disk")


def test_a_deleted_version_is_given_to_nobody(make: Make, server: ScriptedServer, clock: FakeClock) -> None:
    """Neither from memory nor after a restart, once the backend has said so."""
    cache = make()
    cache.get(PINNED)
    server.handler = always(NONE)
    clock.advance(PINNED_TTL)
    cache.get(PINNED)
    all_done(cache)
    assert reported(cache.get(PINNED)) == ("none", "cache")
    server.handler = always(Reply(503))
    assert reported(make().get(PINNED)) is None


def test_the_versions_of_a_prompt_that_is_gone_are_asked_for(
    make: Make, server: ScriptedServer, clock: FakeClock
) -> None:
    """A caller waits for the backend rather than get the id of a deleted prompt; other prompts stay."""
    cache = make()
    other = PINNED._replace(name="q")
    for question in (P, PINNED, other):
        cache.get(question)
    server.handler = always(NONE)
    clock.advance(TTL)
    cache.get(P)
    all_done(cache)
    assert reported(cache.get(PINNED)) == ("none", "backend")
    assert reported(cache.get(other)) == ("Hello", "cache")


def test_what_the_disk_brings_does_not_replace_what_is_fresh(make: Make, server: ScriptedServer) -> None:
    """A user's fetch loads the default from disk while another fetch has just renewed that."""
    make().get(P)
    cache = make()
    server.handler = always(Reply(200, prompt_json("new")))
    cache.get(P)
    cache.get(user("u1"))
    assert reported(cache.get(P)) == ("new", "cache")


# -- there is none -------------------------------------------------------------------------------------------


def test_none_is_remembered_shortly(make: Make, server: ScriptedServer, clock: FakeClock) -> None:
    """One request in five seconds, however often it is asked for."""
    server.handler = always(NONE)
    cache = make()
    assert reported(cache.get(P)) == ("none", "backend")
    assert reported(cache.get(P)) == ("none", "cache")
    assert len(server.requests) == 1
    clock.advance(NEGATIVE_SECONDS)
    server.handler = always(HELLO)
    assert reported(cache.get(P)) == ("Hello", "backend")


def test_a_deleted_prompt_is_gone_for_every_user_and_after_a_restart(
    make: Make, server: ScriptedServer, clock: FakeClock
) -> None:
    """Whoever hears of it first: nobody is served it any more, when the backend is away, too."""
    cache = make()
    cache.get(P)
    server.handler = routed
    cache.get(user("u1"))
    cache.get(user("u2"))
    server.handler = always(NONE)
    assert reported(cache.get(user("u1"), use_cache=False)) == ("none", "backend")
    assert reported(cache.get(user("u2"))) == ("none", "cache")
    server.handler = always(Reply(503))
    clock.advance(NEGATIVE_SECONDS)
    for question in (user("u1"), user("u2"), user("u3"), P):
        assert reported(cache.get(question)) is None
        assert reported(make().get(question)) is None


def test_a_404_that_is_not_the_apis_takes_the_ladder(make: Make, server: ScriptedServer) -> None:
    """HTML, or JSON that says neither error nor message, is trouble on the way."""
    cache = make()
    cache.get(P)
    for trouble in (Reply(404, "<html>"), Reply(404, {"detail": "Not Found"}), Reply(404, "")):
        server.handler = always(trouble)
        assert reported(cache.get(P, use_cache=False)) == ("Hello", "stale")
    assert cache.counters.prompt_errors == 3


# -- tags ----------------------------------------------------------------------------------------------------


def test_a_304_renews_what_is_known(
    make: Make, server: ScriptedServer, clock: FakeClock, tmp_path: Path
) -> None:
    """With the tag that came with it, in memory and from disk; its time is renewed on disk, too."""
    tagged = Reply(200, prompt_json(), {"ETag": '"t1"'})
    server.handler = lambda request: Reply(304) if "If-None-Match" in request.headers else tagged
    cache = make()
    cache.get(P)
    clock.advance(1_000)
    assert reported(cache.get(P)) == ("Hello", "stale")
    all_done(cache)
    found = cache.get(P)
    assert reported(found) == ("Hello", "cache")
    assert found is not None
    assert found[0].fetched_at == clock.wall()
    kept = Store(tmp_path / "prompts").load(P)
    assert kept is not None
    assert kept.fetched_at == clock.wall()
    assert reported(make().get(P)) == ("Hello", "backend")
    assert [request.headers.get("If-None-Match") for request in server.requests] == [None, '"t1"', '"t1"']


def test_a_304_that_comes_after_the_cache_was_cleared_still_answers_who_waited(
    make: Make, server: ScriptedServer
) -> None:
    """It confirms what was known when it was asked; nothing of it is kept."""
    server.handler = always(Reply(200, prompt_json(), {"ETag": '"t1"'}))
    cache = make()
    cache.get(P)
    held = Held(Reply(304))
    server.handler = always(held)
    cache.invalidate("p")
    flight = cache.start(P)
    server.wait_for(2)
    cache.clear()
    held.go.set()
    assert flight.done.wait(5)
    assert flight.entry is not None
    assert flight.entry.value is not None
    assert not cache.has(P)
    assert cache.counters.prompt_errors == 0


def test_a_304_without_a_tag_sent_is_trouble(make: Make, server: ScriptedServer) -> None:
    """There is nothing that it could confirm."""
    server.handler = always(Reply(304))
    cache = make()
    assert cache.get(P) is None
    assert cache.counters.prompt_errors == 1


# -- caches on the way ---------------------------------------------------------------------------------------


def test_a_cache_on_the_way_is_told_to_ask_the_backend(make: Make, server: ScriptedServer) -> None:
    """Each fetch says so, also the first: what a shared cache keeps may be another key's."""
    make().get(P)
    assert [request.headers["Cache-Control"] for request in server.requests] == ["no-cache"]


def test_an_answer_is_as_old_as_a_cache_says(make: Make, server: ScriptedServer, clock: FakeClock) -> None:
    """`Age` shortens how long it is fresh, and shows in when the backend confirmed it."""
    server.handler = always(Reply(200, prompt_json(), {"Age": "40"}))
    cache = make()
    found = cache.get(P)
    assert found is not None
    assert found[0].fetched_at == clock.wall() - 40
    clock.advance(TTL - 40)
    assert reported(cache.get(P)) == ("Hello", "stale")


@pytest.mark.parametrize("age", ["-5", "x", "1e9", "", "9" * 40])
def test_an_age_that_makes_no_sense_is_none(
    make: Make, server: ScriptedServer, clock: FakeClock, age: str
) -> None:
    server.handler = always(Reply(200, prompt_json(), {"Age": age}))
    found = make().get(P)
    assert found is not None
    assert found[0].fetched_at == clock.wall()


# -- for whom an answer is good ------------------------------------------------------------------------------


def test_users_that_the_server_routes_get_their_own(
    make: Make, server: ScriptedServer, tmp_path: Path
) -> None:
    """Users who met in the first fetch, too; each costs one request, and none of it gets to the disk."""
    server.handler = routed
    cache = make()
    found = all_at_once(20, lambda number: reported(cache.get(user(f"u{number % 10}"))))
    assert [each[0] if each else None for each in found] == [f"for u{number % 10}" for number in range(20)]
    assert len(server.requests) == 10
    assert not (tmp_path / "prompts").exists()


def test_a_configuration_costs_one_fetch_for_all_users(
    make: Make, server: ScriptedServer, clock: FakeClock
) -> None:
    """Ten thousand users, one request; after the TTL one more."""
    server.handler = always(Reply(200, prompt_json(experiments=[experiment_json()])))
    cache = make()
    for turn in (1, 2):
        for number in range(5_000):
            assert cache.get(user(f"u{number}")) is not None
        all_done(cache)
        assert len(server.requests) == turn
        clock.advance(TTL)


def test_a_backend_may_change_between_the_four_forms(
    make: Make, server: ScriptedServer, clock: FakeClock
) -> None:
    """Within one TTL everybody gets what the new form says, and the number of requests follows it."""
    server.handler = always(HELLO)
    forms: dict[str, Any] = {
        "plain": {},
        "configured": {"experiments": [experiment_json()]},
        "routed": {"experiment_id": "e1", "experiment_version_id": "v1"},
        "no experiment": {"experiment_id": None},
    }
    cache = make()
    order = ["plain", "routed", "configured", "no experiment", "plain", "configured", "routed", "plain"]
    for turn, form in enumerate(order):
        content = f"{turn}: {form}"
        server.handler = always(Reply(200, prompt_json(content, **forms[form])))
        clock.advance(TTL)
        for ident in ("u1", "u2"):
            cache.get(user(ident))
            all_done(cache)
        asked = len(server.requests)
        assert [(reported(cache.get(user(ident))) or ("",))[0] for ident in ("u1", "u2")] == [content] * 2
        all_done(cache)
        assert len(server.requests) == asked


def test_the_default_version_serves_users_that_nobody_asked_for_yet(
    make: Make, server: ScriptedServer
) -> None:
    """What one user got by default will do for another in trouble, without a disk, too."""
    server.handler = always(Reply(200, prompt_json(experiment_id=None)))
    cache = make(store=Store(None))
    cache.get(user("u1"))
    server.handler = always(Reply(500))
    assert reported(cache.get(user("u2"))) == ("Hello", "stale")


def test_a_tag_of_a_users_answer_is_not_sent_for_the_default(make: Make, server: ScriptedServer) -> None:
    """It belongs to another URL."""
    server.handler = always(Reply(200, prompt_json(experiment_id=None), {"ETag": '"u1"'}))
    make().get(user("u1"))
    make().get(P)
    assert "If-None-Match" not in server.requests[-1].headers


# -- all together --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_after_an_invalidation_nobody_is_given_what_was_before_it(
    make: Make, server: ScriptedServer, seed: int
) -> None:
    """Six threads ask, insist, invalidate and clear in any order; who did that sees no older state."""
    chance = random.Random(seed)
    plan = [[chance.choice("aaaaiucx") for _ in range(60)] for _ in range(6)]
    state = [0]
    server.handler = lambda _request: Reply(200, prompt_json(str(state[0])))
    cache = make()
    wrong: list[str] = []

    def act(number: int) -> None:
        for step in plan[number]:
            known = state[0]
            if step == "x":
                state[0] += 1
            elif step == "c":
                cache.clear()
            elif step == "i":
                cache.invalidate("p")
            if step in "xa":
                if cache.get(P) is None:
                    wrong.append("nothing")
                continue
            content = reported(cache.get(P, use_cache=step != "u"))
            if content is None or int(content[0]) < known:
                wrong.append(f"{step}: {content} after {known}")

    all_at_once(6, act)
    all_done(cache)
    assert wrong == []
    assert cache.counters.prompt_errors == 0
