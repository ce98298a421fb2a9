"""The command line of `banyan-hp prompts`. A command's own module is imported when it runs."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ..options import add_command, add_group

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from ..options import Commands

_BRANCH = "main"


def add_prompts(commands: Commands) -> None:
    """Add `prompts` with its subcommands."""
    group = add_group(commands, "prompts", "prompts as files; drafts, releases and their history")
    ls = _command(group, "ls", "list prompts: what is released, what is newest, where labels point")
    _add_branch(ls)
    _add_show(group)
    _add_pull(group)
    _add_push(group)
    diff = _command(group, "diff", "show what differs between files and prompts")
    _add_directory(diff)
    _add_branch(diff)
    _add_release(group)
    history = _command(group, "history", "show a prompt's versions, and who changed what and when")
    _add_prompt(history)


def _command(group: Commands, name: str, about: str) -> ArgumentParser:
    return add_command(group, name, about, _run)


def _run(arguments: Namespace) -> int:
    from ..api import run  # it loads what `--help` does not need
    from . import looking, syncing

    functions = {
        "ls": looking.ls,
        "show": looking.show,
        "history": looking.history,
        "release": looking.release,
        "pull": syncing.pull,
        "push": syncing.push,
        "diff": syncing.diff,
    }
    return run(functions[arguments.does], arguments)


def _add_show(group: Commands) -> None:
    show = _command(group, "show", "show a prompt as its file: the released version, or another one")
    _add_prompt(show)
    which = show.add_mutually_exclusive_group()
    which.add_argument("--version", metavar="VERSION", help="this version, draft or not")
    which.add_argument("--label", metavar="LABEL", help="the version that this label points to")


def _add_pull(group: Commands) -> None:
    pull = _command(
        group, "pull", "write the newest version of each prompt into DIR; files that you have changed stay"
    )
    _add_directory(pull)
    _add_branch(pull)


def _add_push(group: Commands) -> None:
    push = _command(
        group, "push", "make a draft of each file in DIR that has changed; nothing if there is a conflict"
    )
    _add_directory(push)
    _add_branch(push)
    push.add_argument(
        "--release", action="store_true", help="release the versions, and earlier drafts of the files"
    )
    push.add_argument("--message", metavar="TEXT", help="why; kept with the versions")
    push.add_argument("--yes", action="store_true", help="don't ask")


def _add_release(group: Commands) -> None:
    release = _command(group, "release", "serve a version from now on; an earlier one again undoes a release")
    _add_prompt(release)
    release.add_argument("version", metavar="VERSION")
    release.add_argument("--label", metavar="LABEL", help="have this label point to it; default: production")


def _add_prompt(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--branch", default=_BRANCH, metavar="BRANCH", help="default: %(default)s")


def _add_branch(parser: ArgumentParser) -> None:
    parser.add_argument("--branch", metavar="BRANCH", help="one branch; default: all")


def _add_directory(parser: ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR")
