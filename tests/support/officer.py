"""An officer at the console, in a real browser."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from re import Pattern

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect, sync_playwright

from tests.support.paths import PROJECT

PATIENCE = 60_000
"""Milliseconds that a page may take: a run on the emulator takes seconds, and on a busy machine more of them."""

MOST_STOPS = 120

NARROW: ViewportSize = {"width": 360, "height": 800}
WIDE: ViewportSize = {"width": 1100, "height": 800}

# Debian's Chromium asks nobody for anything.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str:
    """Return the system's Chromium; a test that needs it is skipped without one, but not in continuous integration."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    why = "Chromium is not on this machine, which the journeys in a browser need: apt-get install chromium."
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@contextmanager
def browser() -> Iterator[Browser]:
    """Run the system's Chromium."""
    program = chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield running
        finally:
            running.close()


@contextmanager
def console(stack: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Run the console of a stack as its command does, and yield the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "console", "--stack", stack, "--no-browser"],
        cwd=PROJECT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


@dataclass(frozen=True)
class Officer:
    """Who sits before a page, and finds things by the words on it."""

    page: Page
    address: str

    def open(self, path: str) -> None:
        """Open a page of the console."""
        self.page.goto(f"{self.address}{path}")

    @property
    def main(self) -> Locator:
        """The page without its head."""
        return self.page.get_by_role("main")

    def press(self, name: str) -> None:
        """Press a button."""
        self.main.get_by_role("button", name=name, exact=True).first.click()

    def follow(self, name: str) -> None:
        """Follow a link."""
        self.page.get_by_role("link", name=name, exact=True).first.click()

    def fill(self, label: str, text: str) -> None:
        """Fill in a field, and leave it."""
        field = self.main.get_by_label(label, exact=True).first
        folded = self.main.locator("details:not([open])", has=self.page.get_by_label(label, exact=True))
        if folded.count():
            folded.locator("summary").first.click()
        field.fill(text)
        field.blur()

    def sees(self, words: str) -> None:
        """Wait until the page says something."""
        expect(self.main).to_contain_text(words, timeout=PATIENCE)

    def waits_for(self, heading: str) -> None:
        """Wait until there is a heading, a caption or a figure of that name, as a page has them when its work is over."""
        found = self.main.locator("h2, caption, figcaption").filter(has_text=heading)
        expect(found.first).to_be_visible(timeout=PATIENCE)

    def shows(self, name: str) -> None:
        """Keep a picture of the page for the documents, where they are to be made anew (make journeys SCREENSHOTS=yes)."""
        if folder := os.environ.get("SCREENSHOTS"):
            self.page.screenshot(path=PROJECT / folder / f"{name}.png", animations="disabled", caret="hide")

    def waits_for_button(self, name: str | Pattern[str]) -> Locator:
        """Wait for a button."""
        button = self.main.get_by_role("button", name=name).first
        expect(button).to_be_visible(timeout=PATIENCE)
        return button

    def tabs_to(self, wanted: Locator) -> None:
        """Go to something with the tabulator key alone; wherever it stops, one sees where it is."""
        for _ in range(MOST_STOPS):
            self.page.keyboard.press("Tab")
            focused = self.page.locator(":focus")
            assert focused.evaluate("element => getComputedStyle(element).outlineStyle") != "none"
            if wanted.evaluate("element => element === document.activeElement"):
                return
        raise AssertionError(f"the tabulator key does not lead to {wanted}")


def finds_nothing_wrong(page: Page) -> None:
    """Hold a page to what all pages promise: whoever sees, hears or narrows it can use it."""
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.set_viewport_size(NARROW)
    width = page.evaluate("document.documentElement.scrollWidth")
    page.set_viewport_size(WIDE)
    assert width <= NARROW["width"], f"{page.url} is {width} px wide"
