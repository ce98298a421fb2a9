"""A server with moods, which notes each record that arrives and what became of the response."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace

from tests.support.chaos.plan import (
    BROKEN,
    BUSY,
    CUTTING,
    DENYING,
    DOWN,
    FINE,
    HANGING,
    PICKY,
    REFUSING,
    SLOW,
)
from tests.support.scripted import Answer, ScriptedServer
from tests.support.scripted_answers import (
    Exchange,
    Reply,
    Request,
    Reset,
    Truncated,
    batching,
    one_by_one,
    records_in,
)

_HANG_SECONDS = 6.0  # longer than any client waits
_PORTS = range(
    20_000, 32_000
)  # below those that connections get: nobody else takes the port of one that is down

TAKEN, REFUSED, TURNED_AWAY = "taken", "refused", "turned away"


@dataclass
class Arrival:
    """One record in one request.

    Attributes:
        text: the record's input: its id and its tenant.
        server: the number of the server it came to.
        port: the client's, which identifies the process that sent it.
        fate: what the server did with it.
        mood: the server's, when it came.
        at: when the request was there; `answered_at`: when all of the response was sent, None if it was not.
    """

    text: str
    key: str
    project: str | None
    server: int
    port: int
    fate: str
    mood: str
    at: float
    answered_at: float | None = None


@dataclass(frozen=True)
class _Noted:
    """Plays an answer and notes when it was sent."""

    answer: Answer
    server: MoodyServer
    fate: dict[str, str]

    def play(self, exchange: Exchange) -> bool:
        arrivals = self._arrivals(exchange)
        self.server.arrived(arrivals)
        reusable = self.answer.play(exchange)
        if isinstance(self.answer, Reply) and not self.server.closed_since(exchange.request.at):
            for arrival in arrivals:
                arrival.answered_at = time.monotonic()
        return reusable

    def _arrivals(self, exchange: Exchange) -> list[Arrival]:
        request = exchange.request
        port = exchange.connection.sock.getpeername()[1]
        key, project = request.headers.get("X-API-Key", ""), request.headers.get("X-Project-Id")
        number, mood = self.server.number, self.server.mood
        return [
            Arrival(text, key, project, number, port, self.fate[text], mood, request.at)
            for text in map(_text, records_in(request))
        ]


def _text(record: tuple[str, dict[str, str]]) -> str:
    return record[1]["input"]


class MoodyServer:
    """A backend on a port of its own, which it keeps while it is down."""

    def __init__(self, number: int, *, batches: bool, seed: int) -> None:
        self.number = number
        self.mood = FINE
        self.arrivals: list[Arrival] = []
        self._batches = batches
        self._well = batching(gzip=True) if batches else one_by_one()
        self._picky = batching(gzip=True, verdicts=self._verdict) if batches else one_by_one()
        self._seed = seed
        self._lock = threading.Lock()  # guards arrivals, and the chance
        self._chance = random.Random(f"{seed} {number}")
        self._closed_at = 0.0
        self._server: ScriptedServer | None = self._listening(self._a_port())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _a_port(self) -> int:
        for port in random.sample(_PORTS, 100):
            with suppress(OSError):
                ScriptedServer(port=port).close()
                self._port = port
                return port
        raise RuntimeError("no port is free")

    def _listening(self, port: int) -> ScriptedServer:
        return ScriptedServer(self._handle, port=port)

    def turn(self, mood: str) -> None:
        """Change the mood, and close or open the port with it."""
        self.mood = mood
        if mood == DOWN:
            self.close()
        elif self._server is None:
            self._server = self._listening(self._port)

    def close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            self._closed_at = time.monotonic()
            server.close()

    def closed_since(self, moment: float) -> bool:
        return self._closed_at > moment

    def arrived(self, arrivals: list[Arrival]) -> None:
        with self._lock:
            self.arrivals += arrivals

    # -- what it says -----------------------------------------------------------------------------------

    def _handle(self, request: Request) -> Answer:
        mood = self.mood
        texts = [_text(record) for record in records_in(request)]
        answer, fate = self._answer(request, mood, texts)
        return _Noted(answer, self, dict.fromkeys(texts, fate) if isinstance(fate, str) else fate)

    def _answer(self, request: Request, mood: str, texts: list[str]) -> tuple[Answer, str | dict[str, str]]:
        if mood == SLOW:
            return _late(self._well(request), self._draw(0.05, 0.3)), TAKEN
        if mood == PICKY:
            return self._pick(request, texts)
        if mood == REFUSING:
            return Reply(400, {"error": "nothing is right today"}), REFUSED
        if mood.startswith(DENYING) and request.headers.get("X-API-Key", "").startswith(mood.split()[1]):
            return Reply(401, {"error": "no such key"}), TURNED_AWAY
        if mood == BROKEN:
            return Reply(500, {"error": "broken"}), TURNED_AWAY
        if mood == BUSY:
            return Reply(429, {"error": "busy"}, {"Retry-After": "0.2"}), TURNED_AWAY
        if mood == HANGING:
            return _Hang(), self._maybe_taken()
        if mood == CUTTING:
            return (Reset() if self._draw(0, 1) < 0.5 else Truncated()), self._maybe_taken()
        return self._well(request), TAKEN

    def _pick(self, request: Request, texts: list[str]) -> tuple[Answer, dict[str, str]]:
        fates = {text: REFUSED if self._dislikes(text) else TAKEN for text in texts}
        if not request.route.endswith("/batch") and REFUSED in fates.values():
            return Reply(400, {"error": "not this one"}), fates
        return self._picky(request), fates

    def _verdict(self, record: dict[str, dict[str, str]]) -> tuple[int, str | None]:
        return (400, "not this one") if self._dislikes(record["body"]["input"]) else (201, None)

    def _dislikes(self, text: str) -> bool:
        return random.Random(f"{self._seed} {text}").random() < 0.15

    def _maybe_taken(self) -> str:
        return TAKEN if self._draw(0, 1) < 0.5 else TURNED_AWAY

    def _draw(self, low: float, high: float) -> float:
        with self._lock:
            return self._chance.uniform(low, high)


@dataclass(frozen=True)
class _Hang:
    """No response, for longer than any client waits, or until the server is closed."""

    def play(self, exchange: Exchange) -> bool:
        exchange.wait(_HANG_SECONDS)
        return False


def _late(answer: Answer, seconds: float) -> Answer:
    return replace(answer, delay=seconds) if isinstance(answer, Reply) else answer
