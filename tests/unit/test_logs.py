"""The library's own lines, in applications that configure logging in their own ways."""

from __future__ import annotations

import io
import logging
import logging.config

import pytest

from banyan_hp import logs
from tests.support.clock import FakeClock


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch, may_leave: None) -> None:
    monkeypatch.setattr(logs.logger, "handlers", [])


def test_a_logger_that_dict_config_disabled_speaks_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its default disables every logger there was before, and a refused key would never be seen."""
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    logging.config.dictConfig({"version": 1, "incremental": False})
    assert logs.logger.disabled
    caplog.handler.setLevel(0)
    logging.root.addHandler(caplog.handler)
    logs.warn("key", "the key is refused")
    assert "the key is refused" in caplog.text


def test_a_closed_stream_is_no_news_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At exit a handler may have lost its stream; before, that is the application's trouble, and shown."""
    stream = io.StringIO()
    monkeypatch.setattr(logs.logger, "handlers", [logging.StreamHandler(stream)])
    stream.close()
    logs.warn("before", "a line")
    assert "Logging error" in capsys.readouterr().err
    logs.process_is_ending()
    logs.warn("after", "a line")
    assert capsys.readouterr().err == ""
    assert logging.raiseExceptions


def test_a_kind_of_trouble_is_one_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And `warn` says whether it was said, for whom it must be said once."""
    clock = FakeClock()
    monkeypatch.setattr(logs, "monotonic", clock.monotonic)
    assert logs.warn("key", "line %d", 1)
    assert not logs.warn("key", "line %d", 2)
    assert logs.warn("address", "line %d", 3)
    clock.advance(59.9)
    assert not logs.warn("key", "line %d", 4)
    clock.advance(0.1)
    assert logs.warn("key", "line %d", 5)
    assert [record.getMessage() for record in caplog.records] == ["line 1", "line 3", "line 5"]


def test_kinds_are_forgotten_before_they_become_many() -> None:
    """A process that makes loggers all day must not grow."""
    for number in range(logs.MOST_KINDS + 10):
        logs.warn(f"kind {number}", "line")
    assert len(logs.last_said) == 10


def test_without_logging_the_line_is_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line behind our name, without control characters; of an exception only the type."""
    monkeypatch.setattr(logging.root, "handlers", [])
    try:
        raise ValueError("the payload")
    except ValueError:
        logs.warn("kind", "%d %% of %s", 100, "a\nb\x1b[2J", exc_info=True)
    logs.warn("other", "100 %")
    assert capsys.readouterr().err == "banyan_hp: 100 % of a b\\x1b[2J (ValueError)\nbanyan_hp: 100 %\n"


@pytest.mark.parametrize("configured", [True, False])
def test_debug_lines_are_shown_by_the_switch_or_by_the_level(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], configured: bool
) -> None:
    """The switch counts also where `logging.config` has disabled the logger."""
    handler = logging.StreamHandler()
    monkeypatch.setattr(logging.root, "handlers", [handler] if configured else [])
    monkeypatch.setattr(logs, "everything", False)
    monkeypatch.setattr(logs.logger, "level", logging.NOTSET)
    logs.debug("unseen")
    logs.show_debug()
    logs.logger.disabled = True
    logs.debug("seen")
    logs.logger.setLevel(logging.NOTSET)
    assert capsys.readouterr().err == ("seen\n" if configured else "banyan_hp: seen\n")


def test_pytest_s_caplog_has_the_line_and_stderr_has_not(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its handler means that logging is set up."""
    logs.warn("kind", "a line")
    assert caplog.record_tuples == [("banyan_hp", logging.WARNING, "a line")]
    assert capsys.readouterr().err == ""
