"""A Gentoo mirror by real salt-call and real containers, of an image with an `emerge` of ours: tests/support/gentoo."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pipmirror_lib import gentoo_plan
from pipmirror_lib.errors import MirrorError

from tests.integration.conftest import Ensure
from tests.support import gentoo
from tests.support.gentoo import GentooSite, content, entry, hashed, snapshot
from tests.support.leaks import abandoned
from tests.support.site import IMAGE, stamps

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def image(ensure: Ensure) -> Iterator[str]:
    ensure(IMAGE)
    with gentoo.image() as name:
        yield name


@pytest.fixture
def site(tmp_path: Path, image: str) -> Iterator[GentooSite]:
    """hello -> greeting, which has a file under another name than its source's; and a package that nobody wants."""
    with gentoo.upstream() as upstream:
        upstream.package("app-misc/hello", {"hello-1.tar.gz": content("hello")}, depends=["dev-libs/greeting"])
        renamed = f"{upstream.url}/src/v1.zip -> greeting-1.zip"
        upstream.package("dev-libs/greeting", {"greeting-1.zip": content("greeting")}, sources=renamed)
        upstream.package("app-misc/other", {"other-1.tar.gz": content("other")})
        upstream.release(days=2)
        yield GentooSite(tmp_path, upstream, {"image": image, "image_source": "local"})
        # Others may leave some, in tests beside this one.
        assert [name for name in abandoned() if name.startswith("pipmirror-gentoo-")] == []


def confined(site: GentooSite) -> None:
    """What the programs of the three containers could do there, by their own account."""
    who = "uid=65534 groups=65534 250 capabilities=0000000000000000"
    alone, outside = "/sys/class/net/lo", "/sys/class/net/eth0 /sys/class/net/lo"
    assert f"evidence: {who} network={outside} root=read-only tree=writable" in site.log("snapshot")
    assert f"evidence: {who} network={alone} root=read-only tree=read-only" in site.log("list-packages")
    assert f"evidence: {who} network={outside} root=read-only tree=read-only" in site.log("fetch-packages")
    limits = f"limits: no-new-privileges=1 memory={512 << 20} pids=200 file={(64 << 20) // 1024} core=0"
    variables = (
        "DISTDIR EMERGE_LOG_DIR FEATURES GENTOO_MIRRORS HOME HOSTNAME LANG LOGNAME NOCOLOR OLDPWD PATH PORTAGE_TMPDIR "
        "PWD PYTHONDONTWRITEBYTECODE PYTHONHASHSEED PYTHONHOME PYTHONPATH SHLVL SOURCE_DATE_EPOCH TMPDIR USER _"
    )
    own = {"list-packages": {"FETCHCOMMAND", "RESUMECOMMAND"}, "fetch-packages": {"PORTAGE_RO_DISTDIRS"}}
    for name in ("snapshot", "list-packages", "fetch-packages"):
        assert limits in site.log(name)
        assert "what is mirrored is writable" not in site.log(name)
        seen = next(line for line in site.log(name).splitlines() if line.startswith("variables: "))
        assert set(seen.split()[1:]) - own.get(name, set()) <= set(variables.split())
    usual = "--ignore-default-opts --color=n --oneshot --emptytree --with-bdeps=y --fetchonly app-misc/hello"
    assert f"arguments: {usual}\n" in site.log("fetch-packages")
    assert f"arguments: {usual} --pretend\n" in site.log("list-packages")


