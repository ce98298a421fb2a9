"""What type checkers see of the library: every setting, field and key, and nothing at run time."""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import banyan_hp
from banyan_hp import HuggingPlace, PromptStackLogger, types
from banyan_hp.clients.configuration import CHANGEABLE, OWN
from banyan_hp.settings import PromptSettings, Settings

ROOT = Path(__file__).parents[2]
PROGRAM = Path("tests/typing/program.py")
MISTAKES = Path("tests/typing/mistakes.py")
NOWHERE = "http://127.0.0.1:9"
Errors = set[tuple[str, int]]

# -- the same as at run time ---------------------------------------------------------------------------------


def hints(*classes: Any) -> dict[str, Any]:
    return {name: hint for each in classes for name, hint in get_type_hints(each).items()}


def named(call: Any) -> set[str]:
    """The parameters that have a name."""
    parameters = inspect.signature(call).parameters.values()
    return {each.name for each in parameters if each.kind is not each.VAR_KEYWORD}


@pytest.mark.parametrize(
    ("call", "typed", "published"),
    [
        (PromptStackLogger, types.LoggerSettings, {"cache_ttl"}),
        (HuggingPlace, types.HuggingPlaceSettings, {"silent"}),
    ],
)
def test_the_typed_settings_are_the_settings(call: Any, typed: Any, published: set[str]) -> None:
    """Each that there is, with its type, by name or among the keywords."""
    classes = (Settings, PromptSettings) if call is PromptStackLogger else (Settings,)
    wanted = {name: hint for name, hint in hints(*classes).items() if name not in named(call)}
    found = hints(typed)
    assert found.keys() - published == wanted.keys()
    assert {name: found[name] for name in wanted} == wanted


def test_configure_and_the_dict_of_a_configuration_take_the_same() -> None:
    """What is a named parameter of the constructor is a key there."""
    own = named(banyan_hp.configure)
    assert hints(types.ConfigureSettings).keys() | own == hints(types.LoggerSettings).keys() | named(
        PromptStackLogger
    )
    assert hints(types.HuggingPlaceConfig).keys() == hints(types.HuggingPlaceSettings).keys() | set(OWN)
    assert hints(types.ConfigChanges).keys() == set(CHANGEABLE)


def assert_has_keys(value: Mapping[str, Any], typed: Any) -> None:
    assert value.keys() == typed.__annotations__.keys()


def test_the_typed_stats_are_the_stats() -> None:
    """All keys of both clients, and of health."""
    quiet: Any = {"spool": False, "on_sigterm": "off"}
    logger = PromptStackLogger("psk_x", NOWHERE, **quiet)
    client = HuggingPlace(api_key="k", org_id="o", base_url=NOWHERE, **quiet)
    assert_has_keys(logger.get_stats(), types.LoggerStats)
    assert_has_keys(client.get_stats(), types.Stats)
    assert_has_keys(client.get_stats()["adopted"], types.AdoptedLogs)
    assert_has_keys(client.health(), types.Health)
    assert_has_keys(client.start_session().get_session_info(), types.SessionInfo)


def test_the_published_examples_are_typed_whole() -> None:
    """Each field of the published README's `log` and `log_step`."""
    log = (
        "user_prompt response user_id session_id file_name llm_model llm_model2 token_count response_time "
        "message_id metadata user_metadata step_data user_roles org_uuid mapping_table"
    )
    step = "type user_question prompt_response token response_time input_tokens output_tokens llm_model"
    assert set(log.split()) <= hints(types.Log).keys()
    assert {"id", *step.split()} <= hints(types.StepData).keys()
    assert set(step.split()) <= hints(types.LogStep).keys()


def test_types_cost_nothing_at_run_time() -> None:
    """The clients work without the module."""
    program = (
        "import sys, banyan_hp\n"
        f"banyan_hp.configure('psk_x', {NOWHERE!r}, spool=False)\n"
        f"banyan_hp.HuggingPlace('k', 'o', base_url={NOWHERE!r}, spool=False).start_session('s')\n"
        "assert 'banyan_hp.types' not in sys.modules\n"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


# -- type checkers -------------------------------------------------------------------------------------------


def checker(name: str) -> list[str]:
    """The command; the test is skipped where it does not run (pyright needs Node, which it may not get)."""
    command = [sys.executable, "-m", name]
    try:
        subprocess.run([*command, "--version"], capture_output=True, check=True, timeout=60, cwd=ROOT)
    except (subprocess.SubprocessError, OSError):
        pytest.skip(f"{name} does not run here")
    return command


@cache
def by_mypy() -> Errors:
    command = [*checker("mypy"), "--output=json", str(PROGRAM), str(MISTAKES)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110, cwd=ROOT)
    assert finished.returncode in (0, 1), finished.stdout + finished.stderr
    found = [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("{")]
    return {(each["file"], each["line"]) for each in found if each["severity"] == "error"}


@cache
def by_pyright() -> Errors:
    """Strict in files that say so."""
    command = [*checker("pyright"), "--outputjson", "--pythonpath", sys.executable]
    command += [str(PROGRAM), str(MISTAKES)]
    environment = os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    finished = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=110, cwd=ROOT, env=environment
    )
    assert finished.returncode in (0, 1), finished.stdout + finished.stderr
    found = json.loads(finished.stdout)["generalDiagnostics"]
    return {
        (str(Path(each["file"]).relative_to(ROOT)), each["range"]["start"]["line"] + 1)
        for each in found
        if each["severity"] == "error"
    }


CHECKERS = pytest.mark.parametrize("errors", [by_mypy, by_pyright])


@CHECKERS
def test_a_user_s_program_of_every_call_has_no_errors(errors: Any) -> None:
    """Strict."""
    assert "# pyright: strict" in (ROOT / PROGRAM).read_text(encoding="utf-8").splitlines()
    assert [line for path, line in sorted(errors()) if path == str(PROGRAM)] == []


@CHECKERS
def test_typical_mistakes_are_reported(errors: Any) -> None:
    """Each of the nine, and nothing else."""
    lines = (ROOT / MISTAKES).read_text(encoding="utf-8").splitlines()
    made = [number for number, line in enumerate(lines, 1) if line.endswith("# mistake")]
    assert len(made) == 9
    assert sorted(line for path, line in errors() if path == str(MISTAKES)) == made


def test_the_program_has_every_public_call() -> None:
    """Names of the package, and methods of what it makes."""
    tree = ast.parse((ROOT / PROGRAM).read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    classes = [value for name in dir(banyan_hp) if inspect.isclass(value := getattr(banyan_hp, name))]
    methods = {
        name
        for each in classes
        if each.__module__.startswith("banyan_hp") and not issubclass(each, BaseException)
        for name, value in inspect.getmembers(each, inspect.isroutine)
        if not name.startswith("_")
    }
    awaiting = {"send", "throw"}  # of a receipt, for `await`
    assert set(dir(banyan_hp)) | methods - awaiting <= used
