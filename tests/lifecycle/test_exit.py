"""Ends of processes: bounded, quiet, and without losing a record silently."""

from __future__ import annotations

from pathlib import Path

import pytest

from banyan_hp.engine.spool.layout import is_segment
from banyan_hp.engine.spool.survey import unacknowledged_lines
from tests.lifecycle.test_exit_and_fork import ids, spooled_ids, spooled_lines
from tests.support.process import Finished, run_python
from tests.support.scripted import ScriptedServer
from tests.support.scripted_answers import Drip, Hang, batching
from tests.support.timing import assert_in_time


def unreachable() -> str:
    """A URL where nobody listens."""
    with ScriptedServer() as reserved:
        return f"http://127.0.0.1:{reserved.port}"


def assert_quiet(finished: Finished, status: int = 0) -> None:
    assert (finished.status, finished.stdout, finished.stderr) == (status, "", "")


def test_an_unreachable_backend_costs_the_exit_less_than_half_a_second(tmp_path: Path) -> None:
    """Measured inside the process, from the last line of the program to the end of our exit."""
    finished = run_python(
        """
        import atexit
        from banyan_hp.engine.process import exit as process_exit
        logger = make()
        for number in range(100):
            logger.log_prompt("q", "a")
        def timed():
            began = time.monotonic()
            process_exit.at_exit()
            print(time.monotonic() - began)
        atexit.register(timed)
        """,
        url=unreachable(),
    )
    # On a machine that stood still, the worker has tried before the program's end, and says so.
    assert (finished.status, finished.others) == (0, "")
    assert spooled_lines(tmp_path) == 100
    assert_in_time(float(finished.stdout), 0.5)


def test_only_the_first_exit_waits_for_a_backend_that_hangs(tmp_path: Path) -> None:
    """The next process need not find out again; one whose records are taken says that it is over."""
    program = """
    import atexit
    from banyan_hp.engine.process import exit as process_exit
    logger = make(exit_timeout=0.8, timeout=60, batching="always", flush_interval=30)
    logger.log_prompt("q", "a")
    if os.environ.get("FLUSH"): assert logger.flush(20)
    def timed():
        began = time.monotonic()
        process_exit.at_exit()
        print(time.monotonic() - began > 0.75)
    atexit.register(timed)
    """
    with ScriptedServer(lambda _request: Hang()) as server:
        ends = [run_python(program, url=server.url) for _ in range(3)]
        assert [end.stdout for end in ends] == ["True\n", "False\n", "False\n"]
        assert spooled_lines(tmp_path) == 3
        server.handler = batching()
        run_python(program, url=server.url, FLUSH="1")
        server.handler = lambda _request: Hang()
        assert run_python(program, url=server.url).stdout == "True\n"


def test_a_socket_that_drips_does_not_hold_the_exit(tmp_path: Path) -> None:
    """An answer that never ends: the process ends within `exit_timeout`, and its records are on disk."""
    with ScriptedServer(lambda _request: Drip(b"x" * 10_000, interval=0.05)) as server:
        finished = run_python(
            """
            logger = make(exit_timeout=0.5, timeout=60, batching="always")
            for number in range(20):
                logger.log_prompt("q", "a")
            leave()
            """,
            url=server.url,
        )
    assert_quiet(finished)
    assert spooled_lines(tmp_path) == 20
    assert_in_time(finished.exit_seconds, 0.5 + 1.5)


def test_a_name_server_that_hangs_does_not_hold_the_exit(tmp_path: Path) -> None:
    """`getaddrinfo` has no timeout; the thread that is stuck in it is left behind."""
    finished = run_python(
        """
        import socket
        socket.getaddrinfo = lambda *_, **__: threading.Event().wait(60)
        logger = make(exit_timeout=0.5)
        for number in range(20):
            logger.log_prompt("q", "a")
        leave()
        """,
        url="http://nowhere.invalid",
    )
    assert_quiet(finished)
    assert spooled_lines(tmp_path) == 20
    assert_in_time(finished.exit_seconds, 0.5 + 1.5)


