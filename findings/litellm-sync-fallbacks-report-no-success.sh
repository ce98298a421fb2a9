#!/usr/bin/env bash
# litellm 1.110.2: completion(..., fallbacks=[...]) from a program without an event loop, with a CustomLogger.
#
# With fallbacks the call is made in an event loop of its own that ends with it. A failed attempt is reported at once,
# by async_log_failure_event. The success isn't: log_success_event, which the same call without fallbacks calls, isn't
# called, and the call of async_log_success_event is put into a queue that nothing works off, even if the first model
# answered and no fallback was needed. The queue is worked off when the program makes an asynchronous call some day, or
# at exit. So a program of synchronous calls reports its failures as they are and its successes, with their tokens and
# costs, at its end; one that is ended by a signal never does.
#
# Seen: what each call had reported two seconds after it returned (without fallbacks, with one not needed,
# with one needed); then what an asynchronous call brought.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet litellm==1.110.2
LITELLM_LOCAL_MODEL_COST_MAP=True "$folder/venv/bin/python" - >"$folder/seen" 2>"$folder/log" <<'PY'
import asyncio
import time

import litellm
from litellm.integrations.custom_logger import CustomLogger

reported = []


def report(event, kwargs):
    reported.append(f"{kwargs['messages'][0]['content']}: {kwargs['model']} {event}")


class Logger(CustomLogger):
    def log_success_event(self, kwargs, response_obj, start_time, end_time):
        report("success", kwargs)

    def log_failure_event(self, kwargs, response_obj, start_time, end_time):
        report("failure", kwargs)

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        report("async success", kwargs)

    async def async_log_failure_event(self, kwargs, response_obj, start_time, end_time):
        report("async failure", kwargs)


def call(name, answer, **options):
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": name}], "mock_response": answer} | options


def show(when):
    print(f"{when}:", *sorted(reported), sep="\n  ")
    reported.clear()


async def asynchronous():
    await litellm.acompletion(**call("asynchronous", "Hello!"))
    for _ in range(100):
        if len(reported) == 3:
            break
        await asyncio.sleep(0.1)


litellm.callbacks = [Logger()]
other = {"fallbacks": [{"model": "gpt-4o", "mock_response": "Hello!"}]}
failed = "litellm.InternalServerError"
for asked in (call("without", "Hello!"), call("not needed", "Hello!", **other), call("needed", failed, **other)):
    litellm.completion(**asked)
    time.sleep(2)
    show("two seconds later")
asyncio.run(asynchronous())
show("after an asynchronous call")
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
two seconds later:
  without: gpt-4o-mini success
two seconds later:
two seconds later:
  needed: gpt-4o-mini async failure
after an asynchronous call:
  asynchronous: gpt-4o-mini async success
  needed: gpt-4o async success
  not needed: gpt-4o-mini async success
SEEN
