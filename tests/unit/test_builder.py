"""The parts of engine, images, inside and builder that need no container engine."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import runpy
import socket
import subprocess
import sys
import sysconfig
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name
from pipmirror_lib import (
    builder,
    builds,
    emulation,
    engine,
    engine_faults,
    images,
    inside,
    locks,
    logs,
    mounts,
    processes,
    proof,
    sdists,
    workplace,
)
from pipmirror_lib.builds import BuildRequest
from pipmirror_lib.engine import ImageInfo, RunResult, RunSpec
from pipmirror_lib.errors import BuilderError, BuildError, EngineError, ImageError, MirrorError, VerifyError
from pipmirror_lib.logs import Log, harmless
from pipmirror_lib.mirror import discard
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.sdists import BuildSystem, read_build_system, read_pkg_info
from pipmirror_lib.settings import Container, Platform
from pipmirror_lib.workplace import open_untrusted

from tests.support import dists

MARKERS = {
    "implementation_name": "cpython",
    "implementation_version": "3.9.2",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_release": "",
    "platform_system": "Linux",
    "platform_version": "",
    "python_full_version": "3.9.2",
    "python_version": "3.9",
    "sys_platform": "linux",
}
PATHS = {
    "purelib": "lib/python3.9/site-packages",
    "platlib": "lib64/python3.9/site-packages",
    "scripts": "bin",
    "include": "include/site/python3.9",
    "data": ".",
}
PROFILE = TargetProfile(MARKERS, ("py3-none-any",), "20.3.4", "/usr/bin/python3.9", PATHS)
PLATFORM = Platform(name="bookworm", image="debian:bookworm", sets=(), pre_command="true")


def ignore(text: str) -> None:
    pass


# --- the recipe -----------------------------------------------------------------------------------


def test_recipe_is_a_digest_of_what_makes_the_image() -> None:
    first = builder.recipe(PLATFORM, "sha256:1")
    assert len(first) == 64
    assert builder.recipe(dataclasses.replace(PLATFORM, name="other", image="same:base"), "sha256:1") == first


@pytest.mark.parametrize(
    "change", [{"pre_command": "false"}, {"python": "python3.12"}, {"architecture": "arm64"}], ids=str
)
def test_recipe_changes_with_each_part(change: dict[str, str]) -> None:
    changed = dataclasses.replace(PLATFORM, **change)  # type: ignore[arg-type]
    assert builder.recipe(changed, "sha256:1") != builder.recipe(PLATFORM, "sha256:1")
    assert builder.recipe(PLATFORM, "sha256:2") != builder.recipe(PLATFORM, "sha256:1")


# --- builder images, with an engine that only remembers -------------------------------------------


class FakeEngine:
    """Images by id or name; `commands` says how each command ends."""

    architecture = "amd64"
    is_local = True

    def __init__(self) -> None:
        self.images: dict[str, ImageInfo] = {}
        self.ran: list[RunSpec] = []
        self.pulled: list[str] = []
        self.imported: list[str] = []
        self.removed: list[str] = []
        self.busy: set[str] = set()
        self.stopped = threading.Event()
        self.pull_error = ""
        self.result = RunResult(0, "", False, False)
        self.add("base", name="debian:bookworm")

    def add(self, id: str, name: str = "", age: int = 0, **labels: str) -> ImageInfo:
        made = datetime.now(timezone.utc) - timedelta(seconds=age)
        info = ImageInfo(f"sha256:{id}", {key.replace("_", "."): v for key, v in labels.items()}, made, "amd64")
        self.images[info.id] = info
        if name:
            self.images[name] = info
        return info

    def image(self, reference: str) -> ImageInfo | None:
        return self.images.get(reference)

    def find(self, labels: Mapping[str, str]) -> list[ImageInfo]:
        found = {i.id: i for i in self.images.values() if labels.items() <= i.labels.items()}
        return sorted(found.values(), key=lambda info: info.created, reverse=True)

    def pull(self, reference: str, platform: str = "") -> ImageInfo:
        self.pulled.append(reference)
        if self.pull_error:
            raise ImageError(f"pull {reference}: {self.pull_error}")
        info = self.add(f"pulled{len(self.pulled)}", name=reference)
        if platform:
            info = dataclasses.replace(info, architecture=engine.oci_platform(platform).removeprefix("linux/"))
            self.images[info.id] = self.images[reference] = info
        return info

    def tag(self, image: str, repository: str, tag: str) -> None:
        self.images[f"{repository}:{tag}"] = self.images[image]

    def import_tar(self, source: Any, repository: str, tag: str, *, labels: dict[str, str], **_: Any) -> str:
        source.read()
        self.imported.append(f"{repository}:{tag}")
        info = ImageInfo("sha256:imported", labels, datetime.now(timezone.utc), "amd64")
        self.images[info.id] = self.images[f"{repository}:{tag}"] = info
        return info.id

    def remove_image(self, reference: str) -> bool:
        if reference in self.busy:
            raise EngineError("conflict: it is in use")
        self.removed.append(reference)
        return self.images.pop(reference, None) is not None

    def remove_abandoned(self) -> dict[str, str]:
        return {}

    def container(self, spec: RunSpec) -> Any:
        import contextlib

        self.ran.append(spec)
        return contextlib.nullcontext(self)

    def finish(self) -> RunResult:
        return self.result

    def commit(self, repository: str, tag: str, labels: dict[str, str]) -> str:
        info = ImageInfo(f"sha256:made{len(self.ran)}", labels, datetime.now(timezone.utc), "amd64")
        self.images[info.id] = info
        return info.id


@pytest.fixture
def fake() -> FakeEngine:
    return FakeEngine()


def prepare(fake: Any, workdir: Path, platform: Platform = PLATFORM, **options: Any) -> builder.BuilderImage:
    options = {"limits": Container(), "rebuild_after": 0, "progress": ignore, **options}
    return builder.prepare(fake, platform, workdir=workdir, **options)


def age(fake: FakeEngine, id: str, seconds: int) -> None:
    info = fake.images[id]
    fake.images[id] = dataclasses.replace(info, created=info.created - timedelta(seconds=seconds))


def test_prepare_runs_the_command_once(fake: FakeEngine, tmp_path: Path) -> None:
    made = prepare(fake, tmp_path)
    again = prepare(fake, tmp_path)
    assert (made.reused, again.reused) == (False, True)
    assert again == dataclasses.replace(made, reused=True)
    (spec,) = fake.ran
    assert spec.command[-1] == "true"
    assert (spec.network, spec.hardened, spec.user) == (True, False, "0:0")
    assert made.base_source == "local"


def test_prepare_makes_it_again_when_it_is_too_old_or_forced(fake: FakeEngine, tmp_path: Path) -> None:
    first = prepare(fake, tmp_path)
    age(fake, first.id, 100)
    assert prepare(fake, tmp_path, rebuild_after=1000).reused
    second = prepare(fake, tmp_path, rebuild_after=10)
    assert not second.reused
    assert fake.removed == [first.id], "the superseded image goes"
    assert not prepare(fake, tmp_path, force=True).reused


def test_prepare_leaves_an_image_that_is_in_use(fake: FakeEngine, tmp_path: Path) -> None:
    first = prepare(fake, tmp_path)
    fake.busy.add(first.id)
    assert not prepare(fake, tmp_path, force=True).reused
    assert first.id in fake.images


@pytest.mark.parametrize(
    "change",
    [{"pre_command": "other"}, {"python": "python3.12"}, {"architecture": "386"}, {"image": "debian:trixie"}],
    ids=lambda change: str(*change),
)
def test_two_mirrors_that_mean_two_things_by_one_name_do_not_take_turns(
    fake: FakeEngine, tmp_path: Path, change: dict[str, str]
) -> None:
    other = dataclasses.replace(PLATFORM, **change)  # type: ignore[arg-type]
    prepare(fake, tmp_path)
    prepare(fake, tmp_path, other)
    assert prepare(fake, tmp_path).reused
    assert prepare(fake, tmp_path, other).reused


def test_an_image_that_does_not_say_what_it_was_made_for_stays_until_it_is_too_old(
    fake: FakeEngine, tmp_path: Path
) -> None:
    """As older releases made them."""
    first = prepare(fake, tmp_path)
    labels = {key: value for key, value in fake.images[first.id].labels.items() if not key.endswith(".asked")}
    fake.images[first.id] = dataclasses.replace(fake.images[first.id], labels=labels)
    fake.add("newbase", name="debian:bookworm")
    assert not prepare(fake, tmp_path, rebuild_after=1000).reused
    assert fake.removed == []
    age(fake, first.id, 2000)
    assert not prepare(fake, tmp_path, rebuild_after=1000, force=True).reused
    assert first.id in fake.removed


def test_prepare_notices_a_new_base_image(fake: FakeEngine, tmp_path: Path) -> None:
    first = prepare(fake, tmp_path)
    fake.add("newbase", name="debian:bookworm")
    second = prepare(fake, tmp_path)
    assert not second.reused
    assert second.base_id == "sha256:newbase"
    assert fake.removed == [first.id]


def test_prepare_pulls_again_only_when_the_image_is_due(fake: FakeEngine, tmp_path: Path) -> None:
    platform = dataclasses.replace(PLATFORM, image_source="registry")
    first = prepare(fake, tmp_path, platform, rebuild_after=10)
    assert fake.pulled == ["debian:bookworm"]
    assert prepare(fake, tmp_path, platform, rebuild_after=10).reused
    assert len(fake.pulled) == 1
    age(fake, first.id, 100)
    assert not prepare(fake, tmp_path, platform, rebuild_after=10).reused
    assert len(fake.pulled) == 2


def test_without_a_command_the_base_image_serves(fake: FakeEngine, tmp_path: Path) -> None:
    made = prepare(fake, tmp_path, dataclasses.replace(PLATFORM, pre_command=" "))
    assert made.id == made.base_id == "sha256:base"
    assert not fake.ran


def two_at_once(fake: FakeEngine, workdir: Path, **options: Any) -> list[builder.BuilderImage]:
    """Two calls of `prepare`, the first of which ends when the second waits for it."""
    waits = threading.Event()
    finish = fake.finish

    def slow() -> RunResult:
        assert waits.wait(30)
        return finish()

    def progress(text: str) -> None:
        if text.startswith("waiting for another run"):
            waits.set()

    fake.finish = slow  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(prepare, fake, workdir, progress=progress, **options) for _ in range(2)]
        return [call.result() for call in calls]


@pytest.mark.parametrize("force", [False, True])
def test_two_at_once_make_one_image(fake: FakeEngine, tmp_path: Path, force: bool) -> None:
    before = prepare(fake, tmp_path) if force else None
    first, second = two_at_once(fake, tmp_path, force=force)
    assert len(fake.ran) == (2 if force else 1)
    assert sorted([first.reused, second.reused]) == [False, True]
    assert first.id == second.id
    assert before is None or before.id != first.id


def test_who_waits_longer_than_making_may_take_makes_it_too(fake: FakeEngine, tmp_path: Path) -> None:
    digest = builder.recipe(PLATFORM, "sha256:base")
    with locks.one_of([locks.of_machine(hashlib.sha256(digest.encode()).hexdigest()[:16])]):
        assert not prepare(fake, tmp_path, limits=Container(timeout=0)).reused


def test_no_lock_of_a_recipe_stays(fake: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_RUN", tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    prepare(fake, tmp_path)
    assert list((tmp_path / "pipmirror").iterdir()) == []


def test_an_image_that_somebody_removes_is_waited_for_with_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "REMOVING", 0.05)
    said: list[str] = []
    with (
        locks.one_of([builder._use("sha256:1")]),
        pytest.raises(EngineError, match="another run has been removing it"),
        builder.using("sha256:1", said.append),
    ):
        pass
    assert said == ["waiting for another run that removes the image sha256:1"]


def test_one_that_a_run_uses_is_not_replaced_under_it(fake: FakeEngine, tmp_path: Path) -> None:
    old = prepare(fake, tmp_path)
    with builder.using(old.id):
        new = prepare(fake, tmp_path, force=True)
        assert fake.removed == []
    newest = prepare(fake, tmp_path, force=True)
    assert sorted(fake.removed) == sorted([old.id, new.id])
    assert {info.id for info in fake.find({})} == {"sha256:base", newest.id}


def test_of_one_recipe_only_the_newest_stays(fake: FakeEngine, tmp_path: Path) -> None:
    """Whichever platform it was made for: it has lost its name, which is the recipe."""
    old = prepare(fake, tmp_path)
    prepare(fake, tmp_path, platform=dataclasses.replace(PLATFORM, name="other"), force=True)
    assert fake.removed == [old.id]


def test_a_base_of_ours_goes_with_the_last_image_made_of_it(
    fake: FakeEngine, tmp_path: Path, debootstrap: Path
) -> None:
    insisting = dataclasses.replace(PLATFORM, image_source="debootstrap")
    fake.add("bootstrapped", name="debian:bookworm", **{images.DEBOOTSTRAPPED_LABEL.replace(".", "_"): "then"})
    old = prepare(fake, tmp_path, platform=insisting)
    new = prepare(fake, tmp_path, platform=insisting, force=True)
    assert (old.base_id, new.base_id) == ("sha256:bootstrapped", "sha256:imported")
    assert fake.removed == [old.id, "sha256:bootstrapped"]


def test_verify_command_has_an_image_of_its_own(fake: FakeEngine, tmp_path: Path) -> None:
    first = prepare(fake, tmp_path)
    second = prepare(fake, tmp_path, command="echo run-time only", force=True)
    assert first.id != second.id
    assert first.id in fake.images, "of another kind, so not superseded"
    assert prepare(fake, tmp_path, command="true").id == first.id, "the same command needs no second image"


def test_a_failing_command_is_named_with_its_last_words(fake: FakeEngine, tmp_path: Path) -> None:
    fake.result = RunResult(100, "Reading lists\nE: Unable to locate package pyhton3\n", False, False)
    with pytest.raises(BuilderError) as caught:
        prepare(fake, tmp_path)
    message = str(caught.value)
    assert "pre_command 'true' failed with exit code 100: E: Unable to locate package pyhton3" in message
    assert str(tmp_path / "prepare-builder.log") in message
    assert "\n" not in message


def test_a_command_without_end_names_the_setting(fake: FakeEngine, tmp_path: Path) -> None:
    fake.result = RunResult(137, "waiting\n", True, False)
    with pytest.raises(BuilderError, match=r"verify_command.*3600 seconds \(container:timeout\)"):
        prepare(fake, tmp_path, command="sleep")


# --- base images ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "suite"),
    [
        ("debian:bookworm", ("debian", "bookworm")),
        ("debian:bookworm-slim", ("debian", "bookworm")),
        ("debian:12", ("debian", "bookworm")),
        ("debian:11-slim", ("debian", "bullseye")),
        ("debian:13", ("debian", "trixie")),
        ("library/debian:trixie", ("debian", "trixie")),
        ("ubuntu:22.04", ("ubuntu", "jammy")),
        ("ubuntu:noble", ("ubuntu", "noble")),
        ("debian", ("debian", "stable")),
        ("ubuntu", None),
        ("debian:--arch=i386", None),
        ("debian:../../etc", None),
        ("debian:9.1", None),
        ("python:3.12", None),
        ("host.invalid/debian:bookworm", None),
    ],
)
def test_suite_of(image: str, suite: tuple[str, str] | None) -> None:
    assert images.suite_of(image) == suite


@pytest.mark.parametrize(
    "message",
    [
        'Get "https://r.invalid/v2/": dial tcp: lookup r.invalid on 10.0.0.1:53: no such host',
        'Get "http://localhost:5999/v2/": dial tcp 127.0.0.1:5999: connect: connection refused',
        "dial tcp 192.0.2.1:443: i/o timeout",
        "net/http: TLS handshake timeout",
        "net/http: request canceled while waiting for connection (Client.Timeout exceeded)",
        "context deadline exceeded",
        "lookup r.invalid: Temporary failure in name resolution",
        "proxyconnect tcp: EOF",
    ],
)
def test_out_of_reach(message: str) -> None:
    assert images.out_of_reach(message)


@pytest.mark.parametrize(
    "message",
    [
        "manifest for debian:bookwurm not found: manifest unknown",
        "pull access denied for x, repository does not exist or may require 'docker login'",
        "toomanyrequests: You have reached your pull rate limit",
        "unauthorized: authentication required",
        "x509: certificate signed by unknown authority",
    ],
)
def test_an_answer_is_not_out_of_reach(message: str) -> None:
    assert not images.out_of_reach(message)


def ensure(fake: Any, workdir: Path, source: str, image: str = "debian:trixie", **options: Any) -> images.BaseImage:
    platform = dataclasses.replace(PLATFORM, image=image, image_source=source)
    return images.ensure(fake, platform, workdir, ignore, **options)


def test_local_only_names_the_options(fake: FakeEngine, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"debian:trixie is not on this machine.*docker load.*registry.*debootstrap"):
        ensure(fake, tmp_path, "local")
    assert ensure(fake, tmp_path, "local", "debian:bookworm") == images.BaseImage("sha256:base", "local")


def test_auto_takes_what_is_there(fake: FakeEngine, tmp_path: Path) -> None:
    assert ensure(fake, tmp_path, "auto", "debian:bookworm").source == "local"
    assert not fake.pulled
    assert ensure(fake, tmp_path, "auto").source == "registry"


def test_a_registry_is_always_asked(fake: FakeEngine, tmp_path: Path) -> None:
    assert ensure(fake, tmp_path, "registry", "debian:bookworm").id == "sha256:pulled1"
    fake.pull_error = "dial tcp: no such host"
    with pytest.raises(ImageError, match="no such host"):
        ensure(fake, tmp_path, "registry", "debian:bookworm")


def test_an_image_of_another_architecture_is_not_there(fake: FakeEngine) -> None:
    for architecture, there in (("amd64", True), ("x86_64", True), ("linux/amd64", True), ("arm64", False)):
        platform = dataclasses.replace(PLATFORM, architecture=architecture)
        assert bool(images.present(fake, platform)) is there, architecture  # type: ignore[arg-type]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel that knows no emulator yet."""
    monkeypatch.setattr(emulation, "BINFMT", tmp_path / "binfmt")
    (tmp_path / "binfmt").mkdir()
    return tmp_path / "binfmt"


