"""Fetch a prompt, call a model, log a thousand uses of it, and see that they arrived.

Needs a backend: `banyan-hp serve --seed examples/seed.json` in another terminal, or your own by
BANYAN_BASE_URL and BANYAN_API_KEY. `make demo` runs it against a backend that goes away in the middle.
"""

import os
import sys
import time

import banyan_hp as banyan

RECORDS = 1000


def call_a_model(prompt: str, question: str) -> str:
    """Stands in for your model; takes a few milliseconds."""
    time.sleep(0.006)
    return f"An answer to {question!r}, as the prompt of {len(prompt)} characters asks for."


def main() -> int:
    banyan.configure(base_url=os.environ.get("BANYAN_BASE_URL", "http://127.0.0.1:8787"))
    prompt = banyan.get_prompt("quickstart")
    if prompt is None:
        print("There is no prompt 'quickstart': is the backend running, with --seed examples/seed.json?")
        return 1
    print(f"prompt {prompt.name!r}, version {prompt.version}: {prompt.content!r}")

    for number in range(1, RECORDS + 1):
        question = f"question {number}"
        started = time.perf_counter()
        answer = call_a_model(prompt.content, question)
        banyan.log_prompt(
            input=question,
            output=answer,
            prompt_data=prompt,
            model="example-model",
            metadata={"number": number},
            duration_ms=(time.perf_counter() - started) * 1000,
        )
        if number % 100 == 0:
            stats = banyan.get_stats()
            print(
                f"{number:5} logged: {stats['logs_sent']} delivered, {stats['queue_size']} queued, "
                f"{stats['logs_spooled']} on disk, {stats['state']}",
                flush=True,
            )

    result = banyan.flush(timeout=30)
    for _ in range(10):  # a flush does not wait for a backend that is down; this program wants to
        if result:
            break
        time.sleep(1)
        result = banyan.flush(timeout=30)
    stats = banyan.get_stats()
    print(f"flushed: everything delivered: {bool(result)}")
    for name in ("logs_queued", "logs_sent", "logs_spooled", "logs_dropped", "retries_attempted"):
        print(f"  {name:18} {stats[name]}")
    return 0 if result else 1


if __name__ == "__main__":
    sys.exit(main())
