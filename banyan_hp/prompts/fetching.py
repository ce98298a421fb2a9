"""Fetching: requests to the backend, the threads that make them, what a response says, and failed fetches.

Which fetches there are, and that a query has only one at a time, is up to `state`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic

from ..engine.delivery.stepwise import Event
from ..engine.http.response import MAX_RESPONSE_BYTES, Response
from ..engine.http.transport import HTTPTransport, NoResponse, Request, Transport, never_raising, text_filter
from ..engine.policy.retry import between
from ..engine.process import hosts
from ..engine.sync import Lock, ReleasingOnError
from ..engine.threads import ThreadStart
from ..logs import warn
from ..text import json_object
from .memory import Entry
from .queries import Endpoint, Query, Value

MAX_FETCHERS = 16
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0


class Fetch(Generic[Value]):
    """One fetch of a query. Once `done` is set, `entry` is what came back, or None if nothing did.

    Attributes:
        key: the query that the cache has the fetch under.
        deadline: on the monotonic clock; nobody waits for it any longer than that.
        superseded: its result must not be kept: the query was invalidated, or fetched again, meanwhile.
        cleared: the cache was emptied meanwhile, on disk, too.
        revalidated: the entry whose tag was sent, which the backend may confirm.
    """

    def __init__(
        self, query: Query[Value], key: Query[Value], deadline: float, *, entry: Entry[Value] | None = None
    ) -> None:
        self.query = query
        self.key = key
        self.deadline = deadline
        self.superseded = False
        self.cleared = False
        self.revalidated: Entry[Value] | None = None
        self.entry = entry
        self.done = Event()
        if entry is not None:
            self.done.set()


class FetchThreads:
    """Daemon threads, at most `MAX_FETCHERS`, that end when there is nothing left to fetch.

    Args:
        fetch: called once for each fetch.
        threaded: False fetches on the caller's thread.
    """

    def __init__(self, fetch: Callable[[Fetch[Any]], None], *, threaded: bool) -> None:
        self._fetch = fetch
        self._threaded = threaded
        self._lock = Lock()
        self._waiting: deque[Fetch[Any]] = deque()
        self._places: set[object] = set()  # taken by a thread, or by a caller that fetches

    def start(self, fetch: Fetch[Any]) -> None:
        self._waiting.append(fetch)
        if not (self._threaded and hosts.threads_can_run() and self._on_a_thread()):
            self._on_this_thread()

    def _on_a_thread(self) -> bool:
        """Whether threads do it."""
        place = object()
        try:
            thread = threading.Thread(target=self._work, args=(place,), name="banyan_hp-prompts", daemon=True)
            with ThreadStart(thread, partial(self._places.discard, place)) as begun:
                if self._taken(place):
                    begun.make()
        except RuntimeError:  # the interpreter is shutting down, or the system has no threads left
            return False
        return True

    def _on_this_thread(self) -> None:
        place = object()
        try:
            if self._taken(place):
                self._work(place)
        finally:
            self._places.discard(place)

    def _taken(self, place: object) -> bool:
        """Take a place, if one is free."""
        with ReleasingOnError((self._lock,)), self._lock:
            if len(self._places) >= MAX_FETCHERS:
                return False
            self._places.add(place)
            return True

    def _work(self, place: object) -> None:
        try:
            while (fetch := self._next(place)) is not None:
                self._carry_out(fetch)
        finally:
            self._places.discard(place)

    def _carry_out(self, fetch: Fetch[Any]) -> None:
        try:
            self._fetch(fetch)
        except Exception:  # noqa: BLE001 - the outermost loop of a thread
            warn("prompt fetcher", "fetching %r failed", fetch.query.subject, exc_info=True)
        finally:
            fetch.done.set()

    def _next(self, place: object) -> Fetch[Any] | None:
        with ReleasingOnError((self._lock,)), self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._places.discard(place)
            return None


class Backend:
    """Sends queries to one endpoint. Connections are opened when they are first needed. Thread-safe.

    Attributes:
        endpoint: URL, key and headers.
        clean: the filter for texts of the backend's, which keeps the key out of logs.

    Args:
        endpoint: as the attribute.
        timeout: seconds for a whole request.
        connect: makes the transport.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timeout: float,
        connect: Callable[[str, float, int], Transport] = HTTPTransport,
    ) -> None:
        self.endpoint = endpoint
        self.clean = text_filter(endpoint.base_url, endpoint.headers)
        self._timeout = timeout
        self._connect = never_raising(connect)
        self.forget_connections()

    def forget_connections(self) -> None:
        """For a forked child, which must not share its parent's."""
        self._lock = Lock()  # guards the transport
        self._transport: Transport | None = None

    def send(self, query: Query[Any], etag: str | None) -> Response | NoResponse:
        """The response to a query; with `etag` the backend may say that what it gave before still holds."""
        request: Request = query.request(self.endpoint)
        headers = {**request.headers, "Cache-Control": "no-cache"}  # a cache on the way must ask, too
        if etag is not None:
            headers["If-None-Match"] = etag
        with ReleasingOnError((self._lock,)), self._lock:
            if self._transport is None:
                self._transport = self._connect(self.endpoint.base_url, self._timeout, MAX_FETCHERS)
            transport = self._transport
        return transport.send(Request(request.method, request.url, headers, request.body), self._timeout)

    def close(self) -> None:
        """Close the connections; they are opened again when needed."""
        with ReleasingOnError((self._lock,)), self._lock:
            transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()


