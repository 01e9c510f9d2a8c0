"""A wheel file: what its name says, its METADATA, its RECORD and its hash.

https://packaging.python.org/en/latest/specifications/binary-distribution-format/
https://packaging.python.org/en/latest/specifications/core-metadata/
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag, parse_tag
from packaging.utils import (
    BuildTag,
    NormalizedName,
    canonicalize_name,
    parse_wheel_filename,
)
from packaging.version import Version

from pipmirror_lib import archives
from pipmirror_lib.errors import MisnamedError, PipmirrorError, WheelError
from pipmirror_lib.logs import short
from pipmirror_lib.parts import condition, requirement

if TYPE_CHECKING:
    from email.message import Message

# Real METADATA stays below 1 MB; what is larger is an attack on our memory.
METADATA_LIMIT = 16 << 20
HEADER_LINES = 100_000
CHUNK = 1 << 20
REMEMBERED = 1024
# Nothing that the parser would refuse, and without a build number; most names are like this.
_PLAIN_NAME = re.compile(r"([A-Za-z0-9]+(?:[._][A-Za-z0-9]+)*)-0")


@dataclass(frozen=True)
class WheelName:
    """The parts of a wheel's file name."""

    project: NormalizedName
    version: Version
    build: BuildTag
    tags: frozenset[Tag]


@dataclass(frozen=True)
class Metadata:
    """The core metadata that a decision needs, as text; values are parsed when they are first asked for."""

    name: str
    version: str
    metadata_version: str = ""
    requires_python: str | None = None
    requires_dist: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    dynamic: tuple[str, ...] = ()
    summary: str = ""
    # Whether every Requires-Dist was read before, and is valid.
    sound: bool = False

    @cached_property
    def project(self) -> NormalizedName:
        return canonicalize_name(self.name)

    @cached_property
    def dependencies(self) -> tuple[Requirement, ...]:
        """Requires-Dist; WheelError where one is invalid, because pip then discards the candidate."""
        try:
            return tuple(requirement(text) for text in self.requires_dist)
        except InvalidRequirement as error:
            raise WheelError(f"invalid Requires-Dist in {self.name} {self.version}: {error}") from error

    @cached_property
    def conditions(self) -> tuple[tuple[str, Marker | None], ...]:
        """Every Requires-Dist with its marker: three of four are for extras that nobody wants, and not read further.

        WheelError as above.
        """
        if not self.sound:
            _ = self.dependencies
        return tuple((text, condition(text)) for text in self.requires_dist)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Metadata:
        lists = {key: tuple(data[key]) for key in ("requires_dist", "extras", "dynamic")}
        return cls(**{**data, **lists})


# How a wheel is opened for its METADATA.
Check = Callable[[Any, str], tuple[bytes, Metadata]]


@lru_cache(maxsize=65536)
def parse_name(filename: str) -> WheelName:
    """Read a wheel's file name; WheelError for what pip would skip (legacy versions among them).

    packaging reads a template of the name; version and tags, which hundreds of files of a page share, are
    read once each.
    """
    parts = filename.removesuffix(".whl").split("-")
    # Longer names than a file system takes make tags by the hundred thousand.
    if len(parts) not in (5, 6) or not filename.endswith(".whl") or len(filename) > 255:
        raise WheelError(f"{filename} is not a wheel's file name")
    try:
        project, build = _project_and_build("-".join([parts[0], "0", *parts[2:-3]]))
        return WheelName(project, parse_version(parts[1]), build, _tags("-".join(parts[-3:])))
    except ValueError as error:  # also for numbers of thousands of digits
        raise WheelError(f"{filename}: {error}") from error


@lru_cache(maxsize=8192)
def _project_and_build(text: str) -> tuple[NormalizedName, BuildTag]:
    if plain := _PLAIN_NAME.fullmatch(text):
        return canonicalize_name(plain[1]), ()
    project, _, build, _ = parse_wheel_filename(f"{text}-py3-none-any.whl")
    return project, build


@lru_cache(maxsize=65536)
def parse_version(text: str) -> Version:
    """Parse a version once; InvalidVersion for what PEP 440 does not know."""
    return Version(text)


@lru_cache(maxsize=16384)
def _tags(text: str) -> frozenset[Tag]:
    return parse_tag(text)


def parse_metadata(content: bytes) -> Metadata:
    """Read METADATA or PKG-INFO leniently, as pip does.

    packaging's strict parser (24.0, which Salt pins) rejects most current wheels over fields that no
    decision needs; the standard library's header parser reads them all.
    """
    from email.parser import BytesHeaderParser  # takes its time, and most runs read no wheel

    head = content.replace(b"\r\n", b"\n").split(b"\n\n", 1)[0]
    if head.count(b"\n") + head.count(b"\r") > HEADER_LINES:  # each of them becomes an object
        raise WheelError(f"METADATA has more than {HEADER_LINES} lines of headers, which is beyond any sense")
    headers = BytesHeaderParser().parsebytes(head + b"\n\n")

    def every(name: str) -> tuple[str, ...]:
        return tuple(" ".join(str(value).split()) for value in headers.get_all(name, []))

    name, version = every("Name"), every("Version")
    if not name or not version:
        raise WheelError("METADATA lacks Name or Version")
    requires_dist = every("Requires-Dist")
    return Metadata(
        name=name[0],
        version=version[0],
        metadata_version=next(iter(every("Metadata-Version")), ""),
        requires_python=next(iter(every("Requires-Python")), None),
        requires_dist=requires_dist,
        extras=tuple(canonicalize_name(extra) for extra in every("Provides-Extra")),
        dynamic=tuple(field.lower() for field in every("Dynamic")),
        summary=_summary(headers),
        sound=_are_valid(requires_dist),
    )


