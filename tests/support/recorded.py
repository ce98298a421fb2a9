"""Bodies in the shape in which providers send them, shortened: answers, and the events of streamed answers.

Shapes: OpenAI's, Anthropic's, Google's and Mistral's API references.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

CHAT_USAGE: Json = {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 0},
}


def choice(content: str | None, index: int = 0, **more: Any) -> Json:
    message = {"role": "assistant", "content": content, "refusal": None, **more}
    reason = "tool_calls" if more.get("tool_calls") else "stop"
    return {"index": index, "message": message, "logprobs": None, "finish_reason": reason}


def chat(*choices: Json, **more: Any) -> Json:
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1741569952, "model": "gpt-4.1-2025"}
    return {**head, "choices": list(choices), "usage": CHAT_USAGE, "service_tier": "default", **more}


TOOL_CALL: Json = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
}
CHAT = chat(choice("Hello! How can I help?"))
CHAT_TOOLS = chat(choice(None, tool_calls=[TOOL_CALL]))
CHAT_TWO = chat(choice("Heads."), choice("Tails.", 1))


def chunk(delta: Json, finish_reason: str | None = None, **more: Any) -> Json:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1741569952}
    choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]
    return {**head, "model": "gpt-4.1-2025", "choices": choices, **more}


# As `model_dump()` of langchain-core's messages has them; made by langchain-openai 1.7 and
# langchain-anthropic 1.7 of `CHAT`, of a response with reasoning, and of `MESSAGE_TOOLS`.
def framework_message(content: Any, details: Json, usage: Json | None, **more: Any) -> Json:
    known: Json = {"additional_kwargs": {}, "type": "ai", "name": None, "id": "lc_run--1", "tool_calls": []}
    said = {"content": content, "response_metadata": details, "usage_metadata": usage}
    return {**known, "invalid_tool_calls": [], **said, **more}


def framework_chunk(
    content: Any, details: Json | None = None, usage: Json | None = None, **more: Any
) -> Json:
    own: Json = {"type": "AIMessageChunk", "tool_call_chunks": [], "chunk_position": None}
    return framework_message(content, details or {}, usage, **{**own, **more})


LANGCHAIN_USAGE: Json = {
    "input_tokens": 19,
    "output_tokens": 10,
    "total_tokens": 29,
    "input_token_details": {"audio": 0, "cache_read": 8},
    "output_token_details": {"audio": 0, "reasoning": 4},
}
LANGCHAIN_DETAILS: Json = {
    "token_usage": CHAT_USAGE,
    "model_provider": "openai",
    "model_name": "gpt-4.1-2025",
    "finish_reason": "stop",
    "logprobs": None,
}
LANGCHAIN = framework_message(
    "Hello! How can I help?", LANGCHAIN_DETAILS, LANGCHAIN_USAGE, additional_kwargs={"refusal": None}
)
LANGCHAIN_WITHOUT_USAGE = framework_message("Hello! How can I help?", LANGCHAIN_DETAILS, None)
LANGCHAIN_BLOCKS = framework_message(
    [
        {"id": "rs_1", "summary": [], "type": "reasoning"},
        {"type": "text", "text": "Under a blanket of stars.", "annotations": [], "id": "msg_1"},
    ],
    {"model": "gpt-4.1-2025", "object": "response", "status": "completed", "model_name": "gpt-4.1-2025"},
    {"input_tokens": 36, "output_tokens": 87, "total_tokens": 123},
)
LANGCHAIN_TOOLS = framework_message(
    [
        {"text": "Let me look.", "type": "text"},
        {"id": "toolu_1", "input": {"city": "Paris"}, "name": "get_weather", "type": "tool_use"},
    ],
    {"model": "claude-sonnet-4-5", "stop_reason": "tool_use", "usage": {"input_tokens": 12}},
    {
        "input_tokens": 117,
        "output_tokens": 6,
        "total_tokens": 123,
        "input_token_details": {"cache_read": 100, "cache_creation": 5},
    },
    tool_calls=[{"name": "get_weather", "args": {"city": "Paris"}, "id": "toolu_1", "type": "tool_call"}],
)
LANGCHAIN_CHUNKS: list[Json] = [
    framework_chunk("", {"model_provider": "openai"}),
    framework_chunk("Hello"),
    framework_chunk(" there"),
    framework_chunk("!"),
    framework_chunk("", {"finish_reason": "stop", "model_name": "gpt-4.1-2025"}),
    framework_chunk("", usage=LANGCHAIN_USAGE),
    framework_chunk("", chunk_position="last"),
]


def framework_call(name: str | None, arguments: str, ident: str | None) -> list[Json]:
    return [{"name": name, "args": arguments, "id": ident, "index": 1, "type": "tool_call_chunk"}]


LANGCHAIN_TOOL_CHUNKS: list[Json] = [
    framework_chunk(
        "",
        {"model_name": "claude-sonnet-4-5"},
        {"input_tokens": 117, "output_tokens": 0, "total_tokens": 117},
    ),
    framework_chunk([{"text": "Let me look.", "type": "text", "index": 0}]),
    framework_chunk(
        [{"id": "toolu_1", "input": {}, "name": "get_weather", "type": "tool_use", "index": 1}],
        tool_calls=[{"name": "get_weather", "args": {}, "id": "toolu_1", "type": "tool_call"}],
        tool_call_chunks=framework_call("get_weather", "", "toolu_1"),
    ),
    framework_chunk(
        [{"partial_json": '{"city":', "type": "input_json_delta", "index": 1}],
        tool_call_chunks=framework_call(None, '{"city":', None),
    ),
    framework_chunk(
        [{"partial_json": ' "Paris"}', "type": "input_json_delta", "index": 1}],
        tool_call_chunks=framework_call(None, ' "Paris"}', None),
    ),
    framework_chunk(
        "", {"stop_reason": "tool_use"}, {"input_tokens": 0, "output_tokens": 6, "total_tokens": 6}
    ),
]

CHAT_CHUNKS: list[Json] = [
    chunk({"role": "assistant", "content": "", "refusal": None}),
    chunk({"content": "Hello"}),
    chunk({"content": " there"}),
    chunk({"content": "!"}),
    chunk({}, "stop"),
]
CHAT_USAGE_CHUNK: Json = {**chunk({}), "choices": [], "usage": CHAT_USAGE}
CHAT_TOOL_CHUNKS: list[Json] = [
    chunk(
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "index": 0,
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": ""},
                }
            ],
        }
    ),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city"'}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": ': "Paris"}'}}]}),
    chunk({}, "tool_calls"),
]

RESPONSE_OUTPUT: Json = {
    "type": "message",
    "id": "msg_1",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Under a blanket of stars.", "annotations": []}],
}
RESPONSE: Json = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1741476542,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "model": "gpt-4.1-2025",
    "output": [{"type": "reasoning", "id": "rs_1", "summary": []}, RESPONSE_OUTPUT],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "temperature": 1.0,
    "top_p": 1.0,
    "metadata": {},
    "usage": {
        "input_tokens": 36,
        "input_tokens_details": {"cached_tokens": 3},
        "output_tokens": 87,
        "output_tokens_details": {"reasoning_tokens": 64},
        "total_tokens": 123,
    },
}
FUNCTION_CALL: Json = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "get_weather",
    "arguments": '{"city": "Paris"}',
    "status": "completed",
}
RESPONSE_TOOLS: Json = {**RESPONSE, "output": [FUNCTION_CALL]}


def _response_events() -> list[Json]:
    begun = {**RESPONSE, "status": "in_progress", "output": [], "usage": None}
    empty = {**RESPONSE_OUTPUT, "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    at: Json = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": empty},
        {"type": "response.content_part.added", **at, "part": part},
        {"type": "response.output_text.delta", **at, "delta": "Under a blanket", "logprobs": []},
        {"type": "response.output_text.delta", **at, "delta": " of stars.", "logprobs": []},
        {"type": "response.completed", "response": {**RESPONSE, "output": [RESPONSE_OUTPUT]}},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


RESPONSE_EVENTS = _response_events()

MESSAGE_USAGE: Json = {
    "input_tokens": 12,
    "cache_creation_input_tokens": 5,
    "cache_read_input_tokens": 100,
    "output_tokens": 6,
}
MESSAGE: Json = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "Hello, I'm Claude."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": MESSAGE_USAGE,
}
TOOL_USE: Json = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}
MESSAGE_TOOLS: Json = {
    **MESSAGE,
    "content": [{"type": "text", "text": "Let me look."}, TOOL_USE],
    "stop_reason": "tool_use",
}


def _message_events(*blocks: tuple[Json, list[Json]], stop_reason: str) -> list[Json]:
    begun = {**MESSAGE, "content": [], "stop_reason": None, "usage": {**MESSAGE_USAGE, "output_tokens": 1}}
    events: list[Json] = [{"type": "message_start", "message": begun}, {"type": "ping"}]
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    events.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 15}})
    return [*events, {"type": "message_stop"}]


_TEXT_BLOCK: Json = {"type": "text", "text": ""}
MESSAGE_EVENTS = _message_events(
    (_TEXT_BLOCK, [{"type": "text_delta", "text": "Hello"}, {"type": "text_delta", "text": "!"}]),
    stop_reason="end_turn",
)
MESSAGE_TOOL_EVENTS = _message_events(
    (_TEXT_BLOCK, [{"type": "text_delta", "text": "Let me look."}]),
    (
        {**TOOL_USE, "input": {}},
        [
            {"type": "input_json_delta", "partial_json": '{"city":'},
            {"type": "input_json_delta", "partial_json": ' "Paris"}'},
        ],
    ),
    stop_reason="tool_use",
)

GOOGLE: Json = {
    "candidates": [
        {
            "content": {
                "parts": [{"text": "Thinking it over.", "thought": True}, {"text": "Because of scattering."}],
                "role": "model",
            },
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 9,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 30,
        "cachedContentTokenCount": 2,
        "totalTokenCount": 59,
    },
    "modelVersion": "gemini-2.5-flash",
}
GOOGLE_TOOLS: Json = {
    "candidates": [
        {
            "content": {
                "parts": [{"functionCall": {"name": "get_weather", "args": {"city": "Paris"}}}],
                "role": "model",
            },
            "finishReason": "STOP",
        }
    ],
    "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 5, "totalTokenCount": 14},
    "modelVersion": "gemini-2.5-flash",
}

MISTRAL: Json = {
    "id": "cmpl-1",
    "object": "chat.completion",
    "created": 1702256327,
    "model": "mistral-large-latest",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                    {"type": "text", "text": "Bonjour"},
                ],
                "tool_calls": None,
                "prefix": False,
            },
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 16, "completion_tokens": 34, "total_tokens": 50},
}
