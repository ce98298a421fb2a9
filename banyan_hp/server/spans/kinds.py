"""What a span stands for. Only calls of models count tokens; agents and others repeat their sums.

Neither the span's kind, its name, its status nor `gen_ai.system` decides: half of the senders call a request
to a model INTERNAL, names are templates ("Responses API with {gen_ai.request.model!r}"), and a framework may
give itself as the system.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from ... import semconv
from .attributes import Attributes, first_text, text
from .usage import usage_of


class Role(StrEnum):
    """What a span stands for."""

    CALL = "call"
    """A model is asked for text."""
    EMBEDDING = "embedding"
    """A model is asked for vectors."""
    TOOL = "tool"
    AGENT = "agent"
    """What decides which calls and tools are run, and its turns."""
    WORKFLOW = "workflow"
    """What runs calls and tools in an order that is given: workflows, tasks, chains."""
    RETRIEVAL = "retrieval"
    """What looks for documents."""
    STEP = "step"
    """A step of a record of our own. Its tokens are on its own span; the record's are what is left."""
    OTHER = ""


COUNTED = frozenset({Role.CALL, Role.EMBEDDING})
READ = COUNTED | {Role.STEP}
"""What says something of a call."""

_OPERATIONS: Mapping[str, Role] = {
    **dict.fromkeys(semconv.INFERENCE, Role.CALL),
    semconv.EMBEDDINGS: Role.EMBEDDING,
    semconv.EXECUTE_TOOL: Role.TOOL,
    semconv.INVOKE_AGENT: Role.AGENT,
    semconv.CREATE_AGENT: Role.AGENT,
    semconv.INVOKE_WORKFLOW: Role.WORKFLOW,
    "retrieval": Role.RETRIEVAL,
    "execute_task": Role.WORKFLOW,  # OpenLLMetry, CrewAI
    "execute_event_loop_cycle": Role.AGENT,  # strands
    "chain": Role.WORKFLOW,  # langsmith
    "embed": Role.EMBEDDING,  # Langtrace
    "openai.responses.create": Role.CALL,  # Langtrace
    "tool": Role.TOOL,
}
_OPENINFERENCE: Mapping[str, Role] = {
    "LLM": Role.CALL,
    "EMBEDDING": Role.EMBEDDING,
    "TOOL": Role.TOOL,
    "AGENT": Role.AGENT,
    "CHAIN": Role.WORKFLOW,
    "RETRIEVER": Role.RETRIEVAL,
}
_OTHERS: Mapping[str, Mapping[str, Role]] = {
    "openinference.span.kind": _OPENINFERENCE,
    "gen_ai.span.kind": _OPENINFERENCE,  # traceAI
    "langwatch.span.type": {
        "llm": Role.CALL,
        "tool": Role.TOOL,
        "agent": Role.AGENT,
        "workflow": Role.WORKFLOW,
        "chain": Role.WORKFLOW,
        "rag": Role.RETRIEVAL,
    },
    "langfuse.observation.type": {
        "generation": Role.CALL,
        "embedding": Role.EMBEDDING,
        "tool": Role.TOOL,
        "agent": Role.AGENT,
        "chain": Role.WORKFLOW,
        "retriever": Role.RETRIEVAL,
    },
    "mlflow.spanType": {"CHAT_MODEL": Role.CALL, **_OPENINFERENCE},
    "langsmith.span.kind": {
        "llm": Role.CALL,
        "embedding": Role.EMBEDDING,
        "tool": Role.TOOL,
        "chain": Role.WORKFLOW,
        "retriever": Role.RETRIEVAL,
    },
    "lmnr.span.type": {"LLM": Role.CALL, "TOOL": Role.TOOL},
    "llm.request.type": {
        "chat": Role.CALL,
        "completion": Role.CALL,
        "response": Role.CALL,  # Netra
        "embedding": Role.EMBEDDING,
    },
    "traceloop.span.kind": {
        "tool": Role.TOOL,
        "agent": Role.AGENT,
        "workflow": Role.WORKFLOW,
        "task": Role.WORKFLOW,
    },
}
_OF_AGENTS: Mapping[str, Mapping[str, Role]] = {  # logfire's, of OpenAI's agents
    "sdk_span_type": {"turn": Role.AGENT, "task": Role.WORKFLOW},
    "logfire.msg_template": {"Agent run: {name!r}": Role.AGENT, "Function: {name}": Role.TOOL},
}
_RECORDS = {semconv.RECORD: Role.CALL, semconv.STEP: Role.STEP}


def role_of(attributes: Attributes, *, own: bool) -> Role:
    """What a span with these attributes stands for; `own`: it is a record of our own client, or a step."""
    if own and (kind := _RECORDS.get(str(attributes.get(semconv.RECORD_KIND)))) is not None:
        return kind
    role = _told(attributes)
    return Role.EMBEDDING if role is Role.CALL and _is_embedding(attributes) else role


def _told(attributes: Attributes) -> Role:
    operation = text(attributes.get(semconv.OPERATION)) or ""
    if operation in _OPERATIONS:
        return _OPERATIONS[operation]
    for name, roles in _OTHERS.items():
        if (kind := text(attributes.get(name))) is not None:
            return roles.get(kind, Role.OTHER)
    for name, roles in _OF_AGENTS.items():
        if (role := roles.get(text(attributes.get(name)) or "")) is not None:
            return role
    # Of senders that we have not seen; and logfire names no operation of an agent's call that failed.
    if first_text(attributes, MODELS) and (semconv.REQUEST_MODEL in attributes or usage_of(attributes).known):
        return Role.CALL
    return Role.OTHER


MODELS = tuple(dict.fromkeys((*semconv.RESPONSE_MODELS, *semconv.REQUEST_MODELS)))
"""Names of a model, that of the response first."""


def _is_embedding(attributes: Attributes) -> bool:
    """Whether it is one though it says LLM, as lmnr's do: by the model's name, and nothing came out."""
    model = first_text(attributes, MODELS) or ""
    return (
        semconv.OPERATION not in attributes and "embed" in model.lower() and not usage_of(attributes).output
    )
