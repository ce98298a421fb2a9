"""The cost of what was logged: its sender's, else that of its tokens at their models' prices, else none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from banyan_hp.server.api.shapes import call_of_banyan, call_of_huggingplace
from banyan_hp.server.prices import Match, Model, Price, Prices, Provider, Tiers
from tests.support.app import LocalApp

TIME = datetime(2026, 1, 2, tzinfo=UTC)
SPLIT = {"input_tokens": 1000, "output_tokens": 100}


def priced(name: str, going_in: Any, coming_out: int, cached: Any = None) -> Model:
    price = {"input_mtok": going_in, "output_mtok": coming_out, "cache_read_mtok": cached}
    return Model(id=name, match=Match(equals=name), prices=Price.model_validate(price))


STEEP = Tiers.model_validate({"base": 1, "tiers": [{"start": 1000, "price": 100}]})
PRICES = Prices(
    [
        Provider(
            id="acme",
            model_match=Match(contains=""),
            models=[priced("large", 10, 50, 1), priced("small", 1, 5), priced("steep", STEEP, 0)],
        )
    ]
)


def banyan(metadata: dict[str, Any], model: object = "large") -> float | None:
    body = {"input": "q", "output": "a", "model": model, "metadata": metadata}
    return call_of_banyan("p", "i", TIME, body, PRICES).cost


def huggingplace(body: dict[str, Any], model: object = "large") -> float | None:
    given = {"user_prompt": "q", "response": "a", "llm_model": model, **body}
    return call_of_huggingplace("p", "i", TIME, given, PRICES).cost


def step(number: int, model: str | None, tokens: tuple[int, int] | None, **more: Any) -> dict[str, Any]:
    """A step as our clients log it."""
    named = {} if model is None else {"llm_model": model}
    split = {} if tokens is None else {"input_tokens": tokens[0], "output_tokens": tokens[1]}
    return {"id": number, "type": "t", "token": sum(tokens or ()), **named, **split, **more}


def test_the_senders_cost_counts_first() -> None:
    """Also where it is nothing, and where the table has another."""
    assert banyan({**SPLIT, "cost": 0}) == 0
    assert huggingplace({"metadata": {**SPLIT, "cost": 1.5}}) == 1.5


@pytest.mark.parametrize("cost", [-1, "5", None, True, [1]])
def test_a_cost_that_is_none_is_computed(cost: object) -> None:
    """Like one that wasn't sent."""
    assert banyan({**SPLIT, "cost": cost}) == pytest.approx(0.015)


def test_without_one_the_tokens_have_their_price() -> None:
    """Cached ones theirs."""
    assert banyan(SPLIT) == huggingplace({"metadata": SPLIT}) == pytest.approx(0.015)
    assert banyan({**SPLIT, "cached_tokens": 600}) == pytest.approx((400 * 10 + 600 + 100 * 50) / 1e6)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"input_tokens": 1000},
        {"output_tokens": 1000},
        {"token_count": 1100},
        {"input_tokens": "1000", "output_tokens": 5},
        {**SPLIT, "cached_tokens": 1001},
        {**SPLIT, "provider": "nobody"},
        {**SPLIT, "provider": 5},
    ],
)
def test_what_is_not_known_is_not_guessed(metadata: dict[str, Any]) -> None:
    """A total, half of a split, a contradiction, a provider that nobody knows."""
    assert banyan(metadata) is None
    assert huggingplace({"token_count": 1100, "metadata": metadata}) is None


@pytest.mark.parametrize("model", [None, "", "nobodys", 5, ["large"], {}])
def test_an_unknown_model_has_no_cost(model: object) -> None:
    """Not even for no tokens."""
    assert banyan(SPLIT, model) is None
    assert banyan({"input_tokens": 0, "output_tokens": 0}, model) is None


def test_each_step_has_the_price_of_its_model() -> None:
    """And what is left is the interaction's own."""
    steps = [step(1, "small", (400, 40)), step(2, None, None), step(3, "large", (600, 50))]
    cost = (400 * 1 + 40 * 5 + 600 * 10 + 60 * 50) / 1e6
    assert huggingplace({"metadata": SPLIT, "step_data": steps}) == pytest.approx(cost)
    assert banyan({**SPLIT, "step_data": steps}) == pytest.approx(cost)


