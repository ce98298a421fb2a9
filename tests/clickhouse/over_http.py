"""A ClickHouse by HTTP on loopback, as `clickhouse-connect` meets one, with the embedded engine behind it.

Owned here: the protocol (settings and parameters in the URL or a form, statements and blocks in the body,
errors with `X-ClickHouse-Exception-Code`) with the server's limits of what a URL and a field may hold, and
trouble on order. Left out: TLS, compression, sessions, progress, a user's rights.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

MOST_IN_A_FIELD = 128 * 1024  # `http_max_field_value_size`
MOST_IN_A_URL = 1024 * 1024  # `http_max_uri_size`
_NOT_SETTINGS = (
    *("param_", "database", "query", "http_", "send_progress", "wait_end", "cancel_http", "enable_http"),
    "client_protocol",
)
_INSERT = re.compile(rb"(INSERT INTO \S+ \(.*?\)) FORMAT Native\n")
_FORMAT = re.compile(r"\s+FORMAT (\w+)\s*$")


@dataclass(frozen=True)
class Asked:
    """One request."""

    statement: str
    parameters: Mapping[str, str]
    settings: Mapping[str, str]
    block: bytes = b""

    @property
    def kind(self) -> str:
        """``SELECT``, ``INSERT``, …"""
        return self.statement.split(None, 1)[0].upper()


@dataclass(frozen=True)
class Refusal:
    """What ClickHouse responds to what it can't do."""

    code: int
    name: str
    text: str
    status: int = 500


@dataclass(frozen=True)
class Page:
    """What a proxy responds that is between."""

    status: int
    body: bytes = b"<html><body><h1>Bad Gateway</h1></body></html>"


class Broken:
    """The connection is reset; `after`: once it is done."""

    def __init__(self, *, after: bool = False) -> None:
        self.after = after


Trouble = Refusal | Page | Broken | None


class HttpClickHouse:
    """Listens from construction on. `trouble` says what happens to a request; None: it is done."""

    def __init__(self, directory: Path) -> None:
        import chdb

        self.trouble: Callable[[Asked], Trouble] = lambda _: None
        self.asked: list[Asked] = []
        self._engine = chdb.connect(str(directory))
        self._changed: set[str] = set()
        self._one_at_a_time = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def __enter__(self) -> HttpClickHouse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"clickhouse://banyan:s%2Fecret@127.0.0.1:{self._server.server_port}/default?compress=0"

    def close(self) -> None:
        """Listen no more, as a server that is stopped."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._engine.close()

    def done(self, asked: Asked) -> bytes:
        """What the engine gives.

        Raises:
            RuntimeError: it refuses.
        """
        with self._one_at_a_time:
            self._set(asked.settings)
            if asked.block:
                return self._inserted(asked)
            found = _FORMAT.search(asked.statement)
            statement = asked.statement[: found.start()] if found else asked.statement
            format_ = found[1] if found else "TabSeparated"
            result = self._engine.query(statement, format_, params=dict(asked.parameters))
            return bytes(result.bytes() or b"")

    def _set(self, settings: Mapping[str, str]) -> None:
        for name in self._changed - settings.keys():
            self._engine.query(f"SET {name} = DEFAULT")
        for name, value in settings.items():
            self._engine.query(f"SET {name} = '{value}'")
        self._changed = set(settings)

    def _inserted(self, asked: Asked) -> bytes:
        with tempfile.NamedTemporaryFile(suffix=".native") as file:
            file.write(asked.block)
            file.flush()
            self._engine.query(f"{asked.statement} FROM INFILE '{file.name}' FORMAT Native")
        return b""


def _handler_of(server: HttpClickHouse) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Silence."""

        def do_POST(self) -> None:
            body = self._body()
            try:
                asked = _asked(self.path, self.headers, body)
            except ValueError as error:
                self._answer(400, str(error).encode(), {"X-ClickHouse-Exception-Code": "1000"})
                return
            server.asked.append(asked)
            trouble = server.trouble(asked)
            if isinstance(trouble, Broken):
                if trouble.after:
                    server.done(asked)
                self.close_connection = True
                self.connection.close()
            elif isinstance(trouble, Page):
                self._answer(trouble.status, trouble.body, {"Content-Type": "text/html"})
            elif isinstance(trouble, Refusal):
                self._refuse(trouble.status, trouble.code, f"{trouble.text} ({trouble.name})")
            else:
                self._do(asked)

        def _do(self, asked: Asked) -> None:
            try:
                result = server.done(asked)
            except RuntimeError as error:
                text = str(error).partition("DB::Exception: ")[2]
                found = re.search(r"Code: (\d+)", str(error))
                self._refuse(500, int(found[1]) if found else 49, text)
                return
            self._answer(200, result, {"X-ClickHouse-Query-Id": "q", "X-ClickHouse-Summary": "{}"})

        def _refuse(self, status: int, code: int, text: str) -> None:
            said = f"Code: {code}. DB::Exception: {text} (version 26.9.2.1 (official build))\n"
            self._answer(status, said.encode(), {"X-ClickHouse-Exception-Code": str(code)})

        def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def _body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

    return Handler


def _asked(path: str, headers: Message, body: bytes) -> Asked:
    if len(path) > MOST_IN_A_URL:
        raise ValueError("Too large URI")
    given = dict(parse_qsl(urlsplit(path).query, keep_blank_values=True))
    if headers.get_content_type() == "multipart/form-data":
        head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
        for part in BytesParser().parsebytes(head + body).get_payload():
            name = str(part.get_param("name", header="content-disposition"))  # type: ignore[union-attr]
            given[name] = part.get_payload(decode=True).decode()  # type: ignore[union-attr]
        body = given.pop("query").encode()
    if any(len(value.encode()) > MOST_IN_A_FIELD for value in given.values()):
        raise ValueError("HTML Form Exception: Field value too long")
    parameters = {name[6:]: value for name, value in given.items() if name.startswith("param_")}
    settings = {name: value for name, value in given.items() if not name.startswith(_NOT_SETTINGS)}
    if (insert := _INSERT.match(body)) is not None:
        return Asked(insert[1].decode(), parameters, settings, body[insert.end() :])
    return Asked(body.decode(), parameters, settings)
