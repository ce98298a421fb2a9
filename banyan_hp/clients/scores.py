"""Scores: what a user, or a program, thinks of a call. A score is a record, and takes a record's way.

On the wire it is a record with nothing in its texts (HuggingPlace: "[score]" in both) and all of it in
`metadata.banyan_hp`, whose `kind` is "score" and whose `v` is 1: `name`, `value`, what it is about
(`record_id`, `session_id`, `sticky_key` and `sticky_value`), `experiment_id`, `experiment_version_id`,
`comment`. What was not given is left out. The record's own id and time are those of any other.

Like a log call, `score` never raises: the functions here raise `InvalidRecordError` for its outer guard.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ..engine.captures import open_captures
from ..engine.records.freeze import cut_text
from ..engine.records.ledger import Term
from ..foreign import as_dict, is_uuid, kind_of, signed_number
from ..prompts.data import PromptData
from ..settings import Settings
from ..tracking.context import with_ambient
from .arguments import (
    NO_NAMES,
    InvalidRecordError,
    add_given,
    check_usage,
    experiment_fields,
    prompt_fields,
    switches_logging_off,
)
from .base import Client
from .content import ContentRules

if TYPE_CHECKING:
    from uuid import UUID

    from .questions import StickyContext
    from .receipts import Receipt

MOST_NAME = 100  # characters
MOST_TEXT = 200
LARGEST = 1e15  # number; sums of squares stay exact enough
MOST_ID = 255
MOST_COMMENT = 2_000
_CUT_COMMENT = MOST_COMMENT - 40  # so that the marker has room
_TOO_LATE = 253_402_300_800  # the year 10000
PLACEHOLDER = "[score]"  # where the backend refuses an empty text


class Given(NamedTuple):
    """The arguments of a `score` call, as they came."""

    name: Any
    value: Any
    record_id: Any = None
    session_id: Any = None
    sticky_context: Any = None
    prompt_data: Any = None
    experiment_context: Any = None
    comment: Any = None
    at: Any = None

    @property
    def says_of_what(self) -> bool:
        """Whether it names what it is about by itself."""
        return (self.record_id, self.session_id, self.sticky_context) != (None, None, None)


class Score(NamedTuple):
    """A good one.

    Attributes:
        content: `metadata.banyan_hp` of its record.
        prompt: the fields of the record that name the prompt.
        at: when it was given, in seconds since 1970; None: now.
        cut: its comment was too long.
    """

    content: dict[str, Any]
    prompt: dict[str, Any]
    at: float | None
    cut: bool


def score_of(given: Given) -> Score:
    """Check the arguments.

    Raises:
        InvalidRecordError: one is wrong; or nothing says what the score is about.
        Exception: whatever the caller's objects raise.
    """
    check_usage(given.prompt_data, None, given.experiment_context)
    comment, cut = _comment(given.comment)
    experiment = experiment_fields(given.prompt_data, given.experiment_context)
    content: dict[str, Any] = {
        "kind": "score",
        "v": 1,
        "name": checked_name(given.name),
        "value": _value(given.value),
    }
    add_given(
        content,
        {
            "record_id": _ident("record_id", given.record_id),
            "session_id": _ident("session_id", given.session_id),
            **experiment,
            **_sticky(given.sticky_context, experiment.get("sticky_key")),
            "comment": comment,
        },
    )
    if not {"record_id", "session_id", "sticky_value"} & content.keys():
        raise InvalidRecordError(
            "a score must say what it is about: give it a record_id, a session_id or a sticky_context"
        )
    prompt: dict[str, Any] = {}
    add_given(prompt, prompt_fields(given.prompt_data, *NO_NAMES))
    return Score(content, prompt, _time(given.at), cut)


def usage_of(score: Score) -> dict[str, Any]:
    """The body of its record, in Banyan's form."""
    return {"input": "", "output": "", "metadata": with_ambient({"banyan_hp": score.content}), **score.prompt}


def interaction_of(score: Score) -> dict[str, Any]:
    """The body of its record, in HuggingPlace's form."""
    return {"user_prompt": PLACEHOLDER, "response": PLACEHOLDER, "metadata": {"banyan_hp": score.content}}


# -- arguments -----------------------------------------------------------------------------------------------


