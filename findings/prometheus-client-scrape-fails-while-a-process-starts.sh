#!/usr/bin/env bash
# prometheus_client 0.26.0 with several processes (PROMETHEUS_MULTIPROC_DIR), scraped while one of them makes its file.
#
# A process creates its file (counter_PID.db) by opening it, and only then gives it a size. A scrape in between finds a
# file of 0 bytes, and MultiProcessCollector raises struct.error: the scrape gives nothing at all, the other processes'
# metrics neither. The file of a process that was ended in between stays empty, no process ever writes to it again,
# and mark_process_dead() doesn't remove it (it removes the files of "live" gauges): every later scrape fails until the
# folder is emptied.
#
# Seen: the scrapes before, while the second process stands between the two steps, and after; then with the file left
# by a process that was ended there and was marked dead.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet prometheus-client==0.26.0
mkdir "$folder/metrics"
PROMETHEUS_MULTIPROC_DIR="$folder/metrics" "$folder/venv/bin/python" - >"$folder/seen" <<'PY'
import os
import struct
import subprocess
import sys

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

# The same counter in a process of its own, which waits for a line between opening its file and giving it a size.
SECOND = """
import os, sys
from prometheus_client import Counter
status = os.fstat
def wait(descriptor):
    found = status(descriptor)
    os.fstat = status
    print("opened", flush=True)
    sys.stdin.readline()
    return found
os.fstat = wait
Counter("calls", "Calls").inc()
"""


def second():
    process = subprocess.Popen([sys.executable, "-c", SECOND], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "opened\n"
    return process


def scrape(when):
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    try:
        print(f"{when}:", generate_latest(registry).decode().splitlines()[-1])
    except struct.error as error:
        print(f"{when}: struct.error:", error)


Counter("calls", "Calls").inc()
scrape("one process")
process = second()
scrape("a second one starts")
process.communicate("\n")
scrape("it has started")
process = second()
process.kill()
process.wait()
mark_process_dead(process.pid)
scrape("another was ended as it started")
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
one process: calls_total 1.0
a second one starts: struct.error: unpack_from requires a buffer of at least 4 bytes for unpacking 4 bytes at offset 0 (actual buffer size is 0)
it has started: calls_total 2.0
another was ended as it started: struct.error: unpack_from requires a buffer of at least 4 bytes for unpacking 4 bytes at offset 0 (actual buffer size is 0)
SEEN
