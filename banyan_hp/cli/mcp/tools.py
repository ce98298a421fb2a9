"""What agents may ask for. A tool is a class: its docstring and fields are what the agent reads about it.

Tools only read: they get nothing of the API but `get`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from ..api import lacks, pages, quoted
from ..choosing import moment
from ..terminal import WRONG, CommandError
from .answers import Fields, answer, listed, without

Get = Callable[..., Mapping[str, Any]]
"""The JSON object at a path of the API, with parameters; raises `CommandError`."""

_PROMPTS = "/api/logs/cli/prompts"
_EXPERIMENTS = "/api/experiments"
_EXCERPT = 400  # characters of a text in a list of calls
_MOST = 100
_IDENTITY = ("project", "day", "seq", "body")  # of no use to agents, or all of it once more

_Limit = Annotated[int, Field(ge=1, le=_MOST, description="at most this many")]
_After = Annotated[str | None, Field(description="the `next` of the answer before, for what follows it")]
_Name = Annotated[str, Field(min_length=1)]
_When = Annotated[
    str | None, Field(description="so long ago, as 7d, 12h or 30m, or a time, as 2026-11-28T12:00Z")
]


class Tool(BaseModel):
    """What an agent asks for."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    called: ClassVar[str]

    def answer(self, get: Get) -> str:
        """What it is told.

        Raises:
            CommandError: it can't be told that.
        """
        raise NotImplementedError


# -- calls ---------------------------------------------------------------------------------------------------


class SearchCalls(Tool):
    """Search logged LLM calls, newest first: those that fit all of what is given. Long texts are excerpts;
    show_call has one call in full. `next` in the answer leads on to older calls; with `searched_to`, those
    before that time are not searched yet.
    """

    called = "search_calls"

    text: Annotated[str | None, Field(description='words and "phrases" that all occur in the call')] = None
    since: _When = None
    until: _When = None
    failed: Annotated[bool | None, Field(description="true: with an error; false: without one")] = None
    session: str | None = None
    user: str | None = None
    prompt_name: str | None = None
    version: Annotated[str | None, Field(description="of the prompt")] = None
    branch: Annotated[str | None, Field(description="of the prompt")] = None
    model: str | None = None
    experiment_id: str | None = None
    experiment_version_id: str | None = None
    source: Annotated[str | None, Field(description="the client: banyan or huggingplace")] = None
    limit: _Limit = 20
    after: _After = None

    def answer(self, get: Get) -> str:
        """A page of calls."""
        given = self.model_dump(exclude_none=True, exclude={"limit", "since", "until", "failed"})
        given |= {name: _time(getattr(self, name)) for name in ("since", "until") if getattr(self, name)}
        if self.failed is not None:
            given["failed"] = "true" if self.failed else "false"
        return _page(get, given, self.limit, longest=_EXCERPT)


class ShowSession(Tool):
    """Show the newest calls of a session, in the order in which they happened. `next` in the answer leads on
    to earlier calls.
    """

    called = "show_session"

    session: _Name
    limit: _Limit = 50
    after: _After = None

    def answer(self, get: Get) -> str:
        """A page of calls, the oldest first."""
        given = {"session": self.session} | ({"after": self.after} if self.after is not None else {})
        return _page(get, given, self.limit, upwards=True)


class ShowCall(Tool):
    """Show one logged call by its id: input, output, metadata, model, latency, tokens, cost, error, prompt,
    experiment.
    """

    called = "show_call"

    id: _Name

    def answer(self, get: Get) -> str:
        """The call."""
        found = get(f"/api/calls/{quoted(self.id)}")
        return answer({}, "calls", [without(found, *_IDENTITY)]).text


def _page(
    get: Get, given: Mapping[str, str], limit: int, *, longest: int | None = None, upwards: bool = False
) -> str:
    """A page as long as there is room for: its `next` must follow the last call that is in it."""
    while True:
        page = get("/api/calls", **given, limit=limit)
        calls = [without(each, *_IDENTITY) for each in _objects(page, "calls")]
        if upwards:
            calls.reverse()
        head = {name: page.get(name) for name in ("next", "searched_to")}
        found = answer(head, "calls", calls, longest) if longest is not None else answer(head, "calls", calls)
        if found.shown >= len(calls) or limit == 1:
            return found.text
        limit = max(1, found.shown)


def _time(text: str) -> str:
    try:
        return moment(text).isoformat().replace("+00:00", "Z")
    except argparse.ArgumentTypeError as error:
        raise CommandError(f"a time {error}", WRONG) from None


# -- prompts -------------------------------------------------------------------------------------------------


class ListPrompts(Tool):
    """List prompts: what is released, what is newest, where labels point. show_prompt has what they say."""

    called = "list_prompts"

    containing: Annotated[str, Field(description="this text in the name, in any case")] = ""
    branch: str | None = None
    limit: _Limit = 50

    def answer(self, get: Get) -> str:
        """The prompts, without what they say."""
        given = {"branch": self.branch} if self.branch else {}
        found = (each for page in pages(get, _PROMPTS, **given) for each in _objects(page, "prompts"))
        wanted = [each for each in found if self.containing.lower() in str(each.get("name", "")).lower()]
        shown = ("name", "branch", "released", "newest", "labels", "metadata")
        return listed({}, "prompts", [_only(each, *shown) for each in wanted], self.limit, _EXCERPT)


