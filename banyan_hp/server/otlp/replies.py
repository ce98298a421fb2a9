"""The responses that OTLP asks for, in the encoding of the request.

A success is an empty message; one that leaves something out says how much, and why. A refusal is a
`google.rpc.Status`, of which only the message is filled. Both are small enough to write by hand.

Source: https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
"""

from __future__ import annotations

import json

JSON, PROTOBUF = "application/json", "application/x-protobuf"
_VARINT, _BYTES = 0, 2  # wire types
_MOST = 1000  # characters of a message


def success(encoding: str, name: str, rejected: int, reason: str | None) -> bytes:
    """That of an export; `name` is ``rejectedSpans`` or ``rejectedLogRecords``."""
    message = (reason or "")[:_MOST]
    if not rejected and not message:
        return b"{}" if encoding == JSON else b""
    if encoding == JSON:
        return _json({"partialSuccess": {name: str(rejected), "errorMessage": message}})
    partial = _number(1, rejected) + _text(2, message)
    return _field(1, _BYTES) + _varint(len(partial)) + partial


def refusal(encoding: str, message: str) -> bytes:
    """That of a request which is refused as a whole. Its `error` is what all refusals here have."""
    if encoding == JSON:
        return _json({"message": message[:_MOST], "error": message[:_MOST]})
    return _text(2, message[:_MOST])


def _json(value: object) -> bytes:
    return json.dumps(value).encode("ascii")


def _text(number: int, text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    return _field(number, _BYTES) + _varint(len(data)) + data if data else b""


def _number(number: int, value: int) -> bytes:
    return _field(number, _VARINT) + _varint(value) if value else b""


def _field(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
