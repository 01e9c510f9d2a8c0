"""From nothing to a mirror, and then no more work than there is."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib.builder import REPOSITORY as BUILDERS
from pipmirror_lib.engine import LABEL, Engine

from tests.support.salt import NO_NETWORK
from tests.support.site import PAGES, PLATFORM, Site, stamps

pytestmark = pytest.mark.integration

ALPHA, BETA = "alpha-1.0-py3-none-any.whl", "beta-2.0-py3-none-any.whl"

# Stands where the docker SDK would be found first, and tells on whoever imports it.
SHIM = "from pathlib import Path\nPath({marker!r}).touch()\nraise ImportError('docker must not be imported')\n"


@pytest.fixture
def no_engine(site: Site, tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment in which no container can be started; fails if the docker SDK was as much as imported."""
    marker = tmp_path / "docker-was-imported"
    (tmp_path / "shim").mkdir()
    (tmp_path / "shim" / "docker.py").write_text(SHIM.format(marker=str(marker)))
    yield {"PYTHONPATH": str(tmp_path / "shim"), "DOCKER_HOST": "unix:///nonexistent"}
    assert not marker.exists()


@pytest.fixture
def isolated(no_engine: dict[str, str]) -> dict[str, Any]:
    """Options of a call that has no network either."""
    return {"prefix": NO_NETWORK, "environment": no_engine}


def test_from_nothing(site: Site) -> None:
    answer = site.good(site.apply())
    changes = site.state(answer)["changes"]
    assert changes["alpha"] == {"old": "", "new": "1.0"}
    assert changes["beta"] == {"old": "", "new": "2.0"}
    assert site.wheels() == {ALPHA, BETA}
    site.check()
    assert oct(site.public().stat().st_mode)[-3:] == "755"
    assert {oct(path.stat().st_mode)[-3:] for path in site.public().rglob("*") if path.is_file()} == {"644"}
    assert not any((site.target / ".pipmirror" / ".downloads").rglob("*.whl")), "downloads are emptied"


def test_second_run_does_nothing(site: Site, isolated: dict[str, Any]) -> None:
    site.good(site.apply())
    before = site.stamps()
    site.forget()
    again = site.good(site.apply())
    assert {name: state["changes"] for name, state in again.states.items() if state["changes"]} == {}
    assert site.asked() == []
    # With no engine, no network and no SDK it is just as well.
    site.settings["container"] = {"engine_url": "unix:///nonexistent"}
    alone = site.good(site.apply(**isolated))
    assert {name: state["changes"] for name, state in alone.states.items() if state["changes"]} == {}
    assert site.stamps() == before
    assert site.minion.call("pipmirror.sync", **isolated).platform["added"] == {}


def test_isolation_is_real(site: Site) -> None:
    """The same conditions do fail a run that has work to do; otherwise the test above would prove nothing."""
    site.good(site.apply())
    (site.public() / BETA).unlink()
    answer = site.apply(prefix=NO_NETWORK)
    assert answer.code == 1
    assert "is unreachable: network is unreachable" in site.state(answer)["comment"]


def test_deleted_wheel_comes_back_alone(site: Site) -> None:
    site.good(site.apply())
    before = site.stamps()
    (site.public() / BETA).unlink()
    site.forget()
    answer = site.good(site.apply())
    after = site.stamps()
    # Its pages were taken away meanwhile, because what they named was not there.
    again = {f"simple/{page}" for page in ("index.html", "index.json", "beta/index.html", "beta/index.json")}
    assert {name for name in after if after[name] != before[name]} == {BETA, *again, *PAGES}
    assert set(after) == set(before)
    assert site.asked("/files/") == [f"/files/{BETA}"]
    assert set(site.state(answer)["changes"]) == {"beta", "(published)"}
    site.check()


