"""What people want to see of a call first, wherever its client put it: input, output, metadata."""

from __future__ import annotations

from typing import Any

from .calls import Call

_NAMES = {
    "banyan": {"input": "input", "output": "output"},
    "huggingplace": {"input": "user_prompt", "output": "response"},
}


def texts_of(call: Call) -> dict[str, Any]:
    """Input, output and metadata of a call; None where it has none."""
    names = _NAMES.get(call.source, _NAMES["banyan"])
    return {
        **{name: call.body.get(field) for name, field in names.items()},
        "metadata": call.body.get("metadata"),
    }