def checked_name(name: object) -> str:
    """The name of a score."""
    if isinstance(name, str) and 1 <= len(name) <= MOST_NAME and str.isprintable(name):
        return str.__str__(name)
    raise InvalidRecordError(
        f"name must be a text of 1 to {MOST_NAME} printable characters, was {_kind(name)}"
    )


def _value(value: Any) -> bool | float | str:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if 1 <= len(value) <= MOST_TEXT and _is_storable(value):
            return str.__str__(value)
    elif (found := signed_number(value)) is not None and abs(found) <= LARGEST:
        return found
    elif getattr(getattr(value, "dtype", None), "kind", "") == "b" and not getattr(value, "ndim", 0):
        return bool(value)  # numpy's
    raise InvalidRecordError(
        f"value must be True, False, a number from -1e15 to 1e15, or a text of 1 to {MOST_TEXT} characters, "
        f"was {_kind(value)}"
    )


def _ident(argument: str, given: Any) -> str | None:
    if given is None:
        return None
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    text = str(given) if is_number or is_uuid(given) else given
    if isinstance(text, str) and 1 <= len(text) <= MOST_ID and _is_storable(text):
        return str.__str__(text)
    raise InvalidRecordError(
        f"{argument} must be a text of 1 to {MOST_ID} characters, a number or a UUID, was {_kind(given)}"
    )


def _sticky(context: Any, experiment_key: str | None) -> dict[str, str]:
    """The pair that the score's experiment goes by, else the first one; those without a value are none."""
    if context is None:
        return {}
    if not isinstance(context, Mapping):
        raise InvalidRecordError(f"sticky_context must be a dict, was {kind_of(context)}")
    pairs = [
        (key, value)
        for key, value in as_dict(context).items()
        if value is not None and not (isinstance(value, str) and not value)
    ]
    if not pairs:
        return {}
    key, value = next((pair for pair in pairs if pair[0] == experiment_key), pairs[0])
    if not isinstance(key, str) or not key:
        raise InvalidRecordError(f"a key of sticky_context must be a text, was {kind_of(key)}")
    text = _ident("a value of sticky_context", value)
    return {"sticky_key": str.__str__(key), "sticky_value": text or ""}


def _comment(comment: Any) -> tuple[str | None, bool]:
    """The comment, and whether it is cut. People type it, so that nothing in it costs the score."""
    if comment is None:
        return None, False
    if not isinstance(comment, str):
        raise InvalidRecordError(f"comment must be a text or None, was {kind_of(comment)}")
    text = str.__str__(comment).replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    if len(text) > MOST_COMMENT:
        return cut_text(text, _CUT_COMMENT), True
    return text or None, False


def _time(at: Any) -> float | None:
    if at is None:
        return None
    is_date = isinstance(at, datetime)
    seconds = signed_number(at)
    if is_date and at.utcoffset() is not None:
        seconds = at.timestamp()
    if seconds is None or not 0 <= seconds < _TOO_LATE:
        was = "a datetime without a time zone" if is_date and at.utcoffset() is None else _kind(at)
        raise InvalidRecordError(
            f"at must be a datetime with a time zone, or a number of seconds since 1970, was {was}"
        )
    return float(seconds)


def _is_storable(text: str) -> bool:
    """Whether a column can hold it: PostgreSQL takes no NUL, and UTF-8 no lone surrogates."""
    return "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _kind(value: object) -> str:
    """What is wrong with a value, without the value."""
    if not isinstance(value, str) or not value:
        return kind_of(value)
    unprintable = "" if str.isprintable(value) else ", some of them not printable"
    return f"a text of {len(value)} characters{unprintable}"


# -- what the clients offer ----------------------------------------------------------------------------------


