"""The engine's states: the table of moves, and what each state means for records."""

from __future__ import annotations

from itertools import product

import pytest

from banyan_hp.engine.lifecycle import MOVES, Cause, IllegalMoveError, Lifecycle, State
from banyan_hp.engine.sync import EngineLock

WAYS = {
    State.NEW: [],
    State.RUNNING: [State.RUNNING],
    State.CLOSING: [State.RUNNING, State.CLOSING],
    State.FINISHING: [State.CLOSING, State.FINISHING],
    State.ENDED: [State.CLOSING, State.FINISHING, State.ENDED],
    State.LEAVING: [State.RUNNING, State.CLOSING, State.FINISHING, State.LEAVING],
}


def at(state: State) -> tuple[EngineLock, Lifecycle]:
    lock = EngineLock()
    lifecycle = Lifecycle(lock)
    with lock:
        for each in WAYS[state]:
            lifecycle.move(each)
    assert lifecycle.state is state
    return lock, lifecycle


@pytest.mark.parametrize(("start", "to"), list(product(State, State)))
def test_only_the_moves_of_the_table_are_made(start: State, to: State) -> None:
    """A move of the table is made, the present state is answered, and any other move raises."""
    lock, lifecycle = at(start)
    with lock:
        if to in MOVES[start] or to is start:
            lifecycle.move(to)
        else:
            with pytest.raises(IllegalMoveError, match=f"{start.name} to {to.name}"):
                lifecycle.move(to)
    assert lifecycle.state is (to if to in MOVES[start] else start)


@pytest.mark.parametrize("state", list(State))
def test_the_kept_answers_follow_the_state(state: State) -> None:
    """`accepting` and `stopped` say what the state says."""
    _, lifecycle = at(state)
    assert lifecycle.accepting is (state in (State.NEW, State.RUNNING))
    assert lifecycle.stopped is (state in (State.FINISHING, State.ENDED, State.LEAVING))
    assert lifecycle.over is (state in (State.ENDED, State.LEAVING))


def test_there_is_no_way_back() -> None:
    """From each state one end is reached, and no state is reached again."""
    for state, after in MOVES.items():
        reached = set(after)
        for _ in State:
            reached |= {further for each in reached for further in MOVES[each]}
        assert state not in reached
        assert reached & {State.ENDED, State.LEAVING} or not after


@pytest.mark.parametrize("cause", list(Cause))
def test_the_first_cause_counts_but_for_a_successor(cause: Cause) -> None:
    """Closing again changes no cause, unless a successor takes the records from now on."""
    lock, lifecycle = at(State.RUNNING)
    with lock:
        assert lifecycle.close(cause)
        assert not lifecycle.close(Cause.SHUTDOWN)
        assert lifecycle.cause is cause
        assert not lifecycle.close(Cause.SUCCESSOR)
    assert lifecycle.cause is Cause.SUCCESSOR


@pytest.mark.parametrize(("cause", "end"), [(Cause.SHUTDOWN, State.ENDED), (Cause.EXIT, State.LEAVING)])
def test_the_cause_decides_about_the_end(cause: Cause, end: State) -> None:
    """An engine that the exit closed leaves; one that the application closed has ended."""
    lock, lifecycle = at(State.RUNNING)
    with lock:
        lifecycle.close(cause)
        lifecycle.move(State.FINISHING)
        lifecycle.end()
        lifecycle.end()
    assert lifecycle.state is end


@pytest.mark.parametrize("state", list(State))
def test_a_child_is_new_or_over(state: State) -> None:
    """Forked from an engine that accepts it is new; from any other one nothing more comes of it."""
    _, parent = at(state)
    child = parent.in_child(EngineLock())
    assert child.state is (State.NEW if parent.accepting else State.ENDED)


def test_a_child_of_the_exit_leaves() -> None:
    """What it logs still goes to disk at once, as in its parent."""
    lock, parent = at(State.RUNNING)
    with lock:
        parent.close(Cause.EXIT)
    child = parent.in_child(EngineLock())
    assert (child.state, child.cause) == (State.LEAVING, Cause.EXIT)


def test_a_move_needs_the_lock() -> None:
    """Without it two threads could make two moves at once."""
    lock, lifecycle = at(State.NEW)
    del lock
    with pytest.raises(AssertionError):
        lifecycle.move(State.RUNNING)
