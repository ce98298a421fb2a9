"""OTLP as opentelemetry-proto reads it, and a collector to send it to."""

from __future__ import annotations

import base64
import json
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.scripted import Request

_IDS = {"traceId", "spanId", "parentSpanId"}
Message = ExportTraceServiceRequest | ExportLogsServiceRequest


def parsed(request: Request) -> dict[str, Any]:
    """A request's body as the standard's own package understands it, as JSON with hex ids.

    That package reads ids in JSON as base64, which OTLP does not have: they are converted before.
    """
    return parsed_body(request.path, request.headers["content-type"], request.body)


def parsed_body(path: str, content_type: str, body: bytes) -> dict[str, Any]:
    message = ExportTraceServiceRequest() if path.endswith("/traces") else ExportLogsServiceRequest()
    if content_type == "application/x-protobuf":
        message.ParseFromString(body)
    else:
        assert content_type == "application/json"
        ParseDict(_with_ids(json.loads(body), _to_base64), message)
    found = _with_ids(MessageToDict(message), _to_hex)
    assert isinstance(found, dict)
    return found


def _to_base64(ident: str) -> str:
    return base64.b64encode(bytes.fromhex(ident)).decode()


def _to_hex(ident: str) -> str:
    return base64.b64decode(ident).hex()


def _with_ids(value: Any, convert: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: convert(each) if name in _IDS else _with_ids(each, convert) for name, each in value.items()
        }
    return [_with_ids(each, convert) for each in value] if isinstance(value, list) else value


def spans_in(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        span
        for resource in message["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def log_records_in(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        record
        for resource in message["resourceLogs"]
        for scope in resource["scopeLogs"]
        for record in scope["logRecords"]
    ]


def attributes(item: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a span, log record or resource, as plain values."""
    return {each["key"]: plain(each["value"]) for each in item["attributes"]}


def plain(value: dict[str, Any]) -> Any:
    ((kind, content),) = value.items()
    if kind == "arrayValue":
        return [plain(each) for each in content.get("values", [])]
    return int(content) if kind == "intValue" else content
