"""Sampling: which records are logged, and at which rate.

A record is logged at a rate from 0 to 1, and says so in `metadata.banyan_hp.sample_rate`: it stands for
1 / rate calls. The rate is that of the settings, `sample_rate`, or what `sampler` returns for it. Errors and
records of experiments are logged whatever these say, with the rate 1. Scores are not sampled.

What belongs together is logged together, in every process, as its key decides. That is the first there is of

1. the record's `session_id`,
2. the session, the trace, or else the id of the outermost interaction that the record is logged in,
3. the record's `trace_id`,
4. its own id, or else chance.

A record is logged if the first 8 bytes of the SHA-256 of "banyan_hp sampling", a zero byte and the key in
UTF-8, read as a number, are less than rate * 2**64. What is logged at one rate is logged at each higher one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from threading import get_ident
from types import MappingProxyType
from typing import Any, NamedTuple

from ..engine.captures import open_captures
from ..engine.engine import Engine
from ..engine.policy.retry import chance
from ..engine.records.record import Deferred
from ..foreign import as_dict, is_deliberate, kind_of, number, trouble, type_name
from ..logs import suppressed_threads, warn
from ..prompts.data import PromptData
from ..settings import Sampler
from ..tracking.context import something_here, with_ambient
from ..tracking.interaction import outermost
from ..tracking.scopes import current
from .arguments import NO_NAMES, add_given, check_usage, experiment_fields, id_text, prompt_fields

MARK = "banyan_hp"
RATE = "sample_rate"
_ALL = 2**64
_LEFT_OUT = (False, None)
_TELLING = frozenset({"error", "error_type", "experiment_id", "step_data", "step_details"})
_FIELDS = ("metadata", "session_id", "step_data", "experiment_id")  # of HuggingPlace's records

Usage = tuple[
    Any, Any, Any, Any, PromptData | None, tuple[Any, Any, Any, Any], Mapping[str, str | None] | None
]
"""Arguments of `log_prompt`: input, output, metadata, model, prompt, its names, experiment's context."""


class Candidate(NamedTuple):
    """What a log call was given.

    Attributes:
        metadata: with what surrounds the call; of whatever kind.
        session: the record's field, if its client has one.
        steps: likewise.
        ident: the id that the caller gives it.
        experiment: whether it belongs to an experiment.
        deferred: completes it later.
        fields: makes what a `sampler` sees.
    """

    metadata: Any
    session: Any
    steps: Any
    ident: str | None
    experiment: bool
    deferred: Deferred | None
    fields: Callable[[], dict[str, Any]]


class Sampling:
    """Decides for one client's calls. Thread-safe: it changes nothing."""

    __slots__ = ("_engine", "_rate", "_sampler")

    def __init__(self, rate: float, sampler: Sampler | None, engine: Engine) -> None:
        self._rate = rate
        self._sampler = sampler
        self._engine = engine

    def take_usage(self, usage: Usage, duration_ms: Any, record_id: Any) -> Usage | None:
        """`take` for the arguments of `log_prompt`: with its rate in the metadata, or None.

        Raises:
            InvalidRecordError: one is wrong.
        """
        asked, output, metadata, model, prompt, names, context = usage
        experiment = False
        if prompt is not None or context is not None or (metadata is not None and type(metadata) is not dict):
            check_usage(prompt, metadata, context)
            experiment = experiment_fields(prompt, context).get("experiment_id") is not None
        if something_here():
            metadata = with_ambient(metadata)
        ident = None if record_id is None else id_text(record_id)
        deferred = output if type(output) is Deferred else None
        fields = partial(_usage_fields, usage, metadata, duration_ms, record_id)
        logged, metadata = self.take(Candidate(metadata, None, None, ident, experiment, deferred, fields))
        return (asked, output, metadata, model, prompt, names, context) if logged else None

    def take_interaction(self, body: dict[str, Any], ident: str | None) -> bool:
        """`take` for the body of HuggingPlace's record, which gets its rate; whether to log it."""
        response = body.get("response")
        deferred = response if type(response) is Deferred else None
        metadata, session, steps, experiment = map(body.get, _FIELDS)
        fields = partial(_interaction_fields, body, ident, deferred)
        candidate = Candidate(metadata, session, steps, ident, _is_given(experiment), deferred, fields)
        logged, metadata = self.take(candidate)
        if metadata is not None:
            body["metadata"] = metadata
        return logged

    def take(self, candidate: Candidate) -> tuple[bool, Any]:
        """Whether to log it, which is counted if not; and its metadata, with its rate.

        Nothing is left out while a test of the application captures records, nor where an object of the
        application's raises.
        """
        try:
            details = _details_of(candidate)
            rate = 1.0 if _is_always_logged(candidate, details) else self._rate_of(candidate)
            if rate < 1 and not open_captures:
                key = _key_of(candidate, details)
                if not (chance() < rate if key is None else is_logged(rate, key)):
                    self._engine.sample_out()
                    return _LEFT_OUT
            return True, _marked(candidate.metadata, rate)
        except Exception as error:
            if is_deliberate(error):
                raise
            self._engine.count("tracking_errors")
            warn("sampling", "a record could not be sampled (%s), and is logged", trouble(error))
            return True, candidate.metadata

    def _rate_of(self, candidate: Candidate) -> float:
        if self._sampler is None:
            return self._rate
        me = get_ident()
        if me in suppressed_threads:  # the sampler itself logs: no record comes of that
            return 1.0
        suppressed_threads.add(me)
        try:
            given = self._sampler(MappingProxyType(candidate.fields()))
        except Exception as error:
            if is_deliberate(error):
                raise
            self._engine.count("callback_errors")
            warn("sampler", "sampler raised %s; the record is logged", type_name(error))
            return 1.0
        finally:
            suppressed_threads.discard(me)
        rate = self._rate if given is None else _as_rate(given)
        if rate is None:
            self._engine.count("callback_errors")
            warn(
                "sampler",
                "sampler returned %s, not a number from 0 to 1; the record is logged",
                "a number above 1" if (number(given) or 0) > 1 else kind_of(given),
            )
            return 1.0
        return rate