# -- what a response says ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fetched:
    """A JSON object, its size in bytes, the tag to revalidate it with, and its age in seconds."""

    content: dict[str, Any]
    size: int
    etag: str | None
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class NotModified:
    """The entry whose tag was sent still holds, or did `age` seconds ago."""

    age: float = 0.0


class NotFound:
    """The backend has none, for any user."""


Result = Fetched | NotModified | NotFound


def read_response(response: Response | NoResponse) -> Result:
    """What a response says.

    Raises:
        ValueError: nothing that can be used.
    """
    if isinstance(response, NoResponse):
        raise ValueError(response.detail)
    content = json_object(response.body)
    if response.status == 304:
        return NotModified(_age(response))
    if response.status == 404 and content is not None and ("error" in content or "message" in content):
        return NotFound()
    if 200 <= response.status <= 201 and content is not None:
        return Fetched(content, len(response.body), _etag(response), _age(response))
    raise ValueError(f"it answered with {_described(response)}")


def _described(response: Response) -> str:
    if response.status in (401, 403):
        return f"status {response.status}: it refuses the API key"
    if len(response.body) >= MAX_RESPONSE_BYTES:
        return f"more than {MAX_RESPONSE_BYTES >> 20} MiB, the most that is read"
    kind = response.headers.get("content-type", "no content type")
    return f"status {response.status} ({kind})"


def _etag(response: Response) -> str | None:
    """The tag, if it can be sent back."""
    etag = response.headers.get("etag")
    return etag if etag and etag.isascii() and etag.isprintable() else None


def _age(response: Response) -> float:
    """Seconds since the backend sent it: a cache on the way may have kept it (RFC 9111, 5.1)."""
    stated = response.headers.get("age", "").strip()
    return float(stated) if stated.isascii() and stated.isdecimal() and len(stated) <= 10 else 0.0


# -- failed fetches ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Failures:
    """Fetches that failed one after the other."""

    number: int
    retry_at: float


class FailedFetches:
    """Which queries must not be fetched yet. Changed under the lock of `state`.

    Failures count by the shared query, whoever asked. Pauses double up to `LONGEST_PAUSE`.

    Args:
        size: how many queries are remembered; the oldest go first.
        monotonic: the clock.
    """

    def __init__(self, size: int, monotonic: Callable[[], float]) -> None:
        self._size = size
        self._monotonic = monotonic
        self._failures: dict[Query[Any], _Failures] = {}

    def __contains__(self, query: Query[Any]) -> bool:
        return query.shared in self._failures

    def is_due(self, query: Query[Any], now: float) -> bool:
        """Whether it may be fetched. Takes no lock."""
        failures = self._failures.get(query.shared)
        return failures is None or now >= failures.retry_at

    def record(self, query: Query[Any], *, slow: bool) -> None:
        """One more fetch has failed; a `slow` one made its callers wait."""
        key, now = query.shared, self._monotonic()
        earlier = self._failures.get(key)
        if earlier is not None and now < earlier.retry_at:
            return  # several were under way at the same time
        number = earlier.number + 1 if earlier else 1
        pause = _pause(number, slow=slow) * between(0.5, 1.0)
        self._failures[key] = _Failures(number, now + pause)
        if len(self._failures) > self._size:
            del self._failures[next(iter(self._failures))]

    def reset(self, query: Query[Any]) -> None:
        """A fetch has succeeded."""
        self._failures.pop(query.shared, None)

    def forget(self, subject: str | None) -> None:
        """Those of a prompt or experiment; None: all."""
        for key in [key for key in self._failures if subject in (None, key.subject)]:
            del self._failures[key]


def _pause(failures: int, *, slow: bool) -> float:
    """Seconds without a further fetch; 0 after a first failure that came quickly."""
    if failures == 1 and not slow:
        return 0.0
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 10))
