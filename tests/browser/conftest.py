"""A real browser (Debian's Chromium) without a network, for pages that must need none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

PATIENCE_MS = 120_000
"""How long anything may take on a loaded machine."""

_FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--force-color-profile=srgb"]


@dataclass
class Shown:
    """A page that is open, and what it did: `asked` for, `complained` of."""

    page: Any
    asked: list[str] = field(default_factory=list)
    complained: list[str] = field(default_factory=list)

    def refuses(self, dialog: Any) -> None:
        """A page that asks its reader something has run a script."""
        self.complained.append(dialog.message)
        dialog.dismiss()

    def run(self, script: str) -> Any:
        """The value of a script in the page."""
        return self.page.evaluate(script)


@dataclass
class Browser:
    """Opens pages from files, each in a profile of its own."""

    chromium: Any
    folder: Path
    open_now: list[Any] = field(default_factory=list)

    def shows(self, html: str, *, width: int = 1280, scheme: str = "light") -> Shown:
        file = self.folder / "page.html"
        file.write_text(html, encoding="utf-8")
        context = self.chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, reduced_motion="reduce"
        )
        self.open_now.append(context)
        context.set_default_timeout(PATIENCE_MS)
        shown = Shown(context.new_page())
        context.on("request", lambda request: shown.asked.append(request.url))
        shown.page.on("console", lambda message: shown.complained.append(f"{message.type}: {message.text}"))
        shown.page.on("pageerror", lambda error: shown.complained.append(str(error)))
        shown.page.on("dialog", shown.refuses)
        shown.page.goto(file.as_uri(), wait_until="load", timeout=PATIENCE_MS)
        return shown

    def forget(self) -> None:
        for each in self.open_now:
            each.close()
        self.open_now.clear()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """For one module: Playwright holds this thread's event loop until it is stopped."""
    program = shutil.which("chromium")
    assert program is not None, "expected the program chromium, found none: run make programs"
    with sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=program, args=_FLAGS, timeout=2 * PATIENCE_MS)
        yield made
        made.close()


@pytest.fixture
def browser(chromium: Any, tmp_path: Path) -> Iterator[Browser]:
    made = Browser(chromium, tmp_path)
    yield made
    made.forget()
