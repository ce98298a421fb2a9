"""SIGTERM and its like, with and without handlers that were asked for, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from banyan_hp import ConfigurationError, install_signal_handlers
from tests.lifecycle.test_exit_and_fork import ids, spooled_lines
from tests.support.process import PRELUDE, run_python
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Hang, batching
from tests.support.timing import assert_in_time

LOG = """
import signal
logger = make(flush_interval=30)
def log(*numbers):
    for number in numbers:
        assert logger.log_prompt("q", "a", metadata={"number": number})
def terminate():
    leave()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)
log(*range(10))
"""


def run(program: str, expected: list[int]) -> tuple[int, str]:
    """Run it against a backend that takes batches; quiet on stderr; status and stdout."""
    with ScriptedServer(batching()) as server:
        finished = run_python(LOG + textwrap.dedent(program), url=server.url, timeout=60)
        assert finished.stderr == ""
        assert ids(server) == expected
    return finished.status, finished.stdout


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGQUIT"])
def test_a_signal_with_its_default_action_kills_after_the_records_are_delivered(name: str) -> None:
    """The exit status stays what it was; nothing is to be configured."""
    program = f"""
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.kill(os.getpid(), signal.{name})
    time.sleep(30)
    """
    assert run(program, list(range(10))) == (-signal.Signals[name], "")


def test_on_sigterm_off_leaves_the_default_action_alone() -> None:
    """As Python does: the process is killed, and what was in memory is lost."""
    program = """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    make(on_sigterm="off", flush_interval=60).log_prompt("q", "a")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    terminate()
    """
    assert run(program, []) == (-signal.SIGTERM, "")


def test_sigterm_ends_a_script_as_its_end_does() -> None:
    """`finally` clauses run, all records are delivered, the status is 143."""
    program = """
    banyan.install_signal_handlers()
    banyan.install_signal_handlers()
    try:
        terminate()
    finally:
        print("finally")
    """
    assert run(program, list(range(10))) == (143, "finally\n")


def test_an_impatient_second_sigterm_does_not_cut_the_exit_short() -> None:
    """It comes while the first one's exception is on its way; all records are delivered."""
    program = """
    banyan.install_signal_handlers()
    try:
        terminate()
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        print("finally")
    """
    assert run(program, list(range(10))) == (143, "finally\n")


def test_a_handler_that_was_there_is_called_and_decides() -> None:
    """It may go on; meanwhile nothing lingers."""
    program = """
    signal.signal(signal.SIGTERM, lambda number, frame: print("called", number == signal.SIGTERM))
    banyan.install_signal_handlers()
    os.kill(os.getpid(), signal.SIGTERM)
    while logger.get_stats()["logs_sent"] < 10: time.sleep(0.01)
    os._exit(print("went on", flush=True) or 0)
    """
    assert run(program, list(range(10))) == (0, "called True\nwent on\n")


def test_handlers_installed_over_ours_and_ours_again_do_not_go_in_circles() -> None:
    """Each is called once, the last one first."""
    program = """
    banyan.install_signal_handlers()
    ours = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda number, frame: (print("theirs"), ours(number, frame)))
    banyan.install_signal_handlers()
    terminate()
    """
    assert run(program, list(range(10))) == (143, "theirs\n")


def test_an_ignored_sigterm_stays_ignored() -> None:
    """Somebody wanted it so."""
    program = """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    banyan.install_signal_handlers()
    os.kill(os.getpid(), signal.SIGTERM)
    print("alive")
    """
    assert run(program, list(range(10))) == (0, "alive\n")


@pytest.mark.parametrize("lock", ["logger._engine.core.parts.lock", "logger._engine.core.parts.spool._lock"])
def test_sigterm_in_the_middle_of_a_section_waits_for_its_end(lock: str) -> None:
    """The main thread holds our lock: the handler takes none, and raises when the section is over."""
    program = f"""
    banyan.install_signal_handlers()
    guard = {lock}
    held = []
    try:
        with guard:
            os.kill(os.getpid(), signal.SIGTERM)
            end = time.monotonic() + 0.05
            while time.monotonic() < end:
                held[:] = [guard.is_mine()]
        time.sleep(30)
    except SystemExit:
        print(held, guard.is_mine())
        raise
    """
    assert run(program, list(range(10))) == (143, "[True] False\n")


