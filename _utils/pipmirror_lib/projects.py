"""The wheels of a platform, project by project, and what tells at little cost that nothing of a project is new.

Of thousands of projects a publication changes a few: only theirs are worth making pages of.
"""

from __future__ import annotations

import marshal
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from pipmirror_lib.parts import canonical
from pipmirror_lib.records import Record

# Knows neither references nor interned strings, so that equal data are equal bytes; every Python reads it.
_FORMAT = 2


@dataclass
class Project:
    """What the manifest says of a project's wheels, in the order of their names."""

    files: dict[str, Record]
    fingerprint: bytes = b""


def of(wheels: Mapping[str, Record]) -> dict[str, Project]:
    """Every project that these wheels are of, by name."""
    found: dict[str, Project] = {}
    for filename in sorted(wheels):
        name = canonical(filename.partition("-")[0])
        project = found.get(name) or found.setdefault(name, Project({}))
        project.files[filename] = wheels[filename]
    for project in found.values():
        project.fingerprint = fingerprint(list(project.files.items()))
    return {name: found[name] for name in sorted(found)}


def fingerprint(data: Any) -> bytes:
    """Another one for other data."""
    return blake2b(packed(data), digest_size=16).digest()


def packed(data: Any) -> bytes:
    """Whatever JSON can hold, bytes and tuples, in a few milliseconds for thousands of projects."""
    return marshal.dumps(data, _FORMAT)


def unpacked(content: bytes) -> Any:
    """The same again, of what we have packed and sealed ourselves."""
    return marshal.loads(content)  # noqa: S302
