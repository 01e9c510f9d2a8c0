"""Where base images come from: the engine itself, a registry, or a distribution's own archive.

`debootstrap` needs no registry, only a package mirror such as every Debian or Ubuntu host uses anyway; which
one, is for debootstrap's own defaults to say.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, cast

from pipmirror_lib import children, emulation, settings
from pipmirror_lib.engine import LABEL, Engine, ImageInfo, oci_platform
from pipmirror_lib.errors import EngineError, ImageError
from pipmirror_lib.logs import harmless
from pipmirror_lib.mirror import discard

Progress = Callable[[str], None]

SUITE_LABEL = f"{LABEL}.suite"
# Engines before 23.0 record their own architecture for whatever is imported.
ARCHITECTURE_LABEL = f"{LABEL}.architecture"
# Where base images of another architecture than the engine's own have their names.
FOREIGN = "pipmirror-base"
DEBOOTSTRAPPED_LABEL = f"{LABEL}.debootstrapped"
_SUITE = re.compile(r"[a-z][a-z0-9.-]*")
_NUMBERED = {
    "debian": {"10": "buster", "11": "bullseye", "12": "bookworm", "13": "trixie", "latest": "stable"},
    "ubuntu": {
        "18.04": "bionic",
        "20.04": "focal",
        "22.04": "jammy",
        "24.04": "noble",
    },
}
# How the engine words that it did not get through to a registry, as opposed to what a registry answered.
_OUT_OF_REACH = re.compile(
    r"dial (tcp|udp)|no such host|server misbehaving|name resolution|connection (refused|reset)|proxyconnect"
    r"|network is unreachable|no route to host|i/o timeout|handshake timeout|deadline exceeded"
    r"|Client\.Timeout|request canceled",
    re.IGNORECASE,
)
_DEB_ARCHITECTURES = {
    "linux/amd64": "amd64",
    "linux/arm64": "arm64",
    "linux/386": "i386",
    "linux/arm/v7": "armhf",
    "linux/arm/v5": "armel",
    "linux/ppc64le": "ppc64el",
    "linux/s390x": "s390x",
    "linux/riscv64": "riscv64",
}
# Packages must not start services while they install, and what is only cached stays out of the image.
_POLICY = "#!/bin/sh\nexit 101\n"
_LEFT_OUT = ("./dev/*", "./proc/*", "./sys/*", "./var/cache/apt/archives/*.deb", "./var/lib/apt/lists/*_*")


@dataclass(frozen=True)
class BaseImage:
    """A base image that the engine holds, and where it came from: local, registry or debootstrap."""

    id: str
    source: str


def ensure(
    engine: Engine, platform: settings.Platform, workdir: Path, progress: Progress, *, refresh: bool = False
) -> BaseImage:
    """Have the platform's base image, from the sources that `image_source` allows.

    A registry is asked every time, the others when the image is missing. `refresh` makes a debootstrapped
    image anew where the setting is `debootstrap`; with `auto`, what the engine holds is never replaced.
    """
    emulation.check(engine, platform.architecture)
    local = present(engine, platform)
    if platform.image_source == "registry":
        return _pulled(engine, platform, progress)
    if platform.image_source == "debootstrap":
        if local and not refresh:
            return local
        return _debootstrapped(engine, platform, workdir, progress)
    if local:
        return local
    if platform.image_source == "local":
        raise ImageError(
            f"image {platform.image} is not on this machine; load it (docker load), or set image_source to registry "
            f"(pull it){' or debootstrap (make it from packages)' if suite_of(platform.image) else ''}"
        )
    return _pulled_or_made(engine, platform, workdir, progress)


def present(engine: Engine, platform: settings.Platform) -> BaseImage | None:
    """The base image that the engine holds already, if it is of the right architecture and origin."""
    found = (engine.image(name) for name in dict.fromkeys((platform.image, _held_as(engine, platform))))
    info = next((info for info in found if info and _fits(engine, info, platform.architecture)), None)
    if info is None:
        return None
    source = "debootstrap" if DEBOOTSTRAPPED_LABEL in info.labels else "local"
    # Whoever insists on debootstrap does not mean an image of the same name from elsewhere.
    wanted = platform.image_source != "debootstrap" or source == "debootstrap"
    return BaseImage(info.id, source) if wanted else None


def suite_of(image: str) -> tuple[str, str] | None:
    """(distribution, suite) of `debian:SUITE`, `ubuntu:24.04`, `debian:12-slim` …; None for other images."""
    repository, _, tag = image.partition(":")
    distribution = repository.removeprefix("library/")
    if distribution not in _NUMBERED:
        return None
    tag = (tag or "latest").removesuffix("-slim")
    suite = _NUMBERED[distribution].get(tag, tag)
    # A suite becomes an argument of debootstrap and a file name below its scripts.
    return (distribution, suite) if _SUITE.fullmatch(suite) and suite != "latest" else None


def out_of_reach(message: str) -> bool:
    """Whether a pull failed because no registry answered (rather than answered no)."""
    return bool(_OUT_OF_REACH.search(message))


def _fits(engine: Engine, info: ImageInfo, architecture: str) -> bool:
    wanted, have = oci_platform(architecture).removeprefix("linux/"), _architecture(info)
    if not wanted:  # whatever the engine runs itself; an image that was imported long ago may not say
        return not have or emulation.is_native(engine, have)
    # `arm64` and `arm64/v8` are the same machine.
    return have == wanted or have.startswith(wanted + "/")


def _architecture(info: ImageInfo) -> str:
    return info.labels.get(ARCHITECTURE_LABEL) or info.architecture


def _held_as(engine: Engine, platform: settings.Platform) -> str:
    """The name under which the engine holds it: one name is one image, and the usual one is the machine's own."""
    if not emulation.is_foreign(engine, platform.architecture):
        return platform.image
    tag = re.sub(r"[^a-z0-9_.-]+", "-", f"{platform.image}-{oci_platform(platform.architecture)}".lower())
    return f"{FOREIGN}:{tag[-128:].lstrip('.-')}"


