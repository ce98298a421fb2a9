"""Whether a call is one of those that a filter chooses, said without a database: for calls just arrived.

It says the same as the store does, but for texts: those of a call match at once, before it is indexed.
"""

from __future__ import annotations

from collections.abc import Sequence

from .calls import Call, CallFilter
from .rows import cut
from .scores import SCORE
from .search import Phrase, phrases_of, words_in


class Matcher:
    """A filter, ready to be asked about many calls.

    Raises:
        ValueError: its text has no word.
    """

    def __init__(self, chosen: CallFilter) -> None:
        self._chosen = chosen
        self._equal = {name: cut(value) for name, value in chosen.equal.items()}
        self._phrases = phrases_of(chosen.text) if chosen.text is not None else []

    def __call__(self, call: Call) -> bool:
        """Whether a stored call is meant."""
        chosen = self._chosen
        return (
            call.project == chosen.project
            and (call.source != SCORE or chosen.with_scores)
            and (chosen.since is None or call.event_time >= chosen.since)
            and (chosen.until is None or call.event_time < chosen.until)
            and (chosen.failed is None or (call.error is not None) == chosen.failed)
            and all(getattr(call, name) == value for name, value in self._equal.items())
            and self._has_text(call)
        )

    def _has_text(self, call: Call) -> bool:
        if not self._phrases:
            return True
        words = words_in(call.body)
        return all(_occurs(phrase, words) for phrase in self._phrases)


def _occurs(phrase: Phrase, words: Sequence[str]) -> bool:
    size = len(phrase)
    return any(tuple(words[at : at + size]) == phrase for at in range(len(words) - size + 1))
