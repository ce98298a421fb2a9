"""The context of one request: `context()` whose metadata is read when a record is made, not before.

A middleware runs before the framework has found the route and the user. So the metadata is worked out at the
first record, on the caller's own thread, and what was not known then is asked for again at the next one.
A request that logs nothing costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import get_ident
from typing import Any, NamedTuple

from ..foreign import is_deliberate, type_name
from ..traceparent import parse
from ..tracking.reading.fields import error_text
from ..tracking.scopes import Scope, current
from ..tracking.traces import TRACEPARENT, header_of
from .web import ANONYMOUS, WebSettings, new_id

_LONGEST_PATH = 200
_LONGEST_METHOD = 20
# Threads in a function of the application that was asked for an id. If it logs, the record goes without it.
# Each thread adds and removes only itself, which is atomic under the GIL.
_asking: set[int] = set()


class _Known(NamedTuple):
    """What was found so far; replaced as a whole, so that threads never see half of it."""

    metadata: Mapping[str, Any]
    user: bool = False
    session: bool = False
    route: bool = False
    all: bool = False


class RequestScope(Scope):
    """What surrounds the code of one request. Made, resumed, paused and finished by its middleware.

    Several threads may read it at once.

    Args:
        settings: the middleware's.
        request: what the server has of it.
    """

    __slots__ = ("_around", "_error", "_known", "_made", "interaction", "request", "settings")

    def __init__(self, settings: WebSettings, request: Any) -> None:
        around = current()
        super().__init__(around.metadata, around.span, around)
        self.settings = settings
        self.request = request
        self._known: _Known | None = None
        self._made: dict[str, str] = {}  # random ids; `setdefault` is atomic, so there is one of each
        self._error: BaseException | None = None
        self.interaction: Any = None
        if settings.interaction is not False:
            self.interaction = settings.opened_interaction(request)
            self.span = self.interaction or around.span

    @property
    def metadata(self) -> Mapping[str, Any]:
        known = self._known
        if known is not None and (known.all or self.ended):
            return known.metadata
        thread = get_ident()
        if self.ended or thread in _asking:
            return self._around if known is None else known.metadata
        _asking.add(thread)
        try:
            return self._read(known)
        finally:
            _asking.discard(thread)

    @metadata.setter
    def metadata(self, around: Mapping[str, Any]) -> None:
        self._around = around

    # -- what is known ----------------------------------------------------------------------------------

    def _read(self, known: _Known | None) -> Mapping[str, Any]:
        try:
            known = self._found_by_now(_Known(self._facts()) if known is None else known)
        except Exception as error:
            if is_deliberate(error):
                raise
            if not self.ended:  # by another thread, meanwhile
                self.settings.failed("a request could not be read", error)
            return self._around if known is None else known.metadata
        self._known = known
        return known.metadata

    def _facts(self) -> dict[str, Any]:
        """What does not change: ids, method, path, and the trace that the client is in."""
        settings, request = self.settings, self.request
        reader = settings.reader
        facts: dict[str, Any] = {**self._around}
        facts["request_id"] = settings.request_id(request) or self._made.setdefault("request_id", new_id())
        if (method := reader.method(request)) is not None:
            facts["method"] = method[:_LONGEST_METHOD]
        facts["path"] = reader.path(request)[:_LONGEST_PATH]
        traced = reader.header(request, "traceparent")
        if traced is not None and (ids := parse(traced)) is not None:
            facts[TRACEPARENT] = header_of(ids)
        return facts

    def _found_by_now(self, known: _Known) -> _Known:
        """With what has come to be known while the request was handled."""
        metadata, has_user, has_session, has_route, _ = known
        settings, request = self.settings, self.request
        found: dict[str, str] = {}
        if not has_route and (route := settings.reader.route(request)) is not None:
            found["path"] = route[:_LONGEST_PATH]
            has_route = True
        if not has_user:
            has_user = settings.user is None or self._asked("user", found)
        if not has_session:
            has_session = settings.session is None or self._asked("session", found)
        if settings.anonymous_cookie is not None and "user_id" not in found and "user_id" not in metadata:
            found["user_id"] = self._anonymous()
        whole = has_route and has_user and has_session
        metadata = {**metadata, **found} if found else metadata
        return _Known(metadata, has_user, has_session, has_route, whole)

    def _asked(self, name: str, found: dict[str, str]) -> bool:
        """Whether the application's function has an id by now."""
        ident = self.settings.ask(name, self.request)
        if ident is not None:
            found[f"{name}_id"] = ident
        return ident is not None

    def _anonymous(self) -> str:
        ident = self._made.get("visitor")
        if ident is None:
            given = self.settings.anonymous_id(self.request)
            ident = self._made.setdefault("visitor", given or ANONYMOUS + new_id())
        return ident

    def id_for_cookie(self) -> str | None:
        """The visitor's new id, which the response has to carry; None if there is nothing to set."""
        user, ident = self.metadata.get("user_id"), self._made.get("visitor")
        if ident is None or user != ident or self.ended:
            return None
        return None if ident == self.settings.anonymous_id(self.request) else ident

    # -- its end ----------------------------------------------------------------------------------------

    def fail(self, error: BaseException) -> None:
        """Note that the handler has raised: the interaction says so, and records made from now on."""
        if self.ended:
            return
        self.read_in_time()
        if self.interaction is not None:
            self._error = error
        if isinstance(error, Exception):  # not a client that has gone away
            known = self._known or _Known(self._around)
            said = {"error_type": type_name(error), "error": error_text(error)}
            self._known = known._replace(metadata={**known.metadata, **said})

    def read_in_time(self) -> None:
        """Ask once more, as the response begins: afterwards the framework may have forgotten the request."""
        _ = self.metadata

    def finish(self, error: BaseException | None = None, ended: str | None = None) -> None:
        """End it, once: it is current nowhere any more, and its interaction is logged.

        Nobody is asked for the user any more: another request may be handled here by now, whose user it is.
        """
        if self.ended:
            return
        if error is not None:
            self.fail(error)
        interaction, error = self.interaction, self._error
        if interaction is not None:
            interaction._metadata_around = self._around if self._known is None else self._known.metadata
            if error is not None:
                interaction._finish_failed(error, streamed=True)
            else:
                interaction._finish(ended=ended)
        self.ended = True
        self.request = self._error = (
            None  # what still has a copy of the context does not keep the request alive
        )


def note_error(error: BaseException) -> None:
    """Note what a framework has caught and made a response of, for the request that is handled here."""
    scope: Scope | None = current()
    while scope is not None and not isinstance(scope, RequestScope):
        scope = scope.parent
    if scope is not None:
        scope.fail(error)
