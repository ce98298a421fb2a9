"""Whose record it is, whatever order generators, tasks and threads run in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan_hp import context
from banyan_hp.tracking.client_sinks import BanyanSink
from banyan_hp.tracking.methods import BanyanTracking
from banyan_hp.tracking.scopes import current, unknown

User = int | None
Entries = list[tuple[User, User]]  # whose code it was, and who is on the record


class Tracker(BanyanTracking):
    """Opens interactions that log nowhere."""

    def _sink(self) -> BanyanSink:
        return BanyanSink(self, self, lambda _, __: None)

    def log_prompt(self, *_: object, **__: object) -> bool:
        return True

    score = log_prompt


def user_here() -> User:
    user: User = current().metadata.get("user_id")
    return user


@contextmanager
def managed(user: int) -> Generator[None, None, None]:
    """A user's own wrapper, whose generator is suspended for as long as the block runs."""
    with context(user_id=user):
        yield


@contextmanager
def stacked(user: int) -> Generator[None, None, None]:
    with ExitStack() as stack:
        stack.enter_context(context(user_id=user))
        yield


@contextmanager
def interacting(user: int) -> Generator[None, None, None]:
    with context(user_id=user), Tracker().interaction("Hi"):
        yield


WAYS: list[Callable[[int], object]] = [lambda user: context(user_id=user), managed, stacked, interacting]


def stream(user: int, way: int, entries: Entries) -> Generator[int, None, None]:
    """A streaming response that logs before and after each chunk, and a nested one in between."""
    with WAYS[way](user):  # type: ignore[attr-defined]
        for chunk in range(5):
            entries.append((user, user_here()))
            with context(chunk=chunk):
                entries.append((user, user_here()))
            yield chunk
            entries.append((user, user_here()))


async def astream(user: int, way: int, entries: Entries) -> AsyncGenerator[int, None]:
    with WAYS[way](user):  # type: ignore[attr-defined]
        for chunk in range(5):
            entries.append((user, user_here()))
            await asyncio.sleep(0)
            entries.append((user, user_here()))
            yield chunk
            entries.append((user, user_here()))


def request(user: int, way: int, entries: Entries) -> None:
    with WAYS[way](user):  # type: ignore[attr-defined]
        entries.append((user, user_here()))


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["next", "next", "next", "close", "drop", "request", "nothing"]),
        st.integers(0, 3),
        st.integers(0, len(WAYS) - 1),
    ),
    max_size=40,
)


@given(actions=ACTIONS)
def test_generators_side_by_side_in_one_thread_keep_their_users(
    actions: list[tuple[str, int, int]],
) -> None:
    """Each record is that of the generator or request whose code made it, and of nobody's between them."""
    entries: Entries = []
    streams: dict[int, Generator[int, None, None]] = {}
    for number, (action, slot, way) in enumerate(actions):
        if action == "next":
            next(streams.setdefault(slot, stream(number, way, entries)), None)
        elif action == "close" and slot in streams:
            streams.pop(slot).close()
        elif action == "drop":
            streams.pop(slot, None)
        elif action == "request":
            request(number, way, entries)
        entries.append((None, user_here()))
    streams.clear()
    assert [found for _, found in entries] == [owner for owner, _ in entries]
    assert user_here() is None


@given(actions=ACTIONS, threads=st.lists(st.integers(0, 1), min_size=40, max_size=40))
def test_generators_driven_by_an_executor_leave_nothing_behind(
    actions: list[tuple[str, int, int]], threads: list[int]
) -> None:
    """Whichever thread asks for the next chunk: a record carries its own user or none, never another's."""
    entries: Entries = []
    streams: dict[int, Generator[int, None, None]] = {}
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        pools = first, second
        for number, ((action, slot, way), thread) in enumerate(zip(actions, threads, strict=False)):
            run = pools[thread].submit
            if action == "next":
                run(next, streams.setdefault(slot, stream(number, way, entries)), None).result(5)
            elif action == "close" and slot in streams:
                run(streams.pop(slot).close).result(5)
            elif action == "request":
                run(request, number, way, entries).result(5)
            entries.append((None, run(user_here).result(5)))
        for each in streams.values():
            second.submit(each.close).result(5)
        assert [pool.submit(user_here).result(5) for pool in pools] == [None, None]
    assert all(found in (owner, None) for owner, found in entries)


@given(actions=ACTIONS, tasks=st.lists(st.booleans(), min_size=40, max_size=40))
def test_async_generators_side_by_side_keep_their_users(
    actions: list[tuple[str, int, int]], tasks: list[bool]
) -> None:
    """In one task, or each step in a task of its own: a record carries its own user or none."""
    entries: Entries = []

    async def main() -> None:
        streams: dict[int, AsyncGenerator[int, None]] = {}
        for number, ((action, slot, way), task) in enumerate(zip(actions, tasks, strict=False)):
            if action == "next":
                step = anext(streams.setdefault(slot, astream(number, way, entries)), None)
                await (asyncio.ensure_future(awaited(step)) if task else step)
            elif action in ("close", "drop") and slot in streams:
                await streams.pop(slot).aclose()
            elif action == "request":
                request(number, way, entries)
            entries.append((None, user_here()))
            entries.append((None, await asyncio.create_task(asked())))
        for each in streams.values():
            await each.aclose()

    async def awaited(step: object) -> None:
        await step  # type: ignore[misc]

    async def asked() -> User:
        return user_here()

    asyncio.run(main())
    assert all(found in (owner, None) for owner, found in entries)


def test_a_task_of_a_generator_goes_without_its_user_and_that_is_counted() -> None:
    """It can't be told from a task that the consumer starts, which is somebody else's."""

    async def asked() -> User:
        return user_here()

    async def generator() -> AsyncGenerator[User, None]:
        with context(user_id=1):
            yield await asyncio.create_task(asked())
            yield user_here()

    async def main() -> list[User]:
        return [user async for user in generator()]

    before = unknown()
    assert asyncio.run(main()) == [None, 1]
    assert unknown() > before


def test_a_task_that_outlives_its_with_is_nobody_s() -> None:
    """What has ended is never current, though the task began inside."""

    async def later(ended: asyncio.Event) -> tuple[User, User]:
        first = user_here()
        await ended.wait()
        return first, user_here()

    async def main() -> tuple[User, User]:
        ended = asyncio.Event()
        with context(user_id=1):
            task = asyncio.create_task(later(ended))
            await asyncio.sleep(0)
        ended.set()
        return await task

    assert asyncio.run(main()) == (1, None)


def test_a_context_decorates_functions_of_all_kinds_but_one() -> None:
    """What they return, and what they yield, is theirs; async generators are refused with what to do."""

    @context(user_id=1)
    def plain() -> User:
        return user_here()

    @context(user_id=2)
    async def coroutine() -> User:
        await asyncio.sleep(0)
        return user_here()

    @context(user_id=3)
    def generator() -> Generator[User, None, None]:
        yield user_here()
        yield user_here()

    assert plain() == plain() == 1
    assert asyncio.run(coroutine()) == 2
    assert [(user, user_here()) for user in generator()] == [(3, None), (3, None)]
    with pytest.raises(ValueError, match="async generator"):
        context(user_id=4)(astream)


def test_what_context_returns_is_for_one_with() -> None:
    """Entered twice it could not know which of the two is left first."""
    once = context(user_id=1)
    with once, pytest.raises(RuntimeError, match="one `with`"):
        once.__enter__()
    assert user_here() is None
