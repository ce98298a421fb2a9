"""The library's own lines, in applications that configure logging in their own ways."""

from __future__ import annotations

import io
import logging
import logging.config

import pytest

from banyan_hp import logs


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
