"""What calls cost: by the package's table, checked by hand, and by tables of our own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.server import prices as module
from banyan_hp.server.prices import MAX_NAME, Prices, PricesError, Tokens, bundled
from tests.support.digests import digest

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
THOUSAND = Tokens(1000, 100)


def table(tmp_path: Path, *models: dict[str, Any], **provider: Any) -> Prices:
    """A table with one provider, `acme`."""
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"providers": [{"id": "acme", "models": models, **provider}]}))
    return Prices.of(file)


def model(prices: Any, **match: Any) -> dict[str, Any]:
    return {"id": "m", "match": match or {"equals": "m"}, "prices": prices}


# -- the package's table -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "tokens", "cost"),
    [
        ("gpt-4o", Tokens(1000, 100), (1000 * 2.5 + 100 * 10) / 1e6),
        ("gpt-4o", Tokens(1000, 100, cached=400), (600 * 2.5 + 400 * 1.25 + 100 * 10) / 1e6),
        ("GPT-4o-2024-11-20", Tokens(1000, 100), (1000 * 2.5 + 100 * 10) / 1e6),
        ("openai/gpt-4o-20241120", Tokens(1000, 100), (1000 * 2.5 + 100 * 10) / 1e6),
        ("claude-3-5-haiku-20241022", Tokens(500, 50, 200, 100), (200 * 0.8 + 16 + 100 + 50 * 4) / 1e6),
        ("claude-sonnet-4-5", Tokens(200_000, 1000), (200_000 * 3 + 1000 * 15) / 1e6),
        ("claude-sonnet-4-5", Tokens(200_001, 1000), (200_001 * 6 + 1000 * 22.5) / 1e6),
        ("gemini-2.5-pro", Tokens(300_000, 10, 100_000), (200_000 * 2.5 + 100_000 * 0.25 + 10 * 15) / 1e6),
    ],
)
def test_a_known_models_tokens_have_their_price(name: str, tokens: Tokens, cost: float) -> None:
    """By its name, a dated one, or one after its provider; cached tokens and large inputs at theirs."""
    assert bundled().cost(name, tokens, NOON) == pytest.approx(cost, rel=1e-12)


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("azure.ai.openai", "gpt-4o"),
        ("x_ai", "grok-4"),
        ("deepseek", "deepseek-chat"),
        ("mistral_ai", "mistral-large-latest"),
        ("gcp.vertex_ai", "gemini-2.5-pro"),
    ],
)
def test_opentelemetrys_names_of_providers_are_known(provider: str, name: str) -> None:
    """Records of wrapped clients have them."""
    assert bundled().cost(name, THOUSAND, NOON, provider=provider) == bundled().cost(name, THOUSAND, NOON)


@pytest.mark.parametrize(
    "name", ["", "nobodys-model", "gpt-", "openai/nobodys", "nobody/gpt-4o-x", "text", "\0", "x" * 10_000]
)
def test_an_unknown_model_has_no_price(name: str) -> None:
    """It is not guessed from others."""
    assert bundled().cost(name, THOUSAND, NOON) is None


@pytest.mark.parametrize(
    ("provider", "cost"),
    [("openai", 0.0035), ("Azure", 0.0035), ("litellm", 0.0035), ("github-copilot", None), ("nobody", None)],
)
def test_who_serves_a_model_counts(provider: str, cost: float | None) -> None:
    """Some serve others' models at their price; some by subscription; of some nothing is known."""
    assert bundled().cost("gpt-4o", THOUSAND, NOON, provider=provider) == cost


@pytest.mark.parametrize(("hour", "cost"), [(0, (1000 * 0.135 + 55) / 1e6), (12, (1000 * 0.27 + 110) / 1e6)])
def test_a_price_may_go_by_the_hour(hour: int, cost: float) -> None:
    """In UTC."""
    at = NOON.replace(hour=hour)
    assert bundled().cost("deepseek-chat", THOUSAND, at) == pytest.approx(cost, rel=1e-12)


@pytest.mark.parametrize(
    "tokens", [Tokens(10, 1, 11), Tokens(10, 1, 6, 5), Tokens(-1, 1), Tokens(1, 1, -1), Tokens(1, -1)]
)
def test_tokens_that_contradict_themselves_have_no_price(tokens: Tokens) -> None:
    """More from the cache than went in."""
    assert bundled().cost("gpt-4o", tokens, NOON) is None


def test_the_table_says_what_it_is() -> None:
    """Its source, version, date and licence; its hash is that of its prices: nobody edited them."""
    kept = json.loads(Path(module.__file__).with_name("prices.json").read_text("utf-8"))
    assert kept["source"].endswith("genai-prices")
    assert datetime.fromisoformat(kept["date"])
    assert kept["version"]
    assert "MIT" in kept["licence"]
    assert "Copyright" in kept["licence"]
    assert kept["sha256"] == digest(kept["providers"])


# -- tables of one's own -------------------------------------------------------------------------------------


