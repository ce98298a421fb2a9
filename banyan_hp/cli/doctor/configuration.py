"""The settings as a client would have them, and where each came from.

What an application passes to `configure()`, `PromptStackLogger` or `HuggingPlace` can't be seen from here:
the command's options stand in for it.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ...clients.configuration import resolved_config, resolved_identity
from ...destinations.banyan import BanyanDestination
from ...destinations.huggingplace import HuggingPlaceDestination
from ...destinations.otlp import OtlpDestination
from ...engine.destination import Destination
from ...engine.http.transport import text_filter
from ...engine.spool.layout import key_fingerprint
from ...errors import BanyanHPError
from ...settings import Settings, env, truthy_env
from ...text import TextFilter
from .collector import HEADERS, collector_with
from .findings import Finding, good, note, wrong

BANYAN, HUGGINGPLACE = "banyan", "huggingplace"
_OWN_PREFIXES = ("BANYAN_", "HUGGINGPLACE_")
_KEY_PREFIX = "psk_"
_LIKE_A_KEY = re.compile(r"psk_[^\s'\",)]+")
_TRUST_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
VARIABLES = {
    BANYAN: {
        "api_key": "BANYAN_API_KEY",
        "base_url": "BANYAN_BASE_URL",
        "project_id": "BANYAN_PROJECT_ID",
    },
    HUGGINGPLACE: {
        "api_key": "HUGGINGPLACE_API_KEY",
        "org_id": "HUGGINGPLACE_ORG_ID",
        "mode": "HUGGINGPLACE_MODE",
        "base_url": "HUGGINGPLACE_BASE_URL",
    },
}
COMMON_VARIABLES = (
    "BANYAN_HP_SPOOL_DIR",
    "BANYAN_HP_DISABLED",
    "BANYAN_HP_DEBUG",
    "BANYAN_HP_CONTENT_HASH_KEY",
    "BANYAN_HP_SERVE_KEYS",
    "BANYAN_HP_DB",
    "BANYAN_HP_CALLS",
    "BANYAN_HP_CLICKHOUSE_CLUSTER",
    "BANYAN_HP_KEYS_DIR",
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a client with these settings would send to.

    Attributes:
        destination: backend and key; the key is empty if none is set.
        settings: the settings of its engine.
        key_variable: the environment variable that has the key.
    """

    destination: Destination
    settings: Settings
    key_variable: str

    def clean(self, text: object) -> str:
        """A text from outside, as one line; it may repeat the key or the proxy's password."""
        destination = self.destination
        if isinstance(destination, OtlpDestination):
            return destination.clean(text)
        return text_filter(destination.base_url, {"X-API-Key": destination.key})(text)