def test_added_requirement_fetches_only_what_is_new(site: Site) -> None:
    site.good(site.apply())
    before = site.stamps()
    site.wheel("gamma", requires=["beta", "delta"])
    site.wheel("delta")
    site.wheel("alpha", "1.1")  # newer, and nobody asked for it
    site.settings["packages"].append("gamma")
    site.forget()
    answer = site.good(site.apply())
    assert {path.removesuffix(".metadata") for path in site.asked("/files/")} == {
        "/files/delta-1.0-py3-none-any.whl",
        "/files/gamma-1.0-py3-none-any.whl",
    }
    changes = site.state(answer)["changes"]
    assert {"gamma", "delta"} <= set(changes)
    assert "alpha" not in changes
    after = site.stamps()
    roots = {"simple/index.html", "simple/index.json"}
    assert {name for name in before if after.get(name) != before[name]} == {*roots, *PAGES}
    site.check()


def test_removed_requirement_leaves_an_orphan(site: Site) -> None:
    site.wheel("gamma")
    site.settings["packages"] = ["alpha", "gamma"]
    site.good(site.apply())
    site.settings["packages"] = ["alpha"]
    answer = site.good(site.apply())
    changes = site.state(answer)["changes"]
    assert changes.pop("(unneeded)") == {"noted": "1 wheel"}
    assert list(changes) == ["(published)"], "the page tells what is declared"
    assert site.call("plan").platform["orphans"] == ["gamma-1.0-py3-none-any.whl"]
    assert site.state(site.good(site.apply()))["changes"] == {}


def test_upgrade(site: Site) -> None:
    site.good(site.apply())
    site.wheel("alpha", "1.5", requires=["beta>=1"])
    assert site.call("sync").platform["added"] == {}
    added = site.call("sync", upgrade=True).platform["added"]
    assert set(added) == {"alpha-1.5-py3-none-any.whl"}
    assert added["alpha-1.5-py3-none-any.whl"]["old"] == ["1.0"]
    site.check()


@pytest.fixture
def prepared_image(site: Site, engine: Engine) -> Iterator[str]:
    """The builder image under a name of its own: a base image with Python, on which any pre_command is quick."""
    site.good(site.apply())
    made = site.call("status").value[PLATFORM]["image"]
    name = f"pipmirror-tests:{uuid.uuid4().hex[:12]}"
    _docker("tag", made, name)
    yield name
    _docker("rmi", name)
    for image in engine.find({f"{LABEL}.platform": "changing"}):
        engine.remove_image(image.id)


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=120, check=True).stdout.strip()


def test_changed_pre_command(site: Site, prepared_image: str) -> None:
    """Wheels are kept where they still satisfy; the builder image is made anew."""
    site.platform.update(name="changing", image=prepared_image, pre_command="true")
    site.good(site.apply())
    image, before = site.call("status").value["changing"]["image"], site.stamps("changing")
    site.platform["pre_command"] = f"touch /{uuid.uuid4()}"
    test = site.state(site.apply("test=True"), "changing")
    assert test["result"] is None
    assert "pre_command" in test["comment"]
    site.forget()
    state = site.state(site.good(site.apply()), "changing")
    assert state["changes"]["(builder image)"]["reused"] is False
    assert "alpha" not in state["changes"]
    assert site.asked() == []
    after = site.stamps("changing")
    assert {name for name in after | before if after.get(name) != before.get(name)} <= PAGES, (
        "the last sync is a new one"
    )
    assert site.call("status").value["changing"]["image"] != image
    assert site.state(site.good(site.apply()), "changing")["changes"] == {}
    assert f"{BUILDERS}:" in _docker("images", "--format", "{{.Repository}}:{{.Tag}}")


def test_new_base_image_under_the_old_name(site: Site, prepared_image: str) -> None:
    site.platform.update(name="changing", image=prepared_image, pre_command="true")
    site.good(site.apply())
    image = site.call("status").value["changing"]["image"]
    _docker("tag", image, prepared_image)
    assert site.state(site.good(site.apply()), "changing")["changes"] == {}, "a no-op asks no engine"
    assert site.call("prepare").platform["image"]["reused"] is False
    assert site.call("status").value["changing"]["image"] != image
    assert site.state(site.good(site.apply()), "changing")["changes"] == {}


def test_test_mode_creates_nothing(site: Site, no_engine: dict[str, str]) -> None:
    answer = site.apply("test=True", environment=no_engine)
    state = site.state(answer)
    assert state["result"] is None
    assert "alpha" in state["comment"]
    assert not site.target.exists()
    assert site.asked() == []
    assert answer.code == 0


