#!/usr/bin/env bash
# openinference-instrumentation-openai-agents 2.6.0 with openai-agents 0.24.0 and an answer of the Responses API.
#
# The answer's message has its text twice: in parts (message.contents.N.message_content.text) and once more, the parts
# joined by line ends, as one text (message.content). The messages of its input have one form or the other: the same
# answer among the next turn's input messages is in parts only. A reader that takes both forms, as
# either may be missing, shows or counts answers twice, and the same message differs between output and next input.
#
# Seen: the answer in the first turn's output messages; then the same answer in the second turn's input messages.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet openinference-instrumentation-openai-agents==2.6.0 openai-agents==0.24.0 openai==3.57.0 opentelemetry-sdk==1.45.2
"$folder/venv/bin/python" - >"$folder/seen" 2>"$folder/log" <<'PY'
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from agents import Agent, OpenAIResponsesModel, Runner
from openai import AsyncOpenAI
from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Model(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        parts = [{"type": "output_text", "text": text, "annotations": []} for text in ("Sunny.", "No rain.")]
        message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": parts}
        response = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "output": [message]}
        response |= {"model": "gpt-4o-mini", "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
        body = json.dumps(response).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
threading.Thread(target=server.serve_forever, daemon=True).start()
spans, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
OpenAIAgentsInstrumentor().instrument(tracer_provider=provider)
client = AsyncOpenAI(api_key="any", base_url=f"http://127.0.0.1:{server.server_port}/v1")
agent = Agent(name="Weather", model=OpenAIResponsesModel("gpt-4o-mini", client))
first = Runner.run_sync(agent, "Weather?")
Runner.run_sync(agent, first.to_input_list() + [{"role": "user", "content": "Sure?"}])
turns = [span.attributes for span in spans.get_finished_spans() if "llm.model_name" in span.attributes]
for turn, kind in zip(turns, ("llm.output_messages.", "llm.input_messages.")):
    for name, value in sorted(turn.items()):
        if name.startswith(kind) and value in ("Sunny.", "No rain.", "Sunny.\nNo rain."):
            print(name, repr(value))
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
llm.output_messages.0.message.content 'Sunny.\nNo rain.'
llm.output_messages.0.message.contents.0.message_content.text 'Sunny.'
llm.output_messages.0.message.contents.1.message_content.text 'No rain.'
llm.input_messages.2.message.contents.0.message_content.text 'Sunny.'
llm.input_messages.2.message.contents.1.message_content.text 'No rain.'
SEEN
