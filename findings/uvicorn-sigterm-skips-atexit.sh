#!/usr/bin/env bash
# uvicorn 0.54.0: after SIGTERM the process ends without running functions registered with atexit.
#
# The server shuts down in order ("Finished server process"), restores the signal handlers that were there
# before it, and raises the captured signal again, so the process dies by SIGTERM's default action. The same
# application stopped by SIGINT runs its atexit functions. Whatever a library drains at exit is lost at every
# restart by systemd or Kubernetes, which stop processes by SIGTERM.
#
# Seen: SIGTERM -> status -15, no line; SIGINT -> the line "atexit ran".
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet uvicorn==0.54.0
cat > "$work/app.py" <<'PY'
import atexit

atexit.register(lambda: print("atexit ran", flush=True))


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
PY
cat > "$work/run.py" <<'PY'
import signal
import subprocess
import sys

for number, printed in ((signal.SIGTERM, False), (signal.SIGINT, True)):
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "Uvicorn running" in line:
                process.send_signal(number)
                break
        output, errors = process.communicate(timeout=20)
    assert "Finished server process" in errors, errors
    print(number.name, "status", process.returncode, repr(output.strip()))
    assert ("atexit ran" in output) is printed, (number, output)
PY
cd "$work" && "$work/venv/bin/python" run.py
