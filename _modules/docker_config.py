"""
Some keys of the engine's ``daemon.json``, beside whatever else an administrator keeps there.

What was there before stays known, in a record beside the file, so that a key that is declared no more gets its former
value back. A new file is tried by the engine itself before it takes the place of the old one.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import salt.utils.files
import salt.utils.path
from salt.exceptions import CommandExecutionError

__virtualname__ = "docker_config"

FILE = "/etc/docker/daemon.json"
PIDFILE = "/var/run/docker.pid"
UNIT = "docker.service"

# Engines before 23.0 have no --validate. Run by nobody in particular they read their file, all of it, and then refuse
# to start, before they touch anything.
_NOBODY = 65534
_REFUSAL = "needs to be started with root"
_SECONDS = 60
_LINES = 5

Values = dict[str, Any]


def __virtual__() -> str | tuple[bool, str]:
    if not hasattr(os, "setuid"):
        return False, "docker_config needs a Unix system"
    return __virtualname__


def manage(
    settings: Values | None = None,
    path: str = FILE,
    command: str = "dockerd",
    test: bool = False,
    pidfile: str = PIDFILE,
) -> dict[str, str]:
    """
    Give keys of the engine's configuration these values, and former ones back their own.

    settings
        Key and value (mapping) of everything that is declared; ``None`` as a value removes the key. Without it, all
        that was ever declared is taken back.

    path : /etc/docker/daemon.json
        The file (string). Where it is a symbolic link, what that points to.

    command : dockerd
        The engine's program (string), which is asked whether the file is good.

    test : False
        ``True`` (boolean) only tells what would be changed; the engine's program is asked if it is there.

    pidfile : /var/run/docker.pid
        The file (string) from which to tell whether the engine was started anew since the last change.

    Returns ``{KEY: "set" | "changed" | "removed" | "not read yet"}``, without values: they may hold passwords. The last
    is a change that the engine that runs has not seen, because the run that made it ended before the restart.

    Raises ``CommandExecutionError`` if the file is none that an engine could read, or if the engine refuses the new
    one; the old one then stays.

    CLI Example:

    .. code-block:: bash

        salt '*' docker_config.manage '{"log-driver": "local"}' test=True
    """
    notes = Path(f"{path}.salt")
    try:
        if not settings and not notes.exists():
            return {}
        if test:
            return _manage(settings or {}, path, notes, command, test, pidfile)
        with _alone(notes.parent):
            return _manage(settings or {}, path, notes, command, test, pidfile)
    except OSError as error:
        raise CommandExecutionError(f"{path} cannot be kept as it is declared: {error}") from error


def _manage(settings: Values, path: str, notes: Path, command: str, test: bool, pidfile: str) -> dict[str, str]:
    file = Path(os.path.realpath(path))
    present, record = _read(file), _read_record(notes)
    wanted, keys = merge(present or {}, record.get("keys", {}), settings)
    made = record.get("made", present is None)
    changes = _differences(present or {}, wanted)
    # What was there before needs no judge where no engine is left, nor does a test where none is yet.
    if changes and ((settings and not test) or salt.utils.path.which(command)):
        validate(wanted, command)
    engine = _generation(pidfile)
    unread = engine if changes else record.get("unread")
    if unread != engine or not engine:
        unread = None
    if not test:
        # Before the file and after it: a value that did not get into the file is only not ours.
        new_record = {"made": made, **({"unread": unread} if unread else {})}
        if changes:
            _note(notes, {**new_record, "keys": {**record.get("keys", {}), **keys}})
        if changes and not wanted and not keys and made:
            file.unlink()
        elif changes:
            _write(file, wanted, 0o644)
        _note(notes, {**new_record, "keys": keys})
    return changes or dict.fromkeys(["daemon.json"] if unread else [], "not read yet")


def _note(notes: Path, record: Values) -> None:
    """Write the record where it differs; none where there is nothing to be known."""
    if not record["keys"] and "unread" not in record:
        notes.unlink(missing_ok=True)
    elif record != _read(notes):
        _write(notes, record, 0o600)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep others out who would read before, and write after, what we write."""
    import fcntl  # POSIX only

    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _generation(pidfile: str) -> list[Any] | None:
    """Which start of the engine it is that runs; a clock that was set does not mislead it. None where none runs."""
    try:
        return [Path(pidfile).read_text().strip(), Path(pidfile).stat().st_mtime_ns]
    except FileNotFoundError:
        return None


