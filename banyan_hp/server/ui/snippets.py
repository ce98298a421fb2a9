"""A call as lines to paste into a shell or a program: to read it, or to ask its model again. Pure functions.

Keys and addresses of services are in the environment, not in the history of a shell. Texts are data wherever
they stand: quoted for a shell, JSON or literals in ASCII; so nothing in them is run.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..store.calls import Call
from ..store.shown import texts_of
from .conversation import is_nothing, opened
from .texts import as_text, in_ascii

_VARIABLE = "BANYAN_API_KEY"
_END = "END_OF_REQUEST"


def address_of(base_url: str, call_id: str) -> str:
    """Where the API has a call."""
    return f"{base_url}/api/calls/{quote(call_id.encode('utf-8', 'replace'), safe='')}"


def as_curl(base_url: str, call_id: str) -> str:
    """A command that prints it."""
    return f'curl -H "X-API-Key: ${_VARIABLE}" {shlex.quote(address_of(base_url, call_id))}'


def as_python(base_url: str, call_id: str) -> str:
    """A program that gets it."""
    return (
        "import os\n\nimport requests\n\n"
        f"response = requests.get(\n    {address_of(base_url, call_id)!r},\n"
        f'    headers={{"X-API-Key": os.environ["{_VARIABLE}"]}},\n    timeout=10,\n)\n'
        "response.raise_for_status()\ncall = response.json()\n"
    )


def request_of(call: Call) -> dict[str, Any] | None:
    """What asks the model again, as services with OpenAI's API take it; None: that can't be told of it."""
    asked = texts_of(call)["input"]
    if call.model is None or is_nothing(asked):
        return None
    value = opened(asked)
    listed = value.get("messages") if isinstance(value, Mapping) else value
    messages = listed if isinstance(listed, list) and all(map(_is_message, listed)) else None
    return {"model": call.model, "messages": messages or [{"role": "user", "content": as_text(asked)}]}


def _is_message(value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("role"), str)


def asked_by_curl(request: Mapping[str, Any]) -> str:
    """A command that sends it; on its input, since an argument may have 128 KiB at most."""
    return (
        'curl "${OPENAI_BASE_URL:-https://api.openai.com/v1}/chat/completions" \\\n'
        '  -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" \\\n'
        f"  --data-binary @- <<'{_END}'\n{in_ascii(request, indent=None)}\n{_END}\n"
    )


def asked_by_python(request: Mapping[str, Any]) -> str:
    """A program that sends it."""
    return (
        "import os\n\nimport requests\n\n"
        'base_url = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1")\n'
        'response = requests.post(\n    f"{base_url}/chat/completions",\n'
        '    headers={"Authorization": f"Bearer {os.environ[\'OPENAI_API_KEY\']}"},\n'
        f"    json={request!a},\n    timeout=60,\n)\n"
        "response.raise_for_status()\nprint(response.json())\n"
    )
