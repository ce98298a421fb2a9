"""The names of OpenTelemetry's attributes: `destinations/` writes them; others read them.

Source of the names in force: open-telemetry/semantic-conventions-genai v0.1.0, on semantic-conventions 1.45.
All are "Development". `opentelemetry-semantic-conventions` 0.66b2 marks each of them as deprecated, because
they moved to that repository; it does not know `gen_ai.usage.cache_write.input_tokens` yet, which the newest
senders write.

What today's senders write instead is below, newest first: it is read and never written.
"""

from __future__ import annotations

CONVENTIONS = "semantic-conventions-genai 0.1.0"
SCOPE = "banyan_hp"
"""The instrumentation scope of the spans that we write."""

# -- in force: what is written -------------------------------------------------------------------------------

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
REQUEST_TEMPERATURE = "gen_ai.request.temperature"
REQUEST_TOP_P = "gen_ai.request.top_p"
REQUEST_TOP_K = "gen_ai.request.top_k"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_SEED = "gen_ai.request.seed"
REQUEST_PRESENCE_PENALTY = "gen_ai.request.presence_penalty"
REQUEST_FREQUENCY_PENALTY = "gen_ai.request.frequency_penalty"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"  # seconds, a double
INPUT_TOKENS = "gen_ai.usage.input_tokens"  # includes those of the cache, read and written
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"  # includes those of reasoning
CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.usage.cache_write.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"
INPUT_MESSAGES = "gen_ai.input.messages"  # on a span: JSON text
OUTPUT_MESSAGES = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"
TOOL_DEFINITIONS = "gen_ai.tool.definitions"
TOOL_NAME = "gen_ai.tool.name"
TOOL_CALL_ID = "gen_ai.tool.call.id"
TOOL_CALL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_CALL_RESULT = "gen_ai.tool.call.result"
CONVERSATION_ID = "gen_ai.conversation.id"
AGENT_NAME = "gen_ai.agent.name"
PROMPT_NAME = "gen_ai.prompt.name"

INFERENCE_DETAILS = "gen_ai.client.inference.operation.details"  # an event
EVALUATION_RESULT = "gen_ai.evaluation.result"  # an event
EVALUATION_NAME = "gen_ai.evaluation.name"
EVALUATION_VALUE = "gen_ai.evaluation.score.value"  # a double
EVALUATION_LABEL = "gen_ai.evaluation.score.label"
EVALUATION_EXPLANATION = "gen_ai.evaluation.explanation"

ERROR_TYPE = "error.type"
SESSION_ID = "session.id"
USER_ID = "user.id"
SERVICE_NAME = "service.name"
EXCEPTION_EVENT = "exception"
EXCEPTION_TYPE = "exception.type"
EXCEPTION_MESSAGE = "exception.message"

CHAT = "chat"
GENERATE_CONTENT = "generate_content"
TEXT_COMPLETION = "text_completion"
EMBEDDINGS = "embeddings"
EXECUTE_TOOL = "execute_tool"
INVOKE_AGENT = "invoke_agent"
INVOKE_WORKFLOW = "invoke_workflow"
CREATE_AGENT = "create_agent"
INFERENCE = frozenset({CHAT, GENERATE_CONTENT, TEXT_COMPLETION})
"""Operations that talk to a model and answer with text."""
COUNTED = INFERENCE | {EMBEDDINGS}
"""Operations whose tokens count. The others (agents, tools, workflows) repeat the sums of what is inside."""

# -- our own -------------------------------------------------------------------------------------------------

RECORD_ID = "banyan.record.id"
RECORD_KIND = "banyan.record.kind"
RECORD = "record"  # kinds: what log_prompt() and log() were called for
STEP = "step"  # a step of an interaction; the record's span is its parent
STEP_NUMBER = "banyan.step.number"  # from 1, in the order in which steps were opened
STEP_TYPE = "banyan.step.type"
METADATA = "banyan.metadata"  # JSON text
EXTRA = "banyan.fields"  # JSON text: fields of a record that no attribute stands for
PROMPT_ID = "banyan.prompt.id"
PROMPT_VERSION = "banyan.prompt.version"
PROMPT_BRANCH = "banyan.prompt.branch"
EXPERIMENT_ID = "banyan.experiment.id"
EXPERIMENT_VERSION_ID = "banyan.experiment.version_id"
STICKY_KEY = "banyan.sticky.key"
STICKY_VALUE = "banyan.sticky.value"
PROJECT = "banyan.project"  # a resource attribute
ORGANISATION = "banyan.organisation"  # a resource attribute
MODE = "banyan.mode"
SAMPLE_RATE = "banyan.sample_rate"  # a double: the record stands for 1 / it calls; the conventions have none
TOTAL_TOKENS = "banyan.usage.total_tokens"  # where only the sum is known
RATER = "banyan.score.rater"
SCORED_RECORD_ID = "banyan.score.record_id"  # the record that a score is about

