"""JSON values as trees."""

from __future__ import annotations

from typing import Any

from banyan_hp.server.ui.trees import MOST_NODES, Node, tree_of


def named(nodes: Any) -> list[Any]:
    return [(each.name, each.text) if each.is_leaf else (each.name, named(each.inside)) for each in nodes]


def test_values_are_under_their_names() -> None:
    tree = tree_of({"a": 1, "b": {"c": [True, None]}, "d": [], "e": "text"})
    assert named(tree) == [
        ("a", "1"),
        ("b", [("c", [("0", "true"), ("1", "null")])]),
        ("d", "[]"),
        ("e", "text"),
    ]


def test_what_is_deep_is_json() -> None:
    value: Any = {"end": 1}
    for _ in range(20):
        value = {"in": value}
    nodes, depth = tree_of(value), 0
    while nodes[0].inside:
        nodes, depth = nodes[0].inside, depth + 1
    assert depth == 5
    assert nodes[0].text.startswith('{\n  "in"')


def test_what_is_large_is_counted() -> None:
    (numbers, *rest) = tree_of({"numbers": list(range(10_000)), "after": 1})
    assert (numbers.text, len(numbers.inside), numbers.more) == (
        "10000 entries",
        MOST_NODES - 1,
        10_001 - MOST_NODES,
    )
    assert not rest


def test_a_long_text_is_cut() -> None:
    (node,) = tree_of({"a": "x" * 1_000_000})
    assert node == Node("a", "x" * 1_999 + "…")
