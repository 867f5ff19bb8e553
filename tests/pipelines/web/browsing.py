"""What the tests in a real browser share: somebody who comes in, and what assistive technology would find."""

from __future__ import annotations

from collections.abc import Callable

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

Coming = Callable[..., Page]
"""(name, *roles, **options of the browser) -> their page."""


def require_accessible(page: Page) -> None:
    """Fail on anything that axe finds on the page."""
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
