"""A real browser for the tests of pages: what it showed, what it complained of, and what it asked the network for."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


@dataclass
class Visit:
    """One page that is open in the browser."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def overflow(self) -> int:
        """How many pixels the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def sizes(self, selector: str) -> list[tuple[float, float]]:
        """Width and height in pixels of everything that matches."""
        boxes = (
            "items => items.map(item => { const box = item.getBoundingClientRect(); return [box.width, box.height]; })"
        )
        return [tuple(size) for size in self.page.eval_on_selector_all(selector, boxes)]


def browser_path() -> str:
    """The browser of this machine, or a skip that says there is none."""
    named = os.environ.get("NEUROSIG_BROWSER")
    for candidate in filter(None, (named, *map(shutil.which, NAMES))):
        return candidate
    pytest.skip("no browser was found (looked for chromium and chrome on the PATH): the page was not rendered")


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """A headless browser with a new profile; gives a function that opens a file in it."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: the page was not rendered"
    )
    with sync_api.sync_playwright() as play:
        context = play.chromium.launch_persistent_context(
            str(profile), executable_path=browser_path(), headless=True, args=list(OPTIONS)
        )
        try:
            yield lambda path, **how: _visit(context, path, **how)
        finally:
            context.close()


def _visit(context: Any, path: Path, *, width: int = 1200, height: int = 900, dark: bool = False) -> Visit:
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme="dark" if dark else "light")
    visit = Visit(page)
    page.on("console", lambda message: visit.complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: visit.complaints.append(f"uncaught: {error}"))
    page.on("request", lambda request: visit.requests.append(request.url))
    page.goto(Path(path).resolve().as_uri(), wait_until="load")
    return visit
