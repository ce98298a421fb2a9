"""What a scripted server gets and gives: requests, answers good and broken, and handlers that choose them.

Nothing here sleeps: every delay, drip and hang is a wait that the server's `close()` ends.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Protocol

SINGLE_PATH = "/api/logs/prompt-usage"
BATCH_PATH = "/api/logs/prompt-usage/batch"
VALIDATE_PATH = "/api/auth/validate"
HUGGINGPLACE_PATH = "/v2/chatgpt/store_generated_response"

_BODILESS = frozenset({204, 304})

Body = bytes | str | dict[str, Any] | list[Any]
Verdicts = Callable[[dict[str, Any]], tuple[int, str | None]]


class Headers(Mapping[str, str]):
    """A request's headers, looked up without regard to case; a repeated one is joined with `, `."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, str] = {}
        for name, value in pairs:
            key = name.lower()
            self._values[key] = f"{self._values[key]}, {value}" if key in self._values else value

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({self._values!r})"


@dataclass(frozen=True, slots=True)
class Request:
    """One complete request as it arrived."""

    method: str
    path: str
    """With the query."""
    headers: Headers
    body: bytes
    """Without its Content-Encoding."""
    raw_body: bytes
    """As sent."""
    at: float
    """`time.monotonic()` when the last byte was here."""
    connection: int
    """Number of the connection, from 1."""

    @property
    def route(self) -> str:
        """The path without the query."""
        return self.path.partition("?")[0]

    def json(self) -> Any:
        return json.loads(self.body)


class Exchange(Protocol):
    """One request and the means to answer it."""

    @property
    def request(self) -> Request: ...

    @property
    def connection(self) -> Connection: ...

    def send(self, content: bytes) -> None: ...

    def wait(self, seconds: float) -> bool:
        """Wait, and say whether the server was closed meanwhile."""

    def wait_for_release(self) -> bool:
        """Wait for `release()` (True) or `close()` (False)."""

    def reset(self) -> None:
        """Close the connection with an RST in place of a FIN."""


class Connection(Protocol):
    """Where a request came from."""

    @property
    def sock(self) -> socket.socket: ...


class Answer(Protocol):
    """What the server does about one request."""

    def play(self, exchange: Exchange) -> bool:
        """Do it; return whether the connection may take another request."""


Handler = Callable[[Request], Answer]


# Answers


@dataclass(frozen=True)
class Reply:
    """An ordinary answer; dicts and lists go out as JSON, and `headers` win over those made here."""

    status: int = 200
    body: Body = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0

    def play(self, exchange: Exchange) -> bool:
        if exchange.wait(self.delay):
            return False
        content_type, content = _encoded(self.body)
        if self.status in _BODILESS:
            exchange.send(head_of(self.status, self.headers))
            return True
        made = {"Content-Type": content_type, "Content-Length": str(len(content))}
        head = head_of(self.status, self.headers, made)
        exchange.send(head if exchange.request.method == "HEAD" else head + content)
        return True


@dataclass(frozen=True)
class Redirect:
    """A redirect without a body."""

    location: str
    status: int = 302

    def play(self, exchange: Exchange) -> bool:
        return Reply(self.status, headers={"Location": self.location}).play(exchange)


@dataclass(frozen=True)
class CloseAfter:
    """An answer, then the connection is closed: unannounced, as idle connections die, unless `announce`."""

    reply: Reply = field(default_factory=Reply)
    announce: bool = False

    def play(self, exchange: Exchange) -> bool:
        reported = {"Connection": "close"} if self.announce else {}
        replace(self.reply, headers={**self.reply.headers, **reported}).play(exchange)
        return False


@dataclass(frozen=True)
class Reset:
    """The request is read, then the connection is reset (RST) without an answer."""

    def play(self, exchange: Exchange) -> bool:
        exchange.reset()
        return False


@dataclass(frozen=True)
class ResetMidAnswer:
    """The head and the first `after_bytes` of the body, then a reset (RST)."""

    status: int = 200
    body: Body = b"{}"
    after_bytes: int = 1

    def play(self, exchange: Exchange) -> bool:
        head, content = _message(self.status, self.body)
        exchange.send(head + content[: self.after_bytes])
        exchange.reset()
        return False


@dataclass(frozen=True)
class Truncated:
    """A body shorter than its Content-Length, then an orderly close."""

    status: int = 200
    body: Body = b"{}"
    declared_length: int = 1_000

    def play(self, exchange: Exchange) -> bool:
        head, content = _message(self.status, self.body, self.declared_length)
        exchange.send(head + content)
        return False


