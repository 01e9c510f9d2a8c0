"""Where the steps meet, as far as no container engine is needed: platforms that have been profiled before."""

from __future__ import annotations

import _thread
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import builder, builds, locks, mirror, plan, platform_sync, shared, sync, verification
from pipmirror_lib.builder import BuilderImage
from pipmirror_lib.engine import Engine
from pipmirror_lib.errors import EngineError, SettingsError
from pipmirror_lib.progress import Step
from pipmirror_lib.settings import Mirror
from pipmirror_lib.wheels import sha256_of

from tests.support.dists import make_sdist, make_wheel
from tests.support.localindex import Fault, LocalIndex
from tests.support.mirrors import PLATFORM, consistent, declare, directory_of, equip, settle, wheels
from tests.support.syncs import DEMO, DEP, Result, bad, good, small_index

SECRET = "hunter2"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalIndex]:
    with small_index(tmp_path) as running:
        yield running


@pytest.fixture
def declared(tmp_path: Path, server: LocalIndex) -> Mirror:
    mirror = declare(tmp_path, server.url)
    equip(mirror)
    return mirror


# -- from nothing, and then nothing --------------------------------------------------------------------------


def test_from_nothing(declared: Mirror, server: LocalIndex) -> None:
    result = good(declared)
    assert wheels(declared) == {DEMO, DEP}
    consistent(declared)
    assert set(result["added"]) == {DEMO, DEP}
    assert result["added"][DEMO]["version"] == "1.0"
    assert result["added"][DEMO]["old"] == []
    assert result["removed"] == {}
    record = directory_of(declared).manifest()["wheels"][DEMO]
    assert (record["origin"], record["url"]) == ("index", server.url.replace("/simple/", f"/files/{DEMO}"))
    assert record["upload_time"] == server.upload_time
    assert not list(shared.downloads(declared.target).rglob("*.whl")), "downloads are emptied"


def test_a_second_run_asks_nobody_and_writes_nothing(declared: Mirror, server: LocalIndex) -> None:
    good(declared)
    settle(directory_of(declared))
    before = {path: path.stat().st_mtime_ns for path in directory_of(declared).public.rglob("*") if path.is_file()}
    server.log.clear()
    result = good(declared)
    assert (result["added"], server.log) == ({}, [])
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert plan.make(declared, declared.platforms[0], directory_of(declared)).nothing_to_do


def test_an_engine_that_does_not_answer_is_only_noted(declared: Mirror) -> None:
    assert "went on with the known profile" in good(declared)["comment"]


def test_a_new_recipe_needs_the_engine(tmp_path: Path, declared: Mirror, server: LocalIndex) -> None:
    changed = declare(tmp_path, server.url, platforms=[{"image": "debian:trixie", "name": PLATFORM}])
    assert "engine" in bad(changed)
    assert wheels(declared) == set()


def test_a_platform_never_profiled_needs_the_engine(tmp_path: Path, server: LocalIndex) -> None:
    bad(declare(tmp_path, server.url))
    assert server.log == []


def test_only_what_is_missing_comes(declared: Mirror, server: LocalIndex) -> None:
    good(declared)
    (directory_of(declared).public / DEP).unlink()
    server.log.clear()
    assert set(good(declared)["added"]) == {DEP}
    assert server.requests_of(DEMO) == []
    consistent(declared)


def test_wheels_that_lie_there_are_adopted(declared: Mirror, server: LocalIndex, tmp_path: Path) -> None:
    for name in (DEMO, DEP):
        os.link(tmp_path / "files" / name, directory_of(declared).public / name)
    result = good(declared)
    assert (result["added"], sorted(result["recorded"])) == ({}, [DEMO, DEP])
    assert server.log == []
    consistent(declared)


def test_a_wheel_that_somebody_took_away_loses_its_page(declared: Mirror, tmp_path: Path, server: LocalIndex) -> None:
    both = declare(tmp_path, server.url, packages=["demo", "other"])
    good(both)
    (directory_of(both).public / "other-1.0-py3-none-any.whl").unlink()
    good(declared)
    consistent(declared)
    assert not (directory_of(declared).public / "simple" / "other").exists()


