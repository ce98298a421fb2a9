#!/usr/bin/env bash
# pydantic-core 2.50.5 (pydantic 2.14.4): from_json(..., allow_inf_nan=False), the switch for documents without
# infinite numbers.
#
# It refuses the words NaN and Infinity, which are no JSON. A number too large for a double, which is JSON, is read as
# infinity all the same, with the switch as without it. to_json writes that as the word Infinity: what came in as JSON
# goes out as no JSON, and from_json refuses it then. orjson 3.13.0 and msgspec 0.22.0 refuse the number.
#
# Seen: one line per text: from_json, the value written again, then orjson and msgspec.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pydantic==2.14.4 pydantic-core==2.50.5 orjson==3.13.0 msgspec==0.22.0
"$folder/venv/bin/python" - >"$folder/seen" <<'PY'
import msgspec
import orjson
from pydantic_core import from_json, to_json


def tried(function, *given, **options):
    try:
        return function(*given, **options)
    except ValueError:
        return "refused"


for text in (b"NaN", b"Infinity", b"1e999", b"-1e999"):
    value = tried(from_json, text, allow_inf_nan=False)
    again = () if value == "refused" else (to_json(value).decode(),)
    print(text.decode(), value, *again, "orjson", tried(orjson.loads, text), "msgspec", tried(msgspec.json.decode, text))
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
NaN refused orjson refused msgspec refused
Infinity refused orjson refused msgspec refused
1e999 inf Infinity orjson refused msgspec refused
-1e999 -inf -Infinity orjson refused msgspec refused
SEEN
