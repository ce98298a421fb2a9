"""Tests that drive a real browser: Debian's Chromium, by Playwright. `make test-browser` runs them."""
