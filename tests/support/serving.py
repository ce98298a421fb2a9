"""`banyan-hp serve` as a user starts it: any arguments, any directory; what it prints is read as it comes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.patience import PATIENCE

READY_SECONDS = END_SECONDS = PATIENCE
_URL = re.compile(r"^banyan-hp local backend on (\S+)$", re.MULTILINE)


@dataclass
class Serving:
    """A running `serve`."""

    process: subprocess.Popen[str]
    errors: Path
    printed: str = ""
    _grown: threading.Condition = field(default_factory=threading.Condition)
    _ended: bool = False

    @property
    def url(self) -> str:
        """The base URL that it printed."""
        found = _URL.search(self.printed)
        assert found is not None, (self.printed, self.stderr)
        return found[1]

    @property
    def stderr(self) -> str:
        return self.errors.read_text("utf-8", "replace")

    def wait_for(self, text: str) -> str:
        """All that it printed, once this text is there."""
        with self._grown:
            there = self._grown.wait_for(lambda: text in self.printed or self._ended, READY_SECONDS)
        assert there and text in self.printed, (self.printed, self.stderr)
        return self.printed

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """End it in good order and return its exit code."""
        self.process.send_signal(signum)
        return self.process.wait(END_SECONDS)

    def read(self) -> None:
        """Take in what it prints until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._grown:
                self.printed += line
                self._grown.notify_all()
        with self._grown:
            self._ended = True
            self._grown.notify_all()


@contextmanager
def serving(
    *arguments: str, cwd: Path, command: Sequence[str] = (sys.executable, "-m", "banyan_hp"), **env: str
) -> Iterator[Serving]:
    """Run `serve` with these arguments until the end of the block."""
    errors = cwd.with_name(cwd.name + ".stderr")
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [*command, "serve", *arguments],
            cwd=cwd, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=stderr, text=True,
        )  # fmt: skip
    running = Serving(process, errors)
    reader = threading.Thread(target=running.read, daemon=True)
    reader.start()
    try:
        yield running
    finally:
        process.kill()
        process.wait(END_SECONDS)
        reader.join(END_SECONDS)
        if process.stdout is not None:
            process.stdout.close()
