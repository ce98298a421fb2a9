"""What tests of the cache share: clocks that stand still, and a real server with scripted responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.prompts.cache import Found, PromptCache
from banyan_hp.prompts.data import Source
from banyan_hp.prompts.fetching import Backend
from banyan_hp.prompts.queries import Endpoint, FetchedPrompt, PromptQuery
from banyan_hp.prompts.state import CacheState
from banyan_hp.prompts.store import Store
from banyan_hp.settings import PromptSettings
from tests.support.clock import FakeClock
from tests.support.parts import part_of
from tests.support.patience import eventually
from tests.support.prompts import always, prompt_json
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply, Request

P = PromptQuery("p", None, "main", None, ())
PINNED = PromptQuery("p", "1", "main", None, ())
TTL = 60.0
PINNED_TTL = 600.0
NONE = Reply(404, {"error": "no such prompt"})
HELLO = Reply(200, prompt_json())

Make = Callable[..., PromptCache]


def user(ident: str, name: str = "p") -> PromptQuery:
    return PromptQuery(name, None, "main", None, (("user_id", ident),))


def routed(request: Request) -> Reply:
    """A server that routes each user."""
    ident = request.path.rpartition("=")[2]
    return Reply(200, prompt_json(f"for {ident}", experiment_id="e1", experiment_version_id="v1"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make(server: ScriptedServer, clock: FakeClock, tmp_path: Path) -> Iterator[Make]:
    """Caches of one server over one directory."""
    server.handler = always(HELLO)
    made: list[PromptCache] = []

    def make(**options: Any) -> PromptCache:
        endpoint = Endpoint(server.url, "psk_secret", {"X-API-Key": "psk_secret"})
        settings = PromptSettings(
            prompt_cache_ttl=TTL,
            prompt_pinned_ttl=PINNED_TTL,
            prompt_timeout=options.pop("timeout", 5.0),
            prompt_cache_size=options.pop("size", 100),
        )
        backend = Backend(endpoint, settings.prompt_timeout)
        options = {"threaded": True, "clock": clock, **options}
        store = options.pop("store", None) or Store(tmp_path / "prompts")
        made.append(PromptCache(backend, store, settings, **options))
        return made[-1]

    yield make
    server.release()
    for cache in made:
        all_done(cache)
        cache.close()


def reported(found: Found[FetchedPrompt] | None) -> tuple[str, Source] | None:
    """What a caller was given: the content (or "none") and its source."""
    if found is None:
        return None
    return (found[0].value.prompt.content if found[0].value else "none"), found[1]


def all_done(cache: PromptCache) -> None:
    eventually(lambda: not part_of(cache, CacheState).fetches, "the end of all fetches")
