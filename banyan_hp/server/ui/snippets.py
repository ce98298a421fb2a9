"""How to read a call from elsewhere: lines to paste into a shell or a Python program. Pure functions."""

from __future__ import annotations

import shlex
from urllib.parse import quote

_VARIABLE = "BANYAN_API_KEY"


def address_of(base_url: str, call_id: str) -> str:
    """Where the API has a call."""
    return f"{base_url}/api/calls/{quote(call_id, safe='')}"


def as_curl(base_url: str, call_id: str) -> str:
    """A command that prints it; the key is in the environment, not in the history of the shell."""
    return f'curl -H "X-API-Key: ${_VARIABLE}" {shlex.quote(address_of(base_url, call_id))}'


def as_python(base_url: str, call_id: str) -> str:
    """A program that gets it."""
    return (
        "import os\n\nimport requests\n\n"
        f"answer = requests.get(\n    {address_of(base_url, call_id)!r},\n"
        f'    headers={{"X-API-Key": os.environ["{_VARIABLE}"]}},\n    timeout=10,\n)\n'
        "answer.raise_for_status()\ncall = answer.json()\n"
    )
