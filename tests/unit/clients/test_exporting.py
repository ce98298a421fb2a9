"""Where a client's records go."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from banyan_hp import HuggingPlace, PromptStackLogger, logs


@pytest.fixture(autouse=True)
def _fresh_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "last_said", {})


def said_by(caplog: pytest.LogCaptureFixture, **options: Any) -> list[str]:
    """The warnings of a logger that is made and not used."""
    with caplog.at_level(logging.WARNING, "banyan_hp"):
        PromptStackLogger("psk_local", "http://127.0.0.1:9", spool=False, **options).shutdown()
    return [record.getMessage() for record in caplog.records]


def test_a_collectors_settings_without_a_collector_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever leaves the texts out for a collector would send them to the backend; values are not said."""
    said = said_by(caplog, otlp_headers={"x-api-key": "secret"}, otlp_content=False)
    assert said == [
        'records go to the backend: without export_to="otlp" this has no effect: otlp_headers, otlp_content'
    ]


@pytest.mark.parametrize(
    "options",
    [{}, {"export_to": "otlp", "otlp_endpoint": "http://127.0.0.1:9"}],
    ids=["backend", "collector"],
)
def test_settings_that_have_an_effect_are_not_told(
    caplog: pytest.LogCaptureFixture, options: dict[str, Any]
) -> None:
    """Variables of the environment are for all that speaks OpenTelemetry, and never told."""
    assert said_by(caplog, **options) == []


def test_settings_are_not_compared(caplog: pytest.LogCaptureFixture) -> None:
    """A callback may be of a class whose comparison raises."""

    class Callback:
        def __call__(self, record: object) -> object:
            return record

        def __eq__(self, other: object) -> bool:
            raise RuntimeError

        __hash__ = object.__hash__

    assert said_by(caplog, before_send=Callback()) == []


def test_the_other_client_tells_it_too(caplog: pytest.LogCaptureFixture) -> None:
    """Both make their engines for what `export_of` says."""
    with caplog.at_level(logging.WARNING, "banyan_hp"):
        HuggingPlace(
            api_key="hp_live",
            org_id="o1",
            base_url="http://127.0.0.1:9",
            spool=False,
            otlp_endpoint="http://c:4318",
        ).shutdown()
    assert "otlp_endpoint" in caplog.text
