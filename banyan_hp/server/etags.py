"""Answers that a client need not fetch again: the ETag, and 304 to who has that answer already."""

from __future__ import annotations

import hashlib
import re

from starlette.requests import Request
from starlette.responses import Response

from banyan_hp.server.answers import Json

_OPAQUE_TAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')  # RFC 9110, 8.8.3; without the W/ of a weak one


def tagged(request: Request, content: object) -> Response:
    """`content` with a strong ETag over the whole body, or 304 when the caller's `If-None-Match` has it."""
    answer = Json(content)
    tag = f'"{hashlib.sha256(answer.body).hexdigest()[:32]}"'
    if _has(request, tag):
        return Response(status_code=304, headers={"ETag": tag})
    answer.headers["ETag"] = tag
    return answer


def _has(request: Request, tag: str) -> bool:
    """Whether `If-None-Match` names the tag, by the weak comparison of RFC 9110, 13.1.2."""
    condition = ",".join(request.headers.getlist("if-none-match"))
    return condition.strip() == "*" or tag in _OPAQUE_TAG.findall(condition)
