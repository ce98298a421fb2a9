"""Projects, keys, prompts and experiments, on each database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import pytest

from banyan_hp.server.store import rows
from banyan_hp.server.store.audit import Actor, Audit
from banyan_hp.server.store.calls import UnusableCursorError
from banyan_hp.server.store.database import Database
from banyan_hp.server.store.experiments import Experiment, Experiments, Variant
from banyan_hp.server.store.keys import Keys, Project, Projects, Role, digest_of
from banyan_hp.server.store.parts import Part
from banyan_hp.server.store.prompts import MissingError, Prompt, Prompts, TakenError, Version

ME = Actor("p", "key-1")
T = TypeVar("T")


@pytest.fixture
def prompts(database: Database) -> Prompts:
    return Prompts(database)


def greeting(prompts: Prompts, *, release: bool = True, **changes: str) -> Prompt:
    """A stored prompt with the version 1.0."""
    prompt = Prompt(**{"project": "p", "name": "greeting", **changes})  # type: ignore[arg-type]
    prompts.create(prompt, Version(version="1.0", content="Hello"), ME, release=release)
    found = prompts.get("p", prompt.prompt_id)
    assert found is not None
    return found


def actions(database: Database, subject: str) -> list[str]:
    return [change.action for change in reversed(Audit(database).of("p", subject).items)]


def test_a_key_is_found_by_its_secret_until_it_is_revoked(database: Database) -> None:
    keys = Keys(database)
    made, secret = keys.create("p", Role.INGEST)
    assert secret.startswith("psk_")
    assert len(secret) == len("psk_") + 43
    assert keys.find(digest_of(secret)) == made
    assert keys.find(digest_of(secret + "x")) is None
    assert keys.revoke(made.id, "q") is False
    assert keys.revoke(made.id) is True
    assert keys.revoke(made.id) is False
    assert keys.find(digest_of(secret)) is None
    assert [(each.id, each.revoked_at is None) for each in keys.listed("p")] == [(made.id, False)]
    assert actions(database, f"key:{made.id}") == ["key.create", "key.revoke"]


def test_no_secret_is_stored(database: Database) -> None:
    _, secret = Keys(database).create("p", Role.ADMIN)
    with database.read() as connection:
        stored = str(connection.exec_driver_sql("SELECT * FROM keys").all())
    assert secret not in stored
    assert secret[4:20] not in stored


@pytest.mark.parametrize(
    ("has", "needs", "may"),
    [
        (Role.INGEST, Role.INGEST, True),
        (Role.INGEST, Role.READ, False),
        (Role.READ, Role.INGEST, True),
        (Role.READ, Role.ADMIN, False),
        (Role.ADMIN, Role.READ, True),
    ],
)
def test_a_role_may_do_what_those_before_it_may(has: Role, needs: Role, may: bool) -> None:
    assert has.covers(needs) is may


def test_projects_have_names(database: Database) -> None:
    projects = Projects(database)
    projects.put(Project("p", "Project One"))
    projects.put(Project("p", "One"))
    Keys(database).create("q", Role.READ)
    assert projects.listed() == [Project("p", "One"), Project("q", "q")]
    assert projects.get("r") is None


def test_versions_are_drafts_until_they_are_released(prompts: Prompts) -> None:
    prompt = greeting(prompts, release=False)
    assert prompt.version is None
    prompts.release(prompt, "1.0", ME)
    prompts.add_version(prompt, Version(version="2", content="Hi"), ME, release=False)
    found = prompts.find("p", "greeting")
    assert found is not None
    assert found.version == "1.0"
    assert found.version_of("production") == "1.0"
    drafts = {each.version: each.released_at is None for each in prompts.versions(found).items}
    assert drafts == {"1.0": False, "2": True}


def test_labels_point_to_versions(prompts: Prompts) -> None:
    prompt = greeting(prompts)
    prompts.add_version(prompt, Version(version="2", content="Hi"), ME, release=False)
    prompts.label(prompt, "staging", "2", ME)
    found = prompts.find("p", "greeting")
    assert found is not None
    assert (found.version_of(None), found.version_of("staging"), found.version_of("x")) == ("1.0", "2", None)
    prompts.label(prompt, "staging", None, ME)
    assert prompts.listed("p").items[0].prompt.labels == {}
    with pytest.raises(MissingError, match="has no version '9'"):
        prompts.label(prompt, "staging", "9", ME)


def test_a_release_can_be_undone_and_is_noted(prompts: Prompts, database: Database) -> None:
    prompt = greeting(prompts)
    prompts.add_version(prompt, Version(version="2", content="Hi"), ME)
    prompts.release(prompt, "1.0", ME)
    newest = Audit(database).of("p", f"prompt:{prompt.prompt_id}", limit=1).items
    assert [(each.action, each.key_id, dict(each.detail)) for each in newest] == [
        ("prompt.release", "key-1", {"version": "1.0", "before": "2"})
    ]


def test_chats_and_configurations_come_back(prompts: Prompts) -> None:
    prompt = greeting(prompts)
    messages = [{"role": "system", "content": "a\x00\ud800"}, {"role": "user", "content": "{{q}}"}]
    given = Version(version="2", content=messages, config={"model": "m", "tools": []}, change_message="why")
    prompts.add_version(prompt, given, ME)
    found = prompts.version(prompt, "2")
    assert found is not None
    assert (found.content, found.config, found.change_message) == (messages, given.config, "why")
    assert found.author == "key-1"


def test_a_version_follows_the_one_that_its_author_has_seen(prompts: Prompts) -> None:
    prompt = greeting(prompts)
    seen = prompts.versions(prompt).items[-1].revision
    prompts.add_version(prompt, Version(version="2", content="Hi"), ME, after=seen)
    with pytest.raises(TakenError, match="has changed: its newest version is '2'"):
        prompts.add_version(prompt, Version(version="3", content="Hi"), ME, after=seen)
    assert [each.version for each in prompts.versions(prompt).items] == ["1.0", "2"]
    prompts.remove(prompt, ME)
    with pytest.raises(MissingError, match="'greeting' not found"):
        prompts.add_version(prompt, Version(version="3", content="Hi"), ME)


def test_the_newest_version_is_the_last_one_made_whatever_the_clocks_say(
    prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = greeting(prompts)
    monkeypatch.setattr("banyan_hp.server.store.prompts.now", lambda: 1)
    for version in ("9", "8", "7"):
        prompts.add_version(prompt, Version(version=version, content=version), ME)
    assert [each.version for each in prompts.versions(prompt).items] == ["1.0", "9", "8", "7"]
    assert prompts.listed("p").items[0].newest == "7"


@pytest.mark.parametrize("large", [False, True])
def test_lists_come_in_parts(
    database: Database, prompts: Prompts, monkeypatch: pytest.MonkeyPatch, *, large: bool
) -> None:
    """Prompts, versions and changes: by number or by bytes, whichever is less, and nothing twice or never."""
    limit = 1000 if large else 2
    if large:
        monkeypatch.setattr(rows.within_bytes, "__defaults__", (2500,))
    text = "x" * (1000 if large else 1)
    for number in range(5):
        greeting(prompts, name=f"g{number}")
    prompt = greeting(prompts, name="many")
    for number in range(5):
        prompts.add_version(prompt, Version(version=f"v{number}", content=text, config={"a": text}), ME)
        prompts.rewrite(prompt, Version(version=f"v{number}", content="short"), ME)
    for number in range(5):
        prompts.rewrite(prompt, Version(version=f"v{number}", content=text), ME)

    def collected(part: Callable[..., Part[T]], cursor: str = "after") -> list[T]:
        found: list[T] = []
        following: dict[str, Any] = {}
        while True:
            page = part(limit=limit, **following)
            assert 1 <= len(page.items) <= limit
            found += page.items
            if page.next is None:
                return found
            following = {cursor: int(page.next) if cursor == "before" else page.next}

    listed = collected(partial(prompts.listed, "p"))
    assert [each.prompt.name for each in listed] == [*(f"g{number}" for number in range(5)), "many"]
    assert [each.newest for each in listed] == [*["1.0"] * 5, "v4"]
    assert [each.served.version for each in listed if each.served] == [*["1.0"] * 5, "v4"]
    assert prompts.versions(prompt, limit=limit).next is not None
    versions = collected(partial(prompts.versions, prompt))
    assert [each.version for each in versions] == ["1.0", *(f"v{number}" for number in range(5))]
    audit = Audit(database)
    assert audit.of("p", limit=limit).next is not None
    numbers = [each.seq for each in collected(partial(audit.of, "p"), "before")]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == len(set(numbers)) == 6 * 3 + 5 * 2 + 10


@pytest.mark.parametrize("cursor", ["", ".", "1", "1.", "x.y", ".name", f"{2**70}.a"])
def test_a_cursor_that_no_list_gave_out_is_refused(prompts: Prompts, cursor: str) -> None:
    with pytest.raises(UnusableCursorError, match="after must be the next of another page"):
        prompts.listed("p", after=cursor)


def test_a_revision_stands_for_all_that_a_version_says() -> None:
    made = Version(version="1", content="x", config={"a": 1})
    others = [
        replace(made, version="2"),
        replace(made, content="y"),
        replace(made, config=None),
        replace(made, config={"a": 2}),
        replace(made, content=[{"role": "user", "content": "x"}]),
    ]
    assert len({each.revision for each in (made, *others)}) == 6
    assert replace(made, author="me", change_message="why").revision == made.revision


def test_what_is_taken_is_refused(prompts: Prompts) -> None:
    prompt = greeting(prompts)
    with pytest.raises(TakenError, match="'greeting' already exists on branch 'main' of project 'p'"):
        greeting(prompts)
    with pytest.raises(TakenError, match=r"already has version '1\.0'"):
        prompts.add_version(prompt, Version(version="1.0", content="x"), ME)
    other = greeting(prompts, branch="dev")
    with pytest.raises(TakenError):
        prompts.change(replace(other, branch="main"), ME)
    assert [each.prompt.branch for each in prompts.listed("p", name="greeting").items] == ["main", "dev"]
    greeting_of_q = Prompt(project="q", name="greeting")
    prompts.create(greeting_of_q, Version(version="1.0", content="q"), Actor("q", "k"))
    assert [each.prompt.project for each in prompts.listed("q").items] == ["q"]


def half(prompt: Prompt, **changes: object) -> Experiment:
    variants = (
        Variant(experiment_version_id="a", version="1.0", traffic_percentage=50, slots=((0, 5000),)),
        Variant(experiment_version_id="b", version="x", traffic_percentage=50, content="X"),
    )
    made = Experiment(
        project="p",
        experiment_id="half",
        prompt_id=prompt.prompt_id,
        status="running",
        sticky_type="user_id",
        salt="s",
        variants=variants,
        control="a",
        primary_metric="thumb",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_an_experiment_comes_back_with_contents(prompts: Prompts, database: Database) -> None:
    experiments = Experiments(database)
    prompt = greeting(prompts)
    experiments.add(half(prompt), ME)
    found = experiments.get("p", "half")
    assert found is not None
    assert [each.content for each in found.variants] == ["Hello", "X"]
    assert found == replace(half(prompt), variants=found.variants)
    assert experiments.get("q", "half") is None
    assert experiments.page("p", "greeting", status="paused").items == []
    with pytest.raises(TakenError):
        experiments.add(half(prompt), ME)
    experiments.put(half(prompt, status="paused"), ME, instead_of=found)
    assert [each.status for each in experiments.on("p", prompt.prompt_id)] == ["paused"]
    experiments.remove(half(prompt), ME)
    assert experiments.page("p").items == []
    kept = Audit(database).of("p", "experiment:half").items[1].detail
    assert (kept["status"], kept["control"], kept["primary_metric"]) == ("paused", "a", "thumb")
    assert [each["content"] for each in kept["variants"]] == [None, "X"]
    assert actions(database, "experiment:half") == [
        "experiment.create",
        "experiment.change",
        "experiment.remove",
    ]


def test_a_removed_prompt_takes_its_experiments_along(prompts: Prompts, database: Database) -> None:
    prompt = greeting(prompts)
    Experiments(database).add(half(prompt), ME)
    prompts.label(prompt, "staging", "1.0", ME)
    prompts.remove(prompt, ME)
    assert prompts.listed("p").items == []
    assert Experiments(database).page("p").items == []


def test_a_page_of_experiments_is_bounded_in_bytes(prompts: Prompts, database: Database) -> None:
    """Contents count, those of the prompt's own versions, too; one is on a page in any case."""
    experiments = Experiments(database)
    prompt = greeting(prompts)
    prompts.add_version(prompt, Version(version="2.0", content="x" * 3_000_000), ME)
    following = Variant(experiment_version_id="a", version="2.0", traffic_percentage=50.0)
    own = Variant(experiment_version_id="b", version="X", traffic_percentage=50.0, content="y" * 3_000_000)
    huge = replace(own, content="z" * 9_000_000)
    for number, variants in enumerate([(following,), (own,), (following,), (huge,), (own,)]):
        experiments.add(half(prompt, experiment_id=f"e{number}", variants=variants), ME)
    pages: list[list[str]] = []
    after: str | None = None
    while not pages or after is not None:
        part = experiments.page("p", after=after)
        after = part.next
        pages.append([each.experiment.experiment_id for each in part.items])
    assert pages == [["e0", "e1"], ["e2"], ["e3"], ["e4"]]
