"""Manifests, the layout of a mirror, and what Portage's list is read as."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from pipmirror_lib import gentoo_tree
from pipmirror_lib.errors import PortageError
from pipmirror_lib.gentoo_portage import reason
from pipmirror_lib.gentoo_tree import Digest, digests, is_name, listed, measured, newest_snapshot, place, snapshot_date

from tests.support.gentoo import content, entry, installed


def test_place() -> None:
    # From a mirror of Gentoo's: distfiles/80/which-2.23.tar.gz, distfiles/28/psmisc-23.7.tar.xz.
    assert place("which-2.23.tar.gz") == "80/which-2.23.tar.gz"
    assert place("psmisc-23.7.tar.xz") == "28/psmisc-23.7.tar.xz"


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a b", "a\tb", "a\0", "layout.conf", "x" * 256])
def test_what_is_no_name(name: str) -> None:
    assert not is_name(name)


def test_listed() -> None:
    said = (
        ">>> Downloading 'pipmirror://mirror/distfiles/layout.conf'\n\n"
        "pipmirror://mirror/distfiles/gtk+-3.tar.xz https://example.org/distfiles/other.tar \n"
        "pipmirror://mirror/distfiles/a.zip https://example.org/v1.zip \n"
        "pipmirror://mirror/distfiles/last"
    )
    assert listed(said) == {"gtk+-3.tar.xz", "a.zip", "last"}
    assert listed("") == set()


@pytest.mark.parametrize("name", ["../x", "layout.conf", ".x", "a/b"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(PortageError, match="which is no name of a file; nothing is fetched"):
        listed(f"pipmirror://mirror/distfiles/good \npipmirror://mirror/distfiles/{name} \n")


def test_digests(tmp_path: Path) -> None:
    """Shared by two packages, which may say different things of it; a weak hash says nothing."""
    manifests = {
        "a-b/c/Manifest": entry("one", b"1") + entry("two", b"2") + "EBUILD x 1 BLAKE2B 00\n",
        "a-b/d/Manifest": entry("one", b"1") + entry("two", b"other") + "DIST weak 4 MD5 00 SHA1 11\nDIST short 5\n",
        "metadata/x/y/Manifest": entry("one", b"hidden deeper"),
        ".git/x/Manifest": entry("one", b"hidden"),
    }
    tree = installed({name: text.encode() for name, text in manifests.items()}, tmp_path)
    found = digests(tree, {"one", "two", "weak", "short", "nowhere"})
    assert set(found) == {"one", "two"}
    assert [digest.size for digest in found["two"]] == [1, 5]
    (one,) = found["one"]
    assert [name for name, _ in one.hashes] == ["BLAKE2B", "SHA512"]


def test_no_link_is_followed(tmp_path: Path) -> None:
    outside = installed({"x/y/Manifest": entry("one", b"1").encode()}, tmp_path / "outside")
    tree = installed({"b/c/Manifest": b""}, tmp_path / "tree")
    (tree / "a").symlink_to(outside / "x")
    (tree / "b" / "d").symlink_to(outside / "x" / "y")
    assert digests(tree, {"one"}) == {}
    (tree / "b" / "c" / "Manifest").unlink()
    (tree / "b" / "c" / "Manifest").symlink_to(outside / "x" / "y" / "Manifest")
    with pytest.raises(PortageError, match="Manifest cannot be read"):
        digests(tree, {"one"})


def test_difference() -> None:
    size, hashes = measured(io.BytesIO(b"abc"), gentoo_tree.HASHES)
    assert Digest(3, tuple(hashes.items())).difference(size, hashes) == ""
    assert Digest(4, tuple(hashes.items())).difference(size, hashes) == "it has 3 bytes, not 4"
    wrong = Digest(3, (("BLAKE2B", hashes["BLAKE2B"]), ("SHA512", "00")))
    assert wrong.difference(size, hashes) == f"its SHA512 is {hashes['SHA512']}, not 00"


def test_measured_copies() -> None:
    data, copy = content("x", 3 << 20), io.BytesIO()
    assert measured(io.BytesIO(data), [], copy) == (len(data), {})
    assert copy.getvalue() == data


def test_newest_snapshot() -> None:
    parts = ("", ".md5sum", ".gpgsig")
    old, new = "gentoo-20260101.tar.xz", "portage-20260102.tar.bz2"
    names = {f"{name}{part}" for name in (old, new) for part in parts} | {"gentoo-20260103.tar.xz", "gentoo-x.tar.xz"}
    assert newest_snapshot(names) == new
    assert newest_snapshot(names - {f"{new}.gpgsig"}) == old
    assert newest_snapshot({old}) == ""
    assert snapshot_date("gentoo-\u0662\u0660\u0662\u0667\u0660\u0661\u0660\u0661.tar.xz") == ""
    assert (snapshot_date(new), snapshot_date("../gentoo-20260101.tar.xz")) == ("20260102", "")


def test_a_portage_that_names_distfiles_otherwise() -> None:
    """Nothing would seem to be needed, and all that is there could go."""
    assert listed("These are the packages that would be fetched, in order:\n") == set()
    with pytest.raises(PortageError, match="no distfile as it was told to"):
        listed(">>> x\nhttps://mirror.example/distfiles/9f/x-1.tar.xz \n")


def test_reason() -> None:
    """Errors and the rest come through two pipes, so their order is not that in which they were written."""
    lines = [
        "!!! first",
        "!!! Couldn't download 'x'. Aborting.",
        ">>> Downloading 'http://mirror.example/y'",
        "an Error: y",
    ]
    assert reason("\n".join(lines)) == "!!! Couldn't download 'x'. Aborting."
    assert (
        reason('emerge: there are no ebuilds to satisfy "x".\n\nlast') == 'emerge: there are no ebuilds to satisfy "x".'
    )
    assert reason("something\nlast\n") == "last"
    listed = "pipmirror://mirror/distfiles/x http://mirror.example/x"
    assert reason(f"last\n{listed}") == "last"
    aside = ["!!! Couldn't download '.layout.conf.mirror'. Aborting.", "emerge: searching for similar names..."]
    assert reason("\n".join(['emerge: there are no ebuilds to satisfy "x".', *aside])).endswith('satisfy "x".')
