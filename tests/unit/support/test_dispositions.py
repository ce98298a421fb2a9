"""Tests do not depend on what a shell lets its background jobs ignore."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
IGNORED = "(signal.getsignal(each) is signal.SIG_IGN for each in (signal.SIGINT, signal.SIGQUIT))"
CHILD = f"import signal; print(*{IGNORED})"
RUN = f"import subprocess, sys, tests.conftest; subprocess.run([sys.executable, '-c', {CHILD!r}], check=True)"


def test_the_tests_children_hear_ctrl_c_in_a_background_run() -> None:
    """`nohup make test &` ignores SIGINT and SIGQUIT, and all that is started there would inherit that."""
    ignoring = ["sh", "-c", 'trap "" INT QUIT; exec "$@"', "sh", sys.executable, "-c"]
    inherited = subprocess.run([*ignoring, CHILD], capture_output=True, text=True, check=True)
    assert inherited.stdout == "True True\n"
    ran = subprocess.run([*ignoring, RUN], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "False False\n"
