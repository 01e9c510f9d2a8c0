"""Whether an engine can run what is made for another architecture: the kernel must know an emulator for it.

https://docs.kernel.org/admin-guide/binfmt-misc.html
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipmirror_lib.engine import Engine, oci_platform
from pipmirror_lib.errors import ImageError

BINFMT = Path("/proc/sys/fs/binfmt_misc")
# What such processors run themselves.
_NATIVE = {"linux/amd64": ("linux/386",), "linux/arm64": ("linux/arm/v7", "linux/arm/v6", "linux/arm/v5")}
_QEMU = {
    "linux/amd64": "x86_64",
    "linux/386": "i386",
    "linux/arm64": "aarch64",
    "linux/arm/v7": "arm",
    "linux/arm/v6": "arm",
    "linux/arm/v5": "arm",
    "linux/ppc64le": "ppc64le",
    "linux/s390x": "s390x",
    "linux/riscv64": "riscv64",
}


def is_foreign(engine: Engine, architecture: str) -> bool:
    """Whether it is another one than the engine's own."""
    return bool(architecture) and _plain(architecture) != _plain(engine.architecture)


def is_native(engine: Engine, architecture: str) -> bool:
    """Whether the engine's own processor runs it, whichever variant of it that is."""
    own = _plain(engine.architecture)
    return _family(architecture) in {_family(one) for one in (own, *_NATIVE.get(own, ()))}


def check(engine: Engine, architecture: str) -> None:
    """ImageError, which says what to install, where nothing could be run; of an engine elsewhere nobody can tell."""
    wanted, own = _plain(architecture), _plain(engine.architecture)
    if not is_foreign(engine, architecture) or wanted in _NATIVE.get(own, ()):
        return
    if sys.platform != "linux" or not engine.is_local or _known(_QEMU.get(wanted, wanted.rpartition("/")[2])):
        return
    mounted = "" if (BINFMT / "status").exists() else f" and mount binfmt_misc on {BINFMT}"
    raise ImageError(
        f"architecture {architecture} is not this machine's ({own.removeprefix('linux/')}), and its kernel knows no "
        f"emulator for it; install qemu-user-static and binfmt-support{mounted}"
    )


def _plain(architecture: str) -> str:
    platform = oci_platform(architecture)
    return {"linux/arm64/v8": "linux/arm64", "linux/arm": "linux/arm/v7"}.get(platform, platform)


def _family(architecture: str) -> str:
    """`arm` of linux/arm/v7."""
    return oci_platform(architecture).split("/")[1]


def _known(machine: str) -> bool:
    """An entry that is fixed (F): another one looks for its emulator inside the container."""
    try:
        lines = (BINFMT / f"qemu-{machine}").read_text().splitlines()
    except OSError:
        return False
    return "enabled" in lines and any(line.startswith("flags:") and "F" in line for line in lines)
