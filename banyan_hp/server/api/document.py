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
_REFUSED = {
    "description": "Refused: 401 and 403 for the key, 400 for the query and what can't be read, 422 for the "
    "body, 404, 409, 413; or, with Retry-After, a 503 that passes",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}},
}


class DocumentedApp(FastAPI):
    """FastAPI, whose document says how requests are refused here."""

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for operation in _operations(document):
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = _REFUSED
                for content in operation.get("requestBody", {}).get("content", {}).values():
                    schemas |= content["schema"].pop("$defs", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            schemas["Refusal"] = _REFUSAL
            self.openapi_schema = document
        return self.openapi_schema


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()