def test_a_step_in_a_step_counts_once() -> None:
    """Its tokens are in its parent's, too."""
    steps = [step(1, "large", (1000, 100)), step(2, "small", (400, 40))]
    metadata = {**SPLIT, "step_details": [{"id": 1, "start_ms": 0.0}, {"id": 2, "parent": 1}]}
    cost = (600 * 10 + 60 * 50 + 400 * 1 + 40 * 5) / 1e6
    assert huggingplace({"metadata": metadata, "step_data": steps}) == pytest.approx(cost)


def test_a_steps_cached_tokens_are_in_its_details() -> None:
    """Where the step itself has no place for them."""
    steps = [step(1, "large", (600, 60)), step(2, "small", (400, 40))]
    metadata = {**SPLIT, "cached_tokens": 500, "step_details": [{"id": 1, "cached_tokens": 500}]}
    cost = (100 * 10 + 500 * 1 + 60 * 50 + 400 * 1 + 40 * 5) / 1e6
    assert huggingplace({"metadata": metadata, "step_data": steps}) == pytest.approx(cost)


def test_a_tier_goes_by_the_size_of_each_call() -> None:
    """Not by their sum."""
    steps = [step(1, "steep", (600, 50)), step(2, "steep", (600, 50))]
    metadata = {"input_tokens": 1200, "output_tokens": 100}
    assert huggingplace({"metadata": metadata, "step_data": steps}, "steep") == pytest.approx(0.0012)
    assert huggingplace({"metadata": metadata}, "steep") == pytest.approx(0.12)


@pytest.mark.parametrize(
    "odd",
    [
        [step(1, "small", None)],
        [step(1, "small", (2000, 5))],
        [{"type": "t", "llm_model": "small", "token": 7}],
        [step(1, "nobodys", (1, 1))],
    ],
)
def test_steps_of_other_models_that_dont_add_up_leave_no_cost(odd: list[Any]) -> None:
    """Nobody can say which tokens are whose."""
    assert huggingplace({"metadata": SPLIT, "step_data": odd}) is None


@pytest.mark.parametrize(
    "steps",
    [
        [],
        "text",
        [5, None],
        [{"type": "t", "token": 500}],
        [step(1, "large", None)],
        [step(1, "large", (2000, 5))],
        [step(1, None, None, parent=1), step(1, None, None, parent=[])],
    ],
)
def test_steps_of_no_other_model_leave_the_cost_of_the_whole(steps: Any) -> None:
    """Whatever they leave out."""
    assert huggingplace({"metadata": SPLIT, "step_data": steps}) == pytest.approx(0.015)


def test_many_steps_are_priced_in_time() -> None:
    """They come from a client, and all clients wait for this thread."""
    steps = [step(number, "large", (1, 1), parent=number - 1) for number in range(20_000)]
    assert huggingplace({"metadata": SPLIT, "step_data": steps}) == pytest.approx(0.015)


def test_a_step_logged_by_itself_has_its_own_split() -> None:
    """Which stands in the step alone."""
    body = {"token_count": 1100, "step_data": [step(1, "large", (1000, 100))]}
    call = call_of_huggingplace("p", "i", TIME, {**body, "llm_model": "large"}, PRICES)
    assert (call.input_tokens, call.output_tokens) == (1000, 100)
    assert call.cost == pytest.approx(0.015)
    other = call_of_huggingplace("p", "i", TIME, {**body, "token_count": 5000}, PRICES)
    assert (other.input_tokens, other.cost) == (None, None)


def test_the_way_in_prices_each_record(tmp_path: Path) -> None:
    """Single or in a batch, of both clients; with the application's table."""
    usage = {"input": "q", "output": "a", "model": "large", "metadata": SPLIT}
    interaction = {"user_prompt": "q", "response": "a", "llm_model": "small", "metadata": SPLIT}
    interaction |= {"org_id": "o", "mode": "prod"}
    with LocalApp(tmp_path, prices=PRICES) as app:
        app.call("POST", "/api/logs/prompt-usage", usage)
        batch = {"records": [{"id": "b", "ts": "2026-01-02T00:00:00Z", "body": interaction}]}
        app.call("POST", "/v2/chatgpt/store_generated_response/batch", batch)
        costs = {call["source"]: call["cost"] for call in app.get("/api/calls")["calls"]}
    assert costs == {"banyan": pytest.approx(0.015), "huggingplace": pytest.approx(0.0015)}
