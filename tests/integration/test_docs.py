"""The README, the guide and the examples are run, against the local backend."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from banyan_hp import PromptStackLogger
from banyan_hp.cli.main import main
from banyan_hp.guide import TOPICS, page, pages
from banyan_hp.settings import PromptSettings, Settings
from tests.support.backend import Backend
from tests.support.scripted import ScriptedServer

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
GUIDE = ROOT / "banyan_hp" / "guide"
PAGES = [README, *(GUIDE / f"{topic}.md" for topic in TOPICS)]


def blocks(language: str) -> list[ParameterSet]:
    """All code of one language, page by page, each with its page and number as its name."""
    return [
        pytest.param(block, id=f"{path.stem}-{number}")
        for path in PAGES
        for number, block in enumerate(_blocks(path, language))
    ]


def _blocks(path: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


URL = "http://127.0.0.1:8787"


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with Backend(seed=ROOT / "examples" / "seed.json") as running:
        yield running


def run(command: list[str], backend: Backend, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ
        | {"BANYAN_BASE_URL": backend.url, "BANYAN_API_KEY": backend.api_key, "PYTHONWARNINGS": "error"}
        | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _is_a_test(block: ParameterSet) -> bool:
    return "def test_" in str(block.values[0])


@pytest.mark.parametrize("block", [each for each in blocks("python") if _is_a_test(each)])
def test_each_block_that_is_a_test_passes(block: str, tmp_path: Path) -> None:
    """Under pytest, with the plugin, in an environment without a key."""
    (tmp_path / "test_block.py").write_text(block, encoding="utf-8")
    finished = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "banyan_hp.testing.plugin",
            "-W",
            "error",
            str(tmp_path),
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    passed = block.count("def test_")
    assert (finished.returncode, f"{passed} passed" in finished.stdout) == (0, True), finished.stdout


@pytest.mark.parametrize("block", [each for each in blocks("python") if not _is_a_test(each)])
def test_each_python_block_runs_and_logs(block: str, backend: Backend) -> None:
    """As printed, but for the local backend's port.

    LangChain's is run by `make test-sdks`, which has the package.
    """
    if "langchain_core" in block:
        pytest.importorskip("langchain_core")
    if COLLECTOR in block:
        _runs_and_exports(block, backend)
        return
    before = backend.count() + backend.interactions_count()
    key = {"BANYAN_API_KEY": backend.new_key()} if "feedback_token" in block else {}
    finished = run(["-c", block.replace(URL, backend.url)], backend, **key)
    assert (finished.returncode, finished.stderr) == (0, "")
    if "experiment_results" not in block:  # which only reads
        assert backend.count() + backend.interactions_count() > before


COLLECTOR = "http://127.0.0.1:4318"


def _runs_and_exports(block: str, backend: Backend) -> None:
    """Where records go to a collector."""
    with ScriptedServer() as collector:
        finished = run(["-c", block.replace(COLLECTOR, collector.url)], backend)
        assert (finished.returncode, finished.stderr) == (0, "")
        assert [request.path for request in collector.requests] == ["/v1/traces"]


COMMANDS = sorted({
    line
    for path in PAGES
    for block in _blocks(path, "bash")
    for line in block.splitlines()
    if line.startswith(("curl ", "banyan-hp ")) and not line.startswith("banyan-hp serve")
})  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_runs(command: str, backend: Backend, tmp_path: Path) -> None:
    """What a page tells a reader to type, but for what installs, builds or serves."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    finished = subprocess.run(
        ["bash", "-c", command.replace(URL, backend.url).replace("curl ", "curl --fail --silent ")],
        env=os.environ | {"PATH": path, "BANYAN_HP_SPOOL_DIR": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (finished.returncode, finished.stderr) == (0, "")


def test_the_targets_of_make_are_there() -> None:
    """Those that the README names."""
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"^make ([\w-]+)", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_the_ten_lines_print_what_they_say(backend: Backend) -> None:
    """The comments beside the prints are what is printed."""
    block = _blocks(README, "python")[0]
    finished = run(["-c", block.replace(URL, backend.url)], backend)
    promised = re.findall(r"^print\(.*#\s*(.*)$", block, re.MULTILINE)
    assert finished.stdout.splitlines() == promised


def test_the_readme_is_read_in_five_minutes() -> None:
    """Beyond 200 lines, something belongs in the guide."""
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


def test_the_guide_has_no_page_that_nobody_finds() -> None:
    """Each page is a topic, begins with its title, and is in the README's table."""
    assert {path.stem for path in GUIDE.glob("*.md")} == set(TOPICS)
    assert all(each.text.startswith(f"# {each.title}\n\n") for each in pages())
    listed = re.findall(
        r"\]\(banyan_hp/guide/(\w+)\.md\) \|$", README.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert tuple(listed) == TOPICS


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    """To a file of this repository, and to a heading that is in it."""
    text = re.sub(
        r"^```.*?^```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    for target in re.findall(r"\]\((?!https?:)([^)]*)\)", text):
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        assert found.exists(), target
        assert not anchor or anchor in headings(found), target


def headings(path: Path) -> set[str]:
    """The anchors of a page, made as GitHub makes them."""
    found = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in found}


