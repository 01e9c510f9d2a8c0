"""Quarters in containers: each run has one of its own, made of the platform's builder image."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from pipmirror_lib import inside, settings
from pipmirror_lib.builder import BuilderImage
from pipmirror_lib.engine import Engine, Mount, RunResult
from pipmirror_lib.workplace import INSIDE, Task, Workplace, groups_of, run_python


@dataclass(frozen=True)
class Containers:
    """Hardened containers of one image."""

    engine: Engine
    image: BuilderImage
    platform: settings.Platform
    how = "through pre_command"

    @property
    def id(self) -> str:
        return self.image.id

    @property
    def source(self) -> str:
        return self.image.base_source

    def workplace(self, root: Path, *, keep_out: bool = True) -> Workplace:
        return Workplace(root, keep_out=keep_out)

    def run(self, place: Workplace, task: Task) -> RunResult:
        place.put("confine.py", inside.source("confine"))
        spec = place.spec(self.image.id, task.python, task.script, task.limits, log_path=task.log_path, name=task.name)
        mounts, groups = [*spec.mounts], spec.groups
        if place.environment.is_dir():
            mounts.append(Mount(place.environment, f"{INSIDE}/env"))
        if task.wheels:
            mounts.append(Mount(task.wheels, f"{INSIDE}/wheels"))
            # The mirror's files may be for a group of readers only.
            groups = groups_of(task.wheels)
        spec = dataclasses.replace(spec, mounts=tuple(mounts), groups=groups, network=task.network)
        return run_python(self.engine, spec, self.platform, task.setting)
