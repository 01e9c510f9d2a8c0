"""The pages for people in a real browser, behind the very policy that our web server sends."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

NGINX = Path(__file__).parents[2] / "salt" / "pipmirror" / "nginx.conf.jinja"
# Milliseconds: other things run as well, and only what hangs shall fail.
PATIENCE = 60_000
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
ARGUMENTS += ("--disable-component-update", "--disable-sync")


def policy() -> str:
    """What nginx.conf.jinja lets a page do."""
    found = re.search(r'add_header Content-Security-Policy "([^"]+)" always;', NGINX.read_text())
    assert found
    return found[1]


class Handler(http.server.SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", policy())
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(directory))
    ) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@dataclass
class Visit:
    """A page in the browser, and all that it asked for and complained about."""

    page: Page
    url: str
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str = "") -> Page:
        self.page.goto(f"{self.url}/{path}")
        return self.page

    def check(self) -> None:
        """Nothing came from elsewhere, nothing was refused by the policy, and nothing failed."""
        assert [url for url in self.asked if not url.startswith((self.url, "data:"))] == []
        assert self.complaints == []


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium")
    assert executable, "these tests need Debian's package chromium"
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        yield running
        running.close()


@contextmanager
def visiting(browser: Browser, url: str, **options: Any) -> Iterator[Visit]:
    """A new profile, which ends with nothing having gone wrong."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE)
    visit = Visit(context.new_page(), url)

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            visit.complaints.append(message.text)

    visit.page.on("console", hear)
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.on("request", lambda request: visit.asked.append(request.url))
    yield visit
    visit.check()
    context.close()
