#!/usr/bin/env bash
# Django 5.2.19 under ASGI: a client leaves while a StreamingHttpResponse of an async generator is sent to it.
#
# If the generator waits for its next piece at that moment, it is cancelled there (asyncio.CancelledError, as the
# documentation says), and its "finally" has run before the application's call returns. If the server's send() waits
# instead (a client that reads slowly, then leaves), the generator stands at its yield and nothing closes it: Django
# closes its own wrapper around it, not the generator. It is kept by a cycle of references (the handler's traceback),
# and its "finally" runs with GeneratorExit, in a task of its own, once the garbage collector comes by, with no bound in
# time: until then a lock, a connection or a trace's span that the generator opened stays open.
#
# Seen, for both: what happened in the generator and around it, in order, with the collector called by hand.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet Django==5.2.19
"$folder/venv/bin/python" - >"$folder/seen" <<'PY'
import asyncio
import gc
import sys

from django.conf import settings

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="any", MIDDLEWARE=[])
from django.core.asgi import get_asgi_application
from django.http import StreamingHttpResponse
from django.urls import path

happened = []


async def pieces():
    try:
        yield b"first"
        yield b"second"
        await asyncio.Event().wait()
    finally:
        happened.append(f"finally by {sys.exc_info()[0].__name__}")


async def view(request):
    return StreamingHttpResponse(pieces())


urlpatterns = [path("", view)]


async def leave(application, at):
    requests, left = [{"type": "http.request"}], asyncio.Event()
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}

    async def receive():
        if requests:
            return requests.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message.get("body") == b"second":
            left.set()
            if at == "send":
                await asyncio.Event().wait()

    await application(scope, receive, send)
    happened.append("call returned")
    await asyncio.sleep(1)
    happened.append("collector called")
    gc.collect()
    await asyncio.sleep(0.1)
    print(f"left while {at} waits:", ", ".join(happened))
    happened.clear()


gc.disable()
application = get_asgi_application()
for at in ("generator", "send"):
    asyncio.run(leave(application, at))
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
left while generator waits: finally by CancelledError, call returned, collector called
left while send waits: call returned, collector called, finally by GeneratorExit
SEEN