def test_an_architecture_that_cannot_be_run_says_what_to_install(
    fake: FakeEngine, tmp_path: Path, kernel: Path
) -> None:
    """Before anything is fetched."""
    arm = dataclasses.replace(PLATFORM, architecture="arm64")
    said = r"architecture arm64 is not this machine's \(amd64\).*install qemu-user-static and binfmt-support"
    with pytest.raises(ImageError, match=rf"{said} and mount binfmt_misc on "):
        images.ensure(fake, arm, tmp_path, ignore)  # type: ignore[arg-type]
    (kernel / "status").write_text("enabled\n")
    for entry in ("disabled\nflags: F\n", "enabled\nflags: P\n"):
        (kernel / "qemu-aarch64").write_text(entry)
        with pytest.raises(ImageError, match=f"{said}$"):
            images.ensure(fake, arm, tmp_path, ignore)  # type: ignore[arg-type]
    assert not fake.pulled
    fake.is_local = False  # its kernel is not ours to look at
    images.ensure(fake, arm, tmp_path, ignore)  # type: ignore[arg-type]
    fake.is_local = True
    (kernel / "qemu-aarch64").write_text("enabled\ninterpreter /usr/bin/qemu\nflags: POF\n")
    emulation.check(fake, "aarch64")  # type: ignore[arg-type]
    for native in ("", "amd64", "x86_64", "386"):
        emulation.check(fake, native)  # type: ignore[arg-type]