def test_what_has_no_price_of_its_own_has_the_usual(tmp_path: Path) -> None:
    """Cached and written tokens are input, those of reasoning output."""
    prices = table(tmp_path, model({"input_mtok": 2, "output_mtok": 3}))
    assert prices.cost("m", Tokens(1_000_000, 1_000_000, 5, 6, 7), NOON, provider="acme") == 5


def test_reasoning_and_requests_have_theirs(tmp_path: Path) -> None:
    """Where the table has them."""
    given = {"input_mtok": 1, "output_mtok": 2, "output_reasoning_mtok": 10, "requests_kcount": 5}
    cost = table(tmp_path, model(given)).cost("m", Tokens(100, 50, reasoning=20), NOON, provider="acme")
    assert cost == pytest.approx((100 + 30 * 2 + 20 * 10) / 1e6 + 0.005, rel=1e-12)


@pytest.mark.parametrize(
    ("given", "cost"),
    [({}, None), ({"input_mtok": 1}, None), ({"output_mtok": 1}, None), ({"requests_kcount": 1}, None)],
)
def test_tokens_without_a_price_are_not_free(tmp_path: Path, given: Any, cost: None) -> None:
    """They are unknown."""
    assert table(tmp_path, model(given)).cost("m", THOUSAND, NOON, provider="acme") is cost


def test_what_costs_nothing_costs_nothing(tmp_path: Path) -> None:
    """Which is known, other than nothing being known; and no output needs no price for it."""
    free = table(tmp_path, model({"input_mtok": 0, "output_mtok": 0}))
    assert free.cost("m", THOUSAND, NOON, provider="acme") == 0
    embeds = table(tmp_path, model({"input_mtok": 1}))
    assert embeds.cost("m", Tokens(1_000_000, 0), NOON, provider="acme") == 1


@pytest.mark.parametrize(
    ("at", "cost"),
    [
        ("2026-01-31T21:59:59", 1),
        ("2026-01-31T22:00:00", 3),
        ("2026-02-01T01:59:59", 3),
        ("2026-02-01T02:00:00", 2),
    ],
)
def test_the_last_price_that_holds_counts(tmp_path: Path, at: str, cost: int) -> None:
    """From a day on, or at some hours, over midnight, too."""
    given = [
        {"prices": {"input_mtok": 1}},
        {"constraint": {"start_date": "2026-02-01"}, "prices": {"input_mtok": 2}},
        {"constraint": {"start_time": "22:00:00Z", "end_time": "02:00:00"}, "prices": {"input_mtok": 3}},
    ]
    time = datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert table(tmp_path, model(given)).cost("m", Tokens(1_000_000, 0), time, provider="acme") == cost


@pytest.mark.parametrize(
    ("match", "fits", "not_"),
    [
        ({"equals": "A-b"}, "a-B", "a-bc"),
        ({"starts_with": "a-"}, "A-b", "b-a-"),
        ({"ends_with": "-b"}, "a-B", "-b-"),
        ({"contains": "a"}, "xAx", "b"),
        ({"regex": r"^a\d$"}, "A1", "ab"),
        ({"or": [{"equals": "a"}, {"equals": "b"}]}, "b", "c"),
        ({"and": [{"starts_with": "a"}, {"ends_with": "b"}]}, "ab", "a"),
    ],
)
def test_names_are_recognised_by_rules(tmp_path: Path, match: Any, fits: str, not_: str) -> None:
    """Whatever their case."""
    prices = table(tmp_path, model({"input_mtok": 1}, **match), model_match={"contains": ""})
    assert prices.cost(fits, Tokens(1_000_000, 0), NOON) == 1
    assert prices.cost(not_, Tokens(1_000_000, 0), NOON) is None


def test_a_long_name_meets_no_rule(tmp_path: Path) -> None:
    """It comes from a client, and some regular expressions take for ever."""
    prices = table(tmp_path, model({"input_mtok": 1}, regex="^(a+)+$"), model_match={"contains": ""})
    assert prices.cost("a" * MAX_NAME + "b", Tokens(1, 0), NOON) is None


def test_a_table_may_be_the_list_alone(tmp_path: Path) -> None:
    """As the project genai-prices publishes it, with more fields than are read here."""
    file = tmp_path / "data.json"
    file.write_text(json.dumps([{"id": "acme", "name": "Acme", "models": [model({"input_mtok": 1.5})]}]))
    assert Prices.of(file).cost("m", Tokens(1_000_000, 0), NOON, provider="acme") == 1.5


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "{}", "5", '{"providers": 5}', "[" * 100_000, '[{"id": "a"}]']
    + [json.dumps({"providers": [{"id": "a", "models": [model({"input_mtok": bad})]}]}) for bad in ("x", -1)]
    + [json.dumps([{"id": "a", "models": [model({}, regex="(")]}])],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    """With the file's name and the reason."""
    file = tmp_path / "prices.json"
    file.write_text(text)
    with pytest.raises(PricesError, match=r"prices\.json .*: .+"):
        Prices.of(file)


def test_a_table_that_cant_be_read_is_refused(tmp_path: Path) -> None:
    """With the system's reason."""
    with pytest.raises(PricesError, match="No such file"):
        Prices.of(tmp_path / "none.json")
