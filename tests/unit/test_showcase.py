"""The pages for people: what they say, when they are written, and that nothing in them is what it must not be."""

from __future__ import annotations

import html.parser
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import front, latecomers, locks, plan, publication, reports, showcase_files, showcase_html, sync
from pipmirror_lib.durable import write_atomically
from pipmirror_lib.errors import MirrorError
from pipmirror_lib.settings import Mirror

from tests.support.dists import make_wheel
from tests.support.localindex import LocalIndex
from tests.support.mirrors import PLATFORM, consistent, declare, directory_of, equip, settle

DEMO, DEP = "demo-1.0-py3-none-any.whl", "dep-1.0-py3-none-any.whl"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e</details>"
PAGE = list(showcase_files.NAMES)
ROOT = [f"../{name}" for name in ("pipmirror.css", "mirror.json", "index.html")]


def hostile_wheel(place: Path, name: str = "hostile") -> Path:
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nSummary: {HOSTILE}\n\n"
    return make_wheel(place, name, "1.0", metadata=metadata)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalIndex]:
    make_wheel(tmp_path / "files", requires=["dep>=1"])
    make_wheel(tmp_path / "files", "dep", "1.0")
    make_wheel(tmp_path / "files", "other", "1.0")
    with LocalIndex(tmp_path / "files") as running:
        yield running


@pytest.fixture
def mirror(tmp_path: Path, server: LocalIndex) -> Mirror:
    """Synced and published."""
    made = declare(tmp_path, server.url)
    equip(made)
    synced(made)
    return made


def synced(mirror: Mirror, platform: str | None = None) -> dict[str, Any]:
    answer = sync.sync(mirror, platform)
    assert answer["result"], answer
    return dict(answer["platforms"][platform or mirror.platforms[0].name])


def page(mirror: Mirror, name: str = PLATFORM) -> str:
    return (mirror.target / name / "index.html").read_text()


def data(mirror: Mirror, name: str = PLATFORM) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((mirror.target / name / "mirror.json").read_text())
    return found


def rows(mirror: Mirror) -> dict[str, dict[str, Any]]:
    found = json.loads((mirror.target / "mirror.json").read_text())
    return {one["platform"]: one for one in found["platforms"]}


def stamps(place: Path) -> dict[str, int]:
    return {
        str(path): path.stat().st_ino for path in place.rglob("*") if path.is_file() and ".pipmirror" not in str(path)
    }


class Reader(html.parser.HTMLParser):
    """What a browser would make of a page: elements that run or load something, links, and whether all is closed."""

    VOID = ("meta", "link", "input", "br", "!doctype")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.inline: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.inline += [name for name in values if name.startswith("on") or name == "style"]
        self.links += [values["href"]] if tag == "a" else []
        self.loads += [values[name] for name in ("src", "href") if name in values and tag != "a"]
        self.inline += ["script"] if tag == "script" and "src" not in values else []
        self.open += [tag] if tag not in self.VOID else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def sound(text: str) -> Reader:
    """The page, if it is well formed and loads nothing but its own two files."""
    read = Reader(text)
    assert read.open == []
    assert read.inline == []
    assert set(read.loads) <= {"pipmirror.css", "pipmirror.js", "data:,"}
    return read


# -- what is said --------------------------------------------------------------------------------------------


def test_the_data_say_everything(mirror: Mirror) -> None:
    found = data(mirror)
    assert (found["platform"], found["image"], found["satisfied"]) == (PLATFORM, "debian:bookworm", True)
    assert (found["wheels"], found["built"], found["missing"]) == (2, 0, {})
    assert found["sets"] == {"packages": ["demo"]}
    assert found["synced"] == plan.read_json(directory_of(mirror).state_path)["synced"]
    demo, dep = found["projects"]
    assert (demo["name"], demo["declared"], demo["wanted_by"], demo["needs"]) == ("demo", ["demo"], [], ["dep"])
    assert (dep["name"], dep["declared"], dep["wanted_by"], dep["needs"]) == ("dep", [], ["demo"], [])
    record = directory_of(mirror).manifest()["wheels"][DEMO]
    (file,) = demo["files"]
    assert file["sha256"] == record["sha256"]
    assert (file["filename"], file["version"], file["size"]) == (DEMO, "1.0", record["size"])
    assert (file["origin"], file["needed"], file["uploaded"]) == ("index", True, record["upload_time"])
    assert found["bytes"] == sum(r["size"] for r in directory_of(mirror).manifest()["wheels"].values())