class Configuration:
    """What the options and the environment say.

    Attributes:
        target: None if the settings can't be used.
        findings: a line for each setting.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.client, self._why = _client(arguments)
        self._arguments = arguments
        self.target: Target | None = None
        self.findings = list(self._look())

    def _look(self) -> Iterator[Finding]:
        yield good("client", f"{self.client} ({self._why})")
        yield from _misspelt()
        if truthy_env("BANYAN_HP_DISABLED"):
            yield wrong("enabled", "BANYAN_HP_DISABLED switches logging off: nothing is sent", "Unset it.")
        try:
            options = ("spool_dir", "ca_bundle", "client_cert", "timeout", "export_to")
            settings = Settings.from_options(self._given(*options))
            if settings.export_to == "otlp":
                yield from self._otlp(settings)
            else:
                yield from self._banyan(settings) if self.client == BANYAN else self._huggingplace(settings)
        except BanyanHPError as error:
            yield wrong("settings", self._clean(str(error)))

    def _given(self, *names: str) -> dict[str, object]:
        options = {name: getattr(self._arguments, name) for name in names}
        return {name: value for name, value in options.items() if value is not None}

    def _banyan(self, settings: Settings) -> list[Finding]:
        arguments = self._arguments
        url, key, project = resolved_identity(
            arguments.api_key, arguments.base_url, arguments.project_id, needed=False
        )
        destination = BanyanDestination(url, key, project)
        return self._found(destination, settings, {"project_id": project or "none"})

    def _huggingplace(self, settings: Settings) -> list[Finding]:
        config = resolved_config(self._given("api_key", "org_id", "mode", "base_url"), needed=False)
        destination = HuggingPlaceDestination(config["base_url"], config["api_key"], config["org_id"])
        own = {"org_id": config["org_id"], "mode": config["mode"]}
        return self._found(destination, settings, own)

    def _otlp(self, settings: Settings) -> list[Finding]:
        destination, delivery, found = collector_with(settings)
        self.target = Target(destination, delivery, HEADERS)
        return [*found, *self._trust(destination, delivery)]

    def _found(self, destination: Destination, settings: Settings, own: dict[str, str]) -> list[Finding]:
        variables = VARIABLES[self.client]
        self.target = Target(destination, settings, variables["api_key"])
        shown = {"base_url": destination.base_url, **own}
        return [
            self._key(destination),
            *(self._setting(name, value, variables[name]) for name, value in shown.items()),
            *self._trust(destination, settings),
        ]

    def _key(self, destination: Destination) -> Finding:
        variable = VARIABLES[self.client]["api_key"]
        key = destination.key
        if not key:
            return wrong("api_key", "not set", f"Set {variable}, or pass api_key= in your code.")
        begins = _KEY_PREFIX if key.startswith(_KEY_PREFIX) else ""
        masked = f"{begins}***, {len(key)} characters, fingerprint {key_fingerprint(key)}"
        source = self._source("api_key", variable).replace("default", "kept by a backend on this machine")
        shown = f"{masked} ({source})"
        if self.client == BANYAN and not begins:
            return note("api_key", shown, f"Banyan's keys begin with {_KEY_PREFIX}: is it another service's?")
        return good("api_key", shown)

    def _setting(self, name: str, value: str, variable: str) -> Finding:
        if not value:
            return wrong(name, "not set", f"Set {variable}, or pass {name}= in your code.")
        return good(name, self._clean(f"{value} ({self._source(name, variable)})"))

    def _trust(self, destination: Destination, settings: Settings) -> Iterator[Finding]:
        """Which certificates count, where any do."""
        if not destination.base_url.startswith("https:"):
            return
        if settings.ca_bundle is not None:
            yield good("ca_bundle", f"{os.fspath(settings.ca_bundle)} (--ca-bundle)")
            return
        variable = next((name for name in _TRUST_VARIABLES if os.environ.get(name)), None)
        found = "the system's certificates (default)" if variable is None else os.environ[variable]
        yield good("ca_bundle", found if variable is None else f"{found} (environment: {variable})")

    def _clean(self, text: str) -> str:
        """Without what looks like a key: one may stand where the URL or the project belongs."""
        keys = [os.environ.get(each["api_key"], "").strip() for each in VARIABLES.values()]
        keys.append((self._arguments.api_key or "").strip())
        return TextFilter(keys)(_LIKE_A_KEY.sub("psk_***", text))

    def _source(self, name: str, variable: str) -> str:
        given = getattr(self._arguments, name, None)
        if given is not None and given.strip():
            return f"--{name.replace('_', '-')}"
        return f"environment: {variable}" if env(variable) else "default"


def _client(arguments: argparse.Namespace) -> tuple[str, str]:
    if arguments.client is not None:
        return arguments.client, "--client"
    only_huggingplace = env("HUGGINGPLACE_API_KEY") and not env("BANYAN_API_KEY")
    if only_huggingplace:
        return HUGGINGPLACE, "HUGGINGPLACE_API_KEY is set; --client chooses"
    return BANYAN, "default; --client chooses"


def _misspelt() -> Iterator[Finding]:
    """Variables that look like ours and that nothing reads."""
    known = {*COMMON_VARIABLES, *(name for each in VARIABLES.values() for name in each.values())}
    for name in sorted(os.environ):
        if name.startswith(_OWN_PREFIXES) and name not in known:
            likely = difflib.get_close_matches(name, known, 1, 0.8)
            if likely:
                yield note("environment", f"nothing reads {name}", f"Did you mean {likely[0]}?")
