"""The pieces: what each one replaces, by what, and how they are put together."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ..checks import secret
from ..engine.delivery.callbacks import CountingCallback
from ..errors import ConfigurationError
from ..foreign import shown, type_name
from ..settings import BeforeSend
from .finders import Find, find_cards, find_emails, find_ibans, find_keys, find_phones
from .records import CONTAINERS, INTACT, Scrubber

_FEWEST_CHARACTERS = 5  # of a text in which a built-in piece can find anything
_HASH_BYTES = 8
_LETTERS = str.maketrans("0123456789abcdef", "bcdfghjkmnpqrtvw")  # no digits: what finds numbers finds none
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_ -]{0,39}")
_SEPARATORS = re.compile(r"[\W_]+")


def plain_name(name: str) -> str:
    """A field's name without case and separators."""
    return _SEPARATORS.sub("", name).lower()


_NEVER = frozenset(map(plain_name, INTACT | CONTAINERS))


class Rule(NamedTuple):
    """What is replaced in texts.

    Attributes:
        kind: under which it is counted.
        word: stands in its place, in square brackets.
        order: rules with smaller numbers come first: what is a key is not looked through for numbers.
        find: where it is; or a compiled pattern.
        canonical: one form of all spellings of a value, for its hash.
        salt: of its hash; None: the value is removed.
    """

    kind: str
    word: str
    order: int
    find: Find | re.Pattern[str]
    canonical: Callable[[str], str]
    salt: bytes | None

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        if not isinstance(self.find, re.Pattern):
            return self.find(text) if len(text) >= _FEWEST_CHARACTERS else iter(())
        return (found.span() for found in self.find.finditer(text) if found.end() > found.start())


class Named(NamedTuple):
    """Fields whose values are replaced, whatever they are."""

    names: frozenset[str]
    salt: bytes | None


class Pass(NamedTuple):
    """One walk through a record."""

    rules: tuple[Rule, ...] = ()
    named: tuple[Named, ...] = ()

    def joined(self, other: Pass) -> Pass:
        """One walk for both."""
        rules = sorted((*self.rules, *other.rules), key=lambda rule: rule.order)
        return Pass(tuple(rules), (*self.named, *other.named))

    def with_salt(self, salt: bytes) -> Pass:
        """The same with a salt where it has none."""
        return Pass(
            tuple(rule if rule.salt is not None else rule._replace(salt=salt) for rule in self.rules),
            tuple(named if named.salt is not None else named._replace(salt=salt) for named in self.named),
        )

    def over(self, record: dict[str, Any], found: Counter[str]) -> dict[str, Any]:
        """The record, redacted; adds to `found` what was replaced."""
        return Scrubber(
            lambda text: self._scrubbed(text, found), lambda name, value: self._field(name, value, found)
        ).record(record)

    def _scrubbed(self, text: str, found: Counter[str]) -> str:
        for rule in self.rules:
            pieces: list[str] = []
            done = 0
            for start, end in sorted(rule.spans(text)):
                if start >= done:
                    stand_in = _stand_in(rule.word, rule.canonical(text[start:end]), rule.salt)
                    pieces += (text[done:start], stand_in)
                    done = end
                    found[rule.kind] += 1
            if pieces:
                text = "".join((*pieces, text[done:]))
        return text

    def _field(self, name: str, value: Any, found: Counter[str]) -> str | None:
        if not self.named or value is None:
            return None
        plain = plain_name(name)
        for names, salt in self.named:
            if plain in names:
                found["fields"] += 1
                text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
                return _stand_in("redacted", text, salt)
        return None