def test_a_handler_that_raises_at_any_moment_of_logging_leaves_a_ledger_that_holds() -> None:
    """As Ctrl-C does: the sum is exact, and every record accepted is delivered."""
    program = """
    from tests.support.ledger import assert_balanced
    logger = make(flush_interval=30, queue_size=10**6)
    class Again(Exception): pass
    def again(*_): raise Again
    rounds = 0
    signal.signal(signal.SIGALRM, again)
    number = 10
    while rounds < 300:
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-4 + rounds * 1e-6, 0.5)
            while True:
                logger._engine.core.stop_lingering() if rounds % 50 == 49 else None
                logger.log_prompt("q", "a", metadata={"number": number})
                number += 1
        except Again:
            rounds += 1
            number += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    stats = logger.get_stats()
    assert_balanced(stats)
    result = logger.flush(20)  # false where a call was interrupted that brought its record past a full queue
    stats = logger.get_stats()
    assert not result.pending and not result.spooled, stats
    assert stats["logs_queued"] == stats["logs_sent"] + stats["drops"].get("interrupted", 0), stats
    """
    with ScriptedServer(batching()) as server:
        finished = run_python(
            LOG + textwrap.dedent(program),
            url=server.url,
            timeout=90,
            PYTHONPATH=str(Path(__file__).parents[2]),
        )
        assert finished.status == 0, finished.stderr
        assert len(server.ids()) == len(set(server.ids()))


def test_sigterm_while_threads_log_and_the_backend_is_down(tmp_path: Path) -> None:
    """The process ends soon, with what was logged on disk."""
    with ScriptedServer() as reserved:
        url = f"http://127.0.0.1:{reserved.port}"
    program = """
    banyan.install_signal_handlers()
    for _ in range(3):
        threading.Thread(target=lambda: [log(n) for n in range(200)], daemon=True).start()
    for thread in threading.enumerate():
        if thread.daemon and not thread.name.startswith("banyan"): thread.join()
    terminate()
    """
    finished = run_python(LOG + textwrap.dedent(program), url=url, timeout=60)
    assert (finished.status, finished.stdout, finished.stderr) == (143, "", "")
    assert spooled_lines(tmp_path) == 610
    assert_in_time(finished.exit_seconds, 3)


@pytest.mark.parametrize("install", ["", "banyan.install_signal_handlers()"])
def test_children_of_multiprocessing_that_are_terminated_deliver_too(install: str) -> None:
    """`Process.terminate` and `Pool.terminate` send SIGTERM; the child inherits the handler."""
    program = f"""
    import multiprocessing
    def work():
        log(10)
        ready.set()
        time.sleep(30)
    {install}
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    child = context.Process(target=work)
    child.start()
    assert ready.wait(10)
    child.terminate()
    child.join(10)
    print(child.exitcode)
    """
    assert run(program, list(range(11))) == (0, "143\n" if install else "-15\n")


def test_a_child_without_records_dies_of_the_signal_at_once() -> None:
    """It inherits the handler, and has nothing to drain; the parent's records stay the parent's."""
    program = """
    child = os.fork()
    if not child:
        time.sleep(20)
        os._exit(99)
    began = time.monotonic()
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), time.monotonic() - began)
    """
    status, printed = run(program, list(range(10)))
    result, seconds = printed.split()
    assert (status, result) == (0, "-15")
    assert_in_time(float(seconds), 1)


