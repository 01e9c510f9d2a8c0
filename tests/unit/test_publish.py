"""The pages that we publish: what they say, when they are written, and that pip reads them."""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from pipmirror_lib import pages as reading
from pipmirror_lib.errors import MirrorError
from pipmirror_lib.mirror import PlatformDirectory
from pipmirror_lib.publish import drift, pages, publish
from pipmirror_lib.settings import Files

from tests.support.dists import make_wheel

DEMO = "demo_pkg-1.0-py3-none-any.whl"


@pytest.fixture
def directory(tmp_path: Path) -> PlatformDirectory:
    made = PlatformDirectory(tmp_path / "target", "p")
    made.create()
    make_wheel(made.public, "Demo.Pkg", "1.0", requires_python=">=3.6,<'4'", requires=["dep"])
    make_wheel(made.public, "demo-pkg", "1.10")
    make_wheel(made.public, "demo-pkg", "1.9+local.1")
    make_wheel(made.public, "dep", "1!1.0")
    manifest = made.manifest()
    made.record(manifest, [path.name for path in made.public.glob("*.whl")])
    manifest["wheels"][DEMO]["upload_time"] = "2024-01-01T00:00:00Z"
    return made


def wheels(directory: PlatformDirectory) -> dict[str, dict[str, object]]:
    return dict(directory.manifest()["wheels"])


def go(directory: PlatformDirectory) -> dict[str, list[str]]:
    return publish(directory, wheels(directory), "stamp")


def test_the_pages_say_of_each_wheel_what_it_is(directory: PlatformDirectory) -> None:
    """Read by our own reader of other people's pages."""
    made = pages(wheels(directory))
    url, name = "http://h/p/simple/demo-pkg/", canonicalize_name("demo-pkg")
    html = reading.candidates(made["demo-pkg/index.html"].encode(), "text/html", url, name)
    found = reading.candidates(made["demo-pkg/index.json"].encode(), reading.JSON_TYPE, url, name)
    assert {c.filename for c in html} == {c.filename for c in found}
    assert len(found) == 3
    for candidate in (*html, *found):
        record = wheels(directory)[candidate.filename]
        assert candidate.sha256 == record["sha256"]
        assert candidate.metadata_sha256 == record["metadata_sha256"]
        assert candidate.requires_python == record["requires_python"]
        assert candidate.url.startswith("http://h/p/demo_pkg-1.")
    assert all(c.size == wheels(directory)[c.filename]["size"] for c in found)
    assert all(c.upload_time for c in found)


def test_the_root_names_every_project_once(directory: PlatformDirectory) -> None:
    made = pages(wheels(directory))
    root = json.loads(made["index.json"])
    assert root["projects"] == [{"name": "demo-pkg"}, {"name": "dep"}]
    assert '<a href="demo-pkg/">demo-pkg</a>' in made["index.html"]


def test_versions_are_in_order(directory: PlatformDirectory) -> None:
    page = json.loads(pages(wheels(directory))["demo-pkg/index.json"])
    assert page["versions"] == ["1.0", "1.9+local.1", "1.10"]
    assert page["meta"]["api-version"] == "1.1"


def test_the_upload_time_is_upstreams_or_ours(directory: PlatformDirectory) -> None:
    known = wheels(directory)
    known[DEMO]["upload_time"] = "2024-01-01T00:00:00Z"
    files = {file["filename"]: file for file in json.loads(pages(known)["demo-pkg/index.json"])["files"]}
    assert files[DEMO]["upload-time"] == "2024-01-01T00:00:00Z"
    assert "_upload-time-is" not in files[DEMO]
    other = "demo_pkg-1.10-py3-none-any.whl"
    assert files[other]["upload-time"] == known[other]["admitted"]
    assert files[other]["_upload-time-is"] == "when it came into this mirror"


def test_what_a_stranger_wrote_is_escaped(directory: PlatformDirectory) -> None:
    known = wheels(directory)
    known[DEMO]["requires_python"] = '"><script>alert(1)</script>'
    made = pages(known)["demo-pkg/index.html"]
    assert "<script>" not in made
    assert 'data-requires-python="&quot;&gt;&lt;script' in made


def test_halves_of_characters_fail_nothing(directory: PlatformDirectory) -> None:
    manifest = directory.manifest()
    manifest["wheels"][DEMO]["yanked"] = "x\ud800"
    directory.save_manifest(manifest)
    go(directory)
    assert 'data-yanked="x?"' in (directory.public / "simple/demo-pkg/index.html").read_text()
    assert go(directory) == {"written": [], "removed": []}


def test_no_wheel_is_opened(directory: PlatformDirectory) -> None:
    known = wheels(directory)
    for path in directory.public.glob("*.whl"):
        path.unlink()
    assert len(pages(known)) == 6


