"""A backend that a command talks to over its HTTP API: where it is, the key, and what can go wrong.

The key comes from the environment, or from where a backend on this machine keeps its own, never from the
command line, which `ps` shows to others.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests

from .. import local_keys
from .._version import __version__
from ..errors import ConfigurationError
from ..settings import checked_url, env
from ..text import TextFilter
from .terminal import BROKEN, WRONG, CommandError

if TYPE_CHECKING:
    from argparse import ArgumentParser

DEFAULT_URL = "http://127.0.0.1:8787"
_CONNECT_SECONDS, _READ_SECONDS = 10.0, 300.0
_TRIES = 5
_LONGEST_PAUSE = 30.0
_PASSING = (408, 425, 429, 500, 502, 503, 504)

Parameters = Mapping[str, str | int]


class UnreachableError(CommandError):
    """The backend does not answer, or can't for now."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message, BROKEN)
        self.retry_after = retry_after


def add_backend(parser: ArgumentParser) -> None:
    """Add the option `--base-url`."""
    parser.add_argument(
        "--base-url",
        metavar="URL",
        help=f"the backend (default: the environment variable BANYAN_BASE_URL, or {DEFAULT_URL}); its key is "
        "in BANYAN_API_KEY, unless it is a backend on this machine that has kept its own",
    )


class Remote:
    """A backend. A context manager: its connections are closed at the end.

    Raises:
        CommandError: no key is known, or the URL is none.
    """

    def __init__(self, base_url: str | None) -> None:
        try:
            self.base_url = checked_url("base_url", base_url or env("BANYAN_BASE_URL") or DEFAULT_URL)
        except ConfigurationError as error:
            raise CommandError(str(error), WRONG) from error
        key = env("BANYAN_API_KEY") or local_keys.find(self.base_url)
        if key is None:
            raise CommandError("no API key: set the environment variable BANYAN_API_KEY", WRONG)
        self._clean = TextFilter([key])
        self._session = requests.Session()
        self._session.auth = _no_netrc
        self._session.headers.update({"X-API-Key": key, "User-Agent": f"banyan-hp/{__version__}"})

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def get(self, path: str, parameters: Parameters | None = None) -> Any:
        """The JSON of a GET; tried again where the trouble may pass."""
        return self._patiently("GET", path, parameters)

    def delete(self, path: str, parameters: Parameters) -> Any:
        """The JSON of a DELETE; tried again likewise, as what is gone is gone."""
        return self._patiently("DELETE", path, parameters)

    @contextmanager
    def stream(
        self, path: str, parameters: Parameters, headers: Mapping[str, str], quiet_seconds: float
    ) -> Iterator[Iterator[bytes]]:
        """The lines of a response, as they come.

        Raises:
            UnreachableError: it can't be had, or broke off; nothing came for `quiet_seconds`.
        """
        with self._send("GET", path, parameters, headers, quiet_seconds, stream=True) as response:
            yield self._lines(response)

    def _lines(self, response: requests.Response) -> Iterator[bytes]:
        pieces: list[bytes] = []
        try:
            for chunk in response.iter_content(None):
                *ended, rest = chunk.split(b"\n")
                for line in ended:
                    yield b"".join([*pieces, line])
                    pieces = []
                pieces.append(rest)
        except requests.RequestException as error:
            raise UnreachableError(self._unreachable(error)) from error

    def _patiently(self, method: str, path: str, parameters: Parameters | None) -> Any:
        for left in reversed(range(_TRIES)):
            try:
                with self._send(method, path, parameters or {}, {}, _READ_SECONDS) as response:
                    return response.json()
            except UnreachableError as error:
                if not left:
                    raise
                pause = error.retry_after if error.retry_after is not None else 2.0 ** (_TRIES - left - 2)
                time.sleep(min(pause, _LONGEST_PAUSE))
            except requests.RequestException as error:  # of a body that is no JSON
                raise CommandError(f"{self.base_url} is no backend of banyan-hp", WRONG) from error
        raise AssertionError("the loop returns or raises")

    def _send(
        self,
        method: str,
        path: str,
        parameters: Parameters,
        headers: Mapping[str, str],
        read_seconds: float,
        *,
        stream: bool = False,
    ) -> requests.Response:
        try:
            response = self._session.request(
                method,
                self.base_url + path,
                params=parameters,
                headers=headers,
                timeout=(_CONNECT_SECONDS, read_seconds),
                allow_redirects=False,  # the key is for this URL alone
                stream=stream,
            )
        except requests.RequestException as error:
            raise UnreachableError(self._unreachable(error)) from error
        if response.status_code != 200:
            with response:
                raise self._refused(response)
        return response

    def _refused(self, response: requests.Response) -> CommandError:
        reason = self._clean(_reason(response))
        said = f"{self.base_url} says {response.status_code}: {reason}"
        if response.status_code in _PASSING:
            return UnreachableError(said, _seconds(response.headers.get("Retry-After")))
        return CommandError(said, WRONG)

    def _unreachable(self, error: Exception) -> str:
        return f"{self.base_url} can't be reached: {self._clean(error)}"


def add_json(parser: ArgumentParser, what: str) -> None:
    """Add the option `--json`."""
    parser.add_argument("--json", action="store_true", help=what)


def remote_of(arguments: argparse.Namespace) -> Remote:
    """The backend that the options name."""
    return Remote(arguments.base_url)


def _reason(response: requests.Response) -> object:
    try:
        body = response.json()
    except (requests.RequestException, ValueError):
        return response.reason
    return body.get("error") or response.reason if isinstance(body, dict) else response.reason


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
