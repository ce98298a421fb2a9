"""What the commands over the HTTP API have in common on the command line."""

from __future__ import annotations

from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

    Commands = _SubParsersAction[ArgumentParser]

EXPLAINED = """\
The key comes from BANYAN_API_KEY, the URL from BANYAN_BASE_URL, as the client's.

exit codes:
  0  done
  1  something is left: a conflict, a difference, a no to the question; results that are not to be trusted
  2  wrong usage, or the backend refuses the key or what was sent
  3  the backend can't be reached, or the directory can't be read or written
"""


def add_group(commands: Commands, name: str, about: str) -> Commands:
    """A command that has subcommands."""
    parser = commands.add_parser(
        name, help=about, epilog=EXPLAINED, formatter_class=RawDescriptionHelpFormatter
    )
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def add_command(
    group: Commands,
    name: str,
    about: str,
    run: Callable[[Namespace], int],
    *,
    json: bool = True,
    remote: bool = True,
) -> ArgumentParser:
    """A command, or a subcommand; `run` finds its name in `does`. Not `remote`: it asks no backend."""
    parser = group.add_parser(
        name,
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog=EXPLAINED if remote else None,
        formatter_class=RawDescriptionHelpFormatter,
    )
    if remote:
        parser.add_argument("--base-url", metavar="URL", help="the backend; default: BANYAN_BASE_URL")
    if json:
        parser.add_argument("--json", action="store_true", help="JSON objects, one a line")
    parser.set_defaults(run=run, does=name)
    return parser
