"""
Mirror Python packages for networks without internet, as wheels that fit each target platform.

What to mirror is declared in pillar under ``pipmirror`` (see ``pillar.example``); every function also takes
any of those settings as an argument, which then wins over the pillar. All functions can be narrowed with
``mirror=`` and ``platform=``.
"""

import contextlib
import dataclasses
import logging
import sys

from salt.exceptions import CommandExecutionError

try:
    import pipmirror_lib

    pipmirror_lib.renew()
    HAS_LIBRARY = True
except (ImportError, OSError):
    HAS_LIBRARY = False

log = logging.getLogger(__name__)

__virtualname__ = "pipmirror"

# What a master is told while something is done, and how many seconds lie between two such events at least.
EVENT = "pipmirror/progress"
BETWEEN_EVENTS = 5

# Filled in where our outputter is at hand; Salt reads it under this name.
__outputter__ = {}
READABLE = (
    "sync",
    "prepare",
    "verify",
    "publish",
    "plan",
    "status",
    "wheels",
    "why",
    "platforms",
    "faults",
    "prune",
    "clean",
)

REQUIRED = ("docker", "installer", "packaging", "requests", "resolvelib")


class _Outputter(str):
    """
    ``nested`` to whoever reads it, ours to the outputters of this process.

    What ``salt-call`` shows also travels to the master, and stays in its job cache with the outputter's name. A master
    that was never told of ours would complain whenever somebody looks at the job. Salt finds an outputter by the name
    and what it appends to it; should that change, we are ``nested`` here as well.
    """

    __slots__ = ()

    def __add__(self, suffix):
        return f"{__virtualname__}{suffix}"


def __init__(opts):
    """
    Have ``salt-call`` show what we return with our outputter, where it finds it.
    """
    if opts.get("__cli") == "salt-call" and str(opts.get("fun", "")).startswith(f"{__virtualname__}."):
        import salt.loader

        if __virtualname__ in salt.loader.outputters(opts):
            __outputter__.update(dict.fromkeys(READABLE, _Outputter("nested")))


def __virtual__():
    if not HAS_LIBRARY:
        return False, "pipmirror_lib is not synced: run saltutil.sync_all"
    if lacking := pipmirror_lib.lacking(REQUIRED):
        return False, lacking
    return __virtualname__


def sync(mirror=None, platform=None, upgrade=False, **settings):
    """
    Make every declared requirement set installable from the mirror, and publish it.

    Wheels come from the package index, chosen as the target's pip would choose them; projects without a fitting
    wheel are built in a container of the target's own image. Nothing is done where nothing is missing.

    mirror
        Name (str) of one declared mirror. Default: all of them.

    platform
        Name (str) of one platform. Default: all of them.

    upgrade : False
        True looks for newer versions although everything is there.

    settings
        Any setting of the pillar, e.g. ``packages``, ``target``, ``constraints``. With settings that require something
        else than the pillar, which does declare requirements, no wheel is pruned.

    Returns ``{result, comment, platforms: {NAME: {result, comment, added: {FILE: {...}}, removed: {FILE: {...}},
    seconds}}}``; of what was added ``old`` are the versions that lay there before, ``beside`` those of them that are
    still needed. The return code is 1 if any platform failed; one that fails never stops the others.

    Raises CommandExecutionError with every fault of the settings.

    CLI Example:

    .. code-block:: bash

        salt-call pipmirror.sync
        salt-call pipmirror.sync platform=debian-bookworm packages='["docopt", "attrs<24"]'
    """
    from pipmirror_lib import sync as library

    return _act(library.sync, mirror, platform, settings, upgrade=upgrade)


def prepare(mirror=None, platform=None, force=False, **settings):
    """
    Make builder images and target profiles anew where the recipe, the base image or ``rebuild_after`` says so.

    force : False
        True makes them anew in any case, and fetches base images again.

    For ``mirror``, ``platform``, ``settings`` and what is returned and raised see ``pipmirror.sync``.

    CLI Example:

    .. code-block:: bash

        salt-call pipmirror.prepare platform=debian-bookworm force=True
    """
    from pipmirror_lib import sync as library

    return _act(library.prepare, mirror, platform, settings, force=force)


