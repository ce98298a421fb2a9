#!/usr/bin/env bash
# pytest 9.2.0 with anyio 4.16.0, a library that brings a pytest plugin (an entry point "pytest11") in one module.
#
# pytest compiles every module of such a library itself, not only the plugin's: their assert statements are
# rewritten as those of test modules are, and what runs in the tests is not the bytecode that runs in production.
# It is so in each project that has the library installed, asked for or not, and also where the plugin is switched
# off (-p no:anyio). Only --assert=plain ends it, for the project's own tests as well. A library without a plugin
# (iniconfig) is imported as ever.
#
# Seen: the loaders of two modules that have nothing to do with tests, by plain Python, then under pytest.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pytest==9.2.0 anyio==4.16.0 iniconfig==2.3.1
cat >"$folder/test_loaders.py" <<'PY'
import anyio.from_thread
import iniconfig


def test_loaders():
    loaders = (type(each.__spec__.loader).__name__ for each in (anyio.from_thread, iniconfig))
    print("anyio.from_thread: {}, iniconfig: {}".format(*loaders))
PY
cd "$folder"
run() { venv/bin/python -m pytest -q -s -p no:cacheprovider "$@" test_loaders.py | grep loader -i; }
{
    venv/bin/python -c "import test_loaders; test_loaders.test_loaders()"
    run
    run -p no:anyio
    run --assert=plain
} >seen
cat seen
diff seen - <<'SEEN'
anyio.from_thread: SourceFileLoader, iniconfig: SourceFileLoader
anyio.from_thread: AssertionRewritingHook, iniconfig: SourceFileLoader
anyio.from_thread: AssertionRewritingHook, iniconfig: SourceFileLoader
anyio.from_thread: SourceFileLoader, iniconfig: SourceFileLoader
SEEN
