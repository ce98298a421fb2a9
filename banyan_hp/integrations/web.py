"""What the web middlewares share: their options, checked, and what they answer themselves.

What a request says is read by the `Reader` of each kind of server; what becomes of it is in `request_scope`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypedDict, TypeVar

from ..checks import callable_or_none, positive_seconds, refused
from ..clients import banyan
from ..clients.huggingplace import HuggingPlace
from ..clients.prompt_logger import PromptStackLogger
from ..errors import ConfigurationError
from ..foreign import is_deliberate, is_uuid, trouble, type_name
from ..settings import unknown_setting

if TYPE_CHECKING:
    from uuid import UUID

Logger = PromptStackLogger | HuggingPlace
Raw = TypeVar("Raw")
DAY = 24 * 60 * 60.0
LONGEST_ID = 256
_ALLOWED = f"a str of at most {LONGEST_ID} characters, an int, a UUID or None"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110: names of headers and cookies
_REQUEST_ID = re.compile(r"[\w.:/+=@~-]{1,128}", re.ASCII)
ANONYMOUS = "anon-"
_PUBLIC = re.compile(r"\bpublic\b|\bs-maxage\b", re.IGNORECASE)


class WebOptions(TypedDict, Generic[Raw], total=False):
    """Options of each middleware; `Raw` is the request as the server has it.

    Keys:
        user: a function of the request: the user's id, or None. Asked when a record is made, not before.
        session: likewise, the session's id.
        request_id_header: where the request's id is taken from; default "X-Request-ID". None: always made.
        anonymous_cookie: the name of a cookie that gives visitors without a user an id; default None: none.
        anonymous_cookie_max_age: seconds; default 180 days.
        health_path: where `health()` is answered as JSON; default None: nowhere.
        interaction: True makes each request an interaction; a function of the request returns its input, or
            None for no interaction. Default False.
        logger: whose health and interactions; default: that of `configure()`.
    """

    user: Callable[[Raw], str | int | UUID | None] | None
    session: Callable[[Raw], str | int | UUID | None] | None
    request_id_header: str | None
    anonymous_cookie: str | None
    anonymous_cookie_max_age: float
    health_path: str | None
    interaction: bool | Callable[[Raw], Any]
    logger: Logger | None


class Reader(Protocol):
    """Reads requests of one kind of server."""

    def header(self, request: Any, name: str) -> str | None:
        """A header's value; several of one name are joined by commas."""

    def method(self, request: Any) -> str | None:
        """Its method, if it has one."""

    def path(self, request: Any) -> str:
        """Its path, without a query."""

    def route(self, request: Any) -> str | None:
        """The pattern of the path, once the framework has found one."""

    def is_secure(self, request: Any) -> bool:
        """Whether the visitor's connection is encrypted, as far as the server knows."""


