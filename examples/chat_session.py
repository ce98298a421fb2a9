"""A conversation logged as one session, with its steps; in a script, without async.

export HUGGINGPLACE_API_KEY=… HUGGINGPLACE_ORG_ID=… HUGGINGPLACE_BASE_URL=http://127.0.0.1:8787
python examples/chat_session.py
"""

import sys
import time

from banyan_hp import HuggingPlace, NetworkError

QUESTIONS = ("What's the weather like?", "And tomorrow?", "Should I take an umbrella?")


def call_a_model(question: str) -> str:
    """Stands in for your model."""
    return f"An answer to {question!r}"


def main() -> int:
    with HuggingPlace() as huggingplace:
        session = huggingplace.start_session("chat-1", user_metadata={"username": "ada"})
        for number, question in enumerate(QUESTIONS, start=1):
            started = time.perf_counter()
            answer = call_a_model(question)
            seconds = time.perf_counter() - started
            session.log_step(
                {
                    "type": "generation",
                    "user_question": question,
                    "prompt_response": answer,
                    "token": len(answer.split()),
                    "response_time": seconds,
                }
            )
            last = session.log(
                {
                    "user_prompt": question,
                    "response": answer,
                    "response_time": seconds,
                    "metadata": {"step": number},
                }
            )
        try:
            last.result(timeout=5)
        except NetworkError as error:
            print(f"not delivered yet: {error}")
        delivered = bool(huggingplace.flush(timeout=5))
        print(f"session {session.session_id}: {len(QUESTIONS)} turns, all delivered: {delivered}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
