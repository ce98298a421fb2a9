"""A version of a prompt as a file's text, there and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan_hp.cli.prompts.files import FormatError, PromptFile, from_text, to_text

WORDS = st.text(st.one_of(st.sampled_from('-\n\r\\ {}":<>!ä\x00\u2028\ud800'), st.characters()), min_size=1)
CONTENTS = st.one_of(
    st.text(),
    st.lists(st.sampled_from(["---", "", "<!-- message: user -->", r"\<!-- message: x -->", "a", "a\r"])).map(
        "\n".join
    ),
)
MESSAGES = st.builds(
    lambda role, content, more: {"role": role, "content": content, **more},
    st.one_of(st.sampled_from(["system", "user"]), WORDS),
    CONTENTS,
    st.one_of(st.just({}), st.builds(lambda name: {"name": name}, st.text())),
)
JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=5,
)
FILES = st.builds(
    PromptFile,
    name=WORDS,
    branch=WORDS,
    version=st.one_of(st.none(), WORDS),
    revision=st.one_of(st.none(), WORDS),
    content=st.one_of(CONTENTS, st.lists(MESSAGES, min_size=1, max_size=4).map(tuple)),
    config=st.one_of(st.none(), st.dictionaries(st.text(), JSON, max_size=3)),
)


@given(file=FILES)
def test_what_is_written_is_read_back_as_it_was(file: PromptFile) -> None:
    """Whatever a prompt says: fences, marks, line breaks of any kind, characters that can't be printed."""
    assert from_text(to_text(file)) == file


def test_a_file_is_what_people_would_write() -> None:
    """Plain words without quotes, a configuration in lines, the content as it is."""
    file = PromptFile(
        name="support/answer",
        branch="main",
        version="1.0",
        revision="9f2c",
        config={"model": "m-1", "größe": 1},
        content="# Answer\n\n{{question}}",
    )
    assert to_text(file) == (
        "---\nname: support/answer\nbranch: main\nversion: 1.0\nrevision: 9f2c\nconfig:\n"
        '  {\n    "model": "m-1",\n    "größe": 1\n  }\n---\n# Answer\n\n{{question}}\n'
    )


def test_a_chat_has_a_line_before_each_message() -> None:
    """With the role, and JSON where there is more to say."""
    chat = ({"role": "system", "content": "Be brief."}, {"role": "user", "name": "Ada", "content": "{{q}}"})
    assert to_text(PromptFile(name="a", branch="b", content=chat)) == (
        "---\nname: a\nbranch: b\nkind: chat\n---\n<!-- message: system -->\nBe brief.\n\n"
        '<!-- message: {"role": "user", "name": "Ada"} -->\n{{q}}\n'
    )


@pytest.mark.parametrize(
    "text",
    [
        "---\r\nname: a\r\nbranch: b\r\nconfig: {}\r\n---\r\nHi",
        '\ufeff---\nname:   "a"\nbranch: b\nconfig:\n\t{\n\n\t}\n---\nHi\n',
    ],
)
def test_what_editors_make_of_a_file_is_read(text: str) -> None:
    """Line breaks of Windows in the header, a byte order mark, tabs, a last line that isn't ended."""
    assert from_text(text) == PromptFile(name="a", branch="b", config={}, content="Hi")


def test_a_chat_needs_no_empty_lines() -> None:
    """People may leave them out."""
    text = (
        "---\nname: a\nbranch: b\nkind: chat\n---\n\n<!-- message: system -->\nX\n<!-- message: user -->\nY"
    )
    assert from_text(text).content == ({"role": "system", "content": "X"}, {"role": "user", "content": "Y"})


HEAD = "---\nname: a\nbranch: b\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "must begin with a header"),
        ("Hello", "must begin with a header"),
        ("---\nname: a\n", "must begin with a header"),
        ("---\nname: a\n---\n", "must have a branch"),
        ("---\nbranch: a\n---\n", "must have a name"),
        (f"{HEAD}nonsense\n---\n", "each line of the header must be 'field: value', was 'nonsense'"),
        (f"{HEAD}modell: x\n---\n", "modell is no field of the header; the fields are name, branch,"),
        (f"{HEAD}name: c\n---\n", "name is there twice"),
        (f"{HEAD}version:\n---\n", "version must be a text that isn't empty"),
        (f'{HEAD}version: "x\n---\n', "version is not valid JSON"),
        (f"{HEAD}config: x\n---\n", "config is not valid JSON"),
        (f"{HEAD}config: [1]\n---\n", "config must be a JSON object"),
        (f'{HEAD}config: {{"a": NaN}}\n---\n', "NaN is no JSON number"),
        (f"{HEAD}config: {'[' * 100_000}\n---\n", "config is not valid JSON"),
        (f"{HEAD}kind: poem\n---\n", "kind must be chat"),
        (f"{HEAD}kind: chat\n---\nHello\n", "a chat must begin with a line like"),
        (f"{HEAD}kind: chat\n---\n\n", "a chat must have a message"),
        (f'{HEAD}kind: chat\n---\n<!-- message: {{"a": 1}} -->\n', "a message's line must have a role"),
    ],
)
def test_what_is_no_file_of_a_prompt_is_refused(text: str, complaint: str) -> None:
    """With what is wrong, so that a mistyped field does not get lost."""
    with pytest.raises(FormatError) as caught:
        from_text(text)
    assert complaint in str(caught.value)


def test_the_order_of_a_configuration_counts() -> None:
    """A schema's fields come in the order in which a model fills them."""
    config: dict[str, Any] = {"a": 1, "b": True}
    file = PromptFile(name="a", branch="b", content="x", config=config)
    assert file.says("x", json.loads(json.dumps(config)))
    assert not file.says("x", {"b": True, "a": 1})
    assert not file.says("x", {"a": 1, "b": 1})
    assert not file.says("y", config)
