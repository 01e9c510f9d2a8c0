"""The declaration, checked: pillar and arguments become frozen dataclasses, or one error with every fault."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from pipmirror_lib import references, requirements
from pipmirror_lib.arguments import OWN
from pipmirror_lib.declaration import Declaration, merged
from pipmirror_lib.declared import Container, Files, Index, Mirror, Platform, RequirementSet, Yank, no_such
from pipmirror_lib.errors import SettingsError
from pipmirror_lib.fields import Fields, kind_of, seconds
from pipmirror_lib.groups import check_image, read_architecture, read_container, read_files, read_index, read_projects
from pipmirror_lib.logs import short

DEFAULT_SET = "packages"
_PLATFORM_KEYS = (
    *("image", "name", "pre_command", "pre-command", "architecture", "python", "image_source"),
    *("verify_command", "packages", "sets", "exclude"),
)
_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@~-]*")
_OF_A_PLATFORM = "belongs to a platform; put it below an item of platforms"
IMAGE_SOURCES = ("auto", "local", "registry", "debootstrap")


__all__ = ["Container", "Files", "Index", "Mirror", "Platform", "RequirementSet", "load", "load_one"]

_OWN = ("name", "trial")  # nobody sets these by a key
_MIRROR_KEYS = tuple(f.name for f in dataclasses.fields(Mirror) if f.name not in _OWN) + ("packages", "sets")
_REQUIRING = ("packages", "sets", "constraints", "prereleases", "no_binary", "yanked", "platforms")


def load(
    pillar: object,
    configuration: object = None,
    arguments: Mapping[str, Any] | None = None,
    pillar_errors: Sequence[str] = (),
) -> dict[str, Mirror]:
    """Merge argument > pillar > minion configuration > default into every declared mirror, by name.

    Raises SettingsError with every fault, those of the arguments apart.
    """
    known = (*_MIRROR_KEYS, *_PLATFORM_KEYS)
    whole = Declaration("pipmirror", (configuration, pillar), arguments, known, pillar_errors, OWN)
    named = Fields(whole.top.pop("mirrors", None), "pipmirror:mirrors", whole.faults)
    mirrors = {}
    for name in list(named.values) or ["default"]:
        place = f"pipmirror:mirrors:{name}" if named.values else "pipmirror"
        own = Fields(named.values.get(name), place, whole.faults).values
        declared = merged(whole.top, own)
        mirrors[name] = _as_asked(whole.read(place, declared, partial(_mirror, name)), declared, whole)
    whole.faults += _overlaps(mirrors)
    whole.check()
    return mirrors


def _as_asked(mirror: Mirror, declared: Mapping[str, Any], whole: Declaration) -> Mirror:
    """Whether arguments that require something else are a trial beside the declaration, or all that there is of it.

    In the latter case a `prune: true` that is not theirs was not said of what they require.
    """
    if not whole.differs(declared, _REQUIRING):
        return mirror
    if any(layer.get(key) for layer in _layers(declared) for key in ("packages", "sets")):
        return dataclasses.replace(mirror, trial=True)
    return dataclasses.replace(mirror, prune=mirror.prune and "prune" in whole.given)


def _overlaps(mirrors: Mapping[str, Mirror]) -> Iterator[str]:
    """Mirrors that would write into each other's directories, or whose states would have one ID."""
    pairs = [(a, b) for a in mirrors.values() for b in mirrors.values() if a.name < b.name]
    for one, other in pairs:
        paths = [Path(os.path.normpath(mirror.target)) for mirror in (one, other)]
        if paths[0].is_relative_to(paths[1]) or paths[1].is_relative_to(paths[0]):
            yield f"pipmirror:mirrors: the targets of {one.name!r} and {other.name!r} overlap; give each its own"
        ids = ({f"{mirror.name}-{platform.name}" for platform in mirror.platforms} for mirror in (one, other))
        if same := set.intersection(*ids):
            yield f"pipmirror:mirrors: {one.name!r} and {other.name!r} both make the state {same.pop()!r}; rename one"


def load_one(mirrors: Mapping[str, Mirror], name: str | None) -> Mirror:
    """The mirror of that name, or the only one."""
    if name is None and len(mirrors) == 1:
        return next(iter(mirrors.values()))
    if name is None:
        raise SettingsError(arguments=[f"mirror: several are declared, name one: {', '.join(sorted(mirrors))}"])
    if name not in mirrors:
        raise SettingsError(arguments=[no_such("mirror", name, list(mirrors))])
    return mirrors[name]


