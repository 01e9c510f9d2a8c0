"""What is declared, once it has been checked: frozen dataclasses that everything else works with."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName

from pipmirror_lib.errors import SettingsError

# What a platform without an image stands for, as people read it.
THIS_MACHINE = "this machine"


@dataclass(frozen=True)
class RequirementSet:
    """Requirements that must be installable together."""

    name: str
    requirements: tuple[Requirement, ...]


@dataclass(frozen=True)
class Platform:
    """One container image to mirror for; without an image, the minion itself."""

    name: str
    image: str
    sets: tuple[RequirementSet, ...]
    pre_command: str = ""
    verify_command: str = ""
    architecture: str = ""
    python: str = "python3"
    image_source: str = "auto"


@dataclass(frozen=True)
class Index:
    """Where candidates come from. What may hold a password is kept out of every representation."""

    url: str = field(default="", repr=False)
    extra_urls: tuple[str, ...] = field(default=(), repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    ca_cert: str = ""
    trusted_hosts: tuple[str, ...] = ()
    proxy: str = field(default="", repr=False)
    retries: int = 4
    timeout: int = 30


@dataclass(frozen=True)
class Container:
    """Limits of the containers that run strangers' code (memory and disk in bytes, timeout in seconds)."""

    memory: int = 4 << 30
    disk: int = 10 << 30
    pids: int = 1024
    cpus: float = 2.0
    timeout: int = 3600
    build_network: tuple[NormalizedName, ...] = ()
    engine_url: str = ""


@dataclass(frozen=True)
class Files:
    """Owner and mode of what readers see."""

    user: str = ""
    group: str = ""
    file_mode: int = 0o644
    dir_mode: int = 0o755


@dataclass(frozen=True)
class Yank:
    """Releases of a project that only who pins them with == shall have; `reason` is for those who ask why."""

    project: NormalizedName
    specifier: SpecifierSet
    reason: str


@dataclass(frozen=True)
class Mirror:
    """Everything that is declared for one mirror (durations in seconds, but for `keep_days`)."""

    name: str
    target: Path
    platforms: tuple[Platform, ...]
    constraints: tuple[Requirement, ...] = ()
    build_constraints: tuple[Requirement, ...] = ()
    prereleases: bool | tuple[NormalizedName, ...] = False
    no_binary: tuple[NormalizedName, ...] = ()
    yanked: tuple[Yank, ...] = ()
    min_age: int = 0
    upgrade: bool | int = False
    prune: bool = False
    keep_days: int = 30
    verify: bool = False
    parallel: int = 2
    highstate: str = "build"
    engine_sls: str = "docker"
    index: Index = Index()
    container: Container = Container()
    files: Files = Files()
    resolve_timeout: int = 300
    lock_timeout: int = 600
    rebuild_after: int = 30 * 86400
    # Arguments ask for something else than is declared: what they leave out may be needed all the same.
    trial: bool = False

    def platform(self, name: str) -> Platform:
        """The platform of that name; SettingsError names the nearest one."""
        for platform in self.platforms:
            if platform.name == name:
                return platform
        raise SettingsError(arguments=[no_such("platform", name, [platform.name for platform in self.platforms])])

    def selected(self, name: str | None) -> tuple[Platform, ...]:
        """All platforms, or the one that was asked for."""
        return (self.platform(name),) if name else self.platforms


def no_such(what: str, name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"declared are: {', '.join(sorted(known)) or 'none'}"
    return f"{what}: {name!r} is not declared; {hint}"
