"""What an administrator may ask about a mirror; plain data, nothing is changed and no container is started."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from pipmirror_lib import explain, failures, local, plan, references, yanks
from pipmirror_lib.candidates import Candidate
from pipmirror_lib.declared import THIS_MACHINE
from pipmirror_lib.errors import PackageIndexError, PipmirrorError
from pipmirror_lib.mirror import PRIVATE, PlatformDirectory, Record
from pipmirror_lib.moments import age
from pipmirror_lib.parts import canonical, within, without_marker
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.settings import Mirror, Platform
from pipmirror_lib.shared import known_downloads, metadata_cache, using_downloads
from pipmirror_lib.verdict import PlatformPlan
from pipmirror_lib.wheels import parse_name

Report = dict[str, Any]


def platforms(mirror: Mirror) -> Report:
    """What is declared: target, mode and every platform with its directory and sets."""
    return {
        "target": str(mirror.target),
        "highstate": mirror.highstate,
        "engine_sls": mirror.engine_sls,
        "parallel": mirror.parallel,
        "platforms": {
            platform.name: {
                "image": platform.image,
                "directory": str(mirror.target / platform.name),
                "sets": {wanted.name: [str(r) for r in wanted.requirements] for wanted in platform.sets},
            }
            for platform in mirror.platforms
        },
    }


def pending(mirror: Mirror) -> list[str]:
    """Platforms whose sync would take its time; none of those of which nothing can be said."""
    found = []
    for platform in mirror.platforms:
        with suppress(PipmirrorError, OSError):  # the platform's own state tells
            if plan.is_long(plan.make(mirror, platform, PlatformDirectory.of(mirror, platform.name))):
                found.append(platform.name)
    return found


def plans(mirror: Mirror, name: str | None, *, resolve: bool = False, upgrade: bool = False) -> dict[str, Report]:
    """{platform: plan} from what lies there; with `resolve` or `upgrade` the index is asked what would come."""
    found = {}
    for platform in mirror.selected(name):
        directory = PlatformDirectory.of(mirror, platform.name)
        made = plan.make(mirror, platform, directory)
        found[platform.name] = {**_plan(made, platform), **_keeping(mirror, platform, directory, made)}
    if resolve or upgrade:
        with _index(mirror) as index:
            for platform in mirror.selected(name):
                try:
                    lock = _lock(mirror, platform, index, upgrade or mirror.upgrade is True)
                except PipmirrorError as error:  # the others may fare better
                    lock = {"error": str(error)}
                found[platform.name]["lock"] = lock
    return found


def _plan(made: PlatformPlan, platform: Platform) -> Report:
    return {
        "satisfied": made.satisfied,
        "nothing_to_do": made.nothing_to_do,
        "missing": {wanted: explain.beside(wanted, why) for wanted, why in made.missing.items()},
        "orphans": list(made.orphans),
        "closure": list(made.closure),
        "unrecorded": list(made.unrecorded),
        "vanished": list(made.vanished),
        "broken": dict(sorted(made.broken.items())),
        "warnings": list(made.warnings),
        "due": _due(made, platform),
    }


def _due(made: PlatformPlan, platform: Platform) -> list[str]:
    return [line if platform.image else plan.HERE.get(line, line) for line in made.due]


def _keeping(mirror: Mirror, platform: Platform, directory: PlatformDirectory, made: PlatformPlan) -> Report:
    """From when on the orphans may go, and the guard that holds them all the same."""
    remembered = plan.read_json(directory.state_path).get("unneeded")
    if not (made.orphans or remembered):
        return {"keep_until": {}, "held": ""}
    from pipmirror_lib.pruning import Pruning

    pruning = Pruning(mirror, platform, directory)
    return {"keep_until": pruning.until(made), "held": pruning.outlook(made).held}


@contextmanager
def _index(mirror: Mirror) -> Iterator[Any]:
    """An index whose files land beside the mirror if there is one, else where nothing stays."""
    from pipmirror_lib.index import Index  # costs a tenth of a second, which a plan from the directory saves

    known = known_downloads(mirror.target, [platform.name for platform in mirror.platforms])
    if (mirror.target / PRIVATE).is_dir():
        with (
            using_downloads(mirror.target, done=tuple) as directory,
            Index(mirror.index, directory, metadata_cache(mirror.target), known) as index,
        ):
            yield index
    else:
        with (
            tempfile.TemporaryDirectory(prefix="pipmirror-") as temporary,
            Index(mirror.index, Path(temporary) / "files", Path(temporary) / "metadata", known) as index,
        ):
            yield index


def _lock(mirror: Mirror, platform: Platform, index: Any, upgrade: bool) -> Report:
    from pipmirror_lib import lock

    directory = PlatformDirectory.of(mirror, platform.name)
    profile = directory.profile()
    if profile is None:
        return {"error": plan.NEVER_PROFILED}
    wheels = directory.manifest()["wheels"]
    present = local.scan(directory.public, directory.scan_cache, wheels)
    direct = references.known(wheels, present.files)
    made = lock.make(mirror, platform, profile, present, index, upgrade=upgrade, direct=direct)
    moved = _moved(mirror, platform, profile, index, wheels, direct) if upgrade else {}
    files = {
        candidate.filename: {
            "project": candidate.project,
            "version": str(candidate.version),
            "old": sorted({str(there.version) for there in present.files(candidate.project)}),
            "sha256": candidate.sha256,
            "size": candidate.size,
            "upload_time": candidate.upload_time,
            "kind": "sdist, built here" if candidate.is_sdist else "wheel",
        }
        for candidate in made.coming
    }
    return {
        "files": files,
        "bytes": sum(file["size"] or 0 for file in files.values()),
        "missing": {wanted: why for wanted, why in made.missing.items() if why != references.NOT_FETCHED},
        "undecided": {**made.undecided, **_unfetched(made.missing), **moved},
        "warnings": list(made.warnings),
    }


def _unfetched(missing: Mapping[str, str]) -> dict[str, str]:
    """URLs, which a plan does not follow, and with them the sets that they are in."""
    text = "is a URL that a sync fetches, and then knows what it requires"
    return {wanted: text for wanted, why in missing.items() if why == references.NOT_FETCHED}


def _moved(
    mirror: Mirror,
    platform: Platform,
    profile: TargetProfile,
    index: Any,
    wheels: Mapping[str, Record],
    direct: Mapping[str, Candidate],
) -> dict[str, str]:
    """{URL: what an upgrade would look at again}; of files only fetching them tells whether they have changed."""
    from pipmirror_lib.sources import Sources

    sources, found = Sources(mirror, index), {}
    for reference in (r for wanted in platform.sets for r in references.direct(wanted.requirements)):
        known = direct.get(reference.key)
        if known is None or reference.is_fixed or not profile.applies(reference.marker):
            continue
        try:
            newest = sources.newest(reference)
        except PackageIndexError as error:
            found[str(reference)] = f"cannot be looked at again: {error}"
            continue
        if not newest:
            found[str(reference)] = "is fetched again by an upgrade, which tells whether it has changed"
        elif newest != wheels[known.filename]["source"]:
            found[str(reference)] = f"has moved to {newest['commit'][:12]}; what that requires, its build tells"
    return found


def status(mirror: Mirror, name: str | None) -> dict[str, Report]:
    """{platform: how it stands}: sizes in bytes, times in UTC."""
    return {platform.name: _status(mirror, platform) for platform in mirror.selected(name)}


def _status(mirror: Mirror, platform: Platform) -> Report:
    directory = PlatformDirectory.of(mirror, platform.name)
    made = plan.make(mirror, platform, directory)
    wheels = directory.manifest()["wheels"]
    state = plan.read_json(directory.state_path)
    profile = directory.profile()
    sizes = {filename: record["size"] for filename, record in wheels.items()}
    keeping = _keeping(mirror, platform, directory, made)
    return {
        "satisfied": made.satisfied,
        "missing": failures.blaming(made.missing, platform, state, plan.declaration(mirror, platform)),
        "due": _due(made, platform),
        "wheels": len(wheels),
        "bytes": sum(sizes.values()),
        "built_here": sum(1 for record in wheels.values() if record["origin"] == "built"),
        "orphans": len(made.orphans),
        "orphan_bytes": sum(sizes.get(name) or _size(directory.public / name) for name in made.orphans),
        "orphans_until": min(filter(None, keeping["keep_until"].values()), default=""),
        "held": keeping["held"],
        "yanked": {
            name: record["yanked"] for name, record in sorted(wheels.items()) if record.get("yanked") is not None
        },
        "withdrawn": sorted(name for name, record in wheels.items() if record.get("withdrawn")),
        "yanked_here": {name: record[yanks.KEY] for name, record in sorted(wheels.items()) if yanks.KEY in record},
        "last_sync": state.get("synced", ""),
        "last_look": state.get("looked", ""),
        **failures.told(state),
        "image": state.get("image", ""),
        "image_source": state.get("image_source", "") if platform.image else THIS_MACHINE,
        "image_made": state.get("prepared", ""),
        "image_age": _age(state.get("prepared", "")),
        "verified": plan.proofs(state, plan.proof_key(mirror, platform, directory, state, made)),
        "python": str(profile.python_version) if profile else "",
        "pip": profile.pip_version if profile else "",
    }


def _size(path: Path) -> int:
    """Of a wheel that nobody has recorded yet."""
    try:
        return path.stat().st_size
    except OSError:  # gone since the plan was made
        return 0


def _age(stamp: str) -> int | None:
    """Whole seconds since a time stamp; None where there is none."""
    seconds = age(stamp)
    return None if math.isinf(seconds) else int(seconds)


def wheels(mirror: Mirror, name: str | None) -> dict[str, dict[str, Report]]:
    """{platform: {file: what is known of it}} of every recorded wheel."""
    found: dict[str, dict[str, Report]] = {}
    for platform in mirror.selected(name):
        directory = PlatformDirectory.of(mirror, platform.name)
        made = plan.make(mirror, platform, directory)
        unmet = [] if made.satisfied else list(_unmet(platform, directory.profile(), made))
        found[platform.name] = {
            filename: _wheel(filename, record, made, unmet)
            for filename, record in sorted(directory.manifest()["wheels"].items())
        }
    return found


def _unmet(platform: Platform, profile: TargetProfile | None, made: PlatformPlan) -> Iterator[Requirement]:
    """What is declared in sets that are not satisfied; their wheels have no closure to be told from."""
    for wanted in platform.sets:
        if wanted.name in made.incomplete or not made.incomplete:
            yield from (r for r in wanted.requirements if profile is None or profile.may_apply(r.marker))


def _meets(wanted: Requirement, filename: str, record: Record) -> bool:
    """Whether a wheel is one that a requirement itself asks for, as far as its name and record say."""
    if isinstance(wanted, references.DirectReference):
        return wanted.key in record.get("direct", ())
    name = parse_name(filename)
    return canonical(wanted.name) == name.project and within(wanted.specifier, name.version)


def _wheel(filename: str, record: Record, made: PlatformPlan, unmet: Iterable[Requirement]) -> Report:
    """Everything that the manifest says of a wheel, and the same keys for every wheel."""
    name = parse_name(filename)
    asked = [f"{without_marker(one)} (declared)" for one in unmet if _meets(one, filename, record)]
    known = dict.fromkeys([*made.wanted_by.get(filename, ()), *asked])
    wanted_by = sorted(known, key=lambda who: (not who.endswith(" (declared)"), who))
    absent: Record = {
        "summary": "",
        "url": "",
        "upload_time": "",
        "source": None,
        "direct": [],
        "yanked": None,
        "withdrawn": False,
    }
    absent[yanks.KEY] = None
    return {
        **absent,
        **record,
        "project": str(name.project),
        "version": str(name.version),
        "tags": sorted(map(str, name.tags)),
        "wanted_by": wanted_by,
        "undecided": not (wanted_by or made.satisfied),
    }


def drift(mirror: Mirror, name: str | None) -> dict[str, dict[str, list[str]]]:
    """{platform: pages that a publish would write and remove}; platforms that may not be published yet have none."""
    from pipmirror_lib import front, publication

    found: dict[str, dict[str, list[str]]] = {}
    root = front.drift(mirror, whole=name is None and not mirror.trial)
    for platform in mirror.selected(name):
        directory = PlatformDirectory.of(mirror, platform.name)
        if directory.manifest_path.is_file():
            planned = plan.make(mirror, platform, directory)
            # What was not proved to install is not published; why it was not, is for `sync` to say.
            if plan.VERIFY not in planned.due:
                found[platform.name] = publication.drift(mirror, platform, planned, root)
    return found
