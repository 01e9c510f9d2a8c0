"""The pillar key `gentoo_mirror`, checked: one frozen dataclass, or one error with every fault."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipmirror_lib.declaration import Declaration
from pipmirror_lib.declared import Container, Files
from pipmirror_lib.fields import Fields, kind_of
from pipmirror_lib.groups import check_image, is_address, read_architecture, read_container, read_files
from pipmirror_lib.settings import DEFAULT_SET, read_target

KEY = "gentoo_mirror"
# A tree unpacked twice, and the sources of an office suite and of a browser beside it.
LIMITS = Container(disk=32 << 30, timeout=4 * 3600)
IMAGE_SOURCES = ("auto", "local", "registry")
# As `emerge` takes them, and nothing that it could take for an option or a file.
_ATOM = re.compile(
    r"@[\w.+-]+|(?:[<>]=?|[=~])?(?:\w[\w+.-]*/)?\w[\w+.-]*\*?"
    r"(?::\w[\w+./*=-]*)?(?:::\w[\w-]*)?(?:\[[\w+@,!?=()-]+\])?",
    re.ASCII,
)
# It becomes part of the names of directories, logs and containers.
_SET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_SCHEMES = ("http", "https", "ftp", "rsync")
_WITH_PASSWORD = re.compile(r"://[^/\s]*@")
# What we say ourselves; the second is the setting that says it.
_OURS = {
    **dict.fromkeys(("DISTDIR", "PORTAGE_TMPDIR", "PORTAGE_RO_DISTDIRS", "EMERGE_LOG_DIR", "HOME", "TMPDIR"), ""),
    **dict.fromkeys(("EMERGE_DEFAULT_OPTS", "PORTAGE_CONFIGROOT", "ROOT", "PORTAGE_REPOSITORIES"), ""),
    "GENTOO_MIRRORS": "mirrors",
    "HTTP_PROXY": "proxy",
    "HTTPS_PROXY": "proxy",
}
_TELLING = "holds a user or password, which strangers' code would get to see; use one that needs none"


@dataclass(frozen=True)
class PackageSet:
    """Packages (atoms, or sets of Portage's own) that `emerge` is asked for in one go."""

    name: str
    atoms: tuple[str, ...]


@dataclass(frozen=True)
class GentooMirror:
    """Everything that is declared (durations in seconds, but for `keep_days`)."""

    target: Path
    image: str
    sets: tuple[PackageSet, ...]
    image_source: str = "auto"
    architecture: str = ""
    make_conf: Mapping[str, str] = field(default_factory=dict)
    mirrors: tuple[str, ...] = ()
    proxy: str = ""
    emptytree: bool = True
    fetch_all_uri: bool = False
    refresh: int = 86400
    prune: bool = False
    keep_days: int = 30
    container: Container = LIMITS
    files: Files = field(default_factory=Files)
    lock_timeout: int = 600
    engine_sls: str = "docker"
    # Arguments ask for something else than is declared: what they leave out may be needed all the same.
    trial: bool = False


_KEYS = (*(f.name for f in dataclasses.fields(GentooMirror) if f.name != "trial"), DEFAULT_SET)
_REQUIRING = (DEFAULT_SET, "sets", "image", "image_source", "architecture", "make_conf", "emptytree", "fetch_all_uri")


def load(
    pillar: object,
    configuration: object = None,
    arguments: Mapping[str, Any] | None = None,
    pillar_errors: Sequence[str] = (),
) -> GentooMirror:
    """Merge argument > pillar > minion configuration > default; SettingsError with every fault."""
    whole = Declaration(KEY, (configuration, pillar), arguments, _KEYS, pillar_errors)
    mirror = whole.read(KEY, whole.top, _mirror)
    whole.check()
    # The one whose default is not its least: an argument `false` takes something away where nothing is declared.
    declared = {**whole.top, "emptytree": whole.top.get("emptytree") is not False}
    if not whole.differs(declared, _REQUIRING):
        return mirror
    if whole.top.get(DEFAULT_SET) or whole.top.get("sets"):
        return dataclasses.replace(mirror, trial=True)
    # They are all that there is of it, and a `prune: true` that is not theirs was not said of what they require.
    return dataclasses.replace(mirror, prune=mirror.prune and "prune" in whole.given)


def _mirror(read: Fields) -> GentooMirror:
    read.refuse_unknown(_KEYS)
    limits = Fields(read.values.get("container"), read.at("container"), read.faults)
    return GentooMirror(
        target=read_target(read, "/srv/mirrors/gentoo"),
        image=_image(read),
        sets=_sets(read),
        image_source=read.choice("image_source", "auto", IMAGE_SOURCES),
        architecture=read_architecture(read),
        make_conf=_make_conf(Fields(read.values.get("make_conf"), read.at("make_conf"), read.faults)),
        mirrors=tuple(_address(read, place, text) for place, text in read.strings("mirrors")),
        proxy=_proxy(read),
        emptytree=read.flag("emptytree", True),
        fetch_all_uri=read.flag("fetch_all_uri", False),
        refresh=read.duration("refresh", 86400),
        prune=read.flag("prune", False),
        keep_days=read.whole("keep_days", 30, least=0, most=36_500),
        container=read_container(limits, LIMITS, without=("build_network",)),
        files=_files(read),
        lock_timeout=read.whole("lock_timeout", 600, least=0),
        engine_sls=read.text("engine_sls", "docker"),
    )


def _image(read: Fields) -> str:
    image = read.text("image")
    if not read.values.get("image"):
        read.fault("image", "missing; name a container image with Portage, e.g. gentoo/stage3")
    check_image(read, image)
    return image


def _sets(read: Fields) -> tuple[PackageSet, ...]:
    named = Fields(read.values.get("sets"), read.at("sets"), read.faults)
    if not {DEFAULT_SET, "sets"} & read.values.keys():
        read.fault(DEFAULT_SET, "missing; list what to mirror, e.g. - app-editors/vim, or '@world'")
    found = {DEFAULT_SET: _atoms(read, DEFAULT_SET)}
    for name in named.values:
        if name == DEFAULT_SET:
            named.fault(name, f"the default set is declared by {DEFAULT_SET!r}; choose another name")
        elif not _SET_NAME.fullmatch(name):
            named.fault(name, "a set's name may hold only letters, digits and . _ -, 64 at most")
        found[name] = _atoms(named, name)
    return tuple(PackageSet(name, atoms) for name, atoms in found.items() if atoms)


def _atoms(read: Fields, key: str) -> tuple[str, ...]:
    for place, text in read.strings(key):
        if not _ATOM.fullmatch(text):
            read.faults.append(
                f"{place}: {text!r} is neither a package, such as app-editors/vim, nor a set, as '@world'"
            )
    return tuple(dict.fromkeys(text for _, text in read.strings(key)))


def _make_conf(read: Fields) -> dict[str, str]:
    found = {}
    for name, value in read.values.items():
        if not _VARIABLE.fullmatch(name):
            read.fault(name, "is not a variable of make.conf; those are in capitals (for a proxy there is 'proxy')")
        elif name in _OURS:
            read.fault(name, f"is set by {_OURS[name]!r}; say it there" if _OURS[name] else "is ours to set; remove it")
        elif not isinstance(value, str):
            read.fault(name, f"must be a string, not {kind_of(value, secret=True)}; quote it")
        elif "\0" in value:
            read.fault(name, "holds a NUL, which no variable can; remove it")
        elif _WITH_PASSWORD.search(value):
            read.fault(name, _TELLING)
        else:
            found[name] = value
    return found


def _address(read: Fields, place: str, text: str) -> str:
    if _WITH_PASSWORD.search(text):
        read.faults.append(f"{place}: {_TELLING}")
    elif not is_address(text, _SCHEMES):
        read.faults.append(f"{place}: must be a URL of a host, with http://, https://, ftp:// or rsync://")
    return text.rstrip("/")


def _proxy(read: Fields) -> str:
    proxy = read.text("proxy")
    if proxy and _WITH_PASSWORD.search(proxy):
        read.fault("proxy", _TELLING)
    elif proxy and not (is_address(proxy, ("http",)) and re.fullmatch(r"http://[^/]+/?", proxy)):
        read.fault("proxy", "must be http://HOST:PORT")
    return proxy


def _files(read: Fields) -> Files:
    files = read_files(Fields(read.values.get("files"), read.at("files"), read.faults))
    for key, mode, needed in (("file_mode", files.file_mode, 0o004), ("dir_mode", files.dir_mode, 0o005)):
        if mode & needed != needed:
            # Portage looks in its container, as nobody, for what is there already.
            read.fault(f"files:{key}", f"{mode:04o} lets others not read, and who fetches has to; add {needed:04o}")
    return files
