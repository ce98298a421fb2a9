"""What `import banyan_hp` costs beyond `import requests`: fresh interpreters, and what it pulls in."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys

from tests.benchmarks.measure import Metrics
from tests.benchmarks.plan import Case, Measurement, Row, Target

_INTERPRETERS = 15
_TIMED = """
import sys, time
import requests
known = set(sys.modules)
before = time.perf_counter()
{statement}
took = time.perf_counter() - before
import json
print(json.dumps([took, sorted(set(sys.modules) - known)]))
"""
_CLIENT = "from banyan_hp import PromptStackLogger"
_LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \|\s*(\S+)")
# Nothing of these is needed to log, whatever else is: each costs milliseconds.
_UNWANTED = {"sqlite3", "starlette", "uvicorn", "flask", "pydantic", "numpy", "multiprocessing", "unittest"}


def beyond_requests(statement: str = "import banyan_hp") -> Metrics:
    """Medians of fresh interpreters."""
    results = [_import_once(statement) for _ in range(_INTERPRETERS)]
    modules: list[str] = results[0][1]
    return {
        "import_ms": statistics.median(took for took, _ in results) * 1_000,
        "modules": len(modules),
        "own_modules": sum(name.split(".")[0] == "banyan_hp" for name in modules),
        "unwanted_modules": len(_UNWANTED & {name.split(".")[0] for name in modules}),
    }


def breakdown(most: int = 15) -> list[tuple[float, str]]:
    """Milliseconds of their own that the slowest modules take beyond `import requests`, by -X importtime."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", _TIMED.format(statement=_CLIENT)],
        capture_output=True,
        text=True,
        check=True,
    )
    new = set(json.loads(done.stdout)[1])
    lines = (_LINE.match(line) for line in done.stderr.splitlines())
    own = [(int(line[1]) / 1_000, line[3]) for line in lines if line and line[3] in new]
    return sorted(own, reverse=True)[:most]


def _import_once(statement: str) -> tuple[float, list[str]]:
    timed = _TIMED.format(statement=statement)
    done = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True)
    took, modules = json.loads(done.stdout)
    return took, modules


def measure(url: str) -> Metrics:
    """For the runner; nothing here needs a backend."""
    return beyond_requests()


def measure_client(url: str) -> Metrics:
    """The same for the name of a client, which loads what it needs."""
    return beyond_requests(_CLIENT)


def notes() -> str:
    """For the report: where the milliseconds go."""
    lines = [f"  {took:6.2f} ms  {name}" for took, name in breakdown()]
    return "\n".join(["slowest by -X importtime (which itself slows imports), time of their own:", *lines])


MEASUREMENT = Measurement(
    "import",
    f"import banyan_hp beyond import requests (median of {_INTERPRETERS} interpreters each)",
    (Case("banyan_hp", f"{__name__}:measure"), Case("and a client of it", f"{__name__}:measure_client")),
    (
        Row("import_ms", "ms"),
        Row("modules", "modules beyond requests'"),
        Row("own_modules", "of these, its own"),
    ),
    (
        Target("at most 15 ms", "banyan_hp", "import_ms", most=15),
        Target("no server, database or test package", "and a client of it", "unwanted_modules", most=0),
    ),
    seeded=False,
)
