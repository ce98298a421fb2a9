"""`make demo`: the quickstart against a real backend that is gone for some seconds in the middle.

Starts the local backend with a temporary database, runs `quickstart.py`, stops the backend when a fifth of
the records are logged, starts it again, and counts what the database holds in the end. The exit status
says whether each record is there exactly once. With `--keep` (`make demo KEEP=1`) the backend then runs on,
so that you can look at them in a browser.
"""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

HERE = Path(__file__).parent
RECORDS = 1000
OUTAGE_SECONDS = 3
STOP_AFTER = "200 logged"  # so that it is back some seconds before the flush, which would not wait for it


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(folder: Path) -> dict[str, str]:
    """Of both: the backend makes a key, and keeps it in the folder, where the application finds it."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("BANYAN")}
    return others | {"BANYAN_HP_KEYS_DIR": str(folder / "keys")}


def start_backend(port: int, database: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "banyan_hp.cli", "serve", "--port", str(port), "--db", str(database)]
    backend = subprocess.Popen(
        [*command, "--seed", str(HERE / "seed.json")],
        env=environment(database.parent),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert backend.stdout is not None
    line = backend.stdout.readline().strip()
    if not line:
        sys.exit("demo: the backend did not start")
    print(f"[demo] {line}", flush=True)
    return backend


def stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(timeout=30)
    if process.stdout is not None:
        process.stdout.close()


def run_quickstart_through_an_outage(port: int, folder: Path) -> int:
    backend = start_backend(port, folder / "demo.sqlite3")
    own = environment(folder) | {
        "BANYAN_BASE_URL": f"http://127.0.0.1:{port}",
        "BANYAN_HP_SPOOL_DIR": str(folder / "spool"),
        "PYTHONUNBUFFERED": "1",
    }
    application = subprocess.Popen(
        [sys.executable, str(HERE / "quickstart.py")], env=own, stdout=subprocess.PIPE, text=True
    )
    try:
        assert application.stdout is not None
        for line in application.stdout:
            print(line, end="", flush=True)
            if STOP_AFTER in line:
                stop(backend)
                print(f"[demo] the backend is gone; it comes back in {OUTAGE_SECONDS} s", flush=True)
                time.sleep(OUTAGE_SECONDS)
                backend = start_backend(port, folder / "demo.sqlite3")
        return application.wait(timeout=120)
    finally:
        application.kill()
        application.wait()
        stop(backend)


def count(database: Path) -> tuple[int, int, int]:
    """How many rows the database holds, how many different records, and how many deliveries it saw."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT count(*), count(DISTINCT json_extract(body, '$.metadata.number')), sum(deliveries)"
            " FROM calls JOIN call_bodies USING (seq)"
        )
        total, distinct, deliveries = rows.fetchone()
    return int(total), int(distinct), int(deliveries or 0)


def keep(port: int, folder: Path) -> None:
    """Serve until Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    backend = start_backend(port, folder / "demo.sqlite3")
    assert backend.stdout is not None
    link = next(line.split()[-1] for line in backend.stdout if "pages:" in line)
    print(
        f"[demo] look at them: {link}\n[demo] Ctrl-C ends the backend and removes its database.", flush=True
    )
    try:
        backend.wait()
    except KeyboardInterrupt:
        pass
    finally:
        stop(backend)


def main() -> int:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="banyan-hp-demo-") as name:
        folder = Path(name)
        status = run_quickstart_through_an_outage(port, folder)
        total, distinct, deliveries = count(folder / "demo.sqlite3")
        print(f"[demo] the backend's database holds {total} records, {distinct} different ones,")
        print(f"[demo] from {deliveries} deliveries (a repeat after a lost answer is stored once).")
        if status != 0 or not total == distinct == RECORDS:
            print(
                f"[demo] FAILED: expected {RECORDS} records, each once (quickstart's exit status: {status})"
            )
            return 1
        print(f"[demo] all {RECORDS} records arrived, each once.")
        if "--keep" in sys.argv[1:]:
            keep(port, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
