"""Why a set is not satisfied, for people: one line for each declared requirement that is not met."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from packaging.specifiers import SpecifierSet
from packaging.utils import NormalizedName

from pipmirror_lib.candidates import Candidate
from pipmirror_lib.chains import Chains
from pipmirror_lib.logs import harmless
from pipmirror_lib.parts import canonical, within
from pipmirror_lib.world import Want, World

SHOWN = 5
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def lines(missing: Mapping[str, str]) -> list[str]:
    """A line for each requirement that is not met; its name is not said twice."""
    return [
        why if why.startswith(f"{wanted} ") else f"{wanted}: {beside(wanted, why)}" for wanted, why in missing.items()
    ]


def beside(wanted: str, why: str) -> str:
    """A reason as it is read behind its requirement, which names the project already."""
    name, colon, rest = why.partition(": ")
    own = _NAME.match(wanted)
    return rest if colon and own and canonical(own[0]) == name else why


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def gather(missing: dict[str, str], more: Mapping[str, str], wanted: str) -> None:
    """Add what one set lacks; a requirement that several sets have may fail in each for a reason of its own."""
    for requirement, reason in more.items():
        before = missing.get(requirement, reason)
        missing[requirement] = reason if before == reason else f"{before}; in the set {wanted}: {reason}"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and the wants that have to do with it.

    The text of a conflict names all of its wants; any other text is of one want, and needs its chain beside it.
    """

    project: NormalizedName
    wants: tuple[Want, ...]
    text: str
    conflict: bool = False


def failure(
    world: World, first: Mapping[NormalizedName, Sequence[Want]], causes: Sequence[Want] = ()
) -> dict[str, str]:
    """{declared requirement: reason}, from the faults that it leads to.

    `first` are the wants of the best candidates, for every project that did not go well with them; `causes` are
    those on which the search gave up in the end, when it had tried other versions.
    """
    chains = Chains(world)
    found = list(_faults(world, chains, first))
    final = list(_faults(world, chains, _by_project(causes)))
    # Where nothing else could have been chosen, whatever others tried in vain says nothing more.
    certain = [fault for fault in found if _is_certain(chains, fault)]
    missing = _Blame(world, chains)
    for fault in certain or found or final:
        missing.add(fault)
    if found and not certain:
        known = {fault.text for fault in found}
        for fault in [fault for fault in final if fault.text not in known][:1]:
            missing.add(fault, "; other versions do not help: ")
    return missing.told()


def failed_builds(world: World, first: Mapping[NormalizedName, Sequence[Want]]) -> dict[str, str]:
    """{declared requirement: why a project that it leads to did not build, or whom it cannot agree with}."""
    chains = Chains(world)
    missing = _Blame(world, chains)
    for name in first:
        if name in world.failed:
            fault = _conflict(world, chains, name, list(first[name]))
            missing.add(replace(fault, text=f"{fault.text}; an older version was tried: {world.failed[name]}"))
    if not missing.reasons:
        for name, reason in world.failed.items():
            for want in list(world.wants.get(name, {}).values()):
                missing.add(Fault(name, (want,), reason), "\n")  # each long enough for a line
    return missing.told()


def stuck(world: World, causes: Sequence[Want]) -> tuple[str, list[str]]:
    """Where a search was when it was stopped, and the declared requirements that led it there."""
    chains = Chains(world)
    fault = next(_faults(world, chains, _by_project(causes)), None)
    if fault is None:
        return "", []
    declared = dict.fromkeys(chain.declared for want in fault.wants for chain in chains.of(want))
    return harmless(f"it was at the {fault.text}; ") if fault.conflict else "", list(declared)[:SHOWN]


class _Blame:
    """What is told of each declared requirement."""

    def __init__(self, world: World, chains: Chains) -> None:
        self._world = world
        self._chains = chains
        self.reasons: dict[str, dict[str, str]] = {}

    def add(self, fault: Fault, before: str = "; ") -> None:
        for want in fault.wants:
            chains = self._chains.of(want)
            # Who takes other versions too would have had no fault, had not somebody else bound them to this one.
            for chain in [chain for chain in chains if self._chains.is_certain(chain)] or chains:
                way = f" ({chain})" if len(chain.wants) > 1 and not fault.conflict else ""
                # Several ways to one fault are one fault; the first way stands for all.
                self.reasons.setdefault(chain.declared, {}).setdefault(fault.text, f"{before}{fault.text}{way}")

    def told(self) -> dict[str, str]:
        """In the order of the declaration; versions, specifiers and reasons may be a stranger's words."""
        declared = [str(requirement) for requirement in self._world.question.requirements]
        if not self.reasons:
            return dict.fromkeys(declared, "these requirements cannot be met together")
        return {name: _joined(self.reasons[name]) for name in declared if name in self.reasons}


def _joined(reasons: Mapping[str, str]) -> str:
    text = "".join(list(reasons.values())[:SHOWN]).removeprefix("; ").removeprefix("\n")
    more = f"; and {count(len(reasons) - SHOWN, 'more reason')}" if len(reasons) > SHOWN else ""
    return harmless(text + more)


def _by_project(wants: Iterable[Want]) -> dict[NormalizedName, list[Want]]:
    found: dict[NormalizedName, list[Want]] = {}
    for want in wants:
        found.setdefault(want.project, []).append(want)
    return found


