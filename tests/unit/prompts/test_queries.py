"""What is asked of the backend, and what its answers mean: no I/O."""

from __future__ import annotations

import json
from typing import Any

import pytest

from banyan_hp.prompts.queries import (
    EVERYONE,
    Audience,
    Endpoint,
    ExperimentQuery,
    PromptQuery,
    RouteQuery,
)
from banyan_hp.prompts.reading import MAX_EXPERIMENTS
from tests.support.prompts import experiment_json, prompt_json

ASKING = Endpoint("http://backend.test", "psk_secret", {"X-API-Key": "psk_secret"})
USER = (("user_id", "u 1&"),)
ASKED = PromptQuery("p", None, "main", None, USER)
ROUTE = RouteQuery("e1", "user_id", "u1", "p", "main")
NOT_TEXTS: tuple[Any, ...] = (None, 5, ["x"], {})


# -- requests ------------------------------------------------------------------------------------------------


def test_names_and_values_are_quoted() -> None:
    """No name reaches another path, and no value another parameter."""
    question = PromptQuery("a/../b?c#d ä%", "1&x=2", "a b", "other", USER)
    request = question.request(ASKING)
    assert request.url == (
        "http://backend.test/api/logs/prompt/a%2F..%2Fb%3Fc%23d%20%C3%A4%25"
        "?branch=a+b&version=1%26x%3D2&sticky_key=user_id&sticky_value=u+1%26"
    )
    assert (request.method, request.headers["X-Project-Id"]) == ("GET", "other")
    assert "X-Project-Id" not in ASKED.request(ASKING).headers
    assert ExperimentQuery("a/b").request(ASKING).url == "http://backend.test/api/experiments/a%2Fb"


def test_a_lone_surrogate_does_not_break_the_request() -> None:
    """A name that no URL can carry is asked for with a replacement."""
    question = PromptQuery("\ud800", None, "\ud800", None, (("user_id", "\ud800"),))
    assert question.request(ASKING).url.endswith("/%3F?branch=%3F&sticky_key=user_id&sticky_value=%3F")
    assert ExperimentQuery("\ud800").request(ASKING).url.endswith("/%3F")


def test_the_route_request_is_the_published_one() -> None:
    """Exactly these four fields."""
    request = ROUTE.request(ASKING)
    assert (request.method, request.url) == ("POST", "http://backend.test/api/experiments/route")
    assert json.loads(request.body) == {
        "experimentId": "e1",
        "stickyKey": "user_id",
        "stickyValue": "u1",
        "apiKey": "psk_secret",
    }


# -- the four forms of a prompt's answer ---------------------------------------------------------------------


def test_form_1_the_server_has_routed() -> None:
    """The assignment is taken, for that user alone."""
    answer = prompt_json(experiment_id="e1", experiment_version_id="v2")
    assert ASKED.audience(answer) is Audience.ONE
    prompt = ASKED.read(answer).prompt
    assert (prompt.experiment_id, prompt.experiment_version_id, prompt.routed_by) == ("e1", "v2", "server")


@pytest.mark.parametrize(
    ("sticky", "reported", "expected"),
    [
        ((("user_id", "7"),), {}, ("user_id", "7")),
        ((("a", "1"), ("user_id", "7")), {"sticky_key": "user_id"}, ("user_id", "7")),
        ((("a", "1"), ("user_id", "7")), {}, (None, None)),
        ((("user_id", "7"),), {"sticky_key": "user_id", "sticky_value": 8}, ("user_id", "8")),
    ],
    ids=["one key", "the key is told", "several keys", "both are told"],
)
def test_form_1_tells_by_which_key(sticky: Any, reported: dict[str, Any], expected: Any) -> None:
    """The wire does not promise the sticky key in the answer: what can be known without it is filled in."""
    answer = prompt_json(experiment_id="e1", experiment_version_id="v2", **reported)
    prompt = ASKED._replace(sticky=sticky).read(answer).prompt
    assert (prompt.sticky_key, prompt.sticky_value) == expected


@pytest.mark.parametrize("more", [{}, {"experiment_id": None}])
def test_form_2_the_configuration_is_for_everybody(more: dict[str, Any]) -> None:
    """It comes before form 3 in the order of reading: one fetch serves all users."""
    answer = prompt_json(experiments=[experiment_json()], **more)
    assert ASKED.audience(answer) is Audience.ALL
    (experiment,) = ASKED.read(answer).experiments
    assert experiment.experiment_id == "e1"


def test_form_3_no_experiment_for_this_user() -> None:
    """Evaluated for this user, with the default version as its answer."""
    answer = prompt_json(experiment_id=None)
    assert ASKED.audience(answer) is Audience.ONE_BY_DEFAULT
    assert ASKED.read(answer).prompt.get_experiment_context() is None


def test_form_4_a_backend_that_does_not_route() -> None:
    """One answer for all users, and for those who give no context at all."""
    assert ASKED.audience(prompt_json()) is Audience.ALL
    assert ASKED._replace(sticky=()).audience(prompt_json(experiment_id=None)) is Audience.ALL


