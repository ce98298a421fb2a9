"""Reading calls back in order of arrival: pages both ways, and counts."""

from __future__ import annotations

import pytest

from banyan_hp.server.store.calls import CallFilter, Calls, UnusableCursorError

from .samples import call, ids

ALL = CallFilter(project="p")


def test_a_batch_arrives_in_the_order_in_which_it_was_sent(store: Calls) -> None:
    """Whatever order its rows are written in, and whatever their ids and times are."""
    sent = ["b", "c", "a", "d"]
    store.append([call(10 - number, id=name) for number, name in enumerate(sent)])
    store.append([call(id="0")])
    assert ids(store.arrived(ALL, 10).calls) == [*sent, "0"]
    assert ids(store.arrived(ALL, 10, newest=True).calls) == ["0", *reversed(sent)]
    assert ids(store.follow(ALL, 10).calls) == [*sent, "0"]


def test_pages_lead_on_in_both_orders(store: Calls) -> None:
    """To the end, which has no cursor; without gap or overlap."""
    store.append([call(number) for number in range(5)])
    for newest in (False, True):
        found: list[str] = []
        cursor: str | None = None
        pages = 0
        while pages == 0 or cursor is not None:
            bounds = {"before" if newest else "after": cursor}
            page = store.arrived(ALL, 2, newest=newest, **bounds)
            found += ids(page.calls)
            cursor = page.next
            pages += 1
        expected = [f"id-{number}" for number in range(5)]
        assert (pages, found) == (3, expected[::-1] if newest else expected)


def test_a_number_is_a_bound_too(store: Calls) -> None:
    """Beyond it, not with it; both bounds at once are a range."""
    store.append([call(number) for number in range(5)])
    numbers = [each.seq for each in store.arrived(ALL, 10).calls]
    between = store.arrived(ALL, 10, after=str(numbers[0]), before=str(numbers[4]))
    assert [each.seq for each in between.calls] == numbers[1:4]
    assert len(store.arrived(ALL, 10, after="0").calls) == 5
    assert store.arrived(ALL, 10, before="0").calls == []


@pytest.mark.parametrize("bound", ["", "x", "-1", "1.x", "1.2.3", "9" * 50, "0x10"])
def test_a_bound_that_is_none_is_refused_by_name(store: Calls, bound: str) -> None:
    """The name is the parameter's."""
    for name in ("after", "before"):
        with pytest.raises(UnusableCursorError, match=f"^{name} must be the next of another page, was "):
            store.arrived(ALL, 1, **{name: bound})  # type: ignore[arg-type]


def test_what_has_just_been_stored_is_there(store: Calls) -> None:
    """Unlike `follow`, which waits for transactions that began before."""
    store.append([call(1), call(2, project="q")])
    found = store.arrived(CallFilter(project="p", equal={"id": "id-1"}), 10)
    assert (ids(found.calls), found.next) == (["id-1"], None)


def test_calls_and_their_deliveries_are_counted(store: Calls) -> None:
    """Of the chosen ones; nothing is none."""
    store.append([call(1), call(2, source="huggingplace"), call(3), call(1)])
    assert store.count(ALL) == (3, 4)
    assert store.count(CallFilter(project="p", equal={"source": "banyan"})) == (2, 3)
    assert store.count(CallFilter(project="q")) == (0, 0)