def test_one_name_for_two_architectures(fake: FakeEngine, tmp_path: Path, kernel: Path) -> None:
    """Neither takes the other's name away."""
    (kernel / "qemu-aarch64").write_text("enabled\nflags: F\n")
    arm = dataclasses.replace(PLATFORM, architecture="arm64")
    pulled = images.ensure(fake, arm, tmp_path, ignore)  # type: ignore[arg-type]
    assert images.present(fake, arm) == images.BaseImage(pulled.id, "local")  # type: ignore[arg-type]
    assert images.present(fake, PLATFORM) == images.BaseImage("sha256:base", "local")  # type: ignore[arg-type]
    assert images.ensure(fake, arm, tmp_path, ignore).id == pulled.id  # type: ignore[arg-type]
    assert len(fake.pulled) == 1


def test_one_name_for_two_architectures_at_once(fake: FakeEngine, tmp_path: Path, kernel: Path) -> None:
    """A pull moves the name, so that only one may be under way."""
    (kernel / "qemu-aarch64").write_text("enabled\nflags: F\n")
    second_came, pull = threading.Event(), fake.pull

    def slow(reference: str, platform: str = "") -> ImageInfo:
        if fake.pulled:
            second_came.set()
        pull(reference, platform)
        assert second_came.wait(30)
        return fake.images[reference]  # as the engine does: whatever has the name by now

    def progress(text: str) -> None:
        if text.startswith("waiting for another run"):
            second_came.set()

    fake.pull = slow  # type: ignore[method-assign]
    native = dataclasses.replace(PLATFORM, image_source="registry", pre_command="")
    platforms = [dataclasses.replace(native, architecture="arm64"), native]
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda platform: prepare(fake, tmp_path, platform, progress=progress), platforms))
    assert [fake.images[image.id].architecture for image in made] == ["arm64", "amd64"]


def test_a_name_that_is_another_architecture_s_is_not_the_machine_s_own(
    fake: FakeEngine, tmp_path: Path, kernel: Path
) -> None:
    (kernel / "qemu-aarch64").write_text("enabled\nflags: F\n")
    arm = dataclasses.replace(PLATFORM, image="debian:trixie", architecture="arm64")
    foreign = images.ensure(fake, arm, tmp_path, ignore)  # type: ignore[arg-type]
    assert fake.images["debian:trixie"].id == foreign.id
    assert ensure(fake, tmp_path, "auto").id != foreign.id
    assert images.present(fake, arm) == images.BaseImage(foreign.id, "local")  # type: ignore[arg-type]
    for native in ("386", "amd64/v2", ""):
        fake.images["debian:trixie"] = dataclasses.replace(fake.images[foreign.id], architecture=native)
        assert ensure(fake, tmp_path, "local").id == foreign.id, native


@pytest.mark.parametrize("wanted", ["", "386"])
def test_what_came_for_another_architecture_is_refused(fake: FakeEngine, tmp_path: Path, wanted: str) -> None:
    def pull(reference: str, platform: str = "") -> ImageInfo:
        info = dataclasses.replace(fake.add("foreign", name=reference), architecture="arm64/v8")
        fake.images[reference] = info
        return info

    fake.pull = pull  # type: ignore[method-assign]
    platform = dataclasses.replace(PLATFORM, architecture=wanted, image_source="registry")
    with pytest.raises(ImageError, match=f"what came is for arm64/v8, not for {wanted or 'amd64'}; say in"):
        images.ensure(fake, platform, tmp_path, ignore)  # type: ignore[arg-type]
    assert not any(name.startswith(images.FOREIGN) for name in fake.images)
    assert not wanted or fake.images["debian:bookworm"].id == "sha256:base", "it has its name again"