def test_the_page_says_it_without_a_script(mirror: Mirror) -> None:
    read = sound(page(mirror))
    assert {DEMO, DEP} == {link for link in read.links if link.endswith(".whl")}
    text = page(mirror)
    for said in (
        *("Declared as <code>demo</code>", 'Needed by <a href="#p-demo">', 'Needs <a href="#p-dep">'),
        *("satisfied", "debian:bookworm", "fetched", "HERE/simple/", data(mirror)["projects"][0]["files"][0]["sha256"]),
    ):
        assert said in text, said
    assert "simple/" not in read.links, "whoever fetches recursively need not read the index"


def test_the_page_of_all_platforms(mirror: Mirror) -> None:
    text = (mirror.target / "index.html").read_text()
    assert sound(text).links == [f"{PLATFORM}/", "mirror.json"]
    assert "satisfied" in text
    assert rows(mirror)[PLATFORM] == {
        **{key: data(mirror)[key] for key in rows(mirror)[PLATFORM] if key != "published"},
        "published": True,
    }


def test_what_a_killed_run_left_of_the_page_of_all_platforms_goes(mirror: Mirror) -> None:
    left = [mirror.target / ".index.html.1-1.tmp", mirror.target / ".pipmirror" / "..platforms.json.1-1.tmp"]
    for path in left:
        path.write_text("half")
    front.bring(mirror, directory_of(mirror), whole=True)
    assert not any(path.exists() for path in left)


