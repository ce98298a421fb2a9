"""One process of the application under test: `python -m tests.support.chaos.worker <file with its orders>`.

Says by a byte when it is ready, and begins when its input ends. Runs the steps of its plan, and journals each
call before and after it. Its last act, behind the library's own `atexit` function, is to journal the stats of
all its loggers: without that line it did not end in good order.

With `"drain": true` it runs no steps: it makes a logger for each tenant and waits until the spool is empty.
"""

from __future__ import annotations

import atexit
import errno
import importlib
import itertools
import json
import os
import random
import re
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.chaos.journal import Journal
from tests.support.chaos.plan import TENANTS

if TYPE_CHECKING:
    from banyan_hp import PromptStackLogger

_DRAIN_SECONDS = 30.0
_SEGMENT = re.compile(r"/\d{13}-[^/]*\.jsonl$")
_CLOSING_SECONDS = 5.0
_LATE_PAUSE = 0.0002
_LATE_THREADS = 3


class Worker:
    """The process's loggers and threads, and its orders."""

    def __init__(self, orders: dict[str, Any], journal: Journal) -> None:
        self.orders = orders
        self.journal = journal
        self._numbers = itertools.count()
        self._lengths = random.Random(orders["number"])
        self._made: list[PromptStackLogger] = []
        self._names: dict[int, int] = {}  # a logger's place in `loggers`, by its number in `_made`
        self.loggers: list[int] = []
        self._threads: list[threading.Thread] = []
        self._children: list[int] = []
        self._forked = False
        self._late = False  # threads go on logging to the very end

    # -- loggers ----------------------------------------------------------------------------------------

    def make(self, options: dict[str, Any]) -> int:
        """Make a logger; returns its number, which the journal calls it by."""
        from banyan_hp import PromptStackLogger

        rest = dict(options)
        name = rest.pop("tenant")
        tenant = next(each for each in TENANTS if each.name == name)
        number = len(self._made)
        self.journal.write("logger", logger=number, tenant=tenant.name, options=rest)
        self._made.append(
            PromptStackLogger(
                tenant.key,
                self.orders["urls"][tenant.server],
                project_id=tenant.project,
                spool_dir=self.orders["spool"],
                **rest,
            )
        )
        return number

    def log(self, number: int) -> None:
        logger, tenant = self._made[number], self._tenant_of(number)
        ident = f"{os.getpid()}.{next(self._numbers)}"
        self.journal.write("about", id=ident, logger=number)
        try:
            accepted = logger.log_prompt(f"{ident} {tenant}", "x" * self._lengths.randrange(300), metadata={})
        except Exception as error:  # noqa: BLE001 - whatever it is, it should not be
            self.journal.write("raised", id=ident, logger=number, error=repr(error))
            return
        self.journal.write("said", id=ident, logger=number, accepted=accepted, **self._not_durable(number))

    def _tenant_of(self, number: int) -> str:
        return str(self.orders["loggers"][self._names[number]]["tenant"])

    def _not_durable(self, number: int) -> dict[str, int]:
        """What the logger itself says that it could not write to disk; read only where the disk fills up."""
        if self.orders["disk"] == "well" or self._options(number)["durability"] != "disk":
            return {}
        return {"not_durable": self._made[number].get_stats().get("logs_not_durable", 0)}

    def _options(self, number: int) -> dict[str, Any]:
        options: dict[str, Any] = self.orders["loggers"][self._names[number]]
        return options

    def _new(self, place: int) -> int:
        self._names[len(self._made)] = place
        return self.make(self._options(len(self._made)))

    # -- steps ------------------------------------------------------------------------------------------

    def run(self) -> None:
        self.loggers = [self._new(place) for place in range(len(self.orders["loggers"]))]
        for kind, *arguments in self.orders["steps"]:
            getattr(self, f"_do_{kind}")(*arguments)
        for thread in self._threads:
            thread.join()
        for pid in self._children:
            os.waitpid(pid, 0)
        self._end(self.orders["ending"])

    def _do_log(self, place: int, count: int, pause: float) -> None:
        for _ in range(count):
            self.log(self.loggers[place])
            time.sleep(pause)

    def _do_sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def _do_flush(self, place: int, timeout: float) -> None:
        number = self.loggers[place]
        began = time.monotonic()
        result = self._made[number].flush(timeout)
        self.journal.write("flush", logger=number, began=began, delivered=bool(result))

    def _do_thread(self, place: int, count: int, pause: float) -> None:
        thread = threading.Thread(target=self._do_log, args=(place, count, pause))
        thread.start()
        self._threads.append(thread)

    def _do_renew(self, place: int, timeout: float) -> None:
        self._shut_down(self.loggers[place], timeout)
        self.loggers[place] = self._new(place)

    def _do_fork(self, place: int, count: int, ending: str) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._children.append(pid)
            return
        self.journal.write("begins", parent=parent)
        self._threads, self._children, self._forked = [], [], True
        self._do_log(place, count, 0.001)
        self._end(ending)
        if ending == "shutdown":
            self.final()
            os._exit(0)
        sys.exit(0)

    def _shut_down(self, number: int, timeout: float) -> None:
        self.journal.write("ending", logger=number, timeout=timeout)
        self._made[number].shutdown(timeout)
        self.journal.write("ended", logger=number)

    def _end(self, ending: str) -> None:
        if ending == "shutdown":
            for number in self.loggers:
                self._shut_down(number, 2.0)
        elif ending == "late":
            self._late = True
            for _ in range(_LATE_THREADS):
                threading.Thread(target=self._log_until_the_end, daemon=True).start()
            time.sleep(0.02)  # a few records come before the end
        self.leaving()

    def _log_until_the_end(self) -> None:
        for number in itertools.cycle(self.loggers):
            self.log(number)
            time.sleep(_LATE_PAUSE)

    def leaving(self) -> None:
        timeout = max(options["exit_timeout"] for options in self.orders["loggers"])
        self.journal.write("ending", logger=None, timeout=timeout)

    def final(self) -> None:
        """What the loggers say at the very end."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number, logger in enumerate(self._made):
            self.journal.write("stats", logger=number, stats=logger.get_stats())
        held = [] if self._late else self._left_open()
        self.journal.write("final", open=held)

    def _left_open(self) -> list[str]:
        return _segments_left_open_below(self.orders["spool"], forked=self._forked)

    # -- draining ---------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Wait until nothing is left in the spool; at last everything must have gone somewhere."""
        for tenant in TENANTS:
            number = self.make({"tenant": tenant.name, "retry_delay": 0.05, "flush_interval": 0.05})
            self._made[number].log_prompt(f"drain {tenant.name}", "the one that starts the worker")
        for logger in self._made:
            logger.flush(10)
        deadline = time.monotonic() + _DRAIN_SECONDS
        while self._segments() and time.monotonic() < deadline:
            time.sleep(0.02)
        for logger in self._made:
            logger.shutdown(5)

    def _segments(self) -> list[Path]:
        return [path for path in Path(self.orders["spool"]).rglob("*.v1.jsonl") if path.name[0].isdigit()]