DEBOOTSTRAP = """#!/bin/sh
for target; do :; done
echo "$@" >> {log}
[ -z "$FAKE_FAILURE" ] || { echo "I: hello"; echo "E: $FAKE_FAILURE"; echo "I: bye"; exit 1; }
mkdir -p "$target/usr/sbin" "$target/dev" && touch "$target/dev/null"
"""


@pytest.fixture
def debootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A debootstrap that writes its arguments down and makes next to nothing."""
    programs, log = tmp_path / "bin", tmp_path / "arguments"
    programs.mkdir()
    (programs / "debootstrap").write_text(DEBOOTSTRAP.replace("{log}", str(log)))
    (programs / "debootstrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return log


def test_auto_makes_the_image_where_no_registry_is_in_reach(
    fake: FakeEngine, tmp_path: Path, debootstrap: Path
) -> None:
    fake.pull_error = "dial tcp: no such host"
    made = ensure(fake, tmp_path / "work", "auto", "debian:12-slim")
    assert made == images.BaseImage("sha256:imported", "debootstrap")
    assert fake.imported == ["debian:12-slim"]
    assert fake.images["sha256:imported"].labels["org.pipmirror.suite"] == "bookworm"
    arguments = debootstrap.read_text().split()
    assert arguments[:3] == ["--variant=minbase", "--force-check-gpg", "bookworm"]
    assert not Path(arguments[3]).exists(), "the tree is removed"
    assert ensure(fake, tmp_path / "work", "auto", "debian:12-slim").source == "debootstrap", "as remembered"


def test_auto_makes_nothing_where_the_registry_says_no(fake: FakeEngine, tmp_path: Path, debootstrap: Path) -> None:
    fake.pull_error = "manifest unknown"
    with pytest.raises(ImageError, match="manifest unknown"):
        ensure(fake, tmp_path, "auto")
    assert not debootstrap.exists()


def test_a_name_that_nobody_knows_may_be_a_slip(fake: FakeEngine, tmp_path: Path, debootstrap: Path) -> None:
    fake.pull_error = "dial tcp: no such host"
    (debootstrap.parent / "bin" / "debootstrap").write_text("#!/bin/sh\necho 'E: No such script: bokworm'; exit 1\n")
    with pytest.raises(
        ImageError, match=r"debootstrap bokworm failed \(E: No such script.*no registry was in reach \(.*"
    ):
        ensure(fake, tmp_path, "auto", "debian:bokworm")


def test_auto_cannot_make_just_any_image(fake: FakeEngine, tmp_path: Path, debootstrap: Path) -> None:
    fake.pull_error = "dial tcp: no such host"
    with pytest.raises(ImageError, match=r"python:3 is not on this machine, and no registry .*docker load"):
        ensure(fake, tmp_path, "auto", "python:3")
    with pytest.raises(ImageError, match="only debian:SUITE"):
        ensure(fake, tmp_path, "debootstrap", "python:3")


def test_debootstrap_insists_on_its_own_image(fake: FakeEngine, tmp_path: Path, debootstrap: Path) -> None:
    assert ensure(fake, tmp_path, "debootstrap", "debian:bookworm").source == "debootstrap"
    ensure(fake, tmp_path, "debootstrap", "debian:bookworm")
    assert len(fake.imported) == 1
    ensure(fake, tmp_path, "debootstrap", "debian:bookworm", refresh=True)
    assert len(fake.imported) == 2


def test_debootstrap_knows_the_architecture(fake: FakeEngine, tmp_path: Path, debootstrap: Path) -> None:
    platform = dataclasses.replace(PLATFORM, image_source="debootstrap", architecture="386")
    made = images.ensure(fake, platform, tmp_path, ignore)  # type: ignore[arg-type]
    assert "--arch=i386" in debootstrap.read_text()
    assert fake.imported == ["pipmirror-base:debian-bookworm-linux-386"]
    # An old engine records its own architecture, as this one does; it is found all the same, and only for this one.
    assert fake.images[made.id].architecture == "amd64"
    assert images.present(fake, platform) == made  # type: ignore[arg-type]
    assert images.present(fake, dataclasses.replace(PLATFORM, image=fake.imported[0], architecture="amd64")) is None  # type: ignore[arg-type]


def test_a_failing_debootstrap_leaves_nothing_but_its_log(
    fake: FakeEngine, tmp_path: Path, debootstrap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAILURE", "Release signed by unknown key")
    work = tmp_path / "work"
    with pytest.raises(ImageError, match=r"E: Release signed by unknown key.*debootstrap-trixie\.log"):
        ensure(fake, work, "debootstrap")
    assert [path.name for path in work.iterdir()] == ["debootstrap-trixie.log"]


def test_missing_debootstrap_says_so(fake: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match="not installed; install the package"):
        ensure(fake, tmp_path, "debootstrap")


def test_what_is_still_mounted_is_never_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "below", lambda root: [root / "proc"])
    (tmp_path / "proc").mkdir()
    with pytest.raises(MirrorError, match="still mounted"):
        discard(tmp_path)
    assert (tmp_path / "proc").is_dir()


# --- the engine -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;file:///etc\x1b\\link", "link"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("bell\x07 back\x08 nul\x00 csi\x9b31m", "bell back nul csi31m"),
        ("user\u202etxt.exe", "usertxt.exe"),
        ("one\u2028two\x0bthree\x1cfour\x85five", "onetwothreefourfive"),
        ("Grüße ✓", "Grüße ✓"),
    ],
)
def test_harmless(raw: str, clean: str) -> None:
    assert harmless(raw) == clean


def test_a_log_is_written_as_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with Log(path) as log:
        log.write("ü".encode()[:1])
        log.write("ü".encode()[1:] + b"\xff\n")
        assert path.read_text() == "ü\ufffd\n"
    log.write(b"too late")
    assert log.text == path.read_text() == "ü\ufffd\n"


def test_a_log_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with Log(path) as log:
        for number in range(1_200_000):
            log.write(b"line %d\n" % number)
    assert path.stat().st_size < (5 << 20) + (200 << 10)
    assert log.text.startswith("line 0\n")
    assert log.text.endswith("line 1199999\n")
    assert "characters left out]" in log.text
    assert log.text == path.read_text()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T17:32:28.123456789Z", "2026-11-22T17:32:28+00:00"),
        ("2026-11-22T17:32:28Z", "2026-11-22T17:32:28+00:00"),
        ("2026-11-22T17:32:28.5+02:00", "2026-11-22T15:32:28+00:00"),
        ("2026-11-22T17:32:28-00:30", "2026-11-22T18:02:28+00:00"),
        ("", "1970-01-01T00:00:00+00:00"),
    ],
)
def test_moment(text: str, moment: str) -> None:
    assert engine._moment(text).isoformat() == moment


def test_oci_platform() -> None:
    assert engine.oci_platform("") == ""
    assert engine.oci_platform("aarch64") == engine.oci_platform("linux/arm64") == "linux/arm64"
    assert engine.oci_platform("armhf") == "linux/arm/v7"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("unix:///nowhere/docker.sock", "does not exist; apply the docker state or start dockerd"),
        ("tcp://127.0.0.1:1", "is not running; apply the docker state or start dockerd"),
        ("nonsense", "does not answer"),
    ],
)
def test_connect_says_what_to_do(url: str, message: str) -> None:
    with pytest.raises(EngineError) as caught:
        engine.Engine.connect(url)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_permission_is_another_matter() -> None:
    text = engine_faults.unreachable(Exception("('Connection aborted.', PermissionError(13, 'Permission denied'))"), "")
    assert "run as root or join the group docker" in text


def test_a_missing_sdk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    with pytest.raises(EngineError, match=r"apply the pipmirror\.python state"):
        engine.Engine.connect()


class FakeApi:
    """Records what becomes of one container."""

    timeout = 60
    base_url = "http+docker://localhost"

    def __init__(self, interrupt: str = "") -> None:
        self.created: dict[str, Any] = {}
        self.hosted: dict[str, Any] = {}
        self.removed: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self.interrupt = interrupt

    def containers(self, **_: Any) -> list[dict[str, Any]]:
        return self.rows

    def info(self) -> dict[str, Any]:
        return {"NCPU": 1}

    def create_host_config(self, **options: Any) -> dict[str, Any]:
        self.hosted = options
        return options

    def _step(self, name: str) -> None:
        if self.interrupt == name:
            raise KeyboardInterrupt

    def create_container(self, image: str, **options: Any) -> dict[str, str]:
        self.created = {"image": image, **options}
        self._step("create")
        return {"Id": "1"}

    def attach(self, name: str, **_: Any) -> Iterator[bytes]:
        return iter([b"hello\n"])

    def start(self, name: str) -> None:
        self._step("start")

    def wait(self, name: str, timeout: float) -> dict[str, int]:
        self._step("wait")
        return {"StatusCode": 3}

    def inspect_container(self, name: str) -> dict[str, Any]:
        return {"State": {"ExitCode": 3, "OOMKilled": True}}

    def remove_container(self, name: str, v: bool, force: bool) -> None:
        assert (v, force) == (True, True)
        self.removed.append(name)


def engine_with(api: FakeApi) -> engine.Engine:
    made = engine.Engine.__new__(engine.Engine)
    made._api, made._cpus, made.stopped = api, 0.0, threading.Event()
    return made


def test_a_hardened_run_is_hardened(tmp_path: Path) -> None:
    api = FakeApi()
    limits = Container(memory=1 << 30, pids=99, cpus=8.0)
    spec = RunSpec("image", ("python", "-I", "x.py"), limits=limits, scratch=tmp_path / "scratch", groups=(7,))
    result = engine_with(api).run(spec)
    assert result == RunResult(3, "hello\n", False, True)
    assert (api.created["entrypoint"], api.created["command"]) == ([""], ["python", "-I", "x.py"])
    assert api.created["user"] == "65534:65534"
    assert api.created["use_config_proxy"] is False
    assert api.created["labels"]["org.pipmirror"] == "1"
    assert api.created["environment"]["TMPDIR"] == "/pipmirror/scratch/tmp"
    assert (tmp_path / "scratch/tmp").is_dir()
    expected = {
        "network_mode": "none",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "read_only": True,
        "mem_limit": 1 << 30,
        "memswap_limit": 1 << 30,
        "pids_limit": 99,
        "nano_cpus": 1_000_000_000,
        "group_add": ["7"],
    }
    assert {key: api.hosted[key] for key in expected} == expected
    assert api.removed == [api.created["name"]]


def test_only_containers_of_dead_processes_are_abandoned() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    owners = {"ours": os.getpid(), "init": 1, "dead": ended.pid}
    labels = {name: {engine.OWNER_LABEL: f"{socket.gethostname()}/{pid}"} for name, pid in owners.items()}
    # Its number belongs to another process by now, as after a restart of the machine.
    labels["reborn"] = {engine.OWNER_LABEL: f"{socket.gethostname()}/{os.getpid()}/1"}
    labels["young"] = {engine.OWNER_LABEL: processes.owner()}
    labels |= {"elsewhere": {engine.OWNER_LABEL: f"other.invalid/{ended.pid}"}, "odd": {}}
    api = FakeApi()
    api.rows = [{"Id": name, "Names": [f"/{name}-1"], "Labels": found} for name, found in labels.items()]
    assert engine_with(api).remove_abandoned() == {"dead": "dead-1", "reborn": "reborn-1"}
    assert api.removed == ["dead", "reborn"]


@pytest.mark.parametrize(
    ("url", "removed"),
    [("http+docker://localhost", ["dead", "restarted", "older"]), ("http://engine.invalid:2375", ["dead"])],
)
def test_a_machine_of_the_same_name_is_another_one(url: str, removed: list[str]) -> None:
    """Only of an engine of its own a machine knows that nobody else of its name has used it."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    host, boot = processes.owner().split("/")[0].split("@")
    owners = {
        "dead": f"{host}@{boot}/{ended.pid}/1",
        "restarted": f"{host}@another-start/{os.getpid()}/1",
        "older": f"{host}/{ended.pid}/1",
        "ours": processes.owner(),
    }
    api = FakeApi()
    api.base_url = url
    api.rows = [{"Id": name, "Labels": {engine.OWNER_LABEL: owner}} for name, owner in owners.items()]
    assert boot
    assert list(engine_with(api).remove_abandoned()) == removed


