#!/usr/bin/env bash
# langtrace-python-sdk 3.8.21 with openai 3.57.0: a stream without usage, on a machine that only reaches the model.
#
# Langtrace counts the tokens of a stream itself, at its first chunk, with tiktoken, which downloads its vocabulary from
# the internet. Where that fails, as behind a firewall, the error is raised into the application out of the loop over
# the stream: without Langtrace, the same loop ends well. (langtrace needs importlib_metadata, which it does not ask for.)
#
# Seen: the stream before langtrace.init(), and after it, with a proxy that nothing listens at in place of the firewall.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet langtrace-python-sdk==3.8.21 openai==3.57.0 importlib_metadata==10.2.0 opentelemetry-sdk==1.45.2
SEEN="$folder/seen" "$folder/venv/bin/python" - >"$folder/log" 2>&1 <<'PY'
import os

os.environ |= {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1", "LANGTRACE_ERROR_REPORTING": "False"}
os.environ["TIKTOKEN_CACHE_DIR"] = ""
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests
from openai import OpenAI
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


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
messages = [{"role": "user", "content": "The capital of France?"}]


def ask():
    client = OpenAI(api_key="any", base_url=url, max_retries=0)
    stream = client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True)
    return "".join(chunk.choices[0].delta.content for chunk in stream)


seen = [f"before: {ask()}"]
from langtrace_python_sdk import langtrace

langtrace.init(api_key="any", custom_remote_exporter=InMemorySpanExporter(), batch=False)
try:
    seen.append(f"after: {ask()}")
except requests.exceptions.ConnectionError as error:
    seen.append(f"after: {type(error).__name__} for {error.request.url.rpartition(chr(47))[2]}")
print(*seen, sep="\n", file=open(os.environ["SEEN"], "w"))
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
before: Paris it is.
after: ProxyError for cl100k_base.tiktoken
SEEN
