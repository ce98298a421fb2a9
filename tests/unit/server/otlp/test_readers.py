"""Both encodings give the same spans and log records; and what cannot be read says where."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from banyan_hp.server.otlp import json_reader, proto_reader
from banyan_hp.server.otlp.replies import JSON, PROTOBUF, refusal, success
from banyan_hp.server.otlp.signals import UnreadableError
from tests.support.senders import NAMES, as_protobuf, requests_of


@pytest.mark.parametrize("name", NAMES)
def test_protobuf_and_json_are_read_alike(name: str) -> None:
    """All that recorded senders have sent, in either encoding."""
    for sent in requests_of(name):
        if "resourceSpans" in sent.body:
            assert json_reader.spans_of(sent.body) == proto_reader.spans_of(as_protobuf(sent))
        else:
            assert json_reader.logs_of(sent.body) == proto_reader.logs_of(as_protobuf(sent))


def test_every_kind_of_value_is_read() -> None:
    """Bytes as base64, numbers that JSON has no form for by their names, nothing as None."""
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    values = {"text": "ä", "yes": True, "many": 2**62, "part": 0.5, "bytes": b"\x00\xff", "none": None}
    for key, value in values.items():
        attribute = span.attributes.add()
        attribute.key = key
        if value is not None:
            names = {
                str: "string_value",
                bool: "bool_value",
                int: "int_value",
                float: "double_value",
                bytes: "bytes_value",
            }
            setattr(attribute.value, names[type(value)], value)
    for key, number in (("nan", math.nan), ("inf", math.inf)):
        attribute = span.attributes.add()
        attribute.key = key
        attribute.value.double_value = number
    (read,) = proto_reader.spans_of(request.SerializeToString())
    assert read.attributes == {**values, "bytes": "AP8=", "nan": "nan", "inf": "inf"}


@pytest.mark.parametrize("seed", range(20))
def test_no_bytes_break_the_reader(seed: int) -> None:
    """Whatever comes is read, or refused."""
    chance = random.Random(seed)
    good = as_protobuf(requests_of("strands-1.62.0")[0])
    for _ in range(20):
        broken = bytearray(good[: chance.randrange(len(good))])
        for _ in range(3):
            broken[chance.randrange(len(broken) or 1) : 0] = bytes([chance.randrange(256)])
        try:
            proto_reader.spans_of(bytes(broken))
        except UnreadableError as error:
            assert "ExportTraceServiceRequest" in str(error)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["resourceSpans", "resource", "scopeSpans", "scope", "spans", "attributes", "key", "value", "events",
         "stringValue", "intValue", "doubleValue", "arrayValue", "kvlistValue", "values", "traceId", "status",
         "startTimeUnixNano", "name", "links", "kind"]), inner, max_size=4),
    max_leaves=25,
)  # fmt: skip


@given(_json)
def test_no_json_breaks_the_reader(value: object) -> None:
    """Whatever comes is read, or refused by the name of a field."""
    for wrapped in (value, {"resourceSpans": [{"scopeSpans": [{"spans": [value]}]}]}):
        try:
            json_reader.spans_of(wrapped)
        except UnreadableError as error:
            assert " must be " in str(error) or " belong to " in str(error)


def test_replies_are_the_standards() -> None:
    """As its own messages read them, with counts and texts beyond a byte."""
    reply = ExportTraceServiceResponse.FromString(success(PROTOBUF, "rejectedSpans", 300, "ü" * 200))
    assert (reply.partial_success.rejected_spans, reply.partial_success.error_message) == (300, "ü" * 200)
    assert success(PROTOBUF, "rejectedSpans", 0, None) == b""
    assert success(JSON, "rejectedSpans", 0, None) == b"{}"
    assert refusal(PROTOBUF, "no") == b"\x12\x02no"
