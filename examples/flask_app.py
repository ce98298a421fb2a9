"""Fire and forget in a Flask route, and a health page that shows how the logger is doing.

The middleware puts the request's id, route and user on each record.

pip install flask
export BANYAN_API_KEY=psk_… BANYAN_BASE_URL=http://127.0.0.1:8787
flask --app examples/flask_app.py run
"""

import time

from flask import Flask, Response, jsonify, request

import banyan_hp as banyan
from banyan_hp.integrations.wsgi import WSGIMiddleware

app = Flask(__name__)
app.wsgi_app = WSGIMiddleware(  # type: ignore[method-assign]
    app.wsgi_app, user=lambda environ: environ.get("HTTP_X_USER")
)


def call_a_model(question: str) -> str:
    """Stands in for your model."""
    return question[::-1]


@app.post("/ask")
def ask() -> Response:
    """Answer a question and log it: a few microseconds, whatever state the logging backend is in."""
    question = request.get_json()["question"]
    started = time.perf_counter()
    answer = call_a_model(question)
    banyan.log_prompt(
        input=question,
        output=answer,
        prompt_name="ask",
        duration_ms=(time.perf_counter() - started) * 1000,
    )
    return jsonify(answer=answer)


@app.get("/healthz")
def healthz() -> Response:
    """Always 200: an application should not go out of service because its logger has trouble."""
    return jsonify(status="ok", logging=banyan.health(), stats=banyan.get_stats())
