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
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        base = {"id": "chatcmpl-1", "created": 1, "model": "gpt-4o-mini"}
        if asked.get("stream"):
            chunk = {"index": 0, "finish_reason": None}
            pieces = [[{**chunk, "delta": {"role": "assistant", "content": text}}] for text in ("Paris", " it is", ".")]
            chunks = [{**base, "object": "chat.completion.chunk", "choices": piece} for piece in pieces]
            body = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in chunks) + b"data: [DONE]\n\n"
        else:
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Paris."}}
            usage = {"prompt_tokens": 31, "completion_tokens": 17, "total_tokens": 48}
            body = json.dumps({**base, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if asked.get("stream") else "application/json")
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