def test_from_nothing_and_then_nothing(site: GentooSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:hunter2@nowhere.invalid:1")
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:hunter2@nowhere.invalid/")
    site.settings["container"] = {"timeout": 60, "memory": "512m", "pids": 200, "disk": "64m"}
    state, answer = site.apply()
    assert state["result"] is True, answer
    name = snapshot(2)
    parts = [f"snapshots/{name}{part}" for part in ("", ".gpgsig", ".md5sum")]
    assert state["changes"] == {
        "added": sorted([hashed("hello-1.tar.gz"), hashed("greeting-1.zip"), *parts]),
        "snapshot": {"old": "", "new": name},
    }
    assert answer.code == 0
    assert (site.target / "snapshots" / name).read_bytes() == site.upstream.files[f"snapshots/{name}"]
    assert {path.name for path in (site.target / "snapshots").iterdir()} == {Path(part).name for part in parts}
    site.check()
    confined(site)

    before = stamps(site.target)
    site.upstream.asked.clear()
    site.without_engine()
    state, _ = site.apply()
    assert (state["result"], state["changes"]) == (True, {})
    assert state["comment"] == f"2 distfiles in the mirror, with the tree of {name}"
    assert site.upstream.asked == []
    assert {path: one for path, one in stamps(site.target).items() if before.get(path) != one} == {}


def test_only_what_is_missing_is_fetched(site: GentooSite) -> None:
    assert site.sync()["result"]
    before = stamps(site.target / "distfiles")
    site.upstream.asked.clear()
    site.settings["sets"] = {"more": ["app-misc/other", "app-misc/hello"]}
    testing, _ = site.apply(test=True)
    assert (testing["result"], testing["changes"]) == (None, {"asking Portage": "the declaration has changed"})
    state, _ = site.apply()
    assert (state["result"], state["changes"]) == (True, {"added": [hashed("other-1.tar.gz")]})
    assert site.upstream.asked == ["distfiles/other-1.tar.gz"]
    assert before.items() <= stamps(site.target / "distfiles").items()
    site.check()


def test_a_trial_only_adds(site: GentooSite) -> None:
    """What a call asks for instead of the pillar's takes nothing away; nor does the next run, which asks anew."""
    site.settings.update(prune=True, keep_days=0)
    assert site.sync()["result"]
    done = site.sync(packages=["app-misc/other"])
    assert (list(done["added"]), done["removed"]) == ([hashed("other-1.tar.gz")], {})
    assert "arguments ask for something else" in gentoo_plan.report(site.mirror(packages=["app-misc/other"]))["held"]
    assert site.distfiles() == {"hello-1.tar.gz", "greeting-1.zip", "other-1.tar.gz"}
    assert list(site.sync()["removed"]) == [hashed("other-1.tar.gz")]
    site.check()


def test_what_does_not_come_keeps_nothing_else_from_coming(site: GentooSite) -> None:
    lost = site.upstream.files.pop("distfiles/hello-1.tar.gz")
    state, answer = site.apply()
    assert state["result"] is False
    assert answer.code != 0
    assert hashed("greeting-1.zip") in state["changes"]["added"]
    assert "hello-1.tar.gz: it is not in the mirror" in state["comment"]
    assert "Couldn't download 'hello-1.tar.gz'" in state["comment"]
    assert "fetch-packages.log" in state["comment"]
    site.check()
    site.upstream.asked.clear()
    site.upstream.files["distfiles/hello-1.tar.gz"] = lost
    done = site.call("sync")
    assert (done.code, list(done.value["added"])) == (0, [hashed("hello-1.tar.gz")])
    assert site.upstream.asked == ["distfiles/hello-1.tar.gz"]


def test_sets_that_cannot_be_had(site: GentooSite) -> None:
    """One that Portage refuses, one whose ebuild names a way out, one that no Manifest knows; the fourth is had."""
    code = '[ -z "$pretend" ] || printf "\\npipmirror://mirror/distfiles/../../etc/cron.d/evil \\n"'
    site.upstream.package("app-misc/climbing", {"climbing.tar": content("climbing")}, code=code)
    site.upstream.package("app-misc/unknown", {"unknown.tar": content("unknown")})
    site.upstream.tree["app-misc/unknown/Manifest"] = entry("else.tar", b"else").encode()
    site.upstream.release(days=1)
    names = ("nowhere", "climbing", "unknown")
    site.settings["sets"] = {name: [f"app-misc/{name}"] for name in names}
    done = site.sync()
    comment = done["comment"]
    assert 'nowhere: exit code 1: emerge: there are no ebuilds to satisfy "app-misc/nowhere"' in comment
    assert "climbing: Portage names the distfile '../../etc/cron.d/evil', which is no name of a file" in comment
    assert done["missing"] == {"unknown.tar": "no Manifest of the tree says what it must be"}
    assert site.distfiles() == {"hello-1.tar.gz", "greeting-1.zip"}
    plan = site.plan()
    assert "app-misc/nowhere" in plan["question"]
    assert plan["held"].startswith("nothing is removed before Portage has said")


def test_options_and_variables_reach_portage(site: GentooSite) -> None:
    site.upstream.package("app-misc/big", {"big.tar": content("big")}, unused={"docs.tar": content("docs")})
    code = 'DEPEND="$WITH"; [ -z "$WITH" ] || DEPEND="app-misc/other"'
    site.upstream.package("sys-apps/installed", {"installed.tar": content("installed")}, code=code)
    site.upstream.release()
    site.settings.update(packages=["app-misc/big"], sets={"two": ["=sys-apps/installed"]}, fetch_all_uri=True)
    site.settings["make_conf"] = {"WITH": "it", "FEATURES": "usersync news"}  # which nobody cannot have
    assert site.sync()["result"]
    assert site.distfiles() == {"big.tar", "docs.tar", "installed.tar", "other-1.tar.gz"}
    site.check()


def test_a_newer_tree_or_none(site: GentooSite) -> None:
    assert site.sync()["result"]
    site.upstream.package("app-misc/hello", {"hello-2.tar.gz": content("hello 2")}, depends=["dev-libs/greeting"])
    newer = site.upstream.release(days=1)
    site.settings.update(refresh=0, prune=True, keep_days=0)
    left = site.private / "work" / "snapshot" / "tree" / "left-by-a-killed-run"
    left.mkdir(parents=True)
    assert site.plan()["snapshot"].startswith("a newer one was last looked for at 20")
    state, _ = site.apply()
    assert state["result"] is True
    assert state["changes"]["snapshot"] == {"old": snapshot(2), "new": newer}
    assert hashed("hello-2.tar.gz") in state["changes"]["added"]
    old = [f"snapshots/{snapshot(2)}{part}" for part in ("", ".gpgsig", ".md5sum")]
    assert state["changes"]["removed"] == sorted([hashed("hello-1.tar.gz"), *old])
    assert site.distfiles() == {"hello-2.tar.gz", "greeting-1.zip"}
    assert [path.name for path in site.private.glob("tree-*")] == [f"tree-{newer}"]
    assert not (site.private / f"tree-{newer}" / left.name).exists()
    site.check()

    # None comes: the tree of before still says what is needed.
    files = site.upstream.files
    site.upstream.files = {path: data for path, data in files.items() if "snapshots" not in path}
    site.settings["packages"] = ["app-misc/other"]
    done = site.sync()
    assert done["result"] is False
    assert "the tree: exit code 1: emerge-webrsync: error: no snapshot was found" in done["comment"]
    assert site.distfiles() == {"other-1.tar.gz"}
    site.check()

    # An older one comes.
    site.upstream.files = {path: data for path, data in files.items() if newer not in path}
    assert f"{snapshot(2)} is the newest that is to be had, and is older than {newer}" in site.sync()["comment"]


LIES = {
    "bytes": "head -c 4096 /dev/zero >$lie",
    "longer": "head -c 5000 /dev/zero >$lie",
    "link": "ln -s /etc/passwd $lie",
    "pipe": "mkfifo $lie",
    "folder": "mkdir $lie",
}


def test_what_ebuilds_leave_is_not_believed(site: GentooSite) -> None:
    """The code in an ebuild does what it likes where it is fetched, and lets `emerge` believe that all went well."""
    for name in LIES:
        site.upstream.package(f"app-misc/{name}", {f"{name}.tar": content(name)})
    lies = "".join(f"lie=$DISTDIR/{name}.tar; rm -f $lie; {lie}\n" for name, lie in LIES.items())
    climbing = "touch $DISTDIR/../escaped $DISTDIR/unasked /pipmirror/distfiles/unasked\n"
    code = f'if [ -z "$pretend" ]; then cd $DISTDIR\n{lies}{climbing}exit 0; fi'
    site.upstream.package("app-misc/liar", {}, code=code)
    site.upstream.release(days=1)
    site.settings["packages"] = [*(f"app-misc/{name}" for name in LIES), "dev-libs/greeting", "app-misc/liar"]
    done = site.sync()
    assert set(done["missing"]) == {f"{name}.tar" for name in LIES}
    assert "not what its Manifest says: its BLAKE2B is" in done["missing"]["bytes.tar"]
    assert "not what its Manifest says: it has" in done["missing"]["longer.tar"]
    for name in ("link", "pipe", "folder"):
        assert done["missing"][f"{name}.tar"].startswith(f"{name}.tar cannot be taken: ")
    assert site.distfiles() == {"greeting-1.zip"}
    assert {path.name for path in site.directory.rglob("*") if path.name in ("escaped", "unasked")} == set()
    site.check()


def test_a_limit_is_told_and_what_came_before_it_stays(site: GentooSite) -> None:
    code = '[ -n "$pretend" ] || { head -c 40M /dev/zero >$DISTDIR/big; sleep 100; }'
    site.upstream.package("dev-libs/last", {}, code=code)
    site.upstream.package("app-misc/hello", {"hello-1.tar.gz": content("hello")})
    site.upstream.release(days=1)
    site.settings.update(packages=["app-misc/hello", "dev-libs/last", "app-misc/other"])
    site.settings["container"] = {"timeout": 60, "disk": "32m"}
    done = site.sync()
    assert done["result"] is False
    assert "it wrote more than 32 MiB (container:disk); its log is" in done["comment"]
    assert site.distfiles() == {"hello-1.tar.gz"}
    site.check()


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.1)