def merge(present: Values, keys: Values, settings: Values) -> tuple[Values, Values]:
    """
    Compute what the configuration becomes, and what has to be known to take that back.

    present
        What the file holds (mapping).

    keys
        What an earlier call returned beside the configuration (mapping); empty at first.

    settings
        What is declared (mapping).

    Returns both. What somebody else has changed since is theirs, and stays.

    CLI Example:

    .. code-block:: bash

        salt '*' docker_config.merge '{"a": 1}' '{}' '{"b": 2}'
    """
    base = dict(present)
    for key, told in keys.items():
        now = base.get(key, ...)
        # The latter where a run ended between the record and the file.
        ours = now == told.get("set", ...) or ("former" in told and now == told["former"])
        if ours and "before" in told:
            base[key] = told["before"]
        elif ours:
            base.pop(key, None)
    wanted, taken = {**base, **settings}, {}
    for key, value in settings.items():
        taken[key] = {"before": base[key]} if key in base else {}
        if key in present and present[key] not in (value, base.get(key, ...)):
            taken[key]["former"] = present[key]
        if value is None:
            del wanted[key]
        else:
            taken[key]["set"] = value
    return wanted, taken


def validate(settings: Values, command: str = "dockerd") -> None:
    """
    Have the engine's program judge a configuration; no engine is started.

    settings
        Everything (mapping) that the file would hold.

    command : dockerd
        The engine's program (string).

    Raises ``CommandExecutionError``, with what the program says, if it refuses.

    CLI Example:

    .. code-block:: bash

        salt '*' docker_config.validate '{"log-driver": "local"}'
    """
    program = salt.utils.path.which(command)
    if not program:
        raise CommandExecutionError(f"{command} is not installed, so nothing can judge its configuration")
    options = _options_of_the_unit()
    with tempfile.TemporaryDirectory(prefix="docker-config-") as directory:
        file = Path(directory, "daemon.json")
        _write(file, settings, 0o600)
        words = [*options, "--config-file", str(file)]
        code, said = _run([program, "--validate", *words])
        if code and "unknown flag: --validate" in said:
            os.chown(directory, _NOBODY, -1)
            os.chown(file, _NOBODY, -1)
            code, said = _run([program, *words], user=_NOBODY, group=_NOBODY, extra_groups=[])
            code = 0 if _REFUSAL in said else code
        if code:
            last = "\n".join(said.replace(str(file), "daemon.json").splitlines()[-_LINES:])
            beside = f" (beside the options {shlex.join(options)} of {UNIT})" if options else ""
            raise CommandExecutionError(
                f"docker:daemon: {command} refuses this configuration{beside}; correct it:\n{last}"
            )


def _options_of_the_unit() -> list[str]:
    """What systemd starts the engine with: a key of daemon.json is refused beside the option of that name."""
    systemctl = salt.utils.path.which("systemctl")
    if not systemctl or not os.path.isdir("/run/systemd/system"):
        return []
    _, said = _run([systemctl, "show", "--property=ExecStart", UNIT])
    match = re.search(r"argv\[\]=(.+?) ; ", said)
    _program, *words = match[1].split() if match else [""]
    # Variables of its environment are not known here.
    return [word for word in words if not word.startswith("$")]


def _run(command: list[str], **options: Any) -> tuple[int, str]:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd="/",
            timeout=_SECONDS,
            check=False,
            **options,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise CommandExecutionError(f"{command[0]} could not be asked about its configuration: {error}") from error
    return done.returncode, done.stdout


def _read(file: Path) -> Values | None:
    """What it holds; None where there is none."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CommandExecutionError(f"{file} cannot be read: {error}") from error
    try:
        values = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise CommandExecutionError(f"{file} is no JSON: {error}; correct or remove it") from error
    if not isinstance(values, dict):
        raise CommandExecutionError(f"{file} must hold a mapping; correct or remove it")
    return values


def _read_record(notes: Path) -> Values:
    record = _read(notes) or {}
    keys = record.get("keys", {})
    if not isinstance(keys, dict) or not all(isinstance(told, dict) for told in keys.values()):
        raise CommandExecutionError(f"{notes} is no record of this state's; remove it")
    return record


def _write(file: Path, values: Values, mode: int) -> None:
    """All of it or nothing; mode and owner of a file that was there stay."""
    text = json.dumps(values, indent=2) + "\n"
    with salt.utils.files.fopen(f"{file}.new", "w", encoding="utf-8", opener=_private) as stream:
        stream.write(text)
        if file.exists():
            before = file.stat()
            os.fchown(stream.fileno(), before.st_uid, before.st_gid)
            mode = before.st_mode & 0o777
        os.fchmod(stream.fileno(), mode)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(f"{file}.new", file)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _differences(old: Values, new: Values) -> dict[str, str]:
    told = {key: "changed" if key in old else "set" for key in new if key not in old or old[key] != new[key]}
    return {**told, **{key: "removed" for key in old if key not in new}}