def test_test_mode_tells_what_is_missing(site: Site, no_engine: dict[str, str]) -> None:
    site.good(site.apply())
    before = site.stamps()
    private = stamps(site.private())
    site.settings["packages"] += ["gamma", "beta<2"]
    site.forget()
    state = site.state(site.apply("test=True", environment=no_engine))
    assert state["result"] is None
    assert set(state["changes"]["missing"]) >= {"gamma", "beta<2"}
    assert "gamma: nothing of that name" in state["comment"]
    assert site.stamps() == before
    # Verdict and lists are caches of the decision, the scan one of the directory; they may be written at any time.
    caches = dict.fromkeys(("verdict.cache", "lists.cache", "scan.cache"))
    assert {**stamps(site.private()), **caches} == {**private, **caches}
    assert site.asked() == []


def test_plan_tells_exactly_what_comes(site: Site, no_engine: dict[str, str]) -> None:
    site.good(site.apply())
    site.wheel("gamma", requires=["delta>=1"])
    site.wheel("delta", "1.0", files={"delta.py": "x = 1\n" * 500})
    site.sdist("zeta", intree_backend=True, requires=["delta"], static_metadata=True)
    site.settings["packages"] += ["gamma", "zeta"]
    before = site.stamps()
    lock = site.minion.call("pipmirror.plan", "resolve=True", environment=no_engine).platform["lock"]
    assert site.stamps() == before
    assert lock["missing"] == {}
    assert {name: (f["project"], f["version"], f["kind"]) for name, f in lock["files"].items()} == {
        "delta-1.0-py3-none-any.whl": ("delta", "1.0", "wheel"),
        "gamma-1.0-py3-none-any.whl": ("gamma", "1.0", "wheel"),
        "zeta-1.0.tar.gz": ("zeta", "1.0", "sdist, built here"),
    }
    for name, file in lock["files"].items():
        assert file["size"] == (site.shelf / name).stat().st_size
    assert lock["bytes"] == sum(file["size"] for file in lock["files"].values())
    added = site.call("sync").platform["added"]
    wheels = {name for name, file in lock["files"].items() if file["kind"] == "wheel"}
    assert set(added) == {*wheels, "zeta-1.0-py3-none-any.whl"}
    for name in wheels:
        assert added[name]["sha256"] == lock["files"][name]["sha256"]


def test_plan_of_a_platform_never_seen(site: Site, no_engine: dict[str, str]) -> None:
    plan = site.minion.call("pipmirror.plan", "resolve=True", environment=no_engine).platform
    assert plan["satisfied"] is False
    assert "never profiled" in plan["missing"]["alpha"]
    assert "never profiled" in plan["lock"]["error"]
    assert not site.target.exists()


def test_arguments_override_the_pillar(site: Site) -> None:
    site.also("second")
    other = site.directory / "elsewhere"
    answer = site.call("sync", platform="second", target=str(other), packages=["beta<2"])
    assert answer.code == 0, answer
    assert list(answer.value["platforms"]) == ["second"]
    assert {path.name for path in other.rglob("*.whl")} == {"beta-1.0-py3-none-any.whl"}
    assert not site.target.exists()


def test_wheels_are_shared_between_platforms(site: Site) -> None:
    """One run fetches a file once for all platforms, and later platforms link what is there."""
    site.also("second")
    site.good(site.apply())
    assert len(site.index.requests_of(ALPHA)) == 1
    site.also("third")
    site.forget()
    site.good(site.apply())
    assert site.asked("/files/") == []
    assert site.wheels("third") == site.wheels() == {ALPHA, BETA}
    assert (site.public("third") / ALPHA).stat().st_ino == (site.public() / ALPHA).stat().st_ino
    for platform in (PLATFORM, "second", "third"):
        site.check(platform)


def test_sets_need_not_agree(site: Site) -> None:
    site.settings["sets"] = {"old": ["beta<2"]}
    site.good(site.apply())
    assert site.wheels() == {ALPHA, BETA, "beta-1.0-py3-none-any.whl"}
    versions = json.loads((site.public() / "simple/beta/index.json").read_text())["versions"]
    assert versions == ["1.0", "2.0"]
