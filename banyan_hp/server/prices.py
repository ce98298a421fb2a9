"""What a call costs in USD: a table of prices per model, and the arithmetic over it.

The table is `prices.json`, made by `make prices` from the data of the package genai-prices (MIT), with its
version, date and hash. Its rules: the first provider that matches, of it the first model that matches; of
several prices of a model the last one whose condition holds; a tier's price is that of all tokens of a call
whose input is larger than the tier's start. Prices are per million tokens; they are the standard ones,
without a provider's batch or priority rates, and leave out what isn't counted in tokens, such as searches.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

MAX_NAME = 200  # characters; names come from clients, and some rules are regular expressions
_MILLION = 1_000_000
_GATEWAY = "litellm"  # its models are named after their provider: `openai/gpt-4o`
_COMPACT_DATE = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=[-:]|$)")


class PricesError(ValueError):
    """A table of prices can't be read. The text says why."""


class Tokens(NamedTuple):
    """The tokens of one call. `input` has the cached and the written ones, `output` those of reasoning."""

    input: int
    output: int
    cached: int = 0
    """Read from a cache."""
    written: int = 0
    """Written to one."""
    reasoning: int = 0


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True)


class Match(_Frozen):
    """A rule about a name, whose case doesn't count. Of its fields one is given."""

    equals: str | None = None
    starts_with: str | None = None
    ends_with: str | None = None
    contains: str | None = None
    regex: re.Pattern[str] | None = None
    any_of: list[Match] | None = Field(default=None, validation_alias="or")
    all_of: list[Match] | None = Field(default=None, validation_alias="and")

    def fits(self, name: str) -> bool:
        """Whether a name, in lower case, is meant."""
        if self.equals is not None:
            return name == self.equals.lower()
        if self.starts_with is not None:
            return name.startswith(self.starts_with.lower())
        if self.ends_with is not None:
            return name.endswith(self.ends_with.lower())
        if self.contains is not None:
            return self.contains.lower() in name
        if self.regex is not None:
            return self.regex.search(name) is not None
        if self.any_of is not None:
            return any(each.fits(name) for each in self.any_of)
        return bool(self.all_of) and all(each.fits(name) for each in self.all_of or ())


Amount = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class Tier(_Frozen):
    """The price from a size of the input on."""

    start: int
    price: Amount


class Tiers(_Frozen):
    """A price in steps."""

    base: Amount
    tiers: list[Tier]

    def at(self, size: int) -> Decimal:
        """The price of a call with that much input: the step's, for all of it."""
        reached = [tier for tier in self.tiers if size > tier.start]
        return max(reached, key=lambda tier: tier.start).price if reached else self.base


class Price(_Frozen):
    """What a model's tokens cost, in USD per million of them."""

    input_mtok: Amount | Tiers | None = None
    output_mtok: Amount | Tiers | None = None
    cache_read_mtok: Amount | Tiers | None = None
    cache_write_mtok: Amount | Tiers | None = None
    output_reasoning_mtok: Amount | Tiers | None = None
    requests_kcount: Amount | Tiers | None = None
    """USD per thousand requests, besides."""

    def of(self, tokens: Tokens) -> Decimal | None:
        """What the tokens cost; None: not known. Cached ones without a price of their own have the usual."""
        if self.input_mtok is None and self.output_mtok is None:
            return None
        cached = tokens.cached if self.cache_read_mtok is not None else 0
        written = tokens.written if self.cache_write_mtok is not None else 0
        reasoning = tokens.reasoning if self.output_reasoning_mtok is not None else 0
        parts = (
            (tokens.input - cached - written, self.input_mtok),
            (tokens.output - reasoning, self.output_mtok),
            (cached, self.cache_read_mtok),
            (written, self.cache_write_mtok),
            (reasoning, self.output_reasoning_mtok),
        )
        if any(count < 0 or (count and price is None) for count, price in parts):
            return None
        total = sum((count * _at(price, tokens.input) for count, price in parts), Decimal())
        return total / _MILLION + _at(self.requests_kcount, tokens.input) / 1000


def _at(price: Decimal | Tiers | None, size: int) -> Decimal:
    return price.at(size) if isinstance(price, Tiers) else price or Decimal()


class When(_Frozen):
    """When a price holds: from a day on, or at some hours of each day, in UTC."""

    start_date: date | None = None
    start_time: time | None = None
    end_time: time | None = None

    def holds(self, at: datetime) -> bool:
        """Whether it does at a time."""
        if self.start_date is not None:
            return at.date() >= self.start_date
        if self.start_time is None or self.end_time is None:
            return False
        start, end, now = _utc(self.start_time), _utc(self.end_time), at.timetz()
        return start <= now < end if start <= end else now >= start or now < end


