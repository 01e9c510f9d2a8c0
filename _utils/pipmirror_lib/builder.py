"""Builder images, in which the administrator's own command has run with network, and the profiles they give."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from pipmirror_lib import inside, locks, settings
from pipmirror_lib.engine import LABEL, OWNER_LABEL, Engine, ImageInfo, RunResult, RunSpec, oci_platform
from pipmirror_lib.errors import BuilderError, EngineError
from pipmirror_lib.images import DEBOOTSTRAPPED_LABEL, BaseImage, Progress, ensure, present
from pipmirror_lib.logs import reason, short
from pipmirror_lib.moments import older
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.workplace import Quarters, Task

# Raised whenever a builder image made by an older version of this code must not be used any more.
RECIPE = 1
REPOSITORY = "pipmirror-builder"
# Seconds after which it is no removal of an image any more that somebody holds it for.
REMOVING = 300
KINDS = ("builder", "verify")
_LABELS = {name: f"{LABEL}.{name}" for name in ("recipe", "platform", "kind", "base", "base-source", "asked")}
_SHELL = 'if command -v bash >/dev/null 2>&1; then exec bash -c "$1"; fi; exec /bin/sh -c "$1"'
_BEGIN, _END = "-----BEGIN PIPMIRROR PROFILE-----", "-----END PIPMIRROR PROFILE-----"


@dataclass(frozen=True)
class BuilderImage:
    """A base image in which the administrator's command has run; `reused` if that was not now."""

    id: str
    base_id: str
    recipe: str
    created: str
    base_source: str
    reused: bool


