"""What a run may leave behind on the machine beside its mirror: nothing."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from pipmirror_lib import mounts, processes
from pipmirror_lib.engine import LABEL, OWNER_LABEL

from tests.support.site import PLATFORM, Site


def docker(*words: str, host: str = "") -> str:
    at = ("--host", host) if host else ()
    return subprocess.run(["docker", *at, *words], capture_output=True, text=True, timeout=60, check=True).stdout


def containers(host: str = "") -> dict[str, str]:
    """{name: owner} of ours, whether they run or not."""
    shown = docker("ps", "--all", "--filter", f"label={LABEL}=1", "--format", "{{json .}}", host=host)
    rows = [json.loads(line) for line in shown.splitlines()]
    owners = (
        dict(label.partition("=")[::2] for label in row["Labels"].split(",")).get(OWNER_LABEL, "") for row in rows
    )
    return dict(zip((row["Names"] for row in rows), owners, strict=True))


def abandoned(host: str = "") -> list[str]:
    """Containers of processes that are no more; others may be of tests beside this one."""
    return [name for name, owner in containers(host).items() if processes.is_gone(owner)]


def nameless(host: str = "") -> set[str]:
    """Images of ours that have lost their name; a run elsewhere may still use one that was there before."""
    wanted = ("--filter", "dangling=true", "--filter", f"label={LABEL}")
    return set(docker("images", "--quiet", "--no-trunc", *wanted, host=host).split())


def running_below(directory: Path) -> list[str]:
    """Command lines that name the directory, but for this process's own."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue  # it has ended just now
            if f"{directory}/" in words:
                found.append(words)
    return found


def nothing_left(site: Site, platform: str = PLATFORM, host: str = "") -> None:
    """No containers, processes, mounts, staging, downloads or parts of files."""
    assert abandoned(host) == []
    assert nameless(host) <= site.nameless
    assert until(lambda: not running_below(site.directory)), running_below(site.directory)
    assert mounts.below(site.directory) in ([], [site.target])
    private = site.private(platform)
    assert [path for name in ("staging", "work") for path in (private / name).iterdir() if path.is_dir()] == []
    assert not (private / "holder").exists()
    assert [path.name for path in (private.parent / ".downloads").glob("*")] in ([], ["lock"])
    assert [path for path in site.target.rglob("*") if path.name.endswith((".tmp", ".part"))] == []


def until(true: Callable[[], object], seconds: float = 60) -> bool:
    """Wait for what happens elsewhere; False if it never did."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
