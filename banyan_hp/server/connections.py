"""A client's connection: uvicorn's, that doesn't wait for the head of a request for ever.

uvicorn closes connections that are idle after a response, and `api.requests` bounds bodies. Neither ends one
that is opened, and then sends nothing or a header now and then: a few hundred of them, from anybody without a
key, use up the descriptors of the process.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


class Connection(H11Protocol):
    """Closed if the head of a request has not arrived within `head_seconds` of its first byte, or of the
    connection.
    """

    head_seconds = 75.0  # as long as uvicorn is told to keep an idle one: a proxy may be about to use it
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first head is awaited from now on."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Something arrived: of a head that is not complete yet, or of what follows one."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._await_head()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self.head_seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