def verify(mirror=None, platform=None, hashes=False, **settings):
    """
    Install every set with the target's own pip in a container that has no network, from the mirror alone.

    hashes : False
        True compares every wheel with its recorded sha256 first; a damaged one is set aside, and fetched or built
        again by the next sync.

    Each declared project's program is started as well (``--version``); what it said is in ``verified``.
    For ``mirror``, ``platform``, ``settings`` and what is returned and raised see ``pipmirror.sync``.

    CLI Example:

    .. code-block:: bash

        salt-call pipmirror.verify platform=debian-bookworm hashes=True
    """
    from pipmirror_lib import sync as library

    return _act(library.verify, mirror, platform, settings, hashes=hashes)


def prune(mirror=None, platform=None, force=False, test=False, **settings):
    """
    Remove wheels that no set has needed for ``keep_days``, and what else has outlived its use by that time.

    The latter are logs, files that were set aside, what is cached of the index and, unless a platform is named,
    builder images that no declared platform uses; of these, none that was made or used within a day, because somebody
    else may share the engine. A wheel that was put there by hand is a wheel like any other; files that are not wheels
    stay. Nothing is removed from a platform whose sets are not all satisfied (or not verified, with ``verify``), that
    has no requirement, or of whose wheels more than half would go: ``held`` and the comment then say why.

    force : False
        True removes wheels although a set is not satisfied (what the others need stays), nothing is declared, or more
        than half would go. Faults of the pillar, a platform that was never profiled and one that is not verified still
        hold, and so does ``keep_days``: while a set is not satisfied no day counts, so only 0 removes anything then.

    test : False
        True tells what would go, with sizes (bytes), and removes nothing.

    settings
        Any setting of the pillar, e.g. ``keep_days``. Where they require something else than the pillar, which does
        declare requirements (``packages``, ``sets``, ``constraints``, ``prereleases``, ``no_binary``, ``yanked``,
        ``platforms``), CommandExecutionError is raised: what they leave out may be needed.

    Returns ``{result, comment, platforms: {NAME: {result, comment, held, added, removed: {FILE: {project, version,
    reason, size, since}}, unneeded: {noted: [FILE], dropped: [FILE]}, leftovers: {FOLDER: {files, size}}, seconds}},
    leftovers, images: {ID: {platform, kind, made, size}}}``: ``held`` is the guard that holds ('' for none), ``noted``
    are wheels whose days begin now, ``dropped`` those that are needed again or gone, and the ``leftovers`` beside
    ``platforms`` are those that platforms share. For the other parameters and what is raised see ``pipmirror.sync``.

    CLI Example:

    .. code-block:: bash

        salt-call pipmirror.prune test=True
        salt-call pipmirror.prune platform=debian-bookworm keep_days=0
    """
    _check_flags(force=force, test=test)
    from pipmirror_lib import sync as library

    with _errors():
        library.refuse_trials(_mirrors(mirror, settings))
    done = {"leftovers": {}, "images": {}, **_act(library.prune, mirror, platform, settings, force=force, test=test)}
    if platform is None:
        done["images"], notes = _unused_images(mirror, settings, test)
        done["comment"] = "\n".join([done["comment"], *notes])
    return done


