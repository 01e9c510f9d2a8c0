"""A wheel that strangers' code made: each lie is refused, and told by file and fault."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import builds, suspect
from pipmirror_lib.errors import BuildError, WheelError
from pipmirror_lib.suspect import check_built

from tests.support.dists import make_wheel, record_of

NAME = "demo-1.0-py3-none-any.whl"
INFO = "demo-1.0.dist-info"


def member(name: str, mode: int = stat.S_IFREG | 0o644, **more: Any) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = name  # its constructor would correct the name
    info.create_system, info.external_attr = 3, mode << 16
    for key, value in more.items():
        setattr(info, key, value)
    return info


def with_file(name: str) -> dict[str, Any]:
    """In RECORD as well, so that nothing but the name is at fault."""
    return {"files": {"demo.py": "", name: "x"}}


def record(**entries: str) -> str:
    """RECORD of a plain wheel, but for what is said of `demo.py`, or `more` lines."""
    files = {"demo.py": b'__version__ = "1.0"\n', f"{INFO}/METADATA": METADATA, f"{INFO}/WHEEL": WHEEL}
    lines = record_of(files, f"{INFO}/RECORD").splitlines()
    lines[0] = entries.get("demo", lines[0])
    return "\n".join([*lines, entries.get("more", "")]).strip("\n") + "\n"


METADATA = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n\nMade for a test.\n"
WHEEL = b"Wheel-Version: 1.0\nGenerator: tests.support.dists\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


RECORD_OF_B = record_of({"b": b"x", f"{INFO}/METADATA": METADATA, f"{INFO}/WHEEL": WHEEL}, f"{INFO}/RECORD")


def weak(algorithm: str) -> str:
    digest = hashlib.new(algorithm, b'__version__ = "1.0"\n').digest()
    return f"demo.py,{algorithm}={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()},20"


# {what is wrong: (how the wheel is made, what is said of it)}
LIES: dict[str, tuple[dict[str, Any], str]] = {
    "a path that climbs": (with_file("../evil.py"), "'../evil.py' leads out"),
    "one that climbs later": (with_file("demo/../../evil.py"), "leads out"),
    "one that ends above": (with_file("demo/.."), "leads out"),
    "an absolute path": (with_file("/etc/cron.d/evil"), "'/etc/cron.d/evil' leads out"),
    "a network path": (with_file("//server/share/evil"), "leads out"),
    "a backslash": (with_file("..\\evil.py"), "leads out"),
    "a drive": (with_file("C:/evil.py"), "leads out"),
    "a drive without a directory": (with_file("c:evil.py"), "leads out"),
    "a path that goes nowhere": (with_file("demo/./evil.py"), "not plain"),
    "an empty part": (with_file("demo//evil.py"), "not plain"),
    "a line break in a path": (with_file("demo\nevil.py"), "control characters"),
    "an escape in a path": (with_file("\x1b]0;owned\x07"), "control characters"),
    "a control character of another set": (with_file("demo\x9bevil.py"), "control characters"),
    "a path that no file system takes": (with_file("a" + "/a" * 30_000), "60001 characters is beyond any sense"),
    "another spelling": (
        {"files": {"d\u00e9mo.py": "", "de\u0301mo.py": ""}},
        "are one elsewhere",
    ),
    "another case": (with_file("DEMO.py"), "demo.py and DEMO.py are one elsewhere"),
    "another case of METADATA": (with_file(f"{INFO}/metadata"), "are one elsewhere"),
    "a file in a file": (with_file("demo.py/evil.py"), "demo.py/evil.py lies in a file"),
    "the same name twice": ({"extra_members": [("demo.py", "import evil\n")]}, "demo.py is there twice"),
    "a second RECORD": ({"extra_members": [(f"{INFO}/RECORD", "")]}, "RECORD is there twice"),
    "a symbolic link": ({"extra_members": [(member("l", stat.S_IFLNK | 0o777), "/etc/passwd")]}, "l is a link"),
    "a pipe": ({"extra_members": [(member("p", stat.S_IFIFO | 0o644), "")]}, "p is a link or a device"),
    "a device": ({"extra_members": [(member("d", stat.S_IFBLK | 0o644), "")]}, "d is a link or a device"),
    "a packing that nobody uses": (
        {"files": {}, "extra_members": [(member("b", compress_type=zipfile.ZIP_BZIP2), "x")], "record": RECORD_OF_B},
        "b is packed with neither",
    ),
    "a directory with a content": ({"extra_members": [(member("d/", stat.S_IFDIR | 0o755), "x")]}, "holds bytes"),
    "a file that is not in RECORD": ({"extra_members": [("evil.pth", "import evil")]}, "evil.pth is not in RECORD"),
    "a signature": ({"extra_members": [(f"{INFO}/RECORD.jws", "{}")]}, "RECORD.jws is not in RECORD"),
    "an empty RECORD": ({"record": ""}, "demo.py is not in RECORD"),
    "a RECORD that is none": ({"record": '"\x00,,,,,\n'}, ""),
    "a line with more in it": ({"record": record(more="a,b,c,d")}, "RECORD has lines that are none"),
    "two lines for one file": ({"record": record(more=weak("sha256"))}, "two for one file"),
    "a file of RECORD that is not there": (
        {"record": record(more="gone.py,sha256=AAAA,1")},
        "names gone.py, which is not",
    ),
    "another hash": ({"record": record(demo="demo.py,sha256=AAAA,20")}, "demo.py is not what RECORD says"),
    "another size": ({"record": record(demo=weak("sha256").replace(",20", ",21"))}, "demo.py is not what RECORD says"),
    "no size": ({"record": record(demo=weak("sha256").replace(",20", ","))}, "or no size, of demo.py"),
    "no hash": ({"record": record(demo="demo.py,,20")}, "no hash that proves anything"),
    "a weak hash": ({"record": record(demo=weak("md5"))}, "no hash that proves anything"),
    "a hash that nobody knows": ({"record": record(demo="demo.py,rot13=AAAA,20")}, "no hash that proves anything"),
    "a hash of RECORD": ({"record": record().replace("RECORD,,", "RECORD,sha256=AAAA,1")}, "of itself"),
    "tags of another wheel": ({"filename": "demo-1.0-py2-none-any.whl"}, "tags in WHEEL are not those of its name"),
    "more tags than it says": ({"filename": "demo-1.0-py2.py3-none-any.whl"}, "tags in WHEEL are not"),
}


def test_an_honest_wheel(tmp_path: Path) -> None:
    check_built(
        make_wheel(tmp_path, files={"demo/__init__.py": "", "demo/Data.txt": "x"}, entry_points={"d": "demo:x"})
    )
    check_built(make_wheel(tmp_path, tag="py2.py3-none-any"))
    assert make_wheel(tmp_path / "same").read_bytes() == make_wheel(tmp_path, record=record()).read_bytes()


@pytest.mark.parametrize("lie", LIES)
def test_a_lie(tmp_path: Path, lie: str) -> None:
    how, said = LIES[lie]
    wheel = make_wheel(tmp_path, **how)
    with pytest.raises(WheelError) as caught:
        check_built(wheel)
    assert str(caught.value).startswith(f"{wheel.name}: ")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1000


def after(wheel: bytes) -> bytes:
    return wheel + b"PK\3\4 a second archive"


def before(wheel: bytes) -> bytes:
    return b"#!/bin/sh\nexec evil\n" + wheel


def comment(wheel: bytes) -> bytes:
    return wheel[:-2] + struct.pack("<H", 4) + b"evil"


def between(wheel: bytes) -> bytes:
    """A member that only a reader without the directory finds, which names the offsets of the others."""
    buffer = io.BytesIO(wheel)
    with zipfile.ZipFile(buffer) as archive:
        start = archive.start_dir
    with zipfile.ZipFile(hidden := io.BytesIO(), "w") as archive:
        archive.writestr("evil.pth", "import evil")
        length = hidden.tell()
    evil = hidden.getvalue()[:length]
    directory = bytearray(wheel[start:])
    struct.pack_into("<L", directory, len(directory) - 6, start + len(evil))
    return wheel[:start] + evil + bytes(directory)


def two_sizes(wheel: bytes) -> bytes:
    """The first member's own header says that it is empty."""
    return wheel[:18] + b"\0" * 8 + wheel[26:]


