"""One call of one function in a process of its own: nothing is warm before it, nothing left behind.

`call()` is the parent's end. The child (`python -m tests.benchmarks.calls`) reads the call from standard
input and prints what the function returned as its last line. It stays on this machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from tests.benchmarks import loopback
from tests.benchmarks.adapters import find
from tests.benchmarks.sink import ROOT

Metrics = dict[str, float]


class CallError(Exception):
    """The function did not return metrics; the message says why."""


def call(
    function: str,
    arguments: Mapping[str, Any],
    *,
    hide: Sequence[str] = (),
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    timeout: float = 120.0,
) -> Metrics:
    """Call `module:function` with keyword arguments, where the modules in `hide` can't be imported.

    `prefix` is what stands before the command; `environment` are variables of its own.

    Raises:
        CallError: it raised, took longer than `timeout` seconds, or something reached for another machine.
    """
    request = json.dumps({"function": function, "arguments": dict(arguments), "hide": list(hide)})
    with tempfile.TemporaryDirectory(prefix="banyan-hp-bench-") as spool:
        try:
            done = subprocess.run(
                [*prefix, sys.executable, "-m", "tests.benchmarks.calls"],
                cwd=ROOT,
                env={**_environment(), **(environment or {}), "BANYAN_HP_SPOOL_DIR": spool},
                input=request,
                capture_output=True,
                text=True,
                check=True,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as error:
            raise CallError(f"not done within {timeout:g} s") from error
        except subprocess.CalledProcessError as error:
            raise CallError(_last_line(error.stderr)) from error  # the end of its traceback
    metrics: Metrics = json.loads(done.stdout.splitlines()[-1])
    return metrics


def _environment() -> dict[str, str]:
    """The caller's, without what configures one of the systems, and with the network closed."""
    ours = ("BANYAN", "OTEL_", "LANGSMITH_", "LANGCHAIN_", "LANGFUSE_", "SENTRY_", "POSTHOG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # or imports would be compiled each time
    return {**kept, **loopback.ENVIRONMENT}


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "failed without a word"


def main() -> None:
    request = json.loads(sys.stdin.read())
    for name in request["hide"]:
        sys.modules[name] = None  # type: ignore[assignment]  # Python's own way to say: not importable
    loopback.confine()
    metrics = find(request["function"])(**request["arguments"])
    if loopback.attempts:
        raise SystemExit(f"reached for another machine: {', '.join(sorted(set(loopback.attempts)))}")
    print(json.dumps(metrics), flush=True)


if __name__ == "__main__":
    main()