def clean(mirror=None, platform=None, test=False, **settings):
    """
    Take back what pipmirror has on this machine, but not what it is for: wheels, their records and pages stay.

    What goes can all be made or fetched again, at the next sync that needs it: the builder images of the platforms
    (unless another declared platform uses one as well), containers that killed runs have left, staging, kept builds,
    caches of decisions and of the index, and logs, but those of wheels that were built here. A platform that is
    satisfied stays so, and needs no engine for it. ``pipmirror.prune`` is for what has outlived its use: wheels that no
    set needs, and what is older than ``keep_days``. Base images are left to their engine.

    Each platform waits for a sync that works for it, and fails after ``lock_timeout``. An image stays that a run or
    somebody's container uses, and the comment says so; so do downloads that another run uses.

    test : False
        True tells what would go, with sizes (bytes), and removes nothing.

    Returns ``{result, comment, platforms: {NAME: {result, comment, leftovers: {FOLDER: {files, size}}, added, removed,
    seconds}}, leftovers, images: {ID: {platform, kind, made, size}}, containers: {ID: name}}``; the ``leftovers``
    beside ``platforms`` are those that platforms share, and are looked at when no platform is named. For the other
    parameters and what is raised see ``pipmirror.sync``.

    CLI Example:

    .. code-block:: bash

        salt-call pipmirror.clean test=True
        salt-call pipmirror.clean platform=debian-bookworm
    """
    from pipmirror_lib import clean as library
    from pipmirror_lib import sync

    done = {"leftovers": {}, **_act(sync.clean, mirror, platform, settings, test=test)}
    with _errors():
        mirrors = _holding(_mirrors(mirror, settings), _text(platform))
        declared = _declared(settings) or mirrors
        done["images"], done["containers"], notes = library.engines(mirrors, _text(platform), declared, test=test)
    done["comment"] = "\n".join([done["comment"], *notes])
    return done


def publish(mirror=None, platform=None, test=False, **settings):
    """
    Write the index pages (PEP 503 and PEP 691) and the pages for people (``index.html``, with style, script and data)
    of what lies in the mirror; an unchanged page is not touched. Platforms that are declared no more leave the page of
    all platforms when no platform is named.

    test : False
        True tells which pages would be written and removed, and writes none.

    Returns ``{platforms: {NAME: {written: [PAGE], removed: [PAGE]}}}`` with ``test=True``, else what
    ``pipmirror.sync`` returns; for the other parameters and what is raised see there.

    CLI Example:

    .. code-block:: bash

        salt-call pipmirror.publish
    """
    _check_flags(test=test)
    if test:
        from pipmirror_lib import reports

        return {"platforms": _ask(reports.drift, mirror, platform, settings)}
    from pipmirror_lib import sync as library

    return _act(library.publish_pages, mirror, platform, settings)


def plan(mirror=None, platform=None, resolve=False, upgrade=False, **settings):
    """
    Tell what a sync would do, and why. Nothing is changed and no container is started.

    resolve : False
        True asks the package index as well, and adds ``lock``: exactly the files that would come, with sizes (bytes).

    upgrade : False
        True asks what ``pipmirror.sync upgrade=True`` would bring, also where everything is there; implies ``resolve``.

    For ``mirror``, ``platform``, ``settings`` and what is raised see ``pipmirror.sync``.

    Returns ``{platforms: {NAME: {...}}}`` with, for each platform:

    satisfied
        Whether every set is installable from what lies there (bool).

    nothing_to_do
        Whether a sync would find nothing at all to do (bool).

    missing
        ``{REQUIREMENT: reason}``, for each declared requirement that is not met. A reason ends with the chain that
        leads to the fault: ``(app 1.0 -> lib 2.0 -> dep>=3)`` says that app 1.0 wants what lib 2.0 meets, which
        wants dep>=3.

    closure
        The wheels (file names, sorted) that the sets need.

    orphans
        The wheels (file names, sorted) that no set needs; none while a set is not satisfied, since nobody can say.

    keep_until, held
        ``{FILE: time}`` (UTC, ISO 8601), from when on each orphan may be pruned; empty where no day counts before the
        next sync or prune. ``held`` is the guard that keeps them all the same (str; empty for none, or no orphan).

    unrecorded, vanished
        Wheels (file names, sorted) that somebody put there, or took away.

    broken
        ``{FILE: reason}`` of wheels that pip could not use; a sync sets them aside.

    warnings
        What to know without having to act (list of str).

    due
        What else a sync would do (list of str).

    lock
        With ``resolve`` only: ``{files: {FILE: {project, version, old, sha256, size, upload_time, kind}}, bytes,
        missing, undecided: {FILE or URL: why only a build could tell}, warnings}``; ``old`` are the versions that lie
        there. ``{error: reason}`` for a platform of which the index could not be asked; the return code is 1 then.

    CLI Example:

    .. code-block:: bash

        salt-call pipmirror.plan
        salt-call pipmirror.plan platform=debian-bookworm resolve=True
        salt-call pipmirror.plan upgrade=True
    """
    _check_flags(resolve=resolve, upgrade=upgrade)
    from pipmirror_lib import reports

    answers = _ask(reports.plans, mirror, platform, settings, resolve=resolve, upgrade=upgrade)
    if any("error" in one.get("lock", {}) for one in answers.values()):
        __context__["retcode"] = 1
    return {"platforms": answers}


