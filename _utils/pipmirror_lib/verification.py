"""Every set of a platform, proved to install by the target's own pip, and the proof remembered."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pipmirror_lib import plan, proof
from pipmirror_lib.errors import VerifyError
from pipmirror_lib.moments import now
from pipmirror_lib.platform_task import PlatformTask
from pipmirror_lib.preparation import Preparation
from pipmirror_lib.references import DirectReference
from pipmirror_lib.settings import RequirementSet
from pipmirror_lib.verdict import PlatformPlan
from pipmirror_lib.wheels import parse_name


@dataclass
class Verification:
    task: PlatformTask
    preparation: Preparation

    def verify(self, planned: PlatformPlan) -> list[str]:
        """The problems; what has installed is remembered where there are none."""
        task = self.task
        proofs: dict[str, Any] = {}
        installed: set[tuple[str, str]] = set()
        problems = []
        # A set that is not complete fails for that; the others are proved, because they are published.
        complete = (wanted for wanted in task.platform.sets if wanted.name not in planned.incomplete)
        for wanted in complete:
            if not (requirements := self._by_version(wanted)):
                continue
            task.run.check()
            task.progress(f"installing the set {wanted.name} without network")
            try:
                outcome = self._install(requirements)
            except VerifyError as error:
                problems += [f"set {wanted.name}: {error}", *task.set_damaged_aside()]
                continue
            ran = {project: asdict(one) for project, one in outcome.ran.items()}
            installed.update(outcome.installed)
            proofs[wanted.name] = {"installed": len(outcome.installed), "ran": ran, "pip": outcome.pip}
        task.details["verified"] = proofs
        if task.platform.image and not task.platform.verify_command:
            task.notes.append(
                "proved in the builder image; set verify_command to prove run-time shared libraries as well"
            )
        if not problems:
            self._remember(planned, proofs, installed)
        return problems

    def _remember(self, planned: PlatformPlan, proofs: dict[str, Any], installed: set[tuple[str, str]]) -> None:
        task = self.task
        state = plan.read_json(task.directory.state_path)
        key = plan.proof_key(task.mirror, task.platform, task.directory, state, planned)
        wheels = proof.installed_from(task.directory.manifest()["wheels"], installed)
        task.remember(verified={"key": key, "at": now(), "sets": proofs, "wheels": wheels})

    def _by_version(self, wanted: RequirementSet) -> list[str]:
        """What a set wants here, as pip can install it from a directory: it would follow a URL itself."""
        applies = self.task.profile().applies
        wheels = self.task.directory.manifest()["wheels"]
        became = {key: filename for filename, record in wheels.items() for key in record.get("direct", ())}
        return [
            r.by_version(parse_name(became[r.key])) if isinstance(r, DirectReference) and r.key in became else str(r)
            for r in wanted.requirements
            if applies(r.marker)
        ]

    def _install(self, requirements: list[str]) -> proof.VerifyOutcome:
        task = self.task
        return proof.verify(
            self.preparation.where_it_is_proved(),
            task.platform,
            wheels=task.directory.public,
            requirements=requirements,
            constraints=self._constraints(),
            prereleases=task.mirror.prereleases is True,
            limits=task.mirror.container,
            workdir=task.directory.work,
        )

    def _constraints(self) -> list[str]:
        """The declared ones, and one that lets pip take prereleases of each project that may have them."""
        allowed = self.task.mirror.prereleases
        lines = [str(constraint) for constraint in self.task.mirror.constraints]
        return lines + ([] if isinstance(allowed, bool) else [f"{name}>=0.dev0" for name in allowed])