def test_what_is_logged_after_our_exit_goes_to_disk(tmp_path: Path) -> None:
    """An atexit handler that was registered before us runs after us; so do destructors, later still."""
    with ScriptedServer(batching()) as server:
        finished = run_python(
            """
            late = []
            logger = make()
            logger.log_prompt("q", "a", metadata={"number": 0})
            sys.modules["early"].work = lambda: late.append(logger.log_prompt("late", "a"))
            class Last:
                def __del__(self):
                    accepted = logger.log_prompt("too late", "a")
                    logger.flush(1), logger.shutdown(1)
                    if late != [True] or accepted is not False:
                        os.write(2, f"late {late}, too late {accepted}".encode())
            sys.modules["early"].last = Last()
            """,
            url=server.url,
            before="""
            import atexit, sys, types
            early = sys.modules["early"] = types.ModuleType("early")
            atexit.register(lambda: early.work())
            """,
        )
        assert_quiet(finished)
        assert ids(server) == [0]
    assert spooled_lines(tmp_path) == 1


def test_a_logger_first_used_after_our_exit_writes_to_disk(tmp_path: Path) -> None:
    """No thread is started any more; nothing hangs."""
    finished = run_python(
        """
        logger = make()
        sys.modules["early"].work = lambda: [logger.log_prompt("late", "a") for _ in range(3)]
        """,
        url=unreachable(),
        before="""
        import atexit, sys, types
        early = sys.modules["early"] = types.ModuleType("early")
        atexit.register(lambda: early.work())
        """,
    )
    assert_quiet(finished)
    assert spooled_lines(tmp_path) == 3


def test_the_first_record_of_all_may_come_in_an_atexit_handler() -> None:
    """One that runs before ours: delivered, with or without a thread to be had."""
    with ScriptedServer(batching()) as server:
        finished = run_python(
            """
            import atexit
            logger = make()
            atexit.register(lambda: logger.log_prompt("q", "a", metadata={"number": 0}))
            """,
            url=server.url,
        )
        assert_quiet(finished)
        assert ids(server) == [0]


def test_after_shutdown_records_are_refused_and_counted_also_at_exit(tmp_path: Path) -> None:
    """After a logger's shutdown nothing more of it is wanted, not on disk either."""
    with ScriptedServer(batching()) as server:
        finished = run_python(
            """
            import atexit
            logger = make()
            logger.log_prompt("q", "a", metadata={"number": 0})
            atexit.register(lambda: logger.log_prompt("q", "a"))
            logger.shutdown(5)
            assert logger.log_prompt("q", "a") is False
            assert logger.get_stats()["logs_rejected"] == 1
            """,
            url=server.url,
        )
        assert (finished.status, finished.stdout, finished.on_disk) == (0, "", 0)
        assert finished.stderr.startswith(
            f"banyan_hp: a logger for {server.url} is used after its shutdown()"
        )
        assert finished.stderr.count("\n") == 1
        assert ids(server) == [0]
    assert spooled_lines(tmp_path) == 0


@pytest.mark.parametrize("durability", ["memory", "disk"])
@pytest.mark.parametrize("daemon", [True, False])
def test_threads_that_still_log_at_exit_lose_nothing_silently(
    daemon: bool, durability: str, tmp_path: Path
) -> None:
    """What was accepted is delivered or on disk, until the interpreter stops the thread."""
    with ScriptedServer(batching()) as server:
        finished = run_python(
            f"""
            logger = make(durability={durability!r})
            accepted = os.open({str(tmp_path / "accepted")!r}, os.O_CREAT | os.O_WRONLY)
            def keep_logging():
                for number in range(3000):
                    if logger.log_prompt("q", "a", metadata={{"number": number}}):
                        os.write(accepted, b"x")
            for _ in range(3):
                threading.Thread(target=keep_logging, daemon={daemon}).start()
            time.sleep(0.05)
            """,
            url=server.url,
        )
        assert_quiet(finished)
        # By id: what is under way when the time to end is over is on disk, and may have been taken, too.
        arrived = len({*server.ids(), *spooled_ids(tmp_path)})
    accepted = (tmp_path / "accepted").stat().st_size
    assert accepted <= arrived <= accepted + 3  # a thread may be stopped between a record and its mark
    assert daemon or accepted == 9000


