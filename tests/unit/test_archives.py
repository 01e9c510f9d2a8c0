"""Archives that lie of their sizes: refused, in little memory."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pipmirror_lib import wheels
from pipmirror_lib.archives import members_of, opened_tar
from pipmirror_lib.errors import BuildError, WheelError
from pipmirror_lib.profile import specifier_of
from pipmirror_lib.sdists import read_build_system, read_pkg_info

from tests.support.dists import make_sdist, make_wheel
from tests.support.memory import measured

NAME = "demo-1.0-py3-none-any.whl"
INFO = "demo-1.0.dist-info"
MEMBER = f"{INFO}/METADATA"
HUGE = 512 << 20

PREPARATION = """
import sys
from pathlib import Path
from pipmirror_lib import builds
from pipmirror_lib.errors import PipmirrorError
from pipmirror_lib.sdists import read_pkg_info
from pipmirror_lib.suspect import check_built
from pipmirror_lib.wheels import checked_metadata

def unpacked(path):
    names = ("purelib", "platlib", "scripts", "include", "data")
    builds._unpack(path, {name: path.parent / "env" for name in names}, "/env")

def described(path):
    checked_metadata(path, path.name)

path = Path(sys.argv[1])
"""
READING = """
try:
    print({"METADATA": described, "built": check_built, "needed": unpacked, "sdist": read_pkg_info}[sys.argv[2]](path))
except PipmirrorError as error:
    print(error)
