"""HuggingPlace in an async web application: fire and forget in one route, awaited in another.

The middleware puts the request's id and route on each record, and flushes when the server shuts down.

pip install fastapi uvicorn
export HUGGINGPLACE_API_KEY=… HUGGINGPLACE_ORG_ID=… HUGGINGPLACE_BASE_URL=http://127.0.0.1:8787
uvicorn --app-dir examples fastapi_app:app
"""

import time
from typing import Any

from fastapi import FastAPI, HTTPException

from banyan_hp import HuggingPlace, HuggingPlaceSDKError
from banyan_hp.integrations.asgi import ASGIMiddleware
from banyan_hp.types import Log

huggingplace = HuggingPlace()
app = FastAPI()
app.add_middleware(ASGIMiddleware, logger=huggingplace, flush_timeout=10)


def call_a_model(question: str) -> str:
    """Stands in for your model."""
    return question[::-1]


def interaction(question: str) -> Log:
    started = time.perf_counter()
    answer = call_a_model(question)
    return {
        "user_prompt": question,
        "response": answer,
        "llm_model": "example-model",
        "response_time": time.perf_counter() - started,
    }


@app.post("/ask")
async def ask(question: str) -> dict[str, str]:
    """The answer does not wait for its log."""
    record = interaction(question)
    huggingplace.log(record)
    return {"answer": record["response"]}


@app.post("/ask-audited")
async def ask_audited(question: str) -> dict[str, str]:
    """No answer without its log: awaiting costs a round trip, and blocks neither the loop nor a thread."""
    record = interaction(question)
    try:
        await huggingplace.log(record)
    except HuggingPlaceSDKError as error:
        if not error.spooled:  # on disk is good enough for us: it will be sent
            raise HTTPException(503, "can't answer: the audit log is not available") from error
    return {"answer": record["response"]}


@app.get("/healthz")
async def healthz() -> dict[str, Any]:
    """Always 200: an application should not go out of service because its logger has trouble."""
    return {"status": "ok", "logging": huggingplace.health(), "stats": huggingplace.get_stats()}
