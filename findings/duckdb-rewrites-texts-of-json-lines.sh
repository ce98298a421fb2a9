#!/usr/bin/env bash
# DuckDB 1.5.6 reads JSON lines whose columns it wasn't told (read_json with detection, the default) and writes them
# again as JSON lines.
#
# A string in JSON is given a type by its look, so that texts come back as other texts:
# - an id in the form of a UUID is a UUID, and comes back in lower case: it equals the id it was no more;
# - a time with an offset is a TIMESTAMP without a zone: it is moved to UTC, and nothing says so any more ("Z" goes too);
# - a text such as 2026-1-2 (a version, a tag) is a DATE and comes back as 2026-01-02.
# A whole number beyond 64 bits is a DOUBLE and loses its last digits, and one fraction does so to the column's other
# numbers. The columns' types have to be given (columns={...}), or VARCHAR for texts.
#
# Seen: the line read, the types found, the line written; then the numbers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet duckdb==1.5.6
cd "$folder"
cat >texts.jsonl <<'LINES'
{"id":"0AF76519-16CD-43DD-8448-EB211C80319C","at":"2026-11-28T10:00:00+02:00","tag":"2026-1-2"}
LINES
cat >numbers.jsonl <<'LINES'
{"large":18446744073709551617,"mixed":9007199254740993}
{"large":1,"mixed":0.5}
LINES
venv/bin/python - >seen <<'PY'
import duckdb

for name in ("texts", "numbers"):
    read = duckdb.sql(f"SELECT * FROM read_json('{name}.jsonl')")
    print(*(f"{column} {kind}" for column, kind in zip(read.columns, read.types)))
    duckdb.sql(f"COPY (SELECT * FROM read_json('{name}.jsonl')) TO 'again.jsonl' (FORMAT json)")
    print(open("again.jsonl", encoding="utf-8").read(), end="")
PY
cat seen
diff seen - <<'SEEN'
id UUID at TIMESTAMP tag DATE
{"id":"0af76519-16cd-43dd-8448-eb211c80319c","at":"2026-11-28 08:00:00","tag":"2026-01-02"}
large DOUBLE mixed DOUBLE
{"large":18446744073709552000.0,"mixed":9007199254740992.0}
{"large":1.0,"mixed":0.5}
SEEN
