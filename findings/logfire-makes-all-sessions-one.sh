#!/usr/bin/env bash
# logfire 5.4.0 as the sender of spans to another backend (send_to_logfire=False): the sessions' ids.
#
# The scrubber takes "session" for a secret's name, in an attribute's name and in its value. OpenTelemetry's own
# attribute session.id (an id that groups, no secret) so has the same text in each span, also in spans made by the
# OpenTelemetry API alone, and a backend that groups by it shows all conversations of all users as one. An id under a
# harmless name goes too if its value has the word; a value under gen_ai.conversation.id or user.id stays.
# The way out is logfire.configure(scrubbing=False) or a callback that lets the name pass.
#
# Seen: one line per conversation: the ids as they were set, then as they were exported; then the same unscrubbed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet logfire==5.4.0 opentelemetry-sdk==1.45.2
cat >"$folder/run.py" <<'PY'
import sys

import logfire
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans = InMemorySpanExporter()
options = {"scrubbing": False} if "unscrubbed" in sys.argv else {}
processors = [SimpleSpanProcessor(spans)]
logfire.configure(send_to_logfire=False, console=False, additional_span_processors=processors, **options)
for number in (1, 2):
    ids = {
        "session.id": f"a-{number}",
        "group_id": f"session-{number}",
        "gen_ai.conversation.id": f"c-{number}",
        "user.id": f"u-{number}",
    }
    with trace.get_tracer("app").start_as_current_span("turn", attributes=ids):
        pass
    exported = spans.get_finished_spans()[-1].attributes
    print(*ids.values(), "->", *(exported[name] for name in ids))
PY
cd "$folder"
(venv/bin/python run.py && venv/bin/python run.py unscrubbed) >seen
cat seen
diff seen - <<'SEEN'
a-1 session-1 c-1 u-1 -> [Scrubbed due to 'session'] [Scrubbed due to 'session'] c-1 u-1
a-2 session-2 c-2 u-2 -> [Scrubbed due to 'session'] [Scrubbed due to 'session'] c-2 u-2
a-1 session-1 c-1 u-1 -> a-1 session-1 c-1 u-1
a-2 session-2 c-2 u-2 -> a-2 session-2 c-2 u-2
SEEN
