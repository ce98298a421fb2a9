"""First use: importing the library, and the first record, beyond `import requests`; fresh interpreters.

`ms` is time, for a machine at rest. `CPU ms` is the calling thread's CPU time, the least of all interpreters:
what can be compared on a busy one, too.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys

from tests.benchmarks.measure import Metrics
from tests.benchmarks.plan import Case, Measurement, Row, Target

_INTERPRETERS = 15
# Left by os._exit: nobody listens, and delivering at the exit is not what is measured.
_TIMED = """
import sys, time
import requests
known = set(sys.modules)
cpu, before = time.thread_time(), time.perf_counter()
{statement}
took, used = time.perf_counter() - before, time.thread_time() - cpu
modules = sorted(set(sys.modules) - known)
import json, os
print(json.dumps([took, used, modules]), flush=True)
sys.stderr.flush()
os._exit(0)
"""
_PACKAGE = "import banyan_hp"
_CLIENT = "from banyan_hp import PromptStackLogger"
_FIRST_RECORD = f"""{_CLIENT}
logger = PromptStackLogger(api_key="psk_bench", base_url="http://127.0.0.1:9")
assert logger.log_prompt(input="question", output="answer", metadata={{"user_id": "u1"}})
"""
_LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \|\s*(\S+)")
# Nothing of these is needed to log, whatever else is: each costs milliseconds.
_UNWANTED = {"sqlite3", "starlette", "uvicorn", "flask", "pydantic", "numpy", "multiprocessing", "unittest"}


def beyond_requests(statement: str = _PACKAGE) -> Metrics:
    """Of fresh interpreters."""
    results = [_run_once(statement) for _ in range(_INTERPRETERS)]
    modules: list[str] = results[0][2]
    return {
        "import_ms": statistics.median(took for took, _, _ in results) * 1_000,
        "cpu_ms": min(used for _, used, _ in results) * 1_000,
        "modules": len(modules),
        "own_modules": sum(name.split(".")[0] == "banyan_hp" for name in modules),
        "unwanted_modules": len(_UNWANTED & {name.split(".")[0] for name in modules}),
    }


def breakdown() -> tuple[list[tuple[float, str]], list[tuple[float, str]]]:
    """Milliseconds of their own of requests' modules, and of those for the first record beyond them."""
    timed = _TIMED.format(statement=_FIRST_RECORD)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", timed], capture_output=True, text=True, check=True
    )
    lines = [found for line in done.stderr.splitlines() if (found := _LINE.match(line))]
    own = [(int(line[1]) / 1_000, line[3]) for line in lines]
    end = next(number for number, (_, name) in enumerate(own, 1) if name == "requests")
    new = set(json.loads(done.stdout)[2])
    return sorted(own[:end], reverse=True), sorted([each for each in own if each[1] in new], reverse=True)


def _run_once(statement: str) -> tuple[float, float, list[str]]:
    timed = _TIMED.format(statement=statement)
    done = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True)
    took, used, modules = json.loads(done.stdout)
    return took, used, modules


def measure(url: str) -> Metrics:
    """For the runner; nothing here needs a backend."""
    return beyond_requests()


def measure_client(url: str) -> Metrics:
    """The same for the name of a client, which loads what it needs."""
    return beyond_requests(_CLIENT)


def measure_first_record(url: str) -> Metrics:
    """The same for all that a process pays for its first record."""
    return beyond_requests(_FIRST_RECORD)


def notes(most: int = 15) -> str:
    """For the report: where the milliseconds go."""
    first, ours = breakdown()
    return "\n\n".join(
        [
            "By -X importtime, which itself slows imports: ms of a module's own, the slowest.",
            _slowest("`import requests`, with Python's own start", first, most),
            _slowest("the first record beyond it", ours, most),
        ]
    )


def _slowest(title: str, own: list[tuple[float, str]], most: int) -> str:
    total = sum(took for took, _ in own)
    rows = [f"| {took:.2f} | {name} |" for took, name in own[:most]]
    return "\n".join([f"| {total:.1f} | {title}: {len(own)} modules |", "|---|---|", *rows])


MEASUREMENT = Measurement(
    "import",
    f"first use beyond import requests ({_INTERPRETERS} interpreters each)",
    (
        Case("import banyan_hp", f"{__name__}:measure"),
        Case("import a client", f"{__name__}:measure_client"),
        Case("and the first log_prompt", f"{__name__}:measure_first_record"),
    ),
    (
        Row("import_ms", "ms"),
        Row("cpu_ms", "CPU ms"),
        Row("modules", "modules beyond requests'"),
        Row("own_modules", "of these, its own"),
    ),
    (
        Target("import banyan_hp in 15 ms", "import banyan_hp", "import_ms", most=15),
        Target("first use in 20 ms", "and the first log_prompt", "import_ms", most=20),
        Target("no server, database or test package", "and the first log_prompt", "unwanted_modules", most=0),
    ),
    seeded=False,
)
