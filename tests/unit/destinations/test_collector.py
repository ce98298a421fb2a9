"""Which collector the settings and OpenTelemetry's variables name, with the standard's precedence."""

from __future__ import annotations

from typing import Any

import pytest

from banyan_hp import semconv
from banyan_hp.destinations.collector import Collector, collector_at, collector_of, delivery_settings
from banyan_hp.errors import ConfigurationError
from banyan_hp.settings import Settings

Variables = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: Variables) -> None:
    for name in ("ENDPOINT", "HEADERS", "PROTOCOL", "COMPRESSION", "TIMEOUT"):
        for signal in ("", "TRACES_", "LOGS_"):
            monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{signal}{name}", raising=False)
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)


def settings(**options: Any) -> Settings:
    return Settings(export_to="otlp", **options)


def urls(collector: Collector) -> tuple[str, str]:
    return collector.traces.url, collector.logs.url


def test_without_a_word_it_is_the_collector_on_this_machine() -> None:
    """By HTTP on port 4318, as JSON."""
    collector = collector_of(settings())
    assert urls(collector) == ("http://localhost:4318/v1/traces", "http://localhost:4318/v1/logs")
    assert collector.protocol == "http/json"
    assert collector.resource == {"service.name": "unknown_service:python"}


def test_a_general_endpoint_gets_the_paths_and_a_signals_own_does_not(monkeypatch: Variables) -> None:
    """As the standard says."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector/base/")
    assert urls(collector_of(settings())) == (
        "https://collector/base/v1/traces",
        "https://collector/base/v1/logs",
    )
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces/api/otel")
    assert urls(collector_of(settings())) == ("https://traces/api/otel", "https://collector/base/v1/logs")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "https://logs")
    assert urls(collector_of(settings()))[1] == "https://logs/"


@pytest.mark.parametrize("endpoint", ["http://host:4318", "http://host:4318/", "http://host:4318/v1/traces"])
def test_the_setting_wins_and_takes_a_url_with_or_without_the_path(
    monkeypatch: Variables, endpoint: str
) -> None:
    """Many vendors print the whole URL."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://elsewhere/x")
    found = collector_of(settings(otlp_endpoint=endpoint))
    assert urls(found) == ("http://host:4318/v1/traces", "http://host:4318/v1/logs")


def test_headers_of_a_signal_replace_the_general_ones(monkeypatch: Variables) -> None:
    """Values are percent-decoded, names are in small letters."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20a,x-team=blue")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-logs=1")
    found = collector_of(settings())
    assert found.traces.headers == {"authorization": "Bearer a", "x-team": "blue"}
    assert found.logs.headers == {"x-logs": "1"}
    assert found.key == "authorization=Bearer a,x-logs=1,x-team=blue"
    given = collector_of(settings(otlp_headers={"X-Key": "k"}))
    assert given.traces.headers == given.logs.headers == {"x-key": "k"}


def test_grpc_is_refused_with_what_works(monkeypatch: Variables) -> None:
    """The variable of many deployments says grpc; so does port 4317."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(
        ConfigurationError, match=r"OTEL_EXPORTER_OTLP_PROTOCOL must be 'http/json' or 'http/"
    ):
        collector_of(settings())
    assert collector_of(settings(otlp_protocol="http/json")).protocol == "http/json"
    with pytest.raises(ConfigurationError, match="otlp_endpoint must be the collector's HTTP endpoint"):
        collector_of(settings(otlp_endpoint="http://host:4317", otlp_protocol="http/json"))
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_PROTOCOL")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://host:4317")
    with pytest.raises(ConfigurationError, match="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT must be the"):
        collector_of(settings())


@pytest.mark.parametrize(
    ("given", "variable", "wanted"),
    [
        ({}, None, 10.0),
        ({"timeout": 3.0}, None, 3.0),
        ({"timeout": 3.0}, "2500", 2.5),
        ({}, "10", 10.0),  # what the Python SDK's users mean: seconds
        ({"otlp_timeout": 7.0}, "2500", 7.0),
    ],
)
def test_the_timeout(
    monkeypatch: Variables, given: dict[str, Any], variable: str | None, wanted: float
) -> None:
    """The standard's variable is in milliseconds, OpenTelemetry's Python SDK reads seconds."""
    if variable is not None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", variable)
    assert delivery_settings(settings(**given)).timeout == wanted


@pytest.mark.parametrize(
    ("given", "variable", "wanted"),
    [
        ({}, None, "auto"),
        ({}, "gzip", "always"),
        ({}, "none", "never"),
        ({"otlp_compression": "none"}, "gzip", "never"),
    ],
)
def test_compression(
    monkeypatch: Variables, given: dict[str, Any], variable: str | None, wanted: str
) -> None:
    """Without a word, where it is worth it."""
    if variable is not None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", variable)
    assert delivery_settings(settings(**given)).compression == wanted


@pytest.mark.parametrize(
    ("name", "value"),
    [("COMPRESSION", "zstd"), ("TIMEOUT", "soon"), ("HEADERS", "nothing"), ("ENDPOINT", "host")],
)
def test_a_wrong_variable_is_named(monkeypatch: Variables, name: str, value: str) -> None:
    """Construction says which variable it is."""
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    with pytest.raises(ConfigurationError, match=f"OTEL_EXPORTER_OTLP_{name}"):
        collector_of(delivery_settings(settings()))


def test_the_services_name_wins_over_the_resources(monkeypatch: Variables) -> None:
    """Both over the client's own; broken attributes are ignored as a whole."""
    own = {semconv.PROJECT: "p1"}
    monkeypatch.setenv(
        "OTEL_RESOURCE_ATTRIBUTES", "service.name=a,deployment.environment.name=pro%64,host.id=7"
    )
    monkeypatch.setenv("OTEL_SERVICE_NAME", "web")
    found = collector_of(settings(), own)
    assert found.resource == {
        "banyan.project": "p1",
        "service.name": "web",
        "deployment.environment.name": "prod",
        "host.id": "7",
    }
    assert found.service == "banyan.project=p1,deployment.environment.name=prod,service.name=web"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "a=1,broken")
    assert collector_of(settings()).resource == {"service.name": "web"}


def test_previous_headers_are_named_as_the_headers_are() -> None:
    """In any order and spelling of names."""
    changed = delivery_settings(settings(previous_keys=["X-Team=a,Authorization=Bearer%20old", "psk_old"]))
    assert changed.previous_keys == ("authorization=Bearer old,x-team=a", "psk_old")


def test_the_tenant_of_scores_is_part_of_the_key(monkeypatch: Variables) -> None:
    """What waits on disk for one tenant must not go to another, and replay sends it with the same headers."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-tenant=a,x-more=1%2C2%25")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-tenant=b")
    found = collector_of(settings())
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-tenant=c")
    assert collector_of(settings()).key != found.key
    again = collector_at(found.traces.url, found.service, found.key)
    assert (again.traces, again.key) == (found.traces, found.key)
    assert again.logs.headers["x-tenant"] == "b"


def test_where_scores_go_is_part_of_whose_records_these_are(monkeypatch: Variables) -> None:
    """Two collectors of scores behind one of spans: what waits for one is not sent to the other."""
    plain = collector_of(settings())
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://scores.test/v1/logs/a,b%2F")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "web, or not=100%")
    found = collector_of(settings())
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://others.test/v1/logs")
    assert len({plain.service, found.service, collector_of(settings()).service}) == 3
    again = collector_at(found.traces.url, found.service, found.key)
    assert (again.logs.url, again.service) == (found.logs.url, found.service)
    assert again.resource == found.resource
