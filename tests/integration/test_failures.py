"""What cannot be done is said in a line, harms nobody else, and is made good by the next run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.localindex import Fault
from tests.support.site import PLATFORM, Site

pytestmark = pytest.mark.integration

ALPHA, BETA = "alpha-1.0-py3-none-any.whl", "beta-2.0-py3-none-any.whl"


def failed(site: Site, platform: str = PLATFORM) -> list[str]:
    """The lines in which a platform says why; nothing of it is to be seen."""
    answer = site.apply()
    state = site.state(answer, platform)
    assert state["result"] is False
    assert answer.code != 0
    assert "Traceback" not in answer.stderr
    assert "internal error" not in state["comment"]
    lines: list[str] = state["comment"].splitlines()
    return lines


def nothing_to_be_seen(site: Site, platform: str = PLATFORM) -> None:
    public = site.public(platform)
    assert not public.exists() or not list(public.iterdir())


HOPELESS: dict[str, tuple[list[str], list[str]]] = {
    "unknown": (["nosuchproject"], ["nosuchproject", "nothing of that name"]),
    "unknown dependency": (["orphaned"], ["orphaned", "nosuchproject", "nothing of that name"]),
    "no such version": (["alpha>=7"], ["alpha>=7", "there is 1.0"]),
    "another Python": (["tomorrow"], ["tomorrow", "needs Python >=3.99", "this is 3.11"]),
    "another system": (["elsewhere"], ["elsewhere", "no wheel of 1.0 fits this platform"]),
    "conflict": (["alpha", "beta<1"], ["beta<1", "there is 2.0, 1.0"]),
    "conflict among dependencies": (["old", "new"], ["conflict", "old 1.0 -> beta<2", "new 1.0 -> beta>=2"]),
}


@pytest.mark.parametrize(("packages", "said"), HOPELESS.values(), ids=HOPELESS)
def test_a_requirement_that_cannot_be_met(site: Site, packages: list[str], said: list[str]) -> None:
    site.wheel("orphaned", requires=["nosuchproject>=2"])
    site.wheel("tomorrow", requires_python=">=3.99")
    site.wheel("elsewhere", tag="cp311-cp311-win_amd64")
    site.wheel("old", requires=["beta<2"])
    site.wheel("new", requires=["beta>=2"])
    site.settings["packages"] = []
    site.platform["packages"] = ["beta", *packages]
    site.also("other", packages=["alpha"])
    lines = failed(site)
    assert all(text in "\n".join(lines) for text in said), lines
    assert len(lines) <= 2 * len(packages), lines
    nothing_to_be_seen(site)
    assert site.wheels("other") == {ALPHA, BETA}, "the other platform finishes"
    site.check("other")
    plan = site.minion.call("pipmirror.plan", f"platform={PLATFORM}", "resolve=True").platform
    assert all(text in "\n".join(plan["lock"]["missing"].values()) for text in said), plan["lock"]


def test_a_build_that_fails(site: Site) -> None:
    site.sdist("omega", intree_backend=True, on_build="raise SystemExit('the backend is in a bad mood')")
    site.settings["packages"] = ["beta"]
    site.settings["sets"] = {"built": ["omega"]}
    lines = failed(site)
    assert len(lines) <= 2, lines
    (log,) = (site.private() / "logs").glob("omega-*.log")
    for text in ("omega", "bad mood", str(log)):
        assert text in "\n".join(lines)
    assert "bad mood" in log.read_text()
    assert site.wheels() == {BETA}, "a set that is complete comes in all the same"
    site.check()
    site.index.remove("omega-1.0.tar.gz")
    site.sdist("omega", intree_backend=True)
    site.good(site.apply())
    site.check()


def test_a_build_that_makes_something_else(site: Site) -> None:
    """The wheel is another project's: it is not admitted."""
    rename = "import builtins; RECIPE = __import__('sys').modules['intree'].RECIPE; RECIPE['stem'] = 'beta-9.0'"
    site.sdist("omega", intree_backend=True, on_build=rename)
    site.settings["packages"] = ["omega"]
    lines = failed(site)
    assert "omega" in lines[0]
    nothing_to_be_seen(site)


def test_build_requirements_that_nobody_has(site: Site) -> None:
    site.sdist("omega", intree_backend=True, build_requires=["nosuchtool>=3"])
    site.settings["packages"] = ["omega"]
    lines = failed(site)
    assert len(lines) <= 2, lines
    assert all(text in "\n".join(lines) for text in ("omega", "nosuchtool", "nothing of that name")), lines
    nothing_to_be_seen(site)


def _closed_index(site: Site) -> list[str]:
    site.index.close()
    return [site.index.url, "connection refused", "index:url"]


def _refusing_index(site: Site) -> list[str]:
    site.index.username, site.index.password = "user", "secret"
    return [site.index.url, "401", "credentials"]


def _broken_index(site: Site) -> list[str]:
    site.index.fail["/simple/"] = Fault(503, times=None)
    return [site.index.url, "503"]


def _lying_index(site: Site) -> list[str]:
    site.index.fail[f"{BETA}"] = Fault(corrupt=True, times=None)
    site.index.core_metadata = False
    return [BETA, "sha256"]


def _hanging_up_index(site: Site) -> list[str]:
    site.index.fail[f"{BETA}"] = Fault(truncate_at=100, times=None)
    site.index.core_metadata = False
    return [BETA]


def _no_engine(site: Site) -> list[str]:
    site.settings["container"] = {"engine_url": "unix:///nonexistent.sock"}
    return ["unix:///nonexistent.sock"]


