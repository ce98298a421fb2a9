"""What the kernel says about this process: memory and wake-ups. Linux only."""

from __future__ import annotations

import re
import threading
from pathlib import Path

_SELF = Path("/proc/self")
MB = 1_000_000.0


def resident_bytes() -> int:
    """Of memory, now."""
    return _field("VmRSS")


def peak_bytes() -> int:
    """Of memory at its most, since the start or `forget_peak()`."""
    return _field("VmHWM")


def forget_peak() -> None:
    (_SELF / "clear_refs").write_text("5", encoding="ascii")


def wake_ups() -> int:
    """How often the threads of this process but the calling one have given up the CPU by themselves."""
    own = str(threading.get_native_id())
    tasks = (_SELF / "task").iterdir()
    return sum(_switches(task) for task in tasks if task.name != own)


def thread_count() -> int:
    return len(list((_SELF / "task").iterdir()))


def _switches(task: Path) -> int:
    try:
        text = (task / "status").read_text(encoding="ascii")
    except FileNotFoundError:  # it has just ended
        return 0
    found = re.search(r"^voluntary_ctxt_switches:\s*(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _field(name: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+) kB", (_SELF / "status").read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {name}: memory is measured on Linux only")
    return int(found[1]) * 1_024
