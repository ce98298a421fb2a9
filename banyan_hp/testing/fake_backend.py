"""`FakeBackend`: a backend on a thread for tests, with faults on demand."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from .fake_api import Api
from .fake_prompts import Experiments, Prompts
from .fake_server import HOST, Request, Response, Server

__all__ = ["FakeBackend"]

LONGEST_WAIT = 60.0  # that a request is kept waiting


class FakeBackend:
    """A real HTTP server on loopback that speaks both clients' calls, as `banyan-hp serve` does.

    For tests: it keeps everything in memory and needs nothing but the standard library. Listens from
    construction on. Thread-safe. A context manager: leaving it closes it.

        with FakeBackend() as backend:
            backend.prompts["greeting"] = "Hello {{name}}"
            logger = PromptStackLogger(backend.api_key, backend.url)
            ...
            backend.wait_for(1)

    Faults hold for all requests from the next one on, until `up()`. What a client does about them takes as
    long as its settings say: tests are fast with `retry_delay=0.01, flush_interval=0.01`.

    Args:
        port: 0 for a free one.
        api_key: the only key that it accepts, for both clients. Feedback tokens need one of the form of keys
            that a backend makes: "psk_" and 43 letters and digits.
        project: the project that the key opens; a client that names another one is refused, with 403.

    Attributes:
        port: where it listens; `down()` and `up()` keep it.
        api_key, project: as given.
    """

    def __init__(self, port: int = 0, api_key: str = "psk_test", project: str = "default") -> None:
        self.api_key = api_key
        self.project = project
        self._process = os.getpid()
        self._changed = (
            threading.Condition()
        )  # guards all below; no thread holds it while it sends or receives
        self._scripted: deque[Response] = deque()
        self._always: Response | None = None
        self._delay = 0.0
        self._hanging = False
        self._requests = 0
        self._era = 0  # goes up when waiting requests are to end
        self._api = Api(api_key, project, self._changed)
        self._server = Server(self._respond, port)
        self.port = self._server.port
        self._server.start()

    @property
    def url(self) -> str:
        """The `base_url` for clients."""
        return f"http://{HOST}:{self.port}"

    def environment(self) -> dict[str, str]:
        """The environment variables by which clients find it without arguments, and without a proxy."""
        past_proxies = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
        past_proxies = ",".join(filter(None, (past_proxies, HOST)))
        return {
            "BANYAN_API_KEY": self.api_key,
            "BANYAN_BASE_URL": self.url,
            "HUGGINGPLACE_API_KEY": self.api_key,
            "HUGGINGPLACE_BASE_URL": self.url,
            "HUGGINGPLACE_ORG_ID": "org_test",
            "NO_PROXY": past_proxies,
            "no_proxy": past_proxies,
        }

    # -- what it has --------------------------------------------------------------------------------------

    @property
    def records(self) -> list[dict[str, Any]]:
        """What was logged, as sent: dicts in the order of arrival.

        Each record once, however often it came: like the real backend, this one knows a record by its id.
        `PromptStackLogger`'s have the names of `log_prompt`'s arguments, `HuggingPlace`'s the names of the
        dict that `log` got. The list is a copy. Scores are in `scores`.
        """
        with self._changed:
            return list(self._api.records.bodies)

    @property
    def scores(self) -> list[dict[str, Any]]:
        """The scores, in the order of arrival, each once: by `score`, and by feedback tokens.

        Dicts with `name`, `value` and what else was given: `record_id`, `session_id`, `sticky_key`,
        `sticky_value`, `experiment_id`, `experiment_version_id`, `comment`, `rater`. The list is a copy.
        """
        with self._changed:
            return [score.content for score in self._api.records.scores]

    @property
    def deliveries(self) -> int:
        """How many records came, repeated ones included."""
        with self._changed:
            return self._api.records.deliveries

    @property
    def requests(self) -> int:
        """How many requests came, whatever they asked, those that hang included."""
        with self._changed:
            return self._requests

    @property
    def prompts(self) -> Prompts:
        """The prompts, as a dict.

        `backend.prompts["name"] = "content"`; or, on another branch, `backend.prompts["name", "dev"]`; or a
        dict with `content` and any of `version` (default "1.0"), `config`, `enable_logging`, `metadata`,
        `versions`, a dict of other versions' contents (or of dicts with `content` and `config`), and
        `labels`, a dict of the versions that they point to. A content is a text, or a list of messages with
        `role` and `content`.
        """
        return self._api.prompts

    @property
    def experiments(self) -> Experiments:
        """The experiments, as a dict by id.

        A value has `prompt_name`, `sticky_type`, and `versions`: each with `version`, `traffic_percentage`,
        and, unless the prompt has that version, `content`. Optional are `status` (default "running"),
        `branch`, `salt`, and a version's `experiment_version_id` (default: the experiment's id, "-", the
        version). Who gets which version is decided as by the real backend.
        """
        return self._api.experiments

    def wait_for(self, n: int, timeout: float = 5.0) -> list[dict[str, Any]]:
        """Wait until it has `n` records, or more, and return all of them.

        Raises:
            AssertionError: after `timeout` seconds there are fewer; the message lists them.
        """
        with self._changed:
            bodies = self._api.records.bodies
            if self._changed.wait_for(lambda: len(bodies) >= n, timeout):
                return list(bodies)
            lines = [f"waited {timeout:g} s for {n} records; {len(bodies)} came"]
            raise AssertionError("\n  ".join(lines + [json.dumps(body)[:200] for body in bodies]))

    # -- faults -------------------------------------------------------------------------------------------

    def down(self) -> None:
        """Refuse connections, and cut the open ones, with what is under way on them."""
        self._end_waits()
        self._server.stop()

    def up(self) -> None:
        """Be well again, on the same port: all faults end; requests that hang are cut."""
        with self._changed:
            self._scripted.clear()
            self._always = None
            self._delay, self._hanging = 0.0, False
        self._end_waits()
        self._server.start()

    def respond(
        self, status: int, times: int | None = 1, *, headers: Mapping[str, str] | None = None
    ) -> None:
        """Respond to the next `times` requests, whatever they ask, with an error of this status.

        Args:
            status: from 300 to 599.
            times: None: to all requests until `up()`. Calls add up: `respond(503, 2)`, then `respond(429)`.
            headers: more headers, such as `{"Retry-After": "1"}`.

        Raises:
            ValueError: `status` or `times` is not allowed.
        """
        if not 300 <= status <= 599:
            raise ValueError(f"status must be from 300 to 599, was {status!r}")
        if times is not None and times < 1:
            raise ValueError(f"times must be 1 or more, or None, was {times!r}")
        response = Response(status, {"error": f"the fake backend responds with {status}"}, headers or {})
        with self._changed:
            if times is None:
                self._always = response
            else:
                self._scripted.extend([response] * times)

    def delay(self, seconds: float) -> None:
        """Let each response take this long, at most a minute. Its record is stored before."""
        with self._changed:
            self._delay = min(seconds, LONGEST_WAIT)

    def hang(self) -> None:
        """Take requests and don't respond; nothing is stored.

        They are cut by `up`, `down` or `close`, or after a minute. `requests` says that one is there.
        """
        with self._changed:
            self._hanging = True

    def refuse_key(self) -> None:
        """Respond with 401, as to a key that was revoked."""
        self.respond(401, times=None)

    def close(self) -> None:
        """End all requests, and give the port back. A second call does no harm.

        In a forked child it does nothing: the backend is its parent's.
        """
        if os.getpid() != self._process:
            return
        self._end_waits()
        self._server.close()

    def _end_waits(self) -> None:
        with self._changed:
            self._era += 1
            self._changed.notify_all()

    def _respond(self, request: Request) -> Response | None:
        with self._changed:
            self._requests += 1
            era = self._era
            if self._hanging:
                self._changed.wait_for(lambda: self._era != era, LONGEST_WAIT)
                return None
            scripted = self._scripted.popleft() if self._scripted else self._always
            delay = self._delay
        response = scripted or self._api.respond(request)
        if not delay:
            return response
        with self._changed:
            return None if self._changed.wait_for(lambda: self._era != era, delay) else response

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<FakeBackend {self.url} {len(self.records)} records>"
