"""What is around a call: ambient metadata, and the interaction or step that is open here.

Context variables carry both: a task of asyncio, and `asyncio.to_thread`, start with a copy of what was set
where they were made; a plain thread, and a thread of an executor, start with nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, TypeVar

from ..foreign import as_dict

if TYPE_CHECKING:
    from .span import Span

T = TypeVar("T")

NOTHING: Mapping[str, Any] = {}
ambient: ContextVar[Mapping[str, Any]] = ContextVar("banyan_hp_ambient", default=NOTHING)
current: ContextVar[Span | None] = ContextVar("banyan_hp_current", default=None)
# Set while a provider's own code runs on behalf of a recorded call, which must not be recorded twice.
recorded: ContextVar[bool] = ContextVar("banyan_hp_recorded", default=False)


@contextmanager
def context(**metadata: Any) -> Iterator[None]:
    """Metadata for everything logged inside, by whichever client.

    `with banyan.context(user_id="u1", session_id="s1"):` adds both to the metadata of each record logged in
    it: by `log_prompt`, `log`, `log_step`, interactions, traced functions and wrapped clients. What a call
    gives itself wins; an inner `context` adds to the outer one and wins over it. For HuggingPlace a
    `user_id` and a `session_id` also become the fields of that name. Also a decorator.

    Valid in the coroutine or thread that opened it and in the tasks made inside. A plain thread starts
    without it; hand it over with `contextvars.copy_context()`, one copy for each call:
    `pool.submit(contextvars.copy_context().run, work, argument)`.
    """
    token = ambient.set({**ambient.get(), **metadata})
    try:
        yield
    finally:
        restore(ambient, token)


def restore(variable: ContextVar[T], token: Token[T]) -> None:
    """Undo a `set`. Where another context does it (a generator closed elsewhere) there is nothing to undo."""
    try:
        variable.reset(token)
    except ValueError:
        return


def with_ambient(metadata: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """`metadata` and beneath it what `context` has set here."""
    around = ambient.get()
    if not around:
        return metadata
    return dict(around) if metadata is None else {**around, **as_dict(metadata)}


def options_with_ambient(options: dict[str, Any]) -> dict[str, Any]:
    """A HuggingPlace record and beneath it what `context` has set here."""
    around = ambient.get()
    own = options.get("metadata")
    if not around or not (own is None or isinstance(own, Mapping)):
        return options
    top = {name: around[name] for name in ("user_id", "session_id") if name in around}
    return {**top, **options, "metadata": with_ambient(own)}
