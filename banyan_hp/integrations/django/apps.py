"""The app: `INSTALLED_APPS = [..., "banyan_hp.integrations.django"]`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from ...errors import BanyanHPError
from ...logs import warn
from . import configuration
from .middleware import READER

MIDDLEWARE = "banyan_hp.integrations.django.BanyanMiddleware"


class BanyanConfig(AppConfig):
    """Makes the logger of `configure()` from the setting `BANYAN_HP`, and has it checked."""

    name = "banyan_hp.integrations.django"
    label = "banyan_hp"
    verbose_name = "banyan_hp"

    def ready(self) -> None:
        """Configure the logger. A wrong setting does not raise here, or no check could say what is wrong."""
        checks.register(check_settings)
        checks.register(check_middleware)
        try:
            configuration.configure()
        except BanyanHPError as error:
            warn("Django's settings", "%s is wrong: %s", configuration.NAME, error)


def check_settings(app_configs: Any = None, **_: Any) -> Iterable[checks.CheckMessage]:  # noqa: ARG001
    """An error for each wrong value in `BANYAN_HP`."""
    hint = "`banyan-hp help web` and `banyan-hp help settings` say what is allowed."
    found = configuration.problems(READER)
    return [checks.Error(problem, hint=hint, id="banyan_hp.E001") for problem in found]


def check_middleware(app_configs: Any = None, **_: Any) -> Iterable[checks.CheckMessage]:  # noqa: ARG001
    """A warning if no middleware fills the context."""
    if MIDDLEWARE in settings.MIDDLEWARE:
        return []
    said = f"{MIDDLEWARE} is not in MIDDLEWARE: records don't say which request and user they are of."
    return [checks.Warning(said, hint="Put it first.", id="banyan_hp.W001")]
