#!/usr/bin/env bash
# A prompt whose variables are written {{name}} (Mustache's way, and that of most prompt stores) in LangChain.
#
# langchain-core 1.8.3, PromptTemplate.from_template:
# - by default (template_format "f-string") the doubled braces are an escape: the template has no variables,
#   formatting it with values raises nothing, and the model is sent the text {name}.
# - with template_format="mustache" the value is filled in, but escaped as HTML: & < > " become entities in
#   the text that the model reads. Three braces, {{{name}}}, fill it in as it is.
# - with template_format="mustache" a variable without a value becomes an empty text, and nothing is raised;
#   the f-string format raises KeyError for one.
#
# Output seen, one line each: the variables and the text of the default format; the text of the mustache format
# with two and with three braces; with a missing value; the f-string format's exception.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet langchain-core==1.8.3
"$folder/venv/bin/python" - >"$folder/seen" <<'PY'
from langchain_core.prompts import PromptTemplate

default = PromptTemplate.from_template("Dear {{name}}")
print(default.input_variables, default.format(name="Ann & Bob"))
for template in ("Dear {{name}}", "Dear {{{name}}}"):
    print(PromptTemplate.from_template(template, template_format="mustache").format(name="Ann & Bob"))
print(repr(PromptTemplate.from_template("Dear {{name}}!", template_format="mustache").format()))
try:
    PromptTemplate.from_template("Dear {name}").format()
except KeyError as error:
    print("KeyError", error)
PY
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
[] Dear {name}
Dear Ann &amp; Bob
Dear Ann & Bob
'Dear !'
KeyError 'name'
SEEN
