"""The users' guide: its pages, in the order of the table of contents.

Each page is a Markdown file beside this one, and comes with the wheel. `banyan-hp help` prints them, and the
local backend serves them.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

TOPICS = (
    "banyan",
    "huggingplace",
    "prompts",
    "tracking",
    "litellm",
    "scores",
    "experiments",
    "delivery",
    "privacy",
    "settings",
    "sampling",
    "stats",
    "monitoring",
    "spool",
    "web",
    "processes",
    "network",
    "cli",
    "testing",
    "backend",
    "pages",
    "calls",
    "spans",
    "opentelemetry",
    "celery",
    "langchain",
    "upgrading",
    "troubleshooting",
)


@dataclass(frozen=True, slots=True)
class Page:
    """One page: `topic` is its name without `.md`, `title` its first heading, `text` all of its Markdown."""

    topic: str
    title: str
    text: str


def page(topic: str) -> Page:
    """Read one page.

    Raises:
        KeyError: there is no such topic.
    """
    if topic not in TOPICS:
        raise KeyError(topic)
    text = (files(__name__) / f"{topic}.md").read_text(encoding="utf-8")
    return Page(topic, text.partition("\n")[0].removeprefix("# "), text)


def pages() -> list[Page]:
    """Read all pages, in their order."""
    return [page(topic) for topic in TOPICS]
