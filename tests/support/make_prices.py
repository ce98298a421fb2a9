"""Writes the backend's table of prices: the part of the package genai-prices that calls are priced by.

`make prices` runs it where the newest version of the package is installed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import genai_prices.data
import genai_prices.types as theirs

from tests.support.digests import digest

TABLE = Path(__file__).parents[2] / "banyan_hp/server/prices.json"
KEPT = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "output_reasoning_mtok")
PER_REQUEST = "requests_kcount"


def main() -> None:
    """Write the table."""
    package = distribution("genai-prices")
    providers = [_provider(each) for each in genai_prices.data.providers]
    head = {
        "source": "https://pypi.org/project/genai-prices",
        "version": package.version,
        "date": datetime.now(UTC).date().isoformat(),
        "sha256": digest(providers),
        "licence": _licence(package.files or ()),
    }
    TABLE.write_text("\n".join(_lines(head, providers)) + "\n", encoding="utf-8")
    print(f"{TABLE.name}: {package.name} {package.version}")


def _licence(files: Iterable[Any]) -> str:
    (file,) = [each for each in files if each.name == "LICENSE"]
    return str(file.read_text())


def _lines(head: Mapping[str, object], providers: list[dict[str, Any]]) -> Iterator[str]:
    """One model a line, so that a refresh can be read as a diff."""
    yield "{"
    yield from (f"{json.dumps(name)}: {json.dumps(value)}," for name, value in head.items())
    yield '"providers": ['
    for number, provider in enumerate(providers, 1):
        models = provider["models"]
        own = {name: value for name, value in provider.items() if name != "models"}
        yield json.dumps(own)[:-1] + ', "models": ['
        yield ",\n".join(json.dumps(model, separators=(",", ":")) for model in models)
        yield "]}" + ("," if number < len(providers) else "")
    yield "]}"


def _provider(provider: theirs.Provider) -> dict[str, Any]:
    known = {
        "id": provider.id,
        "model_match": _plain(provider.model_match),
        "provider_match": _plain(provider.provider_match),
        "fallback_model_providers": provider.fallback_model_providers,
        "models": [_model(each) for each in provider.models],
    }
    return {name: value for name, value in known.items() if value is not None}


def _model(model: theirs.ModelInfo) -> dict[str, Any]:
    if isinstance(model.prices, theirs.ModelPrice):
        prices: object = _prices(model.prices)
    else:
        prices = [_conditional(each) for each in model.prices]
    return {"id": model.id, "match": _plain(model.match), "prices": prices}


def _conditional(price: theirs.ConditionalPrice) -> dict[str, Any]:
    when = {} if price.constraint is None else {"constraint": _plain(price.constraint)}
    return {**when, "prices": _prices(price.prices)}


def _prices(prices: theirs.ModelPrice) -> dict[str, Any]:
    found = {name: getattr(prices, name) for name in (*KEPT, PER_REQUEST)}
    return {name: _plain(price) for name, price in found.items() if price is not None}


def _plain(value: Any) -> Any:
    """As the package's project publishes it as JSON."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {name.rstrip("_"): _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