def test_the_root_stops_naming_a_project_before_its_pages_go(
    directory: PlatformDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(directory)
    manifest = directory.manifest()
    directory.forget(manifest, [name for name in manifest["wheels"] if name.startswith("dep")])
    roots: list[str] = []
    unlink = Path.unlink

    def noting(path: Path, missing_ok: bool = False) -> None:
        if path.parent.name == "dep":
            roots.append((directory.public / "simple" / "index.html").read_text())
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", noting)
    go(directory)
    assert len(roots) == 2
    assert not any('href="dep/"' in root for root in roots)


def test_an_empty_platform_has_a_root(directory: PlatformDirectory) -> None:
    assert set(publish(directory, {}, "")["written"]) == {"index.html", "index.json"}


def test_an_unchanged_page_is_not_written(directory: PlatformDirectory) -> None:
    assert len(go(directory)["written"]) == 6
    before = {p: p.stat().st_ino for p in (directory.public / "simple").rglob("*")}
    assert go(directory) == {"written": [], "removed": []}
    assert {p: p.stat().st_ino for p in (directory.public / "simple").rglob("*")} == before


@pytest.mark.parametrize("damage", ["text", "gone", "folder gone"])
def test_a_page_that_drifted_is_written_again(directory: PlatformDirectory, damage: str) -> None:
    go(directory)
    page = directory.public / "simple" / "dep" / "index.html"
    if damage == "text":
        page.write_text("drift")
    else:
        page.unlink()
        if damage == "folder gone":
            page.with_name("index.json").unlink()
            page.parent.rmdir()
    changed, gone = drift(directory, wheels(directory))
    assert "dep/index.html" in changed
    assert gone == []
    assert "dep/index.html" in go(directory)["written"]
    assert drift(directory, wheels(directory)) == ({}, [])


def test_a_project_that_is_gone_loses_its_page(directory: PlatformDirectory) -> None:
    go(directory)
    manifest = directory.manifest()
    directory.forget(manifest, [name for name in manifest["wheels"] if name.startswith("dep")])
    result = go(directory)
    assert result["removed"] == ["simple/dep/index.html", "simple/dep/index.json"]
    assert set(result["written"]) == {"index.html", "index.json"}
    assert not (directory.public / "simple" / "dep").exists()


def test_what_others_put_beside_the_pages_stays(directory: PlatformDirectory) -> None:
    go(directory)
    note = directory.public / "simple" / "dep" / "README"
    note.write_text("mine")
    (directory.public / "simple" / "robots.txt").write_text("mine")
    manifest = directory.manifest()
    directory.forget(manifest, [name for name in manifest["wheels"] if name.startswith("dep")])
    go(directory)
    assert note.read_text() == "mine"
    assert (directory.public / "simple" / "robots.txt").is_file()


def test_projects_come_before_the_root_that_names_them(
    directory: PlatformDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    replace = os.replace

    def noting(source: Path, target: Path) -> None:
        written.append(str(target))
        replace(source, target)

    later = make_wheel(directory.public, "zoo", "1.0")  # whose name would come after `index.html`
    directory.record(directory.manifest(), [later.name])
    monkeypatch.setattr(os, "replace", noting)
    go(directory)
    names = [path.partition("/simple/")[2] for path in written if "/simple/" in path]
    assert set(names[-2:]) == {"index.html", "index.json"}
    assert len(names) == 8


def test_modes_are_as_the_settings_say(directory: PlatformDirectory) -> None:
    strict = PlatformDirectory(directory.target, "p", Files(file_mode=0o640, dir_mode=0o750))
    go(strict)
    simple = directory.public / "simple"
    assert {p.stat().st_mode & 0o777 for p in simple.rglob("*") if p.is_file()} == {0o640}
    assert {p.stat().st_mode & 0o777 for p in (simple, simple / "dep")} == {0o750}


def test_a_page_is_for_its_readers_from_the_first_moment_on(
    directory: PlatformDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    replace = os.replace

    def noting(source: Path, target: Path) -> None:
        modes.append(os.stat(source).st_mode & 0o777)
        replace(source, target)

    monkeypatch.setattr(os, "replace", noting)
    before = os.umask(0o077)
    try:
        go(directory)
    finally:
        os.umask(before)
    assert modes[:6] == [0o644] * 6


def test_a_page_whose_mode_is_right_is_not_touched_once_more(
    directory: PlatformDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed: list[object] = []
    chmod = os.chmod
    monkeypatch.setattr(os, "chmod", lambda path, mode: (chmod(path, mode), changed.append(path)))
    before = os.umask(0o022)
    try:
        go(directory)
    finally:
        os.umask(before)
    assert [path for path in changed if isinstance(path, int)] == [], "no open file"


def test_no_two_versions_of_a_page_are_of_one_second(directory: PlatformDirectory) -> None:
    """Size and second are all that a web server's ETag has."""
    page, seconds = directory.public / "simple" / "demo-pkg" / "index.json", []
    for number in range(3):
        known = wheels(directory)
        known[DEMO]["upload_time"] = f"2024-01-0{number + 1}T00:00:00Z"
        publish(directory, known, "stamp")
        seconds.append(int(page.stat().st_mtime))
    assert len(set(seconds)) == 3
    assert seconds == sorted(seconds)


def test_a_directory_that_cannot_be_written_is_told(directory: PlatformDirectory) -> None:
    (directory.public / "simple").write_text("in the way")
    with pytest.raises(MirrorError):
        go(directory)


@pytest.fixture
def served(directory: PlatformDirectory) -> Iterator[str]:
    go(directory)
    handler = functools.partial(QuietHandler, directory=str(directory.target))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/p"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


def test_pip_installs_from_the_pages_and_from_the_directory(served: str, directory: PlatformDirectory) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    for way in (["--index-url", f"{served}/simple/"], ["--no-index", "--find-links", str(directory.public)]):
        done = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--isolated", "--dry-run", "--ignore-installed", "--no-cache-dir"]
            + ["--disable-pip-version-check", *way, "demo-pkg==1.0"],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert "Would install demo-pkg-1.0 dep-1!1.0" in done.stdout.replace("Demo.Pkg", "demo-pkg"), done.stderr
