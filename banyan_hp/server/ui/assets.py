"""Style sheets and scripts: files of this package, each under an address that has its hash in it."""

from __future__ import annotations

import hashlib
import mimetypes
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

_FOR_EVER = "public, max-age=31536000, immutable"
_HASH_CHARACTERS = 12


class _Asset(NamedTuple):
    content: bytes
    media_type: str
    hash: str


def assets_routes() -> list[Route]:
    """The routes of all assets. They are everybody's: the login page needs them, too."""
    return [
        Route("/static/{name}", _serve, methods=["GET"]),
        Route("/favicon.ico", _icon, methods=["GET"]),  # browsers ask for it where a text is all there is
    ]


def address(name: str) -> str:
    """Where an asset is; another address with another content, so that browsers may keep it."""
    return f"/static/{name}?v={_assets()[name].hash}"


async def _serve(request: Request) -> Response:
    asset = _assets().get(request.path_params["name"])
    if asset is None:
        raise HTTPException(404)
    headers = {"Cache-Control": _FOR_EVER, "X-Content-Type-Options": "nosniff"}
    return Response(asset.content, media_type=asset.media_type, headers=headers)


async def _icon(_request: Request) -> Response:
    return RedirectResponse(address("icon.svg"), headers={"Cache-Control": "public, max-age=86400"})


@cache
def _assets() -> dict[str, _Asset]:
    return {
        each.name: _asset(each.name, each.read_bytes()) for each in (files(__package__) / "static").iterdir()
    }


def _asset(name: str, content: bytes) -> _Asset:
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return _Asset(content, media_type, hashlib.sha256(content).hexdigest()[:_HASH_CHARACTERS])
