"""Where and how records go to an OpenTelemetry collector: from the settings, or the standard's variables.

A setting wins over a variable, and a variable of one signal (`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) over the
general one. To a general endpoint the standard's path is added, a signal's own endpoint is taken as it is.
Source: opentelemetry-specification, "OTLP Exporter Configuration", 1.55.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from .. import semconv
from ..checks import otlp_protocol, parsed_headers
from ..errors import ConfigurationError
from ..settings import Settings, checked_url, env

DEFAULT_ENDPOINT = "http://localhost:4318"
TRACES_PATH, LOGS_PATH = "/v1/traces", "/v1/logs"
VARIABLE = "OTEL_EXPORTER_OTLP_"
_LOGS_URL = "logs.url"  # in the text that tells services apart
_OF_LOGS = "logs:"  # in a key, before a header's name that has another value for logs than for traces
_SIGNALS = ("TRACES_", "LOGS_")
_SHORTEST_MILLISECONDS = 100.0  # a smaller timeout is in seconds: OpenTelemetry's own Python SDK reads those
_OF_A_SERVICE = ("service.name", "service.namespace", "deployment.environment.name", "deployment.environment")
_DEFAULT_SERVICE = "unknown_service:python"


class Signal(NamedTuple):
    """Where one kind of data goes."""

    url: str
    headers: Mapping[str, str]  # by their names in small letters


class Collector(NamedTuple):
    """A collector, and how it is spoken to."""

    traces: Signal
    logs: Signal
    protocol: str  # "http/json" or "http/protobuf"
    content: bool  # whether inputs and outputs are sent
    resource: Mapping[str, str]

    @property
    def key(self) -> str:
        """All headers as one text: any of them may hold a credential, or name a tenant."""
        traces, logs = self.traces.headers, self.logs.headers
        others = {
            f"{_OF_LOGS}{name}": value for name, value in logs.items() if traces.get(name, value) != value
        }
        return _as_key({**logs, **traces, **others})

    @property
    def service(self) -> str:
        """What tells services apart, as one text: one service's records stay its own.

        It is of the resource; and the URL of scores, where it is not beside that of spans.
        """
        own = {name: value for name, value in self.resource.items() if _is_a_services(name)}
        if self.logs.url != _logs_beside(self.traces.url):
            own[_LOGS_URL] = self.logs.url
        return _as_key(own)


def _logs_beside(traces_url: str) -> str | None:
    below = traces_url.removesuffix(TRACES_PATH)
    return below + LOGS_PATH if below != traces_url else None


def _is_a_services(name: str) -> bool:
    return name in _OF_A_SERVICE or name in (semconv.PROJECT, semconv.ORGANISATION)


def collector_of(settings: Settings, own: Mapping[str, str] | None = None) -> Collector:
    """The collector that the settings and the environment name.

    Args:
        settings: with `export_to="otlp"`.
        own: resource attributes of the client's.

    Raises:
        ConfigurationError: a setting or a variable is wrong; the message names it.
    """
    traces, logs = (
        _signal(settings, signal, path)
        for signal, path in zip(_SIGNALS, (TRACES_PATH, LOGS_PATH), strict=True)
    )
    return Collector(traces, logs, _protocol(settings), settings.otlp_content, _resource(own or {}))


def delivery_settings(settings: Settings) -> Settings:
    """The engine's settings, with what OpenTelemetry's variables and the `otlp_` settings say of delivery."""
    changes: dict[str, Any] = {"timeout": _timeout(settings), "compression": _compression(settings)}
    if settings.ca_bundle is None:
        changes["ca_bundle"] = _variable("CERTIFICATE")[1]
    certificate, key = _variable("CLIENT_CERTIFICATE")[1], _variable("CLIENT_KEY")[1]
    if settings.client_cert is None and certificate is not None:
        changes["client_cert"] = certificate if key is None else (certificate, key)
    earlier = [_canonical(each) for each in settings.previous_keys]
    return replace(settings, previous_keys=earlier, **changes)


def _as_key(headers: Mapping[str, str]) -> str:
    return ",".join(f"{name}={quote(headers[name], safe=_KEPT)}" for name in sorted(headers))


def _of_key(key: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in key.split(",") if part)
    return {name: unquote(value) for name, _, value in pairs}


def _canonical(headers: str) -> str:
    """A previous value of the headers in the form of `Collector.key`; an API key stays as it is."""
    return key_of_headers(headers, "previous_keys") if "=" in headers else headers


def key_of_headers(text: str, name: str = "the headers") -> str:
    """The key of a collector that is sent these headers, a text as in `OTEL_EXPORTER_OTLP_HEADERS`."""
    return _as_key(parsed_headers(name, text))


def collector_at(url: str, service: str, key: str) -> Collector:
    """The collector whose spans go to this URL, for what a process of that service has left on disk.

    Args:
        url: as the directory has it.
        service: what `Collector.service` was.
        key: what `Collector.key` was.
    """
    told = _of_key(key)
    own = {name: value for name, value in told.items() if not name.startswith(_OF_LOGS)}
    found = collector_of(Settings(export_to="otlp", otlp_headers=own))
    told_of_it = _attributes(service)
    logs = told_of_it.pop(_LOGS_URL, None) or _logs_beside(url) or found.logs.url
    resource = {**found.resource, **told_of_it}
    headers = found.traces.headers
    of_logs = {**headers, **{n.removeprefix(_OF_LOGS): told[n] for n in told.keys() - own.keys()}}
    return found._replace(traces=Signal(url, headers), logs=Signal(logs, of_logs), resource=resource)


def _variable(name: str, signal: str = "TRACES_") -> tuple[str, str | None]:
    """The signal's variable, else the general one: its name and its text."""
    for variable in (f"{VARIABLE}{signal}{name}", f"{VARIABLE}{name}"):
        found = env(variable)
        if found is not None:
            return variable, found
    return f"{VARIABLE}{name}", None


