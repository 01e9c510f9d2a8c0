"""Requirements that are URLs: a real git server and index, builds in real containers, installed by the target's pip."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dists import make_sdist
from tests.support.gitserver import GitServer
from tests.support.site import Site

pytestmark = pytest.mark.integration

SECRET = "hunter2"
# Runs while the wheel is built: git's own directory is there, for tools that read the version from tags; the
# credentials are not, nor is there a way back to the server.
ON_BUILD = """
import os, pathlib, socket
secret = "{reversed}"[::-1]  # for this file is searched as well
top = pathlib.Path.cwd()
while not (top / ".git").is_dir():
    top = top.parent
assert (top / ".git" / "HEAD").read_text().strip()
for folder, _, names in os.walk(top):
    for name in names:
        path = pathlib.Path(folder, name)
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
assert secret not in str(os.environ)
try:
    socket.create_connection(("127.0.0.1", {port}), timeout=3)
except OSError:
    pass
else:
    raise SystemExit("the build has reached the server")
"""


@pytest.fixture
def git(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "git") as running:
        yield running


def sources(directory: Path, version: str, on_build: str, below: str = "") -> dict[str, str]:
    """The files of a project that builds itself, as they lie in a repository."""
    sdist = make_sdist(
        directory, "omega", version, requires=["beta<2"], intree_backend=True, build_requires=[], on_build=on_build
    )
    with tarfile.open(sdist) as tar:
        members = ((m.name.partition("/")[2], tar.extractfile(m)) for m in tar if m.isfile())
        return {f"{below}{name}": stream.read().decode() for name, stream in members if stream}


def test_a_private_repository_from_branch_to_installed(site: Site, git: GitServer, tmp_path: Path) -> None:
    port = int(git.url.rpartition(":")[2])
    on_build = ON_BUILD.format(reversed=SECRET[::-1], port=port)
    repository = git.repository("omega")
    repository.commit(sources(tmp_path / "one", "1.0", on_build, "inner/"), tag="v1")
    git.username, git.password = "me", SECRET
    clean = f"git+{repository.url}@main#subdirectory=inner"
    site.settings.update(packages=["alpha", clean.replace("//", f"//me:{SECRET}@")], verify=True)
    answer = site.good(site.apply())
    assert SECRET not in json.dumps(answer.states)
    wheel = "omega-1.0-py3-none-any.whl"
    assert site.wheels() == {wheel, "alpha-1.0-py3-none-any.whl", "beta-1.0-py3-none-any.whl"}
    site.check()
    record = site.record(wheel)
    assert record["direct"] == [clean]
    assert record["source"]["commit"] == repository.git("rev-parse", "main")
    told = site.call("plan", resolve=True).value["platforms"]["bookworm"]
    assert wheel in told["closure"]
    assert SECRET not in json.dumps(told)
    for path in site.target.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    # Nothing more to do, and nobody is asked.
    git.log.clear()
    site.forget()
    assert site.state(site.good(site.apply()))["changes"] == {}
    assert (git.log, site.asked()) == ([], [])
    # The branch moves: an upgrade brings the new version, the old one stays until it is pruned.
    repository.commit(sources(tmp_path / "two", "1.1", on_build, "inner/"))
    assert site.call("sync").value["platforms"]["bookworm"]["added"] == {}
    done = site.call("sync", upgrade=True)
    assert done.code == 0, done
    assert set(done.value["platforms"]["bookworm"]["added"]) == {"omega-1.1-py3-none-any.whl"}
    assert wheel in site.call("plan").value["platforms"]["bookworm"]["orphans"]
    site.check()


def test_files_by_their_urls(site: Site) -> None:
    wheel = site.wheel("gamma", "3.0", requires=["beta"])
    site.wheel("gamma", "4.0")
    sdist = site.sdist("omega", requires=["gamma"], intree_backend=True, build_requires=[])
    files = site.index.url.replace("/simple/", "/files/")
    site.settings.update(packages=[f"{files}{wheel}", f"omega @ {files}{sdist}"], verify=True)
    site.good(site.apply())
    assert site.wheels() == {wheel, "omega-1.0-py3-none-any.whl", "beta-2.0-py3-none-any.whl"}
    site.check()
    assert site.state(site.good(site.apply()))["changes"] == {}


def test_faults_are_told_together_and_nothing_is_done(site: Site) -> None:
    site.settings["packages"] = ["demo @ /srv/demo.whl", f"hg+https://me:{SECRET}@hg.invalid/demo", "git+file:///srv"]
    answer = site.apply()
    comment = answer.states["pipmirror-declaration"]["comment"]
    assert comment.count("is a local path") == 2
    assert "is not supported" in comment
    assert SECRET not in comment
    assert not site.target.exists()
