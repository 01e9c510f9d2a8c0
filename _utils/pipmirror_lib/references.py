"""Direct references: requirements that name a URL instead of a version, and what they became.

https://packaging.python.org/en/latest/specifications/dependency-specifiers/ (`name @ URL`)
https://packaging.python.org/en/latest/specifications/direct-url/
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidName, NormalizedName, canonicalize_name

from pipmirror_lib.candidates import SAFE_NAME, SDIST_SUFFIXES, Candidate
from pipmirror_lib.errors import WheelError
from pipmirror_lib.wheels import WheelName, parse_name

ARCHIVES = (*SDIST_SUFFIXES, ".tar.xz")
NOT_FETCHED = "not fetched yet, or what it became is gone; pipmirror.sync fetches it"
_FILES, _GIT = ("https", "http"), ("git+https", "git+http", "git+ssh")
_FRAGMENTS = ("egg", "subdirectory", "sha256")
# Handed to git as an argument: never an option, never one of its expressions.
_REF = re.compile(r"(?!.*\.\.)(?!.*@\{)[A-Za-z0-9_][\w./+@-]*", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class DirectReference(Requirement):
    """`name @ URL`, or a URL alone; then `name` is '' unless the URL says it.

    `str()` and `key` go into plans, manifests and logs and hold no credentials; `credentials` and `url` go nowhere.
    """

    def __init__(self, text: str, *, named: bool) -> None:
        """Read it; ValueError says what is wrong. Whether a name stands before the URL, the caller knows."""
        super().__init__(text if named else f"unnamed @ {text}")
        parts = urlsplit(self.url or "")
        if not named:
            self.name = ""
        self.specifier = SpecifierSet()
        self._check_place(parts)
        self.is_git = parts.scheme in _GIT
        self.credentials = _credentials(parts)
        path, self.ref = self._split_ref(parts.path)
        fragments = self._fragments(parts.fragment)
        self.subdirectory = fragments.get("subdirectory", "")
        self.sha256 = fragments.get("sha256", "").lower()
        self.filename = "" if self.is_git else unquote(path.rpartition("/")[2])
        user = f"{parts.username}@" if parts.scheme == "git+ssh" and parts.username else ""
        place = parts.netloc.rpartition("@")[2]
        # Where to fetch, and under which name it is remembered.
        self.address = parts._replace(
            scheme=parts.scheme.removeprefix("git+"), netloc=user + place, path=path, fragment=""
        ).geturl()
        kept = "&".join(f"{key}={fragments[key]}" for key in _FRAGMENTS[1:] if fragments.get(key))
        # A query may hold a token, but tells one file from another.
        query = f"?{hashlib.sha256(parts.query.encode()).hexdigest()[:12]}" if parts.query else ""
        self.key = ("git+" if self.is_git else "") + self.address.partition("?")[0] + query
        self.key += (f"@{self.ref}" if self.ref else "") + (f"#{kept}" if kept else "")
        self.name = self.name or fragments.get("egg", "")
        self._check_file()

    def __str__(self) -> str:
        extras = f"[{','.join(sorted(self.extras))}]" if self.extras else ""
        marker = f" ; {self.marker}" if self.marker else ""
        return (f"{self.name}{extras} @ {self.key}" if self.name else self.key) + marker

    def contradicts(self, project: NormalizedName) -> str:
        """Why a wheel of that project is not what is declared; '' where it is."""
        declared = canonicalize_name(self.name) if self.name else project
        return "" if declared == project else f"is another project than declared: {project}"

    @property
    def is_fixed(self) -> bool:
        """Whether it can never become something else: a whole commit, or a file with its hash."""
        return bool(COMMIT.fullmatch(self.ref)) if self.is_git else bool(self.sha256)

    @property
    def is_wheel(self) -> bool:
        return self.filename.endswith(".whl")

    def by_version(self, wheel: WheelName) -> str:
        """What installs the same from a directory: pip would follow the URL itself."""
        extras = f"[{','.join(sorted(self.extras))}]" if self.extras else ""
        marker = f" ; {self.marker}" if self.marker else ""
        return f"{wheel.project}{extras}=={wheel.version}{marker}"

    def _check_place(self, parts: SplitResult) -> None:
        scheme = parts.scheme.lower()
        if scheme in ("", "file", "git+file"):
            raise ValueError("is a local path, which other minions cannot follow; serve it over https")
        if scheme not in (*_FILES, *_GIT):
            raise ValueError(
                f"{parts.scheme}:// is not supported; use https:// (a wheel or an sdist) or git+https:// (git+ssh://)"
            )
        if not parts.hostname or parts.hostname.startswith("-") or re.search(r"[^!-~]", self.url or ""):
            raise ValueError("is not a URL with a host")
        try:
            _ = parts.port
        except ValueError:  # which repeats what may be a part of a password
            raise ValueError("has no number for its port; escape what is special in a password (%2F for /)") from None
        if parts.query and scheme in _GIT:
            raise ValueError("has a query, which git would show; write credentials before the host, USER:PASSWORD@")

    def _split_ref(self, path: str) -> tuple[str, str]:
        if not self.is_git:
            return path, ""
        path, at, ref = path.rpartition("@")
        path, ref = (path, ref) if at else (ref, "")
        if path in ("", "/"):
            raise ValueError("names no repository")
        if ref and not _REF.fullmatch(unquote(ref)):
            raise ValueError("names no branch, tag or commit behind @")
        return path, unquote(ref)

    def _fragments(self, fragment: str) -> dict[str, str]:
        found = dict(parse_qsl(fragment, keep_blank_values=True))
        if found.keys() - set(_FRAGMENTS) or re.search(r"[\x00-\x1f\x7f]", "".join(found.values())):
            raise ValueError(f"holds something behind # that is not understood; known are {', '.join(_FRAGMENTS)}")
        below = PurePosixPath(found.get("subdirectory", ""))
        if below.is_absolute() or ".." in below.parts:
            raise ValueError("has a #subdirectory that leads out of the sources")
        if found.get("sha256") and not re.fullmatch(r"[0-9a-fA-F]{64}", found["sha256"]):
            raise ValueError("#sha256= needs 64 hexadecimal digits")
        try:
            canonicalize_name(found.get("egg") or "fine", validate=True)
        except InvalidName as error:
            raise ValueError("has an #egg that is not a project's name; write `name[extra] @ URL`") from error
        return found

    def _check_file(self) -> None:
        if not self.is_git and not SAFE_NAME.fullmatch(self.filename):
            raise ValueError("does not end with the name of a wheel or an sdist")
        if self.is_wheel:
            try:
                project = parse_name(self.filename).project
            except WheelError as error:
                raise ValueError(str(error)) from error
            if self.name and canonicalize_name(self.name) != project:
                raise ValueError(f"is a wheel of {project}")
            self.name = self.name or project
        elif not self.is_git and not self.filename.endswith(ARCHIVES):
            raise ValueError(f"is neither a wheel nor an sdist ({', '.join(ARCHIVES)}) nor git+https://")


def _credentials(parts: SplitResult) -> tuple[str, str] | None:
    """What stands before the host; for ssh that is a user whom everybody may know, without a password."""
    if parts.scheme == "git+ssh":
        if parts.password:
            raise ValueError("holds a password, which ssh does not take from a URL; use a key")
        return None
    if parts.password and not parts.username:
        raise ValueError("holds a password without a user")
    return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None


def direct(requirements: Iterable[Requirement]) -> list[DirectReference]:
    return [requirement for requirement in requirements if isinstance(requirement, DirectReference)]


def known(
    wheels: Mapping[str, Mapping[str, Any]], files: Callable[[NormalizedName], Sequence[Candidate]]
) -> dict[str, Candidate]:
    """{key: the wheel that it became} of every reference whose wheel lies there; the wheel's record has the keys."""
    found = {}
    for filename, record in wheels.items():
        if keys := record.get("direct"):
            same = (c for c in files(parse_name(filename).project) if c.filename == filename)
            found.update({str(key): candidate for candidate in same for key in keys})
    return found
