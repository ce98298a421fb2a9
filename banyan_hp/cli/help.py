"""`banyan-hp help`: prints the users' guide, a page at a time."""

from __future__ import annotations

import argparse
import difflib
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

from ..guide import TOPICS, page, pages
from .terminal import DONE, WRONG, CommandError, say, table

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction


def add_help(commands: _SubParsersAction[ArgumentParser]) -> None:
    """Add `help` with its argument."""
    command = commands.add_parser("help", help="print the guide: its topics, or the page of one")
    command.set_defaults(run=_help)
    command.add_argument("topic", nargs="?", metavar="TOPIC", help="the page to print (default: list all)")


def _help(arguments: argparse.Namespace) -> int:
    topic: str | None = arguments.topic
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # for terminals that can't show every character of a page
    if topic is None:
        say("The guide, a page for each topic: banyan-hp help TOPIC")
        table([(each.topic, each.title) for each in pages()])
        return DONE
    if topic not in TOPICS:
        raise CommandError(_unknown(topic), WRONG)
    sys.stdout.write(page(topic).text)
    return DONE


def _unknown(topic: str) -> str:
    close = difflib.get_close_matches(topic.lower(), TOPICS, 1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    return f"there is no topic {topic!r}{meant}; the topics are {', '.join(TOPICS)}"
