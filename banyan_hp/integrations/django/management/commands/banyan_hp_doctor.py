"""`manage.py banyan_hp_doctor`: `banyan-hp doctor` with the project's settings."""

from __future__ import annotations

import argparse
import sys
from itertools import chain
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from .....cli.doctor.arguments import add_doctor
from .....cli.doctor.examination import examine
from .....cli.doctor.findings import good, show, show_json, wrong
from .....errors import ConfigurationError
from ...configuration import NAME, problems, setting
from ...middleware import READER

_OPTIONS = {
    "base_url": "--base-url",
    "api_key": "--api-key",
    "project_id": "--project-id",
    "export_to": "--export-to",
    "spool_dir": "--dir",
    "ca_bundle": "--ca-bundle",
    "client_cert": "--client-cert",
}


class Command(BaseCommand):
    """Exit status 1 if anything is wrong."""

    help = "Look at BANYAN_HP, network, key and on-disk queue, and say what is wrong. Writes no record."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")

    def handle(self, *_: Any, **options: Any) -> None:
        found = [wrong(NAME, problem) for problem in problems(READER)]
        own = found or [good(NAME, "its values are allowed; they are the options below")]
        status = (show_json if options["json"] else show)(chain(own, examine(_arguments())))
        if status:
            sys.exit(status)


def _arguments() -> argparse.Namespace:
    """What `banyan-hp doctor` is asked, with the project's settings for its options."""
    try:
        given = setting()
    except ConfigurationError:
        given = {}
    line = ["doctor"]
    for name, option in _OPTIONS.items():
        value = given.get(name)
        if value is not None:
            several = isinstance(value, (list, tuple))
            line += [option, *map(str, value)] if several else [f"{option}={value}"]
    parser = argparse.ArgumentParser()
    add_doctor(parser.add_subparsers())
    return parser.parse_args(line)
