"""The ledger holds whatever happens, and every accepted record ends where it says."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from banyan_hp.engine.records.ledger import Term
from tests.support.clock import FakeClock
from tests.support.stepped import FakeBackend, SteppedEngine, down, failing

BEHAVIOURS = ["well", "down", "500", "401", "404", "400", "429", "html"]


class Life(RuleBasedStateMachine):
    """An application that logs, a backend with moods, restarts, and an end at which the sums must agree."""

    @initialize(
        batches=st.booleans(),
        spool=st.booleans(),
        overflow=st.sampled_from(["spill", "drop_oldest", "drop_newest"]),
        durable=st.booleans(),
        retries=st.integers(0, 2),
    )
    def start(self, *, batches: bool, spool: bool, overflow: str, durable: bool, retries: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="banyan-hp-ledger-"))
        self.clock = FakeClock()
        self.backend = FakeBackend(batches=batches)
        self.backend.refuses = lambda body: str(body["input"]).startswith("bad")
        self.options: dict[str, Any] = {
            "overflow": overflow,
            "durability": "disk" if durable and spool else "memory",
            "max_retries": retries,
            "queue_size": 20,
            "batch_size": 5,
            "spool_max_bytes": 64 * 1024,
        }
        self.spool_dir = self.folder if spool else None
        self.accepted = 0
        self.ended = {"delivered": 0, "quarantined": 0, "dropped": 0}
        self.restart()

    def restart(self) -> None:
        self.engine = SteppedEngine(self.backend, self.clock, self.spool_dir, **self.options)

    @rule(
        count=st.integers(1, 15), kind=st.sampled_from(["good", "bad"]), length=st.sampled_from([5, 5, 3000])
    )
    def log(self, count: int, kind: str, length: int) -> None:
        for _ in range(count):
            assert self.engine.log(kind + "x" * length) is not None

    @rule(steps=st.integers(1, 10))
    def work(self, steps: int) -> None:
        self.engine.run(steps)

    @rule(seconds=st.floats(0.01, 100))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(mood=st.sampled_from(BEHAVIOURS))
    def backend_changes(self, mood: str) -> None:
        moods = {"well": self.backend.well, "down": down, "429": failing(429, **{"retry-after": "3"})}
        self.backend.behaviour = moods.get(mood) or failing(
            200 if mood == "html" else int(mood), **({"content-type": "text/html"} if mood == "html" else {})
        )

    @rule(timeout=st.floats(0, 20))
    def flush(self, timeout: float) -> None:
        began = self.clock.monotonic()
        result = self.engine.flush(timeout)
        assert self.clock.monotonic() - began <= timeout + 0.001
        if result:
            own = self.engine.ledger.own
            assert not own[Term.QUEUED] + own[Term.IN_FLIGHT] + own[Term.SPOOLED]

    @rule(timeout=st.floats(0, 5))
    def shut_down_and_restart(self, timeout: float) -> None:
        began = self.clock.monotonic()
        result = self.engine.shutdown(timeout)
        assert self.clock.monotonic() - began <= timeout + 0.3
        own = self.engine.ledger.own
        assert not own[Term.QUEUED] + own[Term.IN_FLIGHT]
        assert bool(result) <= (own[Term.SPOOLED] == 0)
        assert self.engine.log() is None
        self.close_books()
        self.restart()

    def still_to_come(self) -> int:
        books = (self.engine.ledger.own, self.engine.ledger.adopted)
        terms = (Term.QUEUED, Term.IN_FLIGHT, Term.SPOOLED)
        on_disk = self.engine.spool is not None and self.engine.spool.backlog
        return on_disk + sum(book[term] for book in books for term in terms)

    def close_books(self) -> None:
        for book in (self.engine.ledger.own, self.engine.ledger.adopted):
            for term in ("delivered", "quarantined", "dropped"):
                self.ended[term] += book[Term(term)]
        self.accepted += self.engine.ledger.own.accepted

    @invariant()
    def the_books_balance(self) -> None:
        assert self.engine.ledger.own.balanced(), self.engine.ledger.own.counts
        assert self.engine.ledger.adopted.balanced(), self.engine.ledger.adopted.counts

    @invariant()
    def memory_is_bounded(self) -> None:
        own = self.engine.ledger.own
        assert own[Term.QUEUED] <= 20 + 5

    def teardown(self) -> None:
        """The backend is well at last: all that was accepted was delivered once, or is counted."""
        try:
            self.end()
        finally:
            shutil.rmtree(self.folder)

    def end(self) -> None:
        self.backend.behaviour = self.backend.well
        for _ in range(500):
            self.engine.log("good")  # else a backend that refuses all there is would count as broken
            self.engine.flush(200)
            self.clock.advance(70)
            self.engine.run(10)
            if not self.still_to_come():
                break
        self.engine.shutdown(200)
        self.close_books()
        assert self.accepted == sum(self.ended.values()), (self.accepted, self.ended)
        assert self.ended["delivered"] == len(self.backend.taken)
        assert max(self.backend.taken.values(), default=1) == 1


Life.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestLedger = Life.TestCase
