#!/usr/bin/env bash
# agentops 0.4.21 with opentelemetry-exporter-otlp-proto-http 1.45.2, which `pip install agentops` brings today.
#
# No span leaves: its exporter reads an attribute that OpenTelemetry's has no more, and reports the error in the log of
# its own. The application goes on, and init() and end_trace() return as if all were well.
#
# Seen: how many requests the collector got, and the line in the log.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet agentops==0.4.21 opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2
cd "$folder"
"$folder/venv/bin/python" - >"$folder/seen" 2>"$folder/log" <<'PY'
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import agentops

paths = []


class Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        paths.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
agentops.init(api_key="any", endpoint=url, exporter_endpoint=f"{url}/v1/traces", auto_start_session=False)
trace = agentops.start_trace("checkout")
agentops.end_trace(trace, "Success")
print("requests with spans:", paths.count("/v1/traces"))
PY
grep -o "Unexpected error during span export: .*_headers'" "$folder/log" | sort -u >>"$folder/seen"
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
requests with spans: 0
Unexpected error during span export: 'AuthenticatedOTLPExporter' object has no attribute '_headers'
SEEN
