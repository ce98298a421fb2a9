"""What must be known of Celery, where the process is one of its pool's.

A process of a prefork pool leaves by `os._exit`, past atexit and past billiard's finalizers; all that it runs
before is what was connected to the signal `worker_process_shutdown`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable


def at_exit(drain: Callable[[], None]) -> None:
    """Have `drain` called when a process of a pool ends. Asking again changes nothing."""
    signals = sys.modules.get("celery.signals")
    if signals is not None:
        signals.worker_process_shutdown.connect(_receiver(drain), weak=False, dispatch_uid="banyan_hp")


def _receiver(drain: Callable[[], None]) -> Callable[..., None]:
    def receive(**_: object) -> None:
        drain()

    return receive
