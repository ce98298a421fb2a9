"""The steps of a record as spans: where each belongs in the tree, and which tokens are its own. Pure.

A step made within another one is in the record's list like the others, and its time and tokens are in its
parent's, too. Here each token is on one span: a step, or the record, keeps what its steps have not reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import semconv
from .attributes import TOKENS, is_count
from .calls import STEP, seconds_of
from .messages import plain

COUNTED: tuple[str, ...] = ("input_tokens", "output_tokens")


class Node:
    """A span in the making: a record, or one of its steps.

    Attributes:
        details: of its metadata; `leave_to_steps` takes from their tokens.
        parent: the id of the step that it was made in, if any.
        start: nanoseconds from the record's start.
        inside: the steps inside.
    """

    def __init__(self, body: Mapping[str, Any], details: dict[str, Any]) -> None:
        self.body = body
        self.details = details
        self.ident = plain(body.get("id"))
        self.parent = details.pop("parent", None)
        self.start = int(seconds_of(details.pop("start_ms", None), 1000.0) * 1e9)
        self.around: Node | None = None
        self.inside: list[Node] = []
        self.span = ""
        tokens = {name: details.get(name) for name in TOKENS}
        self.reported: dict[str, int] = {name: count for name, count in tokens.items() if is_count(count)}

    def leave_to_steps(self) -> None:
        """The tokens of the steps inside are on their own spans."""
        if not any(step.reported for step in self.inside):
            return
        self.details.pop("token_count", None)
        for name, reported in self.reported.items():
            left = reported - sum(step.reported.get(name, 0) for step in self.inside)
            self.details[name] = left
            if left <= 0:
                del self.details[name]

    @property
    def operation(self) -> str:
        """Of a step: a call of a model if it has tokens of its own, or a model and nothing inside."""
        own_tokens = any(name in self.details for name in COUNTED)
        calls = own_tokens or (self.body.get(STEP.model) and not self.inside)
        return semconv.CHAT if calls else ""


def tree_of(root: Node, steps: list[dict[str, Any]], step_details: list[dict[str, Any]]) -> list[Node]:
    """The steps, each in its place below the record `root`.

    Args:
        root: the record.
        steps: as `step_data` has them.
        step_details: what stands in the metadata about some of them, by `id`.
    """
    more = {plain(each.get("id")): each for each in step_details}
    nodes = [_node(fields, more.get(plain(fields.get("id")), {})) for fields in steps]
    by_ident = {node.ident: node for node in nodes}
    for node in nodes:
        around = by_ident.get(plain(node.parent)) if node.parent is not None else None
        node.around = root if around is None or around is node else around
        node.around.inside.append(node)
    for node in (root, *nodes):
        node.leave_to_steps()
    return nodes


def _node(fields: dict[str, Any], more: Mapping[str, Any]) -> Node:
    details: dict[str, Any] = {name: fields[name] for name in COUNTED if name in fields}
    details.update((name, value) for name, value in more.items() if name != "id")
    return Node(fields, details)
