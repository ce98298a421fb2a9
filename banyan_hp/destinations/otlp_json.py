"""OTLP/JSON as the strictest collector takes it, written piece by piece. Pure.

Ids are in small hex letters, times and 64-bit integers texts, enums numbers, and what is absent has no
field. Written by hand: a dict for each attribute costs more than all else that a sender does for a record,
not least in the garbage collector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from ..engine.records.encode import encode, encode_text
from .attributes import Value
from .items import LogRecord, Span

Pieces = list[bytes]


def spans_json(spans: Sequence[Span]) -> bytes:
    """The spans as an array."""
    pieces: Pieces = []
    for span in spans:
        parent = f'"parentSpanId":"{span.parent}",' if span.parent else ""
        head = (
            f',{{"traceId":"{span.trace}","spanId":"{span.span}",{parent}"kind":{span.kind},'
            f'"startTimeUnixNano":"{span.start}","endTimeUnixNano":"{span.end}","name":'
        )
        pieces += (head.encode(), encode_text(span.name))
        _attributes(pieces, span.attributes)
        if span.failure is not None:
            pieces += (b',"status":{"code":2,"message":', encode_text(span.failure), b"}")
        pieces.append(b"}")
    return _array(pieces)


def log_records_json(records: Sequence[LogRecord]) -> bytes:
    """The log records as an array."""
    pieces: Pieces = []
    for record in records:
        around = f'"traceId":"{record.trace}","spanId":"{record.span}",' if record.trace else ""
        head = (
            f',{{"timeUnixNano":"{record.time}","observedTimeUnixNano":"{record.time}",{around}'
            f'"severityNumber":{record.severity},"eventName":"{record.event}"'
        )
        pieces.append(head.encode())
        _attributes(pieces, record.attributes)
        pieces.append(b"}")
    return _array(pieces)


def attributes_json(attributes: Mapping[str, Value]) -> bytes:
    """As the field of an object."""
    pieces: Pieces = []
    _attributes(pieces, attributes)
    return b"".join(pieces)[1:]


def _array(pieces: Pieces) -> bytes:
    return b"[%s]" % b"".join(pieces)[1:]


def _attributes(pieces: Pieces, attributes: Mapping[str, Value]) -> None:
    """Most records have the same attributes as the one before: only the values are new."""
    template = _template(tuple(attributes), tuple(map(type, attributes.values())))
    pieces.append(
        template % tuple([encode_text(v) if type(v) is str else _other(v) for v in attributes.values()])
    )


@lru_cache(maxsize=4096)
def _template(keys: tuple[str, ...], kinds: tuple[type, ...]) -> bytes:
    """The attributes with room for their values."""
    made = [
        b'{"key":%s,"value":{"%s":%%s}}' % (encode_text(key).replace(b"%", b"%%"), _FIELDS[kind])
        for key, kind in zip(keys, kinds, strict=True)
    ]
    return b',"attributes":[%s]' % b",".join(made)


_FIELDS: dict[type, bytes] = {
    str: b"stringValue",
    int: b"intValue",
    float: b"doubleValue",
    bool: b"boolValue",
    list: b"arrayValue",
}


def _other(value: Value) -> bytes:
    if isinstance(value, int) and not isinstance(value, bool):
        return b'"%d"' % value
    if isinstance(value, list):
        return encode({"values": [{"stringValue": each} for each in value]})
    return encode(value)
