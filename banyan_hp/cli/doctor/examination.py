"""All checks, in the order in which one depends on another."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from ...engine.http.transport import connecting_as
from . import installation
from .backend import BackendChecks
from .configuration import Configuration, Target
from .disk import Disk
from .findings import Finding, unknown
from .way import NO_WAY, Way


def examine(arguments: argparse.Namespace) -> Iterator[Finding]:
    """What each check found, as it is found."""
    configuration = Configuration(arguments)
    yield from configuration.findings
    target = configuration.target
    if target is None:
        yield unknown("network", "the settings can't be used")
    else:
        yield from _network(target)
    yield from Disk(target, arguments.spool_dir, everything=arguments.all).findings()
    yield from installation.findings()


def _network(target: Target) -> Iterator[Finding]:
    way = Way(target)
    yield from way.findings()
    if not way.is_open:
        yield from (unknown(topic, NO_WAY) for topic in ("key", "batches", "clock"))
        return
    transport = connecting_as(target.settings)(target.destination.base_url, target.settings.timeout, 1)
    try:
        yield from BackendChecks(target, transport).findings()
    finally:
        transport.close()
