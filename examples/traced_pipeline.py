"""A pipeline whose parts are steps of one record: two searches at the same time, then a model's answer.

pip install openai
export OPENAI_API_KEY=…                                   # OPENAI_BASE_URL=… for another server
export HUGGINGPLACE_API_KEY=… HUGGINGPLACE_ORG_ID=… HUGGINGPLACE_BASE_URL=http://127.0.0.1:8787
python examples/traced_pipeline.py "Why is the sky blue?"
"""

import asyncio
import sys

from openai import AsyncOpenAI

from banyan_hp import HuggingPlace, context

huggingplace = HuggingPlace()
client = huggingplace.wrap_openai(AsyncOpenAI())


@huggingplace.trace(step="search")
async def search(query: str, source: str) -> list[str]:
    """Stands in for your search."""
    await asyncio.sleep(0.01)
    return [f"{source}: something about {query}"]


@huggingplace.trace
async def answer(question: str) -> str:
    """One record, with three steps: the searches, and the completion, whose answer and tokens it takes."""
    found = await asyncio.gather(search(question, "wiki"), search(question, "papers"))
    facts = "\n".join(fact for facts in found for fact in facts)
    completion = await client.chat.completions.create(
        model="gpt-4.1",
        messages=[
            {"role": "system", "content": f"Answer by these facts:\n{facts}"},
            {"role": "user", "content": question},
        ],
    )
    return completion.choices[0].message.content or ""


async def main() -> int:
    question = sys.argv[1] if len(sys.argv) > 1 else "Why is the sky blue?"
    with context(user_id="user_123", session_id="session_1"):
        print(await answer(question))
    result = await huggingplace.ashutdown(timeout=10)
    await client.close()
    print("logged:", bool(result))
    return 0 if result else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
