"""The header `traceparent` of the W3C's Trace Context: a request's trace, and the span that sent it."""

from __future__ import annotations

import re

_HEADER = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_LONGEST = 512  # characters


def parse(header: str) -> tuple[str, str] | None:
    """The ids of trace and span, 32 and 16 hexadecimal digits; None for what is no such header.

    As https://www.w3.org/TR/trace-context/#traceparent-header says: digits are in lower case, no id is all
    zeros, no version is ff, and only versions after 00 may have more fields.
    """
    found = _HEADER.fullmatch(header) if len(header) <= _LONGEST else None
    if found is None or (found[1] == "00" and found[4] is not None):
        return None
    return found[2], found[3]
