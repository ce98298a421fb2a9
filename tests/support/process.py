"""Python programs as child processes: what ends a process is tested in a process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

FORKS_WITH_THREADS = "ignore:This process:DeprecationWarning"  # Python 3.12+ warns: that is what we test

PRELUDE = """
import os, sys, threading, time
import banyan_hp as banyan
from banyan_hp import PromptStackLogger

def make(**options):
    defaults = {"retry_delay": 0.05, "flush_interval": 0.05, "exit_timeout": 20.0}
    return PromptStackLogger("psk_local", os.environ["URL"], **{**defaults, **options})

def leave():
    with open(os.environ["LEFT_AT"], "w") as file: file.write(repr(time.monotonic()))
"""


_ON_DISK = re.compile(r"^(banyan_hp: (\d+) records? (?:is|are) on disk; .*)\n", re.MULTILINE)


@dataclass(frozen=True)
class Finished:
    """How a program ended.

    Attributes:
        stderr: without the line about records on disk.
        exit_seconds: since the program said `leave()`; infinite if it didn't.
        on_disk: how many records that line says are on disk; 0 without one.
        exit_lines: how many such lines there are: one for each process at most.
        left: the last such line.
    """

    status: int
    stdout: str
    stderr: str
    exit_seconds: float
    on_disk: int = 0
    exit_lines: int = 0
    left: str = ""

    @property
    def others(self) -> str:
        """What is on stderr beside our lines."""
        return "".join(
            line for line in self.stderr.splitlines(keepends=True) if not line.startswith("banyan_hp: ")
        )


def run_python(
    program: str, *, url: str, timeout: float = 120, before: str = "", **environment: str
) -> Finished:
    """Run a program, with `make()` for a logger against `url`, to its end.

    `before` runs before the library is imported. `leave()` in the program says that its end begins.
    """
    with tempfile.TemporaryDirectory() as directory:
        left_at = Path(directory, "left_at")
        finished = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(before) + PRELUDE + textwrap.dedent(program)],
            env={
                **os.environ,
                "PYTHONWARNINGS": FORKS_WITH_THREADS,
                "URL": url,
                "LEFT_AT": str(left_at),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        over = time.monotonic()  # which counts the same in all processes
        exit_seconds = over - float(left_at.read_text()) if left_at.exists() else float("inf")
    said = _ON_DISK.findall(finished.stderr)
    stderr = _ON_DISK.sub("", finished.stderr)
    return Finished(
        finished.returncode,
        finished.stdout,
        stderr,
        exit_seconds,
        on_disk=sum(int(count) for _, count in said),
        exit_lines=len(said),
        left=said[-1][0] if said else "",
    )
