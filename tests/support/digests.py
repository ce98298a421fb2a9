"""A hash of data, however it is laid out in its file."""

from __future__ import annotations

import hashlib
import json


def digest(data: object) -> str:
    """The SHA-256 of the data as JSON."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
