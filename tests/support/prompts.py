"""What tests of prompts share: the backend's responses, a request held until its release, many callers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from banyan_hp import PromptData
from tests.support.patience import PATIENCE
from tests.support.scripted import Answer, ScriptedServer
from tests.support.scripted_answers import Exchange, Handler, Reply

Result = TypeVar("Result")


def prompt_json(content: str = "Hello", name: str = "p", **more: Any) -> dict[str, Any]:
    """A prompt as the backend sends it."""
    plain = {"prompt_id": "id-1", "name": name, "content": content, "version": "1", "branch": "main"}
    return {**plain, "project": "acme", "enable_logging": True, **more}


def experiment_json(ident: str = "e1", *percentages: float, **more: Any) -> dict[str, Any]:
    """An experiment's configuration as the backend sends it; its versions are v0, v1, …"""
    versions = [
        {
            "experiment_version_id": f"{ident}-v{index}",
            "version": f"{index + 10}",
            "content": f"content of v{index}",
            "traffic_percentage": percentage,
        }
        for index, percentage in enumerate(percentages or (50, 50))
    ]
    plain = {"experiment_id": ident, "status": "running", "sticky_type": "user_id", "versions": versions}
    return {**plain, **more}


class Held:
    """An answer that `go` lets out; one of these can be held while others pass."""

    def __init__(self, after: Answer | None = None) -> None:
        self.go = threading.Event()
        self._after = after or Reply(200, prompt_json())

    def play(self, exchange: Exchange) -> bool:
        return self.go.wait(PATIENCE) and self._after.play(exchange)


def always(answer: Answer) -> Handler:
    """The same answer to each request."""
    return lambda _request: answer


def all_at_once(
    number: int, call: Callable[[int], Result], meanwhile: Callable[[], object] = lambda: None
) -> list[Result]:
    """So many threads that call at the same moment; what they got, in their order."""
    barrier = threading.Barrier(number)

    def run(index: int) -> Result:
        barrier.wait(PATIENCE)
        return call(index)

    with ThreadPoolExecutor(number) as pool:
        calls = [pool.submit(run, index) for index in range(number)]
        meanwhile()
        return [each.result() for each in calls]


def seen(prompt: PromptData | None) -> tuple[str, str] | None:
    return None if prompt is None else (prompt.content, prompt.source)


def dead_url() -> str:
    with ScriptedServer() as reserved:
        return reserved.url


HELLO = Reply(200, prompt_json())
CONFIGURED = Reply(200, prompt_json(experiments=[experiment_json()]))
NONE = Reply(404, {"error": "no such prompt"})
USER = {"user_id": "user_123"}
