"""An ASGI application without a lifespan that logs one record a request, as `server_app` does for WSGI.

/log?run=r&number=1   logs, answers with the process id
/healthz              answers with the process id
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from banyan_hp import PromptStackLogger

logger = PromptStackLogger(flush_interval=30)


async def application(
    scope: dict[str, Any], _receive: object, send: Callable[[dict[str, Any]], Awaitable[None]]
) -> None:
    assert scope["type"] == "http"
    if scope["path"] == "/log":
        query = parse_qs(scope["query_string"].decode())
        assert logger.log_prompt(f"{query['run'][0]} {query['number'][0]}", "a")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
