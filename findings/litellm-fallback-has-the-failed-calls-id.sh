#!/usr/bin/env bash
# litellm 1.110.2: acompletion(..., fallbacks=[...]), where the first model fails and the second one answers.
#
# A CustomLogger is told of two calls, a failed one and an answered one, with the same litellm_call_id: it is made once
# for all attempts, while each call without fallbacks has one of its own. What keeps or deduplicates the reports by it
# has one of the two: the failure is lost, or the answer with its tokens. The payload made for loggers
# (standard_logging_object) neither tells the two apart nor joins them by its id: that is the litellm_call_id for the
# failure and the answer's own id for the success. Its trace_id is the same for both, too.
#
# Seen, for each report: the event, the model, the litellm_call_id (numbered as first seen), the payload's id and
# trace_id likewise ("answer": the answer's own id).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet litellm==1.110.2
LITELLM_LOCAL_MODEL_COST_MAP=True "$folder/venv/bin/python" - >"$folder/seen" 2>"$folder/log" <<'PY'
import asyncio

import litellm
from litellm.integrations.custom_logger import CustomLogger

reported, numbers = [], {}


def report(event, kwargs, answer=None):
    payload = kwargs["standard_logging_object"]
    named = {"litellm_call_id": kwargs["litellm_call_id"], "id": payload["id"], "trace_id": payload["trace_id"]}
    for name, value in named.items():
        named[name] = "answer" if value == answer else numbers.setdefault(value, len(numbers) + 1)
    reported.append(f"{event} {kwargs['model']}: " + ", ".join(f"{name} {value}" for name, value in named.items()))


class Logger(CustomLogger):
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        report("success", kwargs, response_obj.id)

    async def async_log_failure_event(self, kwargs, response_obj, start_time, end_time):
        report("failure", kwargs)


async def ask(count, **options):
    await litellm.acompletion(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello?"}], **options)
    for _ in range(100):
        if len(reported) == count:
            break
        await asyncio.sleep(0.1)


async def main():
    await ask(1, mock_response="Hello!")
    await ask(2, mock_response="Hello!")
    other = {"model": "gpt-4o", "mock_response": "Hello!"}
    await ask(4, mock_response="litellm.InternalServerError", fallbacks=[other])


litellm.callbacks = [Logger()]
asyncio.run(main())
print("\n".join(reported))
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
success gpt-4o-mini: litellm_call_id 1, id answer, trace_id 2
success gpt-4o-mini: litellm_call_id 3, id answer, trace_id 4
failure gpt-4o-mini: litellm_call_id 5, id 5, trace_id 6
success gpt-4o: litellm_call_id 5, id answer, trace_id 6
SEEN
