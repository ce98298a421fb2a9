"""The document of the API, ``/openapi.json``: FastAPI's, with our form of refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

_REFUSAL = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string", "description": "one sentence: what is wrong, and what is allowed"},
        "code": {"type": "string", "description": "for programs, where there is more than one reason"},
        "id": {"type": "string", "description": "of the record that is refused"},
    },
}
_ALWAYS = {
    "400": "the query, a header or the body can't be read",
    "401": "no key, or not one of this backend's",
    "403": "the key is for another project, or has too small a role",
    "421": "the Host header names another machine",
    "503": "the database can't be used now; with Retry-After, it may pass",
}
_WITH_PATH = {"404": "there is nothing of that name"}
_WITH_BODY = {
    "404": "what the body names is not there",
    "408": "the body did not arrive in time",
    "409": "it is taken, or was changed meanwhile",
    "413": "the body is too large",
    "415": "the body is encoded in a way that is not known here",
    "422": "the body is not as described",
}


class DocumentedApp(FastAPI):
    """FastAPI, whose document says how requests are refused here."""

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for path, operation in _operations(document):
                operation["responses"].pop("422", None)  # FastAPI's own
                _add_refusals(path, operation)
                for content in operation.get("requestBody", {}).get("content", {}).values():
                    schemas |= content["schema"].pop("$defs", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            schemas["Refusal"] = _REFUSAL
            self.openapi_schema = document
        return self.openapi_schema


def _add_refusals(path: str, operation: dict[str, Any]) -> None:
    has_body = "requestBody" in operation
    if "security" not in operation and not has_body:
        return
    refusals = {**_ALWAYS, **(_WITH_PATH if "{" in path else {}), **(_WITH_BODY if has_body else {})}
    if "security" not in operation:
        del refusals["401"]
    own = {status: each["description"] for status, each in operation["responses"].items() if status >= "4"}
    refusals |= own
    schema = {"schema": {"$ref": "#/components/schemas/Refusal"}}
    for status, why in refusals.items():
        operation["responses"][status] = {"description": why, "content": {"application/json": schema}}


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        yield from ((path, operation) for operation in item.values())
