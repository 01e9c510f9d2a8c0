"""What may go: wheels that no set has needed for `keep_days`; and what holds them although that is so.

Names, moments and numbers go in and a verdict comes out; nothing is read or removed here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pipmirror_lib.explain import SHOWN, count
from pipmirror_lib.moments import SKEW, age, later, now

DAY = 86400  # seconds
SLEEP = 366 * DAY
HELD, WOULD_HOLD = "no wheel was removed", "no wheel would be removed"
NOT_PROFILED = "nothing is known of what the platform needs until pipmirror.sync or pipmirror.prepare has profiled it"
UNVERIFIED = "the sets are not verified, so the pages cannot be written first; run pipmirror.sync or pipmirror.verify"
UNSATISFIED = "not every set is satisfied, so nobody can say what is not needed; run pipmirror.sync"
TRIAL = (
    "the arguments require something else than is declared (packages, sets, constraints, prereleases, no_binary, "
    "yanked or platforms), so what they leave out may be needed; declare it in pillar, or leave them out"
)
UNDECLARED = (
    "no requirement is declared for the platform, so nothing would be left "
    "(pipmirror.prune force=True removes it all the same)"
)


@dataclass(frozen=True)
class Outlook:
    """The wheels that may go, each with the moment since when it is not needed; or the guard that holds them."""

    going: Mapping[str, str] = field(default_factory=dict)
    held: str = ""


def since(orphans: Collection[str], remembered: object) -> dict[str, str]:
    """Since when each orphan is not needed: as remembered, else from now on."""
    moment = now()
    known = remembered if isinstance(remembered, dict) else {}
    # What is no moment of the past would let a wheel go at once, or never.
    said = {when for when in known.values() if isinstance(when, str)}
    sound = {when for when in said if 0 <= age(when) < float("inf")}
    kept = {name: when for name, when in known.items() if isinstance(when, str) and when in sound}
    return {name: kept.get(name, moment) for name in orphans}


def by_this_clock(unneeded: Mapping[str, str], seen: str) -> Mapping[str, str]:
    """The moments as they would be if the clock had always been the present one; it was last `seen` to be right then.

    Where more than a year lies between, or less than nothing, the clock has jumped, or nobody has looked: wheels stay
    as old as they were. Else a wrong clock, or its correction, would take at once what should stay for `keep_days`.
    """
    gap = age(seen)
    if gap == float("inf") or -SKEW <= gap <= SLEEP:
        return unneeded
    return {name: later(moment, gap) for name, moment in unneeded.items()}


def outlook(unneeded: Mapping[str, str], *, total: int, keep_days: int, declared: bool, force: bool = False) -> Outlook:
    """Which of the unneeded wheels may go, of so many that lie there; `force` overrides guards, never `keep_days`."""
    old = {when for when in set(unneeded.values()) if age(when) >= keep_days * DAY}
    going = {name: when for name, when in sorted(unneeded.items()) if when in old}
    if not going or force:
        return Outlook(going)
    if not declared:
        return Outlook(held=UNDECLARED)
    if 2 * len(going) > total:
        share = f"{len(going)} of {count(total, 'wheel')} would go, more than half"
        return Outlook(held=f"{share}; check packages, sets and exclude (pipmirror.prune force=True removes them)")
    return Outlook(going)


def named(filenames: Collection[str]) -> str:
    """Wheels by name, as far as a line holds them."""
    more = f" and {len(filenames) - SHOWN} more" if len(filenames) > SHOWN else ""
    return ", ".join(list(filenames)[:SHOWN]) + more


def amount(sizes: Collection[int]) -> str:
    total = sum(sizes)
    return f"{count(len(sizes), 'wheel')}, " + (f"{total / 1e6:.1f} MB" if total >= 1e6 else f"{total / 1e3:.1f} kB")
