#!/usr/bin/env bash
# A caller leaves chain.stream() after its first piece (break, then close) in langchain-core 1.8.3.
#
# With prompt | model, the model's stream is closed at once: its run ends with the error GeneratorExit, after the one
# piece. With prompt | model | StrOutputParser() nothing is closed: the rest of the model's stream is read before
# close() returns, the model's run ends as a success with the whole text, and the caller waits and pays for what it
# left. The chain's own run is a success both times. So who looks at the runs sees an answer that nobody was given, or
# an error that nobody had, by whether a parser stands behind the model.
#
# Seen, for each chain: the piece got and how many the model gave in all; how the model's run ended; and the chain's.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet langchain-core==1.8.3
"$folder/venv/bin/python" - >"$folder/seen" <<'PY'
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate


class Runs(BaseCallbackHandler):
    def __init__(self):
        self.pieces, self.model, self.chain = 0, None, None

    def on_llm_new_token(self, token, **others):
        self.pieces += 1

    def on_llm_end(self, response, **others):
        self.model = f"success {response.generations[0][0].text!r}"

    def on_llm_error(self, error, **others):
        self.model = f"error {error!r}"

    def on_chain_end(self, outputs, *, parent_run_id=None, **others):
        if parent_run_id is None:
            self.chain = "success"

    def on_chain_error(self, error, *, parent_run_id=None, **others):
        if parent_run_id is None:
            self.chain = f"error {error!r}"


def show(name, *steps):
    prompt = ChatPromptTemplate.from_template("{question}")
    chain = prompt | GenericFakeChatModel(messages=iter([AIMessage("one two three four")]))
    for step in steps:
        chain |= step
    runs = Runs()
    stream = chain.stream({"question": "Count."}, config={"callbacks": [runs]})
    piece = next(stream)
    stream.close()
    print(f"{name}: got {getattr(piece, 'content', piece)!r} of {runs.pieces};", runs.model + ";", runs.chain)


show("prompt | model")
show("prompt | model | parser", StrOutputParser())
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
prompt | model: got 'one' of 1; error GeneratorExit(); success
prompt | model | parser: got 'one' of 7; success 'one two three four'; success
SEEN