def _mirror(name: str, read: Fields) -> Mirror:
    read.refuse_unknown(_MIRROR_KEYS, dict.fromkeys(set(_PLATFORM_KEYS) - set(_MIRROR_KEYS), _OF_A_PLATFORM))
    if not _declares(read):
        read.fault("packages", "missing; list what to mirror, e.g. - ansible")
    if not _COMPONENT.fullmatch(name):
        read.faults.append(f"{read.place}: a mirror's name may hold only letters, digits and . _ + @ ~ -")
    return Mirror(
        name=name,
        target=read_target(read, "/srv/mirrors/pip"),
        platforms=_platforms(read),
        constraints=_names(read, "constraints"),
        build_constraints=_names(read, "build_constraints"),
        prereleases=_prereleases(read),
        no_binary=read_projects(read, "no_binary"),
        yanked=_yanked(Fields(read.values.get("yanked"), read.at("yanked"), read.faults)),
        min_age=read.duration("min_age", 0),
        upgrade=_upgrade(read),
        prune=read.flag("prune", False),
        keep_days=read.whole("keep_days", 30, least=0, most=36_500, what="days"),
        verify=read.flag("verify", False),
        parallel=read.whole("parallel", 2, most=256),
        highstate=read.choice("highstate", "build", ("build", "report")),
        engine_sls=read.text("engine_sls", "docker"),
        index=read_index(Fields(read.values.get("index"), read.at("index"), read.faults, secret=True)),
        container=read_container(Fields(read.values.get("container"), read.at("container"), read.faults), Container()),
        files=read_files(Fields(read.values.get("files"), read.at("files"), read.faults)),
        resolve_timeout=read.whole("resolve_timeout", 300, what="seconds"),
        lock_timeout=read.whole("lock_timeout", 600, least=0, what="seconds"),
        rebuild_after=read.duration("rebuild_after", 30 * 86400),
    )


def _declares(read: Fields) -> bool:
    """Whether anything is to be mirrored at all; an empty list is a declaration, a missing one an oversight."""
    keys = {"packages", "sets"}
    return any(keys & layer.keys() for layer in _layers(read.values))


