"""What a response means for the records that it is about: pure functions of its status and a few flags.

A destination classifies a response with `outcome_of`, and each record's result in a batch's response with
`classify`. Delivery then corrects the verdicts by what only it knows: `resolve_conflicts` by what became of
earlier attempts, `reconsider` by what else was accepted and whether the key is valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..records.outcome import Outcome, Verdict

_TEMPORARY = frozenset({408, 425, 429})
_REFUSALS = (Outcome.REFUSED, Outcome.CONFLICT)
_HOLDS = (Outcome.HOLD_AUTH, Outcome.HOLD_CONFIG)
_BISECTED = frozenset({Outcome.REFUSED, Outcome.TOO_LARGE, Outcome.CONFLICT})
ID_CONFLICT = "id_conflict"  # the backend has another record under this id


def classify(status: int) -> Outcome:
    """By the status alone. The other functions of this module are the exceptions."""
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if status == 409:
        return Outcome.CONFLICT
    if status in _TEMPORARY or status >= 500:
        return Outcome.RETRY
    if status in (401, 403):
        return Outcome.HOLD_AUTH
    if status in (400, 422):
        return Outcome.REFUSED
    if status == 413:
        return Outcome.TOO_LARGE
    return Outcome.HOLD_CONFIG


def outcome_of(
    status: int, *, is_html: bool, is_json: bool = True, may_be_the_apis: bool = True, took_all: bool = True
) -> Outcome | None:
    """What a response means, or None if something on the way to the API sent it: a proxy, a login page.

    A delivery and a refusal are decisions about a record, which only the API can make. A refusal without a
    body is taken for the API's: frameworks send those, and nothing in it says otherwise. It alone costs no
    record, as long as no other one is accepted.

    Args:
        status: of the response.
        is_html: its body is a page.
        is_json: its body is JSON.
        may_be_the_apis: its body is empty, or what the API may have sent.
        took_all: the peer read the whole request before it responded. A refusal without a reason before
            that is one of the request's size.
    """
    outcome = classify(status)
    if outcome is Outcome.DELIVERED:
        return None if is_html else outcome
    if outcome is Outcome.REFUSED and not took_all and not is_json:
        return Outcome.TOO_LARGE
    return None if outcome in _REFUSALS and not may_be_the_apis else outcome


def unless_id_conflict(verdict: Verdict, *, says_so: bool) -> Verdict:
    """A conflict about the id is a refusal, whatever became of earlier attempts."""
    if verdict.outcome is not Outcome.CONFLICT or not says_so:
        return verdict
    return verdict._replace(outcome=Outcome.REFUSED, reason=ID_CONFLICT)


def resolve_conflicts(verdicts: Sequence[Verdict], maybe_stored: Iterable[bool]) -> list[Verdict]:
    """A conflict says that the record is there already, if an earlier attempt may have stored it.

    There is one verdict for each record, and one flag.
    """
    return [
        verdict._replace(outcome=Outcome.DELIVERED if stored else Outcome.REFUSED)
        if verdict.outcome is Outcome.CONFLICT
        else verdict
        for verdict, stored in zip(verdicts, maybe_stored, strict=True)
    ]


def reconsider(verdicts: list[Verdict], key_is_good: Callable[[], bool]) -> list[Verdict]:
    """What looks like a wrong key or address is a refusal of that record, if others are accepted.

    So is a 403 with a valid key: firewalls block bodies that hold SQL. `key_is_good` is only asked then.
    """
    accepted = accepts_some(verdicts)
    return [
        Verdict(Outcome.REFUSED, verdict.detail, verdict.status, reason="forbidden")
        if verdict.outcome in _HOLDS and (accepted or (verdict.status == 403 and key_is_good()))
        else verdict
        for verdict in verdicts
    ]


def is_of_the_endpoint(verdict: Verdict, *, same_host: bool) -> bool:
    """Whether a failure is that of an endpoint beside the destination's first one, and not the destination's.

    A host that can't be reached is a matter of all that goes there. A 403 may be a firewall's about one
    record, which `reconsider` finds out. Any other refusal of the key or the address holds up what goes to
    this endpoint; where the first one refuses, too, its own records say so.

    Args:
        verdict: of the second endpoint.
        same_host: the first endpoint is at the same host and port.
    """
    if verdict.outcome is Outcome.RETRY:
        return verdict.status is None and not same_host
    return verdict.outcome in _HOLDS and verdict.status != 403


def may_be_the_record(verdict: Verdict) -> bool:
    """Whether a failure may be due to what was sent: the request got there, and then failed.

    Or something on the way to the API refused it, which may be a firewall that dislikes the content.
    """
    if verdict.outcome is Outcome.HOLD_CONFIG:
        return verdict.status is not None and classify(verdict.status) in _REFUSALS
    if verdict.outcome is not Outcome.RETRY or verdict.status in _TEMPORARY:
        return False
    return verdict.status is not None or verdict.reason != "no_connection"


# -- the verdicts of a batch: one for each record, or one for all --------------------------------------------


def all_delivered(verdicts: Sequence[Verdict]) -> bool:
    return len(verdicts) == 1 and verdicts[0].outcome is Outcome.DELIVERED


def accepts_some(verdicts: Sequence[Verdict]) -> bool:
    return any(verdict.outcome is Outcome.DELIVERED for verdict in verdicts)


def has_conflict(verdicts: Sequence[Verdict]) -> bool:
    return any(verdict.outcome is Outcome.CONFLICT for verdict in verdicts)


def is_to_be_bisected(verdicts: Sequence[Verdict], records: int) -> bool:
    """Whether one record of several is refused, and the response does not say which."""
    return len(verdicts) == 1 and records > 1 and verdicts[0].outcome in _BISECTED
