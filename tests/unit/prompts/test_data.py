"""A prompt in an application's hands: rendering, immutability, pickling, age."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from banyan_hp import PromptData
from banyan_hp.errors import RenderError
from banyan_hp.prompts.data import ReadOnlyDict, read_only


class Tone(str, Enum):
    WARM = "warm"


def prompt(content: str = "", **more: Any) -> PromptData:
    return PromptData("id", "greeting", content, **more)


# -- render --------------------------------------------------------------------------------------------------


def test_each_placeholder_gets_the_text_of_its_variable() -> None:
    """Blanks inside the braces do not matter."""
    assert prompt("{{a}} {{ b }} {{a}}").render(a="x", b="y") == "x y x"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('as "it" is\n', 'as "it" is\n'),
        (1, "1"),
        (0.5, "0.5"),
        (True, "true"),
        (None, "null"),
        ([1, "zwölf", {"a": None}], '[1, "zwölf", {"a": null}]'),
        (("x", {"y"}), '["x", ["y"]]'),
        ({1: Decimal("0.10")}, '{"1": "0.10"}'),
        (date(2026, 11, 28), "2026-11-28"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Tone.WARM, "warm"),
        (b"bytes", "bytes"),
        (float("nan"), "null"),
    ],
)
def test_what_is_no_text_goes_in_as_json(value: object, text: str) -> None:
    """As it would stand in a record; what is a text there has no quotes."""
    assert prompt("<{{a}}>").render(a=value) == f"<{text}>"


def test_missing_variables_are_all_named() -> None:
    """The error names the prompt and each missing variable once, in the order of the text."""
    with pytest.raises(RenderError, match="'greeting' needs a value for 'z', 'a'") as caught:
        prompt("{{z}} {{a}} {{z}} {{given}}").render(given="x")
    assert caught.value.missing == ("z", "a")
    assert pickle.loads(pickle.dumps(caught.value)).missing == ("z", "a")


def test_missing_variables_stay_when_not_strict() -> None:
    """What has no variable stays as it was written, blanks and all."""
    assert prompt("{{ a }} {{b}}").render(strict=False, b=2) == "{{ a }} 2"


def test_what_is_put_in_is_not_looked_at_again() -> None:
    """A user who types a placeholder, a backslash or a group reference gets it back as text."""
    assert prompt("{{a}}{{b}}").render(a="{{b}}", b=r"\1\g<0>") == r"{{b}}\1\g<0>"


def test_nothing_is_evaluated() -> None:
    """Attributes, items, calls, conversions and format specifications are no placeholders."""
    for text in ("{{a.__class__}}", "{{a[0]}}", "{{a()}}", "{{a!r}}", "{{a:>10}}", "{a}", "%(a)s", "{{}}"):
        rendered = prompt(text).render(strict=False, a="value")
        assert rendered == text


def test_names_that_are_not_pythons_come_in_a_dict() -> None:
    """Dots, dashes, letters of any alphabet and words that are taken; keywords win over the dict."""
    content = "{{user.name}} {{first-name}} {{größe}} {{class}} {{self}} {{values}} {{strict}}"
    values = {"user.name": 1, "first-name": 2, "größe": 3, "class": 4, "values": 5, "strict": 6}
    assert prompt(content).render(values, self=7, values=8) == "1 2 3 4 7 8 6"


def test_json_in_a_prompt_stays_json() -> None:
    """Single braces are text, and so are closing ones that nothing has opened."""
    content = '{"a": {"b": {"c": {}}}} {{ open, {x} } }'
    assert prompt(content).render() == content
    assert prompt('{"a": {{a}}}').render(a=[1]) == '{"a": [1]}'


NOT_OURS = [
    "{{user name}}",
    "{{0}}",
    "{{name|upper}}",
    "{{name | upper}}",
    "{{name!r}}",
    "{{items[0]}}",
    "{{f()}}",
    '{{"x": 1}}',
    "{{#items}}",
    "{{^items}}",
    "{{/items}}",
    "{{>part}}",
    "{{&name}}",
    "{{! a note }}",
    "{{=<% %>=}}",
    "{{{name}}}",
    "{{{{name}}}}",
    "{{}}",
    "{{ }}",
    "{{two\nlines}}",
]


@pytest.mark.parametrize("tag", NOT_OURS)
def test_double_braces_around_anything_but_a_name_are_named(tag: str) -> None:
    """No model gets them, whatever is given; without strictness they stay as they are written."""
    values = {tag.strip("{}"): "x", "name": "x", "items": ["x"], "": "x"}
    with pytest.raises(RenderError, match=r"only names like \{\{name\}\} can be filled") as caught:
        prompt(f"{{{{name}}}} a {tag} b {tag}").render(values)
    assert caught.value.missing == (tag,)
    assert prompt(f"a {tag} b").render(values, strict=False) == f"a {tag} b"


def test_all_that_can_not_be_filled_is_named_in_one_error() -> None:
    """Names without a variable, and what is no name, in the order of the text; long ones are cut."""
    with pytest.raises(RenderError) as caught:
        prompt("{{#a}} {{b}} {{/a}} {{c}} {{" + "x y" * 100 + "}}").render()
    assert caught.value.missing[:4] == ("{{#a}}", "b", "{{/a}}", "c")
    assert len(caught.value.missing[4]) == 60
    assert str(caught.value).startswith(
        "the prompt 'greeting' needs a value for 'b', 'c' and has {{#a}}, {{/a}}, {{x"
    )


def test_a_tag_within_a_tag_is_the_inner_one() -> None:
    """What was opened and not closed is text."""
    assert prompt("{{ a {{b}} }}").render(b="x") == "{{ a x }}"


@pytest.mark.parametrize("text", ["{" * 50_000, "{{" + "a" * 50_000, "{{a " * 20_000, "{{}" * 20_000])
def test_the_time_of_rendering_follows_the_length(text: str) -> None:
    """Whatever braces a text has."""
    began = time.thread_time()
    assert prompt(text).render() == text
    assert time.thread_time() - began < 1.0


# -- chats ---------------------------------------------------------------------------------------------------

CHAT = read_only(
    [
        {"role": "system", "content": "Be {{tone}}."},
        {"role": "user", "content": "{{question}}", "name": "Ada"},
    ]
)


def test_a_chat_is_rendered_message_by_message() -> None:
    """Into new dicts, which the caller may change; its text is rendered, too."""
    chat = prompt("system: Be {{tone}}.\n\nuser: {{question}}", messages=CHAT)
    rendered = chat.render_messages(tone="brief", question="{{tone}}?")
    assert rendered == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "{{tone}}?", "name": "Ada"},
    ]
    rendered[0]["content"] = "changed"
    assert chat.messages == CHAT
    assert chat.render(tone="brief", question="Why?") == "system: Be brief.\n\nuser: Why?"


def test_a_text_is_a_chat_of_one_message() -> None:
    """So that an application need not know which of the two a prompt is."""
    assert prompt("Hi {{name}}").render_messages(name="Ada") == [{"role": "user", "content": "Hi Ada"}]


def test_all_that_a_chat_misses_is_named_in_one_error() -> None:
    """Each once, in the order of the messages."""
    with pytest.raises(RenderError) as caught:
        prompt(messages=(*CHAT, {"role": "user", "content": "{{tone}} {{#x}}"})).render_messages()
    assert caught.value.missing == ("tone", "question", "{{#x}}")
    lenient = prompt(messages=CHAT).render_messages(strict=False, tone="brief")
    assert [each["content"] for each in lenient] == ["Be brief.", "{{question}}"]


def test_what_is_no_text_in_a_message_stays() -> None:
    """Another backend may send parts, or none."""
    odd = [{"role": "user", "content": [{"type": "text", "text": "{{a}}"}]}, {"role": "assistant"}]
    assert prompt(messages=odd).render_messages() == odd


# -- immutability --------------------------------------------------------------------------------------------


def test_a_prompt_can_not_be_changed() -> None:
    """Nor can anything inside its metadata: all callers share it."""
    shared = prompt(
        metadata=read_only({"a": {"b": [1, {"c": 2}]}}), config=read_only({"a": 1}), messages=CHAT
    )
    for part in (shared.config, CHAT[0]):
        with pytest.raises(TypeError, match="make a copy with dict"):
            part["a"] = 2  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        shared.content = "other"  # type: ignore[misc]
    metadata: Any = shared.metadata
    changes: tuple[Callable[[], object], ...] = (
        lambda: metadata.update(a=1),
        lambda: metadata["a"].pop("b"),
        lambda: metadata["a"]["b"][1].__setitem__("c", 3),
        lambda: metadata.setdefault("x", 1),
        lambda: metadata.clear(),
        lambda: metadata.popitem(),
        lambda: metadata.__ior__({"x": 1}),
        lambda: metadata.__delitem__("a"),
    )
    for change in changes:
        with pytest.raises(TypeError, match="make a copy with dict"):
            change()
    with pytest.raises(TypeError):
        metadata["a"]["b"][0] = 2
    assert dict(metadata, x=1)["x"] == 1
    assert json.loads(json.dumps(metadata)) == {"a": {"b": [1, {"c": 2}]}}


def test_prompts_are_equal_by_what_they_say() -> None:
    """Where and when it came from does not count; equal ones can be found in a set."""
    one, other = prompt("x", source="cache", fetched_at=1.0), prompt("x", source="disk", fetched_at=2.0)
    assert one == other
    assert one != prompt("y")
    assert one in {other}
    chat = prompt("x", messages=CHAT, config=read_only({"a": [1]}), label="staging")
    assert chat in {chat}
    assert chat != one


def test_a_prompt_survives_pickling_into_another_process() -> None:
    """Metadata stays read-only there, and the assignment is on it."""
    sent = prompt(
        "x", metadata=read_only({"a": [1]}), experiment_id="e", sticky_key="user_id", fetched_at=5.0
    )
    program = """