def _summary(headers: Message) -> str:
    """In the UTF-8 that METADATA is written in, of which a mail's headers know nothing; no decision depends on it."""
    raw = next((value for name, value in headers.raw_items() if name.lower() == "summary"), "")
    return " ".join(raw.encode("ascii", "surrogateescape").decode(errors="replace").split())[:500]


def _are_valid(requires_dist: Iterable[str]) -> bool:
    try:
        for text in requires_dist:
            requirement(text)
    except ValueError:  # told where somebody wants them
        return False
    return True


def read_metadata(wheel: Path | IO[bytes], filename: str) -> bytes:
    """The bytes of METADATA, after the checks of structure that pip makes before it installs."""
    name = parse_name(filename)
    try:
        with archives.opened_zip(wheel) as archive:
            return _metadata_member(archive, name, filename)
    except PipmirrorError:  # also of those who fetch what is read here
        raise
    except Exception as error:  # for damage, zipfile and what it decompresses with know a dozen kinds
        raise WheelError(f"{filename} is not a readable wheel: {error or type(error).__name__}") from error


def _metadata_member(archive: zipfile.ZipFile, name: WheelName, filename: str) -> bytes:
    folders = {member.split("/", 1)[0] for member in archive.namelist() if "/" in member}
    infos = [folder for folder in folders if folder.endswith(".dist-info")]
    if len(infos) != 1:
        raise WheelError(f"{filename} holds {len(infos)} .dist-info directories instead of one")
    if not canonicalize_name(infos[0]).startswith(name.project):
        raise WheelError(f"{filename} holds {infos[0]}, which belongs to another project")
    if any(member.startswith(("/", "../")) or "/../" in member for member in archive.namelist()):
        raise WheelError(f"{filename} holds a path that leads out of it")
    try:
        wheel, member, _ = (archive.getinfo(f"{infos[0]}/{name}") for name in ("WHEEL", "METADATA", "RECORD"))
    except KeyError as error:
        raise WheelError(f"{filename} lacks METADATA, RECORD or WHEEL in {infos[0]}") from error
    if max(wheel.file_size, member.file_size) > METADATA_LIMIT:
        raise WheelError(f"{filename}: METADATA of {member.file_size} bytes is beyond any sense")
    if not re.search(
        rb"^Wheel-Version:\s*1\.\d+\s*$",
        archives.unpacked(archive, wheel, METADATA_LIMIT),
        re.MULTILINE | re.IGNORECASE,
    ):
        raise WheelError(f"{filename} is not of Wheel-Version 1, which is all that pip installs")
    return archives.unpacked(archive, member, METADATA_LIMIT)


def checked_metadata(wheel: Path | IO[bytes], filename: str, check: Check | None = None) -> tuple[bytes, Metadata]:
    """METADATA as bytes and parsed, if it belongs to the project and version that the file name says.

    A download is asked when it is resolved, admitted and scanned, and by every platform that links it; a file
    that is still the same one (as the scan cache has it) is opened only once, by `check` where somebody else does it.
    """
    key = _identity(wheel, filename)
    found = _checked.get(key) or (check or _check_metadata)(wheel, filename)
    if key:
        if len(_checked) >= REMEMBERED:
            _checked.clear()
        _checked[key] = found
    return found


def check_promised(wheel: Path, filename: str, promised: str) -> None:
    """WheelError where METADATA is not its project's, or not that of the promised sha256 ('': nothing was)."""
    content, _ = checked_metadata(wheel, filename)
    if promised and hashlib.sha256(content).hexdigest() != promised:
        raise WheelError(f"{filename} holds other METADATA than the index says; it cannot be trusted")


_checked: dict[tuple[object, ...], tuple[bytes, Metadata]] = {}


def _identity(wheel: Path | IO[bytes], filename: str) -> tuple[object, ...]:
    try:
        stat = os.stat(wheel) if isinstance(wheel, Path) else None
    except OSError:
        stat = None
    return (filename, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns) if stat else ()


def _check_metadata(wheel: Path | IO[bytes], filename: str) -> tuple[bytes, Metadata]:
    content = read_metadata(wheel, filename)
    try:
        metadata = parse_metadata(content)
    except WheelError as error:
        raise WheelError(f"{filename}: {error}") from error
    name = parse_name(filename)
    check_belonging(metadata, name.project, name.version, filename)
    return content, metadata


def check_belonging(metadata: Metadata, project: NormalizedName, version: Version, filename: str) -> None:
    """MisnamedError for metadata of something else than the file name says; pip discards such a file."""
    try:
        said = parse_version(metadata.version)
    except ValueError as error:  # also for numbers of thousands of digits
        raise WheelError(f"{filename}: {short(str(error))}") from error
    if metadata.project != project or said != version:
        raise MisnamedError(f"{filename} holds the metadata of {metadata.name} {metadata.version}")


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
