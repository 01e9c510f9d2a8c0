"""What people do with the pages: search, follow, copy, look at who needs whom; with and without a script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import sync
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Visit, serving, visiting
from tests.support.dists import make_wheel
from tests.support.localindex import LocalIndex
from tests.support.mirrors import PLATFORM, declare, directory_of, equip

HOSTILE = "<script>window.hurt=1</script><img src=x onerror=window.hurt=2>\"'></details><svg onload=window.hurt=3>"
DEEP = "site/rocky-9"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """app -> web -> core <- hostile, on two platforms; one of them lacks something."""
    place = tmp_path_factory.mktemp("site")
    files = place / "files"
    make_wheel(files, "app", requires=["web>=1", "core"])
    make_wheel(files, "web", requires=["core"])
    make_wheel(files, "core")
    metadata = f"Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\nSummary: {HOSTILE}\nRequires-Dist: core\n\n"
    make_wheel(files, "hostile", metadata=metadata)
    platforms = [
        {"image": "debian:bookworm", "name": PLATFORM},
        {"image": "rockylinux:9", "name": DEEP, "sets": {"more": ["nosuch>1"]}},
    ]
    with LocalIndex(files) as index:
        mirror = declare(place, index.url, packages=["app", "hostile"], platforms=platforms)
        equip(mirror)
        sync.sync(mirror)
        directory = directory_of(mirror)
        manifest = directory.manifest()
        manifest["wheels"]["hostile-1.0-py3-none-any.whl"]["yanked"] = HOSTILE
        directory.save_manifest(manifest)
        assert sync.sync(mirror, PLATFORM)["result"]
    with serving(mirror.target) as url:
        yield url


@pytest.fixture
def visit(browser: Browser, site: str) -> Iterator[Visit]:
    with visiting(browser, site) as made:
        yield made


def test_from_all_platforms_to_one_and_back(visit: Visit) -> None:
    page = visit.go()
    expect(page.get_by_role("row")).to_have_count(3)
    expect(page.get_by_role("row", name=PLATFORM)).to_contain_text("satisfied")
    expect(page.get_by_role("row", name=DEEP)).to_contain_text("incomplete")
    page.get_by_role("link", name=PLATFORM).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(PLATFORM)
    page.get_by_role("link", name="All platforms").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Python packages")


def test_a_page_deeper_down(visit: Visit) -> None:
    page = visit.go(f"{DEEP}/")
    expect(page.get_by_text("nosuch>1").first).to_be_visible()
    page.get_by_role("link", name="All platforms").click()
    assert page.url == f"{visit.url}/"


def test_search(visit: Visit) -> None:
    page = visit.go(f"{PLATFORM}/")
    box, status = page.get_by_role("searchbox", name="Search"), page.get_by_role("status")
    expect(status).to_have_text("4 projects")
    page.keyboard.press("/")
    expect(box).to_be_focused()
    page.keyboard.type("WEB")
    expect(status).to_have_text("1 of 4")
    expect(page.locator(".project:visible")).to_have_count(1)
    expect(page.locator(".project:visible b")).to_have_text("web")
    box.fill("declared 1.0")
    expect(status).to_have_text("2 of 4")
    box.fill("nothing at all")
    expect(page.locator(".project:visible")).to_have_count(0)
    box.fill("")
    expect(status).to_have_text("4 projects")


def test_links_lead_to_projects_and_out_of_a_search(visit: Visit) -> None:
    page = visit.go(f"{PLATFORM}/#p-web")
    web = page.locator("#p-web")
    expect(web).to_have_attribute("open", "")
    expect(web.locator("summary")).to_be_focused()
    page.get_by_role("searchbox").fill("web")
    expect(page.locator("#p-core")).to_be_hidden()
    web.get_by_role("link", name="core").click()
    expect(page.locator("#p-core")).to_have_attribute("open", "")
    expect(page.locator("#p-core")).to_be_in_viewport()
    with page.expect_download() as download:
        page.locator("#p-core").get_by_role("link", name="core-1.0-py3-none-any.whl").click()
    assert download.value.suggested_filename == "core-1.0-py3-none-any.whl"


def test_nobody_needs_a_mouse(visit: Visit) -> None:
    page = visit.go(f"{PLATFORM}/")
    page.locator("#p-app summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#p-app")).to_have_attribute("open", "")
    page.get_by_role("button", name="Show dependencies of app").press("Enter")
    dialog = page.get_by_role("dialog", name="app")
    expect(dialog.get_by_role("link", name="app")).to_be_focused()
    dialog.get_by_role("link", name="web").press("Enter")
    expect(page.get_by_role("dialog", name="web")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("button", name="Show dependencies of app")).to_be_focused()


@pytest.mark.parametrize("allowed", [True, False])
def test_copy(browser: Browser, site: str, allowed: bool) -> None:
    """With the clipboard of a secure place, and without it, as on plain http."""
    with visiting(browser, site, permissions=["clipboard-read", "clipboard-write"]) as visit:
        if not allowed:
            visit.page.add_init_script("delete Navigator.prototype.clipboard")
        page = visit.go(f"{PLATFORM}/#p-web")
        here = f"{site}/{PLATFORM}/simple/"
        line = f"pip install --trusted-host 127.0.0.1 --index-url {here}"
        expect(page.locator(".copy code").first).to_have_text(f"{line} PROJECT")
        expect(page.get_by_text("HERE is the address")).to_be_hidden()
        button = page.get_by_role("button", name=f"Copy: uv pip install --default-index {here} PROJECT")
        button.click()
        expect(button).to_have_text("Copied")
        page.locator("#p-web").get_by_role("button", name=f"Copy: {line} web").click()
        expect(page.locator("#p-web button").first).to_have_text("Copied")
        page.get_by_role("searchbox").focus()
        page.keyboard.press("Control+V")
        expect(page.get_by_role("searchbox")).to_have_value(f"{line} web")


def test_who_needs_whom(visit: Visit) -> None:
    page = visit.go(f"{PLATFORM}/#p-core")
    page.get_by_role("button", name="Show dependencies of core").click()
    dialog = page.get_by_role("dialog", name="core")
    drawn = page.locator("#drawing svg")
    expect(drawn.locator("text")).to_have_text(["core", "Needed by", "app", "hostile", "web", "Needs no project"])
    expect(drawn.locator("path")).to_have_count(3)
    expect(dialog.get_by_role("heading", level=3)).to_have_text(["Needed by (3)", "Needs no project"])
    expect(dialog.get_by_role("listitem")).to_have_text(["app", "hostile", "web"])
    drawn.locator("g", has_text="web").click()
    expect(page.get_by_role("dialog", name="web")).to_be_visible()
    expect(drawn.locator("g")).to_have_text(["webweb", "appapp", "corecore"])
    page.get_by_role("button", name="Back").click()
    expect(dialog).to_be_visible()
    expect(page.get_by_role("button", name="Back")).to_be_hidden()
    dialog.get_by_role("link", name="app").click()
    page.get_by_role("dialog", name="app").get_by_role("link", name="app", exact=True).click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#p-app")).to_have_attribute("open", "")


def test_what_strangers_say_runs_nothing(visit: Visit) -> None:
    page = visit.go(f"{PLATFORM}/#p-hostile")
    hostile = page.locator("#p-hostile")
    expect(hostile.locator("summary i")).to_have_text(HOSTILE)
    expect(hostile.locator("strong")).to_have_text(f"yanked: {HOSTILE}")
    page.get_by_role("searchbox").fill("window.hurt")
    expect(page.get_by_role("status")).to_have_text("1 of 4")
    page.get_by_role("button", name="Show dependencies of hostile").click()
    expect(page.get_by_role("dialog", name="hostile")).to_be_visible()
    assert page.evaluate("window.hurt === undefined")
    assert page.locator("img, script:not([src]), #projects svg").count() == 0


def test_hostile_names_and_relations_are_drawn_as_text(visit: Visit) -> None:
    """No project can have such a name; if one had, it would be text all the same."""
    page = visit.go(f"{PLATFORM}/")
    page.evaluate(
        """(name) => {
          const project = document.getElementById("p-web");
          project.id = `p-${name}`;
          project.querySelector("b").textContent = name;
          project.querySelectorAll(".wanted_by a, .needs a").forEach((link) => { link.textContent = name; });
        }""",
        HOSTILE,
    )
    project = page.locator(".project").filter(has=page.locator("b", has_text="window.hurt=1"))
    project.locator("summary").click()
    project.get_by_role("button", name="Show dependencies").click()
    expect(page.get_by_role("dialog")).to_contain_text(HOSTILE)
    assert page.evaluate("window.hurt === undefined")
    assert page.locator("dialog img, dialog script").count() == 0


def test_an_inline_script_would_not_run(visit: Visit) -> None:
    """The policy holds what escaping let through, if it ever did."""
    page = visit.go(f"{PLATFORM}/")
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.hurt = 1'}))")
    assert page.evaluate("window.hurt === undefined")
    assert len(visit.complaints) == 1
    assert "Content Security Policy" in visit.complaints.pop()


def test_without_a_script(browser: Browser, site: str) -> None:
    with visiting(browser, site, java_script_enabled=False) as visit:
        page = visit.go(f"{PLATFORM}/")
        expect(page.get_by_role("searchbox")).to_be_hidden()
        expect(page.get_by_text("HERE is the address of this page.")).to_be_visible()
        expect(page.get_by_text("uv pip install --default-index HERE/simple/ PROJECT")).to_be_visible()
        page.locator("#p-web summary").click()
        expect(page.get_by_role("link", name="web-1.0-py3-none-any.whl")).to_be_visible()
        expect(page.locator("#p-web")).to_contain_text("Needed by app.")
        assert page.get_by_role("button").count() == 0


# What has less contrast than WCAG 2 asks for, whatever is behind it.
CONTRAST = """() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map((one) => one / 255).map((one) => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, index) => sum + one * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = parse(getComputedStyle(one).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const text = parse(element.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const [a, b] = [light(text), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) bad.push(`${element.tagName} ${element.textContent.slice(0, 40)} ${ratio.toFixed(2)}`);
  }
  return bad;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read(browser: Browser, site: str, scheme: Any) -> None:
    with visiting(browser, site, color_scheme=scheme) as visit:
        page = visit.go()
        assert page.evaluate(CONTRAST) == []
        page = visit.go(f"{DEEP}/")
        assert page.evaluate(CONTRAST) == []
        page = visit.go(f"{PLATFORM}/#p-hostile")
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") is (scheme == "light")
        page.get_by_role("button", name="Show dependencies of hostile").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert page.evaluate(CONTRAST) == []


def test_a_narrow_screen_scrolls_only_downwards(browser: Browser, site: str) -> None:
    with visiting(browser, site, viewport={"width": 360, "height": 640}) as visit:
        for path in ("", f"{PLATFORM}/#p-hostile", f"{DEEP}/"):
            page = visit.go(path)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        page = visit.go()
        assert page.evaluate("document.querySelector('.wide').scrollWidth <= innerWidth")
        cells = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=DEEP)).get_by_role("cell")
        expect(cells).to_have_count(5)
        assert cells.evaluate_all("(all) => all.every((one) => getComputedStyle(one, '::before').content !== 'none')")
        page = visit.go(f"{PLATFORM}/#p-core")
        page.get_by_role("button", name="Show dependencies of core").click()
        expect(page.locator("#drawing text")).to_have_count(6)
        assert page.evaluate("document.getElementById('drawing').scrollWidth <= innerWidth")


