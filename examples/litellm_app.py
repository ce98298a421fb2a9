"""LiteLLM with every call on record: tokens, costs, users, failures, streams.

pip install litellm banyan-hp
export OPENAI_API_KEY=…                                   # OPENAI_BASE_URL=… for another server
export BANYAN_BASE_URL=http://127.0.0.1:8787              # of `banyan-hp serve`, which needs no key here
python examples/litellm_app.py "Why is the sky blue?"
"""

import asyncio
import sys

import litellm
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

from banyan_hp import PromptStackLogger
from banyan_hp.integrations.litellm import BanyanLogger

banyan = PromptStackLogger()
litellm.callbacks = [BanyanLogger(banyan)]


async def answer(question: str, user_id: str) -> str:
    """Streams an answer to the terminal, and returns it."""
    said = ""
    stream = await litellm.acompletion(
        model="openai/gpt-4.1",
        messages=[{"role": "user", "content": question}],
        metadata={"user_id": user_id, "session_id": "session_1", "prompt_name": "sky"},
        stream=True,
        stream_options={"include_usage": True},
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            print(chunk.choices[0].delta.content, end="", flush=True)
            said += chunk.choices[0].delta.content
    print()
    return said


async def main() -> int:
    question = sys.argv[1] if len(sys.argv) > 1 else "Why is the sky blue?"
    await answer(question, "user_123")
    await GLOBAL_LOGGING_WORKER.flush()  # LiteLLM reports calls a moment later; a server need not wait
    result = await banyan.aflush(timeout=10)
    print("logged:", bool(result))
    return 0 if result else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
