#!/usr/bin/env bash
# opentelemetry-instrumentation-openai-v2 2.4b0 beside the packages that pip picked for it on 28 November 2026:
# openai 3.57.0 and opentelemetry-util-genai 1.3b0.
#
# - It imports httpx and doesn't ask for it. openai brought it until it moved to httpx2; with openai 3.57.0 the import
#   of the instrumentation fails. openai is asked for (by the extra "instruments") without an upper bound.
# - util-genai is asked for without an upper bound too (>=0.4b0.dev), and 1.2b0 and 1.3b0 have no module "instruments"
#   any more, which the instrumentation imports. With 1.1b0 it works.
# "pip check" finds nothing wrong with any of the sets. Under opentelemetry-instrument a failed import is a line in
# the log, and the application runs without its spans.
#
# Seen: one line per set of packages, pip's opinion and the import's.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
try() {
    "$folder/venv/bin/pip" install --quiet "${@:2}"
    "$folder/venv/bin/pip" check >/dev/null && printf '%s: consistent; ' "$1"
    "$folder/venv/bin/python" - <<'PY'
try:
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
    print("imported", OpenAIInstrumentor.__name__)
except ImportError as error:
    print(error)
PY
}
{
    try "as picked" "opentelemetry-instrumentation-openai-v2[instruments]==2.4b0" openai==3.57.0 opentelemetry-util-genai==1.3b0
    try "and httpx" httpx==0.28.1
    try "util-genai 1.2b0" opentelemetry-util-genai==1.2b0
    try "util-genai 1.1b0" opentelemetry-util-genai==1.1b0
} >"$folder/seen"
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
as picked: consistent; No module named 'httpx'
and httpx: consistent; No module named 'opentelemetry.util.genai.instruments'
util-genai 1.2b0: consistent; No module named 'opentelemetry.util.genai.instruments'
util-genai 1.1b0: consistent; imported OpenAIInstrumentor
SEEN
