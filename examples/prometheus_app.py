"""Metrics for Prometheus, right with one process and with several gunicorn workers.

pip install flask gunicorn prometheus_client
export BANYAN_API_KEY=psk_… BANYAN_BASE_URL=http://127.0.0.1:8787
gunicorn --config examples/monitoring/gunicorn.conf.py --chdir examples prometheus_app:app

Prometheus' side is in `examples/monitoring`: what to scrape, alerts with their tests, a Grafana dashboard.
"""

import os

from flask import Flask, Response, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

import banyan_hp as banyan
from banyan_hp.integrations.prometheus import BanyanMetrics

app = Flask(__name__)
BanyanMetrics()  # of the default logger


@app.post("/ask")
def ask() -> Response:
    """Answer a question and log it."""
    question = request.get_json()["question"]
    answer = question[::-1]  # stands in for your model
    banyan.log_prompt(input=question, output=answer, prompt_name="ask")
    return jsonify(answer=answer, worker=os.getpid())


@app.get("/metrics")
def metrics() -> Response:
    """What Prometheus scrapes: of all workers, whichever answers."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


@app.get("/healthz")
def healthz() -> Response:
    """For a load balancer."""
    return jsonify(status="ok")
