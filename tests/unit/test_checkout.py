"""Sources from git: a real git, and a real server of its own on the loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import checkout
from pipmirror_lib.checkout import Repository
from pipmirror_lib.errors import PackageIndexError
from pipmirror_lib.references import DirectReference
from pipmirror_lib.settings import Index

from tests.support.gitserver import GitServer
from tests.support.gitserver import Repository as Served
from tests.support.proxy import Proxy

SECRET = "hunter2"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "git") as running:
        yield running


@pytest.fixture
def demo(server: GitServer) -> Served:
    made = server.repository("demo")
    made.commit({"pyproject.toml": "[project]\nname = 'demo'\n", "sub/one.txt": "1"}, tag="v1")
    return made


def repository(url: str, **settings: object) -> Repository:
    return Repository(DirectReference(f"git+{url}", named=False), Index(**settings), timeout=60)  # type: ignore[arg-type]


def fetched(url: str, tmp_path: Path, **settings: object) -> tuple[str, dict[str, tarfile.TarInfo]]:
    """(the commit, the members of the archive without its top directory)."""
    archive = tmp_path / "demo.tar.gz"
    commit = repository(url, **settings).fetch(archive)
    with tarfile.open(archive) as tar:
        members = {member.name.partition("/")[2]: member for member in tar}
    assert list(archive.parent.glob("tree-*")) == [], "the work tree is gone"
    return commit, members


def test_a_tree_with_its_history(demo: Served, tmp_path: Path) -> None:
    second = demo.commit({"two.txt": "2"})
    commit, members = fetched(demo.url, tmp_path)
    assert commit == second
    assert {"pyproject.toml", "sub/one.txt", "two.txt", ".git/HEAD"} <= set(members)
    assert {(member.uid, member.gid, member.uname) for member in members.values()} == {(0, 0, "")}
    assert not any(name.startswith(".git/hooks") for name in members)


def test_the_same_tree_is_the_same_archive_but_for_git_itself(demo: Served, tmp_path: Path) -> None:
    _, first = fetched(demo.url, tmp_path)
    _, second = fetched(demo.url, tmp_path)
    assert {name: m.mtime for name, m in first.items()} == {name: m.mtime for name, m in second.items()}


@pytest.mark.parametrize("dumb", [False, True])
@pytest.mark.parametrize("ref", ["main", "v1", "side", "COMMIT", "SHORT"])
def test_a_ref_is_a_branch_a_tag_or_a_commit(
    demo: Served, server: GitServer, tmp_path: Path, ref: str, dumb: bool
) -> None:
    tagged = demo.git("rev-parse", "HEAD")
    side = demo.commit({"side.txt": ""}, branch="side")
    demo.git("checkout", "-q", "main")
    newest = demo.commit({"new.txt": ""})
    server.dumb = dumb
    meant = {"main": newest, "v1": tagged, "side": side, "COMMIT": tagged, "SHORT": tagged}[ref]
    text = {"COMMIT": tagged, "SHORT": tagged[:10]}.get(ref, ref)
    assert fetched(f"{demo.url}@{text}", tmp_path)[0] == meant
    assert repository(f"{demo.url}@{text}").commit() == ("" if ref in ("COMMIT", "SHORT") else meant)


def test_a_commit_that_no_branch_has(demo: Served, tmp_path: Path) -> None:
    lost = demo.commit({"lost.txt": ""}, branch="lost")
    demo.git("update-ref", "refs/pull/1/head", lost, where=demo.bare)
    demo.git("branch", "-D", "lost", where=demo.bare)
    assert fetched(f"{demo.url}@{lost}", tmp_path)[0] == lost
    assert fetched(f"{demo.url}@refs/pull/1/head", tmp_path)[0] == lost


def test_an_empty_ref_is_what_the_server_calls_head(demo: Served) -> None:
    assert repository(demo.url).commit() == demo.git("rev-parse", "main")


@pytest.mark.parametrize(
    ("path", "said"), [("demo.git@nosuch", "has no nosuch"), ("nosuch.git", "not found|does not exist|not export")]
)
def test_what_is_not_there(demo: Served, server: GitServer, tmp_path: Path, path: str, said: str) -> None:
    with pytest.raises(PackageIndexError, match=said) as caught:
        fetched(f"{server.url}/{path}", tmp_path)
    assert "\n" not in str(caught.value)


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(PackageIndexError, match=r"127\.0\.0\.1"):
        fetched("http://127.0.0.1:9/demo.git", tmp_path)


def test_credentials_are_git_s_alone(
    demo: Served, server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.username, server.password = "me", SECRET
    started: list[object] = []

    class Spying(subprocess.Popen[bytes]):
        def __init__(self, command: list[str], **how: Any) -> None:
            started.append((command, how.get("env")))
            super().__init__(command, **how)

    monkeypatch.setattr(subprocess, "Popen", Spying)
    url = demo.url.replace("//", f"//me:{SECRET}@")
    commit, members = fetched(url, tmp_path)
    assert commit == demo.git("rev-parse", "main")
    assert started
    assert SECRET not in str(started)
    assert "two" not in members
    with tarfile.open(tmp_path / "demo.tar.gz") as tar:
        contents = [stream.read() for member in tar if member.isfile() and (stream := tar.extractfile(member))]
    assert not any(SECRET.encode() in content for content in contents)


def test_a_proxy_s_password_is_told_to_the_proxy_alone(
    demo: Served, server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The declared proxy is asked for every host, and git asks us for its password."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.username, server.password = "me", "another"
    started: list[object] = []

    class Spying(subprocess.Popen[bytes]):
        def __init__(self, command: list[str], **how: Any) -> None:
            started.append((command, how.get("env")))
            super().__init__(command, **how)

    with Proxy(username="them", password=SECRET) as proxy:
        with monkeypatch.context() as patch:
            patch.setattr(subprocess, "Popen", Spying)
            url = demo.url.replace("//", "//me:another@")
            fetched(url, tmp_path, proxy=proxy.url)
        assert proxy.log
        assert SECRET not in str(started)
        assert "another" not in str(started)
        with pytest.raises(PackageIndexError):
            fetched(url, tmp_path, proxy=f"http://them:wrong@{proxy.address}")


@pytest.mark.parametrize("user", ["", "me:wrong@", f"me:{SECRET}x@"])
def test_refused_credentials_are_not_told(demo: Served, server: GitServer, tmp_path: Path, user: str) -> None:
    server.username, server.password = "me", SECRET
    with pytest.raises(PackageIndexError, match="refuses us") as caught:
        fetched(demo.url.replace("//", f"//{user}"), tmp_path)
    assert "wrong" not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_credentials_do_not_follow_to_another_server(demo: Served, server: GitServer, tmp_path: Path) -> None:
    """A submodule may lie anywhere, and whoever made the repository says where."""
    with GitServer(tmp_path / "other") as other:
        inner = other.repository("inner")
        inner.commit({"inner.txt": ""})
        demo.git("submodule", "add", "-q", inner.url, "inner")
        demo.commit({})
        server.username, server.password = "me", SECRET
        other.username, other.password = "me", SECRET
        with pytest.raises(PackageIndexError):
            fetched(demo.url.replace("//", f"//me:{SECRET}@"), tmp_path)
        other.password = ""
        _, members = fetched(demo.url.replace("//", f"//me:{SECRET}@"), tmp_path)
        assert "inner/inner.txt" in members


@pytest.mark.parametrize("inner", ["URL", "../secret.git"])
def test_nor_to_another_repository_of_the_same_server(
    demo: Served, server: GitServer, tmp_path: Path, inner: str
) -> None:
    other = server.repository("secret")
    other.commit({"payroll.txt": ""})
    demo.git("submodule", "add", "-q", other.url, "inner")
    demo.git("config", "-f", ".gitmodules", "submodule.inner.url", inner.replace("URL", other.url))
    demo.commit({})
    server.username, server.password = "me", SECRET
    with pytest.raises(PackageIndexError, match="a submodule wants credentials, and no submodule gets any"):
        fetched(demo.url.replace("//", f"//me:{SECRET}@"), tmp_path)
    server.password = ""
    assert "inner/payroll.txt" in fetched(demo.url, tmp_path)[1]


def test_nothing_of_the_repository_runs(demo: Served, tmp_path: Path) -> None:
    trap = tmp_path / "trapped"
    demo.commit({".gitattributes": "*.txt filter=trap\n", "three.txt": "3"})
    for hook in ("post-checkout", "post-merge", "reference-transaction"):
        path = demo.bare / "hooks" / hook
        path.write_text(f"#!/bin/sh\ntouch {trap}\n")
        path.chmod(0o755)
    demo.git("config", "filter.trap.smudge", f"touch {trap}; cat", where=demo.bare)
    fetched(demo.url, tmp_path)
    assert not trap.exists()


@pytest.mark.parametrize("inner", ["ext::sh -c touch% trapped", "file:///etc", "ssh://git@127.0.0.1:9/demo.git"])
def test_a_submodule_cannot_reach_into_this_machine(demo: Served, tmp_path: Path, inner: str) -> None:
    one = demo.git("rev-parse", "HEAD")
    (demo.tree / "inner").mkdir()
    demo.git("update-index", "--add", "--cacheinfo", f"160000,{one},inner")
    demo.commit({".gitmodules": f'[submodule "inner"]\n\tpath = inner\n\turl = {inner}\n'})
    with pytest.raises(PackageIndexError, match="not allowed"):
        fetched(demo.url, tmp_path)


def test_a_link_stays_a_link(demo: Served, tmp_path: Path) -> None:
    (demo.tree / "secret").symlink_to("/etc/passwd")
    demo.commit({})
    _, members = fetched(demo.url, tmp_path)
    assert members["secret"].issym()


def test_a_bomb_is_not_unpacked(demo: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "MEMBERS", 1)
    with pytest.raises(PackageIndexError, match="more than 1 files"):
        fetched(demo.url, tmp_path)


def test_a_few_bytes_that_unpack_to_many(demo: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (demo.tree / "zeros").write_bytes(bytes(1 << 20))
    blob = demo.git("hash-object", "-w", "zeros")
    for number in range(100):
        demo.git("update-index", "--add", "--cacheinfo", f"100644,{blob},many/{number}")
    demo.git("commit", "-q", "-m", "bomb")
    demo.git("push", "-q", str(demo.bare), "main")
    monkeypatch.setattr(checkout, "LARGEST", 20 << 20)
    with pytest.raises(PackageIndexError, match="or 20 MB"):
        fetched(demo.url, tmp_path)


def test_submodules_are_counted_as_well(
    demo: Served, server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = server.repository("inner")
    inner.commit({f"{number}.txt": "" for number in range(300)})
    demo.git("submodule", "add", "-q", inner.url, "inner")
    demo.commit({})
    monkeypatch.setattr(checkout, "MEMBERS", 250)
    with pytest.raises(PackageIndexError, match="more than 250 files"):
        fetched(demo.url, tmp_path)


def test_directories_without_end(demo: Served, tmp_path: Path) -> None:
    deep = demo.tree.joinpath(*["d"] * (checkout.DEEPEST + 50))
    deep.mkdir(parents=True)
    (deep / "file").write_text("")
    demo.commit({})
    with pytest.raises(PackageIndexError, match=f"more than {checkout.DEEPEST} directories"):
        fetched(demo.url, tmp_path)


def test_trees_that_never_end_are_given_up(demo: Served, tmp_path: Path) -> None:
    """Empty trees that name each other: nothing to write, and nothing that ever ends."""
    tree = demo.git("mktree", where=demo.tree)
    for _ in range(40):
        listing = "".join(f"040000 tree {tree}\t{name}\n" for name in "ab")
        command = ["git", "-C", str(demo.tree), "mktree"]
        done = subprocess.run(command, input=listing, capture_output=True, text=True, timeout=60, check=True)
        tree = done.stdout.strip()
    commit = demo.git("commit-tree", tree, "-m", "endless")
    demo.git("push", "-q", "--force", str(demo.bare), f"{commit}:refs/heads/main")
    endless = Repository(DirectReference(f"git+{demo.url}", named=False), Index(), timeout=3)
    with pytest.raises(PackageIndexError, match="did not end within 3 s"):
        endless.fetch(tmp_path / "demo.tar.gz")
    assert list(tmp_path.glob("tree-*")) == []


def test_a_server_that_falls_silent_leaves_no_process(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/demo.git"
        waiting = Repository(DirectReference(f"git+{url}", named=False), Index(), timeout=1)
        with pytest.raises(PackageIndexError, match="container:timeout"):
            waiting.fetch(tmp_path / "demo.tar.gz")
        running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        assert not any(url.encode() in command for command in running)


def test_a_whole_commit_is_no_branch(demo: Served, tmp_path: Path) -> None:
    pinned = demo.git("rev-parse", "main")
    demo.commit({"evil.txt": ""}, branch="other")
    demo.git("push", "-q", str(demo.bare), f"other:refs/heads/{pinned}")
    assert fetched(f"{demo.url}@{pinned}", tmp_path)[0] == pinned
    unknown = "0123456789" * 4
    demo.git("push", "-q", str(demo.bare), f"other:refs/heads/{unknown}")
    with pytest.raises(PackageIndexError, match=f"has no {unknown}"):
        fetched(f"{demo.url}@{unknown}", tmp_path)


def test_a_machine_without_git(demo: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    os.symlink("/bin/sh", tmp_path / "bin" / "sh")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(PackageIndexError, match="git is missing"):
        repository(demo.url).fetch(tmp_path / "x.tar.gz")
