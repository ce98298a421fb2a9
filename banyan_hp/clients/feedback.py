"""`feedback_token`: arguments checked, and a token made.

Wrong arguments raise: a page without a token would say nothing to anybody.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from ..foreign import checking, shown
from ..settings import checked_seconds
from .arguments import ID_WANTED, InvalidRecordError, id_text
from .scores import BanyanScores, checked_name

if TYPE_CHECKING:
    from uuid import UUID

MOST_NAMES = 10
MOST_NAME_BYTES = 200  # of all names together, in UTF-8
LONGEST_TTL = 400 * 24 * 3600


class BanyanFeedback(BanyanScores):
    """`score` and `feedback_token` of `PromptStackLogger`."""

    def feedback_token(
        self, record_id: str | int | UUID, names: Sequence[str], ttl: float = 24 * 3600.0
    ) -> str:
        """A token with which a browser may score one call, without a key: `POST /api/feedback`.

        Made here, from the key; nobody is asked. It ends with its time, or with the key that made it. It is
        text for URLs and HTML, and says the record's id and the names to whoever has it.

        Args:
            record_id: of the call that may be scored.
            names: of the scores that may be given, 1 to 10.
            ttl: seconds until it ends, at most 400 days; default: a day.

        Returns:
            The token; the empty text if logging is switched off.

        Raises:
            ConfigurationError: an argument is wrong; or the key is none that a backend of ours has made
                (`banyan-hp keys create`): such a key can't be known to be hard to guess.
        """
        key = self._engine.destination.key if self._settings.enabled else None
        return _token_by(key, record_id, names, ttl)


def _token_by(key: str | None, record_id: object, names: Sequence[str], ttl: float) -> str:
    """A token by this key; the empty text if there is none, as logging is switched off.

    Raises:
        ConfigurationError: an argument is wrong, or the key is none that a backend of ours has made.
    """
    with checking("record_id"):
        ident = id_text(record_id)
    if ident is None:
        raise ConfigurationError(f"record_id must be {ID_WANTED}, was {shown(record_id)}")
    allowed = _checked_names(names)
    seconds = checked_seconds("ttl", ttl)
    if not 0 < seconds <= LONGEST_TTL:
        raise ConfigurationError(f"ttl must be above 0 and at most {LONGEST_TTL} seconds, was {shown(ttl)}")
    if key is None:
        return ""
    from ..feedback_tokens import is_generated, make  # few applications make one

    if not is_generated(key):
        raise ConfigurationError(
            "feedback_token() needs an API key that a backend has made ('banyan-hp keys create'): 'psk_' and "
            "43 characters; this key has another form"
        )
    return make(key, ident, allowed, math.ceil(time.time() + seconds))


def _checked_names(names: Sequence[str]) -> list[str]:
    with checking("names"):
        if isinstance(names, str) or not isinstance(names, Sequence) or not 1 <= len(names) <= MOST_NAMES:
            raise ConfigurationError(f"names must be a list of 1 to {MOST_NAMES} names, was {shown(names)}")
        try:
            found = [checked_name(each) for each in names]
        except InvalidRecordError as error:
            raise ConfigurationError(f"in names, each {error}") from error
        size = sum(len(each.encode()) for each in found)
        if size > MOST_NAME_BYTES:
            raise ConfigurationError(f"names must have at most {MOST_NAME_BYTES} bytes together, was {size}")
        return found