def test_killed_while_it_fetches(site: GentooSite) -> None:
    """What has come is kept; what was left behind is cleaned up, and nothing half-done is ever seen."""
    assert site.sync(packages=["dev-libs/greeting"])["result"]
    site.upstream.package("app-misc/late", {"late.tar": content("late")})
    site.upstream.release(days=1)
    site.upstream.stalled = {"distfiles/late.tar"}
    site.settings.update(packages=["app-misc/hello", "app-misc/late"], refresh=0)
    process = site.minion.start("gentoo_mirror.sync")
    wait_for(lambda: "distfiles/late.tar" in site.upstream.asked)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert site.distfiles() == {"greeting-1.zip"}
    assert list((site.private / "work").iterdir()) != []

    site.upstream.stalled = set()
    site.upstream.asked.clear()
    done = site.call("sync", refresh="1d")
    assert (done.code, set(done.value["added"])) == (0, {hashed("hello-1.tar.gz"), hashed("late.tar")})
    assert site.upstream.fetched() == {"late.tar"}
    site.check()


def test_put_there_by_hand(site: GentooSite) -> None:
    """What may not be fetched is for somebody to put into distfiles; wrong bytes stay where they are."""
    site.upstream.package("app-misc/hello", {"paid.tar": content("paid")}, restrict="fetch")
    site.upstream.release(days=1)
    assert "paid.tar" in site.sync()["missing"]
    flat = site.target / "distfiles" / "paid.tar"
    flat.write_bytes(b"wrong")
    assert "not what its Manifest says" in site.sync()["missing"]["paid.tar"]
    flat.write_bytes(content("paid"))
    site.without_engine()
    done = site.sync()
    assert (done["result"], list(done["added"])) == (True, [hashed("paid.tar")])
    assert not flat.exists()
    site.check()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_full_disk(site: GentooSite) -> None:
    site.upstream.package("app-misc/hello", {"hello-1.tar.gz": content("hello", 70 << 20)})
    site.upstream.release(days=1)
    site.target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(site.target)], check=True, timeout=60)
    try:
        try:
            said = site.sync()["comment"]
        except MirrorError as error:  # nor was there room for what had come
            said = str(error)
        assert "make room there" in said
        assert "hello-1.tar.gz" not in site.distfiles()
        site.check()
    finally:
        subprocess.run(["umount", str(site.target)], check=True, timeout=60)


def test_another_image(site: GentooSite) -> None:
    site.settings["image"] = IMAGE
    said = site.sync()["comment"]
    assert said.startswith("0 distfiles in the mirror, and no tree yet")
    assert f"the image {IMAGE} has no emerge-webrsync; name one of Gentoo's" in said
