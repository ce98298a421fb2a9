"""Settings: what is allowed, what a refusal says, and what the environment adds."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from banyan_hp import redact
from banyan_hp.copies import SECRET
from banyan_hp.errors import BanyanHPError, ConfigurationError
from banyan_hp.settings import PromptSettings, Settings, checked_url, env, first_text, header_text, truthy_env

AN_INTEGER = "an integer of at least {}"
SECONDS = "a number of seconds, 0 or more"
POSITIVE = "a number of seconds above 0"
BOOLEAN = "True or False"
CALLABLE = "a callable or None"

INTEGERS = {
    "max_retries": 0,
    "queue_size": 1,
    "batch_size": 1,
    "max_batch_bytes": 1024,
    "queue_bytes": 1024,
    "max_connections": 1,
    "spool_max_bytes": 64 * 1024,
    "max_record_bytes": 1024,
}
CHOICES = {
    "overflow": ["spill", "drop_oldest", "drop_newest"],
    "batching": ["auto", "always", "never"],
    "compression": ["auto", "always", "never"],
    "durability": ["memory", "disk"],
    "fsync": ["never", "interval", "always"],
    "on_sigterm": ["auto", "off"],
    "export_to": ["backend", "otlp"],
    "media": ["describe", "keep"],
    "content": ["on", "off", "hash"],
}
BOOLEANS = ["debug", "background_thread", "spool", "enabled", "otlp_content"]
CALLABLES = ["before_send", "on_error", "on_drop", "sampler"]
NOT_NEGATIVE = ["retry_delay", "flush_interval", "exit_timeout"]
ABOVE_ZERO = ["timeout", "spool_max_age", "connection_max_age"]
NO_TIMES: list[Any] = [-0.001, -1, math.nan, math.inf, True, "1", None]
NO_BOOLEANS: list[Any] = [0, 1, "true", None]
NO_WORDS: list[Any] = ["", "other", None, 1, []]
NO_CALLABLES: list[Any] = [1, "print", {}]

REFUSED: list[tuple[str, Any, str]] = [
    *((name, value, AN_INTEGER.format(low)) for name, low in INTEGERS.items()
      for value in (low - 1, -1, True, 2.0, "5", None)),
    *((name, value, SECONDS) for name in NOT_NEGATIVE for value in NO_TIMES),
    *((name, value, POSITIVE) for name in ABOVE_ZERO for value in [*NO_TIMES, 0, 0.0]),
    ("send_scores", "yes", "True, False or None"),
    ("send_scores", 1, "True, False or None"),
    *(("sample_rate", value, "a number from 0 to 1")
      for value in [-0.1, 1.1, math.nan, math.inf, "0.1", True, None]),
    *((name, value, BOOLEAN) for name in BOOLEANS for value in NO_BOOLEANS),
    *((name, value, CALLABLE) for name in CALLABLES for value in NO_CALLABLES),
    *((name, value, "one of " + ", ".join(map(repr, allowed))) for name, allowed in CHOICES.items()
      for value in [*NO_WORDS, allowed[0].upper()]),
    ("spool_dir", 3, "a path or None"),
    ("spool_dir", b"/tmp", "a path or None"),
    ("ca_bundle", 3, "a path or None"),
    ("ca_bundle", "/nowhere/ca.pem", "the path of a file that exists"),
    ("ca_bundle", "\0", "the path of a file that exists"),
    *(("client_cert", value, "a path, or a pair of paths (certificate, key)")
      for value in [3, (), ("a",) * 3]),
    *(("otlp_endpoint", value, "a text that is not empty") for value in [3, " "]),
    *(("otlp_timeout", value, POSITIVE) for value in [0, -1, "1"]),
    ("otlp_compression", "zstd", "one of 'gzip', 'none'"),
    ("otlp_protocol", "json", "one of 'http/json', 'http/protobuf'"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BANYAN_HP_SPOOL_DIR", "BANYAN_HP_DEBUG", "BANYAN_HP_DISABLED", "BANYAN_HP_TEST"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("name", "value", "allowed"), REFUSED)
def test_a_refusal_names_the_setting_its_value_and_what_is_allowed(
    name: str, value: Any, allowed: str
) -> None:
    """Each setting refuses what it can't use, and the message tells how to put it right."""
    with pytest.raises(ConfigurationError) as refusal:
        Settings(**{name: value})
    assert str(refusal.value) == f"{name} must be {allowed}, was {value!r}"