class ShowPrompt(Tool):
    """Show a prompt and its versions, newest first: what they say, their configuration, labels, authors;
    `current` is the released one.
    """

    called = "show_prompt"

    name: _Name
    branch: str = "main"
    version: Annotated[str | None, Field(description="only this version")] = None
    limit: _Limit = 20

    def answer(self, get: Get) -> str:
        """The prompt with its versions."""
        prompt = self._found(_objects(get(_PROMPTS, name=self.name), "prompts"))
        listed_versions = pages(get, f"{_PROMPTS}/{quoted(str(prompt.get('id')))}/versions")
        versions = [each for page in listed_versions for each in _objects(page, "versions")]
        if self.version is not None:
            versions = [each for each in versions if each.get("version") == self.version]
            if not versions:
                raise CommandError(f"prompt {self.name!r} has no version {self.version!r}", WRONG)
        shown = [without(each, "content") if "messages" in each else each for each in reversed(versions)]
        head = _only(prompt, "name", "branch", "released", "newest", "labels", "metadata", "enable_logging")
        return listed(head, "versions", shown, self.limit)

    def _found(self, prompts: list[Fields]) -> Fields:
        for each in prompts:
            if each.get("branch") == self.branch:
                return each
        others = ", ".join(str(each.get("branch")) for each in prompts)
        hint = f"; it is on {others}" if others else "; list_prompts has the names"
        raise CommandError(f"prompt {self.name!r} not found on branch {self.branch!r}{hint}", WRONG)


# -- experiments ---------------------------------------------------------------------------------------------


class ListExperiments(Tool):
    """List experiments: on which prompt, their status, and which share each version gets."""

    called = "list_experiments"

    prompt_name: str | None = None
    status: Annotated[str | None, Field(description="draft, running, paused or finished")] = None
    limit: _Limit = 50

    def answer(self, get: Get) -> str:
        """The experiments, with the shares of their versions."""
        given = self.model_dump(exclude_none=True, include={"prompt_name", "status"})
        listed_pages = pages(get, _EXPERIMENTS, **given)
        found = [each for page in listed_pages for each in _objects(page, "experiments")]
        shown = [{**_aims(each), "versions": [_share(one) for one in _versions(each)]} for each in found]
        return listed({}, "experiments", shown, self.limit, _EXCERPT)


class ShowExperiment(Tool):
    """Show an experiment: its configuration, and how many calls came of each version."""

    called = "show_experiment"

    experiment_id: _Name

    def answer(self, get: Get) -> str:
        """The experiment with its versions; also those that it had and that calls came of."""
        path = f"{_EXPERIMENTS}/{quoted(self.experiment_id)}"
        found = get(path)
        used = get(f"{path}/usage").get("versions")
        counts = dict(used) if isinstance(used, dict) else {}
        versions = [
            {**without(each, "content" if "messages" in each else ""), "calls": counts.pop(_id(each), 0)}
            for each in _versions(found)
        ]
        gone = [
            {"experiment_version_id": name, "calls": count, "removed": True} for name, count in counts.items()
        ]
        return listed(_aims(found), "versions", [*versions, *gone], _MOST)


class ExperimentResults(Tool):
    """Show what came of an experiment: which version won or why none did (decision), whether users were dealt
    out as configured (trusted: if not, believe none of the numbers), and each version beside the control in
    each metric, with intervals that hold however often one looks. Only the primary metric decides.
    """

    called = "experiment_results"

    experiment_id: _Name
    metric: Annotated[str | None, Field(description="only this one, beside the primary metric")] = None
    segment: Annotated[int | None, Field(description="an earlier stretch between two changes", ge=1)] = None

    def answer(self, get: Get) -> str:
        """The decision, then the metrics, the primary one first."""
        given = self.model_dump(exclude_none=True, include={"metric", "segment"})
        found = get(f"{_EXPERIMENTS}/{quoted(self.experiment_id)}/results", **given)
        return listed(without(found, "metrics"), "metrics", _objects(found, "metrics"), _MOST)


def _aims(experiment: Fields) -> dict[str, Any]:
    return without(experiment, "versions", "slots", "salt", "allocation", "project_id")


def _share(version: Fields) -> dict[str, Any]:
    return _only(version, "experiment_version_id", "version", "traffic_percentage")


def _versions(experiment: Fields) -> list[Fields]:
    return _objects(experiment, "versions")


def _id(version: Fields) -> str:
    return str(version.get("experiment_version_id"))


def _only(fields: Fields, *names: str) -> dict[str, Any]:
    return {name: fields[name] for name in names if name in fields}


def _objects(found: Mapping[str, Any], name: str) -> list[Fields]:
    """The objects in a list of a response.

    Raises:
        CommandError: there is no such list.
    """
    items = found.get(name)
    if not isinstance(items, list):
        raise lacks(name)
    return [each for each in items if isinstance(each, dict)]


TOOLS: tuple[type[Tool], ...] = (
    SearchCalls,
    ShowCall,
    ShowSession,
    ListPrompts,
    ShowPrompt,
    ListExperiments,
    ShowExperiment,
    ExperimentResults,
)
