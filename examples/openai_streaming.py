"""A streamed chat completion that logs itself: chunks are shown as they come, the record follows at the end.

pip install openai
export OPENAI_API_KEY=…                                   # OPENAI_BASE_URL=… for another server
export BANYAN_BASE_URL=http://127.0.0.1:8787              # of `banyan-hp serve`, which needs no key here
python examples/openai_streaming.py "Why is the sky blue?"
"""

import sys

from openai import OpenAI

import banyan_hp as banyan


def main() -> int:
    question = sys.argv[1] if len(sys.argv) > 1 else "Why is the sky blue?"
    client = banyan.wrap_openai(OpenAI())

    with banyan.context(user_id="user_123"):
        stream = client.chat.completions.create(
            model="gpt-4.1",
            messages=[{"role": "user", "content": question}],
            stream=True,
            stream_options={"include_usage": True},  # or the provider sends no tokens
        )
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            print(chunk.choices[0].delta.content, end="", flush=True)
    print()

    result = banyan.flush(timeout=10)
    print("logged:", bool(result))
    return 0 if result else 1


if __name__ == "__main__":
    sys.exit(main())