def _as_rate(given: object) -> float | None:
    """True is 1 and False 0, numpy's, too; None for what is no rate."""
    if isinstance(given, bool) or getattr(getattr(given, "dtype", None), "kind", "") == "b":
        return float(bool(given))
    rate = number(given)
    return rate if rate is not None and rate <= 1 else None


def _usage_fields(usage: Usage, metadata: Any, duration_ms: Any, record_id: Any) -> dict[str, Any]:
    asked, output, _, model, prompt, names, experiment = usage
    shown = {"metadata": {} if metadata is None else metadata}
    if type(output) is not Deferred:
        shown["input"], shown["output"] = asked, output
    more = (("model", model), ("duration_ms", duration_ms), ("record_id", record_id))
    shown.update([each for each in more if each[1] is not None])
    if prompt is not None or names != NO_NAMES:
        add_given(shown, prompt_fields(prompt, *names))
    if prompt is not None or experiment is not None:
        add_given(shown, experiment_fields(prompt, experiment))
    return shown


def _interaction_fields(body: dict[str, Any], ident: str | None, deferred: object) -> dict[str, Any]:
    unread = ("user_prompt", "response") if deferred is not None else ()
    known = {name: value for name, value in body.items() if name not in unread}
    return known if ident is None else {**known, "record_id": ident}


def is_logged(rate: float, key: str) -> bool:
    """Whether what has this key is logged at this rate: the same in every process."""
    digest = sha256(b"banyan_hp sampling\0" + key.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < rate * _ALL


def _key_of(candidate: Candidate, details: Mapping[Any, Any]) -> str | None:
    session = candidate.session
    if not _is_given(session):
        session = details.get("session_id")
    if _is_given(session):
        return session if type(session) is str else str(session)
    if (span := current().span) is not None and (around := outermost(span)) is not None:
        return around._sampled_by()
    trace = details.get("trace_id")
    return str(trace) if _is_given(trace) else candidate.ident


def _details_of(candidate: Candidate) -> Mapping[Any, Any]:
    """Its metadata; of a step by itself, that of the step, too."""
    details, steps = candidate.metadata, candidate.steps
    if type(details) is not dict:
        details = as_dict(details) if isinstance(details, Mapping) else {}
    if type(steps) is list and len(steps) == 1 and type(steps[0]) is dict:
        of_the_step = steps[0].get("metadata")
        if type(of_the_step) is dict:
            return {**of_the_step, **details}
    return details


def _is_always_logged(candidate: Candidate, details: Mapping[Any, Any]) -> bool:
    """An error, as it is known so far, or a record of an experiment."""
    if candidate.experiment or (candidate.deferred is not None and candidate.deferred.may_have_failed()):
        return True
    if candidate.steps is None and _TELLING.isdisjoint(details):
        return False
    if _is_given(details.get("experiment_id")) or _tells_of_an_error(details):
        return True
    steps = (candidate.steps, details.get("step_data"), details.get("step_details"))
    return any(type(each) is list and any(map(_is_a_failed_step, each)) for each in steps)


def _is_a_failed_step(step: object) -> bool:
    if type(step) is not dict:
        return False
    own = step.get("metadata")
    return _tells_of_an_error(step) or (type(own) is dict and _tells_of_an_error(own))


def _tells_of_an_error(details: Mapping[Any, Any]) -> bool:
    return _is_given(details.get("error")) or _is_given(details.get("error_type"))


def _is_given(value: object) -> bool:
    """Without a call of anything of the value's."""
    return value is not None and value is not False and not (type(value) is str and not value)


def _marked(metadata: Any, rate: float) -> dict[Any, Any]:
    if metadata is None or isinstance(metadata, Mapping):
        marked = {} if metadata is None else as_dict(metadata)
    else:
        marked = {"metadata": metadata}
    mark = marked.get(MARK)
    marked[MARK] = {**(mark if type(mark) is dict else {}), RATE: rate}
    return marked