def test_a_new_requirement_moves_nothing_else(tmp_path: Path, declared: Mirror, server: LocalIndex) -> None:
    good(declared)
    server.add(make_wheel(tmp_path / "files", "dep", "2.0"))
    more = declare(tmp_path, server.url, packages=["demo", "other"])
    assert set(good(more)["added"]) == {"other-1.0-py3-none-any.whl"}
    assert set(good(more, upgrade=True)["added"]) == {"dep-2.0-py3-none-any.whl"}
    consistent(more)


def test_a_new_requirement_asks_for_what_lacks_and_what_is_declared(
    tmp_path: Path, declared: Mirror, server: LocalIndex
) -> None:
    """What is declared is looked at for what became of it upstream; what only came along is not."""
    server.add(make_wheel(tmp_path / "files", "third", "1.0", requires=["dep", "demo", "other"]))
    good(declared)
    server.log.clear()
    assert set(good(declare(tmp_path, server.url, packages=["demo", "third"]))["added"]) == {
        "third-1.0-py3-none-any.whl",
        "other-1.0-py3-none-any.whl",
    }
    assert {request.path for request in server.log if request.path.startswith("/simple/")} == {
        f"/simple/{name}/" for name in ("demo", "third", "other")
    }


def test_what_must_give_way_is_asked_for(tmp_path: Path, declared: Mirror, server: LocalIndex) -> None:
    good(declared)
    server.add(make_wheel(tmp_path / "files", "dep", "2.0"))
    server.add(make_wheel(tmp_path / "files", "third", "1.0", requires=["dep>=2"]))
    more = declare(tmp_path, server.url, packages=["demo", "third"])
    assert set(good(more)["added"]) == {"third-1.0-py3-none-any.whl", "dep-2.0-py3-none-any.whl"}
    consistent(more)