def test_the_settings_table_names_every_setting_with_its_default() -> None:
    """A setting that is not in the guide, or one in the guide that does not exist, fails here."""
    cells = re.findall(r"^\| (`[^|]*`) \| ([^|]*) \|", page("settings").text, re.MULTILINE)
    named = {name for names, _ in cells for name in re.findall(r"`(\w+)`", names)}
    assert named == {"api_key", "base_url", "project_id", *Settings.names(), *PromptSettings.names()}
    defaults = dict(cells)
    assert defaults["`max_retries`"] == str(Settings().max_retries)
    assert defaults["`queue_size`"].replace(",", "") == str(Settings().queue_size)
    assert defaults["`exit_timeout`"] == str(Settings().exit_timeout)


def test_the_stats_table_names_every_key() -> None:
    """The guide documents exactly the keys that `get_stats()` has."""
    first_cells = re.findall(r"^\| (`[^|]*) \|", page("stats").text, re.MULTILINE)
    named = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    assert named == set(PromptStackLogger(enabled=False).get_stats())


def test_records_for_a_wrong_url_are_sent_to_the_right_one(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the page of the on-disk queue says: by one command."""
    wrong = f"{backend.url}/wrong"
    with PromptStackLogger(backend.api_key, wrong, spool_dir=tmp_path, max_retries=0) as logger:
        logger.log_prompt("for a wrong URL", "")
    monkeypatch.setenv("BANYAN_API_KEY", backend.api_key)
    monkeypatch.setenv("BANYAN_HP_SPOOL_DIR", str(tmp_path))
    assert "banyan-hp spool replay --base-url WRONG --to-url RIGHT" in page("spool").text
    assert main(["spool", "replay", "--base-url", wrong, "--to-url", backend.url]) == 0
    assert backend.logs()[-1]["body"]["input"] == "for a wrong URL"


def test_quickstart_delivers_its_thousand(backend: Backend, tmp_path: Path) -> None:
    """`examples/quickstart.py` with a model that takes no time; without an outage (`make demo` has one)."""
    program = """
import runpy, time
time.sleep = lambda seconds: None
runpy.run_path("examples/quickstart.py", run_name="__main__")
"""
    before = backend.count()
    finished = run(["-c", program], backend)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert backend.count() == before + 1000


def test_script_exit_flushes(backend: Backend) -> None:
    """`examples/script_exit.py` delivers its ten, or says where they are."""
    before = backend.count()
    finished = run(["examples/script_exit.py"], backend)
    assert finished.stdout == "all 10 records were delivered\n"
    assert backend.count() == before + 10
    finished = run(["examples/script_exit.py"], backend, BANYAN_BASE_URL="http://127.0.0.1:9")
    assert finished.returncode == 0
    assert "banyan_hp: 10 records are on disk; they are sent by the next process" in finished.stderr
    assert finished.stdout == "10 records are on disk and will be sent later; 0 were lost\n"


def test_the_flask_example_answers_and_logs(backend: Backend) -> None:
    """`examples/flask_app.py`: the route logs, the health page shows health and stats."""
    program = """
import sys
sys.path.insert(0, "examples")
from flask_app import app, banyan
client = app.test_client()
assert client.post("/ask", json={"question": "abc"}, headers={"X-User": "u1"}).get_json() == {"answer": "cba"}
assert banyan.flush(timeout=10)
page = client.get("/healthz").get_json()
assert page["logging"]["status"] == "ok", page
assert page["stats"]["logs_sent"] == 1, page
"""
    finished = run(["-c", program], backend)
    assert finished.returncode == 0, finished.stderr
    last = backend.logs()[-1]["body"]
    metadata = last["metadata"]
    assert (last["input"], last["output"]) == ("abc", "cba")
    assert (metadata["method"], metadata["path"], metadata["user_id"]) == ("POST", "/ask", "u1")


def test_the_experiments_example_prints_the_split_that_arrived() -> None:
    """`examples/experiments.py`: what arrived is what was configured, within chance; one fetch for all."""
    with Backend(seed=ROOT / "examples" / "seed.json", options=("--routing", "client")) as routing:
        finished = run(["examples/experiments.py"], routing)
        assert (finished.returncode, finished.stderr) == (0, "")
        shares = re.findall(r"^(\S+)\s+50\.0%\s+([\d.]+)%$", finished.stdout, re.MULTILINE)
        assert [name for name, _ in shares] == ["marketing-email-tone-warm", "marketing-email-tone-brisk"]
        # Five standard deviations of 10,000 tosses of a coin are 2.5 %.
        assert all(abs(float(share) - 50) < 2.5 for _, share in shares)
        assert sum(float(share) for _, share in shares) == pytest.approx(100, abs=0.2)
        assert "fetches of the prompt: 1\n" in finished.stdout


HUGGINGPLACE = {"HUGGINGPLACE_API_KEY": "psk_local", "HUGGINGPLACE_ORG_ID": "org"}


def test_the_fastapi_example_answers_and_logs(backend: Backend) -> None:
    """`examples/fastapi_app.py`: one route does not wait, the other one does; both logs arrive."""
    program = """
import sys
sys.path.insert(0, "examples")
import warnings
warnings.simplefilter("ignore")
from fastapi.testclient import TestClient
from fastapi_app import app
with TestClient(app) as client:
    assert client.post("/ask", params={"question": "abc"}).json() == {"answer": "cba"}
    assert client.post("/ask-audited", params={"question": "xyz"}).json() == {"answer": "zyx"}
    assert client.get("/healthz").json()["logging"]["status"] == "ok"
"""
    environment = {**HUGGINGPLACE, "HUGGINGPLACE_BASE_URL": backend.url, "PYTHONWARNINGS": "default"}
    finished = run(["-c", program], backend, **environment)
    assert finished.returncode == 0, finished.stderr
    assert {entry["body"]["user_prompt"] for entry in backend.interactions()} >= {"abc", "xyz"}


def test_the_chat_session_example_logs_its_turns_and_steps(backend: Backend) -> None:
    """`examples/chat_session.py`: three turns and three steps, all in one session."""
    environment = {**HUGGINGPLACE, "HUGGINGPLACE_BASE_URL": backend.url}
    finished = run(["examples/chat_session.py"], backend, **environment)
    assert finished.stdout == "session chat-1: 3 turns, all delivered: True\n", finished.stderr
    assert len(backend.interactions(session_id="chat-1")) == 6


def test_the_production_example_logs_its_calls_with_their_experiments(
    backend: Backend, tmp_path: Path
) -> None:
    """`examples/production_example.py`: configuration, logging, user-based and content-hash experiments."""
    before = backend.count()
    finished = run(["examples/production_example.py"], backend, BANYAN_HP_SPOOL_DIR=str(tmp_path))
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "health: ok\n" in finished.stdout
    logged = [log["body"] for log in backend.logs()[before:]]
    assert sorted(each.get("sticky_key", "") for each in logged) == [
        "",
        *["input_hash"] * 2,
        *["user_id"] * 4,
    ]
    assert {each["experiment_id"] for each in logged if "experiment_id" in each} == {
        "marketing-email-tone",
        "support-reply-structure",
    }
    assert "[email]" in logged[0]["input"]
