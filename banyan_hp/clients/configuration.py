"""What the clients are made of: keys, URLs and names from arguments and environment, checked.

Wrong ones raise, as the public constructors document.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .. import local_keys
from ..destinations import banyan, huggingplace
from ..destinations.huggingplace import HuggingPlaceDestination
from ..engine.captures import open_captures
from ..engine.engine import http_transport
from ..engine.http.transport import NoResponse, never_raising
from ..engine.records.encode import encode
from ..engine.records.ledger import Book
from ..engine.records.record import Record
from ..errors import ConfigurationError, MissingKeyError, ValidationError
from ..foreign import checking, shown
from ..semconv import ORGANISATION
from ..settings import Settings, checked_url, first_text, header_text
from .exporting import Export, export_of

LEAST_MILLISECONDS = 10
OWN = ("api_key", "org_id", "mode", "base_url", "timeout", "silent")
"""What `HuggingPlace` takes by name, besides the settings."""
CHANGEABLE = (*OWN, "previous_keys")
"""What `update_config` takes."""
IDENTITY = ("api_key", "org_id", "base_url")
"""What decides where records go, and under which key."""


def resolved_identity(
    api_key: str | None, base_url: str | None, project_id: str | None, *, needed: bool
) -> tuple[str, str, str | None]:
    """The Banyan client's URL, key and project from arguments and environment, checked.

    Args:
        api_key: as of `PromptStackLogger`, like the others.
        base_url: likewise.
        project_id: likewise.
        needed: False if logging is switched off, or goes to a collector: then the key may be missing, and is
            the empty text. So it may be in a capture.
    """
    key = first_text("api_key", api_key, "BANYAN_API_KEY")
    url = _base_url(
        first_text("base_url", base_url, "BANYAN_BASE_URL") or banyan.DEFAULT_BASE_URL,
        banyan.PATHS,
    )
    key = local_keys.find(url) if key is None else key
    project = first_text("project_id", project_id, "BANYAN_PROJECT_ID")
    if project is not None:
        header_text("project_id", project)
    if key is not None:
        header_text("api_key", key)
    elif needed and not open_captures:
        raise MissingKeyError(
            "no API key: pass api_key='psk_…', or set the environment variable BANYAN_API_KEY "
            "(or switch logging off with enabled=False or BANYAN_HP_DISABLED=1)"
        )
    return url, key or "", project


def unless_keyless(settings: Settings, key: str) -> Settings:
    """The settings of a client; one that was made in a capture without a key is off outside of captures."""
    return settings if key or settings.export_to == "otlp" else replace(settings, enabled=False)


def resolved_config(config: Mapping[str, Any], *, needed: bool) -> dict[str, Any]:
    """The HuggingPlace client's configuration from arguments and environment, checked.

    Args:
        config: the arguments.
        needed: False if logging is switched off, or goes to a collector: then key and organisation may be
            missing. So they may be in a capture.
    """
    needed = needed and not open_captures
    key = first_text("api_key", config.get("api_key"), "HUGGINGPLACE_API_KEY", ValidationError)
    org = first_text("org_id", config.get("org_id"), "HUGGINGPLACE_ORG_ID", ValidationError)
    mode = first_text("mode", config.get("mode"), "HUGGINGPLACE_MODE", ValidationError) or "prod"
    url = first_text("base_url", config.get("base_url"), "HUGGINGPLACE_BASE_URL", ValidationError)
    url = url or huggingplace.DEFAULT_BASE_URL
    key = local_keys.find(url) if key is None else key
    timeout = config.get("timeout")
    timeout = 10_000 if timeout is None else timeout
    if key is None and needed:
        raise MissingKeyError(
            "no API key: pass api_key=…, or set the environment variable HUGGINGPLACE_API_KEY "
            "(or switch logging off with enabled=False or BANYAN_HP_DISABLED=1)"
        )
    if org is None and needed:
        raise ValidationError(
            "no organisation: pass org_id=…, or set the environment variable HUGGINGPLACE_ORG_ID"
        )
    if mode not in huggingplace.MODES:
        raise ValidationError(f"mode must be 'prod' or 'dev', was {mode!r}")
    with checking("timeout", ValidationError):
        _check_milliseconds(timeout)
    return {
        "api_key": header_text("api_key", key or ""),
        "org_id": org or "",
        "mode": mode,
        "base_url": _base_url(url, huggingplace.PATHS),
        "timeout": timeout,
        **({"silent": True} if config.get("silent") else {}),
    }


def _base_url(url: str, paths: Sequence[str]) -> str:
    """A `base_url`, checked; `paths` are those of the API, which the library adds by itself."""
    if _NO_SCHEME.fullmatch(url):
        meant = ("http://" if url.startswith(_LOCAL) else "https://") + url
        raise ConfigurationError(
            f"base_url must be an http:// or https:// URL with a host, was {url!r}; did you mean {meant!r}?"
        )
    base = checked_url("base_url", url)
    for path in sorted(paths, key=len, reverse=True):
        if base.endswith(path):
            raise ConfigurationError(
                f"base_url must not end in {path}, a path of the API, which the library adds by itself; "
                f"it must be {base.removesuffix(path)!r}, was {url!r}"
            )
    return base


_NO_SCHEME = re.compile(r"[\w.-]+(:\d+)?(/[\w./~-]*)?", re.ASCII)
_LOCAL = ("localhost", "127.", "0.0.0.0", "10.", "192.168.")  # noqa: S104 - compared, not bound


def _check_milliseconds(timeout: object) -> None:
    """Refuses what was meant as seconds: no request is done in so few milliseconds."""
    if not isinstance(timeout, (int, float)) or isinstance(timeout, bool) or not 0 < timeout < math.inf:
        raise ValidationError(
            f"timeout must be a number of milliseconds, {LEAST_MILLISECONDS} or more, was {shown(timeout)}"
        )
    if timeout < LEAST_MILLISECONDS:
        raise ValidationError(
            f"timeout is in milliseconds and must be {LEAST_MILLISECONDS} or more, was {shown(timeout)}; "
            f"{timeout:g} s are timeout={timeout * 1000:g}"
        )


# -- HuggingPlace --------------------------------------------------------------------------------------------


def checked_options(options: Mapping[str, Any]) -> Settings:
    """The settings without the timeout, which has another unit there."""
    return Settings.from_options(options, besides=OWN)


def settings_of(config: Mapping[str, Any], options: Mapping[str, Any]) -> Settings:
    return Settings.from_options({**options, "timeout": config["timeout"] / 1000})


def destination_of(config: Mapping[str, Any]) -> HuggingPlaceDestination:
    return HuggingPlaceDestination(config["base_url"], config["api_key"], config["org_id"])


def export_by(config: Mapping[str, Any], options: Mapping[str, Any]) -> Export:
    return export_of(settings_of(config, options), destination_of(config), {ORGANISATION: config["org_id"]})


def _is_taken(export: Export) -> bool:
    """Whether a collector takes a span, which says that it is a test."""
    test = Record("connection-test", time.time(), {"input": "", "metadata": {"test": True}}, 0, 0.0, Book())
    transport = never_raising(http_transport)(export.destination, export.settings)
    try:
        request = export.destination.batch([test], compress=False, values=[test.value])
        response = transport.send(request, export.settings.timeout)
        return not isinstance(response, NoResponse) and 200 <= response.status < 300
    finally:
        transport.close()


def is_accepted(config: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether the backend responds and accepts the key; see `HuggingPlace.test_connection`."""
    export = export_by(config, options)
    if export.settings.export_to == "otlp":
        return _is_taken(export)
    destination, settings = destination_of(config), export.settings
    transport = never_raising(http_transport)(destination, settings)
    try:
        if destination.may_batch:
            response = transport.send(destination.batch((), compress=False), settings.timeout)
            if not isinstance(response, NoResponse) and destination.takes_batches(response)[0]:
                return True
        test = {"user_prompt": "connection test", "response": "connection test"}
        body = {**test, "org_id": config["org_id"], "mode": config["mode"]}
        response = transport.send(destination.post(encode(body)), settings.timeout)
        return not isinstance(response, NoResponse) and 200 <= response.status < 300
    finally:
        transport.close()