class Redactor(CountingCallback):
    """A `before_send`, made by the functions of this module. Thread-safe; equal if it does the same.

    A record stays as it is given: what comes back is a copy.
    """

    def __init__(self, *steps: Pass | BeforeSend) -> None:
        self._steps = steps

    def __call__(self, record: dict[str, Any], /) -> dict[str, Any] | None:
        """The record, redacted; None if a function of the application's drops it."""
        return self.counted(record)[0]

    def counted(self, record: dict[str, Any]) -> tuple[dict[str, Any] | None, Mapping[str, int]]:
        """The same, and how many values of each kind were replaced, as `get_stats()` counts them."""
        found: Counter[str] = Counter()
        changed: dict[str, Any] | None = record
        for step in self._steps:
            if changed is None:
                break
            changed = step.over(changed, found) if isinstance(step, Pass) else step(changed)
        return changed, found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Redactor) and self._steps == other._steps

    def __hash__(self) -> int:
        return hash(self._steps)

    def __repr__(self) -> str:
        kinds = [kind for step in self._steps for kind in _kinds(step)]
        return f"<Redactor: {', '.join(kinds) or 'nothing'}>"


# -- the public functions ------------------------------------------------------------------------------------


def emails(*, salt: str | bytes | None = None) -> Redactor:
    """Replace e-mail addresses by `[email]`.

    Args:
        salt: at least 16 bytes, kept secret: each address becomes `[email:…]` with a keyed hash of it
            (HMAC-SHA-256, 64 bits), the same for the same address in whatever case it is written.

    Raises:
        ConfigurationError: the salt is not a text or bytes, or is too short.
    """
    return _piece(Rule("emails", "email", 2, find_emails, str.lower, _salt(salt)))


def phones(*, salt: str | bytes | None = None) -> Redactor:
    """Replace phone numbers by `[phone]`: international ones (`+` or `00`), and national ones as written in
    North America, Germany, Great Britain and France.

    A number without `+`, brackets or separators looks like any other number, and stays. `salt` as of
    `emails`; the hash is of the digits.
    """
    return _piece(Rule("phones", "phone", 5, find_phones, _alphanumeric, _salt(salt)))


def credit_cards(*, salt: str | bytes | None = None) -> Redactor:
    """Replace the numbers of credit and debit cards by `[credit card]`.

    A number counts if an issuer's begin like it, have its length, and its check digit is right (Luhn).
    `salt` as of `emails`; the hash is of the digits. There are few enough numbers to try them all, so that
    whoever has the salt has the numbers.
    """
    return _piece(Rule("credit_cards", "credit card", 4, find_cards, _alphanumeric, _salt(salt)))


def ibans(*, salt: str | bytes | None = None) -> Redactor:
    """Replace IBANs by `[iban]`: those with their country's length and the right check digits.

    `salt` as of `emails`; the hash is of the IBAN without spaces, in capitals.
    """
    return _piece(Rule("ibans", "iban", 3, find_ibans, _alphanumeric, _salt(salt)))


def api_keys(*, salt: str | bytes | None = None) -> Redactor:
    """Replace keys and tokens by `[api key]`.

    Known are those of OpenAI, Anthropic, AWS, GitHub, GitLab, Slack, Google, Stripe, Hugging Face, npm, PyPI,
    SendGrid and Banyan, JSON web tokens, what follows `Bearer` or `Authorization: Basic`, passwords in URLs,
    and private keys (PEM). `salt` as of `emails`.
    """
    return _piece(Rule("api_keys", "api key", 1, find_keys, str, _salt(salt)))


def fields(*names: str, salt: str | bytes | None = None) -> Redactor:
    """Replace the values of fields by `[redacted]`, whatever they are, at any depth, in JSON texts, too.

    Args:
        names: in any case, with or without separators: "api_key" is `apiKey` and `API-Key`, too.
        salt: as of `emails`; the hash is of the value's text, or of its JSON.

    Raises:
        ConfigurationError: there is no name; one is not a text, or is that of a field that must stay intact,
            like `session_id` (see the guide's page on privacy).
    """
    if not names:
        raise ConfigurationError("fields() takes the names of fields, e.g. fields('password', 'ssn')")
    for name in names:
        if not isinstance(name, str) or not plain_name(name):
            raise ConfigurationError(f"the name of a field must be a text, was {shown(name)}")
        if plain_name(name) in _NEVER:
            raise ConfigurationError(
                f"the field {name!r} is never redacted: it identifies, routes or holds together records"
            )
    return Redactor(Pass(named=(Named(frozenset(map(plain_name, names)), _salt(salt)),)))