# -- other spellings: what is read ---------------------------------------------------------------------------

OPERATIONS = (OPERATION, "openinference.span.kind", "langfuse.observation.type", "traceloop.span.kind")
PROVIDERS = (PROVIDER, "llm.provider", "llm.system", "gen_ai.system")
"""`gen_ai.system` last: strands writes its own name there, and Gemini's senders "gemini"."""
FRAMEWORKS = frozenset({"strands-agents", "langchain"})
"""Who names itself as the provider, and is none."""
REQUEST_MODELS = (
    REQUEST_MODEL,
    "llm.request.model_name",
    "embedding.model_name",
    "llm.model_name",
    "langfuse.observation.model.name",
    "mlflow.llm.model",
    "model_name",
)
RESPONSE_MODELS = (RESPONSE_MODEL, "llm.response.model_name", "llm.model_name")

INPUT_TOKEN_NAMES = (INPUT_TOKENS, "llm.token_count.prompt", "gen_ai.usage.prompt_tokens")
OUTPUT_TOKEN_NAMES = (OUTPUT_TOKENS, "llm.token_count.completion", "gen_ai.usage.completion_tokens")
TOTAL_TOKEN_NAMES = (
    "gen_ai.usage.total_tokens",
    "llm.token_count.total",
    "llm.usage.total_tokens",
    TOTAL_TOKENS,
)
CACHE_READ_NAMES = (
    CACHE_READ_TOKENS,
    "gen_ai.usage.cache_read_input_tokens",  # lmnr, strands
    "gen_ai.usage.details.cache_read_tokens",  # pydantic-ai
    "llm.token_count.prompt_details.cache_read",  # OpenInference
    "gen_ai.usage.cached_tokens",  # Langtrace
    "gen_ai.usage.input_tokens.cache_read",  # traceAI
)
CACHE_WRITE_NAMES = (
    CACHE_WRITE_TOKENS,
    "gen_ai.usage.cache_creation.input_tokens",  # OpenLLMetry, logfire, strands
    "gen_ai.usage.cache_creation_input_tokens",  # lmnr
    "gen_ai.usage.cache_write_input_tokens",  # strands
    "llm.token_count.prompt_details.cache_write",  # OpenInference
)
REASONING_NAMES = (
    REASONING_TOKENS,
    "gen_ai.usage.reasoning_tokens",  # OpenLLMetry, lmnr
    "gen_ai.usage.details.reasoning_tokens",  # pydantic-ai
    "llm.token_count.completion_details.reasoning",  # OpenInference
    "gen_ai.usage.output_tokens.reasoning",  # traceAI
    "llm.usage.reasoning_tokens",  # Netra
)
SESSIONS = (
    SESSION_ID,
    CONVERSATION_ID,
    "traceloop.association.properties.session_id",
    "lmnr.association.properties.session_id",
    "langsmith.metadata.session_id",
    "traceloop.association.properties.thread_id",
    "langsmith.metadata.thread_id",
    "group_id",  # logfire's agents
)
USERS = (
    USER_ID,
    "traceloop.association.properties.user_id",
    "lmnr.association.properties.user_id",
    "langsmith.metadata.user_id",
    "gen_ai.user",  # OpenLLMetry: the request's `user`
    "llm.user",  # lmnr, litellm: the same
)
INPUTS = (
    INPUT_MESSAGES,
    "input.value",  # OpenInference
    "gen_ai.prompt",  # langsmith
    "langfuse.observation.input",
    "mlflow.spanInputs",
    "lmnr.span.input",
    "traceloop.entity.input",
    "request_data",  # logfire
)
OUTPUTS = (
    OUTPUT_MESSAGES,
    "output.value",
    "gen_ai.completion",
    "langfuse.observation.output",
    "mlflow.spanOutputs",
    "lmnr.span.output",
    "traceloop.entity.output",
)
AGGREGATES = "gen_ai.aggregated_usage."
"""The prefix of pydantic-ai's sums on agents' spans."""
SUMS_OF_OTHERS = frozenset(
    {"AGENT", "CHAIN", "TOOL", "RETRIEVER", "EVALUATOR", "GUARDRAIL", "RERANKER", "PROMPT"}
)
"""OpenInference's kinds whose tokens are sums of other spans'; "LLM" and "EMBEDDING" are calls."""