@pytest.mark.parametrize("step", ["create", "start", "wait"])
def test_an_interrupted_run_leaves_no_container(step: str) -> None:
    api = FakeApi(interrupt=step)
    with pytest.raises(KeyboardInterrupt):
        engine_with(api).run(RunSpec("image", ("true",), hardened=False))
    assert api.removed == [api.created["name"]]


# --- source distributions, unread but for two files -----------------------------------------------


def tar(path: Path, members: Mapping[str, str | bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


LEGACY = BuildSystem(("setuptools>=40.8.0",), "setuptools.build_meta:__legacy__", ())


def test_a_legacy_sdist_has_the_default_build_system(tmp_path: Path) -> None:
    assert read_build_system(dists.make_sdist(tmp_path)) == LEGACY


@pytest.mark.parametrize(
    ("pyproject", "system"),
    [
        ("", LEGACY),
        ("[tool.black]\nline-length = 1", LEGACY),
        (
            '[build-system]\nrequires = ["wheel", "setuptools >= 61"]',
            BuildSystem(("wheel", "setuptools>=61"), LEGACY.backend),
        ),
        (
            '[build-system]\nrequires = []\nbuild-backend = "b.c:d.e"\nbackend-path = ["x/y"]',
            BuildSystem((), "b.c:d.e", ("x/y",)),
        ),
    ],
)
def test_build_system(tmp_path: Path, pyproject: str, system: BuildSystem) -> None:
    assert read_build_system(dists.make_sdist(tmp_path, pyproject=pyproject)) == system


@pytest.mark.parametrize(
    "pyproject",
    [
        "[build-system]",
        '[build-system]\nrequires = "wheel"',
        "[build-system]\nrequires = [1]",
        '[build-system]\nrequires = ["not a requirement"]',
        '[build-system]\nrequires = []\nbuild-backend = "os; import sys"',
        "[build-system]\nrequires = []\nbuild-backend = 7",
        '[build-system]\nrequires = []\nbackend-path = ["/etc"]',
        '[build-system]\nrequires = []\nbackend-path = ["a/../../b"]',
        "build-system = 3",
        "not toml",
    ],
)
def test_an_invalid_build_system_is_an_error(tmp_path: Path, pyproject: str) -> None:
    with pytest.raises(BuildError, match=r"demo-1\.0\.tar\.gz: pyproject\.toml: \[build-system\] is invalid"):
        read_build_system(dists.make_sdist(tmp_path, pyproject=pyproject))


MINE = '[build-system]\nrequires = ["mine"]\n'
OTHER = '[build-system]\nrequires = ["other"]\n'


def test_only_the_top_pyproject_counts(tmp_path: Path) -> None:
    nested = tar(tmp_path / "a.tar.gz", {"a-1/tests/pyproject.toml": OTHER, "a-1/setup.py": ""})
    assert read_build_system(nested) == LEGACY
    dotted = tar(tmp_path / "b.tar.gz", {"./b-1/setup.py": "", "./b-1/pyproject.toml": MINE})
    assert read_build_system(dotted).requires == ("mine",)
    flat = tar(tmp_path / "c.tar.gz", {"c/pyproject.toml": OTHER, "pyproject.toml": MINE, "setup.py": ""})
    assert read_build_system(flat).requires == ("mine",)


def test_the_last_one_counts_as_when_unpacking(tmp_path: Path) -> None:
    path = tmp_path / "a-1.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for text in (OTHER, MINE):
            member = tarfile.TarInfo("a-1/pyproject.toml")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    assert read_build_system(path).requires == ("mine",)


def test_zip_sdist(tmp_path: Path) -> None:
    path = tmp_path / "a-1.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a-1/pyproject.toml", MINE)
        archive.writestr("a-1/PKG-INFO", "Name: a\n")
    assert read_build_system(path).requires == ("mine",)
    assert read_pkg_info(path) == "Name: a\n"


def test_what_is_not_a_small_regular_file_is_refused(tmp_path: Path) -> None:
    linked = tar(tmp_path / "a.tar.gz", {"x": link("a-1/pyproject.toml", "/etc/passwd")})
    large = tar(tmp_path / "b.tar.gz", {"b-1/pyproject.toml": b"#" * ((1 << 20) + 1)})
    for path in (linked, large):
        with pytest.raises(BuildError, match="not a regular file of at most"):
            read_build_system(path)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a-1.tar.gz"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(BuildError, match="cannot be read"):
        read_build_system(path)
    path.write_bytes(dists.make_sdist(tmp_path).read_bytes()[:300])
    with pytest.raises(BuildError, match="cannot be read"):
        read_pkg_info(path)


def test_an_archive_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdists, "_UNPACKED", 1 << 20)
    path = tar(tmp_path / "a-1.tar.gz", {"a-1/zeros": bytes(2 << 20), "a-1/PKG-INFO": ""})
    with pytest.raises(BuildError, match="too many members, or too large"):
        read_pkg_info(path)


