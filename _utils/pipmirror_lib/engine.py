"""The Docker Engine API: images, and containers that are always removed again.

Two kinds of container. A plain one runs the administrator's own command, as root and with network.
A *hardened* one runs strangers' code: unprivileged, within limits, without capabilities, a writable root or
(unless granted) network. The docker SDK costs 0.2 s, so it is imported when an engine is first asked for.
https://docs.docker.com/reference/api/engine/
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pipmirror_lib import processes
from pipmirror_lib.engine_faults import docker_errors, json_lines, raise_reported, translated, unreachable
from pipmirror_lib.errors import EngineError, ImageError, Interrupted, MirrorError
from pipmirror_lib.running import Mount, Running, RunResult, RunSpec

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = [
    "LABEL",
    "NOBODY",
    "Engine",
    "ImageInfo",
    "Mount",
    "RunResult",
    "RunSpec",
    "Running",
    "give_away",
    "oci_platform",
]

LABEL = "org.pipmirror"
OWNER_LABEL = f"{LABEL}.owner"
SCRATCH = "/pipmirror/scratch"
# Seconds: a commit or an import of a large image is silent until it is done.
PATIENCE = 1800
# The numbers, not the name: a minimal image need not know `nobody`.
NOBODY = 65534
_MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "i386": "386",
    "i686": "386",
    "ppc64el": "ppc64le",
    "armhf": "arm/v7",
    "armv7l": "arm/v7",
    "armel": "arm/v5",
}
HARDENED_ENVIRONMENT = {
    "HOME": f"{SCRATCH}/home",
    "TMPDIR": f"{SCRATCH}/tmp",  # noqa: S108
    "USER": "nobody",
    "LOGNAME": "nobody",
    "LANG": "C.UTF-8",
    # The first moment that a zip archive can record.
    "SOURCE_DATE_EPOCH": "315532800",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    # What an image says here is for its own programs; empty is as good as unset.
    "PYTHONHOME": "",
    "PYTHONPATH": "",
}


@dataclass(frozen=True)
class ImageInfo:
    """What the engine knows of an image."""

    id: str
    labels: Mapping[str, str]
    created: datetime
    architecture: str
    size: int = 0
    tags: tuple[str, ...] = ()


class Engine:
    """A connection to one container engine."""

    def __init__(self, client: DockerClient) -> None:
        # The published type stubs leave half of the low-level client untyped.
        self._api: Any = client.api
        self._cpus = 0.0
        # Where it is set, no container is made any more.
        self.stopped = threading.Event()

    @classmethod
    def connect(cls, url: str = "") -> Engine:
        """Reach the engine at `url`, or else DOCKER_HOST or the usual socket; EngineError says what to do."""
        try:
            import docker
        except ImportError as error:
            raise EngineError(
                "the Python package docker is missing in Salt's interpreter; apply the pipmirror.python state"
            ) from error
        import requests

        try:
            client = docker.DockerClient(base_url=url, timeout=20) if url else docker.from_env(timeout=20)
            client.ping()
        except (docker.errors.DockerException, requests.RequestException, OSError, ValueError) as error:
            raise EngineError(unreachable(error, url)) from error
        client.api.timeout = PATIENCE
        return cls(client)

    def close(self) -> None:
        self._api.close()

    @property
    def architecture(self) -> str:
        """The engine's own."""
        with translated("ask the engine for its version"):
            return str(self._api.version()["Arch"])

    @property
    def is_local(self) -> bool:
        """Whether it is reached by a socket of this machine."""
        return str(self._api.base_url) == "http+docker://localhost"

    def image(self, reference: str) -> ImageInfo | None:
        """The image of that name or id, or None."""
        with translated(f"image {reference}"):
            try:
                return _info(self._api.inspect_image(reference))
            except docker_errors().ImageNotFound:
                return None

    def find(self, labels: Mapping[str, str]) -> list[ImageInfo]:
        """All images that carry these labels, newest first."""
        with translated("list images"):
            numbers = [str(row["Id"]) for row in self._api.images(filters={"label": _label_filter(labels)})]
        found = [self.image(number) for number in numbers]
        return sorted((info for info in found if info), key=lambda info: info.created, reverse=True)

    def pull(self, reference: str, platform: str = "") -> ImageInfo:
        """Fetch an image from its registry; ImageError carries the engine's own words."""
        with translated(f"pull {reference}", ImageError):
            lines = self._api.pull(reference, stream=True, decode=True, platform=oci_platform(platform) or None)
            raise_reported(lines)
        info = self.image(reference)
        if info is None:
            raise ImageError(f"pull {reference}: the engine reports success, yet has no such image")
        return info

    def import_tar(
        self,
        source: Path | IO[bytes],
        repository: str,
        tag: str,
        *,
        labels: Mapping[str, str] | None = None,
        changes: Iterable[str] = (),
        platform: str = "",
    ) -> str:
        """Make an image of one layer from a tar archive of a root file system; its id."""
        changes = [*changes, *(f"LABEL {key}={_quoted(value)}" for key, value in (labels or {}).items())]
        params: dict[str, Any] = {"fromSrc": "-", "repo": repository, "tag": tag, "changes": changes}
        if platform:
            # The reason for not calling the SDK's import_image: it cannot say which platform.
            params["platform"] = oci_platform(platform)
        api = self._api
        with contextlib.ExitStack() as stack, translated(f"import {repository}:{tag}", ImageError):
            stream = stack.enter_context(open(source, "rb")) if isinstance(source, Path) else source
            url = f"{api.base_url}/v{api.api_version}/images/create"
            chunks = iter(lambda: stream.read(1 << 20), b"")
            headers = {"Content-Type": "application/x-tar"}
            response = api.post(url, params=params, data=chunks, headers=headers, timeout=api.timeout)
            raise_reported(json_lines(response.text))
        info = self.image(f"{repository}:{tag}")
        if info is None:
            raise ImageError(f"import {repository}:{tag}: the engine reports success, yet has no such image")
        return info.id

    def tag(self, image: str, repository: str, tag: str) -> None:
        """Give an image a name, which another one may lose by that."""
        with translated(f"tag {image} as {repository}:{tag}"):
            self._api.tag(image, repository, tag, force=True)

    def remove_image(self, reference: str) -> bool:
        """Remove an image; False where it was gone already, EngineError where a container uses it."""
        with translated(f"remove image {reference}"):
            try:
                self._api.remove_image(reference)
            except docker_errors().NotFound:  # Podman words it otherwise than Docker does
                return False
        return True

    def remove_containers(self, labels: Mapping[str, str]) -> list[str]:
        """Remove what a killed run left behind: our containers with these labels, even running; their ids."""
        wanted = _label_filter({LABEL: "1", **labels})
        with translated("list containers"):
            numbers = [str(row["Id"]) for row in self._api.containers(all=True, filters={"label": wanted})]
        for number in numbers:
            self._remove(number)
        return numbers

    def remove_own(self) -> list[str]:
        """End and remove the containers of this very process; their ids."""
        return self.remove_containers({OWNER_LABEL: processes.owner()})

    def abandoned(self) -> dict[str, str]:
        """{id: name} of the containers of runs on this machine that were killed before they could remove them."""
        with translated("list containers"):
            rows = self._api.containers(all=True, filters={"label": _label_filter({LABEL: "1"})})
            owners = [(row, (row.get("Labels") or {}).get(OWNER_LABEL, "")) for row in rows]
            # An engine elsewhere may serve another machine of our name.
            gone = (row for row, owner in owners if processes.is_gone(owner, shared=not self.is_local))
            return {row["Id"]: ", ".join(name.lstrip("/") for name in row.get("Names") or ()) for row in gone}

    def remove_abandoned(self) -> dict[str, str]:
        """Remove them; {id: name}."""
        abandoned = self.abandoned()
        for container in abandoned:
            self._remove(container)
        return abandoned

    def run(self, spec: RunSpec) -> RunResult:
        """Run the command to its end, or to its time limit; the container is removed whatever happens."""
        with self.container(spec) as container:
            return container.finish()

    @contextlib.contextmanager
    def container(self, spec: RunSpec) -> Iterator[Running]:
        """A container made but not started, for a run whose result is to be committed; removed at the end."""
        if self.stopped.is_set():
            raise Interrupted
        # The name is ours, so that we can remove it even if we are interrupted before its id arrives.
        name = f"pipmirror-{re.sub('[^a-zA-Z0-9_.-]+', '-', spec.name)}-{uuid.uuid4().hex[:12]}"
        try:
            with translated(f"create a container of {spec.image}"):
                self._create(name, spec)
            yield Running(self._api, name, spec)
        except EngineError:
            with contextlib.suppress(EngineError):  # where the engine is gone, the next run removes it
                self._remove(name)
            raise
        except BaseException:
            self._remove(name)
            raise
        self._remove(name)

    def _create(self, name: str, spec: RunSpec) -> None:
        environment = {**(HARDENED_ENVIRONMENT if spec.hardened else {}), **spec.environment}
        self._api.create_container(
            spec.image,
            # Resets the image's own ENTRYPOINT, which would take our command for its arguments.
            entrypoint=[""],
            command=list(spec.command),
            name=name,
            user=spec.user or (f"{NOBODY}:{NOBODY}" if spec.hardened else ""),
            environment=environment,
            working_dir=spec.working_dir or (SCRATCH if spec.hardened else None),
            labels={**spec.labels, LABEL: "1", OWNER_LABEL: processes.owner()},
            host_config=self._host_config(spec),
            platform=oci_platform(spec.platform) or None,
            # The client's proxy settings may hold a password, which is none of strangers' code's business.
            use_config_proxy=spec.network and not spec.hardened,
        )

    def _host_config(self, spec: RunSpec) -> dict[str, Any]:
        from docker import types

        options: dict[str, Any] = {
            # Not as `binds`, where a colon in a path would separate.
            "mounts": [types.Mount(m.target, str(m.source), "bind", m.read_only) for m in _mounts(spec)],
            "network_mode": "default" if spec.network else "none",
            # We listen ourselves; the engine's own copy of the log has no limit.
            "log_config": types.LogConfig(type="none"),
        }
        if spec.hardened:
            options.update(
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                read_only=True,
                mem_limit=spec.limits.memory,
                memswap_limit=spec.limits.memory,
                pids_limit=spec.limits.pids,
                nano_cpus=int(min(spec.limits.cpus, self._processors()) * 1_000_000_000),
                group_add=[str(group) for group in spec.groups],
                # A file beyond this fails at once; the sum of all is watched. A core would go where the machine says.
                ulimits=[
                    types.Ulimit(name=name, soft=n, hard=n) for name, n in (("fsize", spec.limits.disk), ("core", 0))
                ],
                ipc_mode="private",
            )
        return dict(self._api.create_host_config(**options))

    def _processors(self) -> float:
        """How many there are: the engine refuses a limit beyond."""
        if not self._cpus:
            self._cpus = float(self._api.info().get("NCPU") or 1)
        return self._cpus

    def _remove(self, name: str) -> None:
        with translated(f"remove container {name}"):
            try:
                self._api.remove_container(name, v=True, force=True)
            except docker_errors().NotFound:
                return
            except docker_errors().APIError as error:
                # 409: somebody else is removing it already.
                if error.status_code != 409:
                    raise


