"""All checks, in the order in which one depends on another."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from . import installation
from .configuration import Configuration
from .disk import Disk
from .findings import Finding, unknown
from .network import Network


def examine(arguments: argparse.Namespace) -> Iterator[Finding]:
    """What each check found, as it is found."""
    configuration = Configuration(arguments)
    yield from configuration.findings
    target = configuration.target
    if target is None:
        yield unknown("network", "the settings can't be used")
    else:
        yield from Network(target).findings()
    yield from Disk(target, arguments.spool_dir).findings()
    yield from installation.findings()
