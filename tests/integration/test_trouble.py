"""What a person sees on stderr, or in the log, when something is wrong. In processes of their own."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from tests.support.process import Finished, run_python
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Reply, batching

SECRETS = ("psk_local", "the question", "the answer")
LOG = 'logger.log_prompt("the question", "the answer")\n'
WITH_A_KEY_IN_IT = b'{"error": "psk_local may not say the question"}'


def lines(finished: Finished, status: int = 0) -> list[str]:
    """Those on stderr, which begin with our name and repeat neither the key nor what was logged."""
    assert finished.status == status, finished.stderr
    said = finished.stderr.splitlines()
    assert all(line.startswith("banyan_hp: ") for line in said), said
    assert not any(secret in line for secret in SECRETS for line in said), said
    return said


def refused_url() -> str:
    """A URL where nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def replying(status: int, body: bytes = WITH_A_KEY_IN_IT) -> ScriptedServer:
    return ScriptedServer(lambda _request: Reply(status, body))


def test_an_unreachable_backend_is_one_line_after_the_retries_and_one_at_the_exit() -> None:
    """However many records and threads there are."""
    url = refused_url()
    program = "logger = make(max_retries=1)\n" + 40 * LOG + "assert not logger.flush(5)\n" + LOG
    program += "assert not logger.flush(5)\n"
    finished = run_python(program, url=url)
    (line,) = lines(finished)
    assert line.startswith(
        "banyan_hp: the backend can't be reached, or fails; records are kept and sent when "
    )
    assert f"POST {url}/api/logs/prompt-usage: NewConnectionError: " in line
    assert finished.on_disk == 41


@pytest.mark.parametrize(
    ("status", "beginning", "until"),
    [
        (
            401,
            "the backend refuses the API key; records are kept until it accepts one: POST ",
            "they are sent once the backend accepts their API key; to send them under another one, name the "
            "old one in previous_keys, or run `banyan-hp spool replay --from-key`. ",
        ),
        (
            404,
            "the base URL or the account is wrong; records are kept until it is right: POST ",
            "they are sent once their URL responds as it should; to send them to another one, run "
            "`banyan-hp spool replay --to-url`. ",
        ),
    ],
)
def test_a_refused_key_and_a_wrong_address_are_one_line_each(status: int, beginning: str, until: str) -> None:
    """With the address and the status; the backend's words may repeat anything and are in `last_error`.

    The line at the exit promises nothing that the next process can't do, and says what has to be done first.
    """
    with replying(status) as server:
        program = "logger = make()\n" + LOG + "logger.flush(5)\n" + LOG + "logger.flush(5)\n"
        finished = run_python(program, url=server.url)
        (line,) = lines(finished)
        assert line.startswith("banyan_hp: " + beginning + server.url)
        assert line.endswith(f"status {status}")
        assert finished.on_disk == 2
        assert finished.left.startswith(f"banyan_hp: 2 records are on disk; {until}")


def test_a_call_with_bad_input_is_one_line_a_minute() -> None:
    """It names the argument, and not the value."""
    with ScriptedServer(batching()) as server:
        program = 'logger = make()\nfor _ in range(9): logger.log_prompt("q", "a", metadata="the question")\n'
        (line,) = lines(run_python(program, url=server.url))
        assert line == "banyan_hp: a record was not accepted: metadata must be a dict or None, was str"


def test_a_record_that_the_backend_refuses_is_one_line() -> None:
    """With its id; the backend's words, which may repeat the record, are in the quarantine."""

    def refusing_one(request: object) -> Reply:
        refused = b"the question" in request.body  # type: ignore[attr-defined]
        return Reply(422 if refused else 201, WITH_A_KEY_IN_IT)

    with ScriptedServer(refusing_one) as server:
        program = 'logger = make(batching="never")\n' + LOG
        program += 'while not logger.get_stats()["logs_quarantined"]:\n'
        program += '    logger.log_prompt("q", "a")\n    logger.flush(0.1)\n'
        (line,) = lines(run_python(program, url=server.url))
        assert "is not delivered (refused): it is in the quarantine" in line


def test_an_exit_is_silent_when_another_logger_has_sent_what_the_first_one_left() -> None:
    """What counts is what is on disk at the end, not what was there once."""
    with ScriptedServer(batching()) as server:
        program = """
        logger = make(flush_interval=60)
        logger.log_prompt("q", "a")
        assert logger.shutdown(0).spooled == 1
        second = make()
        second.log_prompt("q", "a")
        while second.get_stats()["logs_recovered"] < 1: second.flush(1)
        """
        finished = run_python(program, url=server.url)
        assert (lines(finished), finished.on_disk) == ([], 0)


def test_records_that_shutdown_left_on_disk_are_in_the_line_at_the_exit() -> None:
    """Nobody looks at the result of a `with` block's end."""
    program = "for _ in range(2):\n    with make(max_retries=0) as logger:\n        " + LOG
    finished = run_python(program, url=refused_url())
    assert (finished.on_disk, finished.exit_lines) == (2, 1)
    assert "they are sent by the next process, or by `banyan-hp spool replay`. The last " in finished.left


def test_the_line_at_the_exit_is_about_one_record_if_it_is_one() -> None:
    """In the singular, as people read it."""
    with replying(401) as server:
        left = run_python("logger = make()\n" + LOG, url=server.url).left
    assert "1 record is on disk; it is sent once the backend accepts its API key; to send it under " in left


def test_all_loggers_and_threads_of_a_process_have_one_line_at_the_exit() -> None:
    """And a child has its own, about its own records."""
    program = f"""
loggers = [make(), make(), PromptStackLogger("psk_another", os.environ["URL"])]
for logger in loggers:
    {LOG}
if os.fork() == 0:
    {LOG}
    sys.exit()
os.wait()
"""
    finished = run_python(program, url=refused_url())
    assert (finished.on_disk, finished.exit_lines) == (4, 2)


