"""An agent of LangChain, each of whose runs is one record with its steps.

    pip install langchain langchain-openai
    export OPENAI_API_KEY=sk-… BANYAN_API_KEY=psk_… BANYAN_BASE_URL=http://127.0.0.1:8787
    python langchain_app.py "Where is order 17?"

The record has the question, the answer, the user and the session, and a step for each call of the model and
of the tool, with its time, tokens and error.
"""

import sys
from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

import banyan_hp as banyan
from banyan_hp.integrations.langchain import BanyanCallbackHandler


@tool
def find_order(number: str) -> str:
    """Where an order is."""
    return f"order {number} left the warehouse this morning"


handler = BanyanCallbackHandler()  # one for the whole application; it logs to the logger of `configure()`
agent: Any = create_agent(ChatOpenAI(model="gpt-4o-mini"), tools=[find_order])


def ask(question: str, user: str, session: str) -> str:
    """Answer a question of a user."""
    config = {
        "callbacks": [handler],
        "metadata": {"user_id": user},
        "configurable": {"thread_id": session},  # the record's session_id
        "tags": ["support"],
    }
    state = agent.invoke({"messages": [("user", question)]}, config=config)
    return str(state["messages"][-1].content)


if __name__ == "__main__":
    print(ask(" ".join(sys.argv[1:]) or "Where is order 17?", user="ada", session="s1"))
    if not (result := banyan.flush(timeout=10)):
        print(f"{result.spooled} on disk for later, {result.lost} lost")
