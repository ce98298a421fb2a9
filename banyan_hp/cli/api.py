"""The backend's HTTP API, for commands: URL and key from where the client takes them, errors in one line."""

from __future__ import annotations

import io
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import requests

from ..clients.configuration import resolved_identity
from ..destinations.banyan import headers_for
from ..engine.http.transport import text_filter
from ..errors import BanyanHPError
from ..text import json_object
from .terminal import BROKEN, LEFT, WRONG, CommandError, complain

MAX_BYTES = 256 * 1024 * 1024
_SECONDS = (10.0, 60.0)  # for connecting, and for each piece of a response
_MOST_SECONDS = 600.0  # for a whole response
_LONG_SECONDS = (10.0, 300.0)
_PASSING = (408, 425, 429)  # besides those of a backend in trouble
_TRIES = 5
_CHUNK = 64 * 1024

T = TypeVar("T")


class RefusedError(CommandError):
    """The backend has refused a request; `status` is that of its response."""

    def __init__(self, message: str, status: int) -> None:
        code = BROKEN if status >= 500 or status < 400 else LEFT if status == 409 else WRONG
        super().__init__(message, code)
        self.status = status


class Answer(dict[str, Any]):
    """The JSON object of a response. What another program would answer lacks what is asked for."""

    def __missing__(self, name: str) -> Any:
        raise lacks(name)


def lacks(name: str) -> CommandError:
    """A response hasn't what each of the backend's has."""
    return CommandError(f"the response has no {name!r}: is the URL that of a banyan-hp backend?", BROKEN)


class Api:
    """The API at a URL, with a key. A context manager.

    Args:
        base_url: default: as the client's.

    Raises:
        CommandError: there is no key, or the URL can't be used.
    """

    def __init__(self, base_url: str | None = None) -> None:
        try:
            self.url, key, project = resolved_identity(None, base_url, None, needed=True)
        except BanyanHPError as error:
            raise CommandError(str(error), WRONG) from error
        headers = headers_for(key, project)
        self._clean = text_filter(self.url, headers)
        self._session = requests.Session()
        self._session.headers.update({name: value.encode("utf-8") for name, value in headers.items()})
        self._session.auth = _as_it_is

    def __enter__(self) -> Api:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._session.close()

    def __repr__(self) -> str:
        return f"Api({self.url!r})"

    def get(self, path: str, **params: str | int) -> dict[str, Any]:
        """The JSON object at a path.

        Raises:
            CommandError: there is none to be had.
        """
        return self._send("GET", path, params=params)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What the backend answers to a body.

        Raises:
            CommandError: it refuses it, or can't be reached.
        """
        return self._send("POST", path, json=body)

    def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """As `post`."""
        return self._send("PUT", path, json=body)

    def delete(self, path: str, **params: str) -> dict[str, Any]:
        """As `get`; it may take longer.

        Raises:
            CommandError: the backend refuses it, or can't be reached.
        """
        return self._send("DELETE", path, params=params, timeout=_LONG_SECONDS)

    @contextmanager
    def stream(
        self, path: str, params: Mapping[str, str], headers: Mapping[str, str], quiet_seconds: float
    ) -> Iterator[Iterator[bytes]]:
        """The lines of a response, as they come.

        Raises:
            CommandError: it can't be had, or broke off, or nothing came for so long.
        """
        options = {"params": params, "headers": headers, "timeout": (_SECONDS[0], quiet_seconds)}
        with self._using():
            response = self._request("GET", path, **options)
        with response:
            if response.status_code != 200:
                with self._using():
                    answer = json_object(_read(response))
                raise RefusedError(self._reason(response.status_code, answer, path), response.status_code)
            yield self._lines(response)

    def _lines(self, response: requests.Response) -> Iterator[bytes]:
        pieces: list[bytes] = []
        size = 0
        with self._using():
            for chunk in response.iter_content(None):
                *ended, rest = chunk.split(b"\n")
                for line in ended:
                    yield b"".join([*pieces, line])
                    pieces, size = [], 0
                pieces.append(rest)
                size += len(rest)
                if size > MAX_BYTES:
                    raise ValueError(f"a line of its response is longer than {MAX_BYTES} bytes")

    def _send(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        with self._using(), self._request(method, path, **options) as response:
            body = _read(response)
        answer = json_object(body)
        if not response.ok or response.status_code >= 300 or answer is None:
            raise RefusedError(self._reason(response.status_code, answer, path), response.status_code)
        return Answer(answer)

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", _SECONDS)
        return self._session.request(method, self.url + path, allow_redirects=False, stream=True, **options)

    @contextmanager
    def _using(self) -> Iterator[None]:
        """What goes wrong with a connection, in one line."""
        try:
            yield
        except (requests.RequestException, OSError, ValueError) as error:
            why = self._clean(f"{type(error).__name__}: {error}")
            raise CommandError(f"{self.url} can't be used: {why}", BROKEN) from error

    def _reason(self, status: int, answer: Mapping[str, Any] | None, path: str) -> str:
        said = (answer or {}).get("error") or (answer or {}).get("message")
        if isinstance(said, str):
            return self._clean(said)
        return self._clean(f"{self.url} answered {path} with status {status}, and without JSON of the API")


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps requests from adding what a `.netrc` has for the host."""
    return request


def _read(response: requests.Response) -> bytes:
    chunks = []
    size = 0
    deadline = time.monotonic() + _MOST_SECONDS
    for chunk in response.iter_content(_CHUNK):
        size += len(chunk)
        if size > MAX_BYTES:
            raise ValueError(f"its response is longer than {MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError(f"its response takes longer than {_MOST_SECONDS:g} s")
        chunks.append(chunk)
    return b"".join(chunks)


def pages(
    get: Callable[..., Mapping[str, Any]], path: str, cursor: str = "after", **params: str | int
) -> Iterator[Mapping[str, Any]]:
    """The pages of a list at a path; `cursor` is the parameter that leads to the following one."""
    while True:
        page = get(path, **params)
        yield page
        following = page.get("next")
        if not isinstance(following, str) or params.get(cursor) == following:
            return
        params[cursor] = following


def patiently(ask: Callable[[], T]) -> T:
    """What `ask` returns, asked again where the backend is in trouble that may pass.

    Raises:
        CommandError: it does not.
    """
    for tried in range(_TRIES - 1):
        try:
            return ask()
        except CommandError as error:
            if not may_pass(error):
                raise
            time.sleep(2**tried)
    return ask()


def may_pass(error: CommandError) -> bool:
    """Whether the same request may succeed later."""
    return error.code == BROKEN or getattr(error, "status", None) in _PASSING


def quoted(name: str) -> str:
    """A text as one part of a path, whatever is in it; dots too, since `..` would lead elsewhere."""
    return quote(name, safe="", errors="replace").replace(".", "%2E")


def run(command: Callable[[Api, Namespace], int], arguments: Namespace) -> int:
    """Run a command that works on the API, and return its exit code.

    Raises:
        CommandError: it can't do what it was asked to do.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # prompts hold what a terminal's encoding may not
    try:
        with Api(arguments.base_url) as api:
            return command(api, arguments)
    except KeyboardInterrupt:
        complain("interrupted")
        return LEFT