def test_paused_experiments_route_nobody_and_bad_ones_are_named() -> None:
    """The others are not affected."""
    bad = experiment_json("too-much", 80, 70)
    paused = experiment_json("paused", status="paused")
    meaning = ASKED.read(prompt_json(experiments=[bad, paused, "nonsense", experiment_json("good")]))
    assert [each.experiment_id for each in meaning.experiments] == ["good"]
    too_much, nonsense = meaning.ignored
    assert "'too-much'" in too_much
    assert "150" in too_much
    assert "None" in nonsense


def test_what_an_answer_says_of_experiments_is_bounded() -> None:
    """Those that don't run cost nothing; of the others the first hundred are read, and the rest counted."""
    paused = [experiment_json(f"p{number}", status="paused") for number in range(500)]
    bad = [experiment_json(f"b{number}", 80, 70) for number in range(50)]
    good = [experiment_json(f"g{number}") for number in range(70)]
    meaning = ASKED.read(prompt_json(experiments=[*paused, *bad, *good]))
    assert len(meaning.experiments) == MAX_EXPERIMENTS - len(bad)
    assert len(meaning.ignored) == len(bad) + 1
    assert meaning.ignored[-1] == "20 more experiments are ignored: a prompt may have 100 running ones"


# -- bad answers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["prompt_id", "name", "content"])
@pytest.mark.parametrize("value", NOT_TEXTS)
def test_a_prompt_needs_an_id_a_name_and_a_content(field: str, value: Any) -> None:
    """An answer without them is trouble, not a prompt; the message names what is missing."""
    with pytest.raises(ValueError, match=field):
        ASKED.read({**prompt_json(), field: value})


def test_what_may_be_missing_or_odd_does_no_harm() -> None:
    """Numbers become texts, metadata that is no dict is none, only a plain false switches logging off."""
    bare = {"prompt_id": "1", "name": "p", "content": ""}
    prompt = ASKED.read({**bare, "version": 3, "metadata": [1], "enable_logging": None}).prompt
    assert (prompt.version, prompt.branch, dict(prompt.metadata), prompt.enable_logging) == (
        "3",
        None,
        {},
        True,
    )
    assert ASKED.read({**bare, "enable_logging": False}).prompt.enable_logging is False


# -- versions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answered", "final"), [("2", True), (2, True), (None, True), ("7", False)])
def test_only_a_version_that_is_what_was_asked_for_is_pinned(answered: Any, final: bool) -> None:
    """A backend may take "latest" for a version: that is no fixed one."""
    question = PromptQuery("p", "2", "main", None, ())
    assert question.pinned(question.read(prompt_json(version=answered))) is final
    assert not ASKED.pinned(ASKED.read(prompt_json()))


def test_users_share_a_question_and_fall_back_to_the_default() -> None:
    """The keys under which answers are kept."""
    assert ASKED.shared == PromptQuery("p", None, "main", None, EVERYONE)
    assert ASKED.default == PromptQuery("p", None, "main", None, ())
    assert ASKED.default.shared == ASKED.default


# -- experiments ---------------------------------------------------------------------------------------------


def test_both_published_routing_answers_are_read() -> None:
    """The newer is nested, the older flat and without a name: that is the experiment's prompt's."""
    newer = ROUTE.read({"prompt": prompt_json("B", version="3"), "selected_version_id": "v3"}).prompt
    older = {"prompt_id": "id-1", "content": "B", "version_number": 3, "experiment_version_id": "v3"}
    flat = ROUTE.read(older).prompt
    for prompt in (newer, flat):
        assert (prompt.prompt_id, prompt.name, prompt.content) == ("id-1", "p", "B")
        assert (prompt.version, prompt.branch, prompt.routed_by) == ("3", "main", "server")
        assert prompt.get_experiment_context() == {
            "experiment_id": "e1",
            "experiment_version_id": "v3",
            "sticky_key": "user_id",
            "sticky_value": "u1",
        }


@pytest.mark.parametrize(
    "answer", [{"prompt": prompt_json()}, {"prompt_id": "id-1", "content": "Hello", "version_number": 1}]
)
def test_a_route_to_no_version_is_the_default(answer: dict[str, Any]) -> None:
    """Then there is no assignment to log."""
    assert ROUTE.read(answer).prompt.get_experiment_context() is None


def test_routes_are_one_users_and_details_everybodys() -> None:
    """What is one user's never gets to the disk."""
    assert ROUTE.audience({}) is Audience.ONE
    assert ExperimentQuery("e1").audience({}) is Audience.ALL


def test_details_of_an_experiment() -> None:
    """The project under either name, the branch by default main; running only while it says so."""
    plain = {"prompt_name": "p", "status": "running", "sticky_type": "user_id"}
    details = ExperimentQuery("e1").read({**plain, "project_id": "acme"})
    assert (details.branch, details.project, details.running) == ("main", "acme", True)
    details = ExperimentQuery("e1").read({**plain, "status": "paused", "project": "x", "branch": "dev"})
    assert (details.branch, details.project, details.running) == ("dev", "x", False)
    with pytest.raises(ValueError, match="no status and no sticky_type"):
        ExperimentQuery("e1").read({"prompt_name": "p"})