def test_a_signal_just_behind_a_fork_reaches_the_child() -> None:
    """Python forgets signals that come before its own work after a fork is done: they wait for that."""
    program = """
    def outcome():
        child = os.fork()
        if not child:
            time.sleep(3)
            os._exit(99)
        os.kill(child, signal.SIGTERM)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    print({outcome() for _ in range(100)}, signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask)
    """
    assert run(program, list(range(10))) == (0, "{-15} True\n")


def test_a_pool_that_terminates_delivers_what_its_processes_logged() -> None:
    """`with multiprocessing.Pool()` ends by `terminate`; the logger is first used in the children."""
    program = """
    import multiprocessing
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(log, range(10, 20))
    """
    assert run(program, list(range(20))) == (0, "")


def test_a_handler_set_later_replaces_ours() -> None:
    """It is the application's, and ours is not set again, whatever loggers are made."""
    program = """
    signal.signal(signal.SIGTERM, lambda *_: print("theirs"))
    os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    make()
    print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    """
    assert run(program, list(range(10))) == (0, "theirs\nTrue\n")


@pytest.mark.parametrize(
    "before", ["signal.signal(signal.SIGTERM, signal.SIG_IGN)", "faulthandler.register(signal.SIGTERM)"]
)
def test_a_signal_that_is_ignored_or_handled_in_c_stays_so(before: str) -> None:
    """Also where Python itself knows nothing of the handler."""
    with ScriptedServer(batching()) as server:
        finished = run_python(
            LOG
            + "assert not callable(signal.getsignal(signal.SIGTERM)); os.kill(os.getpid(), signal.SIGTERM)",
            url=server.url,
            before=f"import faulthandler, signal; {before}",
        )
        assert finished.status == 0
        assert ids(server) == list(range(10))


def test_other_threads_install_nothing() -> None:
    """Python allows handlers on the main thread only: the logger is made all the same."""
    program = """
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    thread = threading.Thread(target=make)
    thread.start(), thread.join()
    print(signal.getsignal(signal.SIGHUP) == signal.SIG_DFL)
    """
    assert run(program, list(range(10))) == (0, "True\n")


def test_a_second_signal_during_the_drain_does_not_cut_it_short() -> None:
    """The drain has a deadline anyway; the first signal decides about the exit status."""
    with ScriptedServer(batching()) as server:
        program = """
        def impatient():
            while not server_is_asked(): time.sleep(0.001)
            for number in (signal.SIGHUP, signal.SIGTERM): os.kill(os.getpid(), number)
        def server_is_asked():
            return logger._engine.closed
        threading.Thread(target=impatient, daemon=True).start()
        terminate()
        """
        finished = run_python(LOG + textwrap.dedent(program), url=server.url, timeout=60)
        assert (finished.status, finished.stderr) == (-signal.SIGTERM, "")
        assert ids(server) == list(range(10))


@pytest.mark.parametrize("held", ["logging.getLogger().handlers[0].lock", "logger._engine.core.parts.lock"])
def test_a_signal_in_the_middle_of_a_lock_of_the_main_thread_ends_the_process_in_time(held: str) -> None:
    """The drain runs on a thread of its own, and the default action happens at any rate."""
    program = f"""
    import logging
    logging.basicConfig()
    with {held}:
        os.kill(os.getpid(), signal.SIGTERM)
        end = time.monotonic() + 0.05
        while time.monotonic() < end: pass
    time.sleep(30)
    """
    assert run(program, list(range(10))) == (-signal.SIGTERM, "")


def test_a_section_that_never_ends_does_not_keep_the_process_alive() -> None:
    """An exception in the middle may leave a lock held for ever: the default action happens in time."""
    program = """
    logger._engine.core.parts.lock.__enter__()
    terminate()
    """
    with ScriptedServer(batching()) as server:
        finished = run_python(
            LOG.replace("make(flush_interval=30)", "make(flush_interval=30, exit_timeout=0)")
            + textwrap.dedent(program),
            url=server.url,
            timeout=60,
        )
    assert (finished.status, finished.stderr) == (-signal.SIGTERM, "")
    assert_in_time(finished.exit_seconds, 10)