def _signal(settings: Settings, signal: str, path: str) -> Signal:
    return Signal(_url(settings, signal, path), _headers(settings, signal))


def _url(settings: Settings, signal: str, path: str) -> str:
    if settings.otlp_endpoint is not None:
        return _with_path("otlp_endpoint", settings.otlp_endpoint.strip(), path)
    own = env(f"{VARIABLE}{signal}ENDPOINT")
    if own is not None:
        return _not_for_grpc(f"{VARIABLE}{signal}ENDPOINT", own) + ("" if urlsplit(own).path else "/")
    return _with_path(f"{VARIABLE}ENDPOINT", env(f"{VARIABLE}ENDPOINT") or DEFAULT_ENDPOINT, path)


def _with_path(name: str, endpoint: str, path: str) -> str:
    """The URL below a general endpoint, to which the path may have been added already."""
    base = _not_for_grpc(name, endpoint)
    for each in (TRACES_PATH, LOGS_PATH):
        base = base.removesuffix(each)
    return base + path


def _not_for_grpc(name: str, endpoint: str) -> str:
    url = checked_url(name, endpoint)
    if urlsplit(url).port == 4317:
        raise ConfigurationError(
            f"{name} must be the collector's HTTP endpoint, usually on port 4318, was {endpoint!r}: "
            "port 4317 is for gRPC, which is not supported"
        )
    return url


def _headers(settings: Settings, signal: str) -> Mapping[str, str]:
    given = settings.otlp_headers
    if isinstance(given, str):
        return parsed_headers("otlp_headers", given)
    if given is not None:
        return {name.lower(): value for name, value in given.items()}
    variable, text = _variable("HEADERS", signal)
    return parsed_headers(variable, text or "")


def _protocol(settings: Settings) -> str:
    variable, found = _variable("PROTOCOL")
    name, protocol = (
        ("otlp_protocol", settings.otlp_protocol) if settings.otlp_protocol else (variable, found)
    )
    if protocol is None:
        return "http/json"
    otlp_protocol(name, protocol)
    return protocol


def _compression(settings: Settings) -> str:
    """As the engine has it: whether the body may be compressed, must be, or where it is worth it."""
    variable, found = _variable("COMPRESSION")
    chosen = settings.otlp_compression or found
    if chosen is None:
        return settings.compression
    if chosen not in ("gzip", "none"):
        raise ConfigurationError(f"{variable} must be one of 'gzip', 'none', was {chosen!r}")
    return "always" if chosen == "gzip" else "never"


def _timeout(settings: Settings) -> float:
    variable, found = _variable("TIMEOUT")
    if settings.otlp_timeout is not None:
        return settings.otlp_timeout
    if found is None:
        return settings.timeout
    if not _NUMBER.fullmatch(found) or float(found) <= 0:
        raise ConfigurationError(f"{variable} must be a number of milliseconds above 0, was {found!r}")
    number = float(found)
    return number if number < _SHORTEST_MILLISECONDS else number / 1000


_KEPT = "".join(chr(each) for each in range(0x20, 0x7F) if chr(each) not in "%,")
_NUMBER = re.compile(r"\d+(\.\d*)?")


def _resource(own: Mapping[str, str]) -> dict[str, str]:
    """`OTEL_SERVICE_NAME` wins over the resource attributes; all win over ours."""
    found = {
        semconv.SERVICE_NAME: _DEFAULT_SERVICE,
        **own,
        **_attributes(env("OTEL_RESOURCE_ATTRIBUTES") or ""),
    }
    name = env("OTEL_SERVICE_NAME")
    return found if name is None else {**found, semconv.SERVICE_NAME: name}


def _attributes(text: str) -> dict[str, str]:
    """Of `name=value,name=value`. As the standard says, a text of another form is ignored as a whole."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if not all(name.strip() and equals for name, equals, _ in pairs):
        return {}
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}
