"""Which destinations a command is about: all below the base directory, or one by its id."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...engine.spool.layout import KEYS, Address, spool_bases
from ...engine.spool.survey import destinations
from ...files import check_own_directory
from ...settings import env
from ..terminal import BROKEN, DONE, WRONG, CommandError, complain, counted, say


@dataclass(frozen=True, slots=True)
class Place:
    """A destination's directory. `address` is None if the directory does not say where its records go."""

    directory: Path
    address: Address | None

    @property
    def id(self) -> str:
        return self.directory.name

    @property
    def fingerprint(self) -> str:
        """Of the key under which the records were logged; the directory's name ends with it."""
        return self.id.rpartition("-")[2]

    @property
    def title(self) -> str:
        """The destination, for people."""
        if self.address is None:
            return f"unknown destination {self.id}"
        scope = "organisation" if self.address.client == "huggingplace" else "project"
        project = f" {scope} {self.address.project}" if self.address.project else ""
        key = f", key {self.address.fingerprint}"
        return f"{self.address.client} {self.address.base_url}{project}{key} ({self.id})"

    def fields(self) -> dict[str, str | None]:
        """The destination, for JSON."""
        said = self.address.fields() if self.address is not None else {}
        return {"destination": self.id, **dict.fromkeys(KEYS), **said}


def base_directory(arguments: argparse.Namespace) -> Path:
    """`--dir`, or the directory that an application in the same environment would use.

    Raises:
        CommandError: no directory is known.
    """
    return _base_directories(arguments)[0]


def _base_directories(arguments: argparse.Namespace) -> tuple[Path, ...]:
    try:
        return spool_bases(arguments.dir or env("BANYAN_HP_SPOOL_DIR"))
    except (RuntimeError, OSError, KeyError) as error:
        raise CommandError(f"no directory is known, pass --dir: {error}", BROKEN) from error


def chosen(arguments: argparse.Namespace) -> list[Place]:
    """The destinations that the arguments select.

    Raises:
        CommandError: `--destination` names none, or several.
        OSError: the base directory can't be listed.
    """
    bases = _base_directories(arguments)
    found = [path for base in bases for path in destinations(base)]
    prefix: str | None = arguments.destination
    if prefix is not None:
        found = _one([path for path in found if path.name.startswith(prefix)], prefix, bases[0])
    return [Place(path, Address.read(path)) for path in found]


def each(arguments: argparse.Namespace, do: Callable[[Place], int]) -> int:
    """Do something with each selected destination. A failure with one does not stop the others.

    Returns:
        The highest exit code of all.
    """
    return max((_complaining(place, do) for place in chosen(arguments)), default=DONE)


def _complaining(place: Place, do: Callable[[Place], int]) -> int:
    try:
        check_own_directory(place.directory)
        return do(place)
    except CommandError as error:
        complain(f"{place.title}: {error}")
        return error.code
    except BrokenPipeError:
        raise
    except OSError as error:
        complain(f"{place.title}: the spool can't be used: {error}")
        return BROKEN


def say_of_idle(idle: Sequence[Place]) -> None:
    """Say in one line at how many destinations nothing waits."""
    if idle:
        shows = "it" if len(idle) == 1 else "them"
        say(f"nothing waits at {counted(len(idle), 'destination')}; --all shows {shows}")


def _one(matching: list[Path], prefix: str, base: Path) -> list[Path]:
    """The directories of the one destination: it may have one below each base directory."""
    if not matching:
        raise CommandError(f"no destination in {base} has an id that begins with {prefix!r}", WRONG)
    names = ", ".join(dict.fromkeys(path.name for path in matching))
    if "," in names:
        raise CommandError(f"several destinations have an id that begins with {prefix!r}: {names}", WRONG)
    return matching
