"""Portage itself, without Gentoo: an image of Debian's with the Portage that its developers publish for Python.

What it is asked, answers and fetches is real; the tree has a few packages of ours, and is signed by a key of ours.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tests.support.gentoo import Upstream, entry
from tests.support.gpg import Key
from tests.support.leaks import docker
from tests.support.site import IMAGE

PACKAGES = ("portage==3.0.83", "gemato==20.15")
# As whom Gentoo's own snapshots are signed: emerge-webrsync looks for that.
SIGNER = "tests <infrastructure@gentoo.org>"
PROFILE = """
ARCH="amd64"
ACCEPT_KEYWORDS="amd64"
ACCEPT_LICENSE="*"
CHOST="x86_64-pc-linux-gnu"
ELIBC="glibc"
KERNEL="linux"
"""
_TREE = {
    "profiles/repo_name": "gentoo\n",
    "profiles/categories": "app-misc\ndev-libs\n",
    "profiles/arch.list": "amd64\n",
    "profiles/profiles.desc": "amd64 default stable\n",
    "profiles/eapi": "8\n",
    "profiles/default/eapi": "8\n",
    "profiles/default/make.defaults": PROFILE,
    "profiles/default/packages": "",
    "metadata/layout.conf": "masters =\nthin-manifests = true\nmanifest-hashes = BLAKE2B SHA512\n",
    "licenses/GPL-2": "\n",
}
# Its package is a guest of Python's, and looks for its files below Python's prefix, with an offset of that name.
_PREPARE = """
set -e
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    python3 python3-pip wget rsync xz-utils gnupg >/dev/null
groupadd -g 250 portage
useradd -u 250 -g 250 portage
DEB_PYTHON_INSTALL_LAYOUT=deb python3 -m pip install --quiet --root-user-action ignore --no-index --prefix /usr \
    ${BREAKING-} /opt/portage-*.whl
ln -s usr/share /share
mkdir -p /etc/portage /usr/share/openpgp-keys /var/db/pkg
mv /opt/gentoo-release.asc /usr/share/openpgp-keys/
ln -s ../../var/db/repos/gentoo/profiles/default /etc/portage/make.profile
touch /etc/portage/make.conf
"""


@contextlib.contextmanager
def image(directory: Path, key: Key) -> Iterator[str]:
    """Debian with Portage, which trusts that key; gone at the end. gemato lies in /opt, for whoever wants it."""
    name = f"pipmirror-tests-portage:{uuid.uuid4().hex[:8]}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"--dest={directory}"]
    subprocess.run([*command, *PACKAGES], check=True, timeout=300)
    (directory / "gentoo-release.asc").write_text(key.exported())
    container = docker("create", "--env", "BREAKING=--break-system-packages", IMAGE, "/bin/sh", "-c", _PREPARE).strip()
    try:
        docker("cp", f"{directory}/.", f"{container}:/opt")
        subprocess.run(["docker", "start", "--attach", container], check=True, timeout=600)
        docker("commit", "--change", "ENV PORTAGE_OVERRIDE_EPREFIX=", container, name)
    finally:
        docker("rm", "-f", container)
    try:
        yield name
    finally:
        docker("rmi", "-f", name)


@dataclass
class Tree:
    """Packages as Portage wants them, on a mirror."""

    upstream: Upstream
    key: Key

    def __post_init__(self) -> None:
        self.upstream.tree.update({path: text.encode() for path, text in _TREE.items()})

    def package(
        self, name: str, files: Mapping[str, bytes], *, sources: str, depends: Sequence[str] = (), restrict: str = ""
    ) -> None:
        lines = {"EAPI": "8", "DESCRIPTION": "of the tests", "HOMEPAGE": "http://tests.invalid/", "SLOT": "0"}
        lines.update(LICENSE="GPL-2", KEYWORDS="amd64", IUSE="doc", DEPEND=" ".join(depends), RESTRICT=restrict)
        ebuild = "".join(f'{key}="{value}"\n' for key, value in {**lines, "SRC_URI": sources}.items()).encode()
        tree = self.upstream.tree
        tree[f"{name}/{name.partition('/')[2]}-1.ebuild"] = ebuild
        tree[f"{name}/Manifest"] = "".join(entry(file, data) for file, data in files.items()).encode()
        # As the real tree has it; without, bash is asked for each.
        known = {**lines, "SRC_URI": sources, "DEFINED_PHASES": "-", "_md5_": hashlib.md5(ebuild).hexdigest()}
        cache = "".join(f"{key}={value}\n" for key, value in sorted(known.items()) if value)
        tree[f"metadata/md5-cache/{name}-1"] = cache.encode()

    def release(self, days: int) -> str:
        """The snapshot of so many days ago, with the tree as it is now; Gentoo's are made the night after."""
        day = datetime.now(timezone.utc).replace(hour=0, minute=45, second=0, microsecond=0) - timedelta(days=days)
        made = int((day + timedelta(days=1)).timestamp())
        name, archive = f"gentoo-{day:%Y%m%d}.tar.xz", io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:xz") as tar:
            for path, data in {**self.upstream.tree, "metadata/timestamp.x": f"{made} -\n".encode()}.items():
                member = tarfile.TarInfo(f"gentoo-{day:%Y%m%d}/{path}")
                member.size, member.mtime = len(data), made
                tar.addfile(member, io.BytesIO(data))
        data = archive.getvalue()
        sums = f"{hashlib.md5(data).hexdigest()}  {name}\n".encode()
        parts = {"": data, ".md5sum": sums, ".gpgsig": self.key.signature(data)}
        self.upstream.files.update({f"snapshots/{name}{part}": content for part, content in parts.items()})
        return name
