#!/usr/bin/env bash
# litellm 1.110.2's OpenTelemetry callback, with an answer that is two tool calls and no text.
#
# gen_ai.output.messages has the answer with empty parts. The calls are only in gen_ai.completion.N.function_call.*,
# without their ids, and N, elsewhere the answer's index, counts the calls: the second call reads as that of a second
# answer, which there is none of. In gen_ai.input.messages, when the same message is sent back, both calls are there
# with their ids, as OpenAI's "tool_calls" beside the empty parts.
#
# Seen: the span's output messages and completion attributes; then the sent-back answer in the next input messages.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet litellm==1.110.2 opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2
LITELLM_LOCAL_MODEL_COST_MAP=True "$folder/venv/bin/python" - >"$folder/seen" 2>"$folder/log" <<'PY'
import json
import time

import litellm
from litellm.integrations.opentelemetry import OpenTelemetry, OpenTelemetryConfig
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans = InMemorySpanExporter()
litellm.callbacks = [OpenTelemetry(config=OpenTelemetryConfig(exporter=spans))]
calls = [
    {"id": f"call_{city}", "type": "function", "function": {"name": "weather", "arguments": f'{{"city": "{city}"}}'}}
    for city in ("Oslo", "Rome")
]
answer = {"role": "assistant", "content": None, "tool_calls": calls}
question = {"role": "user", "content": "Oslo or Rome?"}


def span_of(*messages):
    spans.clear()
    mock = litellm.ModelResponse(choices=[{"index": 0, "finish_reason": "tool_calls", "message": answer}])
    litellm.completion(model="gpt-4o-mini", messages=list(messages), mock_response=mock)
    for _ in range(300):
        for span in spans.get_finished_spans():
            if span.name == "litellm_request":
                return span.attributes
        time.sleep(0.1)
    raise TimeoutError("no span")


first = span_of(question)
for name in sorted(first):
    if name == "gen_ai.output.messages" or name.startswith("gen_ai.completion."):
        print(name, first[name])
print(json.loads(span_of(question, answer)["gen_ai.input.messages"])[1])
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
gen_ai.completion.0.function_call.arguments {"city": "Oslo"}
gen_ai.completion.0.function_call.name weather
gen_ai.completion.1.function_call.arguments {"city": "Rome"}
gen_ai.completion.1.function_call.name weather
gen_ai.output.messages [{"role": "assistant", "parts": [], "finish_reason": "tool_calls"}]
{'role': 'assistant', 'parts': [], 'tool_calls': [{'id': 'call_Oslo', 'type': 'function', 'function': {'name': 'weather', 'arguments': '{"city": "Oslo"}'}}, {'id': 'call_Rome', 'type': 'function', 'function': {'name': 'weather', 'arguments': '{"city": "Rome"}'}}]}
SEEN
