"""Source distributions, read on the host without unpacking, let alone running, any of it.

https://packaging.python.org/en/latest/specifications/source-distribution-format/
"""

from __future__ import annotations

import importlib
import posixpath
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipmirror_lib.archives import check_packing, members_of, opened_tar, opened_zip
from pipmirror_lib.errors import BuildError
from pipmirror_lib.logs import short
from pipmirror_lib.parts import requirement

LEGACY_BACKEND = "setuptools.build_meta:__legacy__"
LEGACY_REQUIRES = ("setuptools>=40.8.0",)
_MEMBERS, _UNPACKED, _METADATA_SIZE = 200_000, 4 << 30, 1 << 20
# The parser takes the square of the parts of a key: hours for what a megabyte can hold.
_DOTS = 5000


@dataclass(frozen=True)
class BuildSystem:
    """The table of PEP 518, with its defaults."""

    requires: tuple[str, ...] = LEGACY_REQUIRES
    backend: str = LEGACY_BACKEND
    backend_path: tuple[str, ...] = ()


def read_build_system(sdist: Path, subdirectory: str = "") -> BuildSystem:
    """The build system that TOP/pyproject.toml (or that of a sub-directory) names, or the default."""
    content = _read_top(sdist, posixpath.normpath(posixpath.join(subdirectory, "pyproject.toml")))
    if content is None:
        return BuildSystem()
    try:
        table = _toml(content.decode()).get("build-system")
        if table is None:
            return BuildSystem()
        system = BuildSystem(
            tuple(map(str, (requirement(text) for text in _strings(table, "requires")))),
            table.get("build-backend") or LEGACY_BACKEND,
            tuple(_strings(table, "backend-path", ())),
        )
        _check_backend(system)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise BuildError(f"{sdist.name}: pyproject.toml: [build-system] is invalid: {short(str(error))}") from error
    return system


def read_pkg_info(sdist: Path) -> str | None:
    """The text of TOP/PKG-INFO."""
    content = _read_top(sdist, "PKG-INFO")
    return None if content is None else content.decode("utf-8", "replace")


def _check_backend(system: BuildSystem) -> None:
    if not re.fullmatch(r"[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*)?", system.backend):
        raise ValueError(f"build-backend {system.backend!r} is no importable object")
    for path in system.backend_path:
        if posixpath.isabs(path) or ".." in path.split("/"):
            raise ValueError(f"backend-path {path!r} lies outside the source directory")


def _strings(table: Mapping[str, Any], key: str, default: Sequence[str] | None = None) -> Sequence[str]:
    value = table.get(key, default)
    if value is None:
        raise ValueError(f"{key} is missing")
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{key} must be a list of strings")
    return value


def _toml(text: str) -> dict[str, Any]:
    if any(line.count(".") > _DOTS for line in text.splitlines()):
        raise ValueError(f"a line has more than {_DOTS} dots")
    # Python 3.10 has none of its own.
    parser: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    table: dict[str, Any] = parser.loads(text)
    return table


def _read_top(sdist: Path, wanted: str) -> bytes | None:
    """The file of that name in the archive's only top directory; of several the last, as when unpacking."""
    tops: set[str] = set()
    content: dict[str, bytes] = {}
    try:
        for name, stream in _members(sdist):
            top, _, rest = posixpath.normpath(name).partition("/")
            tops.add(top)
            if wanted in (rest, top if not rest else None) and len(content) < 2:
                data = stream.read(_METADATA_SIZE + 1) if stream else b""
                if stream is None or len(data) > _METADATA_SIZE:
                    raise BuildError(f"{sdist.name}: {wanted} is not a regular file of at most {_METADATA_SIZE} bytes")
                content[f"{top}/{rest}".rstrip("/")] = data
    except (OSError, EOFError, ValueError, RuntimeError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise BuildError(f"{sdist.name}: cannot be read: {short(str(error))}") from error
    tops.discard(".")
    return content.get(f"{next(iter(tops))}/{wanted}" if len(tops) == 1 else wanted)


def _members(sdist: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """(name, content if it is a regular file) of every member; a small archive can unpack to anything."""
    if zipfile.is_zipfile(sdist) and sdist.suffix == ".zip":
        with opened_zip(sdist) as archive:
            if len(archive.infolist()) > _MEMBERS:
                raise ValueError("too many members")
            for info in archive.infolist():
                check_packing(info)
                with archive.open(info) as stream:
                    yield info.filename, stream
        return
    with opened_tar(sdist) as tar:
        for number, member in enumerate(members_of(tar)):
            if number > _MEMBERS or member.offset_data + member.size > _UNPACKED:
                raise ValueError("too many members, or too large")
            yield member.name, tar.extractfile(member) if member.isreg() else None
