"""The `traceparent` header of W3C Trace Context: which trace a caller's request belongs to.

Source: https://www.w3.org/TR/trace-context/#traceparent-header
"""

from __future__ import annotations

import re

_HEADER = re.compile(
    r"([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.ASCII
)
_LONGEST = 512


def parse(header: str) -> tuple[str, str] | None:
    """The trace's id (32 hexadecimal digits) and that of the caller's span (16); None if it is not valid.

    Upper-case digits, ids of zeroes and version ff are not valid. A version after 00 may have more fields,
    which are not read.
    """
    found = _HEADER.fullmatch(header) if len(header) <= _LONGEST else None
    if found is None:
        return None
    version, trace_id, span_id, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    return trace_id, span_id
