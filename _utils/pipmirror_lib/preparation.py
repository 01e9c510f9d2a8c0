"""Where a platform's Python runs: the engine, the builder image and the profile, made when they are first needed."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from pipmirror_lib import builder, explain, plan
from pipmirror_lib.builder import BuilderImage
from pipmirror_lib.containers import Containers
from pipmirror_lib.engine import Engine
from pipmirror_lib.errors import EngineError
from pipmirror_lib.lazily import made_once
from pipmirror_lib.machine import ThisMachine
from pipmirror_lib.moments import now
from pipmirror_lib.platform_task import PlatformTask
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.workplace import Quarters


@dataclass
class Preparation:
    """What is made lasts until the run is over; several threads may ask for it."""

    task: PlatformTask

    @made_once
    def engine(self) -> Engine:
        task = self.task
        engine = Engine.connect(task.mirror.container.engine_url)
        engine.stopped = task.run.interrupted
        task.run.holds(closing(engine))
        task.run.uses_engine = True
        if abandoned := engine.remove_abandoned():
            names = ", ".join(name or id[:12] for id, name in abandoned.items())
            task.notes.append(
                f"removed {explain.count(len(abandoned), 'container')} that a killed run had left: {names}"
            )
        return engine

    @made_once
    def quarters(self) -> Quarters:
        """Where the platform's Python runs, made where there are none."""
        return self.make(force=False)

    def make_if_possible(self, expired: bool) -> None:
        """A platform that has a profile of this recipe can go on without an engine until something must be built."""
        try:
            # Without a pre_command there is no image of ours whose age could tell: the base itself is fetched anew.
            if expired and not self.task.platform.pre_command:
                self.quarters = self.make(force=True)
            _ = self.quarters
        except EngineError as error:
            if plan.ENGINE_NEEDED in self.task.plan().due or self.task.directory.profile() is None:
                raise
            self.task.notes.append(f"went on with the known profile: {error}")

    def make(self, force: bool) -> Quarters:
        task = self.task
        task.run.check()
        if not task.platform.image:
            return self._here()
        task.progress("preparing the builder image")
        image = self._image(None, force)
        quarters = Containers(self.engine, image, task.platform)
        known = task.directory.profile()
        if known is None or known.image != image.id:
            self._ask(quarters)
        task.details["image"] = {"id": image.id, "source": image.base_source, "reused": image.reused}
        task.remember(
            recipe=plan.recipe_of(task.platform),
            prepared=image.created if task.platform.pre_command else now(),
            image=image.id,
            base=image.base_id,
            image_source=image.base_source,
        )
        return quarters

    def where_it_is_proved(self) -> Quarters:
        """The image of the `verify_command`, where there is one, else that of the builds."""
        task = self.task
        quarters = self.quarters
        if task.platform.verify_command:
            image = self._image(task.platform.verify_command)
            quarters = Containers(self.engine, image, task.platform)
            task.remember(verify_image=image.id)
        return quarters

    def _image(self, command: str | None, force: bool = False) -> BuilderImage:
        """The image in which a command (the platform's own, if none is named) has run."""
        task = self.task
        image = builder.prepare(
            self.engine,
            task.platform,
            task.mirror.container,
            workdir=task.directory.work,
            rebuild_after=task.mirror.rebuild_after,
            force=force,
            command=command,
            progress=task.progress,
        )
        task.run.holds(builder.using(image.id, task.progress, task.run.interrupted))
        return image

    def _here(self) -> Quarters:
        """This machine instead of an image: nothing is kept but its profile, which is quickly asked for."""
        task = self.task
        here = ThisMachine.prepare(task.platform, task.directory.private)
        self._ask(here)
        task.notes.append(f"on this machine instead of containers, {here.isolation}")
        task.details["image"] = {"id": here.id, "source": here.source, "reused": True}
        task.remember(
            recipe=plan.recipe_of(task.platform), prepared=now(), image=here.id, base="", image_source=here.source
        )
        return here

    def _ask(self, quarters: Quarters) -> None:
        task = self.task
        task.progress("asking the target for its profile")
        profile = builder.profile(quarters, task.platform, task.mirror.container, workdir=task.directory.work)
        task.directory.save(task.directory.profile_path, profile.to_json())
        task.remember(target=f"{profile.python_version} {profile.pip_version}")
        task.details["profile"] = _summary(profile)


def _summary(profile: TargetProfile) -> dict[str, str]:
    return {"python": str(profile.python_version), "pip": profile.pip_version, "tag": profile.tags[0]}
