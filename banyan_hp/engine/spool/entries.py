"""The format of the quarantine's entries: one JSON object a line, with a checksum.

    {"crc":"89abcdef","at":1767225600.5,"from":"record","reason":"refused","status":422,"detail":"…",
     "segment":"…","id":"…","t":1767225599.25,"body":{…}}

`crc` is the CRC-32 of all that follows its comma, to the closing brace. `at` is when the entry was added, `t`
the record's own time, both UTC in seconds. `from` is "record", or "line" for a damaged line of the segment
named. The last field holds the very bytes: `body` as they are if they are JSON, else `text`, else `base64`.
"""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

from ...text import clean
from .lines import has_right_crc, is_body, is_count, is_record_id, is_time, with_crc

RECORD, LINE = "record", "line"
UNSCRUBBED = "before_send_failed"  # the reason of records that `before_send` failed on
DETAIL_LENGTH = 1000
_FIELDS = ("reason", "status", "detail", "segment", "id", "at")  # named alike in a line and in an `Entry`


class Entry(NamedTuple):
    """One refused record or damaged line. A line has no id and no time of its own."""

    reason: str  # a short stable word: refused, too_large, forbidden, before_send_failed, corrupt, …
    body: bytes  # as it goes on the wire, or the damaged line
    origin: str = RECORD  # or `LINE`
    status: int | None = None  # None where there was no response
    detail: str = ""  # what the backend said, at most `DETAIL_LENGTH` characters of it
    segment: str | None = None  # its name, if it was on disk
    id: str | None = None
    time: float | None = None
    at: float = 0.0

    @property
    def sendable(self) -> bool:
        """Whether there is a record in it that could be sent."""
        return self.origin == RECORD and self.id is not None and is_body(self.body) and b"\n" not in self.body

    def readable_body(self) -> tuple[str, str]:
        """Under which name the body stands in a line, and its text: `body`, `text` or `base64`."""
        try:
            text = self.body.decode("utf-8")
        except UnicodeDecodeError:
            return "base64", base64.b64encode(self.body).decode("ascii")
        return ("body" if _is_json(self.body) else "text"), text


def format_entry(entry: Entry) -> bytes:
    """The entry as a line, with its line end."""
    head = {
        "at": round(entry.at, 6),
        "from": entry.origin,
        "reason": clean(entry.reason),
        "status": entry.status,
        "detail": clean(entry.detail, DETAIL_LENGTH),
        "segment": entry.segment,
        "id": entry.id,
        "t": entry.time if entry.time is None else round(entry.time, 6),
    }
    name, text = entry.readable_body()
    body = entry.body if name == "body" else json.dumps(text).encode()
    rest = json.dumps(head, separators=(",", ":"))[1:-1].encode()
    return with_crc(b'%s,"%s":%s}' % (rest, name.encode(), body))


def parse_entry(line: bytes) -> Entry | None:
    """The entry in a line without its line end; None if the line is torn or damaged."""
    if not has_right_crc(line):
        return None
    head, has_body, body = line[18:].partition(b',"body":')  # no JSON before it can hold these bytes
    try:
        fields = json.loads(b"{" + head + (b"}" if has_body else b""))
        content = body[:-1] if has_body else _bytes_of(fields)
        alike = {name: fields[name] for name in _FIELDS}
        entry = Entry(body=content, origin=fields["from"], time=fields["t"], **alike)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return entry if _makes_sense(entry) else None


def _makes_sense(entry: Entry) -> bool:
    return (
        all(isinstance(text, str) for text in (entry.reason, entry.origin, entry.detail))
        and (entry.status is None or is_count(entry.status))
        and (entry.segment is None or isinstance(entry.segment, str))
        and (entry.id is None or is_record_id(entry.id))
        and (entry.time is None or is_time(entry.time))
        and is_time(entry.at)
    )


def _bytes_of(fields: dict[str, Any]) -> bytes:
    if "text" in fields:
        return str(fields["text"]).encode("utf-8")
    return base64.b64decode(fields["base64"], validate=True)


def _is_json(raw: bytes) -> bool:
    """Whether it is JSON in UTF-8, on one line."""
    try:
        json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        return False
    return b"\n" not in raw
