"""LangChain and LangGraph: each chain, agent or graph as a record, with its steps.

chain.invoke(question, config={"callbacks": [BanyanCallbackHandler(logger)]})
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables.config import var_child_runnable_config

from ..clients import banyan
from ..clients.huggingplace import HuggingPlace, Session
from ..clients.prompt_logger import PromptStackLogger
from ..errors import ConfigurationError
from ..foreign import shown
from ..prompts.data import PromptData
from ..tracking.interaction import Interaction
from ..tracking.methods import Tracking
from ..tracking.runs import Beginning, Run, begin, ending, run_of
from ..tracking.sink import Contained
from . import langchain_values as values

__all__ = ["BanyanCallbackHandler"]

INTERRUPTED = "interrupted"
_BETWEEN = "langchain_core.callbacks"  # its functions stand between a run's start and this module
_HIDDEN_TAG = "langsmith:hidden"  # of what LangChain and LangGraph do for themselves
_HIDDEN_TYPES = ("prompt", "parser")  # templates and output parsers: what they hold is in their neighbours
_UNREADABLE = "a run of LangChain could not be recorded"


class BanyanCallbackHandler(BaseCallbackHandler):  # type: ignore[misc]
    """Records chains, models, tools, retrievers, agents and graphs: sync, async, batched and streamed.

    The outermost run (what your code invokes) is one record, an interaction; the chains, models, tools and
    retrievers in it are its steps, each with time, tokens and error. Inside of an open interaction of the
    same client the outermost run is a step of that one.

    The record's metadata has `config["metadata"]` and the tags. `user_id`, and `session_id` or LangGraph's
    `thread_id`, in the metadata or in `configurable`, say whose run it is. In the metadata, `prompt_data`
    (from `get_prompt`) or `experiment_context` name the prompt that was used, and `record_id` is the record's
    id, for `score`.

    One handler serves any number of runs at once, in threads and tasks. It raises nothing into the
    application: what can't be recorded is counted (`tracking_errors`).

    Args:
        logger: takes the records; default: the logger of `banyan_hp.configure()`.
        prompt_data: the prompt of every record.

    Raises:
        ConfigurationError: `logger` is not a client, or `prompt_data` not a prompt.
    """

    raise_error = False
    run_inline = True  # in the task of the run, so that what is set there holds for the run's work

    def __init__(
        self,
        logger: PromptStackLogger | HuggingPlace | Session | None = None,
        *,
        prompt_data: PromptData | None = None,
    ) -> None:
        if logger is not None and not isinstance(logger, (PromptStackLogger, HuggingPlace, Session)):
            raise ConfigurationError(f"logger must be a client of banyan_hp, was {shown(logger)}")
        if prompt_data is not None and not isinstance(prompt_data, PromptData):
            raise ConfigurationError(f"prompt_data must come from get_prompt(), was {shown(prompt_data)}")
        super().__init__()
        self._tracking: Tracking = banyan._tracking if logger is None else logger
        has_fields = isinstance(logger, (HuggingPlace, Session))
        sessions = values.SESSIONS[:1] if isinstance(logger, Session) else values.SESSIONS
        self._whose = _Whose({"user_id": ("user_id",), "session_id": sessions}, has_fields, prompt_data)

    # -- beginnings -------------------------------------------------------------------------------------

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **given: Any) -> None:
        """A chain, an agent, a graph or one of its nodes begins."""
        hidden = _HIDDEN_TAG in (given.get("tags") or ()) or given.get("run_type") in _HIDDEN_TYPES
        asked = None if hidden or values.is_not_known_yet(inputs) else inputs
        self._begin("chain", serialized, run_id, values.question_of, asked, given, is_hidden=hidden)

    def on_chat_model_start(
        self, serialized: Any, messages: Sequence[Any], *, run_id: UUID, **given: Any
    ) -> None:
        """A chat model begins."""
        self._begin("llm", serialized, run_id, values.question_of_model, messages, given)

    def on_llm_start(self, serialized: Any, prompts: Sequence[str], *, run_id: UUID, **given: Any) -> None:
        """A model of texts begins."""
        self._begin("llm", serialized, run_id, values.question_of_model, prompts, given)

    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: UUID, **given: Any) -> None:
        """A tool begins."""
        asked = given.get("inputs")
        self._begin("tool", serialized, run_id, values.plain, input_str if asked is None else asked, given)

    def on_retriever_start(self, serialized: Any, query: str, *, run_id: UUID, **given: Any) -> None:
        """A retriever begins."""
        self._begin("retriever", serialized, run_id, values.plain, query, given)

    def _begin(
        self,
        kind: str,
        serialized: Any,
        run_id: UUID,
        read: Callable[[Any], Any],
        asked: Any,
        given: Mapping[str, Any],
        *,
        is_hidden: bool = False,
    ) -> None:
        sink = self._tracking._sink()
        with Contained(sink, _UNREADABLE):
            ident, parent = self._key(run_id), self._key(given.get("parent_run_id"))
            if run_of(ident) is not None:  # another handler of this logger has it
                return
            around = run_of(parent)
            if is_hidden and around is None:  # a template or parser by itself: no model was asked
                return
            metadata = given.get("metadata") or {}
            question = None
            if asked is not None:
                with Contained(sink, "a question could not be read"):
                    question = read(asked)
            beginning = Beginning(
                values.name_of(serialized, given),
                question if around is None else values.last_of_user(question),
                values.model_asked(given, metadata),
                _details(kind, serialized, given, around),
                is_call=kind == "llm",
                is_hidden=is_hidden,
            )
            run = begin(sink, ident, parent, beginning, _BETWEEN)
            self._whose.note(run.outermost.span, metadata)

    def _key(self, run_id: UUID | None) -> Hashable:
        return id(self._tracking), run_id

    # -- streams ----------------------------------------------------------------------------------------

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **_: Any) -> None:  # noqa: ARG002
        """A piece of a model's answer has come."""
        run = run_of(self._key(run_id))
        if run is not None:
            run.first_chunk()

    def on_stream_event(self, event: Any, *, run_id: UUID, **_: Any) -> None:
        """Likewise, in the newer protocol."""
        self.on_llm_new_token(event, run_id=run_id)

    # -- ends -------------------------------------------------------------------------------------------

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **given: Any) -> None:
        """It has ended."""
        self._end(run_id, values.answer_of, outputs, given)

    def on_llm_end(self, response: Any, *, run_id: UUID, **given: Any) -> None:
        """It has ended."""
        self._end(run_id, values.reading_of, response, given)

    def on_tool_end(self, output: Any, *, run_id: UUID, **given: Any) -> None:
        """It has ended."""
        self._end(run_id, values.answer_of, output, given)

    def on_retriever_end(self, documents: Sequence[Any], *, run_id: UUID, **given: Any) -> None:
        """It has ended."""
        self._end(run_id, values.answer_of, documents, given)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **given: Any) -> None:
        """It has failed, or LangGraph has interrupted it."""
        self._end(run_id, None, None, given, error)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **given: Any) -> None:
        """It has failed, maybe in the middle of its answer."""
        partial = given.get("response")
        self._end(run_id, None if partial is None else values.reading_of, partial, given, error)

    on_tool_error = on_retriever_error = on_chain_error

    def _end(
        self,
        run_id: UUID,
        read: Callable[[Any], Any] | None,
        returned: Any,
        given: Mapping[str, Any],
        error: BaseException | None = None,
    ) -> None:
        sink = self._tracking._sink()
        with Contained(sink, _UNREADABLE):
            run = ending(self._key(run_id))
            if run is None:
                return
            if not run.is_hidden:
                with Contained(sink, "what a run of LangChain returned could not be read"):
                    _note(run, read, returned, given)
            if error is not None and values.is_control_flow(error):
                if values.is_interrupt(error):
                    run.ended = run.outermost.ended = INTERRUPTED
                error = None
            run.end(error)


