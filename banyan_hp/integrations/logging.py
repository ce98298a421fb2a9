"""Lines of the standard library's `logging` as records.

    logging.getLogger().addHandler(BanyanHandler(level=logging.WARNING))

A line that is logged while a record is sent would become a record that is sent, without end. So lines about
our own deliveries are left out: those of the logger `banyan_hp`, those of our threads, and what urllib3 says
of the backend's host.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from ..clients import banyan
from ..clients.huggingplace import HuggingPlace
from ..clients.prompt_logger import PromptStackLogger
from ..engine.records.freeze import cut_text
from ..errors import ConfigurationError
from ..foreign import is_deliberate, kind_of, trouble, type_name
from ..logs import is_suppressed, suppressed, warn
from ..settings import checked_seconds

__all__ = ["BanyanHandler"]

Client = PromptStackLogger | HuggingPlace
_MOST_FRAMES = 50  # of each exception of a chain, the innermost
_MOST_TEXT = 20_000  # characters
_EMPTY = "[empty]"
_PORTS = {"http": 80, "https": 443}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)


class BanyanHandler(logging.Handler):
    """Makes a record of each line of a log. Costs microseconds, does no network I/O and never raises.

    The record's input is the level and the logger's name, its output the line. Its metadata has the fields of
    `extra`, `log` (level, logger, time, path, line, function, process, thread), `exception` (type, message,
    traceback) and the mark `banyan_hp: {"kind": "log"}`. `extra={"session_id": …, "user_id": …}` are the
    record's session and user.

    Args:
        logger: takes the records; it is not shut down with the handler. Default: the default logger.
        level: as of any handler.
        flush_timeout: seconds; the longest wait of `flush()`, `close()` and `logging.shutdown()`.

    Raises:
        ConfigurationError: `logger` or `flush_timeout` is wrong.
        ValueError: there is no such level.
    """

    def __init__(
        self, logger: Client | None = None, level: int | str = logging.NOTSET, *, flush_timeout: float = 2.0
    ) -> None:
        if logger is not None and not isinstance(logger, (PromptStackLogger, HuggingPlace)):
            raise ConfigurationError(
                f"logger must be a PromptStackLogger, a HuggingPlace or None, was {kind_of(logger)}"
            )
        self._flush_timeout = checked_seconds("flush_timeout", flush_timeout)
        self._logger = logger
        self._used = False
        self._unflushed = False  # since the last flush began
        super().__init__(level)

    def handle(self, record: logging.LogRecord) -> bool | logging.LogRecord:  # type: ignore[override]
        """As of any handler, but without its lock: the loggers are thread-safe, and delivery may log."""
        try:
            return self._handle(record)
        except RecursionError:  # the caller has used up the stack, and left no room for a report
            return False

    def _handle(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        passed: Any = False
        try:
            passed = self.filter(record)
        except Exception as error:
            if is_deliberate(error):
                raise
            self._report(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed) if not isinstance(passed, logging.LogRecord) else passed

    def emit(self, record: logging.LogRecord) -> None:
        """Log the line. One that can't be formatted goes to `handleError`, as with any handler."""
        try:
            if not self._is_ours(record):
                self._log(record)
        except ConfigurationError as error:
            warn("log lines", "log lines are not recorded: %s", error)
        except Exception as error:
            if is_deliberate(error):
                raise
            self._report(record)

    def _report(self, record: logging.LogRecord) -> None:
        """By `handleError`, which raises where an argument's `__repr__` recurses, or stderr is closed."""
        try:
            with suppressed():  # stderr may lead back here
                self.handleError(record)
        except Exception as error:
            if is_deliberate(error):
                raise
            warn("log lines", "a log line could not be recorded (%s)", trouble(error))

    def _is_ours(self, record: logging.LogRecord) -> bool:
        """Whether it is about our own doing. A queue may have brought it from another thread."""
        name, thread = record.name, record.threadName
        if is_suppressed() or name == "banyan_hp" or name.startswith("banyan_hp."):
            return True
        if thread is not None and thread.startswith("banyan_hp-"):
            return True
        return name.startswith("urllib3") and self._names_our_host(record.getMessage())

    def _names_our_host(self, text: str) -> bool:
        client = self._client()
        return any(_host(url) in text for url in client._engine.destination.urls)

    def _client(self) -> Client:
        return self._logger or banyan._configured()

    def _log(self, record: logging.LogRecord) -> None:
        client, source = self._client(), f"{record.levelname} {record.name}"
        text = self.format(record) if self.formatter is not None else record.getMessage()
        metadata = _metadata(record)
        self._used = self._unflushed = True
        if isinstance(client, PromptStackLogger):
            client.log_prompt(source, text, metadata=metadata)
        else:
            client.log(
                {
                    "user_prompt": source,
                    "response": text or _EMPTY,
                    "session_id": metadata.get("session_id"),
                    "user_id": metadata.get("user_id"),
                    "metadata": metadata,
                }
            )

    def flush(self) -> None:
        """Wait until what was logged is delivered or on disk, at most `flush_timeout` seconds."""
        if not self._used or is_suppressed():
            return
        self._unflushed = False
        try:
            _fill_caches()
            self._client().flush(self._flush_timeout)
        except Exception as error:
            if is_deliberate(error):
                raise
            warn("flushing log lines", "log lines could not be flushed (%s)", trouble(error))

    def close(self) -> None:
        """`flush`, unless that was just done. The logger stays open: it may have other users."""
        if self._unflushed:
            self.flush()
        super().close()


def _metadata(record: logging.LogRecord) -> dict[str, Any]:
    own: dict[str, Any] = {
        "banyan_hp": {"kind": "log", "v": 1},
        "log": {
            "level": record.levelname,
            "logger": record.name,
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "path": record.pathname,
            "line": record.lineno,
            "function": record.funcName,
            "process": record.process,
            "thread": record.threadName,
            **({"task": task} if (task := getattr(record, "taskName", None)) is not None else {}),
        },
    }
    exception = _exception(record)
    if exception:
        own["exception"] = exception
    if record.stack_info:
        own["stack"] = _bounded(record.stack_info)
    given = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    shadowed = {name: given[name] for name in given.keys() & own.keys()}
    return {**given, **own, **({"extra": shadowed} if shadowed else {})}


def _exception(record: logging.LogRecord) -> Mapping[str, Any]:
    """What the line is about, if it is an exception; the text, where a queue's handler left only that."""
    info = record.exc_info
    if not isinstance(info, tuple) or info[1] is None:
        return {"traceback": _bounded(record.exc_text)} if record.exc_text else {}
    kind, error, trace = info
    lines = traceback.format_exception(kind, error, trace, limit=-_MOST_FRAMES)
    return {
        "type": type_name(error),
        "message": _bounded(_text(error)),
        "traceback": _bounded("".join(lines)),
    }


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as raised:
        if is_deliberate(raised):
            raise
        return f"<{type_name(error)}>"


def _bounded(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else cut_text(text, _MOST_TEXT)


def _host(url: str) -> str:
    """As urllib3 says it: host and port."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or _PORTS.get(parts.scheme)}"


def _fill_caches() -> None:
    """Have our threads find out about levels without the lock of `logging`.

    `dictConfig` holds that lock while it closes the handlers of the configuration before. A flush in there
    waits for our threads, which must not wait for the lock.
    """
    for name in tuple(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("banyan_hp", "urllib3"):
            for level in _LEVELS:
                logging.getLogger(name).isEnabledFor(level)
