"""Feedback tokens: with one, somebody without a key may rate one record, for a time. Pure functions.

A client makes them without asking the backend, and the backend, which keeps only a key's digest, checks them:

    digest    = SHA-256( key )
    key id    = the first 12 hex digits of SHA-256( "banyan_hp key id" + digest )
    secret    = HMAC-SHA256( digest, "banyan_hp feedback token 1" )
    payload   = {"k": key id, "r": record id, "n": [names], "e": expiry in seconds since 1970}, as JSON
    signed    = "f1." + base64url( payload )
    token     = signed + "." + base64url( HMAC-SHA256( secret, signed ) )

Both are base64url without padding. The test vector is in `tests/unit/test_feedback_tokens.py`.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple

MOST_CHARACTERS = 1024  # of a token that is looked at
_GENERATED = re.compile(r"psk_[A-Za-z0-9_-]{43}", re.ASCII)
_TOKEN = re.compile(r"(f1\.([A-Za-z0-9_-]+))\.([A-Za-z0-9_-]{43})", re.ASCII)
_KEY_ID = re.compile(r"[0-9a-f]{12}", re.ASCII)
_NO_KEY = bytes(32)


class Permission(NamedTuple):
    """What a token permits; worth something only if `is_signed` says so."""

    key_id: str
    record_id: str
    names: tuple[str, ...]
    expires: int
    signed: str
    """The part of the token that is signed: names the permission, whatever else is done to the token."""


def is_generated(key: str) -> bool:
    """Whether it is of the form of the keys that a backend makes, which are too random to be guessed."""
    return _GENERATED.fullmatch(key) is not None


def digest_of(key: str) -> bytes:
    """All that a backend keeps of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def key_id_of(digest: bytes) -> str:
    """The id of the key with this digest."""
    return hashlib.sha256(b"banyan_hp key id" + digest).hexdigest()[:12]


def make(key: str, record_id: str, names: Sequence[str], expires: int) -> str:
    """A token by this key."""
    digest = digest_of(key)
    payload = {"k": key_id_of(digest), "r": record_id, "n": list(names), "e": expires}
    text = json.dumps(payload, separators=(",", ":"), ensure_ascii=False)
    signed = f"f1.{_base64(text.encode('utf-8'))}"
    return f"{signed}.{_signature(signed, digest)}"


def read(token: str) -> Permission | None:
    """What a token says, whoever made it; None if it is none."""
    found = _TOKEN.fullmatch(token) if len(token) <= MOST_CHARACTERS else None
    if found is None:
        return None
    try:
        payload = json.loads(urlsafe_b64decode(found[2] + "=" * (-len(found[2]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    return _permission(payload, found[1]) if isinstance(payload, dict) else None


def _permission(payload: dict[str, Any], signed: str) -> Permission | None:
    key_id, record_id = payload.get("k"), payload.get("r")
    names, expires = payload.get("n"), payload.get("e")
    if not isinstance(key_id, str) or _KEY_ID.fullmatch(key_id) is None:
        return None
    if not isinstance(record_id, str) or not isinstance(names, list) or type(expires) is not int:
        return None
    if not all(isinstance(name, str) for name in names):
        return None
    return Permission(key_id, record_id, tuple(names), expires, signed)


def is_signed(token: str, digest: bytes | None) -> bool:
    """Whether the key with this digest has made the token.

    None is for a key that is not known: it has not, and that takes as long to find out.
    """
    signed, _, signature = token.rpartition(".")
    expected = _signature(signed, digest or _NO_KEY)
    same = hmac.compare_digest(expected.encode("ascii"), signature.encode("utf-8", "surrogatepass"))
    return same and digest is not None


def _signature(signed: str, digest: bytes) -> str:
    secret = hmac.digest(digest, b"banyan_hp feedback token 1", "sha256")
    return _base64(hmac.digest(secret, signed.encode("utf-8", "surrogatepass"), "sha256"))


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