def pattern(expression: str | re.Pattern[str], name: str, *, salt: str | bytes | None = None) -> Redactor:
    """Replace what a regular expression matches by `[name]`; it comes before the other pieces.

    Args:
        expression: of the module `re`. Its time is yours: one that goes back and forth (`(a+)+`) on a long
            text holds up the delivery.
        name: a word for what it matches: letters, digits, spaces, `_` and `-`, at most 40, a letter first.
        salt: as of `emails`; the hash is of what was matched.

    Raises:
        ConfigurationError: the expression can't be compiled, or the name is not such a word.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            "name must be 1 to 40 letters, digits, spaces, '_' and '-' with a letter first, "
            f"was {shown(name)}"
        )
    return _piece(Rule(name, name, 0, _compiled(expression), str, _salt(salt)))


def combine(*pieces: BeforeSend, salt: str | bytes | None = None) -> Redactor:
    """One `before_send` of several pieces.

    Pieces of this module work together, in one walk through a record: patterns first, then keys, e-mail
    addresses, IBANs, cards and phone numbers. BeforeSends of your own are called in between, in the order
    given; one that returns None drops the record.

    Args:
        pieces: what the functions here return, and other functions fit for `before_send`.
        salt: of all pieces of this module that have none of their own, see `emails`.

    Raises:
        ConfigurationError: a piece is not callable, or the salt is too short.
    """
    of_all = _salt(salt)
    steps: list[Pass | BeforeSend] = []
    for piece in pieces:
        if not callable(piece):
            raise ConfigurationError(f"combine() takes functions, got {type_name(piece)}")
        if getattr(piece, "__module__", "") == __name__ and not isinstance(piece, Redactor):
            raise ConfigurationError(f"combine() takes what {piece.__name__}() returns: call it")
        for step in piece._steps if isinstance(piece, Redactor) else (piece,):
            salted = step.with_salt(of_all) if isinstance(step, Pass) and of_all is not None else step
            if isinstance(salted, Pass) and steps and isinstance(steps[-1], Pass):
                steps[-1] = steps[-1].joined(salted)
            else:
                steps.append(salted)
    return Redactor(*steps)


# -- details -------------------------------------------------------------------------------------------------


def _piece(rule: Rule) -> Redactor:
    return Redactor(Pass((rule,)))


def _kinds(step: Pass | BeforeSend) -> list[str]:
    if not isinstance(step, Pass):
        return ["a function"]
    return [*(rule.kind for rule in step.rules), *["fields"] * bool(step.named)]


def _stand_in(word: str, value: str, salt: bytes | None) -> str:
    if salt is None:
        return f"[{word}]"
    digest = hmac.digest(salt, value.encode("utf-8", "replace"), hashlib.sha256)[:_HASH_BYTES]
    return f"[{word}:{digest.hex().translate(_LETTERS)}]"


def _alphanumeric(text: str) -> str:
    return _SEPARATORS.sub("", text).upper()


def _compiled(expression: Any) -> re.Pattern[str]:
    try:
        compiled = re.compile(expression)
    except (re.error, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ConfigurationError(f"the pattern can't be compiled: {error}") from error
    if not isinstance(compiled.pattern, str):
        raise ConfigurationError("the pattern must be a text, was bytes")
    return compiled


def _salt(given: Any) -> bytes | None:
    if given is None:
        return None
    secret("salt", given)
    salt: bytes = given.encode("utf-8", "replace") if isinstance(given, str) else given
    return salt
