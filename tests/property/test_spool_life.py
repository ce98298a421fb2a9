"""Applications that share one on-disk queue: crashes, rotated keys, purges, and a sum that agrees."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from banyan_hp.engine.http.transport import Request
from banyan_hp.engine.records.ledger import Term
from banyan_hp.engine.spool import writer as module
from tests.support.clock import FakeClock
from tests.support.stepped import Answer, FakeBackend, SteppedEngine, down, failing, json_answer

ENDS = (Term.DELIVERED, Term.QUARANTINED, Term.DROPPED)
PROCESSES = st.integers(0, 1)


class Lives(RuleBasedStateMachine):
    """Two processes, one directory, a backend with moods and a list of good keys.

    Every record that was accepted is delivered once, or counted as quarantined or dropped, or was in the
    memory of a process that crashed. With `durability="disk"` a crash loses nothing.
    """

    @initialize(durable=st.booleans(), cap=st.sampled_from([64 * 1024, 4 * 1024 * 1024]))
    def start(self, *, durable: bool, cap: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="banyan-hp-lives-"))
        self.segment_bytes, module.SEGMENT_BYTES = module.SEGMENT_BYTES, 3_000
        self.clock = FakeClock()
        self.backend = FakeBackend()
        self.backend.refuses = lambda body: str(body["input"]).startswith("bad")
        self.issued, self.key, self.good = 0, "psk_0", {"psk_0"}
        self.purged = False
        self.mood: Any = self.backend.well
        self.backend.behaviour = self.checking_keys
        self.options: dict[str, Any] = {
            "durability": "disk" if durable else "memory",
            "max_retries": 0,
            "queue_size": 12,
            "batch_size": 4,
            "spool_max_bytes": cap,
        }
        self.accepted = 0
        self.ended = dict.fromkeys(ENDS, 0)
        self.lost_in_crashes = 0
        self.engines = [self.new_engine(), self.new_engine()]

    def checking_keys(self, request: Request) -> Answer:
        if request.headers.get("X-API-Key") not in self.good:
            return json_answer(401, {"error": "no such key"})
        answer: Answer = self.mood(request)
        return answer

    def new_engine(self) -> SteppedEngine:
        previous = [f"psk_{number}" for number in range(self.issued)]
        return SteppedEngine(
            self.backend, self.clock, self.folder, key=self.key, previous_keys=previous, **self.options
        )

    @rule(who=PROCESSES, count=st.integers(1, 8), kind=st.sampled_from(["good", "good", "bad"]))
    def submit(self, who: int, count: int, kind: str) -> None:
        for _ in range(count):
            assert self.engines[who].log(kind + "x" * 300) is not None

    @rule(who=PROCESSES, steps=st.integers(1, 12))
    def work(self, who: int, steps: int) -> None:
        self.engines[who].run(steps)

    @rule(seconds=st.floats(0.1, 100))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-86_400.0, 86_400.0]))
    def clock_jumps(self, seconds: float) -> None:
        self.clock.set_wall(self.clock.wall() + seconds)

    @rule(mood=st.sampled_from(["well", "well", "down", "500", "400", "404"]))
    def backend_changes(self, mood: str) -> None:
        self.mood = {"well": self.backend.well, "down": down}.get(mood) or failing(int(mood))

    @rule(who=PROCESSES)
    def flush(self, who: int) -> None:
        self.engines[who].flush(5)

    @rule(who=PROCESSES)
    def restart(self, who: int) -> None:
        engine = self.engines[who]
        engine.shutdown(2)
        assert not engine.ledger.own[Term.QUEUED] + engine.ledger.own[Term.IN_FLIGHT]
        self.close_books(engine)
        self.engines[who] = self.new_engine()

    @rule(who=PROCESSES)
    def crash(self, who: int) -> None:
        engine = self.engines[who]
        own = engine.ledger.own
        in_memory = [*engine.queue.records]
        with engine.lock:
            in_memory += engine.scheduler.retries.records()
        in_memory += [record for record in engine.scheduler.backlog.fetched if record.book is own]
        lost = sum(record.place is None or record.place.segment.gone for record in in_memory)
        durable = self.options["durability"] == "disk"
        assert not lost or not durable or not self.disk_was_well(engine)
        self.lost_in_crashes += lost
        assert engine.spool is not None
        engine.spool.abandon()
        self.close_books(engine)
        self.engines[who] = self.new_engine()

    def disk_was_well(self, engine: SteppedEngine) -> bool:
        """Nothing was deleted, and the cap never left a record in memory."""
        return not self.purged and not engine.ledger.own.drops and self.options["spool_max_bytes"] > 1_000_000

    @rule()
    def rotate_the_key(self) -> None:
        """A new key is issued and the old one revoked.

        From their next start processes have the new one, and the old ones as `previous_keys`.
        """
        self.issued += 1
        self.key = f"psk_{self.issued}"
        self.good = {self.key}

    @rule()
    def purge(self) -> None:
        """Somebody deletes segments under living processes."""
        self.purged = True
        for path in self.folder.rglob("*.v1.jsonl"):
            if path.name[0].isdigit():
                path.unlink()
        for engine in self.engines:
            assert engine.spool is not None
            engine.spool.look_again()

    @invariant()
    def the_books_balance(self) -> None:
        for engine in self.engines:
            assert engine.ledger.own.balanced(), engine.ledger.own.counts
            assert engine.ledger.adopted.balanced(), engine.ledger.adopted.counts

    def close_books(self, engine: SteppedEngine) -> None:
        self.accepted += engine.ledger.own.accepted
        for book in (engine.ledger.own, engine.ledger.adopted):
            for term in ENDS:
                self.ended[term] += book[term]

    def teardown(self) -> None:
        try:
            self.end()
        finally:
            module.SEGMENT_BYTES = self.segment_bytes
            shutil.rmtree(self.folder)

    def end(self) -> None:
        """Everybody leaves, the backend is well, and a last process has all the time it needs."""
        self.mood = self.backend.well
        for engine in self.engines:
            engine.shutdown(5)
            self.close_books(engine)
        last = self.new_engine()
        for _ in range(300):
            last.log("good")
            last.flush(100)
            last.run(20)
            self.clock.advance(70)
            if not self.left():
                break
        last.shutdown(50)
        self.close_books(last)
        assert not self.left(), self.left()
        unseen = self.accepted - sum(self.ended.values()) - self.lost_in_crashes
        assert unseen == 0 or (self.purged and unseen > 0), (self.accepted, self.ended, self.lost_in_crashes)
        assert self.ended[Term.DELIVERED] == len(self.backend.taken)
        assert max(self.backend.taken.values(), default=1) == 1

    def left(self) -> list[Path]:
        segments = [path for path in self.folder.rglob("*.v1.jsonl") if path.name[0].isdigit()]
        return [path for path in segments if path.stat().st_size]


Lives.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestLives = Lives.TestCase
