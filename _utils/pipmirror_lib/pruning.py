"""One platform's unneeded wheels: since when they are that, which of them may go, and how they go."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pipmirror_lib import plan, prune
from pipmirror_lib.mirror import PlatformDirectory, Record
from pipmirror_lib.moments import later
from pipmirror_lib.prune import Outlook
from pipmirror_lib.publication import publish
from pipmirror_lib.settings import Mirror, Platform
from pipmirror_lib.verdict import PlatformPlan
from pipmirror_lib.wheels import parse_name
from pipmirror_lib.withdrawal import withdraw


@dataclass(frozen=True)
class Pruning:
    """Whoever lets it change anything holds the platform's lock."""

    mirror: Mirror
    platform: Platform
    directory: PlatformDirectory

    def note(self, planned: PlatformPlan, *, test: bool = False) -> dict[str, list[str]]:
        """Remember since when wheels are not needed; returns the files that are new among them, and those no more."""
        if self.mirror.trial or (planned.satisfied and plan.ENGINE_NEEDED in planned.due):
            return {}
        # While a set is not satisfied, nobody can say what it will need: there are no orphans, and no day counts.
        state = plan.read_json(self.directory.state_path)
        known = state.get("unneeded")
        since = prune.since(planned.orphans, plan.unneeded(state))
        if since == (known or {}):
            return {}
        if not test:
            plan.remember(self.directory, unneeded=since)
        before = set(known) if isinstance(known, dict) else set()
        return {"noted": sorted(since.keys() - before), "dropped": sorted(before - since.keys())}

    def outlook(self, planned: PlatformPlan, *, force: bool = False) -> Outlook:
        """Which wheels may go now, or which guard holds them."""
        if self.mirror.trial:
            return Outlook(held=prune.TRIAL)
        if plan.ENGINE_NEEDED in planned.due:
            return Outlook(held=prune.NOT_PROFILED)
        if plan.VERIFY in planned.due:
            return Outlook(held=prune.UNVERIFIED)
        state = plan.read_json(self.directory.state_path)
        return plan.removable(self.mirror, self.platform, self.directory, state, planned, force=force)

    def until(self, planned: PlatformPlan) -> dict[str, str]:
        """From when on each orphan may go; '' where no day counts before the next sync or prune has noted it."""
        state = plan.read_json(self.directory.state_path)
        known = {} if self.mirror.trial else plan.unneeded(state)
        counting = prune.since([name for name in planned.orphans if name in known], known)
        ends = {when: later(when, self.mirror.keep_days * prune.DAY) for when in set(counting.values())}
        return {name: ends[counting[name]] if name in counting else "" for name in planned.orphans}

    def about(self, planned: PlatformPlan, going: Mapping[str, str]) -> dict[str, Record]:
        """What is to be told of wheels that go."""
        why = "no set has needed it since {}" if planned.satisfied else "no satisfied set needs it"
        names = {filename: parse_name(filename) for filename in going}
        return {
            filename: {
                "project": name.project,
                "version": str(name.version),
                "reason": why.format(going[filename]),
                "size": os.lstat(self.directory.public / filename).st_size,
                "since": going[filename],
            }
            for filename, name in names.items()
        }

    def gone(self, about: Mapping[str, Record]) -> dict[str, Record]:
        """Those that lie there no more."""
        return {name: what for name, what in about.items() if not os.path.lexists(self.directory.public / name)}

    def remove(self, manifest: Record, planned: PlatformPlan, going: Mapping[str, str]) -> None:
        """Take them away; what was proved of the others stays proved."""
        with self._proof_kept(planned):
            self.directory.remove(manifest, going, lambda staying: withdraw(self.directory, staying, going))
        publish(self.mirror, self.platform, planned, manifest["wheels"])
        known = plan.read_json(self.directory.state_path).get("unneeded") or {}
        plan.remember(self.directory, unneeded={name: when for name, when in known.items() if name not in going})

    @contextmanager
    def _proof_kept(self, planned: PlatformPlan) -> Iterator[None]:
        """The manifest is part of a proof's key; here it loses only wheels that the proof has not installed."""
        state = plan.read_json(self.directory.state_path)
        proved = plan.proofs(state, self._key(state, planned))
        yield
        if proved:
            key = self._key(state, planned)
            plan.remember(self.directory, verified={**state["verified"], "key": key})

    def _key(self, state: Mapping[str, object], planned: PlatformPlan) -> str:
        return plan.proof_key(self.mirror, self.platform, self.directory, state, planned)