def _layers(values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Where requirements may stand: at the top, and with each platform."""
    yield values
    yield from (item for _, item in Fields(values, "", []).items("platforms", "") if isinstance(item, Mapping))


def read_target(read: Fields, example: str) -> Path:
    target = read.text("target")
    if not read.values.get("target"):
        read.fault("target", f"missing; name the directory of the mirror, e.g. {example}")
    elif target and not os.path.isabs(target):
        read.fault("target", f"{target!r} is relative; name an absolute directory")
    elif ".." in Path(target).parts or "\0" in target or "\n" in target:
        read.fault("target", f"{target!r} holds '..' or a control character; name a plain absolute directory")
    return Path(target)


def _platforms(read: Fields) -> tuple[Platform, ...]:
    if not read.values.get("platforms"):
        read.fault("platforms", "missing; list at least one, e.g. - image: debian:bookworm")
    found: dict[str, Platform] = {}
    for place, item in read.items("platforms", "a list of mappings"):
        if not isinstance(item, Mapping):
            read.faults.append(f"{place}: must be a mapping with an image, not {kind_of(item)}")
            continue
        platform = _platform(Fields(item, place, read.faults), read)
        if platform.name in found:
            read.faults.append(
                f"{place}:name: {platform.name!r} is the name of another platform; give it one of its own"
            )
        found[platform.name] = platform
    if not found:
        _sets(Fields(None, read.place, read.faults), read)  # for their faults; else each platform reads them
    for name in found:
        # One platform's directory inside another's would mix their pages and private files.
        for outer in found:
            if outer and name.startswith(outer + "/"):
                read.fault("platforms", f"{name!r} lies inside the directory of {outer!r}; rename one")
    return tuple(found.values())


def _platform(own: Fields, outer: Fields) -> Platform:
    own.refuse_unknown(_PLATFORM_KEYS)
    image = own.text("image")
    if "image" not in own.values:
        _check_here(own)
    elif not own.values["image"]:
        own.fault("image", "is empty; name the container image, e.g. debian:bookworm")
    else:
        check_image(own, image)
    if "pre_command" in own.values and "pre-command" in own.values:
        own.fault("pre-command", "given twice, also as pre_command; keep one")
    return Platform(
        name=_platform_name(own, image),
        image=image,
        sets=_sets(own, outer),
        pre_command=own.text("pre_command") or own.text("pre-command"),
        verify_command=own.text("verify_command"),
        architecture=read_architecture(own),
        python=own.text("python", "python3"),
        image_source=own.choice("image_source", "auto", IMAGE_SOURCES),
    )


def _check_here(own: Fields) -> None:
    """A platform without an image stands for the minion itself, which nobody shall declare by oversight."""
    if not own.values.get("name"):
        own.fault(
            "image", "missing; name the container image, e.g. debian:bookworm (or give only a name: this minion itself)"
        )
    for key in ("pre_command", "pre-command", "verify_command", "architecture", "image_source"):
        if key in own.values:
            own.fault(key, "is for platforms with an image; this one has none and stands for this minion itself")


def _platform_name(own: Fields, image: str) -> str:
    name = own.text("name") or image.replace(":", "-")
    if own.values.get("name") == "":
        own.fault("name", "is empty; leave it out or name a sub-directory")
    # The name becomes a path below the target and part of a URL.
    parts = name.split("/")
    if name and not all(_COMPONENT.fullmatch(part) and not part.startswith(".") for part in parts):
        own.fault(
            "name",
            f"{name!r} must be relative, without '..' or hidden parts, made of letters, digits and . _ + @ ~ - /",
        )
    return name


def _sets(own: Fields, outer: Fields) -> tuple[RequirementSet, ...]:
    """The mirror's sets and the platform's own; a platform's `packages` add to the mirror's."""
    excluded = {place_and_text[1] for place_and_text in own.strings("exclude")}
    default = _requirements(outer, "packages") + _requirements(own, "packages")
    sets = {DEFAULT_SET: default} if default else {}
    for read in (outer, own):
        named = Fields(read.values.get("sets"), read.at("sets"), read.faults)
        for name in named.values:
            if name == DEFAULT_SET:
                named.fault(name, f"the default set is declared by {DEFAULT_SET!r}; choose another name")
            sets[name] = _requirements(named, name)
    projects = {canonicalize_name(name) for name in excluded}
    written = {_written(text) for text in excluded}

    def stays(wanted: Requirement) -> bool:
        return canonicalize_name(wanted.name) not in projects and _identity(wanted) not in written

    return tuple(
        RequirementSet(name, tuple(filter(stays, wanted))) for name, wanted in sets.items() if name not in excluded
    )


def _identity(requirement: Requirement) -> str:
    """By which `exclude` can name it; a URL may have no name."""
    return requirement.key if isinstance(requirement, references.DirectReference) else str(requirement)


def _written(text: str) -> str:
    try:
        return _identity(requirements.parse(text))
    except ValueError:  # the name of a set
        return text


def _requirements(read: Fields, key: str) -> tuple[Requirement, ...]:
    found: dict[str, Requirement] = {}
    for place, text in read.strings(key):
        try:
            requirement = requirements.parse(text)
        except ValueError as error:
            read.faults.append(f"{place}: {error}")
        else:
            found[str(requirement)] = requirement
    return tuple(found.values())


def _names(read: Fields, key: str) -> tuple[Requirement, ...]:
    """Requirements that narrow versions, which a URL has none of."""
    found = _requirements(read, key)
    for reference in references.direct(found):
        read.fault(key, f"{str(reference)!r} is a URL; list it in packages, or name versions here")
    return found


def _prereleases(read: Fields) -> bool | tuple[NormalizedName, ...]:
    value = read.values.get("prereleases")
    if value is None or isinstance(value, bool):
        return bool(value)
    return read_projects(read, "prereleases")


def _yanked(read: Fields) -> tuple[Yank, ...]:
    return tuple(yank for text in read.values if (yank := _yank(read, text)))


def _yank(read: Fields, text: str) -> Yank | None:
    why = read.text(text)
    try:
        named = None if "://" in text else requirements.parse(text)  # a URL could hold a password
    except ValueError as error:
        read.fault(text, str(error))
        return None
    if named is None or named.extras or named.marker or not named.specifier:
        key = text.partition("://")[0]
        read.fault(key, "must name releases of one project and nothing else, e.g. requests==2.31.0")
        return None
    if why != short(why):
        read.fault(text, "the reason must be one line of at most 300 characters")
    return Yank(canonicalize_name(named.name), named.specifier, why)


def _upgrade(read: Fields) -> bool | int:
    value = read.values.get("upgrade")
    if value is None or isinstance(value, bool):
        return bool(value)
    age = seconds(value)
    if age is None:
        read.fault("upgrade", f"must be true, false or an age such as 7d, not {kind_of(value)}")
    return age or False