import pickle, sys
prompt = pickle.load(sys.stdin.buffer)
try:
    prompt.metadata["a"] = 2
except TypeError:
    sys.stdout.buffer.write(pickle.dumps((prompt, prompt.get_experiment_context())))
"""
    finished = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(sent), capture_output=True, timeout=30, check=True
    )
    came_back, context = pickle.loads(finished.stdout)
    assert came_back == sent
    assert (came_back.fetched_at, type(came_back.metadata)) == (5.0, ReadOnlyDict)
    assert context == sent.get_experiment_context()
    assert copy.deepcopy(sent) == sent


# -- what it tells -------------------------------------------------------------------------------------------


def test_the_age_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds since the backend confirmed it; never negative; None if it never did."""
    monkeypatch.setattr(time, "time", lambda: 1_000.0)
    assert prompt(fetched_at=990.0).age_s == 10.0
    assert prompt(fetched_at=1_010.0).age_s == 0.0
    assert prompt().age_s is None


def test_the_experiment_context_is_none_without_an_experiment() -> None:
    """And has exactly the four published keys with one."""
    assert prompt().get_experiment_context() is None
    context = prompt(experiment_id="e", experiment_version_id="v").get_experiment_context()
    assert context == {
        "experiment_id": "e",
        "experiment_version_id": "v",
        "sticky_key": None,
        "sticky_value": None,
    }