def recipe(platform: settings.Platform, base_id: str) -> str:
    """The digest of everything that makes a builder image what it is."""
    parts = {
        "format": RECIPE,
        "base": base_id,
        "pre_command": platform.pre_command,
        "python": platform.python,
        "architecture": platform.architecture,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def prepare(
    engine: Engine,
    platform: settings.Platform,
    limits: settings.Container,
    *,
    workdir: Path,
    rebuild_after: int,
    force: bool = False,
    command: str | None = None,
    progress: Progress,
) -> BuilderImage:
    """Have the image in which `command` (default: `pre_command`) has run; made now if there is none yet.

    An image older than `rebuild_after` seconds (0: any age will do) is made again, and any on `force`.
    """
    kind = "builder" if command is None or command == platform.pre_command else "verify"
    if command is not None:
        platform = dataclasses.replace(platform, pre_command=command)
    before = present(engine, platform)
    made = _newest(engine, recipe(platform, before.id)) if before else None
    if before and made and not force and not _expired(made, rebuild_after):
        return _builder(made, before, recipe(platform, before.id), reused=True)
    outdated = {info.id for info in engine.find({_LABELS["kind"]: kind})} if force else set()
    # One name is one image, also for whoever pulls it for another architecture.
    with _alone(engine, platform.image, limits, progress):
        base = present(engine, platform)
        if base is None or base == before:  # else somebody has fetched it while we were waiting
            # A registry may hold a new image under the old name by now, and debootstrap newer packages.
            base = ensure(engine, platform, workdir, progress, refresh=force or made is not None)
    digest = recipe(platform, base.id)
    if not platform.pre_command.strip():
        return _builder(_image(engine, base.id), base, digest, reused=True)
    with _alone(engine, digest, limits, progress):
        made = _newest(engine, digest)
        if made and made.id not in outdated and not _expired(made, rebuild_after):
            return _builder(made, base, digest, reused=True)
        # Whoever held the lock before us may have been killed.
        engine.remove_abandoned()
        made = _make(engine, platform, limits, base, kind=kind, workdir=workdir, progress=progress)
        _remove_superseded(engine, made, rebuild_after)
    return _builder(made, base, digest, reused=False)


@contextmanager
def _alone(engine: Engine, what: str, limits: settings.Container, progress: Progress) -> Iterator[None]:
    """Of all processes on this machine and their threads, be the one that makes an image; the others wait to use it.

    As long as making it may take; then something is wrong, and making it twice does no harm.
    """
    lock = locks.of_machine(hashlib.sha256(what.encode()).hexdigest()[:16])
    text = "waiting for another run that makes the same image"
    with locks.one_of([lock], lambda: progress(text), timeout=limits.timeout, stopped=engine.stopped) as held:
        try:
            yield
        finally:
            if held:  # each recipe has one of its own
                held.unlink(missing_ok=True)


def _use(image: str) -> Path:
    """What every run shares that uses an image, and nobody holds alone but to remove it."""
    return locks.of_machine(f"use-{image.rpartition(':')[2][:16]}")


@contextmanager
def using(image: str, progress: Progress = lambda text: None, stopped: threading.Event | None = None) -> Iterator[None]:
    """While it lasts, nobody takes the image away, also between two containers; EngineError where somebody does."""
    text = f"waiting for another run that removes the image {image}"
    waiting, lock = lambda: progress(text), _use(image)
    with locks.one_of([lock], waiting, timeout=REMOVING, stopped=stopped, shared=True) as held:
        if held is None:
            raise EngineError(f"image {image}: another run has been removing it for {REMOVING} s")
        with suppress(OSError):  # then its age is counted from when it was made
            os.utime(held)
        yield


def remove(engine: Engine, info: ImageInfo) -> bool:
    """Remove an image of ours, and a base of ours that has lost its name to a newer one; False where it was gone.

    EngineError where a run, a container or another image uses it.
    """
    with locks.one_of([_use(info.id)], timeout=0) as alone:
        if alone is None:
            raise EngineError(f"image {info.id}: a run uses it")
        removed = engine.remove_image(info.id)
        alone.unlink(missing_ok=True)
    base = engine.image(info.labels.get(_LABELS["base"], ""))
    if base and DEBOOTSTRAPPED_LABEL in base.labels and not base.tags:
        with suppress(EngineError):  # another image of ours needs it
            engine.remove_image(base.id)
    return removed


def _builder(info: ImageInfo, base: BaseImage, digest: str, *, reused: bool) -> BuilderImage:
    source = info.labels.get(_LABELS["base-source"]) or base.source
    return BuilderImage(info.id, base.id, digest, _iso(info.created), source, reused)


def _newest(engine: Engine, digest: str) -> ImageInfo | None:
    return next(iter(engine.find({_LABELS["recipe"]: digest})), None)


def _expired(info: ImageInfo, rebuild_after: int) -> bool:
    return bool(rebuild_after) and older(_iso(info.created), rebuild_after)


def _make(
    engine: Engine,
    platform: settings.Platform,
    limits: settings.Container,
    base: BaseImage,
    *,
    kind: str,
    workdir: Path,
    progress: Progress,
) -> ImageInfo:
    workdir.mkdir(parents=True, exist_ok=True)
    progress(f"preparing the {kind} image")
    spec = RunSpec(
        image=base.id,
        command=("/bin/sh", "-c", _SHELL, "pre", platform.pre_command),
        environment={"DEBIAN_FRONTEND": "noninteractive"},
        network=True,
        user="0:0",
        working_dir="/",
        hardened=False,
        limits=limits,
        log_path=workdir / f"prepare-{kind}.log",
        name=f"prepare-{platform.name}",
    )
    labels = _made_labels(platform, base, kind)
    with engine.container(spec) as container:
        result = container.finish()
        if result.exit_code or result.timed_out:
            raise BuilderError(_prepare_failure(platform, spec, kind, result))
        # Whoever starts it by hand would inherit whom our container belonged to, and lose it to the next run.
        tag, kept = labels[_LABELS["recipe"]][:16], {**labels, OWNER_LABEL: ""}
        image = container.commit(REPOSITORY, tag, kept)
    return _image(engine, image)


def _image(engine: Engine, reference: str) -> ImageInfo:
    info = engine.image(reference)
    if info is None:
        raise BuilderError(f"image {reference} vanished while it was being prepared; try again")
    return info


def _made_labels(platform: settings.Platform, base: BaseImage, kind: str) -> dict[str, str]:
    values = {
        "recipe": recipe(platform, base.id),
        "platform": platform.name,
        "kind": kind,
        "base": base.id,
        "base-source": base.source,
        "asked": _asked(platform),
    }
    return {_LABELS[key]: value for key, value in values.items()}


def _asked(platform: settings.Platform) -> str:
    """What a platform asks for, whatever its base image is by now; a digest, as a label may not hold any text."""
    asked = [platform.image, oci_platform(platform.architecture), platform.python, platform.pre_command]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _prepare_failure(platform: settings.Platform, spec: RunSpec, kind: str, result: RunResult) -> str:
    setting = "pre_command" if kind == "builder" else "verify_command"
    end = f"failed with exit code {result.exit_code}"
    if result.timed_out:
        end = f"did not end within {spec.limits.timeout} seconds (container:timeout)"
    hint = ""
    if "exec format error" in result.log:
        hint = "; this machine cannot run that architecture, install qemu-user-static (binfmt)"
    command = short(platform.pre_command)
    why = f"{reason(result.log)}{hint}; its log is {spec.log_path}"
    return f"{platform.name}: {setting} {command!r} {end}: {why}"


def _remove_superseded(engine: Engine, made: ImageInfo, rebuild_after: int) -> None:
    """Remove what nobody will ask for again.

    Two mirrors may mean different things by one name (another command, image, architecture or python): those images
    live until they are too old, as do those that do not say it because an older release made them.
    """
    same = {_LABELS[key]: made.labels[_LABELS[key]] for key in ("platform", "kind")}
    # One of the same recipe has lost its name to the new one, whatever platform it was made for.
    nameless = engine.find({_LABELS["recipe"]: made.labels[_LABELS["recipe"]]})
    for info in {info.id: info for info in (*engine.find(same), *nameless)}.values():
        ours = info in nameless or info.labels.get(_LABELS["asked"]) == made.labels[_LABELS["asked"]]
        if info.id != made.id and (ours or _expired(info, rebuild_after)):
            with suppress(EngineError):  # in use by another run, which will leave it to the next one
                remove(engine, info)


def is_ours(info: ImageInfo) -> bool:
    return info.labels.get(_LABELS["kind"]) in KINDS


def unused(engine: Engine, used: Collection[str]) -> list[tuple[ImageInfo, float]]:
    """(image, seconds since it was made, or used on this machine) of those of ours that are none of these."""
    ours = (info for kind in KINDS for info in engine.find({_LABELS["kind"]: kind}))
    return [(info, time.time() - _last_used(info)) for info in ours if info.id not in used]


def _last_used(info: ImageInfo) -> float:
    """Others may share the engine, and use images that they have made long ago."""
    try:
        return max(info.created.timestamp(), _use(info.id).stat().st_mtime)
    except OSError:
        return info.created.timestamp()


def described(engine: Engine, info: ImageInfo) -> dict[str, str | int]:
    """What an image of ours was made for, when, and its bytes beyond those of its base."""
    base = engine.image(info.labels.get(_LABELS["base"], ""))
    said = {key: info.labels.get(_LABELS[key], "") for key in ("platform", "kind")}
    return {**said, "made": _iso(info.created), "size": info.size - (base.size if base else 0)}


def profile(
    quarters: Quarters, platform: settings.Platform, limits: settings.Container, *, workdir: Path
) -> TargetProfile:
    """Ask the platform's interpreter and its own pip what they are."""
    log_path = workdir / "profile.log"
    with quarters.workplace(workdir / "profile", keep_out=False) as place:
        place.put("profile.py", inside.source("profile"))
        task = Task("profile.py", platform.python, limits, log_path, f"profile-{platform.name}")
        result = quarters.run(place, task)
    if result.exit_code or result.timed_out or result.excess:
        exceeded = result.exceeded(limits)
        why = f"asking it {exceeded}" if exceeded else reason(result.log).replace("through pre_command", quarters.how)
        raise BuilderError(f"{platform.name}: no profile of {platform.python}: {why}; its log is {log_path}")
    try:
        data = json.loads(result.log.split(_BEGIN, 1)[1].split(_END, 1)[0])
        data.update(image=quarters.id, image_source=quarters.source, made=_iso(datetime.now(timezone.utc)))
        return TargetProfile.from_data(data)
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise BuilderError(f"{platform.name}: the profile cannot be read ({error}); its log is {log_path}") from error


def _iso(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
