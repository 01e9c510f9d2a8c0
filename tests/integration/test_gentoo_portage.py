"""A Gentoo mirror by Portage itself, in an image of Debian's: what it is asked, what it answers, what it fetches."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import Ensure
from tests.support import gentoo
from tests.support.gentoo import GentooSite, content, hashed, portage
from tests.support.gentoo.portage import Tree
from tests.support.gpg import Key, key
from tests.support.leaks import abandoned
from tests.support.network import bridge_address
from tests.support.site import IMAGE
from tests.support.webserver import serving

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Key]:
    with key(tmp_path_factory.mktemp("gpg") / "home", portage.SIGNER) as made:
        yield made


@pytest.fixture(scope="module")
def image(ensure: Ensure, signer: Key, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    ensure(IMAGE)
    with portage.image(tmp_path_factory.mktemp("portage"), signer) as name:
        yield name


@pytest.fixture
def site(tmp_path: Path, image: str, signer: Key) -> Iterator[GentooSite]:
    """hello needs greeting, whose file has another name upstream; direct is on no mirror, paid may not be fetched."""
    with gentoo.upstream() as upstream:
        tree = Tree(upstream, signer)
        names = ("hello-1.tar.gz", "docs-1.tar", "greeting-1.zip", "direct-1.tar", "paid-1.tar")
        data = {name: content(name) for name in names}
        home = f"{upstream.url}/home"
        hello = {name: data[name] for name in names[:2]}
        sources = f"{home}/hello-1.tar.gz doc? ( {home}/docs-1.tar )"
        tree.package("app-misc/hello", hello, sources=sources, depends=["dev-libs/greeting"])
        renamed = f"{home}/v1.zip -> greeting-1.zip"
        tree.package("dev-libs/greeting", {"greeting-1.zip": data["greeting-1.zip"]}, sources=renamed)
        direct = {"direct-1.tar": data["direct-1.tar"]}
        tree.package("app-misc/direct", direct, sources=f"{home}/direct-1.tar", restrict="mirror")
        paid = {"paid-1.tar": data["paid-1.tar"]}
        tree.package("app-misc/paid", paid, sources=f"{home}/paid-1.tar", restrict="fetch")
        upstream.files.update({f"distfiles/{name}": data[name] for name in names if name[0] not in "dp"})
        upstream.files.update({"home/docs-1.tar": data["docs-1.tar"], "home/direct-1.tar": data["direct-1.tar"]})
        tree.release(days=2)
        yield GentooSite(tmp_path, upstream, {"image": image, "image_source": "local"})
        assert [name for name in abandoned() if name.startswith("pipmirror-gentoo-")] == []


def here(site: GentooSite) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (site.target / "distfiles").glob("*/*")}


def whole(*names: str) -> dict[str, bytes]:
    return {name: content(name) for name in names}


def test_from_nothing_and_then_nothing(site: GentooSite) -> None:
    state, answer = site.apply()
    assert state["result"] is True, answer
    assert here(site) == whole("hello-1.tar.gz", "greeting-1.zip")
    assert "Good signature from" in site.log("snapshot")
    site.upstream.asked.clear()
    site.without_engine()
    state, _ = site.apply()
    assert (state["result"], state["changes"], site.upstream.asked) == (True, {}, [])


def test_only_what_is_missing_is_fetched(site: GentooSite) -> None:
    """Whatever USE flags, and mirrors or not; what may not be fetched is told, and taken when somebody brings it."""
    assert site.sync()["result"]
    site.upstream.asked.clear()
    site.settings.update(packages=["app-misc/hello", "app-misc/direct"], sets={"paid": ["app-misc/paid"]})
    site.settings.update(fetch_all_uri=True)
    done = site.sync()
    assert set(done["added"]) == {hashed("docs-1.tar"), hashed("direct-1.tar")}
    fetched = [path for path in site.upstream.asked if path in site.upstream.files]
    assert sorted(fetched) == ["home/direct-1.tar", "home/docs-1.tar"]
    assert set(done["missing"]) == {"paid-1.tar"}
    assert "paid: 1 distfile did not come: exit code 1: !!! app-misc/paid-1 has fetch restriction" in done["comment"]
    (site.target / "distfiles" / "paid-1.tar").write_bytes(content("paid-1.tar"))
    site.without_engine()
    assert site.sync()["result"] is True
    assert here(site) == whole("hello-1.tar.gz", "greeting-1.zip", "docs-1.tar", "direct-1.tar", "paid-1.tar")


def test_refused(site: GentooSite) -> None:
    """By Portage: what no ebuild is, what is no signed snapshot, and bytes that a Manifest does not know."""
    site.upstream.files["distfiles/greeting-1.zip"] = b"x" * 4096
    site.settings["sets"] = {"nowhere": ["app-misc/nowhere"]}
    done = site.sync()
    assert 'nowhere: exit code 1: emerge: there are no ebuilds to satisfy "app-misc/nowhere"' in done["comment"]
    assert set(done["missing"]) == {"greeting-1.zip"}
    assert here(site) == whole("hello-1.tar.gz")
    name = next(path for path in site.upstream.files if path.endswith(".gpgsig"))
    newer = gentoo.snapshot(1).replace(".gz", ".xz")
    for part in ("", ".md5sum", ".gpgsig"):
        old = site.upstream.files[name.removesuffix(".gpgsig") + part]
        site.upstream.files[f"snapshots/{newer}{part}"] = old if part != ".gpgsig" else old[:-4] + b"evil"
    assert f"signature verification failed for '{newer}'" in site.sync(refresh=0)["comment"]
    assert site.recorded["snapshot"].removesuffix(".tar.xz") == gentoo.snapshot(2).removesuffix(".tar.gz")


# As the README has it; gemato wants a key server first, and is there to show that nobody asks it.
HOST = """
set -e
python3 -m pip install --quiet --no-index --no-deps --break-system-packages --root-user-action ignore /opt/gemato-*.whl
! emerge-webrsync 2>/dev/null
mkdir -m 700 /etc/portage/gnupg
export GNUPGHOME=/etc/portage/gnupg
gpg --batch --import /usr/share/openpgp-keys/gentoo-release.asc
gpg --with-colons --list-keys | sed -n 's/^fpr:*\\([^:]*\\):/\\1:6:/p' | gpg --import-ownertrust
unset GNUPGHOME
echo 'FEATURES="webrsync-gpg"' >> /etc/portage/make.conf
echo 'PORTAGE_GPG_DIR="/etc/portage/gnupg"' >> /etc/portage/make.conf
emerge-webrsync
emerge --fetchonly app-misc/hello
cd /var/cache/distfiles
sha512sum *.*
"""


def test_a_host_behind_the_gap(site: GentooSite, image: str, tmp_path: Path) -> None:
    """It has nothing but the mirror's address, and gets the tree and all that it needs from there."""
    assert site.sync()["result"]
    site.upstream.files.clear()
    site.upstream.asked.clear()
    (tmp_path / "web").mkdir()
    with serving(tmp_path / "web", site.target, host=bridge_address()) as server:
        command = ["docker", "run", "--rm", "--env", f"GENTOO_MIRRORS={server.url}", image, "bash", "-c", HOST]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Good signature from" in done.stderr
    for name in ("hello-1.tar.gz", "greeting-1.zip"):
        assert f"{hashlib.sha512(content(name)).hexdigest()}  {name}" in done.stdout
    assert site.upstream.asked == []