def oci_platform(architecture: str) -> str:
    """`linux/arm64` for arm64, aarch64 or linux/arm64; '' for the engine's own."""
    if not architecture or architecture.startswith("linux/"):
        return architecture
    return "linux/" + _MACHINES.get(architecture, architecture)


def give_away(directory: Path, user: int | None = NOBODY, group: int | None = NOBODY) -> Path:
    """Make a directory that a hardened container, or that user, may write to; None is ourselves."""
    directory.mkdir(parents=True, exist_ok=True)
    if user is None or group is None:
        return directory
    if os.name == "posix" and os.geteuid() == 0:
        try:
            os.chown(directory, user, group)
        except PermissionError as error:
            raise MirrorError(
                f"cannot give {directory} to the containers' user: its file system keeps no owners, or lets nobody "
                "change them (FAT, exFAT, NFS with root_squash); choose another target"
            ) from error
    else:
        directory.chmod(0o777)
    return directory


def _mounts(spec: RunSpec) -> tuple[Mount, ...]:
    if spec.hardened and spec.scratch is not None:
        for inner in (spec.scratch, spec.scratch / "home", spec.scratch / "tmp"):
            give_away(inner)
        return (*spec.mounts, Mount(spec.scratch, SCRATCH, read_only=False))
    return spec.mounts


def _info(row: Mapping[str, Any]) -> ImageInfo:
    labels = (row.get("Config") or {}).get("Labels") or {}
    architecture = "/".join(filter(None, (row.get("Architecture"), row.get("Variant"))))
    made = _moment(str(row.get("Created", "")))
    tags = tuple(map(str, row.get("RepoTags") or ()))
    return ImageInfo(str(row["Id"]), dict(labels), made, architecture, int(row.get("Size") or 0), tags)


def _moment(text: str) -> datetime:
    """RFC 3339 with nanoseconds, which Python before 3.11 cannot read."""
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|([+-])(\d\d):(\d\d))?", text)
    if not match:
        return datetime.fromtimestamp(0, timezone.utc)
    moment = datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    if not match[2]:
        return moment
    offset = timedelta(hours=int(match[3]), minutes=int(match[4]))
    return moment - offset if match[2] == "+" else moment + offset


def _label_filter(labels: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in labels.items()]


def _quoted(value: str) -> str:
    return '"' + re.sub(r'(["\\$])', r"\\\1", value) + '"'
