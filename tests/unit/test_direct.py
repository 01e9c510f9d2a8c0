"""Direct references in a sync: a real git and a real index on the loopback; only the container is not real."""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from pipmirror_lib import builder, builds, plan, proof, reports, sync, workshop
from pipmirror_lib.builder import BuilderImage
from pipmirror_lib.builds import BuildRequest
from pipmirror_lib.engine import Engine
from pipmirror_lib.errors import EngineError, ResolutionError
from pipmirror_lib.settings import Mirror
from pipmirror_lib.shared import downloads
from pipmirror_lib.wheels import sha256_of
from pipmirror_lib.world import Question

from tests.support.dists import make_sdist, make_wheel
from tests.support.gitserver import GitServer, Repository
from tests.support.localindex import LocalIndex
from tests.support.mirrors import consistent, declare, directory_of, equip, wheels
from tests.support.syncs import bad, good
from tests.unit.test_sync import NoEngine

DEMO, DEP = "demo-1.0-py3-none-any.whl", "dep-1.0-py3-none-any.whl"
PYPROJECT = {"pyproject.toml": '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalIndex]:
    for name in ("dep", "setuptools"):
        make_wheel(tmp_path / "files", name, "1.0")
    with LocalIndex(tmp_path / "files") as running:
        yield running


@pytest.fixture
def git(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "git") as running:
        yield running


@pytest.fixture
def demo(git: GitServer) -> Repository:
    made = git.repository("demo")
    made.commit(PYPROJECT, tag="v1")
    return made


class Container:
    """Makes a wheel that differs each time, of the version that a test sets."""

    def __init__(self) -> None:
        self.requests: list[BuildRequest] = []
        self.project, self.version, self.more = "demo", "1.0", {"requires": ["dep"]}
        self._numbers = itertools.count()

    def build(self, quarters: Any, profile: Any, request: BuildRequest, *_: Any, **to: Any) -> Path:
        self.requests.append(request)
        out = to["workdir"] / "out"
        out.mkdir()
        files = {"number.py": f"number = {next(self._numbers)}\n"}
        return make_wheel(out, self.project, self.version, files=files, **self.more)  # type: ignore[arg-type]


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> Container:
    made = Container()
    image = BuilderImage("sha256:0000", "sha256:1111", "recipe", "2999-01-01T00:00:00Z", "local", reused=True)
    monkeypatch.setattr(builds, "build", made.build)
    monkeypatch.setattr(builder, "prepare", lambda *_, **__: image)
    monkeypatch.setattr(Engine, "connect", classmethod(lambda cls, url="": NoEngine()))
    return made


def declared(tmp_path: Path, server: LocalIndex, *packages: str, **more: Any) -> Mirror:
    mirror = declare(tmp_path, server.url, packages=list(packages), **more)
    if not directory_of(mirror).profile_path.exists():
        equip(mirror)
    return mirror


def record(mirror: Mirror, filename: str = DEMO) -> dict[str, Any]:
    return dict(directory_of(mirror).manifest()["wheels"][filename])


def planned(mirror: Mirror) -> plan.PlatformPlan:
    return plan.make(mirror, mirror.platforms[0], directory_of(mirror))


# -- git -----------------------------------------------------------------------------------------------------


def test_a_repository_becomes_a_wheel(
    tmp_path: Path, server: LocalIndex, demo: Repository, git: GitServer, container: Container
) -> None:
    text = f"git+{demo.url}@main"
    mirror = declared(tmp_path, server, text)
    assert "not fetched yet" in planned(mirror).missing[text]
    good(mirror)
    assert wheels(mirror) == {DEMO, DEP}
    consistent(mirror)
    made = record(mirror)
    assert made["direct"] == [text]
    assert made["source"] == {"url": demo.url, "commit": demo.git("rev-parse", "main")}
    assert [path.name for path in container.requests[0].wheels] == ["setuptools-1.0-py3-none-any.whl"]
    assert planned(mirror).nothing_to_do
    assert planned(mirror).wanted_by[DEMO] == (f"{text} (declared)",)
    git.log.clear()
    server.log.clear()
    assert good(mirror)["added"] == {}
    assert (git.log, server.log) == ([], [])


def test_only_an_upgrade_looks_whether_a_branch_has_moved(
    tmp_path: Path, server: LocalIndex, demo: Repository, git: GitServer, container: Container
) -> None:
    mirror = declared(tmp_path, server, f"git+{demo.url}@main")
    good(mirror)
    first = record(mirror)
    assert good(mirror, upgrade=True)["added"] == {}
    assert len(container.requests) == 1, "the branch has not moved"
    moved = demo.commit({"new.py": ""})
    assert good(mirror)["added"] == {}, "nobody asked"
    result = good(mirror, upgrade=True)
    assert result["added"][DEMO]["replaced"] == first["sha256"], "the same name for a new commit"
    assert record(mirror)["source"]["commit"] == moved
    consistent(mirror)


def test_a_moved_branch_with_a_new_version_leaves_the_old_wheel_to_prune(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container
) -> None:
    mirror = declared(tmp_path, server, f"git+{demo.url}@main")
    good(mirror)
    demo.commit({"new.py": ""})
    container.version = "1.1"
    good(mirror, upgrade=True)
    assert record(mirror).get("direct") == []
    assert planned(mirror).orphans == (DEMO,)
    assert planned(mirror).satisfied


def test_a_whole_commit_is_never_looked_at_again(
    tmp_path: Path, server: LocalIndex, demo: Repository, git: GitServer, container: Container
) -> None:
    mirror = declared(tmp_path, server, f"git+{demo.url}@{demo.git('rev-parse', 'main')}")
    good(mirror)
    git.log.clear()
    good(mirror, upgrade=True)
    assert git.log == []


def test_the_same_commit_by_another_name_is_not_built_again(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container
) -> None:
    good(declared(tmp_path, server, f"git+{demo.url}@main"))
    mirror = declared(tmp_path, server, f"demo @ git+{demo.url}@v1")
    assert not planned(mirror).satisfied
    good(mirror)
    assert len(container.requests) == 1
    assert record(mirror)["direct"] == [f"git+{demo.url}@main", f"git+{demo.url}@v1"]


def test_a_deleted_wheel_is_made_again(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container
) -> None:
    mirror = declared(tmp_path, server, f"git+{demo.url}@main")
    good(mirror)
    (directory_of(mirror).public / DEMO).unlink()
    assert set(good(mirror)["added"]) == {DEMO}
    assert planned(mirror).nothing_to_do


def test_two_platforms_fetch_once_and_build_each(
    tmp_path: Path, server: LocalIndex, demo: Repository, git: GitServer, container: Container
) -> None:
    both = [{"image": "a"}, {"image": "b"}]
    mirror = declared(tmp_path, server, f"git+{demo.url}@main", platforms=both, parallel=2)
    assert sync.sync(mirror)["result"]
    assert len(container.requests) == 2
    assert len({request.sha256 for request in container.requests}) == 1
    assert sum("info/refs" in path for method, path in git.log) <= 3, "one look, one clone and its checkout"


def test_a_sub_directory(tmp_path: Path, server: LocalIndex, demo: Repository, container: Container) -> None:
    demo.commit({"inner/pyproject.toml": PYPROJECT["pyproject.toml"].replace("setuptools", "other", 1)})
    mirror = declared(tmp_path, server, f"git+{demo.url}#subdirectory=inner")
    assert "other" in bad(mirror), "its own pyproject.toml counts"
    make_wheel(tmp_path / "files", "other", "1.0")
    server.add(tmp_path / "files" / "other-1.0-py3-none-any.whl")
    good(mirror)
    assert container.requests[-1].subdirectory == "inner"
    assert record(mirror)["source"]["subdirectory"] == "inner"


def test_another_project_than_declared(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container
) -> None:
    mirror = declared(tmp_path, server, f"other @ git+{demo.url}@main")
    assert "another project" in bad(mirror)
    assert wheels(mirror) == set()


def test_another_project_than_declared_is_none_because_it_is_known(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container
) -> None:
    text = f"git+{demo.url}@main"
    good(declared(tmp_path, server, text))
    for name in (text, f"git+{demo.url}@v1"):
        mirror = declared(tmp_path, server, f"other @ {name}", sets={"right": [f"Demo @ {text}"]})
        assert not planned(mirror).satisfied
        assert f"other @ {name}: is another project than declared: demo" in bad(mirror)
    assert len(container.requests) == 1
    assert planned(mirror).incomplete == ("packages",)


def test_one_that_fails_keeps_nobody_else_back(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container
) -> None:
    mirror = declared(tmp_path, server, "dep", sets={"own": [f"git+{demo.url}@nosuch"]})
    said = bad(mirror)
    assert f"git+{demo.url}@nosuch" in said
    assert "has no nosuch" in said
    assert wheels(mirror) == {DEP}
    consistent(mirror)


@pytest.mark.parametrize(
    ("pyproject", "said"),
    [
        ("x = " + "[" * 5000, "[build-system] is invalid"),
        ('[build-system]\nrequires = ["x; ' + "(" * 3000 + '"]\n', "nested"),
        ('[build-system]\nrequires = ["x; sys_platform ~= \\"1\\""]\n', "cannot be evaluated"),
    ],
)
def test_a_hostile_one_takes_nobody_along(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container, pyproject: str, said: str
) -> None:
    demo.commit({"pyproject.toml": pyproject})
    mirror = declared(tmp_path, server, "dep", sets={"own": [f"git+{demo.url}@main"]})
    assert said in bad(mirror)
    assert wheels(mirror) == {DEP}
    consistent(mirror)


def test_nor_does_one_whose_build_requirements_are_never_decided(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = workshop.resolve.resolve

    def undecided(question: Question, source: Any) -> Any:
        if "setuptools" in map(str, question.requirements):
            raise ResolutionError("too long")
        return decide(question, source)

    monkeypatch.setattr(workshop.resolve, "resolve", undecided)
    mirror = declared(tmp_path, server, "dep", sets={"own": [f"git+{demo.url}@main"]})
    assert "build requirements: too long" in bad(mirror)
    assert wheels(mirror) == {DEP}


def test_nor_an_engine_that_is_gone(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def gone(*_: Any, **__: Any) -> BuilderImage:
        asked.append("")
        raise EngineError("no engine")

    monkeypatch.setattr(builder, "prepare", gone)
    both = [f"git+{demo.url}@main", f"git+{demo.url}@v1"]
    demo.commit({"new.py": ""})
    mirror = declared(tmp_path, server, "dep", sets={"own": both[:1], "again": both[1:]})
    said = bad(mirror)
    assert all(f"{text}: " in said for text in both)
    assert wheels(mirror) == {DEP}
    assert len(asked) == 2, "before the index is asked, and for the first build"


ROOM = {"cpus": 0.01, "memory": "16m"}


def test_several_are_made_at_once(
    tmp_path: Path,
    server: LocalIndex,
    demo: Repository,
    git: GitServer,
    container: Container,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each build ends only when the other has begun."""
    other = git.repository("other")
    other.commit({**PYPROJECT, "other.py": ""})
    barrier = threading.Barrier(2)

    def together(quarters: Any, profile: Any, request: BuildRequest, *_: Any, **to: Any) -> Path:
        barrier.wait(timeout=60)
        (to["workdir"] / "out").mkdir()
        return make_wheel(to["workdir"] / "out", request.project, "1.0")

    monkeypatch.setattr(builds, "build", together)
    mirror = declared(tmp_path, server, f"git+{demo.url}@main", f"git+{other.url}@main", container=ROOM)
    good(mirror)
    assert wheels(mirror) == {DEMO, "other-1.0-py3-none-any.whl"}


def test_two_names_of_the_same_sources_are_one_build(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container
) -> None:
    texts = [f"git+{demo.url}@main", f"git+{demo.url}@v1"]
    mirror = declared(tmp_path, server, *texts, container=ROOM)
    good(mirror)
    assert len(container.requests) == 1
    assert record(mirror)["direct"] == sorted(texts)


def test_a_failed_upgrade_keeps_what_lies_there(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container
) -> None:
    mirror = declared(tmp_path, server, f"git+{demo.url}@main")
    good(mirror)
    demo.bare.rename(demo.bare.with_name("gone"))
    assert "demo.git" in bad(mirror, upgrade=True)
    assert planned(mirror).satisfied
    assert wheels(mirror) == {DEMO, DEP}


def test_it_needs_another_python(tmp_path: Path, server: LocalIndex, demo: Repository, container: Container) -> None:
    container.more = {"requires_python": ">=3.99"}  # type: ignore[dict-item]
    assert "needs Python >=3.99" in bad(declared(tmp_path, server, f"git+{demo.url}@main"))


def test_a_failing_run_leaves_no_archives(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container
) -> None:
    name = server.add(make_wheel(tmp_path / "files", "other", "1.0"))
    url = server.url.replace("/simple/", f"/files/{name}")
    mirror = declared(tmp_path, server, f"git+{demo.url}@main", url, "nosuch", sets={"own": ["dep"]})
    bad(mirror)
    assert [path for path in downloads(mirror.target).iterdir() if "." in path.name] == []


def test_what_was_built_in_vain_is_not_built_again(
    tmp_path: Path, server: LocalIndex, demo: Repository, git: GitServer, container: Container
) -> None:
    text = f"git+{demo.url}@main"
    mirror = declared(tmp_path, server, text, "nosuch")
    assert "nosuch" in bad(mirror)
    git.log.clear()
    assert "nosuch" in bad(mirror)
    assert len(container.requests) == 1
    assert sum(method == "POST" for method, path in git.log) == 1, "a look, and no clone"
    demo.commit({"new.py": ""})
    bad(mirror)
    assert len(container.requests) == 2, "the branch has moved"
    for kept in directory_of(mirror).kept.glob("*/*.whl"):
        kept.write_bytes(b"")
    bad(mirror)
    assert len(container.requests) == 3, "what is damaged is no help"
    good(declared(tmp_path, server, text))
    assert len(container.requests) == 3
    (*_, last) = directory_of(mirror).kept.iterdir()
    os.utime(last, (0, 0))
    good(declared(tmp_path, server, text))
    assert not last.exists(), "nobody has asked for it for keep_days"
    consistent(mirror)


def test_what_was_built_in_vain_is_of_its_circumstances(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container
) -> None:
    text = f"git+{demo.url}@main"
    bad(declared(tmp_path, server, text, "nosuch"))
    good(declared(tmp_path, server, text, build_constraints=["setuptools<99"]))
    assert len(container.requests) == 2
    bad(declared(tmp_path, server, f"other @ git+{demo.url}@v1", "nosuch"))


def test_what_is_not_wanted_here_is_not_proved(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    proved: list[Any] = []

    def verify(*_: Any, requirements: list[str], **__: Any) -> proof.VerifyOutcome:
        proved.append([str(Requirement(text)) for text in requirements])
        return proof.VerifyOutcome((("demo", "1.0"), ("dep", "1.0")), {}, "1", 0.0, tmp_path / "log")

    monkeypatch.setattr(proof, "verify", verify)
    elsewhere = f"git+{demo.url}@v1 ; python_version < '3'"
    mirror = declared(tmp_path, server, f"git+{demo.url}@main", elsewhere, sets={"none": [elsewhere]}, verify=True)
    good(mirror)
    assert proved == [["demo==1.0"]]
    assert planned(mirror).nothing_to_do


# -- names that two things want ------------------------------------------------------------------------------


def test_a_file_of_the_index_is_never_replaced(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container
) -> None:
    server.add(make_wheel(tmp_path / "files", "demo", "1.0"))
    good(declared(tmp_path, server, "demo"))
    before = sha256_of(directory_of(declared(tmp_path, server, "demo")).public / DEMO)
    mirror = declared(tmp_path, server, f"git+{demo.url}@main")
    assert "a wheel from the index has already" in bad(mirror)
    assert sha256_of(directory_of(mirror).public / DEMO) == before
    consistent(mirror)


def test_both_at_once_is_refused_for_the_set_that_wants_the_index(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container
) -> None:
    server.add(make_wheel(tmp_path / "files", "demo", "1.0"))
    mirror = declared(tmp_path, server, f"git+{demo.url}@main", sets={"plain": ["demo==1.0"]})
    assert "is wanted from the index here" in bad(mirror)
    assert record(mirror)["origin"] == "built"
    consistent(mirror)


@pytest.mark.parametrize("later", [False, True], ids=["at once", "by an upgrade"])
def test_nor_may_two_builds_become_one_file(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container, later: bool
) -> None:
    """A reference's, and that of an sdist whose wheel nobody knows by name before it is built."""
    server.add(make_sdist(tmp_path / "sdists", "demo", "1.0", build_requires=["setuptools"]))
    server.add(make_wheel(tmp_path / "files", "other", "1.0"))
    address = f"git+{demo.url}@main"
    if later:
        good(declared(tmp_path, server, address))
    mirror = declared(tmp_path, server, address, sets={"plain": ["demo==1.0"], "other": ["other"]})
    said = f"demo-1.0.tar.gz became {DEMO}, which is what {address} has become as well; use mirrors"
    assert said in bad(mirror, upgrade=later)
    assert wheels(mirror) == {DEMO, DEP, "other-1.0-py3-none-any.whl"}, "nobody else is kept back"
    assert record(mirror)["direct"] == [address]
    assert "commit" in record(mirror)["source"]
    consistent(mirror)


def test_two_references_cannot_become_one_file(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container
) -> None:
    demo.commit({"new.py": ""})
    mirror = declared(tmp_path, server, f"git+{demo.url}@v1", sets={"new": [f"git+{demo.url}@main"]})
    assert "has already" in bad(mirror)
    assert record(mirror)["direct"] == [f"git+{demo.url}@v1"]
    consistent(mirror)
    container.version = "1.1"
    demo.commit({"newer.py": ""})
    good(mirror)
    assert wheels(mirror) == {DEMO, "demo-1.1-py3-none-any.whl", DEP}


# -- files ---------------------------------------------------------------------------------------------------


def test_a_wheel_by_its_url(tmp_path: Path, server: LocalIndex) -> None:
    server.add(make_wheel(tmp_path / "files", "demo", "2.0"))
    server.add(make_wheel(tmp_path / "files", "demo", "1.0", requires=["dep"]))
    url = server.url.replace("/simple/", f"/files/{DEMO}")
    mirror = declared(tmp_path, server, url)
    good(mirror)
    assert wheels(mirror) == {DEMO, DEP}
    assert record(mirror)["origin"] == "url"
    assert record(mirror)["source"] == {"url": url, "sha256": server.files[DEMO].sha256}
    assert len(server.requests_of(DEMO)) == 1
    assert planned(mirror).nothing_to_do
    server.log.clear()
    assert good(mirror, upgrade=True)["added"] == {}
    assert len(server.requests_of(DEMO)) == 1, "only the file itself tells whether it has changed"


def test_a_wheel_by_its_url_and_by_its_name(tmp_path: Path, server: LocalIndex) -> None:
    server.add(make_wheel(tmp_path / "files", "demo", "1.0"))
    server.hashes = False
    mirror = declared(tmp_path, server, server.url.replace("/simple/", f"/files/{DEMO}"), sets={"plain": ["demo"]})
    good(mirror)
    assert record(mirror)["origin"] == "url"
    assert len(server.requests_of(DEMO)) == 1
    assert good(mirror, upgrade=True)["added"] == {}


def test_several_of_them_at_once(tmp_path: Path, server: LocalIndex, demo: Repository, container: Container) -> None:
    name = server.add(make_wheel(tmp_path / "files", "other", "1.0"))
    mirror = declared(tmp_path, server, server.url.replace("/simple/", f"/files/{name}"), f"git+{demo.url}@main")
    good(mirror)
    assert planned(mirror).nothing_to_do


def test_a_wheel_with_its_hash(tmp_path: Path, server: LocalIndex) -> None:
    server.add(make_wheel(tmp_path / "files", "demo", "1.0"))
    url = server.url.replace("/simple/", f"/files/{DEMO}")
    assert "the declared URL says 000000000000…" in bad(declared(tmp_path, server, f"{url}#sha256={'0' * 64}"))
    mirror = declared(tmp_path, server, f"{url}#sha256={server.files[DEMO].sha256}")
    good(mirror)
    server.log.clear()
    good(mirror, upgrade=True)
    assert server.requests_of(DEMO) == []


def test_a_wheel_that_changed_under_its_url(tmp_path: Path, server: LocalIndex) -> None:
    server.add(make_wheel(tmp_path / "files", "demo", "1.0"))
    mirror = declared(tmp_path, server, server.url.replace("/simple/", f"/files/{DEMO}"))
    good(mirror)
    old = record(mirror)["sha256"]
    server.add(make_wheel(tmp_path / "files", "demo", "1.0", files={"demo.py": "changed = True\n"}))
    assert good(mirror)["added"] == {}
    assert good(mirror, upgrade=True)["added"][DEMO]["replaced"] == old
    consistent(mirror)


def test_a_wheel_for_another_platform(tmp_path: Path, server: LocalIndex) -> None:
    name = server.add(make_wheel(tmp_path / "files", "demo", "1.0", tag="cp311-cp311-win_amd64"))
    mirror = declared(tmp_path, server, server.url.replace("/simple/", f"/files/{name}"))
    assert "does not fit this platform" in bad(mirror)


def test_a_wheel_that_lies(tmp_path: Path, server: LocalIndex) -> None:
    lie = make_wheel(tmp_path / "files", "demo", "1.0", metadata="Name: evil\nVersion: 1.0\n")
    server.add(lie, project="demo")
    mirror = declared(tmp_path, server, server.url.replace("/simple/", f"/files/{lie.name}"))
    assert "holds the metadata of evil" in bad(mirror)
    assert wheels(mirror) == set()


def test_an_sdist_by_its_url(tmp_path: Path, server: LocalIndex, container: Container) -> None:
    name = server.add(make_sdist(tmp_path / "files", "demo", "1.0", build_requires=["setuptools"]))
    mirror = declared(tmp_path, server, server.url.replace("/simple/", f"/files/{name}"))
    good(mirror)
    assert record(mirror)["source"]["sha256"] == server.files[name].sha256
    assert good(mirror, upgrade=True)["added"] == {}
    assert len(container.requests) == 1, "the same bytes are not built again"


def mono(tmp_path: Path, server: LocalIndex) -> list[str]:
    """References to two projects in one archive."""
    files = {f"{inner}/pyproject.toml": PYPROJECT["pyproject.toml"] for inner in ("one", "two")}
    name = server.add(make_sdist(tmp_path / "files", "mono", "1.0", files=files))
    url = server.url.replace("/simple/", f"/files/{name}")
    return [f"{url}#subdirectory={inner}" for inner in ("one", "two")]


def test_two_sub_directories_cannot_become_one_file(tmp_path: Path, server: LocalIndex, container: Container) -> None:
    """Nor does the wheel of the second get into the first one's place, under its record, or where it is kept."""
    first, second = mono(tmp_path, server)
    mirror = declared(tmp_path, server, first, sets={"other": [second]})
    assert "has already" in bad(mirror)
    assert len(container.requests) == 2
    consistent(mirror)
    kept = list(directory_of(mirror).kept.iterdir())
    assert len(kept) == 2
    for place in kept:
        assert sha256_of(place / DEMO) == json.loads((place / "record.json").read_text())["sha256"]


def test_two_sub_directories_are_made_at_once_in_places_of_their_own(
    tmp_path: Path, server: LocalIndex, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    barrier = threading.Barrier(2)
    places: list[Path] = []
    logs: list[Path] = []

    def together(quarters: Any, profile: Any, request: BuildRequest, *_: Any, workdir: Path, log_path: Path) -> Path:
        places.append(workdir)
        logs.append(log_path)
        barrier.wait(timeout=60)
        return make_wheel(workdir / request.subdirectory, request.subdirectory, "1.0")

    monkeypatch.setattr(builds, "build", together)
    mirror = declared(tmp_path, server, *mono(tmp_path, server), container=ROOM)
    good(mirror)
    made = {f"{inner}-1.0-py3-none-any.whl" for inner in ("one", "two")}
    assert wheels(mirror) == made
    assert len(set(places)) == 2
    assert {record(mirror, name)["log"] for name in made} == {path.name for path in logs}
    assert len(set(logs)) == 2


def test_what_is_not_there(tmp_path: Path, server: LocalIndex) -> None:
    mirror = declared(tmp_path, server, server.url.replace("/simple/", f"/files/{DEMO}"))
    assert "404" in bad(mirror)


def test_a_plan_asks_neither_git_nor_container(tmp_path: Path, server: LocalIndex, demo: Repository) -> None:
    text = f"git+{demo.url}@main"
    mirror = declared(tmp_path, server, text, sets={"other": ["dep"]})
    lock = reports.plans(mirror, None, resolve=True)["bookworm"]["lock"]
    assert "a URL that a sync fetches" in lock["undecided"][text]
    assert lock["missing"] == {}
    assert set(lock["files"]) == {DEP}


def test_a_plan_says_what_an_upgrade_would_bring(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container
) -> None:
    name = server.add(make_wheel(tmp_path / "files", "other", "1.0"))
    url = server.url.replace("/simple/", f"/files/{name}")
    text = f"git+{demo.url}@main"
    mirror = declared(tmp_path, server, text, url, "dep")
    good(mirror)

    def coming() -> tuple[dict[str, Any], dict[str, str]]:
        lock = reports.plans(mirror, None, upgrade=True)["bookworm"]["lock"]
        return lock["files"], lock["undecided"]

    assert coming() == ({}, {f"other @ {url}": "is fetched again by an upgrade, which tells whether it has changed"})
    moved = demo.commit({"new.py": ""})
    server.add(make_wheel(tmp_path / "files", "dep", "2.0"))
    files, undecided = coming()
    assert {name: (file["old"], file["version"]) for name, file in files.items()} == {
        "dep-2.0-py3-none-any.whl": (["1.0"], "2.0")
    }
    assert moved[:12] in undecided[text]
    assert good(mirror)["added"] == {}, "nothing was changed by asking"
    assert len(container.requests) == 1


def test_a_plan_says_which_server_is_gone(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container
) -> None:
    text = f"git+{demo.url}@main"
    mirror = declared(tmp_path, server, text, "dep")
    good(mirror)
    server.add(make_wheel(tmp_path / "files", "dep", "2.0"))
    demo.bare.rename(demo.bare.with_name("gone"))
    lock = reports.plans(mirror, None, upgrade=True)["bookworm"]["lock"]
    assert list(lock["files"]) == ["dep-2.0-py3-none-any.whl"]
    assert "cannot be looked at again: " in lock["undecided"][text]


def test_a_lost_manifest_is_recovered_from(
    tmp_path: Path, server: LocalIndex, demo: Repository, container: Container
) -> None:
    mirror = declared(tmp_path, server, f"git+{demo.url}@main")
    good(mirror)
    directory_of(mirror).manifest_path.unlink()
    good(mirror)
    assert record(mirror)["direct"] == [f"git+{demo.url}@main"]
    assert planned(mirror).nothing_to_do