def test_only_an_upgrade_counts_as_a_look_at_everything(
    tmp_path: Path, declared: Mirror, server: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter(f"2030-01-0{day}T00:00:00Z" for day in range(1, 10))
    monkeypatch.setattr(platform_sync, "now", lambda: next(moments))

    def looked() -> str:
        return str(json.loads(directory_of(declared).state_path.read_text())["looked"])

    good(declared)
    first = looked()
    more = declare(tmp_path, server.url, packages=["demo", "other"])
    good(more)
    assert looked() == first
    good(more, upgrade=True)
    assert looked() > first


def test_an_upgrade_that_failed_does_not_rest(tmp_path: Path, server: LocalIndex) -> None:
    """The next sync fetches what did not come, by the same decision; then it rests, also where nothing came."""
    declared = declare(tmp_path, server.url, upgrade="7d")
    directory = equip(declared)

    def is_due() -> bool:
        settle(directory)
        return plan.UPGRADE in plan.make(declared, declared.platforms[0], directory).due

    def forget() -> None:
        plan.remember(directory, looked="")
        assert is_due()

    good(declared)
    assert not is_due()
    forget()
    good(declared)
    assert not is_due(), "an upgrade that brings nothing counts as well"
    forget()
    newer = "dep-2.0-py3-none-any.whl"
    server.add(make_wheel(tmp_path / "files", "dep", "2.0"))
    server.fail = {f"{newer}.metadata": Fault(times=None), newer: Fault(times=None, truncate_at=50)}
    bad(declared)
    assert is_due()
    server.fail = {}
    server.log.clear()
    assert set(good(declared)["added"]) == {newer}
    assert [request.path for request in server.log] == [f"/files/{newer}"]
    assert not is_due()


def test_an_upgrade_says_what_was_there(tmp_path: Path, declared: Mirror, server: LocalIndex) -> None:
    good(declared)
    server.add(make_wheel(tmp_path / "files", "dep", "2.0"))
    assert good(declared, upgrade=True)["added"]["dep-2.0-py3-none-any.whl"]["old"] == ["1.0"]


def test_a_withdrawn_version_stays_but_is_not_chosen_anew(tmp_path: Path, declared: Mirror, server: LocalIndex) -> None:
    server.add(make_wheel(tmp_path / "files", "dep", "2.0"))
    good(declared)
    assert "dep-2.0-py3-none-any.whl" in wheels(declared)
    server.remove("dep-2.0-py3-none-any.whl")
    assert set(good(declared, upgrade=True)["added"]) == {DEP}


# -- what goes wrong -----------------------------------------------------------------------------------------


def test_a_project_that_nobody_has(tmp_path: Path, declared: Mirror, server: LocalIndex) -> None:
    wanting = declare(tmp_path, server.url, packages=["demo"], sets={"more": ["gone>=1"]})
    comment = bad(wanting)
    assert "gone>=1: nothing of that name" in comment
    assert wheels(wanting) == {DEMO, DEP}, "a set that cannot be had keeps no other back"
    consistent(wanting)


def test_an_index_that_is_away_breaks_nothing(declared: Mirror, server: LocalIndex) -> None:
    good(declared)
    (directory_of(declared).public / DEP).unlink()
    server.close()
    assert "is unreachable: connection refused" in bad(declared)
    assert wheels(declared) == {DEMO}


@pytest.mark.parametrize(
    "fault", [Fault(times=None, corrupt=True), Fault(times=None, truncate_at=50), Fault(500, times=None)]
)
def test_a_file_that_does_not_come_whole_never_comes_in(declared: Mirror, server: LocalIndex, fault: Fault) -> None:
    server.core_metadata = False
    server.fail = {f"/files/{DEP}": fault}
    bad(declared)
    assert DEP not in wheels(declared)
    server.fail = {}
    server.log.clear()
    good(declared)
    assert server.requests_of(DEMO) == [], "what came whole is not fetched again"
    consistent(declared)


@pytest.mark.parametrize("offered", [True, False])
def test_a_file_that_does_not_come_fails_only_who_needs_it(
    tmp_path: Path, declared: Mirror, server: LocalIndex, offered: bool
) -> None:
    """Whether the decision already reads the wheel, or only the end of the sync."""
    server.core_metadata = offered
    name = "other-1.0-py3-none-any.whl"
    server.fail = {f"{name}.metadata": Fault(times=None), name: Fault(403, times=None)}
    wanting = declare(tmp_path, server.url, packages=["demo"], sets={"more": ["other"]})
    comment = bad(wanting)
    assert f"{name} refuses us (403)" in comment
    assert wheels(wanting) == {DEMO, DEP}
    consistent(wanting)
    server.fail = {}
    good(wanting)
    assert len(server.requests_of(DEMO)) == 1


def test_an_sdist_that_does_not_come_fails_only_who_needs_it(
    tmp_path: Path, declared: Mirror, server: LocalIndex
) -> None:
    server.add(make_sdist(tmp_path / "sdists", "src", "1.0"))
    server.fail = {"/files/src-1.0.tar.gz": Fault(times=None, corrupt=True)}
    wanting = declare(tmp_path, server.url, packages=["demo"], sets={"more": ["src"]})
    assert "src-1.0.tar.gz has sha256" in bad(wanting)
    assert wheels(wanting) == {DEMO, DEP}


@pytest.mark.parametrize("lost", ["/simple/tool/", "tool-1.0-py3-none-any.whl", "/files/tool-1.0.tar.gz"])
def test_a_build_requirement_that_does_not_come_fails_only_who_needs_it(
    tmp_path: Path, declared: Mirror, server: LocalIndex, lost: str
) -> None:
    make = make_sdist if lost.endswith(".tar.gz") else make_wheel
    server.add(make(tmp_path / "more", "tool", "1.0"))
    server.add(make_sdist(tmp_path / "sdists", "src", "1.0", build_requires=["tool"], static_metadata=True))
    server.fail = {lost: Fault(503, times=None)}
    wanting = declare(tmp_path, server.url, packages=["demo"], sets={"more": ["src"]})
    comment = bad(wanting)
    assert "src 1.0: build requirements: " in comment
    assert "503" in comment
    assert wheels(wanting) == {DEMO, DEP}
    consistent(wanting)


def test_metadata_that_is_missing_beside_a_wheel_is_only_a_warning(declared: Mirror, server: LocalIndex) -> None:
    server.fail = {".metadata": Fault(404, times=None)}
    comment = good(declared)["comment"]
    assert f"{DEMO}: the index offers .metadata and does not have it; it was read from the wheel itself" in comment
    consistent(declared)


def test_a_wheel_that_lies_about_itself_never_comes_in(declared: Mirror, server: LocalIndex, tmp_path: Path) -> None:
    truth = server.files[DEMO].metadata
    server.add(make_wheel(tmp_path / "lie", metadata="Name: evil\nVersion: 1.0\n", filename=DEMO), metadata=truth)
    assert "holds the metadata of evil" in bad(declared)
    assert DEMO not in wheels(declared)


def test_metadata_that_promised_less_than_the_wheel_wants_is_found_out(
    declared: Mirror, server: LocalIndex, tmp_path: Path
) -> None:
    server.change(DEMO, metadata=b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n\n")
    comment = bad(declared)
    assert "holds other METADATA than the index says" in comment
    assert not wheels(declared)


@pytest.mark.parametrize("lie", ["metadata", "version"])
def test_a_wheel_that_lies_fails_only_who_needs_it(
    tmp_path: Path, declared: Mirror, server: LocalIndex, lie: str
) -> None:
    """As soon as it has come, and so before anything is admitted."""
    if lie == "metadata":
        server.change(DEMO, metadata=b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n\n")
    else:
        text = f"Metadata-Version: 2.1\nName: demo\nVersion: {'1' * 5000}\n"
        truth = server.files[DEMO].metadata
        server.add(make_wheel(tmp_path / "lie", metadata=text, filename=DEMO), metadata=truth)
    mirror = declare(tmp_path, server.url, sets={"other": ["other"]})
    assert bad(mirror).startswith(DEMO)
    assert wheels(mirror) == {"other-1.0-py3-none-any.whl"}
    consistent(mirror)
    server.add(make_wheel(tmp_path / "truth", requires=["dep"]))
    good(mirror)


def test_a_damaged_wheel_is_fetched_again(declared: Mirror, server: LocalIndex) -> None:
    """Of the same size, so that only its content tells; the link between platforms must not spread it."""
    good(declared)
    wheel = directory_of(declared).public / DEP
    wheel.write_bytes(b"\0" * wheel.stat().st_size)
    good(declared)
    consistent(declared)
    assert sha256_of(wheel) == server.files[DEP].sha256


def test_a_secret_is_in_no_answer_and_in_no_file(tmp_path: Path, server: LocalIndex) -> None:
    server.username, server.password = "me", SECRET
    mirror = declare(tmp_path, server.url, index={"username": "me", "password": SECRET})
    equip(mirror)
    answer = json.dumps(good(mirror))
    wrong = declare(tmp_path, server.url, packages=["other"], index={"username": "me", "password": f"{SECRET}-wrong"})
    answer += bad(wrong)
    assert "refuses us (401)" in answer
    assert SECRET not in answer
    for path in mirror.target.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


def test_an_interrupted_run_is_finished(declared: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException): ...

    def die(self: object, *_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(mirror.PlatformDirectory, "_settle", die)
        with pytest.raises(Killed):
            sync.sync(declared)
    assert directory_of(declared).journal_path.exists()
    result = good(declared)
    assert result["recovered"] == [DEMO, DEP]
    assert "finished an interrupted sync: 2 wheels recovered" in result["comment"]
    consistent(declared)


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Ctrl-C comes then; what has to end by it does so long before anything else would end it."""
    timer = threading.Timer(seconds, _thread.interrupt_main)
    timer.start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        timer.cancel()
    assert time.monotonic() - began < 60


def test_ctrl_c_ends_the_wait_for_a_platform(tmp_path: Path, declared: Mirror, server: LocalIndex) -> None:
    with directory_of(declared).locked(0), interrupted_after(0.5):
        sync.sync(declare(tmp_path, server.url, lock_timeout=120))
    assert server.log == []


def test_ctrl_c_ends_the_wait_for_a_place(declared: Mirror, server: LocalIndex) -> None:
    with ExitStack() as held:
        for slot in shared.slots(declared.target, declared.parallel):
            held.enter_context(locks.one_of([slot]))
        with interrupted_after(0.5):
            sync.sync(declared)
    assert server.log == []


def test_who_waits_for_a_place_keeps_nobody_from_the_platform(declared: Mirror) -> None:
    waits = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with ExitStack() as held:
            for slot in shared.slots(declared.target, declared.parallel):
                held.enter_context(locks.one_of([slot]))
            syncing = pool.submit(sync.sync, declared, progress=lambda step: "parallel" in step.text and waits.set())
            assert waits.wait(60)
            with directory_of(declared).locked(60):
                assert not syncing.done()
        assert syncing.result(timeout=60)["result"]
    assert wheels(declared) == {DEMO, DEP}


@pytest.mark.parametrize("slow", [f"/simple/{name}/" for name in ("demo", "dep")] + [f"/files/{DEMO}"])
def test_after_ctrl_c_nothing_comes_in(tmp_path: Path, declared: Mirror, server: LocalIndex, slow: str) -> None:
    """While a server keeps us waiting, in the middle of an answer as well as before it."""
    busy = Fault(times=None, status=503, headers={"Retry-After": "29"})
    server.fail[slow] = busy if "simple" in slow else Fault(stall=120, truncate_at=50)
    patient = declare(tmp_path, server.url, index={"timeout": 120, "retries": 5}, verify=True)
    with interrupted_after(1.5):
        sync.sync(patient)
    assert wheels(patient) == set()
    assert not directory_of(patient).published_path.exists()


def test_after_ctrl_c_nothing_is_begun(declared: Mirror, server: LocalIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although what was under way just then has come to a good end."""
    began: list[str] = []
    admit = mirror.PlatformDirectory.admit

    def slow(*arguments: Any) -> None:
        admit(*arguments)
        time.sleep(1.5)

    monkeypatch.setattr(mirror.PlatformDirectory, "admit", slow)
    monkeypatch.setattr(verification.Verification, "_install", lambda *_: began.append("installs"))
    monkeypatch.setattr(platform_sync, "publish", lambda *_, **__: began.append("publishes"))
    with interrupted_after(1.0):
        sync.sync(replace(declared, verify=True))
    assert began == []


def test_a_bug_of_ours_is_told_and_stops_nobody_else(
    tmp_path: Path, server: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    platforms = [{"image": "a"}, {"image": "b"}]
    several = declare(tmp_path, server.url, platforms=platforms)
    equip(several)
    make = plan.make

    def buggy(mirror: Mirror, platform: Any, directory: Any) -> Any:
        if platform.name == "a":
            raise KeyError("bug")
        return make(mirror, platform, directory)

    monkeypatch.setattr(plan, "make", buggy)
    answer = sync.sync(several)
    assert answer["comment"] == "1 of 2 platforms are satisfied; failed: a"
    assert "internal error" in answer["platforms"]["a"]["comment"]
    assert wheels(several, "b") == {DEMO, DEP}


def test_another_sync_that_holds_the_platform(tmp_path: Path, declared: Mirror, server: LocalIndex) -> None:
    impatient = declare(tmp_path, server.url, lock_timeout=0)
    with directory_of(declared).locked(0):
        assert "another sync has held the platform" in bad(impatient)


def test_a_platform_that_is_not_declared(declared: Mirror) -> None:
    with pytest.raises(SettingsError, match="did you mean 'bookworm'"):
        sync.sync(declared, "bokworm")


# -- several platforms ---------------------------------------------------------------------------------------


def test_platforms_share_pages_and_files(tmp_path: Path, server: LocalIndex) -> None:
    several = declare(tmp_path, server.url, platforms=[{"image": name} for name in ("a", "b", "c")], parallel=3)
    equip(several)
    answer = sync.sync(several)
    assert answer["comment"] == "3 of 3 platforms are satisfied"
    for name in ("a", "b", "c"):
        consistent(several, name)
    for path in ("/simple/demo/", "/simple/dep/", f"/files/{DEMO}", f"/files/{DEP}"):
        assert len([request for request in server.log if request.path == path]) == 1


def test_a_new_platform_links_what_another_has(tmp_path: Path, declared: Mirror, server: LocalIndex) -> None:
    good(declared)
    server.log.clear()
    several = declare(
        tmp_path, server.url, platforms=[{"image": "debian:bookworm", "name": PLATFORM}, {"image": "new"}]
    )
    equip(several)
    assert sync.sync(several, "new")["result"]
    assert server.requests_of(DEMO) == []
    one, other = (directory_of(several, name).public / DEMO for name in (PLATFORM, "new"))
    assert one.samefile(other)
    consistent(several, "new")


def test_a_second_platform_moves_only_the_bytes_that_differ(tmp_path: Path, server: LocalIndex) -> None:
    """By another interpreter's own wheels, and by its own metadata; everything else is linked."""
    own, theirs = "fast-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", "fast-1.0-cp39-cp39-manylinux_2_17_x86_64.whl"
    for name in (own, theirs):
        made = make_wheel(tmp_path / "files", "fast", "1.0", filename=name, requires=["dep"], files={"own.py": name})
        server.add(made)
    platforms = [{"image": "a"}, {"image": "b"}]
    mirror = declare(tmp_path, server.url, packages=["demo", "fast"], platforms=platforms)
    equip(mirror)
    older = json.loads(directory_of(mirror, "b").profile_path.read_text())
    older["tags"] = [tag.replace("cp311", "cp39").replace("cp310", "cp38") for tag in older["tags"]]
    older["markers"] |= {"python_version": "3.9", "python_full_version": "3.9.2"}
    directory_of(mirror, "b").profile_path.write_text(json.dumps(older))
    assert sync.sync(mirror, "a")["result"]
    server.log.clear()
    assert sync.sync(mirror, "b")["result"]
    assert wheels(mirror, "b") == {DEMO, DEP, theirs}
    moved = {request.path.removesuffix(".metadata") for request in server.log if request.path.startswith("/files/")}
    assert moved == {f"/files/{theirs}"}
    consistent(mirror, "b")


def test_what_another_platform_prunes_meanwhile_is_no_loss(
    tmp_path: Path, server: LocalIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [{"image": "a", "packages": ["other"]}, {"image": "b"}]
    assert sync.sync(_equipped(tmp_path, server, both), "a")["result"]
    now = [{"image": "a"}, {"image": "b", "packages": ["other"]}]
    wanting = declare(tmp_path, server.url, platforms=now, keep_days=0)
    stage = mirror.PlatformDirectory.stage
    gone: list[str] = []

    def after_a_prune(directory: mirror.PlatformDirectory, source: Path, filename: str) -> Path:
        gone.extend(sync.prune(wanting, "a")["platforms"]["a"]["removed"])
        return stage(directory, source, filename)

    monkeypatch.setattr(mirror.PlatformDirectory, "stage", after_a_prune)
    assert sync.sync(wanting, "b")["result"]
    assert gone == ["other-1.0-py3-none-any.whl"]
    assert len(server.requests_of(gone[0])) == 1, "by a, in the beginning"
    consistent(wanting, "b")


def _equipped(tmp_path: Path, server: LocalIndex, platforms: list[Result]) -> Mirror:
    declared = declare(tmp_path, server.url, platforms=platforms)
    equip(declared)
    return declared


def test_progress_names_the_platform(declared: Mirror) -> None:
    said: list[Step] = []
    threads = set()

    def progress(step: Step) -> None:
        said.append(step)
        threads.add(threading.current_thread())

    good(declared, progress=progress)
    assert {step.platform for step in said} == {PLATFORM}
    assert said[0].text.startswith("preparing")
    size = sum(path.stat().st_size for path in directory_of(declared).public.glob("*.whl"))
    last = [step for step in said if step.of_files][-1]
    assert (last.files, last.of_files, last.bytes, last.of_bytes, last.of_builds) == (2, 2, size, size, 0)
    assert threads == {threading.current_thread()}, "whoever listens need not be safe against threads"


# -- publishing ----------------------------------------------------------------------------------------------


def test_publishing_alone_mends_pages(declared: Mirror, server: LocalIndex) -> None:
    good(declared)
    page = directory_of(declared).public / "simple" / "demo" / "index.html"
    page.unlink()
    server.log.clear()
    answer = sync.publish_pages(declared)
    assert (answer["result"], answer["comment"]) == (True, "1 of 1 platforms are published")
    assert answer["platforms"][PLATFORM]["published"] == {"written": 1, "removed": 0}
    assert page.is_file()
    assert server.log == []


def test_publishing_what_was_never_synced(tmp_path: Path) -> None:
    answer = sync.publish_pages(declare(tmp_path))
    assert "does not exist; sync first" in answer["platforms"][PLATFORM]["comment"]
    assert not (tmp_path / "target").exists()


# -- builds, without a container -----------------------------------------------------------------------------


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, server: LocalIndex, tmp_path: Path) -> list[str]:
    """Names of the sdists that are built; the container alone is not real."""
    names: list[str] = []
    image = BuilderImage("sha256:0000", "sha256:1111", "recipe", "2999-01-01T00:00:00Z", "local", reused=True)

    def build(quarters: Any, profile: Any, request: Any, *_: Any, workdir: Path, **__: Any) -> Path:
        names.append(request.sdist.name)
        (workdir / "out").mkdir()
        return make_wheel(workdir / "out", request.project, str(request.version), requires=["dep"])

    monkeypatch.setattr(builds, "build", build)
    monkeypatch.setattr(builder, "prepare", lambda *_, **__: image)
    monkeypatch.setattr(Engine, "connect", classmethod(lambda cls, url="": NoEngine()))
    make_wheel(tmp_path / "files", "setuptools", "70.0")
    make_wheel(tmp_path / "files", "wheel", "0.40")
    for name in ("setuptools-70.0-py3-none-any.whl", "wheel-0.40-py3-none-any.whl"):
        server.add(tmp_path / "files" / name)
    server.add(make_sdist(tmp_path / "sdists", "src", "1.0"))
    return names


class NoEngine:
    def close(self) -> None:
        pass

    def remove_abandoned(self) -> dict[str, str]:
        return {}


@pytest.mark.parametrize(
    "act",
    [lambda mirror: sync.verify(mirror, hashes=True), sync.prune, sync.publish_pages],
    ids=["verify", "prune", "publish"],
)
def test_whoever_comes_after_a_kill_ends_what_it_left(
    declared: Mirror, monkeypatch: pytest.MonkeyPatch, act: Callable[[Mirror], Result]
) -> None:
    """Even who needs no engine, or finds something else to say: the next one is not told of the kill any more."""
    asked: list[Any] = []

    def remove_abandoned(engine: NoEngine) -> dict[str, str]:
        asked.append(engine)
        return {"c0": "pipmirror-build-demo", "c1" * 20: ""}

    good(declared)
    directory = directory_of(declared)
    (directory.public / DEMO).write_bytes((directory.public / DEMO).read_bytes()[:-1] + b"x")
    directory.holder_path.write_text("somewhere/1/1")
    monkeypatch.setattr(NoEngine, "remove_abandoned", remove_abandoned)
    monkeypatch.setattr(Engine, "connect", classmethod(lambda cls, url="": NoEngine()))
    (told,) = act(declared)["platforms"].values()
    assert asked
    assert "removed 2 containers that a killed run had left: pipmirror-build-demo, c1c1c1c1c1c1" in told["comment"]
    assert not directory.holder_path.exists()


def test_an_sdist_comes_in_as_a_wheel(tmp_path: Path, server: LocalIndex, built: list[str]) -> None:
    mirror = declare(tmp_path, server.url, packages=["src"])
    equip(mirror)
    good(mirror)
    wheel = "src-1.0-py3-none-any.whl"
    assert wheels(mirror) == {wheel, DEP}, "what it was built with does not come along"
    record = directory_of(mirror).manifest()["wheels"][wheel]
    assert (record["origin"], record["source"]["filename"]) == ("built", "src-1.0.tar.gz")
    assert built == ["src-1.0.tar.gz"]
    consistent(mirror)
    good(mirror)
    good(mirror, upgrade=True)
    assert built == ["src-1.0.tar.gz"], "nothing is built twice"


def test_a_wheel_built_on_one_platform_is_not_linked_to_another(
    tmp_path: Path, server: LocalIndex, built: list[str]
) -> None:
    mirror = declare(tmp_path, server.url, packages=["src"], platforms=[{"image": "a"}, {"image": "b"}], parallel=1)
    equip(mirror)
    assert sync.sync(mirror)["result"]
    assert len(built) == 2
    one, other = (directory_of(mirror, name).public / "src-1.0-py3-none-any.whl" for name in ("a", "b"))
    assert not one.samefile(other)


def test_a_wheel_built_here_gives_way_to_the_indexs_own_on_an_upgrade(
    tmp_path: Path, server: LocalIndex, built: list[str]
) -> None:
    mirror = declare(tmp_path, server.url, packages=["src"])
    equip(mirror)
    good(mirror)
    wheel = server.add(make_wheel(tmp_path / "files", "src", "1.0", files={"src.py": "official = True\n"}))
    before = directory_of(mirror).manifest()["wheels"][wheel]["sha256"]
    result = good(mirror, upgrade=True)
    assert result["added"][wheel]["replaced"] == before
    assert sha256_of(directory_of(mirror).public / wheel) == server.files[wheel].sha256
    consistent(mirror)


def test_an_sdist_that_was_built_in_vain_is_not_built_again(
    tmp_path: Path, server: LocalIndex, built: list[str]
) -> None:
    mirror = declare(tmp_path, server.url, packages=["src"])
    equip(mirror)
    server.remove(DEP)
    for _ in range(2):
        assert "dep" in bad(mirror)
    server.add(tmp_path / "files" / DEP)
    good(mirror)
    assert built == ["src-1.0.tar.gz"]
    consistent(mirror)


def test_a_build_without_an_engine_is_told_and_keeps_no_other_set_back(
    tmp_path: Path, server: LocalIndex, built: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(url: str = "") -> None:
        raise EngineError("no container engine")

    monkeypatch.setattr(Engine, "connect", staticmethod(away))
    mirror = declare(tmp_path, server.url, packages=["demo"])
    equip(mirror)
    good(mirror)
    wanting = declare(tmp_path, server.url, packages=["demo", "src"])
    assert "no container engine" in bad(wanting)
    assert wheels(wanting) == {DEMO, DEP}


def test_a_broken_wheel_is_set_aside_and_the_mirror_comes_to_rest(declared: Mirror, server: LocalIndex) -> None:
    """pip gives up on a corrupt newest wheel, so an older good one beside it is no excuse."""
    good(declared)
    broken = directory_of(declared).public / "demo-9.0-py3-none-any.whl"
    broken.write_bytes(b"half a whe")
    planned = plan.make(declared, declared.platforms[0], directory_of(declared))
    assert not planned.nothing_to_do
    assert broken.name in " ".join(planned.due)
    assert list(good(declared)["removed"]) == [broken.name]
    assert not broken.exists()
    assert plan.make(declared, declared.platforms[0], directory_of(declared)).nothing_to_do
    consistent(declared)


def test_a_wheel_that_somebody_replaced_comes_back(declared: Mirror, server: LocalIndex, tmp_path: Path) -> None:
    good(declared)
    wheel = directory_of(declared).public / DEMO
    original = sha256_of(wheel)
    make_wheel(wheel.parent, "demo", "1.0", files={"demo.py": "another = 'content of another size'"})
    assert sha256_of(wheel) != original
    good(declared)
    assert sha256_of(wheel) == original
    consistent(declared)
