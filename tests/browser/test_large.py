"""10,000 wheels on one page: what a reader does costs work for what he sees, not for what there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import projects, showcase, showcase_files
from pipmirror_lib.mirror import PlatformDirectory
from pipmirror_lib.verdict import Later, Lists, PlatformPlan
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import serving, visiting
from tests.support.mirrors import PLATFORM, declare

WHEELS = 10_000
# Counts what the script changes while something is done.
WATCH = """() => {
  window.changes = 0;
  new MutationObserver((records) => { window.changes += records.length; })
    .observe(document.getElementById("projects"), { subtree: true, attributes: true, childList: true });
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """All of them need the first one."""
    place = tmp_path_factory.mktemp("large")
    mirror = declare(place)
    directory = PlatformDirectory.of(mirror, PLATFORM)
    directory.create()
    wheels = {f"project_{n:05}-1.{n % 7}-py3-none-any.whl": record(n) for n in range(WHEELS)}
    hub = next(iter(wheels))
    wanted_by = {name: (f"{name.partition('-')[0]} (declared)",) for name in wheels}
    wanted_by[hub] = tuple(f"project-00000 (wanted by project-{n:05} 1.{n % 7})" for n in range(1, WHEELS))
    lists = Lists(tuple(wheels), (), wanted_by)
    planned = PlatformPlan(satisfied=True, lists=Later(lambda: lists))
    head = showcase.of_platform(mirror.platforms[0], planned, wheels, None, "2026-01-01T00:00:00Z")
    related = showcase.related(projects.of(wheels), wanted_by)
    lines = showcase_files.lines(directory, related, showcase_files.Present(directory.public))
    showcase_files.write(directory, directory.public, showcase_files.files(head, lines))
    with serving(Path(mirror.target)) as url:
        yield url


def record(number: int) -> dict[str, Any]:
    summary = f"Package number {number}" + (", the needle" if number == 7777 else "")
    about = {"origin": "index", "admitted": "2026-01-01T00:00:00Z", "metadata_sha256": "", "summary": summary}
    return {"size": 1000 + number, "sha256": f"{number:064x}", **about}


@pytest.fixture(scope="module")
def page(browser: Browser, site: str) -> Iterator[Page]:
    with visiting(browser, site) as visit:
        yield visit.go(f"{PLATFORM}/")


def test_what_is_not_seen_is_not_laid_out(page: Page) -> None:
    expect(page.get_by_role("status")).to_have_text("10000 projects")
    assert page.evaluate("getComputedStyle(document.getElementById('p-project-09999')).contentVisibility") == "auto"
    assert page.locator(".project button").count() == 0, "buttons come with the first look at a project"


def test_a_search_touches_what_it_changes_and_nothing_twice(page: Page) -> None:
    page.evaluate(WATCH)
    box = page.get_by_role("searchbox")
    box.press_sequentially("the needle")  # each key is no search of its own
    expect(page.get_by_role("status")).to_have_text("1 of 10000")
    changes = page.evaluate("window.changes")
    assert WHEELS - 1 <= changes < 2 * WHEELS
    box.press_sequentially(" package")
    expect(page.locator(".project:visible b")).to_have_text("project-07777")
    assert page.evaluate("window.changes") == changes, "what stays hidden is left alone"
    box.fill("")
    expect(page.get_by_role("status")).to_have_text("10000 projects")


def test_a_project_far_down_is_reached(page: Page) -> None:
    page.evaluate("location.hash = '#p-project-09998'")
    expect(page.locator("#p-project-09998 summary")).to_be_in_viewport()
    covered = """() => {
      const { left, top } = document.querySelector("#p-project-09998 b").getBoundingClientRect();
      return !document.elementFromPoint(left + 2, top + 2).closest("#p-project-09998");
    }"""
    assert page.evaluate(covered) is False, "the search stays above the projects"
    expect(page.locator("#p-project-09998 button")).to_have_count(2)


def test_a_picture_of_what_all_need_has_its_bounds(page: Page) -> None:
    page.evaluate("location.hash = '#p-project-00000'")
    hub = page.locator("#p-project-00000")
    expect(hub).to_contain_text("and 9799 more")
    hub.get_by_role("button", name="Show dependencies").click()
    expect(page.locator("#drawing")).to_contain_text("and 9975 more")
    assert page.locator("#drawing svg g").count() == 26
    assert page.locator("#related li").count() == 201
    expect(page.get_by_role("dialog").get_by_role("heading", level=3).first).to_have_text("Needed by (9999)")
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
