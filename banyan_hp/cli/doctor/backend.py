"""What the backend says to a client: whether the key is good, whether it takes batches, what time it is.

No request carries a record: the key is checked by the call that the backend has for it, batches by an empty
one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime

from ...destinations.banyan import USER_AGENT
from ...engine.http.response import Response
from ...engine.http.transport import NoResponse, Request, Transport
from ...engine.records.outcome import Outcome, Verdict
from .configuration import Target
from .findings import Finding, State, good, note, unknown, wrong
from .way import WAITS

_CLOCK_TOLERANCE = 5.0  # seconds; a Date header has whole ones
_NO_KEY_CHECK = "no call checks a key without writing a record"


class BackendChecks:
    """One look at a backend that can be reached.

    Args:
        target: the backend and the settings.
        transport: sends to it.
        wall: the time of this machine, in seconds.
    """

    def __init__(self, target: Target, transport: Transport, wall: Callable[[], float] = time.time) -> None:
        self._target = target
        self._destination = target.destination
        self._transport = transport
        self._wall = wall
        self._asked = False
        self._ahead: float | None = None  # seconds that this machine's clock is ahead of the backend's

    def findings(self) -> Iterator[Finding]:
        """The key first: without it no batch is taken."""
        key = self._key("key")
        yield key
        yield self._batches("batches", key_is_good=key.state is State.GOOD)
        yield self._clock("clock")

    def _key(self, topic: str) -> Finding:
        request = self._destination.key_check()
        if request is not None:
            return self._judged(topic, request)
        if not self._destination.may_batch:
            return unknown(topic, f"at this service {_NO_KEY_CHECK}")
        return self._judged(topic, self._destination.batch([], compress=False), may_be_missing=True)

    def _judged(self, topic: str, request: Request, *, may_be_missing: bool = False) -> Finding:
        """What the response to a request means for the key.

        Args:
            topic: of the finding.
            request: writes nothing.
            may_be_missing: a backend can be all right without such a call.
        """
        response = self._send(request)
        called = f"{request.method} {request.url}"
        if isinstance(response, NoResponse):
            return wrong(topic, self._target.clean(f"{called}: {response.detail}"), WAITS)
        if not self._destination.key:
            return unknown(topic, "no key is set")
        verdict = self._destination.verdict(response, self._wall())
        said = self._target.clean(f"{called}: {response.status} {verdict.detail}".strip())
        if may_be_missing and verdict.outcome in (Outcome.HOLD_CONFIG, Outcome.REFUSED):
            advice = "If nothing arrives, look at the path in base_url first."
            return note(topic, f"not checked, {_NO_KEY_CHECK} here ({said})", advice)
        return self._said(topic, verdict, said)

    def _said(self, topic: str, verdict: Verdict, said: str) -> Finding:
        if verdict.outcome is Outcome.DELIVERED:
            return good(topic, "accepted")
        if verdict.outcome is Outcome.HOLD_AUTH:
            backend = self._destination.base_url
            advice = f"{self._target.key_variable} must be a key of the backend at {backend}. {WAITS}"
            return wrong(topic, f"refused: {said}", advice)
        if verdict.outcome is Outcome.RETRY:
            return wrong(topic, f"the backend is unwell: {said}", WAITS)
        advice = "base_url must be the backend's root, without a path of its API; or a proxy is in the way."
        return wrong(topic, f"this is not the API: {said}", advice)

    def _batches(self, topic: str, *, key_is_good: bool) -> Finding:
        if self._destination.takes_only_batches:
            return good(topic, "yes: a collector takes nothing else")
        if not self._destination.may_batch:
            return good(topic, "no: this service takes one record a request")
        if not key_is_good:
            return unknown(topic, "needs a key that is accepted")
        response = self._send(self._destination.batch([], compress=False))
        if isinstance(response, NoResponse):
            return wrong(topic, self._target.clean(response.detail))
        yes, compressed = self._destination.takes_batches(response)
        if not yes:
            return good(topic, f"no ({response.status}): one record a request")
        return good(topic, f"yes, {'compressed' if compressed else 'not compressed'}")

    # -- the clock -------------------------------------------------------------------------------------------

    def _clock(self, topic: str) -> Finding:
        if not self._asked:  # ask for a page, without a key
            self._send(Request("HEAD", f"{self._destination.base_url}/", {"User-Agent": USER_AGENT}))
        ahead = self._ahead
        if ahead is None:
            return unknown(topic, "the backend's responses have no Date")
        if abs(ahead) <= _CLOCK_TOLERANCE:
            return good(topic, f"within {_CLOCK_TOLERANCE:g} s of the backend's")
        way = "ahead of" if ahead > 0 else "behind"
        found = f"this machine's clock is {abs(ahead):.0f} s {way} the backend's"
        return wrong(topic, found, "Records carry wrong times: have it set by NTP.")

    def _send(self, request: Request) -> Response | NoResponse:
        self._asked = True
        began = self._wall()
        response = self._transport.send(request, self._target.settings.timeout)
        if isinstance(response, Response):
            self._compare_clocks(response, (began + self._wall()) / 2)
        return response

    def _compare_clocks(self, response: Response, ours: float) -> None:
        with suppress(ValueError, TypeError, OverflowError):
            date = parsedate_to_datetime(response.headers.get("date", ""))
            theirs = date.replace(tzinfo=date.tzinfo or UTC).timestamp() + 0.5  # it has no fractions
            self._ahead = ours - theirs