def test_read_pkg_info(tmp_path: Path) -> None:
    sdist = dists.make_sdist(tmp_path, requires=["dep"], static_metadata=True)
    assert "Requires-Dist: dep" in (read_pkg_info(sdist) or "")
    assert read_pkg_info(tar(tmp_path / "a-1.tar.gz", {"a-1/setup.py": ""})) is None


# --- the build environment ------------------------------------------------------------------------


def test_environment_is_a_virtual_environment(tmp_path: Path) -> None:
    previous = os.umask(0o077)
    try:
        wheel = dists.make_wheel(tmp_path, "tool", entry_points={"tool": "tool:main"})
        builds.make_environment(tmp_path / "env", PROFILE, [wheel])
    finally:
        os.umask(previous)
    env = tmp_path / "env"
    assert (env / "lib/python3.9/site-packages/tool.py").is_file()
    assert (env / "lib64/python3.9/site-packages").is_dir()
    script = env / "bin/tool"
    assert script.read_text().startswith("#!/pipmirror/env/bin/python\n")
    assert {str((env / "bin" / name).readlink()) for name in ("python", "python3")} == {"/usr/bin/python3.9"}
    assert (env / "pyvenv.cfg").read_text().splitlines() == [
        "home = /usr/bin",
        "include-system-site-packages = false",
        "version = 3.9.2",
    ]
    modes = {path.stat().st_mode & 0o777 for path in env.rglob("*") if not path.is_symlink()}
    assert modes == {0o755, 0o644}, "an unprivileged user reads it, whatever our umask"
    assert script.stat().st_mode & 0o777 == 0o755