def test_a_callback_that_blocks_does_not_hold_the_exit(tmp_path: Path) -> None:
    """`on_error` never returns: the exit does."""
    finished = run_python(
        """
        logger = make(exit_timeout=0.5, on_error=lambda _error: threading.Event().wait(60))
        logger.log_prompt("q", "a")
        leave()
        """,
        url=unreachable(),
    )
    assert_quiet(finished)
    assert spooled_lines(tmp_path) == 1
    assert_in_time(finished.exit_seconds, 0.5 + 1.5)


def test_os_exit_in_a_child_corrupts_nothing(tmp_path: Path) -> None:
    """Nothing is promised for it; the parent's records and those on disk are untouched."""
    with ScriptedServer(batching()) as server:
        finished = run_python(
            """
            logger = make(durability="disk", flush_interval=0.2)
            for number in range(100):
                logger.log_prompt("q", "a", metadata={"number": number})
                if number % 20 == 0 and os.fork() == 0:
                    logger.log_prompt("q", "a", metadata={"number": 1000 + number})
                    os._exit(0)
            for _ in range(5): os.wait()
            """,
            url=server.url,
        )
        assert_quiet(finished)
        assert [number for number in ids(server) if number < 1000] == list(range(100))
        assert len({*server.ids(), *spooled_ids(tmp_path)}) == 105  # the last batch may be in both places
    assert not list((tmp_path / "state").rglob("quarantine*"))


@pytest.mark.parametrize("flush_interval", [0.0, 60.0])
def test_a_before_send_that_blocks_does_not_hold_the_exit(flush_interval: float, tmp_path: Path) -> None:
    """It never returns, at work already or at the exit only: what it has not seen is on disk."""
    finished = run_python(
        f"""
        never = lambda _record: threading.Event().wait(60)
        logger = make(exit_timeout=0.5, flush_interval={flush_interval}, before_send=never)
        for _ in range(5):
            logger.log_prompt("q", "a")
        leave()
        """,
        url=unreachable(),
    )
    assert_quiet(finished)
    assert spooled_lines(tmp_path) == 5
    assert not list((tmp_path / "state").rglob("quarantine*"))
    assert_in_time(finished.exit_seconds, 0.5 + 2.5)


def test_a_slow_before_send_costs_no_record(tmp_path: Path) -> None:
    """What it has not seen in time is on disk; the next process's `before_send` sees it before it leaves."""
    program = """
        def before_send(record):
            time.sleep(0.002)
            record["metadata"]["seen"] = True
            return record
        logger = make(exit_timeout=0.5, before_send=before_send, queue_bytes=2**30)
        for number in range({count}):
            logger.log_prompt("q" * 4000, "a", metadata={{"number": number}})
        {then}
    """
    with ScriptedServer(batching()) as server:
        assert_quiet(run_python(program.format(count=800, then=""), url=server.url))
        delivered = set(server.ids())
        assert len(delivered | set(spooled_ids(tmp_path))) == 800
        assert len(delivered) < 800
        assert_quiet(run_python(program.format(count=0, then="logger.flush(30)"), url=server.url))
        assert len(set(server.ids())) == 800
        assert all(body["metadata"]["seen"] for _, body in server.records())
    assert not list((tmp_path / "state").rglob("quarantine*"))


def test_who_goes_on_logging_does_not_hold_the_exit(tmp_path: Path) -> None:
    """As under gevent, where requests are served on: it ends when what it began with is delivered.

    What is logged meanwhile is delivered or on disk, and nothing is sent that its response finds no more.
    """
    with ScriptedServer(batching(latency=0.05)) as server:
        finished = run_python(
            """
            logger = make(exit_timeout=5.0, batching="always", timeout=5.0)
            def go_on():
                number = 0
                while logger.log_prompt("q", "a"):
                    print(number, flush=True)
                    number += 1
                    time.sleep(0.002)
            threading.Thread(target=go_on, daemon=True).start()
            time.sleep(0.3)
            leave()
            """,
            url=server.url,
        )
        delivered = server.ids()
        assert len(delivered) == len(set(delivered))
        paths = [path for path in (tmp_path / "state").rglob("*.v1.jsonl") if is_segment(path.name)]
        on_disk = {line.id for path in paths for line in unacknowledged_lines(path)}
        assert not on_disk & set(delivered)
        assert len(on_disk) + len(delivered) >= len(finished.stdout.split())
    assert_in_time(finished.exit_seconds, 2.5)
