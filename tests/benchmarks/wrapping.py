"""What a wrapped client costs the caller beyond the client itself, with responses that never touch a network.

python -m tests.benchmarks.wrapping [--rounds N] [--limits] [--peers]

The minimum of the calling thread's CPU time, plain and wrapped in turns, in microseconds: a busy machine
disturbs minima least. With `--limits` the exit status is 1 where a call, a chunk or wrapping costs more than
its limit. `--peers` measures OpenAI's client as other systems record it instead, see `wrapping_peers.py`.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import anthropic
import openai

from banyan_hp import PromptStackLogger
from tests.support import recorded
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import batching

CALL_US, CHUNK_US, WRAPPING_MS = 40.0, 4.0, 2.0
CHUNKS = 201
CALLS_A_ROUND = 100
ASKED: Any = [{"role": "user", "content": "Hi"}]
PATIENT: dict[str, Any] = {
    "spool": False,
    "flush_interval": 3600.0,
    "batch_size": 1_000_000,
    "queue_size": 1_000_000,
    "queue_bytes": 2**33,
}


class Case(NamedTuple):
    """A way to call: how its client is made, and called."""

    make: Callable[[], Any]
    call: Callable[[Any], object]
    chunks: int = 0


def _httpx() -> Any:
    """The HTTP package that the SDKs stand on: `httpx`, or `httpx2`."""
    client = next(cls for cls in openai.DefaultHttpxClient.__mro__ if cls.__name__ == "Client")
    return import_module(client.__module__.partition(".")[0])


HTTPX = _httpx()


_ByteStream: Any = HTTPX.SyncByteStream


class Pieces(_ByteStream):  # type: ignore[misc]
    """A body that comes piece by piece."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces


def _answering(body: Any) -> Any:
    def answer(request: Any) -> Any:
        if isinstance(body, list):
            headers = {"content-type": "text/event-stream"}
            return HTTPX.Response(200, headers=headers, stream=Pieces(body))
        headers = {"content-type": "application/json"}
        return HTTPX.Response(200, headers=headers, content=json.dumps(body).encode())

    return HTTPX.Client(transport=HTTPX.MockTransport(answer))


def _gpt(body: Any) -> Callable[[], Any]:
    return lambda: openai.OpenAI(api_key="sk", http_client=_answering(body))


def _claude(body: Any) -> Callable[[], Any]:
    return lambda: anthropic.Anthropic(api_key="sk", http_client=_answering(body))


def _events() -> list[bytes]:
    event = f"data: {json.dumps(recorded.CHAT_CHUNKS[1])}\n\n".encode()
    return [*([event] * (CHUNKS - 1)), b"data: [DONE]\n\n"]


CASES = {
    "chat.completions.create": Case(
        _gpt(recorded.CHAT), lambda gpt: gpt.chat.completions.create(model="m", messages=ASKED)
    ),
    "responses.create": Case(
        _gpt(recorded.RESPONSE), lambda gpt: gpt.responses.create(model="m", input="Hi")
    ),
    "messages.create": Case(
        _claude(recorded.MESSAGE),
        lambda claude: claude.messages.create(model="m", max_tokens=9, messages=ASKED),
    ),
    f"chat, a stream of {CHUNKS} chunks": Case(
        _gpt(_events()),
        lambda gpt: list(gpt.chat.completions.create(model="m", messages=ASKED, stream=True)),
        CHUNKS,
    ),
}


def least_cpu(call: Callable[[], object], times: int) -> float:
    """Microseconds of the calling thread, of the cheapest of so many calls."""
    least = float("inf")
    for _ in range(times):
        before = time.thread_time_ns()
        call()
        least = min(least, time.thread_time_ns() - before)
    return least / 1_000


def measured(case: Case, logger: PromptStackLogger, rounds: int) -> tuple[float, float, float]:
    """Microseconds of a plain call, of a wrapped one, and of wrapping."""
    plain, client = case.make(), case.make()
    wrap = logger.wrap_anthropic if isinstance(client, anthropic.Anthropic) else logger.wrap_openai
    wrapping = least_cpu(lambda: wrap(client), 1)
    times = CALLS_A_ROUND // 10 if case.chunks else CALLS_A_ROUND
    least = [float("inf"), float("inf")]
    for _ in range(rounds):
        for number, each in enumerate((plain, client)):
            least[number] = min(least[number], least_cpu(lambda each=each: case.call(each), times))  # type: ignore[misc]
        logger.flush(30)
    return least[0], least[1], wrapping


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.wrapping", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--limits", action="store_true")
    parser.add_argument("--peers", action="store_true")
    options = parser.parse_args(arguments)
    if options.peers:
        from tests.benchmarks import wrapping_peers

        wrapping_peers.report(options.rounds)
        return 0
    dear = False
    with ScriptedServer(batching()) as server:
        logger = PromptStackLogger("psk_bench", server.url, **PATIENT)
        gc.disable()
        print(f"{'':32}{'plain':>10}{'wrapped':>10}{'beyond':>10}   (least CPU, µs)")
        for name, case in CASES.items():
            plain, wrapped, wrapping = measured(case, logger, options.rounds)
            beyond = wrapped - plain
            each = f"{beyond / case.chunks:.2f} a chunk" if case.chunks else ""
            print(f"{name:32}{plain:10.1f}{wrapped:10.1f}{beyond:10.1f}   {each}")
            dear |= beyond > CALL_US + CHUNK_US * case.chunks or wrapping > WRAPPING_MS * 1_000
        print(f"wrapping a client: {wrapping / 1_000:.2f} ms")
        logger.shutdown(5)
    return 1 if options.limits and dear else 0


if __name__ == "__main__":
    sys.exit(main())
