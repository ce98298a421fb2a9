"""The pytest plugin, in runs of its own."""

from __future__ import annotations

import configparser
from importlib import import_module
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[3]
PLUGIN = ("-p", "banyan_hp.testing.plugin")


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A run with no other plugin that is installed here."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return pytester


def test_the_entry_point_names_the_plugin() -> None:
    """That is how an installed package's fixtures are there without a line of configuration."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    name, _, module = config["options.entry_points"]["pytest11"].strip().partition(" = ")
    assert name == "banyan_hp"
    assert hasattr(import_module(module), "captured_records")


def test_captured_records_are_the_test_s_own(run: pytest.Pytester) -> None:
    """Each test begins with none; no key, no server."""
    run.makepyfile(
        """
        import banyan_hp as banyan
        import pytest

        @pytest.mark.parametrize("question", ["one", "two"])
        def test_logs(captured_records, question):
            banyan.log_prompt(question, "a")
            assert [record["input"] for record in captured_records] == [question]

        def test_without_it():
            with pytest.raises(banyan.ConfigurationError):
                banyan.log_prompt("q", "a")
        """
    )
    run.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=3)


def test_clients_find_the_backend_by_themselves(run: pytest.Pytester) -> None:
    """Both clients and the module functions; at the test's end the earlier default logger is back."""
    run.makepyfile(
        """
        import banyan_hp as banyan
        import pytest

        before = banyan.configure(enabled=False)

        @pytest.mark.parametrize("run", [1, 2])
        def test_logs(banyan_backend, tmp_path, run):
            banyan_backend.prompts["greeting"] = f"Hello {run}"
            assert banyan.get_prompt("greeting").content == f"Hello {run}"
            assert banyan.log_prompt("q", "a", blocking=True)
            with banyan.HuggingPlace() as client:
                client.log({"user_prompt": "q", "response": "a"})
            assert len(banyan_backend.records) == 2
            banyan_backend.down()
            banyan.log_prompt("q", "a")
            assert not banyan.shutdown(timeout=0)
            assert list((tmp_path / "banyan_hp").rglob("*"))

        def test_afterwards():
            assert banyan.log_prompt("q", "a")
            assert not before.closed and banyan.configure(enabled=False) is before
        """
    )
    run.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=3)


def test_a_proxy_is_passed_by(run: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says of others, the backend is on this machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "intern.example")
    run.makepyfile(
        """
        import os
        import banyan_hp as banyan

        def test_logs(banyan_backend):
            assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "intern.example,127.0.0.1"
            assert banyan.log_prompt("q", "a", blocking=True)
        """
    )
    run.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=1)


def test_a_run_that_uses_no_fixture_pays_nothing(run: pytest.Pytester) -> None:
    """Of this package only the plugin's own modules are imported; no thread runs, nothing is listening."""
    run.makepyfile(
        """
        import sys
        import threading

        def test_nothing():
            ours = {name for name in sys.modules if name.startswith("banyan_hp")}
            assert ours == {
                "banyan_hp", "banyan_hp._version", "banyan_hp.testing", "banyan_hp.testing.plugin",
            }
            assert not {"requests", "urllib3", "platformdirs", "http.server"} & set(sys.modules)
            assert threading.active_count() == 1
        """
    )
    run.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=1)


def test_the_fixtures_are_listed_with_their_docs(run: pytest.Pytester) -> None:
    """`pytest --fixtures` says what they are."""
    listed = run.runpytest_subprocess(*PLUGIN, "--fixtures")
    listed.stdout.fnmatch_lines_random(["captured_records -- *", "banyan_backend -- *"])