"""


def refused(path: Path, as_what: str = "") -> str:
    """What is said of it, by a process that has kept its memory."""
    said, peak = measured(
        PREPARATION, READING, str(path), as_what or ("METADATA" if path.suffix == ".whl" else "sdist")
    )
    assert peak < 300, "megabytes"
    assert path.name in said
    assert "\n" not in said
    return said


def packed(path: Path, kind: int, *, said: int) -> Path:
    """A wheel whose METADATA unpacks to much more than its directory says."""
    make_wheel(path.parent)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    content = members.pop(MEMBER)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
        with archive.open(zipfile.ZipInfo(MEMBER), "w") as stream:
            stream.write(content)
        (info,) = (info for info in archive.infolist() if info.filename == MEMBER)
        bomb = _deflated(content) if kind == zipfile.ZIP_DEFLATED else _lzma()
        assert archive.fp
        archive.fp.seek(archive.start_dir)
        # A second member of the same name, which is the one that is found.
        info.header_offset = archive.start_dir
        info.compress_type, info.compress_size, info.file_size, info.CRC = kind, len(bomb), said, zlib.crc32(content)
        archive.fp.write(info.FileHeader() + bomb)
        archive.start_dir = archive.fp.tell()
    return path


def _deflated(content: bytes) -> bytes:
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    pieces = [pack.compress(content)] + [pack.compress(bytes(1 << 20)) for _ in range(HUGE >> 20)]
    return b"".join([*pieces, pack.flush()])


def _lzma() -> bytes:
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 0}]
    pack = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=filters)
    properties = lzma._encode_filter_properties(filters[0])  # type: ignore[attr-defined]
    head = b"\x09\x04" + len(properties).to_bytes(2, "little") + properties
    return b"".join([head, *(pack.compress(bytes(1 << 20)) for _ in range(HUGE >> 20)), pack.flush()])


def test_metadata_that_unpacks_to_more_than_it_says(tmp_path: Path) -> None:
    assert "is not a readable wheel" in refused(packed(tmp_path / NAME, zipfile.ZIP_DEFLATED, said=15 << 20))


def test_metadata_packed_as_no_wheel_is(tmp_path: Path) -> None:
    assert "neither nothing nor deflate" in refused(packed(tmp_path / NAME, zipfile.ZIP_LZMA, said=15 << 20))


def test_a_directory_of_a_million_names(tmp_path: Path) -> None:
    path = make_wheel(tmp_path)
    head = b"PK\x01\x02" + bytes(24) + (4).to_bytes(2, "little") + bytes(16)
    entries = 1_000_000
    directory = b"".join(head + number.to_bytes(4, "big") for number in range(entries))
    begin = path.stat().st_size
    end64 = b"PK\x06\x06" + (44).to_bytes(8, "little") + bytes(12)
    end64 += b"".join(number.to_bytes(8, "little") for number in (entries, entries, len(directory), begin))
    locator = b"PK\x06\x07" + bytes(4) + (begin + len(directory)).to_bytes(8, "little") + (1).to_bytes(4, "little")
    end = b"PK\x05\x06" + bytes(4) + b"\xff" * 12 + bytes(2)
    with path.open("ab") as file:
        file.write(directory + end64 + locator + end)
    assert "more than 17 MB to be read at once" in refused(path)


def test_metadata_of_a_million_headers(tmp_path: Path) -> None:
    head = "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"
    path = make_wheel(tmp_path, metadata=head + "Requires-Dist: beta\n" * 500_000)
    assert "lines of headers" in refused(path)
    with pytest.raises(WheelError, match="lines of headers"):
        wheels.parse_metadata((head + "x:\r" * 200_000).encode())


@pytest.mark.parametrize(
    "header", ["Requires-Dist: p " + ",".join(f">={n}" for n in range(5_000)), "Requires-Python: " + ">=3," * 10_000]
)
def test_what_would_be_read_for_minutes(header: str) -> None:
    """A line of some megabytes, which nobody needs to parse to know that it is nonsense."""
    metadata = wheels.parse_metadata(f"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n{header}\n".encode())
    assert specifier_of(metadata.requires_python) == specifier_of("")
    if metadata.requires_dist:
        with pytest.raises(WheelError, match="characters, which is beyond any sense"):
            _ = metadata.conditions


def test_a_version_of_thousands_of_digits(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, metadata=f"Metadata-Version: 2.1\nName: demo\nVersion: {'1' * 5000}\n")
    with pytest.raises(WheelError, match=NAME):
        wheels.checked_metadata(wheel, NAME)


@pytest.mark.parametrize("as_what", ["built", "needed"])
def test_a_record_of_a_million_lines(tmp_path: Path, as_what: str) -> None:
    """Each of them would become an object, and a list."""
    honest = make_wheel(tmp_path)
    with zipfile.ZipFile(honest) as archive:
        record = archive.read(f"{INFO}/RECORD").decode()
    path = make_wheel(tmp_path, record=record + "\n" * (16 << 20))
    assert "RECORD has more lines than there are files" in refused(path, as_what)


def test_a_tag_that_stands_for_billions(tmp_path: Path) -> None:
    """As a wheel built here may write it; in a file name there is no room for it."""
    many = ".".join(f"a{number}" for number in range(800))
    path = make_wheel(tmp_path, build=f"0\nTag: {many}-{many}-{many}", filename=NAME)
    assert "the tags in WHEEL are not those of its name" in refused(path, "built")
    path = make_wheel(tmp_path, build="0\n" + "Tag: py2-none-any\n" * 1000, filename=NAME)
    assert "WHEEL is larger than" in refused(path, "built")


def test_programs_by_the_million(tmp_path: Path) -> None:
    programs = {f"p{number}": "a:b" for number in range(1_000_000)}
    assert "entry_points.txt has" in refused(make_wheel(tmp_path, entry_points=programs), "needed")


def test_a_requirement_packed_as_no_wheel_is(tmp_path: Path) -> None:
    wheel = packed(tmp_path / NAME, zipfile.ZIP_LZMA, said=15 << 20)
    assert "neither nothing nor deflate" in refused(wheel, "needed")


def _packed_tar(path: Path, *pieces: bytes) -> Path:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for piece in pieces:
            file.write(piece)
    return path


def _tar_member(name: str, kind: bytes, content: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def _record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n"
    length = next(n for n in range(len(body), len(body) + 20) if len(str(n)) + len(body) == n)
    return f"{length}{body}".encode()


def test_headers_that_hold_for_all(tmp_path: Path) -> None:
    """Each of them is small enough, and there is no end of them."""
    large = (_tar_member("g", b"g", _record(f"k{n}", "v" * (3 << 20))) for n in range(3))
    assert "headers are larger" in refused(_packed_tar(tmp_path / "demo-1.0.tar.gz", *large))
    member = _tar_member("demo-1.0/x", b"0", b"")
    between = (_tar_member("g", b"g", _record(f"k{n}", "v" * (3 << 20))) + member for n in range(30))
    assert "headers are larger" in refused(_packed_tar(tmp_path / "demo-1.0.tar.gz", *between))
    many = _tar_member("g", b"g", b"".join(_record(f"k{n}", "v") for n in range(1000)))
    assert "headers are more than" in refused(_packed_tar(tmp_path / "demo-1.0.tar.gz", many, member))


def test_a_file_of_nothing_but_holes(tmp_path: Path) -> None:
    sparse = {"major": "1", "minor": "0", "name": "demo-1.0/PKG-INFO", "realsize": "10"}
    head = _tar_member("x", b"x", b"".join(_record(f"GNU.sparse.{key}", value) for key, value in sparse.items()))
    holes = _tar_member("demo-1.0/PKG-INFO", b"0", b"3000000\n" + b"0\n0\n" * 3_000_000)
    assert "headers are larger" in refused(_packed_tar(tmp_path / "demo-1.0.tar.gz", head, holes))


def test_nothing_is_kept_of_members(tmp_path: Path) -> None:
    member = _tar_member("x", b"x", _record("comment", "v" * (256 << 10))) + _tar_member("demo-1.0/x", b"0", b"")
    with opened_tar(_packed_tar(tmp_path / "demo-1.0.tar.gz", *[member] * 100)) as tar:
        assert sum(len(vars(tar)["members"]) <= 1 for _ in members_of(tar)) == 100


def test_a_key_of_a_million_parts(tmp_path: Path) -> None:
    sdist = make_sdist(tmp_path, pyproject="a." + "b." * 400_000 + "c = 1\n")
    with pytest.raises(BuildError, match="a line has more than 5000 dots"):
        read_build_system(sdist)


def _long_header(kind: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        info = tarfile.TarInfo("x")
        info.type, info.size = kind, HUGE
        with tarfile.open(path, "w:gz", compresslevel=1) as tar:
            assert tar.fileobj
            tar.fileobj.write(info.tobuf())
            for _ in range(HUGE >> 20):
                tar.fileobj.write(bytes(1 << 20))

    return write


TARS = {"pax": tarfile.XHDTYPE, "global pax": tarfile.XGLTYPE, "long name": tarfile.GNUTYPE_LONGNAME}


@pytest.mark.parametrize("kind", TARS.values(), ids=TARS)
def test_a_header_that_is_no_header(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "demo-1.0.tar.gz"
    _long_header(kind)(path)
    assert "more than 4 MB to be read at once" in refused(path)


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "demo-1.0.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("demo-1.0/PKG-INFO", "Name: demo\n")
    assert "neither nothing nor deflate" in refused(path)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", ""])
def test_honest_archives_are_read(tmp_path: Path, kind: str) -> None:
    made = make_sdist(tmp_path)
    with tarfile.open(made) as tar:
        whole = {member.name: stream.read() for member in tar if (stream := tar.extractfile(member))}
    path = tmp_path / "other" / "demo-1.0.tar"
    path.parent.mkdir()
    with tarfile.open(path, f"w:{kind}") as tar:  # type: ignore[call-overload]
        for name, content in whole.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    assert read_pkg_info(path) == read_pkg_info(made)
