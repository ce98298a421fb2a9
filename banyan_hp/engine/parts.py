"""The object graph of one engine in one process: made at construction, and again in a forked child."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..logs import show_debug, warn
from ..settings import Settings
from .delivery.attempt import Sender
from .delivery.batch import Delivery
from .delivery.callbacks import Callbacks, Hooks, Notices
from .delivery.final_write import LastWrites
from .delivery.inbox import Inbox
from .delivery.prepare import Preparer
from .delivery.queue import Queue
from .delivery.runner import TaskRunner
from .delivery.scheduler import Scheduler
from .delivery.settlement import DiskAccounts, Settlement
from .delivery.shared import Shared
from .delivery.stepwise import Watchers
from .delivery.waiters import Waiting
from .delivery.worker import Worker
from .destination import Destination
from .http.transport import Transport
from .lifecycle import Lifecycle
from .policy.batch_support import BatchSupport
from .policy.circuit_breaker import CircuitBreaker
from .policy.compression import Compression, may_compress
from .policy.concurrency_limit import ConcurrencyLimit
from .policy.endpoints import Endpoints
from .policy.policies import Policies
from .policy.suspects import Suspects
from .process import exit as process_exit
from .process.fork import may_start_threads
from .records.ledger import Book, Ledger
from .records.record import Epochs
from .spool.layout import Address, destination_directory, spool_bases
from .spool.spool import Spool, SpoolSettings
from .sync import Clock, EngineLock

TransportFactory = Callable[[Destination, Settings], Transport]


class SpoolPlaces:
    """Where an engine keeps records on disk, and where else it may take some from.

    Looked up once: a fork changes nothing about it. `only` is used instead of the destination's own directory
    below the settings' `spool_dir`, and instead of all others.
    """

    def __init__(self, settings: Settings, only: Path | None = None) -> None:
        self.problem: str | None = None  # why there is no place
        self._only = only
        self._bases: tuple[Path, ...] = ()
        if settings.spool and settings.enabled:
            try:
                self._bases = spool_bases(settings.spool_dir)
            except (RuntimeError, OSError, KeyError) as error:
                self.problem = f"no directory for it is known, set spool_dir: {error}"
                warn("spool", "records stay in memory: %s", self.problem)

    def own(self, destination: Destination) -> Path | None:
        """Where records for a destination are kept; None: in memory only."""
        if not self._bases:
            return None
        return self._only or destination_directory(self._bases[0], destination.identity, destination.key)

    def address(self, destination: Destination) -> Address | None:
        """What the directory is to say about itself; None where the caller chose the directory."""
        return None if self._only is not None else Address.of(destination.identity, destination.key)

    def previous(self, destination: Destination, settings: Settings) -> tuple[Path, ...]:
        """Where else records of this destination lie that may leave under its key.

        Those of its previous keys, and all of them in the place where an earlier platformdirs had the spools.
        """
        if self._only is not None:
            return ()
        keys = dict.fromkeys((destination.key, *settings.previous_keys))
        found = [
            destination_directory(base, destination.identity, key) for base in self._bases for key in keys
        ]
        return tuple(dict.fromkeys(found[1:]))  # the first one is its own


class Setup(NamedTuple):
    """What an engine is made from; see `Engine`."""

    destination: Destination
    settings: Settings
    clock: Clock
    make_transport: TransportFactory
    places: SpoolPlaces
    leaves_raw: bool = False


class Parts:
    """All collaborators, wired up. Construction does no I/O and starts no thread.

    Args:
        setup: what they are made from.
        member: stands for this engine at the end of the process.
        parent: its lifecycle, in a forked child.
    """

    def __init__(self, setup: Setup, member: process_exit.Member, parent: Lifecycle | None = None) -> None:
        settings = setup.settings
        if settings.debug:
            show_debug()
        self.setup = setup
        self.member = member
        self.process = os.urandom(8).hex()  # names its records and its segments
        self.lock = EngineLock()
        self.clock = setup.clock
        self.ledger = Ledger(own=Book(self.process))
        self.lifecycle = parent.in_child(self.lock) if parent is not None else Lifecycle(self.lock)
        self.policies = _policies(setup)
        self.breaker = self.policies.breaker
        self.watchers = Watchers()
        shared = Shared(self.lock, self.clock, self.ledger, self.policies, self.watchers)
        self.queue = Queue(settings.queue_size, settings.queue_bytes)
        self.epochs = Epochs()
        self.callbacks = Callbacks(shared, _hooks(settings))
        self.notices = Notices(shared, self.callbacks)
        self.spool = self._make_spool(DiskAccounts(shared, self.notices))
        self.locks = (self.lock, *self.spool.locks) if self.spool is not None else (self.lock,)
        self.settlement = settlement = Settlement(shared, self.notices, self.spool)
        self.scheduler = Scheduler(shared, settings, self.queue, self.spool)
        self.inbox = Inbox(shared, self.queue, self.epochs, self.scheduler.sleepers)
        self.preparer = Preparer(shared, self.callbacks, settlement, settings)
        self.sender = Sender(shared, setup.destination, setup.make_transport(setup.destination, settings))
        self.delivery = Delivery(shared, self.sender, settlement, self.preparer, settings.max_batch_bytes)
        self.last_writes = LastWrites(self.clock, settlement, self.preparer)
        self.runner = TaskRunner(
            shared,
            self.scheduler,
            self.inbox,
            self.delivery,
            self.preparer,
            settlement,
            self.last_writes.final,
        )
        self.worker = Worker(shared, settings, self.scheduler, self.notices, self.runner, may_start_threads)
        self.waiting = Waiting(shared, self.scheduler, settlement, self.worker, lambda: self.lifecycle.over)

    def register(self) -> None:
        """From the first record on, or from a backlog on that is sent, the end of the process ends this."""
        process_exit.register(self.member)
        with self.lock:
            self.lifecycle.begin()

    def defer(self, work: Callable[[], object]) -> None:
        """Leave work to a thread that is not in the middle of something. For a destructor: takes no lock."""
        self.lock.defer(work)
        process_exit.register_in_destructor(self.member)
        self.scheduler.sleepers.disturb()

    @property
    def settings(self) -> Settings:
        return self.setup.settings

    def _make_spool(self, accounts: DiskAccounts) -> Spool | None:
        setup, settings = self.setup, self.setup.settings
        directory = setup.places.own(setup.destination)
        if directory is None:
            return None
        return Spool(
            SpoolSettings(
                directory=directory,
                max_bytes=settings.spool_max_bytes,
                max_age=settings.spool_max_age,
                durable=settings.durability == "disk",
                fsync=settings.fsync,
                address=setup.places.address(setup.destination),
                previous=setup.places.previous(setup.destination, settings),
                leaves_raw=setup.leaves_raw,
            ),
            self.process,
            self.clock,
            accounts,
        )

    def reconfigure(self, destination: Destination, settings: Settings) -> None:
        """Send with other settings, or under a newer key, from now on: also what waits, on disk too."""
        self.setup = setup = self.setup._replace(destination=destination, settings=settings)
        self.sender.reconfigure(destination, setup.make_transport(destination, settings))
        self.delivery.reconfigured()
        directory, address = setup.places.own(destination), setup.places.address(destination)
        if self.spool is not None and directory is not None and address is not None:
            self.spool.reconfigure(directory, address, setup.places.previous(destination, settings))
        self.settlement.bring_back()
        with self.lock:
            self.breaker.hurry(self.clock.monotonic())
            self.policies.endpoints.forget()
            self.scheduler.sleepers.wake_all()

    def reconfigure_callbacks(self, settings: Settings) -> None:
        self.setup = self.setup._replace(settings=settings)
        self.callbacks.hooks = _hooks(settings)


def _hooks(settings: Settings) -> Hooks:
    return Hooks(settings.before_send, settings.on_error, settings.on_drop)


def _policies(setup: Setup) -> Policies:
    settings, destination = setup.settings, setup.destination
    compression = Compression(allowed=may_compress(settings.compression, destination.base_url))
    batching = settings.batching
    if destination.takes_only_batches:
        batching = "always"
        compression.offer(offered=True)
    return Policies(
        CircuitBreaker(settings.max_retries, settings.retry_delay),
        BatchSupport(batching, may_batch=destination.may_batch, compression=compression),
        ConcurrencyLimit(),
        Suspects(settings.max_retries, settings.retry_delay),
        Endpoints(),
    )
