#!/usr/bin/env bash
# FastAPI 0.165.0, routes included by include_router(router, prefix="/v1"), and what request.scope["route"] says.
#
# A metric or a trace is named after the route's template, scope["route"].path, as it is Starlette's way. For an HTTP
# route it lacks every prefix given to include_router, so /v1/items/{item} and /v2/items/{item} are both the template
# /items/{item}, which is no path of the application at all (it answers 404). A prefix given to APIRouter is there, and
# for a WebSocket route of the same router the prefix of include_router is there, too. The whole template of the HTTP
# route is only in scope["fastapi"]["effective_route_context"].path.
#
# Seen, one line per request: its path, its answer, the template by scope["route"], the one by the context (-: none).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet fastapi==0.165.0
"$folder/venv/bin/python" - >"$folder/seen" <<'PY'
import asyncio

from fastapi import APIRouter, FastAPI, WebSocket

router = APIRouter()


@router.get("/items/{item}")
def read(item: int):
    return item


@router.websocket("/feed/{item}")
async def feed(socket: WebSocket, item: int):
    await socket.accept()
    await socket.close()


own = APIRouter(prefix="/own")
own.get("/items/{item}")(read)
app = FastAPI()
app.include_router(router, prefix="/v1")
app.include_router(router, prefix="/v2")
app.include_router(own)


async def ask(kind, path):
    scope = {"type": kind, "path": path, "query_string": b"", "headers": []}
    scope |= {"method": "GET"} if kind == "http" else {"subprotocols": []}
    sent = []

    async def receive():
        return {"type": "http.request"} if kind == "http" else {"type": "websocket.connect"}

    async def send(message):
        sent.append(message.get("status", message["type"]))

    await app(scope, receive, send)
    context = scope.get("fastapi", {}).get("effective_route_context")
    route = scope.get("route")
    print(path, sent[0], getattr(route, "path", "-"), getattr(context, "path", "") or "-")


for kind, path in (
    ("http", "/v1/items/1"),
    ("http", "/v2/items/1"),
    ("http", "/items/1"),
    ("http", "/own/items/1"),
    ("websocket", "/v1/feed/1"),
):
    asyncio.run(ask(kind, path))
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
/v1/items/1 200 /items/{item} /v1/items/{item}
/v2/items/1 200 /items/{item} /v2/items/{item}
/items/1 404 - -
/own/items/1 200 /own/items/{item} /own/items/{item}
/v1/feed/1 websocket.accept /v1/feed/{item} -
SEEN
