"""`examples/prometheus_app.py` under gunicorn with two workers: metrics add up, for a real Prometheus too."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.scripted import Reply, ScriptedServer
from tests.support.servers import EXAMPLES, Server, free_port, wait_until

MONITORING = EXAMPLES / "monitoring"
START_SECONDS = 30.0


@pytest.fixture
def app(server: ScriptedServer, tmp_path: Path) -> Iterator[Server]:
    """As its first lines say, on a port of the test's own."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--config", str(MONITORING / "gunicorn.conf.py")]
    command += ["--no-control-socket", "--bind", f"127.0.0.1:{port}", "--chdir", str(EXAMPLES)]
    with Server(
        [*command, "prometheus_app:app"],
        tmp_path,
        port=port,
        ready="/healthz",
        BANYAN_API_KEY="psk_local",
        BANYAN_BASE_URL=server.url,
        TMPDIR=str(tmp_path),
    ) as running:
        yield running


def ask(app: Server, number: int) -> set[int]:
    """Ask this many questions; the workers that answered."""
    return {json.loads(app.post("/ask", json.dumps({"question": str(n)})))["worker"] for n in range(number)}


def ask_both(app: Server, *, besides: Iterable[int] = ()) -> tuple[int, set[int]]:
    """Ask until two workers have answered, besides some; how many questions that took, and who they are."""
    asked, workers = 0, set[int]()
    while len(workers) < 2 and asked < 1000:
        workers |= ask(app, 10).difference(besides)
        asked += 10
    assert len(workers) == 2, app.output
    return asked, workers


def scraped(app: Server) -> dict[str, float]:
    """By name and those labels that matter here."""
    return {
        " ".join(
            [sample.name, *(value for label, value in sample.labels.items() if label != "logger")]
        ): sample.value
        for family in text_string_to_metric_families(app.get("/metrics"))
        for sample in family.samples
    }


def wait_for(app: Server, name: str, wanted: float) -> None:
    def is_there() -> bool:
        with suppress(
            AssertionError
        ):  # 500, while prometheus_client can't read a file that is just being made
            return scraped(app).get(name) == wanted
        return False

    wait_until(is_there, START_SECONDS, lambda: f"{name}: {scraped(app)}")


DELIVERED = "banyan_hp_records_total delivered"


def test_workers_add_up_and_a_killed_one_stays_counted(app: Server, server: ScriptedServer) -> None:
    """Whichever answers; also after a worker was killed, and a reload replaced both."""
    asked, workers = ask_both(app)
    wait_for(app, DELIVERED, asked)
    wait_for(app, "banyan_hp_state online", 2)  # the process that only forks has none
    wait_for(app, "banyan_hp_worker_alive", 2)
    wait_for(app, "banyan_hp_records_accepted_total", asked)
    wait_for(app, "banyan_hp_records_dropped_total queue_full", 0)
    os.kill(min(workers), signal.SIGKILL)
    wait_for(app, "banyan_hp_state online", 1)
    wait_for(app, DELIVERED, asked)
    more, workers = ask_both(app)
    app.send(signal.SIGHUP)
    again, _ = ask_both(app, besides=workers)
    wait_for(app, DELIVERED, asked + more + again)
    wait_for(app, "banyan_hp_state online", 2)
    app.stop()
    assert "banyan_hp" not in app.output
    assert len(server.ids()) == asked + more + again


# -- a real Prometheus ---------------------------------------------------------------------------------------


class Prometheus(Server):
    """A Prometheus that scrapes the example every second, with the example's rules made as quick."""

    def __init__(self, directory: Path, target: int) -> None:
        program = shutil.which("prometheus")
        if program is None:
            pytest.skip("prometheus is not installed (Debian: prometheus)")
        config = (MONITORING / "prometheus.yml").read_text("utf-8")
        rules = (MONITORING / "alerts.yml").read_text("utf-8").replace("for: 2m", "for: 2s")
        (directory / "alerts.yml").write_text(rules, "utf-8")
        quick = config.replace("15s", "1s").replace("127.0.0.1:8000", f"127.0.0.1:{target}")
        (directory / "prometheus.yml").write_text(quick, "utf-8")
        port = free_port()
        super().__init__(
            [
                program,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            directory,
            port=port,
            ready="/-/healthy",
        )

    def __enter__(self) -> Prometheus:
        super().__enter__()
        wait_until(self._is_ready, START_SECONDS, lambda: self.output)
        return self

    def _is_ready(self) -> bool:
        with suppress(AssertionError):  # it answers with 503 until it has read its files
            return bool(self.get("/-/ready"))
        return False

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The vector that a query has now."""
        answer = json.loads(self.get(f"/api/v1/query?{urllib.parse.urlencode({'query': query})}"))
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def wait_for(self, query: str, wanted: float) -> None:
        def is_there() -> bool:
            return [float(each["value"][1]) for each in self.ask(query)] == [wanted]

        wait_until(is_there, START_SECONDS, lambda: f"{query}: {self.ask(query)}; wanted {wanted}")


@pytest.mark.soak
def test_a_real_prometheus_sees_what_happens(app: Server, server: ScriptedServer, tmp_path: Path) -> None:
    """Sums of two workers, across a kill; a refused key raises its alert, the backlog goes when it is right.

    Each of the dashboard's queries is answered.
    """
    directory = tmp_path / "prometheus"
    directory.mkdir()
    with Prometheus(directory, app.port) as prometheus:
        asked, workers = ask_both(app)
        prometheus.wait_for('sum(banyan_hp_records_total{outcome="delivered"})', asked)
        prometheus.wait_for('banyan_hp_state{state="online"}', 2)
        os.kill(min(workers), signal.SIGKILL)
        prometheus.wait_for('banyan_hp_state{state="online"}', 1)
        prometheus.wait_for('sum(banyan_hp_records_total{outcome="delivered"})', asked)

        server.handler = lambda _request: Reply(401)
        more, workers = ask_both(app)
        prometheus.wait_for('banyan_hp_state{state="auth_error"}', 2)
        prometheus.wait_for("sum(banyan_hp_records_waiting)", more)
        prometheus.wait_for('count(ALERTS{alertname="BanyanKeyRefused", alertstate="firing"})', 1)
        assert float(prometheus.ask("max(banyan_hp_oldest_record_age_seconds)")[0]["value"][1]) > 0

        server.handler = lambda _request: Reply(200)
        app.send(signal.SIGHUP)  # the new workers take over what is on disk
        again, _ = ask_both(app, besides=workers)
        prometheus.wait_for("sum(banyan_hp_records_waiting)", 0)
        everywhere = 'sum({__name__=~"banyan_hp_(adopted_)?records_total", outcome="delivered"})'
        prometheus.wait_for(everywhere, asked + more + again)
        prometheus.wait_for('count(ALERTS{alertname="BanyanKeyRefused"}) or vector(0)', 0)
        for query in dashboard_queries():
            prometheus.ask(query)
        app.stop()
    assert len(set(server.ids())) == asked + more + again


def dashboard_queries() -> list[str]:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
    queries = [target["expr"] for each in dashboard["panels"] for target in each["targets"]]
    return [query.replace("$__rate_interval", "30s").replace('=~"$', '=~".*|') for query in queries]