@pytest.mark.parametrize("width", [320, 360, 640, 660, 700, 1280])
def test_what_was_gone_to_is_not_behind_the_search(browser: Browser, site: str, width: int) -> None:
    covered = """(name) => {
      const { left, top } = document.getElementById(`p-${name}`).querySelector("b").getBoundingClientRect();
      return !document.elementFromPoint(left + 2, top + 2).closest(`#p-${name}`);
    }"""
    with visiting(browser, site, viewport={"width": width, "height": 300}) as visit:
        page = visit.go(f"{PLATFORM}/#p-core")
        expect(page.locator("#p-core summary")).to_be_focused()
        assert page.evaluate(covered, "core") is False


def test_nothing_moves_by_itself(visit: Visit) -> None:
    page = visit.go(f"{PLATFORM}/")
    moving = """[...document.querySelectorAll("*")].map((one) => getComputedStyle(one)).filter((style) =>
      style.animationName !== "none" || style.transitionDuration !== "0s" || style.scrollBehavior !== "auto").length"""
    assert page.evaluate(moving) == 0


def test_a_page_opened_as_a_file(browser: Browser, tmp_path: Path) -> None:
    """As on an NFS mount."""
    make_wheel(tmp_path / "files", "demo")
    with LocalIndex(tmp_path / "files") as index:
        mirror = declare(tmp_path, index.url)
        equip(mirror)
        assert sync.sync(mirror)["result"]
    with visiting(browser, "file://") as visit:
        place = directory_of(mirror).public
        page = visit.go(f"{place}/index.html")
        expect(page.locator(".copy code").first).to_have_text(f"pip install --index-url file://{place}/simple/ PROJECT")
        expect(page.get_by_role("status")).to_have_text("1 project")