def sizes_elsewhere(wheel: bytes) -> bytes:
    """The first member's own header says that it is deflated, and that its sizes stand elsewhere."""
    return wheel[:8] + b"\x08\0" + wheel[10:18] + b"\xff" * 8 + wheel[26:]


def sizes_later(wheel: bytes) -> bytes:
    """The same of sizes that follow it."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        start = archive.start_dir
    spoiled = bytearray(wheel)
    spoiled[6] = spoiled[start + 8] = 0x08
    spoiled[8] = 0x08
    return bytes(spoiled)


def another_name(wheel: bytes) -> bytes:
    """Which some readers take instead, and others do not know."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as old, zipfile.ZipFile(made := io.BytesIO(), "w") as new:
        for number, info in enumerate(old.infolist()):
            if not number:
                name = b"evil.py"
                info.extra = struct.pack("<HHBL", 0x7075, 5 + len(name), 1, zlib.crc32(info.filename.encode())) + name
            new.writestr(info, old.read(info.filename))
    return made.getvalue()


@pytest.mark.parametrize(
    "spoil", [after, before, comment, between, two_sizes, sizes_elsewhere, sizes_later, another_name]
)
def test_what_two_readers_would_understand_differently(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    wheel = make_wheel(tmp_path)
    wheel.write_bytes(spoil(wheel.read_bytes()))
    with pytest.raises(WheelError, match=f"^{NAME}: "):
        check_built(wheel)


def test_an_archive_that_was_written_into_a_pipe(tmp_path: Path) -> None:
    """As some backends do: sizes then stand behind each member."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.content = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.content += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(make_wheel(tmp_path)) as old, zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    (tmp_path / NAME).write_bytes(pipe.content)
    check_built(tmp_path / NAME)


def test_absurd_compression(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told before anything is unpacked."""
    monkeypatch.setattr(suspect, "_SMALL", 1 << 20)
    wheel = make_wheel(tmp_path, files={"zeros": b"\0" * (4 << 20)})
    check_built(wheel)
    packed = tmp_path / "packed" / NAME
    packed.parent.mkdir()
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    monkeypatch.setattr(suspect, "_content_faults", None)
    with pytest.raises(WheelError, match="unpack to 4 MiB, which is absurd"):
        check_built(packed)


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspect, "_MEMBERS", 3)
    with pytest.raises(WheelError, match="it holds 4 members"):
        check_built(make_wheel(tmp_path))


