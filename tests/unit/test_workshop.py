"""From an sdist to a wheel that may be admitted; only the container is not real here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
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
from tests.support.localindex import LocalIndex
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
    "a RECORD that lies": ({"record": ""}, "RECORD does not match"),
    "a member outside RECORD": ({"extra_members": [("evil.pth", "import evil")]}, "RECORD does not match"),
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


def test_what_an_earlier_build_left_is_swept_away(
    workshop: Callable[..., Workshop], container: Container, server: LocalIndex, tmp_path: Path
) -> None:
    add(server, tmp_path)
    shop = workshop()
    left = shop.directory.staging / "build-demo-1.0" / "out"
    left.mkdir(parents=True)
    (left / "evil.whl").write_bytes(b"")
    shop.wheel(sdist(shop))
    assert [path.name for path in left.iterdir()] == ["demo-1.0-py3-none-any.whl"]
