#!/usr/bin/env bash
# clickhouse-connect 1.12.0 behind a proxy that answers a POST with a page of its own and status 200 (a login, "under
# maintenance").
#
# insert() and command() return as if ClickHouse had done it: nothing checks that the response is ClickHouse's, which
# would have X-ClickHouse-Query-Id. What was to be inserted is lost without an error. The query id of the summary, which is empty, is
# the only sign.
#
# Seen: what insert() and command() return.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet clickhouse-connect==1.12.0
"$folder/venv/bin/python" - >"$folder/seen" 2>"$folder/log" <<'PY'
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import clickhouse_connect
from clickhouse_connect.datatypes.registry import get_from_name

answers = [b"26.9.2.1\tUTC\n", b""]  # its version and settings, as the client asks for them when it connects


class Proxy(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = answers.pop(0) if answers else b"<html>Back at noon</html>\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = clickhouse_connect.get_client(host="127.0.0.1", port=server.server_port)
types = [get_from_name("String")]
print("insert:", client.insert("calls", [["a"]], column_names=["id"], column_types=types).summary)
print("command:", client.command("DELETE FROM calls WHERE id = 'a'"))
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
insert: {'query_id': ''}
command: <html>Back at noon</html>
SEEN
