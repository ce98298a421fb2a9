"""Where an engine keeps records on disk, and where else it may take some from."""

from __future__ import annotations

from pathlib import Path

from ..logs import warn
from ..settings import Settings
from .destination import Destination
from .spool.layout import Address, destination_directory, spool_bases


class SpoolPlaces:
    """The directories below the settings' `spool_dir`, looked up once: a fork changes nothing about them.

    Args:
        settings: `spool_dir` counts.
        only: the directory to use instead of the destination's own, and instead of all others.

    Attributes:
        problem: why there is none, if so.
    """

    def __init__(self, settings: Settings, only: Path | None = None) -> None:
        self.problem: str | None = None
        self._only = only
        self._bases: tuple[Path, ...] = ()
        if settings.spool and settings.enabled:
            try:
                self._bases = spool_bases(settings.spool_dir)
            except (RuntimeError, OSError, KeyError) as error:
                self.problem = f"no directory for it is known, set spool_dir: {error}"
                warn("spool", "records stay in memory: %s", self.problem)

    def own(self, destination: Destination) -> Path | None:
        """Where records for a destination are kept; None: in memory only."""
        if not self._bases:
            return None
        return self._only or destination_directory(self._bases[0], destination.identity, destination.key)

    def address(self, destination: Destination) -> Address | None:
        """What the directory is to say about itself; None where the caller chose the directory."""
        return None if self._only is not None else Address.of(destination.identity, destination.key)

    def previous(self, destination: Destination, settings: Settings) -> tuple[Path, ...]:
        """Where else records of this destination lie that may leave under its key.

        Those of its previous keys, and all of them in the place where an earlier platformdirs had the spools.
        """
        if self._only is not None:
            return ()
        keys = dict.fromkeys((destination.key, *settings.previous_keys))
        found = [
            destination_directory(base, destination.identity, key) for base in self._bases for key in keys
        ]
        return tuple(dict.fromkeys(found[1:]))  # the first one is its own
