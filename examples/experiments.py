"""Route 10,000 users through an experiment, log what each got, and compare the split with the configured one.

Needs a backend that hands out the experiments, so that the library routes by itself, without asking for each
user: `banyan-hp serve --seed examples/seed.json --routing client` in another terminal, or your own by
BANYAN_BASE_URL. BANYAN_API_KEY is the key that the backend shows.
"""

import os
import sys
from typing import Any

import requests

import banyan_hp as banyan

USERS = 10_000
EXPERIMENT = "marketing-email-tone"
URL = os.environ.get("BANYAN_BASE_URL", "http://127.0.0.1:8787")
KEY = os.environ.get("BANYAN_API_KEY", "")


def from_backend(path: str) -> dict[str, Any]:
    """What the local backend's own pages say."""
    answer = requests.get(URL + path, headers={"X-API-Key": KEY}, timeout=10)
    answer.raise_for_status()
    return dict(answer.json())


def main() -> int:
    if not KEY:
        print("set BANYAN_API_KEY to the key that banyan-hp serve shows")
        return 1
    banyan.configure(api_key=KEY, base_url=URL)
    before = from_backend(f"/api/experiments/{EXPERIMENT}/usage")["versions"]
    for number in range(USERS):
        prompt = banyan.get_prompt("marketing-email", sticky_context={"user_id": f"user_{number}"})
        if prompt is None:
            print("no prompt 'marketing-email': is the backend running, with --seed examples/seed.json?")
            return 1
        email = prompt.render(product="a kettle")
        banyan.log_prompt(input=f"user_{number}", output=email, prompt_data=prompt)
    if not banyan.flush(timeout=60):
        print("not everything has arrived; it is on disk and will be sent")
        return 1

    arrived = from_backend(f"/api/experiments/{EXPERIMENT}/usage")["versions"]
    print(f"{'version':32} {'configured':>10} {'arrived':>10}")
    for version in from_backend(f"/api/experiments/{EXPERIMENT}")["versions"]:
        name = version["experiment_version_id"]
        share = 100 * (arrived.get(name, 0) - before.get(name, 0)) / USERS
        print(f"{name:32} {version['traffic_percentage']:9.1f}% {share:9.1f}%")
    print(f"fetches of the prompt: {banyan.get_stats()['prompts_fetched']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
