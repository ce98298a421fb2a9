#!/usr/bin/env bash
# honeyhive 1.7.0, which exports spans as OTLP/JSON.
#
# Kinds and statuses are names (SPAN_KIND_INTERNAL), and the parent of a span without one is null. The specification of
# OTLP/JSON allows numbers only for enums ("OTLP/HTTP", "JSON Protobuf Encoding"), and ids are hex texts: receivers that keep
# to it refuse these requests with 400.
#
# Seen: fields of one span as it was sent.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet honeyhive==1.7.0 opentelemetry-sdk==1.45.2
SEEN="$folder/seen" "$folder/venv/bin/python" - >"$folder/log" 2>&1 <<'PY'
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from honeyhive import HoneyHiveTracer

bodies = []


class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/v1/traces"):
            bodies.append((self.headers["Content-Type"], json.loads(body)))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
tracer = HoneyHiveTracer.init(api_key="any", project="any", server_url=url, disable_batch=True)
with tracer.start_span("checkout"):
    pass
tracer.flush()
kind, body = bodies[0]
span = body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
with open(os.environ["SEEN"], "w") as seen:
    print(kind, *(f"{name}={json.dumps(span[name])}" for name in ("kind", "status", "parentSpanId")), sep="\n", file=seen)
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
application/json
kind="SPAN_KIND_INTERNAL"
status={"code": "STATUS_CODE_UNSET"}
parentSpanId=null
SEEN