@dataclass(frozen=True)
class Garbage:
    """Bytes that are not HTTP, then an orderly close."""

    content: bytes = b"\x16\x03\x01 this is not HTTP\r\n\r\n"

    def play(self, exchange: Exchange) -> bool:
        exchange.send(self.content)
        return False


@dataclass(frozen=True)
class Hang:
    """No answer until `ScriptedServer.release()`, then `after`; closing the server ends it without one."""

    after: Answer = field(default_factory=Reply)

    def play(self, exchange: Exchange) -> bool:
        return exchange.wait_for_release() and self.after.play(exchange)


@dataclass(frozen=True)
class Drip:
    """A complete answer, one byte every `interval` seconds: the body, or `in_headers` the head as well."""

    body: Body = b"{}"
    interval: float = 0.05
    in_headers: bool = False
    status: int = 200

    def play(self, exchange: Exchange) -> bool:
        head, content = _message(self.status, self.body)
        at_once, dripped = (b"", head + content) if self.in_headers else (head, content)
        exchange.send(at_once)
        for byte in dripped:
            if exchange.wait(self.interval):
                return False
            exchange.send(bytes((byte,)))
        return True


def _encoded(body: Body) -> tuple[str, bytes]:
    if isinstance(body, bytes):
        return "application/octet-stream", body
    if isinstance(body, str):
        return "text/plain; charset=utf-8", body.encode()
    return "application/json", json.dumps(body).encode()


def _message(status: int, body: Body, declared_length: int | None = None) -> tuple[bytes, bytes]:
    content_type, content = _encoded(body)
    length = len(content) if declared_length is None else declared_length
    return head_of(status, {"Content-Type": content_type, "Content-Length": str(length)}), content


def head_of(status: int, headers: Mapping[str, str], made: Mapping[str, str] | None = None) -> bytes:
    """The status line and `headers`, and those of `made` that are not among them."""
    given = {name.lower() for name in headers}
    unnamed = {name: value for name, value in (made or {}).items() if name.lower() not in given}
    lines = [f"{name}: {value}" for name, value in {**headers, **unnamed}.items()]
    return "\r\n".join([f"HTTP/1.1 {status} {_reason(status)}", *lines, "", ""]).encode("latin-1")


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unheard Of"


# Handlers


def one_by_one(latency: float = 0.0, status: int = 201) -> Handler:
    """A backend without a batch endpoint: `status` for each single record, 404 for a batch."""

    def handle(request: Request) -> Answer:
        if request.method == "POST" and request.route in {SINGLE_PATH, HUGGINGPLACE_PATH}:
            return Reply(status, {}, delay=latency)
        return _validated_or_missing(request, latency)

    return handle


def batching(gzip: bool = True, verdicts: Verdicts | None = None, latency: float = 0.0) -> Handler:
    """A backend that takes batches, compressed ones too with `gzip`, and single records.

    `verdicts` gets each `{"id", "ts", "body"}` and returns its status and error;
    a compressed body is refused with 415 where `gzip` is not on offer.
    """
    single = one_by_one(latency)

    def handle(request: Request) -> Answer:
        if request.method != "POST" or not request.route.endswith("/batch"):
            return single(request)
        if not gzip and "Content-Encoding" in request.headers:
            return Reply(415, {"error": "compressed bodies are not taken"}, delay=latency)
        records = request.json()["records"]
        return Reply(200, _batch_answer(records, verdicts, gzip=gzip), delay=latency)

    return handle


def _validated_or_missing(request: Request, latency: float) -> Reply:
    if request.method == "GET" and request.route == VALIDATE_PATH:
        return Reply(200, {"valid": True}, delay=latency)
    return Reply(404, {"error": f"no such endpoint: {request.method} {request.route}"}, delay=latency)


def _batch_answer(records: list[dict[str, Any]], verdicts: Verdicts | None, *, gzip: bool) -> dict[str, Any]:
    if not records:
        return {"accepted": 0, "gzip": True} if gzip else {"accepted": 0}
    results = [_result(record, verdicts) for record in records] if verdicts else []
    if all(200 <= result["status"] < 300 for result in results):
        return {"accepted": len(records)}
    return {"results": results}


def _result(record: dict[str, Any], verdicts: Verdicts) -> dict[str, Any]:
    status, error = verdicts(record)
    result = {"id": record["id"], "status": status}
    return result if error is None else {**result, "error": error}


def records_in(request: Request) -> list[tuple[str, Any]]:
    if request.method != "POST":
        return []
    if request.route in {SINGLE_PATH, HUGGINGPLACE_PATH}:
        return [(request.headers.get("Idempotency-Key", ""), request.json())]
    if request.route.endswith("/batch"):
        return [(record["id"], record["body"]) for record in request.json()["records"]]
    return []
