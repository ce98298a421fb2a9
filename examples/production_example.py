"""A small service as in production: configuration, logging, user-based and content-hash experiments.

Needs a backend: `banyan-hp serve --seed examples/seed.json` in another terminal, or your own by
BANYAN_BASE_URL and BANYAN_API_KEY.
"""

import logging
import os
import sys
import time
from typing import Any

import banyan_hp as banyan


def call_a_model(prompt: str) -> str:
    """Stands in for your model."""
    return f"An answer of {len(prompt)} characters or so."


# -- configuration: once, when the application starts --------------------------------------------------------


def scrub(record: dict[str, Any]) -> dict[str, Any] | None:
    """What must not leave the machine is taken out before anything is sent. Runs on the library's thread."""
    record["input"] = str(record["input"]).replace("ada@example.com", "[email]")
    return record


def configure() -> None:
    # The library's warnings (a refused key, an unreachable backend) go to the logger "banyan_hp".
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    banyan.configure(
        api_key=os.environ.get("BANYAN_API_KEY", "psk_local"),
        base_url=os.environ.get("BANYAN_BASE_URL", "http://127.0.0.1:8787"),
        durability="disk",  # a record is on disk before log_prompt returns: kill -9 loses none
        before_send=scrub,
    )
    banyan.prefetch(["quickstart", "marketing-email", "support-reply"])  # so that no request waits for one


# -- logging: three lines in a request -----------------------------------------------------------------------


def greet(name: str) -> str:
    """Basic logging: fetch the prompt, call the model, log."""
    prompt = banyan.get_prompt("quickstart", fallback="Say hello to {{name}}.")
    assert prompt is not None  # there is a fallback
    text = prompt.render(name=name)
    started = time.perf_counter()
    answer = call_a_model(text)
    banyan.log_prompt(
        input=text,
        output=answer,
        prompt_data=prompt,
        model="my-model",
        duration_ms=(time.perf_counter() - started) * 1000,
        metadata={"feature": "greeting"},
    )
    return answer


# -- experiments ---------------------------------------------------------------------------------------------


def write_email(user_id: str, product: str) -> str:
    """User-based: the same user gets the same version, in every process. The record says which."""
    prompt = banyan.get_prompt(
        "marketing-email", sticky_context={"user_id": user_id}, fallback="Write an email about {{product}}."
    )
    assert prompt is not None
    answer = call_a_model(prompt.render(product=product))
    banyan.log_prompt(input=product, output=answer, prompt_data=prompt, metadata={"user": user_id})
    return prompt.version or "fallback"


def reply(question: str) -> str:
    """Content-hash: the same question gets the same version, whoever asks."""
    sticky = {"input_hash": banyan.input_hash(question)}
    prompt = banyan.get_prompt("support-reply", sticky_context=sticky, fallback="Reply to: {{question}}")
    assert prompt is not None
    answer = call_a_model(prompt.render(question=question))
    banyan.log_prompt(input=question, output=answer, prompt_data=prompt)
    return prompt.version or "fallback"


def main() -> int:
    configure()
    greet("Ada, who writes from ada@example.com")

    emails = {user: write_email(user, "a kettle") for user in ("user_1", "user_2", "user_4")}
    print("user-based:", emails)
    assert write_email("user_1", "a kettle") == emails["user_1"]

    questions = ("Where is my parcel?", "How do I return it?")
    print("content-hash:", {question: reply(question) for question in questions})

    # A web application needs neither: its process delivers at its end. Here we want to see the result.
    result = banyan.flush(timeout=10)
    print("health:", banyan.health()["status"])
    if not result:
        print(f"{result.spooled} on disk for later, {result.pending} pending, {result.lost} lost")
    return 0 if result else 1


if __name__ == "__main__":
    sys.exit(main())
