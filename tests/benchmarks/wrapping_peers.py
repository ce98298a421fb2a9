"""What the OpenAI wrappers of other systems cost the caller, beside ours: for `wrapping.py --peers`.

python -m tests.benchmarks.wrapping_peers NAME URL ROUNDS

One process measures one system, since some of them patch the classes of the SDK: first the plain client, then
the recorded one, in the same way for all. What they send goes to a sink on the loopback interface. Prints, as
JSON, for each case the least CPU of the calling thread, plain and recorded, in microseconds.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from importlib.metadata import version
from typing import Any, NamedTuple

from tests.benchmarks.loopback import ENVIRONMENT, confine
from tests.benchmarks.sink import ROOT, Mode, Sink
from tests.benchmarks.wrapping import CALLS_A_ROUND, CASES, PATIENT, Case, least_cpu

OPENAI_CASES = [name for name in CASES if not name.startswith("messages")]


class Recorder(NamedTuple):
    """A system that records a client: how it takes a client over, and sends what waits.

    Attributes:
        around: what its calls are made in.
    """

    take_over: Callable[[Any], Any]
    flush: Callable[[], object]
    around: Callable[[], AbstractContextManager[Any]] = nullcontext


def _ours(url: str) -> Recorder:
    from banyan_hp import PromptStackLogger

    logger = PromptStackLogger("psk_bench", url, **PATIENT)
    return Recorder(logger.wrap_openai, logger.flush)


def _langfuse(url: str) -> Recorder:
    """Imported instead of `openai`, it patches the classes of the SDK."""
    from langfuse import Langfuse

    import_module("langfuse.openai")

    client = Langfuse(public_key="pk-lf-bench", secret_key="sk-lf-bench", base_url=url)
    return Recorder(_as_it_is, client.flush)


def _langsmith(url: str) -> Recorder:
    import langsmith
    from langsmith.wrappers import wrap_openai

    os.environ["LANGSMITH_TRACING"] = "true"
    client = langsmith.Client(api_url=url, api_key="bench")
    return Recorder(lambda each: wrap_openai(each, tracing_extra={"client": client}), client.flush)


def _sentry(url: str) -> Recorder:
    """With prompts and all traces; its spans need a transaction around them."""
    import sentry_sdk
    from sentry_sdk.integrations.openai import OpenAIIntegration

    sentry_sdk.init(
        dsn=url.replace("://", "://bench@") + "/1",
        traces_sample_rate=1.0,
        send_default_pii=True,
        auto_enabling_integrations=False,
        default_integrations=False,
        integrations=[OpenAIIntegration()],
    )
    return Recorder(_as_it_is, sentry_sdk.flush, lambda: sentry_sdk.start_transaction(name="bench"))


def _openinference(url: str) -> Recorder:
    from openinference.instrumentation.openai import OpenAIInstrumentor
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{url}/v1/traces")))
    OpenAIInstrumentor().instrument(tracer_provider=provider)
    return Recorder(_as_it_is, provider.force_flush)


def _as_it_is(client: Any) -> Any:
    return client


RECORDERS: dict[str, tuple[str, Callable[[str], Recorder]]] = {
    "banyan_hp": ("banyan-hp", _ours),
    "Langfuse": ("langfuse", _langfuse),
    "LangSmith": ("langsmith", _langsmith),
    "Sentry": ("sentry-sdk", _sentry),
    "OpenInference": ("openinference-instrumentation-openai", _openinference),
}


def _least(case: Case, client: Any, recorder: Recorder | None, rounds: int) -> float:
    times = CALLS_A_ROUND // 10 if case.chunks else CALLS_A_ROUND
    least = float("inf")
    for _ in range(rounds):
        with recorder.around() if recorder else nullcontext():
            least = min(least, least_cpu(lambda: case.call(client), times))
        if recorder:
            recorder.flush()
    return least


def measured(name: str, url: str, rounds: int) -> dict[str, tuple[float, float]]:
    """Of one system, in this process."""
    gc.disable()
    cases = {each: CASES[each] for each in OPENAI_CASES}
    plain = {each: _least(case, case.make(), None, rounds) for each, case in cases.items()}
    recorder = RECORDERS[name][1](url)
    return {
        each: (plain[each], _least(case, recorder.take_over(case.make()), recorder, rounds))
        for each, case in cases.items()
    }


def in_turns(rounds: int, turns: int = 3) -> dict[str, dict[str, tuple[float, float]]]:
    """Of all systems, each in a process of its own, in turns.

    Each figure is the least of all turns. A system that is not installed, or fails, is left out and named.
    """
    least: dict[str, dict[str, tuple[float, float]]] = {}
    with Sink(Mode(gzip=True)) as sink:
        for _ in range(turns):
            for name in RECORDERS:
                for each, (plain, recorded) in _in_a_process(name, sink.url, rounds).items():
                    before = least.setdefault(name, {}).get(each, (plain, recorded))
                    least[name][each] = (min(plain, before[0]), min(recorded, before[1]))
    return least


def report(rounds: int) -> None:
    """Measure, and print a table of Markdown."""
    least = in_turns(rounds)
    print("| beyond the plain client, µs of CPU |", " | ".join(OPENAI_CASES), "|")
    print("|" + "---|" * (len(OPENAI_CASES) + 1))
    for name, cases in least.items():
        cells = [f"{recorded - plain:.0f}" for plain, recorded in map(cases.__getitem__, OPENAI_CASES)]
        print(f"| {name} {version(RECORDERS[name][0])} |", " | ".join(cells), "|")


def _in_a_process(name: str, url: str, rounds: int) -> dict[str, tuple[float, float]]:
    command = [sys.executable, "-m", __name__, name, url, str(rounds)]
    environment = {**os.environ, **ENVIRONMENT}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["?"])[-1]
        print(f"{name}: not measured: {last}", file=sys.stderr)
        return {}
    found: dict[str, tuple[float, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: Sequence[str]) -> None:
    name, url, rounds = arguments
    confine()
    print("\n" + json.dumps(measured(name, url, int(rounds))))


if __name__ == "__main__":
    main(sys.argv[1:])