@dataclass(frozen=True)
class WebSettings:
    """The options of one middleware.

    Raises:
        ConfigurationError: an option is wrong; the message names it.
    """

    reader: Reader
    user: Callable[[Any], object] | None = None
    session: Callable[[Any], object] | None = None
    request_id_header: str | None = "X-Request-ID"
    anonymous_cookie: str | None = None
    anonymous_cookie_max_age: float = 180 * DAY
    health_path: str | None = None
    interaction: bool | Callable[[Any], Any] = False
    logger: Logger | None = None

    def __post_init__(self) -> None:
        callable_or_none("user", self.user)
        callable_or_none("session", self.session)
        for name in ("request_id_header", "anonymous_cookie"):
            _check_token(name, getattr(self, name))
        positive_seconds("anonymous_cookie_max_age", self.anonymous_cookie_max_age)
        path = self.health_path
        if path is not None and not (isinstance(path, str) and path.startswith("/")):
            raise refused("health_path", path, "a path that begins with '/', or None")
        if not isinstance(self.interaction, bool) and not callable(self.interaction):
            raise refused("interaction", self.interaction, "True, False or a function of the request")
        if self.logger is not None and not isinstance(self.logger, (PromptStackLogger, HuggingPlace)):
            raise refused("logger", self.logger, "a PromptStackLogger, a HuggingPlace or None")

    @classmethod
    def from_options(cls, reader: Reader, options: Mapping[str, Any]) -> WebSettings:
        for name in options:
            if name not in cls.names():
                raise ConfigurationError(unknown_setting("option", name, cls.names()))
        return cls(reader, **options)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(each.name for each in fields(cls) if each.name != "reader")

    # -- a request --------------------------------------------------------------------------------------

    def request_id(self, request: object) -> str | None:
        """The one that the request came with; None if it has none, or one that can't be one."""
        given = self.reader.header(request, self.request_id_header) if self.request_id_header else None
        return given if given is not None and _REQUEST_ID.fullmatch(given) else None

    def ask(self, name: str, request: object) -> str | None:
        """The id that the application's function `user` or `session` gives; None if it gives none."""
        function: Callable[[Any], object] = getattr(self, name)
        doing = "the middleware's function %s failed"
        try:
            value = function(request)
            if value is None or value == "":
                return None
            text = value if type(value) is str else _as_text(value)
            if text is not None and len(text) <= LONGEST_ID:
                return text
            doing = f"the middleware's function %s must return {_ALLOWED}"
            raise TypeError(type_name(value))
        except Exception as error:
            if is_deliberate(error):
                raise
            self.failed(doing % name, error)
            return None

    def failed(self, doing: str, error: BaseException) -> None:
        """Count and log what a function of the application raised."""
        sink = (banyan._tracking if self.logger is None else self.logger)._sink()
        sink.failed(doing, error)

    def opened_interaction(self, request: Any) -> Any:
        """The interaction of this request; None if there is none."""
        try:
            question = self._question(request)
            return None if question is None else self.client.interaction(question)
        except Exception as error:
            if is_deliberate(error):
                raise
            self.failed("a request's interaction could not be opened", error)
            return None

    def _question(self, request: Any) -> Any:
        method = self.reader.method(request)
        if method is None:  # a WebSocket connection, which is many
            return None
        if callable(self.interaction):
            return self.interaction(request)
        return f"{method} {self.reader.path(request)}"

    @property
    def client(self) -> Any:
        """The logger, or the module functions around the default one."""
        return banyan if self.logger is None else self.logger

    # -- the cookie -------------------------------------------------------------------------------------

    def anonymous_id(self, request: object) -> str | None:
        """What the visitor's cookie says; None if there is none of ours."""
        cookies = self.reader.header(request, "Cookie")
        found = self._cookie_pattern.search(cookies) if cookies else None
        return None if found is None else found[1]

    @cached_property
    def _cookie_pattern(self) -> re.Pattern[str]:
        name = re.escape(self.anonymous_cookie or "")
        return re.compile(rf"(?:^|[;,]\s*){name}=({ANONYMOUS}[0-9a-f]{{32}})(?=\s*(?:[;,]|$))")

    def cookie_header(self, ident: str, request: object) -> str:
        """The value of `Set-Cookie`."""
        secure = "; Secure" if self.is_secure_cookie(request) else ""
        age = int(self.anonymous_cookie_max_age)
        return f"{self.anonymous_cookie}={ident}; Max-Age={age}; Path=/; HttpOnly; SameSite=Lax{secure}"

    def is_secure_cookie(self, request: object) -> bool:
        """Browsers take `__Host-` and `__Secure-` names only so."""
        name = self.anonymous_cookie or ""
        return name.startswith(("__Host-", "__Secure-")) or self.reader.is_secure(request)

    # -- health -----------------------------------------------------------------------------------------

    def health(self) -> tuple[bool, bytes]:
        """Whether the logger is well enough, and what it says as JSON."""
        try:
            health = self.client.health()
        except Exception as error:
            if is_deliberate(error):
                raise
            health = {"status": "failing", "reasons": [f"health() failed: {trouble(error)}"]}
        return health["status"] != "failing", json.dumps(health).encode()


def _as_text(value: object) -> str | None:
    if (isinstance(value, (str, int)) and not isinstance(value, bool)) or is_uuid(value):
        return str.__str__(str(value))
    return None


def new_id() -> str:
    return os.urandom(16).hex()


def is_public(cache_control: str) -> bool:
    """Whether shared caches may keep a response: with a cookie in it, they would give it to everyone."""
    return bool(cache_control) and _PUBLIC.search(cache_control) is not None


def health_answer(settings: WebSettings, method: str | None) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of the health page."""
    if method not in ("GET", "HEAD"):
        return 405, [("Allow", "GET, HEAD"), ("Content-Length", "0")], b""
    well, body = settings.health()
    headers = [
        ("Content-Type", "application/json"),
        ("Cache-Control", "no-store"),
        ("Content-Length", str(len(body))),
    ]
    return 200 if well else 503, headers, b"" if method == "HEAD" else body


def _check_token(name: str, value: object) -> None:
    if value is not None and not (isinstance(value, str) and _TOKEN.fullmatch(value)):
        raise refused(name, value, "a name of letters, digits, '-', '_' and '.', or None")