def test_every_setting_is_checked() -> None:
    """There is no setting that takes just anything."""
    assert {*(name for name, _, _ in REFUSED), *SECRET} - {"api_key"} == set(Settings.names())


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (5, "content_hash_key must be a text or bytes, was int"),
        ("short", "content_hash_key must have at least 16 bytes; it has 5"),
        (None, "content='hash' needs content_hash_key, or BANYAN_HP_CONTENT_HASH_KEY in the environment"),
    ],
)
def test_a_key_for_hashes_is_a_secret_of_some_length(key: Any, said: str) -> None:
    """Its value is in no message and in no `repr`; the environment may have it."""
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        Settings(content="hash", content_hash_key=key)
    assert "sixteen" not in repr(Settings(content="hash", content_hash_key="a secret of sixteen bytes"))


def test_the_environment_may_have_the_key_for_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is where secrets are; an argument wins."""
    monkeypatch.setenv("BANYAN_HP_CONTENT_HASH_KEY", "of the environment")
    assert Settings.from_options({"content": "hash"}).hash_key == b"of the environment"
    given = {"content": "hash", "content_hash_key": b"another secret of sixteen"}
    assert Settings.from_options(given).hash_key == b"another secret of sixteen"


@pytest.mark.parametrize(
    ("value", "said"), [("intake", "a list of texts"), ([1], "a text"), ([" "], "a text")]
)
def test_prompts_without_content_are_named_in_a_list(value: Any, said: str) -> None:
    """A single text is a mistake: each letter would be a prompt."""
    with pytest.raises(ConfigurationError, match=said):
        PromptSettings(content_off_prompts=value)


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (3, "otlp_headers must be a dict of texts, or 'name=value,name=value', was int"),
        ("secret", "otlp_headers must be 'name=value,name=value'; a part of it has no '='"),
        ({"a b": "secret"}, "otlp_headers has a header whose name HTTP does not allow: 'a b'"),
        ({"a": 1}, "otlp_headers['a'] must be a text, was int"),
        ({"a": "secret\n"}, "otlp_headers['a'] has characters that an HTTP header can't carry"),
    ],
)
def test_headers_are_refused_without_their_values(headers: Any, said: str) -> None:
    """They may be credentials."""
    with pytest.raises(ConfigurationError) as refusal:
        Settings(otlp_headers=headers)
    assert str(refusal.value).startswith(said)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("psk_secret", "previous_keys must be a list of API keys, was str"),
        (b"psk_secret", r"previous_keys\[0\] must be an API key"),
        ({"psk_secret"}, "previous_keys must be a list of API keys, was set"),
        (None, "previous_keys must be a list of API keys, was NoneType"),
        (["psk_secret", " "], r"previous_keys\[1\] must be an API key"),
        (["psk_secret", b"psk_secret"], r"previous_keys\[1\] must be an API key"),
        (["psk_secret\nX-Evil: 1"], r"previous_keys\[0\] has characters that an HTTP header can't carry"),
    ],
)
def test_previous_keys_are_a_list_of_keys_and_never_shown(value: Any, message: str) -> None:
    """A refusal names the setting and the place in the list, no key."""
    with pytest.raises(ConfigurationError, match=message) as refusal:
        Settings(previous_keys=value)
    assert "secret" not in str(refusal.value)


def test_previous_keys_are_taken_as_a_key_is() -> None:
    """Without blanks around them, as any sequence, and not shown by `repr`."""
    settings = Settings(previous_keys=["psk_secret ", "psk_older"])
    assert settings.previous_keys == ("psk_secret", "psk_older")
    assert "psk" not in repr(settings)


@pytest.mark.parametrize(
    "options",
    [
        {},
        *({name: low} for name, low in INTEGERS.items() if name not in {"queue_bytes"}),
        {"queue_bytes": 1024, "max_record_bytes": 1024},
        *({name: 0} for name in NOT_NEGATIVE),
        *({name: 0.001} for name in ABOVE_ZERO),
        *({name: value} for name, allowed in CHOICES.items() for value in allowed if value != "hash"),
        *({name: value} for name in BOOLEANS for value in (True, False)),
        *({name: value} for name in CALLABLES for value in (None, print)),
    ],
    ids=str,
)
def test_the_ends_of_each_range_are_allowed(options: dict[str, Any]) -> None:
    """The smallest allowed number and each allowed word are taken as they are."""
    settings = Settings(**options)
    assert {name: getattr(settings, name) for name in options} == options


@pytest.mark.parametrize("piece", [redact.emails, redact.fields, redact.combine])
def test_a_function_of_redact_that_was_not_called_is_refused(piece: Any) -> None:
    """It would put each record into the quarantine."""
    with pytest.raises(ConfigurationError, match=rf"before_send must be what {piece.__name__}\(\) returns"):
        Settings(before_send=piece)
    assert Settings(before_send=redact.combine(redact.emails())).before_send is not None


def test_a_configuration_error_is_a_value_error_too() -> None:
    """Callers may catch it by our root, or as Python's own error for wrong values."""
    with pytest.raises(BanyanHPError):
        Settings(queue_size=0)
    with pytest.raises(ValueError, match="queue_size"):
        Settings(queue_size=0)