def _pulled(engine: Engine, platform: settings.Platform, progress: Progress) -> BaseImage:
    progress(f"pulling {platform.image}")
    before, held_as = engine.image(platform.image), _held_as(engine, platform)
    pulled = engine.pull(platform.image, platform.architecture)
    fits = _fits(engine, pulled, platform.architecture)
    if held_as != platform.image:
        if fits:
            engine.tag(pulled.id, *held_as.split(":"))
        if before and before.id != pulled.id and "@" not in platform.image:
            engine.tag(before.id, *_name_and_tag(platform.image))
    if not fits:  # the registry has no other, or somebody else has pulled the same name meanwhile
        raise ImageError(
            f"pull {platform.image}: what came is for {_architecture(pulled)}, not for "
            f"{platform.architecture or engine.architecture}; say in `architecture` which one the platform is"
        )
    return BaseImage(pulled.id, "registry")


def _name_and_tag(image: str) -> tuple[str, str]:
    path, slash, last = image.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{path}{slash}{name}", tag or "latest"


def _pulled_or_made(engine: Engine, platform: settings.Platform, workdir: Path, progress: Progress) -> BaseImage:
    try:
        return _pulled(engine, platform, progress)
    except EngineError as error:
        if not out_of_reach(str(error)):
            raise
        if suite_of(platform.image) is None:
            raise ImageError(
                f"image {platform.image} is not on this machine, and no registry is in reach ({error}); "
                "load it with docker load"
            ) from error
        unreached = str(error)
    progress(f"no registry in reach, making {platform.image} with debootstrap")
    try:
        return _debootstrapped(engine, platform, workdir, progress)
    except ImageError as error:
        raise ImageError(f"{error}; before that, no registry was in reach ({unreached}). Is the name right?") from error


def _debootstrapped(engine: Engine, platform: settings.Platform, workdir: Path, progress: Progress) -> BaseImage:
    known = suite_of(platform.image)
    if known is None:
        raise ImageError(
            f"image {platform.image} cannot be made with debootstrap, only debian:SUITE and ubuntu:SUITE "
            "can; use image_source local or registry"
        )
    program = shutil.which("debootstrap")
    if program is None:
        raise ImageError(
            f"image {platform.image} is to be made with debootstrap, which is not installed; "
            "install the package debootstrap, or load the image with docker load"
        )
    workdir.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="debootstrap-", dir=workdir))
    # It becomes the image's root directory, which others than root must be able to enter.
    root.chmod(0o755)
    try:
        log_path = workdir / f"debootstrap-{known[1]}.log"
        _bootstrap(program, platform, known[1], root, log_path=log_path, progress=progress)
        progress(f"importing {platform.image}")
        return BaseImage(_import(engine, platform, known[1], root), "debootstrap")
    finally:
        discard(root)


def _bootstrap(
    program: str, platform: settings.Platform, suite: str, root: Path, *, log_path: Path, progress: Progress
) -> None:
    # Without the last option, an archive whose keyring is not installed would be trusted unseen.
    command = [program, "--variant=minbase", "--force-check-gpg"]
    if platform.architecture:
        wanted = oci_platform(platform.architecture)
        command.append(f"--arch={_DEB_ARCHITECTURES.get(wanted, wanted.removeprefix('linux/'))}")
    command += [suite, str(root)]
    command = children.contained(command)
    progress(f"debootstrap {suite} (a minute or two)")
    with open(log_path, "wb") as log:
        code = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=False
        ).returncode
    if code:
        text = harmless(log_path.read_text("utf-8", "replace"))
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        reason = next((line for line in reversed(lines) if line.startswith("E:")), lines[-1] if lines else "no output")
        raise ImageError(f"image {platform.image}: debootstrap {suite} failed ({reason}); its log is {log_path}")
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text(_POLICY)
    policy.chmod(0o755)


def _import(engine: Engine, platform: settings.Platform, suite: str, root: Path) -> str:
    command = ["tar", "--numeric-owner", "--one-file-system", "-C", str(root)]
    command += [*(f"--exclude={pattern}" for pattern in _LEFT_OUT), "-cf", "-", "."]
    repository, tag = _name_and_tag(_held_as(engine, platform))
    made = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as archive:
        image = engine.import_tar(
            cast(IO[bytes], archive.stdout),
            repository,
            tag,
            labels={
                SUITE_LABEL: suite,
                DEBOOTSTRAPPED_LABEL: made,
                ARCHITECTURE_LABEL: oci_platform(platform.architecture or engine.architecture).removeprefix("linux/"),
            },
            changes=['CMD ["bash"]'],
            platform=platform.architecture,
        )
    if archive.returncode:
        engine.remove_image(image)
        raise ImageError(f"image {platform.image}: tar of {root} failed with exit code {archive.returncode}")
    return image