def _utc(hour: time) -> time:
    if hour.tzinfo is None:
        return hour.replace(tzinfo=UTC)
    return datetime.combine(date(1970, 1, 2), hour).astimezone(UTC).timetz()


class Conditional(_Frozen):
    """A price, and when it holds; without a condition: always."""

    prices: Price
    constraint: When | None = None


class Model(_Frozen):
    """A model and its prices."""

    id: str
    match: Match
    prices: Price | list[Conditional]

    def price(self, at: datetime) -> Price:
        """The price at a time: the last one that holds, else the first."""
        if isinstance(self.prices, Price):
            return self.prices
        holding = [each for each in self.prices if each.constraint is None or each.constraint.holds(at)]
        found = holding[-1:] or self.prices[:1]
        return found[0].prices if found else Price()


class Provider(_Frozen):
    """Who sells models, and how its name and those of its models are recognised."""

    id: str
    models: list[Model]
    model_match: Match | None = None
    provider_match: Match | None = None
    fallback_model_providers: list[str] = []

    def model(self, name: str) -> Model | None:
        """Its model of that name."""
        return next((model for model in self.models if model.match.fits(name)), None)


class _Table(_Frozen):
    providers: list[Provider]


class Prices:
    """Prices of models. Immutable, and safe to be used by several threads."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self._providers = providers
        self._by_id = {provider.id: provider for provider in providers}
        self._model = lru_cache(maxsize=4096)(self._find)

    @classmethod
    def of(cls, path: Path) -> Self:
        """Those of a file: an object with `providers`, or the list itself, as genai-prices publishes it.

        Raises:
            PricesError: it can't be read, or is not a table of prices.
        """
        try:
            text = path.read_bytes()
        except OSError as error:
            raise PricesError(f"can't read the prices {path}: {error.strerror or error}") from error
        try:
            table = _Table.model_validate_json(text) if text.lstrip()[:1] == b"{" else _listed(text)
        except (ValidationError, RecursionError) as error:
            raise PricesError(f"the prices {path} are no table of prices: {_first(error)}") from error
        return cls(table.providers)

    def cost(self, model: str, tokens: Tokens, at: datetime, *, provider: str | None = None) -> float | None:
        """What a call costs in USD; None if its model or provider is not known, or has no such price.

        Args:
            model: as the call names it, of any case: with a date, or after its provider, `openai/gpt-4o`.
            tokens: of that one call: tiers go by the size of its input.
            at: when it was made.
            provider: who served it, by a name of it; without: who makes the model.
        """
        if (
            min(tokens) < 0
            or tokens.cached + tokens.written > tokens.input
            or tokens.reasoning > tokens.output
        ):
            return None
        if len(model) > MAX_NAME or len(provider or "") > MAX_NAME:
            return None
        found = self._model(model.strip().lower(), provider.strip().lower() if provider else None)
        cost = found.price(at.astimezone(UTC)).of(tokens) if found is not None else None
        return float(cost) if cost is not None else None

    def _find(self, name: str, provider: str | None) -> Model | None:
        if provider is not None and provider != _GATEWAY:
            return self._of_provider(self._provider(provider), name)
        makers = (each for each in self._providers if each.model_match and each.model_match.fits(name))
        found = self._of_provider(next(makers, None), name)
        if found is not None or "/" not in name:
            return found
        before, _, after = name.partition("/")
        return self._of_provider(self._provider(before), after)

    def _provider(self, name: str) -> Provider | None:
        known = (each for each in self._providers if each.provider_match and each.provider_match.fits(name))
        named = self._by_id.get(name) or self._by_id.get(name.replace("_", "-"))  # OpenTelemetry's `x_ai`
        return named or next(known, None)

    def _of_provider(self, provider: Provider | None, name: str) -> Model | None:
        """A provider's model, or that of one whose models it serves; a date may be written either way."""
        if provider is None:
            return None
        others = (self._by_id.get(each) for each in provider.fallback_model_providers)
        sellers = [provider, *(each for each in others if each is not None)]
        names = dict.fromkeys((name, _COMPACT_DATE.sub(r"-\1-\2-\3", name)))
        return next((found for each in names for seller in sellers if (found := seller.model(each))), None)


@cache
def bundled() -> Prices:
    """Those that the package brings along."""
    return Prices.of(Path(__file__).with_name("prices.json"))


def _listed(text: bytes) -> _Table:
    return _Table.model_validate({"providers": TypeAdapter(list[Provider]).validate_json(text)})


def _first(error: ValidationError | RecursionError) -> str:
    if not isinstance(error, ValidationError):
        return "it is nested too deep"
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
