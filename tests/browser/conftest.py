"""A real, headless browser, and what it saw go wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Request, async_playwright

CHROMIUM = shutil.which("chromium")
FLAGS = (
    # Chromium refuses to be root in a sandbox, as test machines often are.
    "--no-sandbox",
    "--disable-gpu",
    # It talks to nobody but the service.
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Visit:
    """A page, and what happened on it.

    Attributes:
        requested: Every address that was asked for.
        complaints: Errors and warnings on the console, exceptions in scripts, requests that failed.
    """

    page: Page
    requested: list[str] = field(default_factory=list[str])
    complaints: list[str] = field(default_factory=list[str])

    def watch(self) -> None:
        """Keep an account from now on."""
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", self._on_failure)

    def strangers(self, origin: str) -> list[str]:
        """What was asked of somebody else."""
        ours = (f"{origin}/", "data:", "blob:", "about:")
        return [url for url in self.requested if not url.startswith(ours)]

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _on_failure(self, request: Request) -> None:
        self.complaints.append(f"failed: {request.url}: {request.failure}")


@pytest.fixture(scope="package")
async def browser() -> AsyncIterator[Browser]:
    """The browser, which takes longer to start than a page to open."""
    if CHROMIUM is None:
        assert not os.environ.get("CI"), "Chromium is not installed, and with CI=true nothing may be skipped"
        pytest.skip("Chromium is not installed (Debian's package chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest.fixture
async def visit(browser: Browser) -> AsyncIterator[Visit]:
    """An empty page of somebody who was never here: no cookie, nothing kept."""
    context = await browser.new_context(viewport={"width": 1280, "height": 1000})
    page = await context.new_page()
    visit = Visit(page)
    visit.watch()
    yield visit
    await context.close()