def status(mirror=None, platform=None, **settings):
    """
    Tell how each platform stands: satisfied or not, wheels, bytes, orphans, last sync, builder image.

    For ``mirror``, ``platform``, ``settings`` and what is raised see ``pipmirror.sync``.

    Returns ``{NAME: {...}}`` with, for each platform:

    satisfied, missing, due
        As in ``pipmirror.plan``; of a requirement that only waits for the rest of its set, ``missing`` tells what keeps
        the set away, as the last sync has found.

    wheels, bytes, built_here
        How many wheels there are, how large they are together, and how many of them were built here (int).

    orphans, orphan_bytes
        How many wheels no set needs, and how large they are together (int).

    orphans_until, held
        When the first of them may be pruned (UTC, ISO 8601; empty where there is none, or no day counts yet), and the
        guard that keeps them all the same (str; empty for none).

    yanked
        ``{FILE: reason}`` of wheels that their authors have withdrawn from use since; the reason may be empty.

    withdrawn
        Wheels (file names, sorted) that the index does not offer any more.

    yanked_here
        ``{FILE: reason}`` of wheels that the setting ``yanked`` names, as they are published.

    last_sync, last_look
        When everything was satisfied by a sync, and when the index was asked (UTC, ISO 8601; empty: never).

    last_failure, failure
        When a sync has failed since (UTC, ISO 8601), and why, in one line; both empty if none has.

    image, image_source, image_made, image_age
        The builder image: its ID, where its base came from, when it was made (UTC; empty: never), how many seconds
        ago (int, or None). ``image_source`` is ``this machine`` for a platform without an image.

    verified
        ``{SET: {installed, ran, pip}}`` as ``pipmirror.verify`` has shown of exactly what is there now.

    python, pip
        The target's versions (str; empty where the platform was never profiled).

    CLI Example:

    .. code-block:: bash

        salt-call pipmirror.status
    """
    from pipmirror_lib import reports

    return _ask(reports.status, mirror, platform, settings)


def wheels(mirror=None, platform=None, **settings):
    """
    List the wheels of each platform with sha256, size, tags, origin and who wants them.

    For ``mirror``, ``platform``, ``settings`` and what is raised see ``pipmirror.sync``.

    Returns ``{NAME: {FILE: {...}}}``, sorted by file name, with for each recorded wheel:

    project, version, tags
        What its name says (str, str, sorted list of str).

    sha256, size, requires_python, metadata_sha256, summary
        What the wheel is: the size in bytes, ``requires_python`` None where it does not say, ``summary`` one line.

    origin
        ``index``, ``built`` (here, from sources), ``url`` (fetched from one) or ``adopted`` (it lay there).

    url, upload_time, admitted
        Where it came from, when it was uploaded there, and when it came in here; empty where unknown.

    source
        What it was built from, or where a URL led: ``{filename, sha256, url}`` or the like, else None. A wheel that
        was built also has ``build_requires: [{filename, sha256}]`` and ``log`` (a file name).

    direct
        The declared URLs that it is what became of (list of str).

    yanked, withdrawn
        The reason (str, may be empty) why its authors have withdrawn it from use, or None; whether the index does
        not offer it any more (bool).

    yanked_here
        The reason (str, may be empty) why the setting ``yanked`` keeps it from all but pins (==), or None.

    wanted_by
        Who wants it (list of str, ``REQUIREMENT (declared)`` first); empty for an orphan. Of a set that is not
        satisfied, only the declared requirements are told.

    undecided
        Whether nobody is known to want it, but a set is not satisfied, which may need it (bool).

    CLI Example:

    .. code-block:: bash

        salt-call pipmirror.wheels platform=debian-bookworm
    """
    from pipmirror_lib import reports

    return _ask(reports.wheels, mirror, platform, settings)


