"""What is mounted below a directory: nothing is removed through it, for it may be the host's own /proc."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from pipmirror_lib.errors import MirrorError


def below(root: Path) -> list[Path]:
    table = Path("/proc/self/mountinfo")
    if not table.exists():
        return []
    # Not `splitlines`: a mount point, which may be anybody's, holds what other than the kernel's own ends a line.
    lines = table.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    fields = (line.split(" ")[4] for line in lines if line)
    points = (re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text) for text in fields)
    # Downloads are removed by the hundred, beside the mounts of as many containers.
    real = f"{root.resolve()}/".replace("//", "/")
    return [Path(point) for point in points if point.startswith(real)]


def remove(root: Path) -> None:
    """Unmount what debootstrap has left there; MirrorError where it cannot be had away."""
    points = below(root)
    for point in reversed(points):
        subprocess.run(["umount", "--", str(point)], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if left := points and below(root):
        raise MirrorError(f"{left[0]} is still mounted; unmount it and remove {root}")
