"""An experiment from its start to its result: 5,000 users, four processes, and an outage in the middle.

Starts the local backend with a temporary database and an experiment with two versions of a prompt. Four
processes route 1,250 users each, log what each user got, and score it: 30 % like version 1.0, 40 % version
1.1. Some scores are sent before the call that they are about, the others late and in any order. Meanwhile
the backend is gone for some seconds. In the end the results name the winner, and every score is there once.
"""

import os
import random
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import requests

import banyan_hp as banyan

WORKERS = 4
USERS = 1250  # of each
WINDOW_SECONDS = 5
OUTAGE_SECONDS = 2
STOP_AFTER = "500 users"
LIKED = {"1.0": 0.3, "1.1": 0.4}
KEY = "psk_of_this_example"
WAIT_SECONDS = 90


# -- one of the processes ------------------------------------------------------------------------------------


def work(number: int) -> int:
    """Route users, log their calls, and score them."""
    chance = random.Random(number)
    late = []
    for count in range(USERS):
        user = {"user_id": f"user_{number}_{count}"}
        prompt = banyan.get_prompt("support-answer", sticky_context=user)
        if prompt is None or prompt.version not in LIKED:
            print("the prompt is not to be had")
            return 1
        liked = chance.random() < LIKED[prompt.version]
        given_at = time.time() + 1  # some time after the answer
        if count % 10 == 0:  # on its way before the call that it is about
            banyan.score("thumbs", liked, sticky_context=user, at=given_at)
        else:
            late.append((liked, user, given_at))
        banyan.log_prompt(input="How do I descale it?", output="With vinegar.", prompt_data=prompt)
        if (count + 1) % 500 == 0:
            print(f"process {number}: {count + 1} users", flush=True)
            time.sleep(0.5)
    chance.shuffle(late)
    for liked, user, given_at in late:
        banyan.score("thumbs", liked, sticky_context=user, at=given_at)
    return 0 if delivered() else 1


def delivered() -> bool:
    """Whether everything has arrived. While the backend is known to be gone, a flush makes one attempt."""
    until = time.monotonic() + WAIT_SECONDS
    while not banyan.flush(timeout=10):
        if time.monotonic() > until:
            return False
        time.sleep(0.5)
    return True


# -- all of it -----------------------------------------------------------------------------------------------


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "banyan_hp", *arguments]


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(timeout=30)
    if process.stdout is not None:
        process.stdout.close()


def start_backend(port: int, own: dict[str, str]) -> subprocess.Popen[str]:
    """With `--routing client` the library chooses versions by itself, without asking for each user."""
    serve = command("serve", "--port", str(port), "--routing", "client")
    backend = subprocess.Popen(serve, env=own, stdout=subprocess.PIPE, text=True)
    assert backend.stdout is not None
    if not backend.stdout.readline():
        sys.exit("the backend did not start")
    return backend


def prepare(url: str, own: dict[str, str]) -> None:
    """A prompt of two versions, and the experiment with them."""
    prompt = {"name": "support-answer", "content": "Answer briefly: {{question}}", "version": "1.0"}
    second = {"name": "support-answer", "content": "Answer kindly: {{question}}", "version": "1.1"}
    for path, body in (("", prompt), ("/version", {**second, "release": False})):
        made = requests.post(
            f"{url}/api/logs/cli/prompts{path}", json=body, headers={"X-API-Key": KEY}, timeout=10
        )
        made.raise_for_status()
    create = command("experiments", "create", "tone", "--prompt", "support-answer", "--by", "user_id")
    shares = ("--version", "1.0=50", "--version", "1.1=50", "--control", "1.0")
    aims = ("--metric", "thumbs", "--window", f"{WINDOW_SECONDS}s", "--start")
    subprocess.run([*create, *shares, *aims], env=own, check=True)


def route(port: int, own: dict[str, str]) -> bool:
    """All users, through an outage; whether everything was delivered."""
    backend = start_backend(port, own)
    prepare(own["BANYAN_BASE_URL"], own)
    workers = [
        subprocess.Popen([sys.executable, __file__, str(number)], env=own, stdout=subprocess.PIPE, text=True)
        for number in range(WORKERS)
    ]
    try:
        assert workers[0].stdout is not None
        for line in workers[0].stdout:
            print(line, end="", flush=True)
            if STOP_AFTER in line:
                stop(backend)
                print(f"the backend is gone; it comes back in {OUTAGE_SECONDS} s", flush=True)
                time.sleep(OUTAGE_SECONDS)
                backend = start_backend(port, own)
        for each in workers:
            each.communicate(timeout=WAIT_SECONDS)
        return all(each.returncode == 0 for each in workers) and results(own)
    finally:
        for each in workers:
            each.kill()
        stop(backend)


def results(own: dict[str, str]) -> bool:
    """Wait until every user's window is over and everything is counted; print the results."""
    with banyan.PromptStackLogger(KEY, own["BANYAN_BASE_URL"], spool=False) as logger:
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until:
            found = logger.experiment_results("tone")
            if sum(each.analysed for each in found.versions) == WORKERS * USERS and not found.pending:
                break
            time.sleep(0.5)
    shown = subprocess.run(command("experiments", "results", "tone"), env=own, check=False)
    return shown.returncode == 0 and found.winner == "tone-1.1"


def count(database: Path) -> tuple[int, int]:
    """How many scores the database holds, and of how many users."""
    with closing(sqlite3.connect(database)) as connection:
        total, users = connection.execute(
            "SELECT count(*), count(DISTINCT sticky_value) FROM scores"
        ).fetchone()
    return int(total), int(users)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="banyan-hp-results-") as name:
        folder = Path(name)
        port = free_port()
        others = {name: value for name, value in os.environ.items() if not name.startswith("BANYAN")}
        own = others | {
            "BANYAN_API_KEY": KEY,
            "BANYAN_BASE_URL": f"http://127.0.0.1:{port}",
            "BANYAN_HP_DB": str(folder / "results.sqlite3"),
            "BANYAN_HP_SERVE_KEYS": KEY,
            "BANYAN_HP_SPOOL_DIR": str(folder / "spool"),
        }
        good = route(port, own)
        total, users = count(folder / "results.sqlite3")
    print(f"{total:,} scores of {users:,} users")
    return 0 if good and total == users == WORKERS * USERS else 1


if __name__ == "__main__":
    sys.exit(work(int(sys.argv[1])) if len(sys.argv) > 1 else main())
