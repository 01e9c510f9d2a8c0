"""The only place where the steps meet: plan -> lock -> fetch, build -> admit -> verify -> publish -> prune.

A platform that fails never stops the others, and what it had before is still there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait

from pipmirror_lib import sweep
from pipmirror_lib.errors import PipmirrorError, SettingsError, why
from pipmirror_lib.garbage import rarely_collected
from pipmirror_lib.platform_sync import PlatformSync, Result
from pipmirror_lib.progress import TICK, Listener, Step
from pipmirror_lib.prune import TRIAL
from pipmirror_lib.run import Run
from pipmirror_lib.settings import Mirror

log = logging.getLogger(__name__)
SATISFIED = "satisfied"


def silent(step: Step) -> None:
    """The progress report of a caller who wants none."""


def sync(mirror: Mirror, platform: str | None = None, *, upgrade: bool = False, progress: Listener = silent) -> Result:
    """Make every declared set of the platforms installable from the mirror, and publish it.

    Returns {result, comment, platforms: {name: {result, comment, added, removed, seconds, ...}}}.
    """
    return _each(mirror, platform, progress, lambda one: one.sync(upgrade), SATISFIED)


def prepare(mirror: Mirror, platform: str | None = None, *, force: bool = False, progress: Listener = silent) -> Result:
    """Make builder images and profiles anew where their recipe, base image or age says so (`force`: always)."""
    return _each(mirror, platform, progress, lambda one: one.prepare_only(force), "prepared")


def verify(mirror: Mirror, platform: str | None = None, *, hashes: bool = False, progress: Listener = silent) -> Result:
    """Install every set in a container without network, with the target's own pip; `hashes`: hash every wheel first."""
    return _each(mirror, platform, progress, lambda one: one.verify_only(hashes), "verified")


def prune(
    mirror: Mirror,
    platform: str | None = None,
    *,
    force: bool = False,
    test: bool = False,
    progress: Listener = silent,
) -> Result:
    """Remove wheels that no set has needed for `keep_days`, and what else is that old; `test`: only tell.

    `force` overrides the guards that keep a mistaken declaration from emptying a platform. `leftovers` beside
    `platforms` are the caches that platforms share; they are looked at when no platform is named.
    """
    refuse_trials([mirror])
    done = "examined" if test else "pruned"
    answer = _each(mirror, platform, progress, lambda one: one.prune_only(force, test), done)
    if platform is None:
        shared = sweep.of_mirror(mirror.target, mirror.keep_days)
        answer["leftovers"] = sweep.told(shared if test else sweep.clear(mirror.target, shared))
    return answer


def refuse_trials(mirrors: Iterable[Mirror]) -> None:
    """SettingsError where arguments require something else than is declared; before anything is removed anywhere."""
    if any(mirror.trial for mirror in mirrors):
        raise SettingsError(arguments=[f"nothing can be pruned: {TRIAL}"])


def clean(mirror: Mirror, platform: str | None = None, *, test: bool = False, progress: Listener = silent) -> Result:
    """Remove what lies beside wheels, records and pages and can be made or fetched again; `test`: only tell.

    `leftovers` beside `platforms` are the caches that platforms share; they go when no platform is named.
    """
    answer = _each(mirror, platform, progress, lambda one: one.clean_only(test), "examined" if test else "clean")
    if platform is None:
        shared = sweep.of_mirror(mirror.target, 0)
        answer["leftovers"] = sweep.told(shared if test else sweep.clear(mirror.target, shared))
    return answer


def publish_pages(mirror: Mirror, platform: str | None = None, *, progress: Listener = silent) -> Result:
    """Bring the pages of the platforms up to date with what lies there."""
    return _each(mirror, platform, progress, lambda one: one.publish_only(), "published")


def _each(
    mirror: Mirror,
    name: str | None,
    progress: Listener,
    act: Callable[[PlatformSync], list[str]],
    done: str,
) -> Result:
    """Do one thing for all platforms, several at once; one that fails never stops the others."""
    platforms = mirror.selected(name)
    with rarely_collected(), Run(mirror, progress) as run, ThreadPoolExecutor(mirror.parallel) as pool:
        run.whole = name is None and not mirror.trial
        tasks = [(p.name, pool.submit(_guarded, PlatformSync(run, p), act)) for p in platforms]
        try:
            while wait([task for _, task in tasks], TICK).not_done:
                run.board.report()
            results = {name: task.result() for name, task in tasks}
        except BaseException:  # Ctrl-C, or the minion stops: nobody waits for what has not begun, or still builds
            pool.shutdown(wait=False, cancel_futures=True)
            run.interrupt([task for _, task in tasks])
            raise
        run.board.report()
        failed = [name for name, result in results.items() if not result["result"]]
        run.failed = bool(failed)
        all_satisfied = done == SATISFIED and not failed and len(platforms) == len(mirror.platforms)
        run.nothing_pending = all_satisfied and not mirror.trial
    comment = f"{len(results) - len(failed)} of {len(results)} platforms are {done}"
    if failed:
        comment += f"; failed: {', '.join(failed)}"
    return {"result": not failed, "comment": comment, "platforms": results}


def _guarded(one: PlatformSync, act: Callable[[PlatformSync], list[str]]) -> Result:
    """Run, and turn every failure into this platform's own."""
    began = time.monotonic()
    try:
        problems = act(one)
    except PipmirrorError as error:
        problems = [str(error)]
    except OSError as error:
        problems = [f"{error.filename or one.mirror.target}: {why(error)}"]
    except Exception as error:  # one platform's bug must not take the others' work along
        if not one.run.interrupted.is_set():  # then it is because nothing can be begun any more
            log.exception("pipmirror: %s", one.platform.name)
        problems = [f"internal error, see the minion's log: {type(error).__name__}: {error}"]
    seconds = round(time.monotonic() - began, 2)
    one.run.board.end(one.platform.name)
    return {
        "result": not problems,
        "comment": "\n".join([*problems, *one.task.notes]),
        "added": one.task.added,
        "removed": one.task.removed,
        "seconds": seconds,
        **one.task.details,
    }
