"""What a user would pick instead: one adapter a file, each in its natural API, close to its defaults.

Every adapter's docstring says what it batches, compresses and bounds, and where it leaves the default: only
the address, and the bound of the queue, which must hold a burst, or the peer would drop records by design.
The HuggingPlace SDK is missing: it is published as source only, not on PyPI.
"""

from __future__ import annotations

from tests.benchmarks.adapters import System
from tests.benchmarks.sink import Mode

BANYAN_SDK = System(
    "banyan-sdk", f"{__name__}.banyan_sdk:BanyanSdk", Mode(one_by_one=True), burst_records=1_000
)
OPENTELEMETRY = System("OpenTelemetry logs", f"{__name__}.opentelemetry:OpenTelemetry", burst_records=10_000)
OPENTELEMETRY_SPANS = System(
    "OpenTelemetry spans", f"{__name__}.opentelemetry_spans:OpenTelemetrySpans", burst_records=10_000
)
LIBHONEY = System("libhoney", f"{__name__}.libhoney:Libhoney", burst_records=10_000)
LANGSMITH = System("LangSmith", f"{__name__}.langsmith:LangSmith", burst_records=10_000)
SEGMENT = System("Segment", f"{__name__}.segment:Segment", burst_records=10_000)
POSTHOG = System("PostHog", f"{__name__}.posthog:PostHog", burst_records=10_000)
SENTRY = System("Sentry logs", f"{__name__}.sentry:Sentry", burst_records=10_000)
LANGFUSE = System("Langfuse", f"{__name__}.langfuse:Langfuse", burst_records=4_000)

PEERS = (BANYAN_SDK, OPENTELEMETRY, LIBHONEY, LANGSMITH, SEGMENT, POSTHOG, SENTRY, LANGFUSE)
QUEUE_RECORDS = 50_000
DISTRIBUTIONS = (
    "banyan-sdk",
    "opentelemetry-sdk",
    "libhoney",
    "langsmith",
    "segment-analytics-python",
    "posthog",
    "sentry-sdk",
    "langfuse",
)
