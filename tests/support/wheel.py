"""The wheel of this clone, and environments to install it into without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PIP = """\
#!/bin/sh
exec "$(dirname "$0")/python" -m pip --disable-pip-version-check "$@"
"""


def build_wheel(directory: Path) -> Path:
    """Build it from a copy, so that nothing of the build is left in the clone."""
    source = directory / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "banyan_hp", source / "banyan_hp", ignore=ignored)
    for name in ("setup.cfg", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(source)],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = directory.glob("*.whl")
    return wheel


def make_environment(directory: Path, wheel: Path) -> dict[str, str]:
    """A virtual environment without this package; the variables with which a shell uses it.

    `pip install banyan-hp` installs the wheel there and asks no index: what it depends on is found among this
    environment's packages, which the new one sees through a directory of links.
    """
    venv.create(directory, symlinks=True)
    packages = directory / "packages"
    packages.mkdir()
    for installed in Path(sysconfig.get_path("purelib")).iterdir():
        if "banyan" not in installed.name:
            (packages / installed.name).symlink_to(installed)
    site = sysconfig.get_path("purelib", "venv", {"base": str(directory), "platbase": str(directory)})
    Path(site, "packages.pth").write_text(f"{packages}\n", "utf-8")
    pip = directory / "bin" / "pip"
    pip.write_text(_PIP, "utf-8")
    pip.chmod(0o755)
    path = f"{directory / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent)}