class BanyanScores(Client):
    """`score` of `PromptStackLogger`."""

    _settings: Settings
    _content: ContentRules

    def score(
        self,
        name: str,
        value: bool | float | str,
        *,
        record_id: str | int | UUID | None = None,
        session_id: str | float | UUID | None = None,
        sticky_context: StickyContext | None = None,
        prompt_data: PromptData | None = None,
        experiment_context: Mapping[str, str | None] | None = None,
        comment: str | None = None,
        at: datetime | float | None = None,
    ) -> bool:
        """Score a call, a session or a user: `banyan.score("thumbs", True, record_id="answer-17")`.

        A score is a record: in the background, on disk while the backend is down, delivered once by its id.
        It may arrive before what it is about, or days later. All scores are kept; of those with one name and
        one rater about the same thing, the last one counts. Never raises.

        Args:
            name: what is scored: 1 to 100 printable characters.
            value: True or False, a number (at most 1e15), or a category: a text of 1 to 200 characters.
            record_id: of the call that it is about: what `log_prompt(record_id=…)` was given, or an
                interaction's `record_id`.
            session_id: of the session that it is about.
            sticky_context: the user that it is about, by the key that the experiment goes by. A score takes
                one of several keys: that of the experiment of `prompt_data` or `experiment_context`, else the
                first with a value.
            prompt_data: the prompt that was used; the score gets its ids and its experiment.
            experiment_context: as in `log_prompt`. Its sticky value is a user to be about.
            comment: a text of the rater's; beyond 2,000 characters it is cut (`values_cut`).
            at: when it was given, if not now: a datetime with a time zone, or seconds since 1970.

        Returns:
            As `log_prompt`. False also if the score is not sent, counted as `scores_not_sent`: the hosted
            backend would show it as a call, so it gets scores only with `send_scores=True`.
        """
        if not self._settings.enabled and not open_captures:
            return True
        try:
            if switches_logging_off(prompt_data):
                return True
            about = (record_id, session_id, sticky_context, prompt_data, experiment_context)
            score = score_of(Given(name, value, *about, comment, at))
            if self._score_kept_back() is not None:
                return False
            return self._submit_score(score)
        except Exception as error:  # noqa: BLE001 - the caller's objects may raise anything
            self._not_logged("score()", error)
            return False

    def _submit_score(self, score: Score) -> bool:
        engine, body, longest = self._engine, usage_of(score), self._settings.max_record_bytes
        if score.cut:
            engine.count("values_cut")
        body, deferred = self._content.hidden(body, None, None)
        if score.at is None:
            record = engine.submit(body, max_text=longest, deferred=deferred)
        else:
            record = engine.submit_at(body, score.at, max_text=longest, deferred=deferred)
        if record is None:
            return False
        if not self._settings.background_thread:
            return record.term is Term.DELIVERED
        return not record.turned_away


class HuggingPlaceScores:
    """`score` of `HuggingPlace` and of its sessions."""

    def _score(self, given: Given) -> Receipt:
        raise NotImplementedError

    def score(
        self,
        name: str,
        value: bool | float | str,
        *,
        record_id: str | int | UUID | None = None,
        session_id: str | float | UUID | None = None,
        sticky_context: StickyContext | None = None,
        prompt_data: PromptData | None = None,
        experiment_context: Mapping[str, str | None] | None = None,
        comment: str | None = None,
        at: datetime | float | None = None,
    ) -> Receipt:
        """Score an interaction, a session or a user: `client.score("thumbs", True, record_id=receipt.id)`.

        A score is a record: in the background, on disk while the backend is down, delivered once by its id.
        It may arrive before what it is about, or days later. All scores are kept; of those with one name and
        one rater about the same thing, the last one counts. Never raises.

        Args:
            name: what is scored: 1 to 100 printable characters.
            value: True or False, a number (at most 1e15), or a category: a text of 1 to 200 characters.
            record_id: of the record that it is about: a receipt's `id`, an interaction's `record_id`.
            session_id: of the session that it is about; default of a session's `score`, where nothing else
                says what it is about: the session.
            sticky_context: the user that it is about, by the key that the experiment goes by:
                `{"user_id": "u1"}`. A score takes one of several keys: that of the experiment of
                `prompt_data` or `experiment_context`, else the first with a value.
            prompt_data: a prompt of the Banyan client; the score gets its experiment.
            experiment_context: what the prompt's `get_experiment_context()` returned.
            comment: a text of the rater's; beyond 2,000 characters it is cut (`values_cut`).
            at: when it was given, if not now: a datetime with a time zone, or seconds since 1970.

        Returns:
            A receipt, as of `log`. It holds an error if the score is not accepted, or not sent, which is
            counted as `scores_not_sent`: the hosted backend would show it as an interaction, so it gets
            scores only with `send_scores=True`.
        """
        about = (record_id, session_id, sticky_context, prompt_data, experiment_context)
        return self._score(Given(name, value, *about, comment, at))
