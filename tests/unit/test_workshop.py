"""From an sdist to a wheel that may be admitted; only the container is not real here."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name
from pipmirror_lib import builds
from pipmirror_lib.builds import BuildRequest
from pipmirror_lib.candidates import Candidate
from pipmirror_lib.errors import BuildError, MirrorError
from pipmirror_lib.index import Index
from pipmirror_lib.wheels import sha256_of
from pipmirror_lib.workshop import ROUNDS, Workshop

from tests.support.dists import make_sdist, make_wheel
from tests.support.localindex import Fault, LocalIndex
from tests.support.mirrors import declare, equip
from tests.support.worlds import PROFILE

SECRET = "hunter2"
Outcome = Path | list[str]


class Container:
    """Stands for the container: makes what a test says, from what it is given."""

    def __init__(self) -> None:
        self.requests: list[BuildRequest] = []
        self.make: Callable[[BuildRequest, Path], Outcome] = self.wheel

    @staticmethod
    def wheel(request: BuildRequest, out: Path, **more: Any) -> Outcome:
        return make_wheel(out, request.project, request.version, **more)

    def build(self, quarters: object, profile: object, request: BuildRequest, *_: Any, **to: Any) -> Outcome:
        self.requests.append(request)
        out = to["workdir"] / "out"
        out.mkdir()
        return self.make(request, out)

    @property
    def given(self) -> list[list[str]]:
        """The build requirements of each build."""
        return [sorted(path.name for path in request.wheels) for request in self.requests]


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> Container:
    made = Container()
    monkeypatch.setattr(builds, "build", made.build)
    return made


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalIndex]:
    for version in ("65.0", "80.0"):
        make_wheel(tmp_path / "files", "setuptools", version)
    make_wheel(tmp_path / "files", "wheel", "1.0")
    with LocalIndex(tmp_path / "files") as running:
        yield running


@pytest.fixture
def workshop(tmp_path: Path, server: LocalIndex, container: Container) -> Iterator[Callable[..., Workshop]]:
    opened: list[Index] = []

    def made(**settings: Any) -> Workshop:
        mirror = declare(tmp_path, server.url, **settings)
        index = Index(mirror.index, tmp_path / "downloads", tmp_path / "cache")
        opened.append(index)
        return Workshop(mirror, equip(mirror), PROFILE, lambda: None, index, lambda text: None)  # type: ignore[arg-type, return-value]

    yield made
    for index in opened:
        index.__exit__(None, None, None)


def add(server: LocalIndex, tmp_path: Path, name: str = "demo", **more: Any) -> None:
    server.add(make_sdist(tmp_path / "sdists", name, "1.0", **more))


def sdist(workshop: Workshop, name: str = "demo") -> Candidate:
    return next(c for c in workshop.index.page(canonicalize_name(name)).result() if c.is_sdist)


def test_a_wheel_is_built_and_copied_out_of_reach(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    add(server, tmp_path)
    shop = workshop()
    candidate = sdist(shop)
    built = shop.wheel(candidate)
    outside = next((shop.directory.staging).rglob("out/*.whl"))
    assert built.path != outside
    assert built.path.read_bytes() == outside.read_bytes()
    assert not built.path.samefile(outside)
    assert built.record["sha256"] == sha256_of(built.path)
    assert built.record["origin"] == "built"
    assert built.record["source"]["sha256"] == candidate.sha256
    assert [one["filename"] for one in built.record["build_requires"]] == [p.name for p in container.requests[0].wheels]
    assert container.requests[0].sha256 == candidate.sha256
    assert container.requests[0].network is False


def test_an_sdist_is_built_once(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    add(server, tmp_path)
    shop = workshop()
    assert shop.metadata(sdist(shop)) is shop.wheel(sdist(shop)).metadata
    assert len(container.requests) == 1


def test_build_requirements_come_from_the_resolver(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    add(server, tmp_path, build_requires=["setuptools"])
    shop = workshop(build_constraints=["setuptools<72"])
    shop.wheel(sdist(shop))
    assert container.given == [["setuptools-65.0-py3-none-any.whl"]]


def test_what_the_backend_asks_for_on_the_way_is_added(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    def asking(request: BuildRequest, out: Path) -> Outcome:
        return container.wheel(request, out) if len(container.requests) > 1 else ["wheel>=0.5"]

    add(server, tmp_path, build_requires=["setuptools"])
    container.make = asking
    shop = workshop()
    shop.wheel(sdist(shop))
    assert container.given == [
        ["setuptools-80.0-py3-none-any.whl"],
        ["setuptools-80.0-py3-none-any.whl", "wheel-1.0-py3-none-any.whl"],
    ]


def test_a_backend_that_never_stops_asking_is_stopped(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    add(server, tmp_path, build_requires=["setuptools"])
    container.make = lambda request, out: ["wheel"]
    shop = workshop()
    with pytest.raises(BuildError, match="keeps asking for more"):
        shop.wheel(sdist(shop))
    assert len(container.requests) == ROUNDS


def test_a_build_requirement_that_is_an_sdist_is_built_first(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    add(server, tmp_path, build_requires=["helper"])
    add(server, tmp_path, "helper", build_requires=["wheel"])
    shop = workshop()
    shop.wheel(sdist(shop))
    assert [str(request.project) for request in container.requests] == ["helper", "demo"]
    assert container.given == [["wheel-1.0-py3-none-any.whl"], ["helper-1.0-py3-none-any.whl"]]


def test_a_circle_of_builds_is_told(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    add(server, tmp_path, "a", build_requires=["b"])
    add(server, tmp_path, "b", build_requires=["a"])
    shop = workshop()
    with pytest.raises(BuildError, match=r"a-1\.0\.tar\.gz -> b-1\.0\.tar\.gz -> a-1\.0\.tar\.gz"):
        shop.wheel(sdist(shop, "a"))


def test_a_build_requirement_that_nobody_has_is_told(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    add(server, tmp_path, build_requires=["gone"])
    shop = workshop()
    with pytest.raises(BuildError, match=r"demo 1\.0: build requirements cannot be met: gone: nothing of that name"):
        shop.wheel(sdist(shop))
    assert container.requests == []


def test_only_constraints_that_keep_a_build_requirement_away_are_blamed(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    add(server, tmp_path, build_requires=["nothere"])
    add(server, tmp_path, "other", build_requires=["setuptools"])
    shop = workshop(build_constraints=["setuptools>99"])
    with pytest.raises(BuildError, match=r"nothere: nothing of that name on the index$"):
        shop.wheel(sdist(shop))
    with pytest.raises(BuildError, match=r"which constraint setuptools>99 excludes \(build_constraints\)$"):
        shop.wheel(sdist(shop, "other"))


def test_a_network_is_for_those_who_are_named(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    add(server, tmp_path)
    add(server, tmp_path, "other")
    shop = workshop(container={"build_network": ["Demo"]})
    shop.wheel(sdist(shop))
    shop.wheel(sdist(shop, "other"))
    assert [request.network for request in container.requests] == [True, False]


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "another project": ({"filename": "evil-1.0-py3-none-any.whl"}, "which is another project or version"),
    "another version": ({"filename": "demo-2.0-py3-none-any.whl"}, "which is another project or version"),
    "another platform": ({"tag": "cp311-cp311-win_amd64"}, "which does not fit this platform"),
    "a name that is none": ({"filename": "demo.whl"}, "unusable wheel"),
    "metadata of another project": ({"metadata": "Name: evil\nVersion: 1.0\n"}, "holds the metadata of evil"),
    "a RECORD that lies": ({"record": ""}, "is not in RECORD"),
    "a member outside RECORD": ({"extra_members": [("evil.pth", "import evil")]}, "evil.pth is not in RECORD"),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_a_container_made_is_suspect(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path, lie: str
) -> None:
    arguments, said = LIES[lie]
    add(server, tmp_path)
    container.make = lambda request, out: make_wheel(out, **{"name": "demo", **arguments})
    shop = workshop()
    with pytest.raises(BuildError, match=said) as caught:
        shop.wheel(sdist(shop))
    assert str(caught.value).startswith("demo 1.0: its build made ")


def test_a_link_is_never_followed(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    secret = make_wheel(tmp_path / "elsewhere")

    def linking(request: BuildRequest, out: Path) -> Outcome:
        path = out / secret.name
        path.symlink_to(secret)
        return path

    add(server, tmp_path)
    container.make = linking
    shop = workshop()
    with pytest.raises(MirrorError, match="cannot copy"):
        shop.wheel(sdist(shop))


def test_a_build_that_fails_is_not_tried_twice_but_told_twice(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    def failing(request: BuildRequest, out: Path) -> Outcome:
        raise BuildError("demo 1.0: no compiler")

    add(server, tmp_path)
    container.make = failing
    shop = workshop()
    for _ in range(2):
        with pytest.raises(BuildError, match="no compiler"):
            shop.wheel(sdist(shop))
    assert len(container.requests) == 1


@pytest.mark.parametrize(
    "text", ["[build-system", "[build-system]\nrequires = 5\n", '[build-system]\nrequires = ["a >>> 1"]\n']
)
def test_a_pyproject_that_is_none_is_told(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path, text: str
) -> None:
    add(server, tmp_path, pyproject=text)
    shop = workshop()
    with pytest.raises(BuildError):
        shop.wheel(sdist(shop))


def test_credentials_of_the_index_are_in_no_record(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    """An index without JSON links relatively, and so the page's own credentials are in every link."""
    add(server, tmp_path)
    server.username, server.password = "me", SECRET
    shop = workshop(index={"url": server.url.replace("://", f"://me:{SECRET}@")})
    built = shop.wheel(sdist(shop))
    assert SECRET not in json.dumps(built.record)
    assert built.record["source"]["url"].endswith("demo-1.0.tar.gz")


