#!/usr/bin/env bash
# langwatch 1.4.0 with openai 3.57.0: autotrack_openai_calls() and with_raw_response.
#
# A call through `with_raw_response`, which is how response headers (rate limits, request ids) are read, raises
# AttributeError into the application, after the model has answered: the answer is taken for a parsed one. Without
# LangWatch the same call returns.
#
# Seen: the same call before and after the client is tracked.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet langwatch==1.4.0 openai==3.57.0
"$folder/venv/bin/python" - >"$folder/seen" 2>"$folder/log" <<'PY'
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import langwatch
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


def ask(client):
    messages = [{"role": "user", "content": "The capital of France?"}]
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=messages)
    return raw.parse().choices[0].message.content


print("before:", ask(OpenAI(api_key="any", base_url=url, max_retries=0)))
langwatch.setup(api_key="any", endpoint_url="http://127.0.0.1:9")
client = OpenAI(api_key="any", base_url=url, max_retries=0)
with langwatch.trace() as trace:
    trace.autotrack_openai_calls(client)
    try:
        print("after:", ask(client))
    except AttributeError as error:
        print("after:", error)
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
before: Paris.
after: 'LegacyAPIResponse' object has no attribute 'choices'
SEEN