def test_records_that_are_lost_at_the_exit_are_said_so() -> None:
    """Without a disk to keep them on."""
    finished = run_python("logger = make(spool=False)\n" + LOG, url=refused_url())
    (line,) = lines(finished)
    assert line.startswith(
        "banyan_hp: 1 record is lost, neither sent nor kept on disk. The last attempt failed: "
    )


def test_a_record_that_is_lost_behind_the_exit_is_said_so() -> None:
    """It is logged when all is sent and reported, and there is no disk to keep it on."""
    program = (
        """
import atexit
from banyan_hp.engine.process.exit import at_exit
logger = make(spool=False)
atexit.unregister(at_exit)
atexit.register(lambda: print(logger.log_prompt("late", "a")))
atexit.register(at_exit)
"""
        + LOG
    )
    with replying(200) as server:
        finished = run_python(program, url=server.url)
    (line,) = lines(finished)
    assert line == "banyan_hp: a record logged while the process ends is lost: it could not be kept on disk"
    assert finished.stdout.strip() == "False"


@pytest.mark.parametrize(
    "before",
    [
        "import sys; sys.stderr = None",
        "import os; os.close(2)",
        "import sys; sys.stderr.close()",
        "import os; read, write = os.pipe(); os.dup2(write, 2); os.close(read)",
    ],
    ids=["None", "closed descriptor", "closed stream", "broken pipe"],
)
def test_without_a_stderr_nothing_happens(before: str) -> None:
    """Not even to the status: what Python can't flush at its end would make it 120."""
    finished = run_python("logger = make()\n" + LOG + "logger.flush(5)\n", url=refused_url(), before=before)
    assert (finished.status, finished.stdout) == (0, "")


def test_with_logging_set_up_the_lines_go_there() -> None:
    """Through the logger `banyan_hp`, without the prefix; also if it is set up after the first line."""
    program = """
    import io, logging
    logger = make()
    logger.log_prompt("q", "a", metadata=3)
    stream = io.StringIO()
    logging.basicConfig(stream=stream)
    logger.log_prompt("the question", "the answer")
    logger.flush(5)
    print(stream.getvalue())
    """
    finished = run_python(program, url=refused_url())
    assert [line[:36] for line in lines(finished)] == ["banyan_hp: a record was not accepted"]
    assert finished.stdout.startswith("WARNING:banyan_hp:the backend can't be reached")


@pytest.mark.parametrize(
    "switch",
    [
        'logging.getLogger("banyan_hp").addHandler(logging.NullHandler())',
        'logging.getLogger("banyan_hp").setLevel(logging.CRITICAL)',
        "logging.disable()",
        "logging.lastResort = None",
    ],
)
def test_the_lines_can_be_switched_off(switch: str) -> None:
    """As those of any library."""
    program = f"import logging\n{switch}\nlogger = make()\n" + LOG
    finished = run_python(program, url=refused_url())
    assert (lines(finished), finished.on_disk) == ([], 0)


def test_the_command_line_says_only_what_it_finds_itself() -> None:
    """`banyan-hp` is an application that has set up logging."""
    program = """
    from banyan_hp.cli.main import main
    from banyan_hp import logs
    main(["spool", "ls"])
    logs.warn("kind", "a line")
    """
    assert run_python(program, url="http://127.0.0.1:1").stderr == ""


@pytest.mark.parametrize("given", ["debug=True", "BANYAN_HP_DEBUG"])
def test_everything_is_shown_on_request(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts, batches, decisions; neither payloads nor keys."""
    if given.isupper():
        monkeypatch.setenv(given, "1")
    option = "" if given.isupper() else given
    with ScriptedServer(batching()) as server:
        finished = run_python(f"logger = make({option})\n{LOG}assert logger.flush(5)\n", url=server.url)
    said = lines(finished)
    assert "banyan_hp: sending as batches: records=1 requests=1" in said[1]
    assert "POST /api/logs/prompt-usage/batch, " in said[2]
    assert "status 200 after 0." in said[2]


def test_where_a_prompt_comes_from_is_shown_on_request() -> None:
    """The cache's decision and the routing's, but not the user."""
    routed = {"prompt_id": "id", "name": "p", "content": "the answer", "version": "7"}
    routed |= {"experiment_id": "e1", "experiment_version_id": "v1"}
    with ScriptedServer(lambda _request: Reply(200, routed)) as server:
        program = 'logger = make(debug=True)\nfor _ in range(2): logger.get_prompt("p", '
        program += 'sticky_context={"user_id": "the question"})\n'
        said = lines(run_python(program, url=server.url))
    assert said[-2:] == [
        "banyan_hp: the prompt 'p': backend, version 7, experiment e1 by server",
        "banyan_hp: the prompt 'p': cache, version 7, experiment e1 by server",
    ]


def test_nothing_is_shown_without_a_reason() -> None:
    """All is delivered: not a word."""
    with ScriptedServer(batching()) as server:
        finished = run_python(f"logger = make()\n{LOG}", url=server.url)
    assert (lines(finished), finished.on_disk) == ([], 0)


def test_debug_lines_go_where_logging_is_set_up_for_less() -> None:
    """The level of the application's logging is no obstacle, as the request for them is explicit."""
    program = """
    import logging
    logging.basicConfig(stream=sys.stdout, level=logging.WARNING)
    logger = make(debug=True)
    logger.log_prompt("the question", "the answer")
    logger.flush(5)
    """
    with ScriptedServer(batching()) as server:
        finished = run_python(program, url=server.url)
    assert finished.stderr == ""
    assert "DEBUG:banyan_hp:sending as batches: records=1" in finished.stdout
