"""Portage in containers of the administrator's image: one brings the tree, one says what is wanted, one fetches it.

All are hardened as those that run strangers' code: as nobody, within limits, without capabilities or a writable root;
they see no credentials. Fetching needs network, so it has that; saying what is wanted runs what ebuilds say and has
none. Nobody is also in Portage's own group, without which `emerge` refuses to fetch for an unprivileged user. What is
written goes into staging, and is what the host makes of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pipmirror_lib import disk, gentoo_tree, images, logs
from pipmirror_lib.declared import Platform
from pipmirror_lib.engine import HARDENED_ENVIRONMENT, Engine, Mount, RunResult, RunSpec, give_away
from pipmirror_lib.engine_faults import lacks_program
from pipmirror_lib.errors import EngineError, PortageError
from pipmirror_lib.gentoo_settings import GentooMirror, PackageSet
from pipmirror_lib.gentoo_store import Store
from pipmirror_lib.images import Progress
from pipmirror_lib.workplace import INSIDE, Workplace, read_untrusted

# Where Gentoo has its tree, and where a profile's link leads.
REPOSITORY = "/var/db/repos/gentoo"
# Of Gentoo's group `portage`, whatever the image (acct-group/portage).
GROUP = 250
# Where distfiles are fetched to; a killed run leaves them there.
FETCH = "fetch"
_OUT, _THERE = f"{INSIDE}/out", f"{INSIDE}/distfiles"
_TEMPORARY = HARDENED_ENVIRONMENT["TMPDIR"]
# The list may be longer than what a log keeps; where there is none, its end may tell why.
_LIST = f'"$@" >{_OUT}/list || {{ code=$?; tail -n 200 {_OUT}/list; exit "$code"; }}'
_LONGEST = 64 << 20
# Portage asks a mirror for its layout before it names one of its files, which would cost a process each time.
_NEVER = "/bin/false ${DISTDIR} ${FILE} ${URI}"

# Nobody cannot give the tree to Portage's own user, and what was read of the news is written where nothing can be.
_FEATURES = "-usersync -news"

# How Portage begins the lines that say what is wrong, and those of them that do not.
_TELLING = re.compile(r"!!! |emerge: |emerge-webrsync: |Error: ")
_ASIDE = re.compile(
    r"emerge: (searching|Maybe)|!!! (Problem with sandbox|Couldn't download '\.layout\.conf|This probably|manually\.)"
)


@dataclass(frozen=True)
class Portage:
    """What runs in containers of one image."""

    engine: Engine
    image: str
    mirror: GentooMirror
    store: Store
    progress: Progress

    @classmethod
    def of(cls, engine: Engine, mirror: GentooMirror, store: Store, progress: Progress) -> Portage:
        """ImageError where the image cannot be had."""
        wanted = Platform(
            name="gentoo",
            image=mirror.image,
            sets=(),
            architecture=mirror.architecture,
            image_source=mirror.image_source,
        )
        image = images.ensure(engine, wanted, store.work, progress)
        return cls(engine, image.id, mirror, store, progress)

    @contextmanager
    def fetched_tree(self) -> Iterator[tuple[Path, Path]]:
        """(what was fetched, the tree unpacked), gone at the end; PortageError where none came."""
        self.progress("fetching the snapshot of the tree")
        with self._workplace("snapshot") as place:
            tree = give_away(place.root / "tree")
            mounts = (Mount(place.out, _OUT, read_only=False), Mount(tree, REPOSITORY, read_only=False))
            command = ("emerge-webrsync", "--keep")
            spec = replace(self._spec(place, "snapshot", command, mounts, self._fetching()), network=True)
            self._good(spec, self._run(spec))
            yield place.out, tree

    def wanted(self, packages: PackageSet, tree: Path) -> set[str]:
        """The distfiles that a set needs, by Portage's own word, present or not; PortageError where it has none."""
        self.progress(f"asking Portage what {packages.name} needs")
        with self._workplace(f"list-{packages.name}") as place:
            place.put("mirrors", f"local {gentoo_tree.LISTED_FROM}\n")
            mounts = (
                Mount(place.out, _OUT, read_only=False),
                Mount(place.inputs / "mirrors", "/etc/portage/mirrors"),
                Mount(tree, REPOSITORY),
            )
            variables = {"GENTOO_MIRRORS": "", "FETCHCOMMAND": _NEVER, "RESUMECOMMAND": _NEVER}
            command = ("/bin/sh", "-c", _LIST, "list", *self._emerge(packages), "--pretend")
            spec = self._spec(place, place.root.name, command, mounts, {**variables, "DISTDIR": _TEMPORARY})
            self._good(spec, self._run(spec))
            try:
                text = read_untrusted(place.out / "list", _LONGEST).decode("utf-8", "replace")
            except (OSError, ValueError) as error:
                raise PortageError(f"the list of its distfiles cannot be read ({error})") from error
        return gentoo_tree.listed(text)

    @contextmanager
    def fetched(self, packages: PackageSet, tree: Path) -> Iterator[tuple[Path, str]]:
        """(where the distfiles of a set lie, what has gone wrong or ''), gone at the end; what is there is not fetched.

        Portage goes on with other files when one does not come.
        """
        self.progress(f"fetching what {packages.name} needs")
        with self._workplace(FETCH) as place:
            mounts = (
                Mount(place.out, _OUT, read_only=False),
                Mount(self.store.target / "distfiles", _THERE),
                Mount(tree, REPOSITORY),
            )
            variables = {**self._fetching(), "PORTAGE_RO_DISTDIRS": _THERE}
            spec = self._spec(place, f"fetch-{packages.name}", self._emerge(packages), mounts, variables)
            spec = replace(spec, network=True)
            result = self._run(spec)
            yield place.out, self._fault(spec, result)

    def _run(self, spec: RunSpec) -> RunResult:
        try:
            return self.engine.run(spec)
        except EngineError as error:
            if not lacks_program(error):
                raise
            raise PortageError(
                f"the image {self.mirror.image} has no {spec.command[0]}; name one of Gentoo's"
            ) from error

    def _workplace(self, name: str) -> Workplace:
        return Workplace(self.store.work / name, keep_out=False)

    def _spec(
        self,
        place: Workplace,
        name: str,
        command: tuple[str, ...],
        mounts: tuple[Mount, ...],
        variables: Mapping[str, str],
    ) -> RunSpec:
        ours = {"PORTAGE_TMPDIR": _TEMPORARY, "EMERGE_LOG_DIR": _TEMPORARY, "NOCOLOR": "true"}
        ours["FEATURES"] = f"{self.mirror.make_conf.get('FEATURES', '')} {_FEATURES}".strip()
        return RunSpec(
            image=self.image,
            command=command,
            mounts=mounts,
            environment={**self.mirror.make_conf, **ours, **variables},
            limits=self.mirror.container,
            platform=self.mirror.architecture,
            scratch=place.scratch,
            groups=(GROUP,),
            log_path=self.store.logs / f"{name}.log",
            name=f"gentoo-{name}",
        )

    def _fetching(self) -> dict[str, str]:
        proxy = self.mirror.proxy
        found = dict.fromkeys(("http_proxy", "https_proxy", "ftp_proxy"), proxy) if proxy else {}
        if self.mirror.mirrors:
            found["GENTOO_MIRRORS"] = " ".join(self.mirror.mirrors)
        return {**found, "DISTDIR": _OUT}

    def _emerge(self, packages: PackageSet) -> tuple[str, ...]:
        # Of the image, or the environment, no further options: what they ask for would not be what is recorded.
        options = ["--ignore-default-opts", "--color=n", "--oneshot"]
        options += ["--emptytree", "--with-bdeps=y"] if self.mirror.emptytree else []
        options.append("--fetch-all-uri" if self.mirror.fetch_all_uri else "--fetchonly")
        return ("emerge", *options, *packages.atoms)

    def _good(self, spec: RunSpec, result: RunResult) -> None:
        if fault := self._fault(spec, result):
            raise PortageError(fault)

    def _fault(self, spec: RunSpec, result: RunResult) -> str:
        if not (result.exit_code or result.timed_out or result.excess):
            return ""
        why = result.exceeded(self.mirror.container) or self._no_room()
        ended = f"it {why}" if why else f"exit code {result.exit_code}: {reason(result.log)}"
        return f"{ended}; its log is {spec.log_path}"

    def _no_room(self) -> str:
        """Why nothing more could be written, however the program has put it."""
        try:
            disk.check_free([self.store.work])
        except disk.TooMuch as full:
            return str(full)
        return ""


def reason(log: str) -> str:
    """The last line in which Portage says what is wrong: errors and all else come through two pipes, in any order."""
    # What it lists is no reason.
    said = [line for line in log.splitlines() if not line.startswith(gentoo_tree.LISTED_FROM)]
    telling = [line for line in said if _TELLING.match(line) and not _ASIDE.match(line)]
    return logs.short(telling[-1]) if telling else logs.reason("\n".join(said))