def _unknown_image(site: Site) -> list[str]:
    site.platform["image"] = "pipmirror-tests-nowhere:none"
    return ["pipmirror-tests-nowhere:none"]


def _image_not_here(site: Site) -> list[str]:
    site.platform.update(image="pipmirror-tests-nowhere:none", image_source="local")
    return ["pipmirror-tests-nowhere:none", "not on this machine", "docker load"]


def _no_such_command(site: Site) -> list[str]:
    site.platform["pre_command"] = "this-is-no-command --at-all"
    return ["pre_command", "this-is-no-command", "127"]


def _no_python(site: Site) -> list[str]:
    site.platform["pre_command"] = "true"
    return ["no python3"]


def _target_is_a_file(site: Site) -> list[str]:
    site.target.write_text("in the way")
    return [str(site.target)]


def _unknown_owner(site: Site) -> list[str]:
    site.settings["files"] = {"user": "nobody-of-that-name"}
    return ["nobody-of-that-name"]


@pytest.mark.parametrize(
    "spoil",
    [
        _closed_index,
        _refusing_index,
        _broken_index,
        _lying_index,
        _hanging_up_index,
        _no_engine,
        _unknown_image,
        _image_not_here,
        _no_such_command,
        _no_python,
        _target_is_a_file,
        _unknown_owner,
    ],
)
def test_what_is_out_of_order_is_said_in_a_line(site: Site, spoil: Callable[[Site], list[str]]) -> None:
    said = spoil(site)
    lines = failed(site)
    assert all(text in "\n".join(lines) for text in said), lines
    assert len(lines) == 1, lines
    nothing_to_be_seen(site) if site.target.is_dir() else None


@pytest.mark.parametrize("spoil", [_closed_index, _lying_index, _hanging_up_index])
def test_an_index_that_fails_loses_nothing(site: Site, spoil: Callable[[Site], list[str]]) -> None:
    site.settings["packages"] = ["beta<2"]
    site.good(site.apply())
    before = site.wares()
    site.settings["packages"] = ["alpha", "beta>=2"]
    spoil(site)
    failed(site)
    assert site.wares() == before
    site.check()
    site.index.fail.clear()
    if spoil is _closed_index:
        site.index.start()
    site.good(site.apply())
    assert {ALPHA, BETA} <= site.wheels()
    site.check()


def test_without_an_engine_wheels_still_come(site: Site) -> None:
    """A known platform needs the engine only where something must be built."""
    site.good(site.apply())
    (site.public() / BETA).unlink()
    _no_engine(site)
    state = site.state(site.good(site.apply()))
    assert "went on with the known profile" in state["comment"]
    site.check()


@pytest.fixture
def small_disk(site: Site) -> Iterator[Callable[[str], None]]:
    """A file system of its own at the target, with the mount options that are asked for."""
    site.target.mkdir()
    _mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(site.target))
    yield lambda options: _mount("-o", f"remount,{options}", str(site.target))
    subprocess.run(["umount", str(site.target)], timeout=30, check=True)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], timeout=30, check=True)


def test_a_target_that_cannot_be_written(site: Site, small_disk: Callable[[str], None]) -> None:
    small_disk("ro")
    (line,) = failed(site)
    assert str(site.target) in line
    assert "Read-only file system" in line
    small_disk("rw")
    site.good(site.apply())
    before = site.wares()
    small_disk("ro")
    # What needs no writing works.
    assert site.state(site.good(site.apply()))["changes"] == {}
    site.settings["packages"] = ["alpha", "beta<3"]
    (line,) = failed(site) if site.call("plan").platform["due"] else ("",)
    small_disk("rw")
    site.good(site.apply())
    after = site.wares()
    assert after.keys() == before.keys()
    changed = {path for path in after if after[path] != before[path]}
    assert changed <= {"index.html", "mirror.json"}, "what is declared stands there, and nothing else has changed"


@pytest.mark.parametrize("size", ["48k", "1100k", "2000k"])
def test_a_full_disk(site: Site, small_disk: Callable[[str], None], size: str) -> None:
    """Wherever the space ends, one line says so, nothing is half-done, and the next run finishes."""
    big = {"files": {"big.bin": b"\0" * 1_000_000}}
    site.wheel("gamma", requires=["delta"], **big)
    site.wheel("delta", **big)
    small_disk(f"size={size}")
    site.settings["packages"] = ["alpha", "gamma"]
    lines = failed(site)
    assert "make room there" in "\n".join(lines)
    assert len(lines) == 1, lines
    nothing_to_be_seen(site)
    small_disk("size=64m")
    site.good(site.apply())
    assert len(site.wheels()) == 4
    site.check()


@pytest.mark.parametrize("size", ["16k", "24k"])
def test_a_disk_that_is_full_at_once(site: Site, small_disk: Callable[[str], None], size: str) -> None:
    """Not even the log of the first container can be written: that is the reason, not what came of it."""
    small_disk(f"size={size}")
    (line,) = failed(site)
    assert "make room there" in line
    assert str(site.target) in line


def test_a_full_disk_keeps_what_was_there(site: Site, small_disk: Callable[[str], None]) -> None:
    site.good(site.apply())
    site.wheel("gamma", files={"big.bin": b"\0" * 2_000_000})
    site.settings["packages"].append("gamma")
    before: dict[str, Any] = dict(site.wares())
    small_disk("size=1m")
    assert "make room there" in failed(site)[0]
    assert site.wares() == before
    site.check()
    small_disk("size=64m")
    site.good(site.apply())
    site.check()
