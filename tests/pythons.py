"""The tests on each Python there is, each in an environment of its own: `make test-pythons`.

Interpreters are looked for on PATH, among pyenv's versions, and in PYTHONS, a list of paths; OPTIONS goes to
pytest. A package that can't be installed for an interpreter only skips its tests.
"""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / ".venv-py"
WANTED = ("3.11", "3.12", "3.13", "3.13t", "3.14", "3.14t", "3.15", "3.15t", "pypy3.11")
NEEDED = ("hypothesis", "pytest", "pytest-timeout")  # without which there are no tests
UNUSED = ("mypy", "ruff", "types-")  # lint and types are checked once
ABOUT = """
import platform, sys, sysconfig
pypy = sys.implementation.name == "pypy"
threaded = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
print("pypy" * pypy + "%d.%d" % sys.version_info[:2] + threaded, platform.python_version(), sep="/")
"""


class Python(NamedTuple):
    """An interpreter: as `WANTED` has it, its full version, its path."""

    kind: str
    version: str
    path: Path


def found() -> dict[str, Python]:
    """One interpreter of each kind: the first that is seen."""
    pythons: dict[str, Python] = {}
    for path in places():
        about = subprocess.run([path, "-c", ABOUT], capture_output=True, text=True, check=False)
        if about.returncode == 0:
            kind, version = about.stdout.strip().split("/")
            pythons.setdefault(kind, Python(kind, version, path))
    return pythons


def places() -> Iterator[Path]:
    """Where interpreters may be: those that somebody named come first."""
    for named in map(Path, os.environ.get("PYTHONS", "").split()):
        if named.exists():
            yield named
        else:
            print(f"{named}: not there, skipped")
    for kind in WANTED:
        on_path = shutil.which(kind if kind.startswith("pypy") else f"python{kind}")
        if on_path is not None:
            yield Path(on_path)
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True).stdout.strip()
        yield from sorted(Path(root).glob("versions/*/bin/python"), reverse=True)


def environment(python: Python) -> Path:
    """The environment's interpreter; the environment is made where it is missing or older than setup.cfg.

    Raises:
        CalledProcessError: not even what the library and all its tests need can be installed.
    """
    folder = ENVIRONMENTS / f"{python.kind}-{python.version}"
    stamp, interpreter = folder / ".installed", folder / "bin" / "python"
    if not stamp.exists() or stamp.stat().st_mtime < (ROOT / "setup.cfg").stat().st_mtime:
        subprocess.run([python.path, "-m", "venv", "--clear", folder], check=True)
        pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--prefer-binary", "--editable", ".", *NEEDED], cwd=ROOT, check=True)
        for package in optional():
            asked = [*pip, "--only-binary=:all:", package]
            if subprocess.run(asked, check=False, capture_output=True).returncode:
                print(f"{python.kind}: no wheel of {package}, its tests are skipped", flush=True)
        stamp.touch()
    return interpreter


def optional() -> list[str]:
    """What the tests use where it is there."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    packages = "\n".join(extras[name] for name in ("server", "speedups", "dev")).split("\n")
    return [each for each in packages if each and not each.startswith(("banyan-hp", *NEEDED, *UNUSED))]


def tested(python: Python, options: list[str]) -> tuple[bool, str]:
    """Whether the tests passed, and what pytest counted."""
    print(f"\n{python.kind} {python.version}, {python.path}", flush=True)
    try:
        interpreter = environment(python)
    except subprocess.CalledProcessError as error:
        return False, f"can't be installed: {error}"
    # setup.cfg asks for -q, with which pytest prints no counts
    command = [str(interpreter), "-m", "pytest", "-v", "-o", f"cache_dir={ENVIRONMENTS / '.cache'}", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        last = ""
        for line in running.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    return running.returncode == 0, last.strip("= ")


def main(options: list[str]) -> int:
    """Exit status 0: none failed, and there was at least one."""
    pythons = found()
    results = {kind: tested(pythons[kind], options) for kind in WANTED if kind in pythons}
    print()
    for kind in WANTED:
        passed, counted = results.get(kind, (True, "not there, skipped"))
        version = pythons[kind].version if kind in pythons else ""
        print(f"{kind:10}{version:12}{'' if passed else 'FAILED  '}{counted}")
    return 0 if results and all(passed for passed, _ in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
