"""Where the frameworks are not installed there is nothing to collect."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("django") else ["test_*.py"]