def why(project, mirror=None, platform=None, **settings):
    """
    Tell why a project is mirrored: every chain from a declared requirement to it, on each platform.

    project
        Its name (str), or the file name of one of its wheels.

    For ``mirror``, ``platform``, ``settings`` and what is raised see ``pipmirror.sync``; it is an error as well if
    nobody wants the project and none of its wheels lies there, and the error names those with similar names. Only the
    directory is asked, no index and no container.

    Returns ``{NAME: {...}}`` with, for each platform:

    project
        Its name, normalized (str).

    sets
        ``{SET: {satisfied, file, chains, more, missing}}`` for each requirement set that leads to the project:
        the ``file`` that serves it (str; None while the set is not satisfied), ``chains`` of requirements as they are
        written, each a list from a declared one to one of the project, the shortest first; ``more`` (bool) tells
        that there are more than these 1000; ``missing: {REQUIREMENT: reason}`` as in ``pipmirror.plan``, for the
        declared requirements that the chains begin with. Of a set that is not satisfied, the chains are those
        of the best wheels there.

    files
        ``{FILE: {version, size, origin, yanked}}`` of the project's wheels that lie there; ``origin`` is empty where a
        wheel is not recorded yet, ``yanked`` the reason (str, may be empty) of upstream or of the setting, or None.

    broken
        ``{FILE: reason}`` of its wheels that pip could not use.

    orphans
        Its wheels (file names, sorted) that no set needs.

    undecided
        Sets that are not satisfied (sorted as declared); while there are any, nobody can say what is an orphan.

    not_here
        Declared requirements of the project whose markers do not hold on this platform.

    similar
        Known projects of similar names, if this one is not known.

    note
        Why nothing more can be told of the platform; empty mostly.

    CLI Example:

    .. code-block:: bash

        salt-call pipmirror.why jinja2
        salt-call pipmirror.why jinja2-3.1.6-py3-none-any.whl platform=debian-bookworm
    """
    from pipmirror_lib import why as library

    answers = _ask(library.why, mirror, platform, settings, project=str(project))
    with _errors():
        library.check_known(str(project), answers)
    return answers


def platforms(mirror=None, pending=False, **settings):
    """
    Tell what is declared.

    pending : False
        True looks at what lies there as well, without container or network, and adds ``pending``.

    For ``mirror``, ``settings`` and what is raised see ``pipmirror.sync``.

    Returns ``{MIRROR: {target, highstate, engine_sls, parallel, platforms: {NAME: {image, directory, sets}}}}``, with
    ``pending`` beside ``platforms``: the names (list of str) of those whose sync would ask the index or start
    containers.

    CLI Example:

    .. code-block:: bash

        salt-call pipmirror.platforms
    """
    from pipmirror_lib import reports

    with _errors():
        found = {one.name: reports.platforms(one) for one in _mirrors(mirror, settings)}
        if pending:
            for one in _mirrors(mirror, settings):
                found[one.name]["pending"] = reports.pending(one)
        return found


def faults(**settings):
    """
    List what is wrong with the declaration: one line (str) for each fault, none if it is good.

    The return code is 1 if there is any.

    settings
        Any setting of the pillar, to be overridden.

    CLI Example:

    .. code-block:: bash

        salt-call pipmirror.faults
    """
    from pipmirror_lib.errors import faults_of

    found = faults_of(lambda: _mirrors(None, settings))
    if found:
        __context__["retcode"] = 1
    return found


def _mirrors(name, arguments):
    """The declared mirrors, or the one of that name, from arguments, pillar and minion configuration."""
    from pipmirror_lib import settings

    own = {key: value for key, value in arguments.items() if not key.startswith("__")}
    for key in ("packages", "constraints", "build_constraints", "no_binary"):
        if isinstance(own.get(key), str):  # one requirement on the command line needs no list around it
            own[key] = [own[key]]
    declared = settings.load(
        __pillar__.get("pipmirror"), __opts__.get("pipmirror"), own, __pillar__.get("_errors") or ()
    )
    return [settings.load_one(declared, str(name))] if name is not None else list(declared.values())