def set_constants(constants: dict[str, float]) -> None:
    """A constant that is no longer there is an error: the plan would not mean what it says."""
    for path, value in constants.items():
        module_name, _, name = f"banyan_hp.{path}".rpartition(".")
        module = importlib.import_module(module_name)
        getattr(module, name)
        setattr(module, name, value)


def fake_full_disk(flag: str, spool: str) -> None:
    """While the file `flag` is there, no write to a file below `spool` finds room."""
    write = os.write

    def checked_write(fd: int, content: Any, /) -> int:
        if os.path.exists(flag) and _path_of(fd).startswith(spool):  # noqa: PTH110 - on each write
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, content)

    os.write = checked_write


def _segments_left_open_below(directory: str, *, forked: bool) -> list[str]:
    """What a thread was just taking over it closes in a moment, as no exit waits for it."""
    deadline = time.monotonic() + _CLOSING_SECONDS
    while (held := _segments_open_below(directory, forked=forked)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return held


def _segments_open_below(directory: str, *, forked: bool) -> list[str]:
    """A forked child may have copied one that is never locked, and has no way to know of it."""
    numbers = [int(each.name) for each in Path("/proc/self/fd").iterdir()]
    paths = {number: _path_of(number) for number in numbers}
    held = {n: path for n, path in paths.items() if path.startswith(directory) and _SEGMENT.search(path)}
    return [path for number, path in held.items() if not forked or _is_locked(number)]


def _is_locked(fd: int) -> bool:
    """Whether this open file holds a lock."""
    try:
        return "\nlock:" in Path(f"/proc/self/fdinfo/{fd}").read_text()
    except FileNotFoundError:
        return False


def _path_of(fd: int) -> str:
    try:
        return str(Path(f"/proc/self/fd/{fd}").readlink())
    except OSError:
        return ""


def main() -> None:
    orders = json.loads(Path(sys.argv[1]).read_text())
    journal = Journal(Path(orders["journal"]))
    journal.write("begins", parent=None)
    worker = Worker(orders, journal)
    atexit.register(worker.final)  # before the library registers its own: the last to be called

    import banyan_hp
    from banyan_hp.engine.http import addresses

    connect = addresses.open_socket  # each connection passes it, and only there its port is known

    def connected(*args: Any) -> socket.socket:
        sock = connect(*args)
        journal.write("connected", port=sock.getsockname()[1])
        return sock

    addresses.open_socket = connected  # type: ignore[assignment]
    set_constants(orders["constants"])
    if orders["disk"] == "fake":
        fake_full_disk(orders["full"], orders["spool"])
    os.write(1, b".")
    os.read(0, 1)  # until it is its turn
    if orders["handles_sigterm"]:
        banyan_hp.install_signal_handlers()
    try:
        worker.drain() if orders["drain"] else worker.run()
    except KeyboardInterrupt:
        worker.leaving()
    except SystemExit:
        worker.leaving()
        raise
    except Exception:  # noqa: BLE001 - a fault of this script must show
        journal.write("crashed", error=traceback.format_exc())


if __name__ == "__main__":
    main()
