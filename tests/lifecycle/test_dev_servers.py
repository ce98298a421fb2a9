"""Flask's development server with its reloader, and uvicorn with one or several workers."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

from tests.support.backend import Backend
from tests.support.patience import PATIENCE
from tests.support.servers import (
    EXAMPLES,
    Arrivals,
    Server,
    assert_quiet,
    flask_with_reloader,
    free_port,
    spooled_numbers,
    uvicorn,
    wait_until,
)
from tests.support.timing import assert_in_time

EXIT_SECONDS = 8.0


def ask(server: Server, run: str, number: int) -> None:
    server.post("/ask", json.dumps({"question": f"{run} {number}"}))


def logged_in_this_life(server: Server) -> int | None:
    """None while it restarts."""
    try:
        return int(json.loads(server.get("/healthz"))["stats"]["logs_queued"])
    except OSError:
        return None


def test_the_records_of_both_lives_arrive_when_flask_reloads(arrivals: Arrivals, tmp_path: Path) -> None:
    """An edit restarts the server while records linger; Ctrl-C ends it while others do."""
    app = tmp_path / "flask_app.py"
    shutil.copy(EXAMPLES / "flask_app.py", app)
    with flask_with_reloader(tmp_path, app) as server:
        for number in range(10):
            ask(server, arrivals.run, number)
        assert logged_in_this_life(server) == 10
        app.write_text(app.read_text("utf-8") + "\n# edited\n", "utf-8")
        wait_until(lambda: logged_in_this_life(server) == 0, PATIENCE, lambda: server.output)
        for number in range(10, 20):
            ask(server, arrivals.run, number)
        server.send_to_all(signal.SIGINT)
        server.wait_for_all(EXIT_SECONDS)
        assert_quiet(server)
    arrivals.expect(range(20))


def test_uvicorns_workers_deliver_what_lingers_at_term(backend: Backend, tmp_path: Path) -> None:
    """`examples/fastapi_app.py` with two workers: the lifespan's `ashutdown`, then the exit."""
    account = {
        "HUGGINGPLACE_API_KEY": backend.api_key,
        "HUGGINGPLACE_ORG_ID": "org",
        "HUGGINGPLACE_BASE_URL": backend.url,
    }
    with uvicorn(tmp_path, "fastapi_app:app", **account) as server:
        for number in range(40):
            server.post(f"/ask?question={number}", "")
        assert_in_time(server.stop(), EXIT_SECONDS)
        assert_quiet(server)
    asked = [int(entry["body"]["user_prompt"]) for entry in backend.interactions()]
    assert sorted(asked) == list(range(40))


ASGI_APP = "tests.support.asgi_app:application"


@pytest.mark.parametrize("workers", [1, 2])
def test_uvicorn_delivers_what_lingers_without_a_lifespan(
    workers: int, arrivals: Arrivals, tmp_path: Path
) -> None:
    """It raises TERM again with its default action, past `atexit`; the workers load the application late."""
    with uvicorn(tmp_path, ASGI_APP, workers) as server:
        asked = server.log_from_all(workers, arrivals.run, at_least=40)
        assert_in_time(server.stop(), EXIT_SECONDS)
        assert_quiet(server)
    arrivals.expect(asked)


def test_uvicorns_workers_leave_on_disk_what_a_backend_does_not_take(
    arrivals: Arrivals, tmp_path: Path
) -> None:
    """TERM with the backend down: quick, quiet, and the records are there for the next start."""
    nobody = {"BANYAN_BASE_URL": f"http://127.0.0.1:{free_port()}"}
    with uvicorn(tmp_path, ASGI_APP, **nobody) as server:
        asked = server.log_from_all(2, arrivals.run, at_least=40)
        assert_in_time(server.stop(), EXIT_SECONDS)
        assert_quiet(server, but_for="the backend can't be reached")  # by a worker that has waited long
    assert spooled_numbers(tmp_path / "state") == list(asked)
