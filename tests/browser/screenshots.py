"""The README's pictures: `make screenshots`. Dark ones are for whoever looks whether they are good."""

from __future__ import annotations

import sys
import tempfile
import time
from math import inf
from pathlib import Path

import requests
from playwright.sync_api import Page, sync_playwright

from tests.browser.addresses import SECONDS, known
from tests.browser.conftest import DEMO_KEY, LOADED, WIDE, launch, log_in
from tests.support.serving import serving

PICTURES = {
    "overview": "/",
    "calls": "/calls",
    "session": "/sessions/{session}",
    "prompt-diff": "/prompts/{prompt}?version={version}&against={other}",
    "experiment": "/experiments/{experiment}",
}
HEIGHT = 700
HEIGHTS = {"experiment": 980}
MOST_BYTES = 150_000  # of those in the README


def main(light: Path, dark: Path) -> None:
    """Take all pictures, each theme's into its own directory."""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        Path(name, "cwd").mkdir()
        browser = launch(playwright)
        with serving("--demo", "--port", "0", cwd=Path(name, "cwd")) as demo:
            demo.wait_for(LOADED)
            _await_figures(demo.url)
            there = known(demo.url, DEMO_KEY)
            for theme, directory in (("light", light), ("dark", dark)):
                directory.mkdir(parents=True, exist_ok=True)
                context = browser.new_context(color_scheme=theme, viewport={"width": WIDE, "height": HEIGHT})
                log_in(context, demo.url, DEMO_KEY)
                page = context.new_page()
                for picture, address in PICTURES.items():
                    page.set_viewport_size({"width": WIDE, "height": HEIGHTS.get(picture, HEIGHT)})
                    page.goto(demo.url + there.fill(address), wait_until="networkidle")
                    _take(page, directory / f"{picture}.png", MOST_BYTES if directory == light else inf)
                context.close()
        browser.close()


def _await_figures(url: str) -> None:
    """Until no call is left to be counted and indexed."""
    until = time.monotonic() + SECONDS
    while any(
        value
        for name, value in requests.get(f"{url}/readyz", timeout=SECONDS).json().items()
        if "_lag" in name
    ):
        assert time.monotonic() < until
        time.sleep(0.1)


def _take(page: Page, file: Path, most: float) -> None:
    page.screenshot(path=file, animations="disabled")
    size = file.stat().st_size
    print(f"{file}: {size:,} bytes")
    assert size < most, f"{file} has {size:,} bytes, at most {most:,} are wanted"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
