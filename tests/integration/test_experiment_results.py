"""An experiment from its start to its result, through real processes and an outage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "experiment_results.py"


@pytest.mark.timeout(600)
def test_the_example_names_the_winner() -> None:
    """30 % against 40 % of 5,000 users; scores come late, in any order and through an outage, each once."""
    run = subprocess.run(
        [sys.executable, str(EXAMPLE)], capture_output=True, text=True, timeout=500, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert "the backend is gone; it comes back in 2 s" in lines
    assert any(line.startswith("1.1 wins on thumbs: ") for line in lines)
    assert lines[-1] == "5,000 scores of 5,000 users"
