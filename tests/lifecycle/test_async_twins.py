"""Coroutines of ours wait by the event loop: never in its executor, which is the application's."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any

import pytest

from banyan_hp import HuggingPlace, PromptStackLogger
from tests.conftest import MakeLogger
from tests.support.process import run_python
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Hang, Reply, batching
from tests.support.timing import assert_in_time

Use = Callable[[Any], Awaitable[object]]


class Refusing(Executor):
    """Fails whoever submits work."""

    def submit(self, *_: object, **__: object) -> Any:
        raise AssertionError("the loop's executor is the application's")


async def with_refusing_executor(work: Awaitable[object]) -> object:
    # private: asyncio takes none but a pool of threads by its public call
    asyncio.get_running_loop()._default_executor = Refusing()  # type: ignore[attr-defined]
    return await work


def make_huggingplace(url: str, **options: Any) -> HuggingPlace:
    return HuggingPlace(api_key="hp_test", org_id="org", base_url=url, **options)


@pytest.mark.parametrize("use", ["aflush", "ashutdown", "aget_prompt", "with_threads_off"])
def test_no_coroutine_of_the_banyan_client_uses_the_executor(
    use: str, server: ScriptedServer, make_logger: MakeLogger
) -> None:
    """Flushing, ending and fetching work where the executor takes nothing."""
    server.handler = batching()
    logger = make_logger(server.url, background_thread=use != "with_threads_off")
    logger.log_prompt("q", "a")

    async def main() -> object:
        if use == "aget_prompt":
            return await with_refusing_executor(logger.aget_prompt("p", fallback=lambda: "mine"))
        call = logger.ashutdown(5) if use == "ashutdown" else logger.aflush(5)
        return await with_refusing_executor(call)

    assert asyncio.run(main())


@pytest.mark.parametrize("use", ["aflush", "ashutdown", "test_connection", "with"])
def test_no_coroutine_of_the_huggingplace_client_uses_the_executor(use: str, server: ScriptedServer) -> None:
    """Likewise."""
    server.handler = lambda _: Reply(201, {})
    client = make_huggingplace(server.url)
    receipt = client.log({"user_prompt": "q", "response": "a"})

    async def main() -> None:
        if use == "with":
            async with client:
                pass
        else:
            assert await getattr(client, use)()

    asyncio.run(with_refusing_main(main))
    client.shutdown(5)
    receipt.result(5)


async def with_refusing_main(main: Callable[[], Awaitable[None]]) -> None:
    await with_refusing_executor(main())


def test_sixty_flushes_on_a_hanging_backend_end_together(
    server: ScriptedServer, make_logger: MakeLogger
) -> None:
    """All end at their timeout, names are resolved meanwhile, and no thread is made for any of them."""
    server.handler = lambda request: Hang() if request.method == "POST" else Reply(200)
    logger = make_logger(server.url, batching="never")
    logger.log_prompt("q", "a")

    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        before = set(threading.enumerate())
        began = time.monotonic()
        flushes = [asyncio.ensure_future(logger.aflush(1)) for _ in range(60)]
        await asyncio.sleep(0.1)
        new = [thread.name for thread in set(threading.enumerate()) - before]
        assert len([name for name in new if not name.startswith("scripted")]) < 10, new
        asked = time.monotonic()
        await loop.getaddrinfo("127.0.0.1", 80)
        resolved = time.monotonic() - asked
        assert not any(await asyncio.gather(*flushes))
        return time.monotonic() - began, resolved

    took, resolved = asyncio.run(main())
    server.release()
    assert took > 0.9
    assert_in_time(resolved, 0.5)
    assert_in_time(took, 2.5)


CANCELLED = """
import asyncio
from banyan_hp import HuggingPlace
URL = os.environ["URL"]

options = {"base_url": URL, "batching": "never", "exit_timeout": 0.2}
banyan = PromptStackLogger(api_key="psk_test", timeout=60, prompt_timeout=60, **options)
other = HuggingPlace(api_key="hp_test", org_id="o", timeout=60_000, **options)

async def main():
    banyan.log_prompt("q", "a")
    other.log({"user_prompt": "q", "response": "a"})
    calls = [banyan.aflush(60), other.aflush(60), banyan.aget_prompt("p"), other.test_connection()]
    if os.environ["ENDS"]:
        calls += [banyan.ashutdown(60), other.ashutdown(60)]
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0.3)
    assert not any(task.done() for task in tasks), tasks
    raise SystemExit

try:
    asyncio.run(main())
except SystemExit:
    leave()
print("pending on disk", banyan.shutdown(1).spooled + other.shutdown(1).spooled)
"""


@pytest.mark.parametrize("ends", [False, True])
def test_a_process_whose_waits_are_cancelled_ends_at_once(ends: bool, server: ScriptedServer) -> None:
    """Nothing waits for the cancelled calls' timeouts, and what was not delivered is on disk."""
    server.handler = lambda _: Hang()
    finished = run_python(CANCELLED, url=server.url, ENDS="1" if ends else "")
    server.release()
    assert finished.status == 0, finished.stderr
    assert finished.stdout == "pending on disk 2\n", finished.stderr
    assert_in_time(finished.exit_seconds, 8)


def test_thousands_of_waits_for_prompts_make_no_thread_each(
    server: ScriptedServer, make_logger: MakeLogger
) -> None:
    """They all wait for the few threads that fetch."""
    server.handler = lambda _: Hang()
    logger = make_logger(server.url, prompt_timeout=1.0)

    async def main() -> int:
        before = set(threading.enumerate())
        calls = [logger.aget_prompt(f"p{n % 500}", fallback="mine") for n in range(3000)]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0.5)
        new = [thread.name for thread in set(threading.enumerate()) - before]
        more = len([name for name in new if not name.startswith("scripted")])
        found = await asyncio.gather(*tasks)
        assert all(prompt is not None and prompt.source == "fallback" for prompt in found)
        return more

    more = asyncio.run(main())
    server.release()
    assert more <= 20


def test_a_flush_on_a_loop_covers_earlier_configurations(server: ScriptedServer) -> None:
    """`aflush` and `ashutdown` wait for what was logged before `update_config`, too."""
    server.handler = lambda request: Reply(201, {}, delay=0.1) if request.method == "POST" else Reply(404)
    client = make_huggingplace(server.url, batching="never")

    async def main() -> None:
        client.log({"user_prompt": "before", "response": "a"})
        client.update_config(org_id="another")
        client.log({"user_prompt": "after", "response": "a"})
        assert await client.aflush(5)
        client.log({"user_prompt": "last", "response": "a"})
        client.update_config(org_id="third")
        assert await client.ashutdown(5)

    asyncio.run(main())
    assert {body["user_prompt"] for _, body in server.records()} == {"before", "after", "last"}


def test_two_shutdowns_on_a_loop_end_with_the_first_ones_write(
    server: ScriptedServer, make_logger: MakeLogger
) -> None:
    """Sixty at the same time have one thread, and find the record on disk."""
    server.handler = lambda request: Hang() if request.method == "POST" else Reply(200)
    logger = make_logger(server.url, batching="never")
    logger.log_prompt("q", "a")

    async def main() -> list[int]:
        results = await asyncio.gather(*(logger.ashutdown(0.3) for _ in range(60)))
        again = await logger.ashutdown(1)
        return [result.pending for result in (*results[:1], again)]

    assert asyncio.run(main()) == [0, 0]
    server.release()
    assert isinstance(logger, PromptStackLogger)
    assert logger.get_stats()["logs_spooled"] == 1
