"""One run of one command in a container: what is asked for, how it goes, and how it ends."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipmirror_lib import settings
from pipmirror_lib.engine_faults import translated
from pipmirror_lib.errors import EngineError
from pipmirror_lib.logs import Log
from pipmirror_lib.watch import Watch


@dataclass(frozen=True)
class Mount:
    """A directory or file of the host, seen from inside."""

    source: Path
    target: str
    read_only: bool = True


@dataclass(frozen=True)
class RunSpec:
    """One run of one command (an argument vector, never a shell line).

    `scratch` is a directory on disk for HOME and TMPDIR of a hardened run: a tmpfs would be mounted noexec,
    and configure scripts have to run what they compile. `groups` lets it read what only a group may read.
    """

    image: str
    command: tuple[str, ...]
    mounts: tuple[Mount, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    network: bool = False
    user: str = ""
    working_dir: str = ""
    hardened: bool = True
    limits: settings.Container = field(default_factory=settings.Container)
    platform: str = ""
    scratch: Path | None = None
    groups: tuple[int, ...] = ()
    log_path: Path | None = None
    name: str = "run"
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunResult:
    """How a run ended; `log` is what the log file holds."""

    exit_code: int
    log: str
    timed_out: bool
    oom_killed: bool
    # Why we have ended it ourselves, or would have; and whether it was refused a process.
    excess: str = ""
    pids_met: bool = False

    def exceeded(self, limits: settings.Container) -> str:
        """Which limit ended it, in words that follow `the build` and name the setting; '' where none did."""
        if self.excess:
            return self.excess
        if self.oom_killed:
            return f"ran out of memory at {limits.memory >> 20} MiB (container:memory)"
        if self.pids_met and (self.exit_code or self.timed_out):
            return f"was refused more than {limits.pids} processes (container:pids)"
        if self.timed_out:
            return f"did not end within {limits.timeout} seconds (container:timeout)"
        return ""


class Running:
    """One container between its creation and its removal; made by `Engine.container`."""

    def __init__(self, api: Any, name: str, spec: RunSpec) -> None:
        self._api = api
        self._name = name
        self._spec = spec

    def finish(self) -> RunResult:
        """Start it, copy its output into the log as it comes, and wait for its end."""
        with Log(self._spec.log_path) as log:
            with translated(f"start {self._spec.command[0]} in {self._spec.image}"):
                # Attached before the start, or the first lines are lost.
                stream = self._api.attach(self._name, stream=True, logs=False)
                copier = threading.Thread(target=_copy, args=(stream, log), daemon=True)
                copier.start()
                self._api.start(self._name)
            with self._watch() as watch, translated(f"wait for {self._spec.command[0]} in {self._spec.image}"):
                timed_out = self._wait()
            copier.join(timeout=30)
            with translated("inspect a container"):
                state = self._state()
                code, oom = int(state["ExitCode"]), bool(state.get("OOMKilled"))
        return RunResult(code, log.text, timed_out, oom, watch.excess, watch.pids_met)

    def commit(self, repository: str, tag: str, labels: Mapping[str, str]) -> str:
        """Keep the file system as an image; its id."""
        with translated(f"commit {repository}:{tag}"):
            # Whoever starts the image by hand wants a shell, not our command once more.
            changes = ['CMD ["/bin/sh"]', *(f"LABEL {key}={value}" for key, value in labels.items())]
            # The labels once more: Podman reads the changes only, as they stand, quotes and all.
            row = self._api.commit(self._name, repository, tag, changes=changes, conf={"Labels": dict(labels)})
            return str(row["Id"])

    def _state(self) -> Mapping[str, Any]:
        state: Mapping[str, Any] = self._api.inspect_container(self._name)["State"]
        return state

    def _watch(self) -> Watch:
        """For strangers' code; the administrator's own may write what it likes."""
        spec = self._spec
        writable = [mount.source for mount in spec.mounts if not mount.read_only]
        writable += [spec.scratch] if spec.scratch else []
        with translated("inspect a container"):
            pid = int(self._state().get("Pid") or 0)
        return Watch(writable if spec.hardened else (), spec.limits.disk, pid, self._kill)

    def _kill(self) -> None:
        # It may have ended by itself, and an engine that is gone is told by whoever waits for the end.
        with contextlib.suppress(EngineError), translated("kill a container"):
            self._api.kill(self._name)

    def _wait(self) -> bool:
        import requests

        limit = self._spec.limits.timeout
        end = time.monotonic() + limit
        while (left := end - time.monotonic()) > 0:
            try:
                self._api.wait(self._name, timeout=left)
            except (requests.ReadTimeout, requests.ConnectionError):
                # The SDK reports its own time limit as either; a dead engine answers no inspection.
                self._api.inspect_container(self._name)
            else:
                return False
        self._kill()
        self._api.wait(self._name, timeout=60)
        return True


def _copy(stream: Any, log: Log) -> None:
    # The engine closes the stream when the container goes; whatever else happens must not hide the run's end.
    with contextlib.suppress(Exception):
        for data in stream:
            log.write(data)
        stream.close()
