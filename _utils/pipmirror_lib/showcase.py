"""What the pages for people tell of a platform: the manifest and the plan, as plain data.

The same data is published as JSON, for whoever wants to make other pages of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.requirements import Requirement

from pipmirror_lib import explain, projects, yanks
from pipmirror_lib.logs import harmless, short
from pipmirror_lib.mirror import Record
from pipmirror_lib.parts import canonical, within
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.settings import Platform
from pipmirror_lib.verdict import PlatformPlan
from pipmirror_lib.wheels import parse_name

FORMAT = 1
_DECLARED, _PARENT = " (declared)", " (wanted by "
Data = dict[str, Any]
Wants = Mapping[str, tuple[str, ...]]
_SUMMARY: Mapping[str, type] = {
    **dict.fromkeys(("platform", "image", "python", "pip", "synced"), str),
    "satisfied": bool,
    **dict.fromkeys(("wheels", "bytes", "built"), int),
}


@dataclass
class Project:
    """A project's wheels and its relations, as they are known, and before anything is made of them."""

    name: str
    known: projects.Project
    # Who wants each of its files; None where it is known that nobody does.
    wants: list[tuple[str, ...] | None]
    needs: list[str] = field(default_factory=list)

    def fingerprint(self) -> bytes:
        """Another one for whatever would change what is told of it."""
        return projects.fingerprint((self.known.fingerprint, self.wants, self.needs))

    def data(self) -> Data:
        """What is published of it, the newest file first; strangers' words in one line each."""
        named = (
            (parse_name(file[0]), *file, wants)
            for file, wants in zip(self.known.files.items(), self.wants, strict=True)
        )
        files = sorted(named, key=lambda one: (one[0].version, one[1]), reverse=True)
        wants = [want for _, _, _, wanted in files for want in wanted or ()]
        parents = {parent: None for want in wants if (parent := _parent(want))}
        summaries = (str(record.get("summary") or "") for _, _, record, _ in files)
        return {
            "name": self.name,
            "summary": short(next(filter(None, summaries), "")),
            "declared": sorted({short(want.removesuffix(_DECLARED)) for want in wants if not _parent(want)}),
            "wanted_by": sorted(parents.keys() - {self.name}),
            "needs": self.needs,
            "files": [_file(filename, str(name.version), record, wanted) for name, filename, record, wanted in files],
        }


def needs(platform: Platform, planned: PlatformPlan, wheels: Iterable[str]) -> Wants:
    """{file name: who wants it}; nobody, as far as is known, while something is missing and nobody can say."""
    if planned.satisfied:
        return planned.wanted_by
    asked: dict[str, list[Requirement]] = {}
    for requirement in (one for wanted in platform.sets for one in wanted.requirements):
        asked.setdefault(canonical(requirement.name), []).append(requirement)
    found: dict[str, tuple[str, ...]] = {}
    for filename in wheels:
        name = parse_name(filename)
        fitting = (one for one in asked.get(name.project, ()) if within(one.specifier, name.version))
        found[filename] = tuple(f"{one}{_DECLARED}" for one in fitting)
    return found | dict(planned.wanted_by)


def related(known: Mapping[str, projects.Project], wanted_by: Wants) -> list[Project]:
    """Every project that lies there, in the same order, with who wants it and what it needs."""
    found = {name: Project(name, project, list(map(wanted_by.get, project.files))) for name, project in known.items()}
    for name, project in found.items():
        # As `_parent` reads them; a declared want begins with its own project, which is passed over.
        wants = [want for wants in project.wants if wants for want in wants]
        for parent in {want.rpartition(_PARENT)[2].partition(" ")[0] for want in wants}:
            if parent in found and parent != name:
                found[parent].needs.append(name)
    return list(found.values())


def of_platform(
    platform: Platform,
    planned: PlatformPlan,
    wheels: Mapping[str, Record],
    profile: TargetProfile | None,
    synced: str,
) -> Data:
    """What is published of a platform beside its projects."""
    return {
        "format": FORMAT,
        "platform": platform.name,
        "image": platform.image,
        "python": str(profile.python_version) if profile else "",
        "pip": short(profile.pip_version) if profile else "",
        "synced": synced,
        "satisfied": planned.satisfied,
        "wheels": len(wheels),
        "bytes": sum(record["size"] for record in wheels.values()),
        "built": sum(1 for record in wheels.values() if record["origin"] == "built"),
        "missing": {_line(wanted): _line(explain.beside(wanted, why)) for wanted, why in planned.missing.items()},
        "sets": {wanted.name: [_line(str(r)) for r in wanted.requirements] for wanted in platform.sets},
    }


def summary(data: Data) -> Data:
    """What the page of all platforms shows of one."""
    return {key: data[key] for key in _SUMMARY} | {"published": True}


def unpublished(name: str) -> Data:
    """The same of one that has no page yet."""
    return {key: kind() for key, kind in _SUMMARY.items()} | {"platform": name, "published": False}


def read_summary(data: object, name: str) -> Data | None:
    """A summary of that platform, if it is one; whatever has happened to the file that it was read from."""
    if not isinstance(data, dict) or data.get("platform") != name or data.get("published") is not True:
        return None
    return data if all(type(data.get(key)) is kind for key, kind in _SUMMARY.items()) else None


def _parent(want: str) -> str:
    """The project that has such a want, as `World` writes it; '' where the pillar has it."""
    return "" if want.endswith(_DECLARED) else want.rpartition(_PARENT)[2].partition(" ")[0]


def _line(text: str) -> str:
    return " ".join(harmless(text).split())


def _file(filename: str, version: str, record: Record, wants: Iterable[str] | None) -> Data:
    yanked = yanks.told(record)
    return {
        "filename": filename,
        "version": version,
        "size": record["size"],
        "sha256": record["sha256"],
        "origin": record["origin"],
        "uploaded": record.get("upload_time") or "",
        "admitted": record["admitted"],
        "needed": None if wants == () else wants is not None,
        **({} if yanked is None else {"yanked": short(yanked)}),
    }