@pytest.mark.parametrize("content", [b"", b"PK\5\6" + b"\0" * 18, b"no archive", b"PK\3\4"])
def test_what_is_no_wheel_at_all(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(WheelError, match=f"^{NAME}: "):
        check_built(tmp_path / NAME)


# --- what a container leaves ----------------------------------------------------------------------

LEFT: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda out: None, "not none;"),
    "a link": (lambda out: (out / NAME).symlink_to("/etc/passwd"), f"not {NAME}, which is a link;"),
    "a link to nowhere": (lambda out: (out / NAME).symlink_to("/nonexistent"), "which is a link;"),
    "a pipe": (lambda out: os.mkfifo(out / NAME), "which is no file;"),
    "a directory": (lambda out: (out / NAME).mkdir(), "which is no file;"),
    "a second name": (
        lambda out: (make_wheel(out), (out / "other").hardlink_to(out / NAME)),
        f"not {NAME}, which is a hard link;",
    ),
    "one that nobody asked for": (lambda out: (make_wheel(out), make_wheel(out, "evil")), f"not {NAME}, evil-1.0-"),
    "a name that steers a terminal": (
        lambda out: (make_wheel(out), (out / "\x1b[2Jevil.whl").touch()),
        f"not {NAME}, evil.whl;",
    ),
}


@pytest.mark.parametrize("left", LEFT)
def test_what_is_not_exactly_one_wheel(tmp_path: Path, left: str) -> None:
    leave, said = LEFT[left]
    leave(tmp_path)
    with pytest.raises(BuildError) as caught:
        builds._only_wheel(tmp_path, "demo 1.0", Path("the.log"))
    assert "demo 1.0: the build must leave exactly one wheel, " in str(caught.value)
    assert said in str(caught.value)