def test_settings_do_not_change() -> None:
    """What an engine was built with stays what it says."""
    with pytest.raises(AttributeError):
        Settings().queue_size = 5  # type: ignore[misc]


def test_a_record_must_fit_into_the_queue() -> None:
    """A record larger than the whole queue could never be queued; the message names both settings."""
    with pytest.raises(ConfigurationError, match=r"max_record_bytes .* queue_bytes \(2048\).* was 4096"):
        Settings(max_record_bytes=4096, queue_bytes=2048)


def test_durability_on_disk_needs_a_spool() -> None:
    """Settings that contradict each other are refused."""
    with pytest.raises(ConfigurationError, match="durability='disk' needs spool=True"):
        Settings(durability="disk", spool=False)


def test_an_integer_beyond_all_floats_is_refused() -> None:
    """A number of seconds that no float can hold is refused like infinity."""
    with pytest.raises(ConfigurationError, match="timeout must be"):
        Settings(timeout=10**400)


# -- the spool's directory -----------------------------------------------------------------------------------


def test_a_spool_directory_may_exist_or_not(tmp_path: Path) -> None:
    """It is made when it is needed, so it need not be there yet; text and paths will both do."""
    assert Settings(spool_dir=tmp_path).spool_dir == tmp_path
    assert Settings(spool_dir=str(tmp_path / "new")).spool_dir == str(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_spool_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A file can't hold segments: better to hear of it at once than when the backend is down."""
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(ConfigurationError, match=r"spool_dir must be a directory .*file.*, was") as refusal:
        Settings(spool_dir=path)
    assert repr(path) in str(refusal.value)


@pytest.mark.parametrize("path", ["x" * 5000, "/tmp/nul\0"])
def test_a_spool_directory_that_can_t_be_looked_at_is_refused(path: str) -> None:
    """A path that the system itself refuses is a wrong setting, and not an OSError."""
    with pytest.raises(ConfigurationError, match="spool_dir must be a path that can exist"):
        Settings(spool_dir=path)


# -- options and the environment -----------------------------------------------------------------------------


def test_an_unknown_setting_is_refused_with_the_known_ones() -> None:
    """A misspelt setting is named, and so are all that there are."""
    with pytest.raises(ConfigurationError, match="unknown setting 'flush_intervall'") as refusal:
        Settings.from_options({"flush_intervall": 1})
    assert all(name in str(refusal.value) for name in Settings.names())


def test_the_environment_names_the_spool_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """BANYAN_HP_SPOOL_DIR applies where the argument is missing; an empty one counts as unset."""
    assert Settings.from_options({}).spool_dir is None
    monkeypatch.setenv("BANYAN_HP_SPOOL_DIR", f" {tmp_path} ")
    assert Settings.from_options({}).spool_dir == str(tmp_path)
    assert Settings.from_options({"spool_dir": None}).spool_dir == str(tmp_path)
    monkeypatch.setenv("BANYAN_HP_SPOOL_DIR", "  ")
    assert Settings.from_options({}).spool_dir is None


def test_the_argument_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the code says goes."""
    monkeypatch.setenv("BANYAN_HP_SPOOL_DIR", "/elsewhere")
    assert Settings.from_options({"spool_dir": tmp_path}).spool_dir == tmp_path


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_spool_directory_counts_as_not_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, blank: str
) -> None:
    """An empty text is no directory, and least of all the working directory."""
    monkeypatch.setenv("BANYAN_HP_SPOOL_DIR", str(tmp_path))
    assert Settings.from_options({"spool_dir": blank}).spool_dir == str(tmp_path)


def test_a_file_named_by_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment's values are checked like arguments."""
    path = tmp_path / "file"
    path.touch()
    monkeypatch.setenv("BANYAN_HP_SPOOL_DIR", str(path))
    with pytest.raises(ConfigurationError, match="spool_dir"):
        Settings.from_options({})


@pytest.mark.parametrize("text", ["1", "true", "TRUE", " yes ", "on"])
def test_the_environment_switches_off(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """BANYAN_HP_DISABLED switches off; an argument wins over it, as over all of the environment."""
    monkeypatch.setenv("BANYAN_HP_DISABLED", text)
    assert not Settings.from_options({}).enabled
    assert Settings.from_options({"enabled": True}).enabled


@pytest.mark.parametrize("text", ["", "0", "false", "no", "off", "maybe"])
def test_the_environment_does_not_switch_on(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Any other text changes nothing."""
    monkeypatch.setenv("BANYAN_HP_DISABLED", text)
    assert Settings.from_options({}).enabled
    assert not Settings.from_options({"enabled": False}).enabled


def test_options_are_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mapping that was handed over stays the caller's."""
    monkeypatch.setenv("BANYAN_HP_DISABLED", "1")
    options: dict[str, Any] = {"queue_size": 5}
    assert Settings.from_options(options).queue_size == 5
    assert options == {"queue_size": 5}


def test_first_text_prefers_the_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argument, then environment, then nothing; blanks around are no part of it."""
    assert first_text("api_key", None, "BANYAN_HP_TEST") is None
    monkeypatch.setenv("BANYAN_HP_TEST", " from env ")
    assert first_text("api_key", " given ", "BANYAN_HP_TEST") == "given"
    assert first_text("api_key", None, "BANYAN_HP_TEST") == "from env"
    assert first_text("api_key", "  ", "BANYAN_HP_TEST") == "from env"
    assert env("BANYAN_HP_TEST") == "from env"
    assert not truthy_env("BANYAN_HP_TEST")


def test_a_text_that_is_none_is_refused_by_type_only() -> None:
    """What is not a string is refused by its type: a key handed over as bytes must not get into a log."""
    with pytest.raises(ConfigurationError, match="api_key must be a string, was bytes") as refusal:
        first_text("api_key", b"secret", "BANYAN_HP_TEST")
    assert "secret" not in str(refusal.value)


# -- what goes into a header and into a request line ---------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["secret\n", "secret\r\nX-Evil: 1", "sécret", "secret\x00", "secret\x7f", "secret…"]
)
def test_what_a_header_can_t_carry_is_refused_and_never_shown(value: str) -> None:
    """A key with a line end or beyond ASCII is refused, and the message does not repeat it."""
    with pytest.raises(ConfigurationError, match="api_key has characters") as refusal:
        header_text("api_key", value)
    assert "cret" not in str(refusal.value)


def test_a_header_takes_printable_ascii() -> None:
    """Keys pass as they are."""
    assert header_text("api_key", "sk-Live_1~ !") == "sk-Live_1~ !"


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://host", "https://host"),
        ("http://host/", "http://host"),
        ("http://host:8080/base//", "http://host:8080/base"),
        ("HTTPS://Host/Base", "HTTPS://Host/Base"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_url_loses_its_trailing_slashes_only(url: str, kept: str) -> None:
    """Paths are appended to a base URL, so it must not end in a slash."""
    assert checked_url("base_url", url) == kept


@pytest.mark.parametrize(
    "url",
    ["", "host", "host:8080", "//host", "ftp://host", "file:///etc", "http://", "http:///path", "http://host:port",
     "http://host:99999", "http://[::1", "http://:80"],
)  # fmt: skip
def test_what_is_no_http_url_is_refused(url: str) -> None:
    """The message names the setting, what is allowed, and the URL."""
    with pytest.raises(ConfigurationError) as refusal:
        checked_url("base_url", url)
    assert str(refusal.value) == f"base_url must be an http:// or https:// URL with a host, was {url!r}"


@pytest.mark.parametrize("url", ["http://user:secret@host", "http://user@host", "http://:secret@host"])
def test_a_url_with_credentials_is_refused_and_not_shown(url: str) -> None:
    """A password in a URL would get into logs: it is refused, and the message does not repeat it."""
    with pytest.raises(ConfigurationError, match="must not carry a user name or password") as refusal:
        checked_url("base_url", url)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("url", ["ftp://user:secret@host", "http://user:secret@host:99999"])
def test_an_unusable_url_with_credentials_is_not_shown(url: str) -> None:
    """A password is not repeated whatever else is wrong with the URL."""
    with pytest.raises(ConfigurationError) as refusal:
        checked_url("base_url", url)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("url", ["http://host?a=1", "http://host/#part", "http://host/x?y"])
def test_a_url_with_a_query_or_fragment_is_refused(url: str) -> None:
    """A path can't be appended to those."""
    with pytest.raises(ConfigurationError, match="base_url must not carry a query or fragment"):
        checked_url("base_url", url)


@pytest.mark.parametrize(
    "url", ["http://host?", "http://host#", "http://host/\r\nX: 1", "http://a b", "http://host:0"]
)
def test_a_url_that_no_request_could_use_is_refused(url: str) -> None:
    """An empty query, line ends, blanks and port 0 are found at construction, not by failed requests."""
    with pytest.raises(ConfigurationError, match="base_url"):
        checked_url("base_url", url)