def test_each_round_of_a_build_finds_its_place_empty(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    def asking(request: BuildRequest, out: Path) -> Outcome:
        if len(container.requests) > 1:
            return container.wheel(request, out)
        (out / "evil.whl").write_bytes(b"")
        return ["wheel"]

    add(server, tmp_path)
    container.make = asking
    shop = workshop()
    shop.wheel(sdist(shop))
    (left,) = shop.directory.staging.glob("build-demo-1.0-*")
    assert [path.name for path in (left / "out").iterdir()] == ["demo-1.0-py3-none-any.whl"]


# --- never twice ----------------------------------------------------------------------------------


def test_no_later_run_builds_it_again(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    """Nor what it needed to be built, which never lies in the mirror."""
    add(server, tmp_path, build_requires=["helper"])
    add(server, tmp_path, "helper", build_requires=["wheel"])
    add(server, tmp_path, "another", build_requires=["helper"])
    first = workshop()
    built = first.wheel(sdist(first))
    again = workshop()
    found = again.wheel(sdist(again))
    assert (found.record, found.metadata) == (built.record, built.metadata)
    assert found.path.read_bytes() == built.path.read_bytes()
    again.wheel(sdist(again, "another"))
    assert [request.project for request in container.requests] == ["helper", "demo", "another"]


def with_profile(shop: Workshop, **changes: Any) -> Workshop:
    return replace(shop, profile=replace(PROFILE, **changes))


# What else a wheel depends on than its sources; each as another run may find it changed.
INPUTS: dict[str, Callable[[Callable[..., Workshop]], Workshop]] = {
    "build_constraints": lambda workshop: workshop(build_constraints=["setuptools<72"]),
    "build_network": lambda workshop: workshop(container={"build_network": ["demo"]}),
    "the image": lambda workshop: with_profile(workshop(), image="sha256:other"),
    "the interpreter": lambda workshop: with_profile(workshop(), base_executable="/usr/bin/python3.99"),
}


@pytest.mark.parametrize("changed", INPUTS)
def test_other_inputs_are_another_build(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path, changed: str
) -> None:
    add(server, tmp_path)
    for _ in range(2):
        first = workshop()
        first.wheel(sdist(first))
        other = INPUTS[changed](workshop)
        other.wheel(sdist(other))
    assert len(container.requests) == 2


INDIFFERENT: dict[str, dict[str, Any]] = {
    "limits": {"container": {"memory": "1g", "disk": "1g", "pids": 64, "cpus": 1, "timeout": 60}},
    "the network of others": {"container": {"build_network": ["other"]}},
    "what else is wanted": {"packages": ["demo", "other"]},
}


@pytest.mark.parametrize("changed", INDIFFERENT)
def test_what_a_wheel_does_not_depend_on_builds_nothing_again(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path, changed: str
) -> None:
    add(server, tmp_path)
    for settings in ({}, INDIFFERENT[changed]):
        shop = workshop(**settings)
        shop.wheel(sdist(shop))
    assert len(container.requests) == 1


def test_another_address_of_the_same_sources_builds_nothing_again(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    add(server, tmp_path)
    shop = workshop()
    shop.wheel(sdist(shop))
    with LocalIndex(tmp_path / "sdists") as moved:
        shop = workshop(index={"url": moved.url})
        built = shop.wheel(sdist(shop))
        assert built.record["source"]["url"].startswith(moved.url.removesuffix("/simple/"))
    assert len(container.requests) == 1


def test_a_kept_wheel_that_was_damaged_is_built_again(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    add(server, tmp_path)
    shop = workshop()
    shop.wheel(sdist(shop))
    (kept,) = shop.directory.kept.rglob("*.whl")
    kept.write_bytes(b"torn")
    shop = workshop()
    shop.wheel(sdist(shop))
    assert len(container.requests) == 2


def test_the_same_bytes_under_another_name_are_another_build(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    """What was checked for one project is not taken for another."""
    add(server, tmp_path)
    copy = tmp_path / "sdists/other-1.0.tar.gz"
    copy.write_bytes((tmp_path / "sdists/demo-1.0.tar.gz").read_bytes())
    server.add(copy)
    shop = workshop()
    shop.wheel(sdist(shop))
    container.make = lambda request, out: make_wheel(out, "demo")
    with pytest.raises(BuildError, match="which is another project or version"):
        shop.wheel(sdist(shop, "other"))


# --- at once --------------------------------------------------------------------------------------

ROOM = {"cpus": 0.01, "memory": "16m"}


def together(container: Container, number: int) -> Callable[[BuildRequest, Path], Outcome]:
    """Builds that end only when so many of them have begun."""
    barrier = threading.Barrier(number)

    def make(request: BuildRequest, out: Path) -> Outcome:
        barrier.wait(timeout=60)
        return container.wheel(request, out)

    return make


def test_independent_builds_run_at_once(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    names = ("one", "two", "three")
    for name in names:
        add(server, tmp_path, name)
    container.make = together(container, 3)
    shop = workshop(container=ROOM)
    built = shop.wheels([sdist(shop, name) for name in names])
    assert [one.path.name for one in built.values() if not isinstance(one, BuildError)] == [
        f"{name}-1.0-py3-none-any.whl" for name in names
    ]


def test_builds_that_only_tell_what_is_required_run_at_once(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    """The resolver asks for one after the other; what it will probably ask for is begun before."""
    for name in ("one", "two", "three"):
        add(server, tmp_path, name)
    add(server, tmp_path, build_requires=["one", "two", "three"])
    make = together(container, 3)
    container.make = lambda request, out: (container.wheel if request.project == "demo" else make)(request, out)
    shop = workshop(container=ROOM)
    shop.wheel(sdist(shop))
    assert len(container.requests) == 4
    assert len(container.requests[-1].wheels) == 3


def test_no_more_builds_at_once_than_there_is_room_for(
    workshop: Callable[..., Workshop],
    container: Container,
    server: LocalIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipmirror_lib.workshop.at_once", lambda *limits: 2)
    names = [f"p{number}" for number in range(6)]
    running: list[int] = []
    count = 0
    lock = threading.Lock()

    def make(request: BuildRequest, out: Path) -> Outcome:
        nonlocal count
        with lock:
            count += 1
            running.append(count)
        made = container.wheel(request, out)
        with lock:
            count -= 1
        return made

    for name in names:
        add(server, tmp_path, name)
    container.make = make
    shop = workshop()
    shop.wheels([sdist(shop, name) for name in names])
    assert len(running) == len(names)
    assert max(running) <= 2


def test_whoever_asks_at_the_same_time_waits_for_the_one_build(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    add(server, tmp_path)
    shop = workshop(container=ROOM)
    candidate = sdist(shop)
    with ThreadPoolExecutor(8) as pool:
        built = list(pool.map(lambda _: shop.wheel(candidate), range(8)))
    assert len({id(one) for one in built}) == 1
    assert len(container.requests) == 1


def test_a_circle_that_two_threads_close_is_told(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    """Each has begun what the other waits for."""
    add(server, tmp_path, "a", build_requires=["b"])
    add(server, tmp_path, "b", build_requires=["a"])
    shop = workshop(container=ROOM)
    outcomes = shop.wheels([sdist(shop, "a"), sdist(shop, "b")])
    way = "a-1.0.tar.gz -> b-1.0.tar.gz -> a-1.0.tar.gz"
    said = [f"{name} 1.0 needs itself to be built: {way}; pin a wheel in build_constraints" for name in "ab"]
    assert [str(one) for one in outcomes.values()] == said
    assert container.requests == []


def test_builds_without_end_are_told(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    for number in range(60):
        add(server, tmp_path, f"s{number}", build_requires=[f"s{number + 1}"])
    shop = workshop()
    with pytest.raises(BuildError, match=r"^s0 1\.0 needs more than 30 builds, .* -> … -> s30-1\.0") as caught:
        shop.wheel(sdist(shop, "s0"))
    assert len(str(caught.value)) < 300
    assert container.requests == []


def test_one_that_fails_does_not_keep_the_others_back(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    def make(request: BuildRequest, out: Path) -> Outcome:
        if request.project == "bad":
            raise BuildError("bad 1.0: no compiler")
        return container.wheel(request, out)

    for name in ("bad", "good"):
        add(server, tmp_path, name)
    container.make = make
    shop = workshop(container=ROOM)
    outcomes = shop.wheels([sdist(shop, "bad"), sdist(shop, "good")])
    assert str(outcomes["bad-1.0.tar.gz"]) == "bad 1.0: no compiler"
    assert not isinstance(outcomes["good-1.0.tar.gz"], BuildError)


def test_one_that_does_not_come_does_not_keep_the_others_back(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    for name in ("bad", "good"):
        add(server, tmp_path, name)
    server.fail = {"/files/bad-1.0.tar.gz": Fault(503, times=None)}
    shop = workshop()
    outcomes = shop.wheels([sdist(shop, "bad"), sdist(shop, "good")])
    assert "503" in str(outcomes["bad-1.0.tar.gz"])
    assert not isinstance(outcomes["good-1.0.tar.gz"], BuildError)


def test_nothing_is_begun_at_the_end(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    add(server, tmp_path)
    shop = workshop(container=ROOM)
    with shop:
        candidate = sdist(shop)
    shop.begin(candidate)
    assert container.requests == []