def test_environment_works(tmp_path: Path) -> None:
    """With this very interpreter, for want of a container."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    library = f"lib/{version}/site-packages"
    own = dataclasses.replace(
        PROFILE,
        base_executable=os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
        paths={**PATHS, "purelib": library, "platlib": library},
    )
    builds.make_environment(tmp_path / "env", own, [dists.make_wheel(tmp_path, "tool", "3.1")])
    command = [str(tmp_path / "env/bin/python"), "-I", "-c", "import tool; print(tool.__version__)"]
    assert subprocess.check_output(command, text=True).strip() == "3.1"


def test_a_wheel_does_not_write_through_the_interpreter_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    profile = dataclasses.replace(PROFILE, base_executable=str(outside))
    wheel = dists.make_wheel(
        tmp_path,
        "evil",
        files={"evil-1.0.data/scripts/python": "#!python\n", "evil-1.0.data/scripts/python3": "x"},
    )
    builds.make_environment(tmp_path / "env", profile, [wheel, wheel])
    assert not outside.exists()
    assert (tmp_path / "env/bin/python").readlink() == outside


@pytest.mark.parametrize(
    "options",
    [
        {"files": {"../../../../climbs.py": ""}},
        {"files": {"/climbs.py": ""}},
        {"files": {"evil-1.0.data/scripts/../../../../../climbs.py": ""}},
        {"record": "evil.py,sha256=0000,1\n"},
        {"extra_members": [("unrecorded.py", "")]},
        {"dist_info": "other-1.0.dist-info"},
    ],
    ids=str,
)
def test_a_bad_wheel_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    wheel = dists.make_wheel(tmp_path / "in", "evil", **options)
    with pytest.raises(BuildError, match="cannot become part of a build environment"):
        builds.make_environment(tmp_path / "x" / "env", PROFILE, [wheel])
    assert not list(tmp_path.rglob("climbs.py"))


@pytest.mark.parametrize("name", ["data/pyvenv.cfg/x", "scripts/python/x", "scripts/python3/x", "data" + "/d" * 300])
def test_a_wheel_that_is_in_the_way_fails_its_build_alone(tmp_path: Path, name: str) -> None:
    """Whatever it puts where something of ours has to be."""
    wheel = dists.make_wheel(tmp_path / "in", "evil", files={f"evil-1.0.data/{name}": ""})
    with pytest.raises(BuildError, match="its build environment"):
        builds.make_environment(tmp_path / "env", dataclasses.replace(PROFILE, paths={**PATHS, "data": "."}), [wheel])


@pytest.mark.parametrize("path", ["", "/usr/lib", "../lib", "lib/../../x"])
def test_a_profile_that_leads_out_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(BuildError, match="leads out of the environment"):
        builds.make_environment(tmp_path, dataclasses.replace(PROFILE, paths={**PATHS, "purelib": path}), [])


@pytest.mark.parametrize("executable", ["", "python3", "/usr/bin/python\nhome = /evil"])
def test_a_profile_without_an_interpreter_is_refused(tmp_path: Path, executable: str) -> None:
    with pytest.raises(BuildError, match="not an absolute path"):
        builds.make_environment(tmp_path, dataclasses.replace(PROFILE, base_executable=executable), [])


# --- what a build leaves behind -------------------------------------------------------------------


def fifo(path: Path) -> None:
    os.mkfifo(path)


HOSTILE: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "link": lambda path: path.symlink_to("/etc/hostname"),
    "pipe": fifo,
    "directory": lambda path: path.mkdir(),
    "huge": lambda path: path.write_bytes(b'["' + b"x" * (64 << 10) + b'"]'),
    "not JSON": lambda path: path.write_bytes(b"\xff\xfe"),
    "not a list": lambda path: path.write_text('{"a": 1}'),
    "too many": lambda path: path.write_text(json.dumps(["a"] * 101)),
    "too long": lambda path: path.write_text(json.dumps(["a" * 501])),
    "not strings": lambda path: path.write_text("[1]"),
    "not requirements": lambda path: path.write_text('["--index-url=x"]'),
    "too deep": lambda path: path.write_text("[" * 60_000),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_requires_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "requires.json"
    HOSTILE[kind](path)
    with pytest.raises(BuildError, match="demo 1: the build backend asks for invalid requirements"):
        builds.read_requires(path, "demo 1")


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_only_a_regular_file_is_opened_and_nothing_else_stays_open(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out"
    HOSTILE[kind](path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        with pytest.raises(OSError, match=r"not a regular file|symbolic links"):
            open_untrusted(path)
    assert len(os.listdir("/proc/self/fd")) < before + 50, "other threads may open some as well"


def test_requires_are_read(tmp_path: Path) -> None:
    path = tmp_path / "requires.json"
    path.write_text('["wheel", "cython <3", "x; os_name == \'nt\'"]')
    assert builds.read_requires(path, "demo 1") == ["wheel", "cython<3", 'x; os_name == "nt"']


def test_exactly_one_wheel(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="exactly one wheel, not none"):
        builds._only_wheel(tmp_path, "demo 1", tmp_path / "log")
    first = tmp_path / "a-1-py3-none-any.whl"
    first.symlink_to("/etc/hostname")
    with pytest.raises(BuildError, match="exactly one wheel"):
        builds._only_wheel(tmp_path, "demo 1", tmp_path / "log")
    first.unlink()
    first.write_bytes(b"")
    assert builds._only_wheel(tmp_path, "demo 1", tmp_path / "log") == first
    (tmp_path / "b\x1b[2J.whl").mkdir()
    with pytest.raises(BuildError) as caught:
        builds._only_wheel(tmp_path, "demo 1", tmp_path / "log")
    assert "\x1b" not in str(caught.value)


def request_with(*wheels: str) -> BuildRequest:
    paths = tuple(Path(wheel) for wheel in wheels)
    return BuildRequest(Path("x"), "", "x", "1", "b", (), paths)


def test_unmet_requirements() -> None:
    request = request_with("setuptools-65.0-py3-none-any.whl", "Cython-3.0a1-py3-none-any.whl")
    asked = ["Setuptools>=40", "cython>=3.0a0", "tomli; python_version < '3.9'"]
    assert builds._unmet(asked, request, PROFILE) == []
    asked = ["setuptools>=70", "wheel", "tomli; python_version < '3.11'"]
    assert builds._unmet(asked, request, PROFILE) == [
        "setuptools>=70",
        "wheel",
        'tomli; python_version < "3.11"',
    ]


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("Traceback\n  File x\nModuleNotFoundError: No module named 'pkg_resources'\n\n", "setuptools<81"),
        ("error in x setup command: use_2to3 is invalid.\n", "setuptools<58"),
        ("ModuleNotFoundError: No module named 'distutils'\n", "setuptools<72"),
        ("ImportError: cannot import name 'Feature' from 'setuptools'\n", "setuptools<72"),
        ("error: command 'gcc' failed: No such file or directory\n", "build-essential"),
        ("x.c:1: fatal error: Python.h: No such file or directory\ncompilation terminated.", "python3-dev"),
        ("OSError: [Errno -3] Temporary failure in name resolution", "container:build_network"),
    ],
)
def test_a_failed_build_says_what_to_try(log: str, reason: str) -> None:
    assert reason in builds._build_end(RunResult(1, log, False, False), Container())


def test_limits_are_named() -> None:
    limits = Container(memory=512 << 20, timeout=60)
    assert "60 seconds (container:timeout)" in builds._build_end(RunResult(137, "", True, False), limits)
    assert "512 MiB (container:memory)" in builds._build_end(RunResult(137, "", False, True), limits)


def test_the_reason_is_one_short_line() -> None:
    log = "Collecting\nValueError: bad\n\x1b[31mmore " + "x" * 1000 + "\npipmirror: made it\n"
    assert logs.reason(log) == "ValueError: bad"
    assert logs.reason("") == "no output"
    assert len(logs.reason("y" * 1000)) <= 300


def test_a_tree_of_any_depth_is_removed(tmp_path: Path) -> None:
    root = tmp_path / "deep"
    root.mkdir()
    here = Path.cwd()
    os.chdir(root)
    try:
        for _ in range(3000):
            Path("d").mkdir()
            os.chdir("d")
    finally:
        os.chdir(here)
    workplace.discard(root)
    assert not root.exists()
    workplace.discard(root)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"installed": 1}', '{"installed": [["a"]], "ran": {}, "pip": ""}', "[" * 60_000]
)
def test_a_forged_result_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(VerifyError, match="cannot be read"):
        proof._outcome(tmp_path / "result.json", set(), 1.0, tmp_path / "log")


def test_a_result_is_cleaned(tmp_path: Path) -> None:
    rows = {"demo": {"command": "demo", "ok": 1, "output": "\x1b[31m" + "x" * 999}, "other": {}}
    (tmp_path / "result.json").write_text(json.dumps({"installed": [["demo", "1"]], "ran": rows, "pip": "23"}))
    outcome = proof._outcome(tmp_path / "result.json", {canonicalize_name("demo")}, 1.0, tmp_path / "log")
    assert outcome.installed == (("demo", "1"),)
    assert list(outcome.ran) == ["demo"]
    assert outcome.ran["demo"].ok is False
    assert len(outcome.ran["demo"].output) <= 300
    assert "\x1b" not in outcome.ran["demo"].output


def test_a_sdist_is_checked_on_its_way_in(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    with pytest.raises(BuildError, match="fetch it again"):
        workplace.copy_checked(tmp_path / "a", tmp_path / "b", "0" * 64)


# --- the scripts for the inside, run outside ------------------------------------------------------


class Place:
    """/pipmirror of a build, with this interpreter standing in for the target's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("in", "out", "env/bin", "tmp"):
            (root / name).mkdir(parents=True)
        (root / "env/bin/python").symlink_to(sys.executable)
        (root / "in/build.py").write_text(inside.source("build"))

    def run(self, sdist: Path, **request: Any) -> subprocess.CompletedProcess[str]:
        (self.root / "in" / sdist.name).write_bytes(sdist.read_bytes())
        facts: dict[str, Any] = {"sdist": sdist.name, "backend": "intree", "backend_path": ["_backend"]}
        facts |= {"have_requires": False, "have": [], "subdirectory": "", **request}
        (self.root / "in/request.json").write_text(json.dumps(facts))
        environment = {
            "PIPMIRROR_ROOT": str(self.root),
            "TMPDIR": str(self.root / "tmp"),
            "PATH": os.environ["PATH"],
        }
        command = [sys.executable, "-I", str(self.root / "in/build.py")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    @property
    def wheels(self) -> list[str]:
        return sorted(path.name for path in (self.root / "out").glob("*.whl"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "root")


def test_build_makes_the_wheel(place: Place, tmp_path: Path) -> None:
    done = place.run(dists.make_sdist(tmp_path, intree_backend=True))
    assert done.returncode == 0, done.stderr
    assert place.wheels == ["demo-1.0-py3-none-any.whl"]
    assert json.loads((place.root / "out/requires.json").read_text()) == []


def test_build_stops_for_requirements(place: Place, tmp_path: Path) -> None:
    sdist = dists.make_sdist(tmp_path, intree_backend=True, get_requires=["Some.Thing>=1", "other"])
    done = place.run(sdist, have=["other"])
    assert done.returncode == 64
    assert json.loads((place.root / "out/requires.json").read_text()) == ["Some.Thing>=1", "other"]
    assert not place.wheels
    assert place.run(sdist, have=["other", "some-thing"]).returncode == 0
    assert place.run(sdist, have_requires=True).returncode == 0


def test_build_reads_zip_and_bz2(place: Place, tmp_path: Path) -> None:
    original = dists.make_sdist(tmp_path, intree_backend=True)
    unpacked = tmp_path / "unpacked"
    with tarfile.open(original) as archive:
        archive.extractall(unpacked)
    with zipfile.ZipFile(tmp_path / "demo-1.0.zip", "w") as zipped:
        for path in sorted(unpacked.rglob("*")):
            zipped.write(path, path.relative_to(unpacked))
    assert place.run(tmp_path / "demo-1.0.zip").returncode == 0
    with tarfile.open(tmp_path / "demo-1.0.tar.bz2", "w:bz2") as packed:
        packed.add(unpacked / "demo-1.0", "demo-1.0")
    assert place.run(tmp_path / "demo-1.0.tar.bz2").returncode == 0


CLIMBING: dict[str, tarfile.TarInfo | str] = {
    "../climbed": "x",
    "/climbed": "x",
    "a-1/../../climbed": "x",
    "a-1/link": link("a-1/link", "../../climbed"),
    "a-1/absolute": link("a-1/absolute", "/etc/passwd"),
}


@pytest.mark.parametrize("name", CLIMBING)
def test_build_refuses_a_climbing_sdist(place: Place, tmp_path: Path, name: str) -> None:
    done = place.run(tar(tmp_path / "a-1.tar.gz", {name: CLIMBING[name]}))
    assert done.returncode == 65, done.stderr
    assert "Error: " in done.stderr
    assert not list(place.root.rglob("climbed"))


def test_build_refuses_a_device(place: Place, tmp_path: Path) -> None:
    member = tarfile.TarInfo("a-1/device")
    member.type = tarfile.CHRTYPE
    done = place.run(tar(tmp_path / "a-1.tar.gz", {"x": member}))
    assert done.returncode == 65
    assert "device" in done.stderr


def test_build_refuses_what_is_no_archive(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "a-1.tar.gz"
    path.write_bytes(b"nothing")
    assert place.run(path).returncode == 65


def test_build_keeps_the_backend_in_the_tree(place: Place, tmp_path: Path) -> None:
    sdist = dists.make_sdist(tmp_path, intree_backend=True)
    assert place.run(sdist, backend_path=["../.."]).returncode == 65
    done = place.run(sdist, backend="json")
    assert done.returncode == 1
    assert "does not come from backend-path" in done.stderr


def test_build_names_a_missing_backend(place: Place, tmp_path: Path) -> None:
    done = place.run(dists.make_sdist(tmp_path), backend="nothing_like_it.at_all", backend_path=[])
    assert done.returncode == 1
    assert "ModuleNotFoundError: the build backend nothing_like_it.at_all cannot be imported" in done.stderr


def test_build_notices_a_backend_that_slips_away(place: Place, tmp_path: Path) -> None:
    done = place.run(dists.make_sdist(tmp_path, intree_backend=True, on_build="import os; os._exit(0)"))
    assert done.returncode == 1
    assert "ended build_wheel without returning" in done.stderr


def test_a_failing_hook_cannot_pretend_to_ask(place: Place, tmp_path: Path) -> None:
    done = place.run(dists.make_sdist(tmp_path, intree_backend=True, on_build="raise SystemExit(64)"))
    assert done.returncode == 1


def test_a_hook_does_not_see_our_files_as_modules(place: Place, tmp_path: Path) -> None:
    code = "import sys; assert not [p for p in sys.path if p.endswith('/in')], sys.path"
    done = place.run(dists.make_sdist(tmp_path, intree_backend=True, on_build=code))
    assert done.returncode == 0, done.stderr


def test_profile_script_and_builder_agree() -> None:
    script = runpy.run_path(str(Path(inside.__file__).with_name("profile.py")))
    assert (script["BEGIN"], script["END"]) == (builder._BEGIN, builder._END)
    assert set(script["VARIABLES"]) == set(MARKERS)


def test_profile_of_this_interpreter(tmp_path: Path) -> None:
    """The virtual environment that the tests run in is itself a target of sorts."""
    command = [sys.executable, "-I", str(Path(inside.__file__).with_name("profile.py"))]
    output = subprocess.check_output(command, env={**os.environ, "TMPDIR": str(tmp_path)}, text=True)
    data = json.loads(output.split(builder._BEGIN)[1].split(builder._END)[0])
    profile = TargetProfile.from_data(data)
    assert profile.markers["python_version"] == f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert profile.base_executable == os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    expected = os.path.relpath(sysconfig.get_paths()["purelib"], sys.prefix)
    assert profile.paths["purelib"] == expected
    assert not [path for path in profile.paths.values() if path.startswith((".." + os.sep, "/"))]
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.fixture(scope="module")
def verify_script() -> dict[str, Any]:
    return runpy.run_path(str(Path(inside.__file__).with_name("verify.py")))


def dist_info(site: Path, record: str, entry_points: str = "", top_level: str = "") -> str:
    directory = site / "demo-1.0.dist-info"
    directory.mkdir(parents=True)
    (directory / "METADATA").write_text("Name: Demo.Project\nVersion: 1.0\n\nName: not this\n")
    (directory / "RECORD").write_text(record)
    for name, text in (("entry_points.txt", entry_points), ("top_level.txt", top_level)):
        if text:
            (directory / name).write_text(text)
    return str(directory)


def test_verify_finds_the_command(verify_script: dict[str, Any], tmp_path: Path) -> None:
    info = dist_info(tmp_path, "../../bin/other,,\n", "[console_scripts]\nDemo-Project = a:b\n[x]\ny = z\n")
    (tmp_path / "bin").mkdir()
    find = verify_script["console_script"]
    assert find("demo-project", info, str(tmp_path)) is None
    for name in ("Demo-Project", "other"):
        (tmp_path / "bin" / name).touch(0o755)
    assert find("demo-project", info, str(tmp_path)) == "Demo-Project"
    assert find("something", info, str(tmp_path)) == "Demo-Project"
    assert verify_script["distributions"](str(tmp_path)) == {"demo-project": ("Demo.Project", "1.0", info)}


@pytest.mark.parametrize(
    ("record", "top_level", "module"),
    [
        ("pkg/__init__.py,,\npkg/x/__init__.py,,\n", "", "pkg"),
        ("single.py,,\n", "", "single"),
        ("fast.cpython-311-x86_64-linux-gnu.so,,\n", "", "fast"),
        ("fast.abi3.so,,\n", "", "fast"),
        ("pkg/__init__.py,,\n", "declared\n", "declared"),
        ("data/file.txt,,\n", "", None),
    ],
)
def test_verify_finds_a_module(
    verify_script: dict[str, Any], tmp_path: Path, record: str, top_level: str, module: str | None
) -> None:
    assert verify_script["first_module"](dist_info(tmp_path, record, top_level=top_level)) == module


def test_verify_hears_no_warnings(verify_script: dict[str, Any], tmp_path: Path) -> None:
    info = dist_info(tmp_path, "demo.py,,\n", top_level="demo\n")
    (tmp_path / "demo.py").write_text("import warnings\nwarnings.warn('old')\n" + r"x = '\S'")
    found = verify_script["try_out"]("demo", info, str(tmp_path))
    assert found == {"command": "import demo", "ok": True, "output": ""}


def test_verify_waits_only_so_long(verify_script: dict[str, Any], tmp_path: Path) -> None:
    run = verify_script["run"]
    run.__globals__["ONE_COMMAND"] = 1
    assert run(["sh", "-c", "sleep 60 & sleep 60"], str(tmp_path)) == (False, "no end after 1 seconds")
    assert run(["sh", "-c", "echo one; echo two"], str(tmp_path)) == (True, "one")
    assert run(["sh", "-c", "echo Traceback; echo Error: two; exit 1"], str(tmp_path)) == (
        False,
        "Error: two",
    )
