#!/usr/bin/env bash
# httpx-sse 0.4.3 with a server that gives its events ids and keeps the line open by comments (": ping", blank line).
#
# The HTML standard dispatches no event when the data buffer is empty: the comment and its blank line are no event,
# nor is an id alone (it only moves the last event id). httpx-sse tells "nothing was sent" by whether the event's
# name, its data and the last id are all empty, and the last id stays. So from the first event with an id on, each
# blank line that follows a comment or an id alone is given to the caller as an event of type "message" with empty
# data, and sse.json() of it raises JSONDecodeError. Before the first id, or without ids, the same lines give none.
#
# Seen: the events of one stream without ids, then of the same stream with an id at its first event, then of one
# with an id alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet httpx-sse==0.4.3 httpx==0.28.1
"$folder/venv/bin/python" - >"$folder/seen" <<'PY'
import httpx
import httpx_sse

STREAMS = {
    "without ids": b': ping\n\ndata: {"n": 1}\n\n: ping\n\ndata: {"n": 2}\n\n',
    "with an id": b': ping\n\nid: 7\ndata: {"n": 1}\n\n: ping\n\ndata: {"n": 2}\n\n',
    "an id alone": b'id: 8\n\ndata: {"n": 1}\n\n',
}
for name, body in STREAMS.items():
    response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=httpx.ByteStream(body))
    print(name, [(event.event, event.data, event.id) for event in httpx_sse.EventSource(response).iter_sse()])
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
without ids [('message', '{"n": 1}', ''), ('message', '{"n": 2}', '')]
with an id [('message', '{"n": 1}', '7'), ('message', '', '7'), ('message', '{"n": 2}', '7')]
an id alone [('message', '', '8'), ('message', '{"n": 1}', '8')]
SEEN