def _ask(question, mirror, platform, arguments, **options):
    """Ask the library about every mirror; with several, platforms are told apart as MIRROR:PLATFORM."""
    with _errors():
        mirrors, platform = _mirrors(mirror, arguments), _text(platform)
        answers = {}
        for one in _holding(mirrors, platform):
            prefix = f"{one.name}:" if len(mirrors) > 1 else ""
            answers.update({f"{prefix}{name}": answer for name, answer in question(one, platform, **options).items()})
        return answers


def _act(action, mirror, platform, arguments, **options):
    """Let the library act on every mirror, and set the return code."""
    _check_flags(**options)
    with _errors(), _progress() as tell:
        mirrors, platform = _mirrors(mirror, arguments), _text(platform)
        comments, results, good = [], {"platforms": {}}, True
        for one in _holding(mirrors, platform):
            prefix = f"{one.name}:" if len(mirrors) > 1 else ""
            done = action(one, platform, progress=_named(tell, prefix), **options)
            good = good and done["result"]
            comments.append(f"{prefix} {done['comment']}".strip())
            for part in sorted(done.keys() - {"result", "comment"}):
                found = {f"{prefix}{name}": result for name, result in done[part].items()}
                results.setdefault(part, {}).update(found)
    if not good:
        __context__["retcode"] = 1
    return {"result": good, "comment": "\n".join(comments), **results}


def _unused_images(mirror, arguments, test):
    """(builder images that no platform uses, what is to be said of them); removed unless ``test``."""
    from pipmirror_lib import sweep

    with _errors():
        declared = _declared(arguments)
        if declared is None:
            return {}, ["builder images were left alone: the pillar alone does not say which platforms there are"]
        return sweep.images(_mirrors(mirror, arguments), declared, test=test)


def _declared(arguments):
    """All mirrors, as the pillar has them and as this call has; None where the pillar alone does not say."""
    from pipmirror_lib.errors import SettingsError

    try:
        # This call's own settings must not make the pillar's platforms look as if nobody had declared them.
        return [*_mirrors(None, {}), *_mirrors(None, arguments)]
    except SettingsError:
        return None


def _check_flags(**flags):
    """A word that is no flag must not count as one: ``force=nein`` is not meant to force."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise CommandExecutionError(f"{name}: must be True or False, not {value!r}")


def _text(name):
    """The command line reads a platform called 12 as a number."""
    return None if name is None else str(name)


def _holding(mirrors, platform):
    """The mirrors that have the platform; where none has it, all of them, so that the error names what there is."""
    if platform is None:
        return mirrors
    holding = [one for one in mirrors if any(p.name == platform for p in one.platforms)]
    return holding or mirrors


def _errors():
    """The library's errors are written for administrators: Salt shows their text, not a traceback."""
    from pipmirror_lib.errors import raised_as

    return raised_as(CommandExecutionError)


@contextlib.contextmanager
def _progress():
    """
    Who is told what is done: a line of the terminal, or else the log; and a master, where there is one.
    """
    from pipmirror_lib import progress

    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(progress.shown(sys.stderr, log.info))]
        if _has_master():
            listeners.append(progress.Latest(BETWEEN_EVENTS, _send))

        def tell(step):
            for listener in listeners:
                listener(step)

        yield tell


def _named(tell, prefix):
    """Platforms by the names that they have in the answer."""
    return lambda step: tell(dataclasses.replace(step, platform=f"{prefix}{step.platform}"))


def _has_master():
    local = __opts__.get("local") or __opts__.get("file_client") == "local"
    return not (local and not __opts__.get("use_master_when_local")) and __opts__.get("master_type") != "disable"


def _send(steps):
    """
    What is done for each platform, as an event; a master that does not get it misses nothing but that.
    """
    platforms = {name: dataclasses.asdict(step) for name, step in steps.items()}
    for about in platforms.values():
        del about["platform"]
    try:
        __salt__["event.send"](EVENT, {"platforms": platforms})
    except Exception as error:
        log.debug("pipmirror: no event was sent: %s", error)
