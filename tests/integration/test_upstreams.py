"""Indexes as others run them: what lies there comes, and installs behind the gap."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support import upstreams
from tests.support.dists import make_sdist, make_wheel
from tests.support.site import Site
from tests.support.upstreams import Upstream

pytestmark = pytest.mark.integration

# Names and versions as they are found: capitals, dots, underscores, a local version.
WHEELS = {"Alpha.Beta-1.0+local.1-py3-none-any.whl", "gamma_delta-2.0-py3-none-any.whl"}
BUILT = "omega-1.0-py3-none-any.whl"


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return upstreams.install(tmp_path_factory.mktemp("upstreams") / "venv")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    shelf = tmp_path / "files"
    return [
        make_wheel(shelf, "Alpha.Beta", "0.9"),
        make_wheel(
            shelf,
            "Alpha.Beta",
            "1.0+local.1",
            requires=["Gamma.Delta>=1"],
            filename="Alpha.Beta-1.0+local.1-py3-none-any.whl",
        ),
        make_wheel(shelf, "gamma_delta", "2.0"),
        make_sdist(shelf, "omega", requires=["alpha-beta"], intree_backend=True),
    ]


@pytest.fixture(params=["devpi", "pypiserver", "nginx"])
def upstream(request: pytest.FixtureRequest, tmp_path: Path, files: list[Path]) -> Iterator[Upstream]:
    place = tmp_path / "upstream"
    running: AbstractContextManager[Upstream]
    if request.param == "nginx":
        running = upstreams.nginx(place, files)
    else:
        start = getattr(upstreams, request.param)
        running = start(request.getfixturevalue("programs"), place, files)
    with running as started:
        yield started


def test_what_it_has_comes_and_installs(site: Site, upstream: Upstream) -> None:
    site.settings["index"].update(upstream.index)
    site.settings.update(packages=["ALPHA_beta", "omega"], verify=True)
    state = site.state(site.good(site.apply()))
    assert site.wheels() == {*WHEELS, BUILT}
    assert "proved in the builder image" in state["comment"]
    site.check()
    for filename in WHEELS:
        assert site.record(filename)["origin"] == "index"
    # A second look asks for nothing anew, and an upgrade finds the same.
    assert site.state(site.good(site.apply()))["changes"] == {}
    before = site.wares()
    assert site.call("sync", upgrade=True).code == 0
    assert site.wares() == before


def test_who_does_not_know_the_password_is_told_so(
    site: Site, programs: Path, tmp_path: Path, files: list[Path]
) -> None:
    with upstreams.pypiserver(programs, tmp_path / "upstream", files) as upstream:
        site.settings["index"].update({**upstream.index, "password": "wrong-horse"})
        state = site.state(site.apply())
    assert state["result"] is False
    assert "check index:username and index:password" in state["comment"]
    assert "wrong-horse" not in state["comment"]