def test_what_is_missing_is_said(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    more = declare(tmp_path, server.url, packages=["demo", f"nosuch; python_version > '{'3'}'"])
    assert not sync.sync(more)["result"]
    assert data(more)["satisfied"] is False
    assert data(more)["missing"] == {'nosuch; python_version > "3"': "nothing of that name in the mirror"}
    assert "incomplete" in page(more)
    demo, dep = data(more)["projects"]
    assert (demo["declared"], demo["files"][0]["needed"]) == (["demo"], True)
    assert (dep["wanted_by"], dep["files"][0]["needed"]) == ([], None), "nobody can say"
    assert "not needed" not in page(more)
    assert "nobody can say" in page(more)
    assert rows(more)[PLATFORM]["satisfied"] is False


def test_the_newest_file_comes_first_and_speaks(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    for version in ("1.9", "1.10"):
        metadata = (
            f"Metadata-Version: 2.1\nName: demo\nVersion: {version}\nSummary: of {version}\nRequires-Dist: dep\n\n"
        )
        make_wheel(directory_of(mirror).public, "demo", version, metadata=metadata)
    synced(mirror)
    (demo, _) = data(mirror)["projects"]
    assert [file["version"] for file in demo["files"]] == ["1.10", "1.9", "1.0"]
    assert demo["summary"] == "of 1.10"
    assert [file["needed"] for file in demo["files"]] == [True, False, False]


def test_a_yanked_version_does_not_mark_the_others(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    make_wheel(directory_of(mirror).public, "demo", "1.9", requires=["dep"])
    synced(mirror)
    synced(declare(tmp_path, server.url, yanked={"demo==1.0": "old"}))
    assert '<em class="tag">1.0 yanked</em>' in page(mirror)
    (demo, _) = data(mirror)["projects"]
    demo["files"] = [{**file, "yanked": ""} for file in demo["files"]]
    assert '<em class="tag">yanked</em>' in showcase_html.project(demo)


def test_many_versions_and_relations_are_counted(tmp_path: Path) -> None:
    files = [
        {"filename": f"x-{n}-py3-none-any.whl", "version": str(n), "size": 1, "sha256": "0", "origin": "index"}
        | {"uploaded": "", "admitted": "", "needed": True}
        for n in range(9)
    ]
    told = {"name": "x", "summary": "", "declared": [], "needs": [], "wanted_by": [f"p-{n}" for n in range(1000)]}
    line = showcase_html.project({**told, "files": files})
    assert "0, 1, 2 and 6 more" in line
    assert line.count('<a href="#p-') == 200
    assert 'data-count="1000"' in line
    assert "and 800 more" in line


def test_a_manifest_from_before_there_were_summaries(mirror: Mirror) -> None:
    manifest = directory_of(mirror).manifest()
    for record in manifest["wheels"].values():
        del record["summary"]
    directory_of(mirror).save_manifest(manifest)
    synced(mirror)
    assert [project["summary"] for project in data(mirror)["projects"]] == ["", ""]


# -- strangers' words ----------------------------------------------------------------------------------------


def test_what_strangers_say_is_text(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    server.add(hostile_wheel(tmp_path / "files"))
    more = declare(tmp_path, server.url, packages=["demo", "hostile==1.0"])
    synced(more)
    manifest = directory_of(more).manifest()
    record = manifest["wheels"]["hostile-1.0-py3-none-any.whl"]
    record["yanked"] = HOSTILE
    directory_of(more).save_manifest(manifest)
    synced(more)
    assert len(record["summary"]) <= 300
    assert "\u202e" not in record["summary"]
    sound(page(more))
    assert "<script>alert" not in page(more)
    assert "<img" not in page(more)
    assert "yanked: &lt;script&gt;" in page(more)
    assert "<" not in (more.target / PLATFORM / "mirror.json").read_text(), "harmless wherever it is pasted"
    (hostile,) = [one for one in data(more)["projects"] if one["name"] == "hostile"]
    assert hostile["summary"].startswith("<script>alert(1)</script>")
    assert hostile["files"][0]["yanked"].startswith("<script>")


def test_a_record_that_somebody_spoiled_is_text(mirror: Mirror) -> None:
    manifest = directory_of(mirror).manifest()
    for key in ("sha256", "origin", "admitted", "upload_time", "summary", "yanked"):
        manifest["wheels"][DEP][key] = f"{HOSTILE}\n</pre>"
    manifest["wheels"][DEP]["summary"] = "\udcff"  # no character at all
    wanted_by = {DEP: (f"dep (wanted by {HOSTILE.replace(' ', '')} 1.0)",), DEMO: (f"{HOSTILE}\n (declared)",)}
    planned = replace(plan.make(mirror, mirror.platforms[0], directory_of(mirror)), missing={HOSTILE: HOSTILE})
    lists = type(planned.lists)(lambda: replace(planned.lists.value, wanted_by=wanted_by))
    publication.publish(mirror, mirror.platforms[0], replace(planned, lists=lists), manifest["wheels"])
    text = page(mirror)
    sound(text)
    assert "<img" not in text
    assert len([line for line in text.split("\n") if line.startswith(showcase_html.PROJECT)]) == 2
    assert data(mirror)["missing"]


def test_the_script_reads_nothing_as_markup() -> None:
    from pipmirror_lib.showcase_script import JS

    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|DOMParser|srcdoc", JS
    )


# -- when it is written --------------------------------------------------------------------------------------


def test_a_run_that_has_nothing_to_do_writes_nothing(mirror: Mirror) -> None:
    settle(directory_of(mirror))
    before, shown = stamps(mirror.target), data(mirror)["synced"]
    assert "published" not in synced(mirror)
    assert stamps(mirror.target) == before
    assert data(mirror)["synced"] == shown
    assert reports.drift(mirror, None) == {PLATFORM: {"written": [], "removed": []}}


def test_the_moment_of_a_sync_that_looked_is_shown_and_is_no_change(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipmirror_lib import platform_sync

    monkeypatch.setattr(platform_sync, "now", lambda: "2999-01-01T00:00:00Z")
    answer = sync.sync(mirror, upgrade=True)["platforms"][PLATFORM]
    assert "published" not in answer
    assert data(mirror)["synced"] == rows(mirror)[PLATFORM]["synced"] == "2999-01-01T00:00:00Z"
    assert '<time datetime="2999-01-01T00:00:00Z">2999-01-01 00:00 UTC</time>' in page(mirror)
    assert reports.drift(mirror, None) == {PLATFORM: {"written": [], "removed": []}}
    assert plan.make(mirror, mirror.platforms[0], directory_of(mirror)).due == ()


def test_what_is_asked_for_is_shown_although_every_wheel_is_there(
    tmp_path: Path, mirror: Mirror, server: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipmirror_lib import platform_sync

    moment = data(mirror)["synced"]
    monkeypatch.setattr(platform_sync, "now", lambda: moment)  # a second later, the page of all platforms differs too
    more = declare(tmp_path, server.url, packages=["demo", "dep>=1"])
    assert plan.make(more, more.platforms[0], directory_of(more)).due == (plan.PUBLISH,)
    assert synced(more)["published"] == {"written": 2, "removed": 0}
    assert data(more)["projects"][1]["declared"] == ["dep>=1"]
    assert plan.make(more, more.platforms[0], directory_of(more)).due == ()


def test_a_trial_changes_nothing_of_what_is_shown(tmp_path: Path, mirror: Mirror, server: LocalIndex) -> None:
    before = stamps(mirror.target)
    trial = replace(declare(tmp_path, server.url, packages=["dep"]), trial=True)
    assert plan.make(trial, trial.platforms[0], directory_of(trial)).due == ()
    synced(trial)
    assert stamps(mirror.target) == before
    assert reports.drift(trial, None) == {PLATFORM: {"written": [], "removed": []}}


@pytest.mark.parametrize("name", [*PAGE, *ROOT])
@pytest.mark.parametrize("damage", ["drift", "", None])
def test_a_damaged_or_missing_file_is_noticed_and_mended(mirror: Mirror, name: str, damage: str | None) -> None:
    place = directory_of(mirror).public / name
    sane = place.read_bytes()
    if damage is None:
        place.unlink()
    else:
        place.write_text(damage)
    assert reports.drift(mirror, None) == {PLATFORM: {"written": [name], "removed": []}}
    answer = sync.publish_pages(mirror)["platforms"][PLATFORM]
    assert answer["published"] == {"written": 1, "removed": 0}
    assert place.read_bytes() == sane
    assert reports.drift(mirror, None) == {PLATFORM: {"written": [], "removed": []}}


def test_only_lines_that_changed_are_made(
    tmp_path: Path, mirror: Mirror, server: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    render = showcase_html.project
    monkeypatch.setattr(showcase_html, "project", lambda data: made.append(data["name"]) or render(data))
    server.add(make_wheel(tmp_path / "files", "dep", "2.0"))
    assert sync.sync(mirror, upgrade=True)["result"]
    assert made == ["dep"]
    consistent(mirror)
    before = page(mirror), data(mirror)
    directory_of(mirror).page_cache.unlink()
    assert reports.drift(mirror, None)[PLATFORM]["written"] == []
    (directory_of(mirror).public / "index.html").write_text(before[0].replace("dep", "DEP"))
    made.clear()
    assert sync.publish_pages(mirror)["result"]
    assert set(made) == {"demo", "dep"}, "lines of a page that is not ours are not believed"
    assert (page(mirror), data(mirror)) == before


def test_wheels_that_go_leave_the_page_first(
    tmp_path: Path, mirror: Mirror, server: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = declare(tmp_path, server.url, packages=["demo", "other"])
    synced(both)
    retire, seen = latecomers.retire, []

    def look(public: Path, filenames: Iterable[str], own: Any) -> None:
        names = list(filenames)
        seen.extend(name for name in names if name in page(mirror) or name in json.dumps(data(mirror)))
        assert "other-1.0-py3-none-any.whl" in names
        retire(public, names, own)

    monkeypatch.setattr(latecomers, "retire", look)
    fewer = declare(tmp_path, server.url, packages=["demo"], prune=True, keep_days=0)
    synced(fewer)
    assert seen == []
    consistent(fewer)
    assert rows(fewer)[PLATFORM]["wheels"] == 2


# -- all platforms -------------------------------------------------------------------------------------------


def several(tmp_path: Path, server: LocalIndex, *names: str) -> Mirror:
    platforms = [{"image": "debian:bookworm", "name": name} for name in names]
    made = declare(tmp_path, server.url, platforms=platforms, parallel=4)
    equip(made)
    return made


def test_names_with_slashes(tmp_path: Path, server: LocalIndex) -> None:
    deep = several(tmp_path, server, "site/rocky-9", PLATFORM)
    synced(deep, "site/rocky-9")
    assert rows(deep)[PLATFORM] == {**rows(deep)[PLATFORM], "published": False, "satisfied": False, "wheels": 0}
    root = sound((deep.target / "index.html").read_text())
    assert root.links == ["site/rocky-9/", "mirror.json"], "no link to a page that is not there yet"
    assert sound(page(deep, "site/rocky-9")).links[0] == "../../"
    (deep.target / "index.html").unlink()
    assert reports.drift(deep, "site/rocky-9")["site/rocky-9"]["written"] == ["../../index.html"]


def test_platforms_at_the_same_time_lose_no_row(tmp_path: Path, server: LocalIndex) -> None:
    names = [f"p-{number}" for number in range(6)]
    mirror = several(tmp_path, server, *names)
    runs = [threading.Thread(target=sync.sync, args=(mirror, name)) for name in names]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [row["wheels"] for row in rows(mirror).values()] == [2] * 6


def test_a_platform_that_is_declared_no_more_vanishes(tmp_path: Path, server: LocalIndex) -> None:
    synced(several(tmp_path, server, "old", "new"))
    fewer = declare(tmp_path, server.url, platforms=[{"image": "debian:bookworm", "name": "new"}])
    synced(fewer, "new")
    assert set(rows(fewer)) == {"new", "old"}, "who works for one platform need not know of the others"
    assert reports.drift(fewer, None)["new"]["written"] == ["../index.html", "../mirror.json"]
    assert sync.publish_pages(fewer)["result"]
    assert set(rows(fewer)) == {"new"}
    assert (fewer.target / "old" / "index.html").is_file(), "its wheels are as good as before"


def test_a_trial_keeps_the_rows_of_others(tmp_path: Path, server: LocalIndex) -> None:
    synced(several(tmp_path, server, "old", "new"))
    trial = replace(several(tmp_path, server, "tried"), trial=True)
    synced(trial)
    assert set(rows(trial)) == {"new", "old", "tried"}


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": 1}', '["../..", 7, "\\u0000"]'])
def test_a_memory_of_platforms_that_is_damaged(tmp_path: Path, server: LocalIndex, content: str) -> None:
    mirror = several(tmp_path, server, "a", "b")
    synced(mirror)
    (mirror.target / ".pipmirror" / ".platforms.json").write_text(content)
    synced(mirror, "a")
    assert set(rows(mirror)) == {"a", "b"}


@pytest.mark.parametrize("summary", [None, 7, {}, {"platform": "a"}, {"platform": "b", "published": True}])
def test_a_summary_that_is_damaged(tmp_path: Path, server: LocalIndex, summary: Any) -> None:
    mirror = several(tmp_path, server, "a", "b")
    synced(mirror)
    path = directory_of(mirror, "a").shown_path
    path.write_text(json.dumps({**json.loads(path.read_text()), "summary": summary}))
    synced(mirror, "b")
    assert rows(mirror)["a"]["published"] is False
    assert sync.publish_pages(mirror)["result"]
    assert rows(mirror)["a"]["wheels"] == 2


def test_a_page_that_somebody_keeps_for_himself(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "_PATIENCE", 0.05)
    held = locks.one_of([mirror.target / ".pipmirror" / ".front.lock"])
    with held, pytest.raises(MirrorError, match=r"index\.html: another sync"):
        front.bring(mirror, directory_of(mirror), whole=True)
    assert front.bring(mirror, directory_of(mirror), whole=True) == []


def test_modes_are_as_the_settings_say(tmp_path: Path, server: LocalIndex) -> None:
    strict = declare(tmp_path, server.url, files={"file_mode": "0640"})
    equip(strict)
    synced(strict)
    places = [directory_of(strict).public / name for name in (*PAGE, *ROOT)]
    assert {place.stat().st_mode & 0o777 for place in places} == {0o640}


def test_a_directory_that_cannot_be_written_is_told(mirror: Mirror) -> None:
    (mirror.target / "index.html").unlink()
    (mirror.target / "index.html").mkdir()
    answer = sync.publish_pages(mirror)
    assert answer["result"] is False
    assert "cannot write" in answer["platforms"][PLATFORM]["comment"]
    os.rmdir(mirror.target / "index.html")
    write_atomically(mirror.target / "index.html", b"")
    assert sync.publish_pages(mirror)["result"]


def test_pip_finds_its_links_on_the_page(mirror: Mirror) -> None:
    place = (directory_of(mirror).public / "index.html").as_uri()
    command = [sys.executable, "-m", "pip", "install", "--isolated", "--dry-run", "--ignore-installed", "--no-index"]
    command += ["--disable-pip-version-check", "--find-links", place, "demo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Would install demo-1.0 dep-1.0" in done.stdout, done.stderr


# -- what is about to go -------------------------------------------------------------------------------------


def test_a_file_of_several_leaves_its_line(tmp_path: Path, mirror: Mirror) -> None:
    make_wheel(directory_of(mirror).public, "demo", "0.9")
    synced(mirror)
    old = "demo-0.9-py3-none-any.whl"
    assert old in page(mirror)
    showcase_files.withdraw(directory_of(mirror), [old])
    (demo, dep) = data(mirror)["projects"]
    assert [file["filename"] for file in demo["files"]] == [DEMO]
    assert dep["files"]
    assert old not in page(mirror)
    sound(page(mirror))
    showcase_files.withdraw(directory_of(mirror), [DEMO, "never-there-1.0-py3-none-any.whl"])
    assert [project["name"] for project in data(mirror)["projects"]] == ["dep"]
    assert f'"{DEMO}"' not in page(mirror)
    sound(page(mirror))


@pytest.mark.parametrize("content", ["", "{", '{\n{"name":"demo"\n', '{\n{"name":"demo","files":[7]},\n]}\n'])
def test_a_damaged_page_keeps_no_wheel_from_going(mirror: Mirror, content: str) -> None:
    for name in ("index.html", "mirror.json"):
        (directory_of(mirror).public / name).write_text(content)
    showcase_files.withdraw(directory_of(mirror), [DEMO])
    assert "demo-1.0" not in (directory_of(mirror).public / "mirror.json").read_text()
    assert sync.publish_pages(mirror)["result"]
    assert len(data(mirror)["projects"]) == 2


def test_lines_of_others_are_known_after_a_withdrawal(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    showcase_files.withdraw(directory_of(mirror), [DEP])
    made: list[str] = []
    render = showcase_html.project
    monkeypatch.setattr(showcase_html, "project", lambda told: made.append(told["name"]) or render(told))
    assert sync.publish_pages(mirror)["result"]
    assert made == ["dep"]
    assert len(data(mirror)["projects"]) == 2