def test_a_signal_while_the_exit_waits_for_a_backend_that_hangs_keeps_all(tmp_path: Path) -> None:
    """Records were on disk before the waiting began; the status is the signal's. Handlers set to the default
    action behind our back are held off as well."""
    with ScriptedServer(lambda _request: Hang()) as server:
        program = """
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        logger = make(exit_timeout=1, batching="always")
        for number in range(500): logger.log_prompt("q", "a")
        def terminate_soon():
            while not logger._engine.closed: time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGTERM)
        threading.Thread(target=terminate_soon, daemon=True).start()
        """
        finished = run_python("import signal" + textwrap.dedent(program), url=server.url, timeout=60)
    assert (finished.status, finished.stderr) == (-signal.SIGTERM, "")
    assert spooled_lines(tmp_path) == 500


@pytest.mark.parametrize("around", ["", "surround()"])
@pytest.mark.parametrize("install", ["", "banyan.install_signal_handlers()"])
def test_a_handler_that_restores_the_default_action_and_raises_again_keeps_all(
    install: str, around: str, tmp_path: Path
) -> None:
    """As uvicorn does, a moment after the signal, also below a handler of LiteLLM's proxy. What is logged
    between is on disk at once.
    """
    with ScriptedServer() as reserved:
        url = f"http://127.0.0.1:{reserved.port}"
    program = f"""
    import asyncio, types, uvicorn
    async def app(scope, receive, send):
        assert (await receive())["type"] == "lifespan.startup"
        log(*range(10, 20))
        {install}
        await send({{"type": "lifespan.startup.complete"}})
        os.kill(os.getpid(), signal.SIGTERM)
        await receive()
        log(*range(20, 30))
        await send({{"type": "lifespan.shutdown.complete"}})
    def surround():
        before = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda number, frame: before(number, frame))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    async def serve():
        with server.capture_signals():
            global logger
            {around}
            logger = make(flush_interval=30)
            log(*range(10))
            await server._serve()
    asyncio.run(serve())
    """
    finished = run_python(LOG.replace("log(*range(10))", "") + textwrap.dedent(program), url=url, timeout=60)
    assert finished.status == -signal.SIGTERM
    assert all("the backend can't be reached" in line for line in finished.stderr.splitlines())
    assert spooled_lines(tmp_path) == 30


def test_only_the_main_thread_may_install_handlers() -> None:
    """The error says so, and names the thread."""
    errors: list[Exception] = []

    def install() -> None:
        try:
            install_signal_handlers()
        except ConfigurationError as error:
            errors.append(error)

    thread = threading.Thread(target=install, name="another")
    thread.start()
    thread.join(5)
    assert [str(error) for error in errors] == [
        "install_signal_handlers() must be called on the main thread, was called on 'another'"
    ]


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_leaves_no_traceback_of_ours(presses: int, tmp_path: Path) -> None:
    """Once in a sleeping script, and again while our exit waits for a backend that hangs."""
    with ScriptedServer() as server:
        program = """
        logger = make(exit_timeout=20, timeout=60, batching="always")
        for number in range(10):
            logger.log_prompt("q", "a")
        from banyan_hp.engine.process import exit as process_exit
        end_all = process_exit._end_all
        def leave(*arguments):
            print("leaving", flush=True)
            end_all(*arguments)
        process_exit._end_all = leave
        print("ready", flush=True)
        time.sleep(30)
        """
        server.handler = batching() if presses == 1 else (lambda _request: Hang())
        process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(program)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "URL": server.url},
            cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "leaving\n"
        if presses == 2:
            server.wait_for(1)
            process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=15)
        assert stderr.count("Traceback") == 1
        assert stderr.count("KeyboardInterrupt") == 1
        assert stderr.count("banyan_hp") == stderr.count("banyan_hp: 10 records are on disk") == presses - 1
        assert spooled_lines(tmp_path) == (0 if presses == 1 else 10)