def _note(run: Run, read: Callable[[Any], Any] | None, returned: Any, given: Mapping[str, Any]) -> None:
    """What has come of it, and what it was asked, if that comes only now."""
    if given.get("inputs") is not None:
        question = values.question_of(given["inputs"])
        run.ask(question if isinstance(run.span, Interaction) else values.last_of_user(question))
    if read is not None:
        run.span.response = read(returned)


def _details(kind: str, serialized: Any, given: Mapping[str, Any], around: Run | None) -> dict[str, Any]:
    """The metadata of a run: of one inside what the outermost one does not have."""
    own = values.own_metadata(given.get("metadata") or {})
    tags = values.own_tags(given.get("tags"))
    if around is not None:
        outer = around.outermost.span.metadata
        own = {name: value for name, value in own.items() if outer.get(name) is not value}
        tags = [tag for tag in tags if tag not in outer.get("tags", ())]
    details: dict[str, Any] = {"run_type": kind, **own}
    if around is None:
        details["run_name"] = values.name_of(serialized, given)
    if tags:
        details["tags"] = tags
    return {**details, **values.model_metadata(given.get("metadata") or {})} if kind == "llm" else details


class _Whose:
    """Puts on a record whose run it is and which prompt was used, as soon as a run says so."""

    def __init__(
        self, names: Mapping[str, Sequence[str]], has_fields: bool, prompt_data: PromptData | None
    ) -> None:
        self._names = names
        self._has_fields = has_fields  # HuggingPlace's records: for user and session, not for prompts
        self._prompt_data = prompt_data

    def note(self, span: object, metadata: Mapping[str, Any]) -> None:
        """Look into the metadata of a run, and into the config that its work runs under."""
        if not isinstance(span, Interaction):
            return
        config = var_child_runnable_config.get()
        for name, sources in self._names.items():
            found = values.configured({"metadata": metadata, **(config or {})}, sources)
            if found is not None and span.metadata.get(name) is None:
                span.metadata[name] = found
            if found is not None and self._has_fields and name not in span.fields:
                span.fields = {**span.fields, name: found}
        if metadata.get("record_id") is not None:
            span.fields = {"record_id": metadata["record_id"], **span.fields}
        prompt = self._prompt_data or metadata.get("prompt_data")
        if isinstance(prompt, PromptData):
            self._note_prompt(span, prompt, prompt.get_experiment_context())
        elif isinstance(metadata.get("experiment_context"), Mapping):
            self._note_prompt(span, None, metadata["experiment_context"])

    def _note_prompt(
        self, span: Interaction[Any], prompt: PromptData | None, experiment: Mapping[str, Any] | None
    ) -> None:
        if not self._has_fields:
            given = {"prompt_data": prompt} if prompt is not None else {"experiment_context": experiment}
            span.fields = {**given, **span.fields}
            return
        named = {} if prompt is None else {"prompt_name": prompt.name, "prompt_version": prompt.version}
        for name, value in {**named, **(experiment or {})}.items():
            span.metadata.setdefault(name, value)
