#!/usr/bin/env bash
# opentelemetry-instrumentation-langchain 0.62.4 (OpenLLMetry) with langchain-core 1.8.3: a chat model asked for the
# same answer whole (invoke) and in pieces (stream).
#
# The whole answer's message in gen_ai.output.messages has the role "assistant". The streamed one has the role
# "unknown": a streamed message is an AIMessageChunk, whose type is the class's name, and only "ai" is known. A reader
# that looks for the assistant's messages finds no answer in streamed calls.
#
# Seen: the two spans' output messages.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet opentelemetry-instrumentation-langchain==0.62.4 langchain-core==1.8.3 opentelemetry-sdk==1.45.2
"$folder/venv/bin/python" - >"$folder/seen" <<'PY'
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from opentelemetry.instrumentation.langchain import LangchainInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
LangchainInstrumentor().instrument(tracer_provider=provider)
model = GenericFakeChatModel(messages=iter([AIMessage("Good day"), AIMessage("Good day")]))
model.invoke("hello")
list(model.stream("hello"))
for name, span in zip(("invoke", "stream"), spans.get_finished_spans(), strict=True):
    print(name, span.attributes["gen_ai.output.messages"])
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
invoke [{"role": "assistant", "parts": [{"type": "text", "content": "Good day"}], "finish_reason": ""}]
stream [{"role": "unknown", "parts": [{"type": "text", "content": "Good day"}], "finish_reason": ""}]
SEEN
