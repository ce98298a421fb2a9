#!/usr/bin/env bash
# langtrace-python-sdk 3.8.21 with openai 3.57.0: a conversation in which the model has called a tool.
#
# In the recorded prompt of the next request, the message of the assistant with its tool calls, a dict as the API
# documents it, has become a list with an empty id and type: role, name of the tool and arguments are lost.
#
# Seen: the messages that were sent, then those that were recorded.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet langtrace-python-sdk==3.8.21 openai==3.57.0 importlib_metadata==10.2.0 opentelemetry-sdk==1.45.2
SEEN="$folder/seen" "$folder/venv/bin/python" - >"$folder/log" 2>&1 <<'PY'
import os

os.environ["LANGTRACE_ERROR_REPORTING"] = "False"
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from langtrace_python_sdk import langtrace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans = InMemorySpanExporter()
langtrace.init(api_key="any", custom_remote_exporter=spans, batch=False)
from openai import OpenAI


class Model(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Paris."}}
        answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini"}
        body = json.dumps({**answer, "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/v1"
function = {"name": "weather", "arguments": json.dumps({"city": "Paris"})}
messages = [
    {"role": "user", "content": "The weather in Paris?"},
    {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]},
    {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"},
]
OpenAI(api_key="any", base_url=url, max_retries=0).chat.completions.create(model="gpt-4o-mini", messages=messages)
(span,) = spans.get_finished_spans()
with open(os.environ["SEEN"], "w") as seen:
    print(json.dumps(messages[1]), file=seen)
    print(json.dumps(json.loads(span.events[0].attributes["gen_ai.prompt"])[1]), file=seen)
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
{"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Paris\"}"}}]}
[{"id": "", "type": ""}]
SEEN