def _faults(world: World, chains: Chains, wants: Mapping[NormalizedName, Sequence[Want]]) -> Iterator[Fault]:
    """The wants that nothing meets, whatever the others say; where there are none, the conflict of a project."""
    for name, of_project in wants.items():
        hopeless = [want for want in of_project if not _serves(world, [want])]
        for want in hopeless:
            # As in pip, a project that a URL serves is served by nothing else.
            urls = [one for one in world.wants.get(name, {}).values() if one.reference and one is not want]
            if urls and not want.requirement.url:
                yield _conflict(world, chains, name, [*urls, want])
            else:
                yield Fault(name, (want,), nothing_serves(world, want))
        if not hopeless and not _serves(world, of_project):
            yield _conflict(world, chains, name, list(of_project))


def _is_certain(chains: Chains, fault: Fault) -> bool:
    return all(any(chains.is_certain(chain) for chain in chains.of(want)) for want in fault.wants)


def _serves(world: World, wants: Sequence[Want]) -> bool:
    """Whether one candidate could meet all these wants of a project."""
    if any(want.requirement.url for want in wants):
        return False
    specifiers = {str(want.requirement.specifier): want.requirement.specifier for want in wants}
    return next(world.conceivable(wants[0].project, specifiers.values()), None) is not None


def nothing_serves(world: World, want: Want) -> str:
    """Why no candidate meets a want."""
    name = want.project
    if want.requirement.url:
        return f"{name} is wanted from a URL by {want.parent}; nothing but that URL would do"
    shelf, withheld = world.shelf(name), world.source.withheld(name)
    if not shelf.best_first and not any(shelf.rejected.values()):
        return f"{name}: {withheld or f'nothing of that name {world.source.where}'}"
    reasons = list(_rejections(world, name, world.constraint(name) & want.requirement.specifier))
    if not reasons:
        reasons = [f"there is {_versions(_there(world, name)) or 'none that fits'}, {_excluded(world, want)}"]
    return f"{name}: " + "; ".join([*reasons, *([withheld] if withheld else [])])


def _excluded(world: World, want: Want) -> str:
    """By which specifier, and from whom (which is for the chain to tell, where it is nobody who declared it)."""
    name, constraint = want.project, world.constraint(want.project)
    if constraint and not _within(_there(world, name), constraint):
        return f"which constraint {name}{constraint} excludes"
    limit = f" and constraint {name}{constraint}" if constraint else ""
    return f"wanted is {want.written}{'' if want.parent else ' (declared)'}{limit}"


def _rejections(world: World, name: NormalizedName, specifier: SpecifierSet) -> Iterator[str]:
    """Why candidates within the specifier are none, each kind of reason once."""
    shelf, profile = world.shelf(name), world.question.profile
    if needs_python := _within(shelf.rejected["python"], specifier):
        newest = max(needs_python, key=lambda candidate: candidate.version)
        yield f"{newest} needs Python {newest.requires_python}, this is {profile.python_version}"
    if tagged := _within(shelf.rejected["tags"], specifier):
        newest = max(tagged, key=lambda candidate: candidate.version)
        there = "-".join(newest.filename.removesuffix(".whl").rsplit("-", 3)[1:])
        yield (
            f"no wheel of {_versions(tagged)} fits this platform and no sdist is there "
            f"({newest} is for {there}, this is {profile.tags[0]})"
        )
    if binary := _within(shelf.rejected["binary"], specifier):
        yield f"{_versions(binary)} only as wheels, which no_binary excludes"
    yanked = [candidate for candidate in _within(shelf.best_first, specifier) if candidate.yanked is not None]
    for here, verb in ((False, "was yanked"), (True, "is yanked here")):
        if own := [candidate for candidate in yanked if candidate.yanked_here is here]:
            said = ", ".join(dict.fromkeys(candidate.yanked for candidate in own if here and candidate.yanked))
            yield f"{_versions(own)} {verb}{f' ({said})' if said else ''}, and serves only who pins it with =="
    yield from list(world.unusable.get(name, {}).values())[:SHOWN]


def _conflict(world: World, chains: Chains, name: NormalizedName, wants: list[Want]) -> Fault:
    """The wants of a project that cannot be met together, as few of them as tell it, each with who has it."""
    parties = _parties(world, wants)
    sides = [next((str(chain) for chain in chains.of(want)), str(want)) for want in parties]
    if world.constraint(name):
        sides.append(f"constraint {name}{world.constraint(name)}")
    told = f"conflict: {' against '.join(sides[:SHOWN])}" if len(sides) > 1 else f"{name}: wanted is {sides[0]}"
    text = f"{told}; of {name} there is {_versions(_there(world, name))}"
    return Fault(name, tuple(parties), text, conflict=True)


def _parties(world: World, wants: list[Want]) -> list[Want]:
    """Without those that would leave a conflict if they were not there."""
    binding = [want for want in reversed(wants) if want.requirement.specifier or want.reference]
    parties = list(reversed({str(want.reference or want.requirement.specifier): want for want in binding}.values()))
    for want in list(reversed(parties)):
        rest = [one for one in parties if one is not want]
        if rest and not want.reference and not _serves(world, rest):
            parties = rest
    return parties or wants


def _there(world: World, name: NormalizedName) -> list[Candidate]:
    """What there is of a project, whatever is wanted of it."""
    shelf = world.shelf(name)
    return [*shelf.best_first, *shelf.rejected["python"]]


def _within(candidates: Iterable[Candidate], specifier: SpecifierSet) -> list[Candidate]:
    return [candidate for candidate in candidates if within(specifier, candidate.version)]


def _versions(candidates: Iterable[Candidate]) -> str:
    versions = sorted({candidate.version for candidate in candidates}, reverse=True)
    more = f" and {len(versions) - SHOWN} more" if len(versions) > SHOWN else ""
    return ", ".join(str(version) for version in versions[:SHOWN]) + more
