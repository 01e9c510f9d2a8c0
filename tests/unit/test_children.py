"""Whoever is killed alone takes the programs along that it has started, and what they have mounted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pipmirror_lib import children, mounts
from pipmirror_lib.errors import MirrorError
from pipmirror_lib.mirror import discard

needs_setpriv = pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv")
privileged = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


def until(true: Callable[[], bool]) -> bool:
    for _ in range(200):
        if true():
            return True
        time.sleep(0.05)
    return False


def killed(how: str, command: list[str], ready: Callable[[], bool]) -> None:
    """Let a process run the command, and kill that process as soon as the command is under way."""
    code = f"import subprocess; from pipmirror_lib import children; subprocess.run(children.{how}({command!r}))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        assert until(ready)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@needs_setpriv
def test_a_program_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    killed("dying", ["sh", "-c", f"echo $$ >{pid}; exec sleep 300"], lambda: pid.exists() and pid.read_text() != "")
    assert until(lambda: not alive(int(pid.read_text())))


@needs_setpriv
@privileged
def test_what_it_has_started_and_mounted_goes_with_it(tmp_path: Path) -> None:
    """As debootstrap does, which runs others and mounts /proc."""
    place, beat = tmp_path / "proc", tmp_path / "beat"
    place.mkdir()
    script = f"mount -t tmpfs tmpfs {place}; (while :; do date +%N >{beat}; sleep 0.05; done) & wait"
    killed("contained", ["sh", "-c", script], lambda: beat.exists() and beat.read_text() != "")
    assert until(lambda: _still(beat)), "its child still runs"
    assert mounts.below(tmp_path) == []


def _still(beat: Path) -> bool:
    before = beat.read_text()
    time.sleep(0.2)
    return beat.read_text() == before


def test_without_the_helpers_commands_are_what_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert children.dying(["git", "clone"]) == children.contained(["git", "clone"]) == ["git", "clone"]


def test_without_the_right_to_nothing_is_contained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As within a container of few capabilities."""
    for name in ("setpriv", "unshare"):
        (tmp_path / name).write_text("#!/bin/sh\nfor word; do [ $word = unshare ] && exit 1; done\nexit 0\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert children.contained(["debootstrap"]) == ["setpriv", "--pdeathsig", "KILL", "--", "debootstrap"]


@privileged
def test_what_a_killed_run_had_mounted_is_unmounted_and_not_emptied(tmp_path: Path) -> None:
    mounted, work = tmp_path / "mounted", tmp_path / "work"
    mounted.mkdir()
    (mounted / "precious").write_text("x")
    place = work / "debootstrap-x" / "proc"
    place.mkdir(parents=True)
    subprocess.run(["mount", "--bind", mounted, place], check=True)
    assert mounts.below(work) == [place]
    discard(work)
    assert not work.exists()
    assert (mounted / "precious").read_text() == "x"


@privileged
def test_what_is_busy_is_told_and_left(tmp_path: Path) -> None:
    work = tmp_path / "work"
    place = work / "a b"
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    try:
        with (place / "open").open("w"), pytest.raises(MirrorError, match=r"a b is still mounted; unmount it"):
            discard(work)
        assert (place / "open").exists()
    finally:
        subprocess.run(["umount", place], check=True)
    discard(work)


@privileged
@pytest.mark.parametrize("name", ["a\u2028b", "a\x0bb", "a\x85b", "a\rb", "a\nb", "a\udcffb"], ids=ascii)
def test_anybody_may_call_a_mount_point_anything(tmp_path: Path, name: str) -> None:
    """One of another user's, and of whatever program: it keeps nobody from removing something else."""
    work, place = tmp_path / "work", tmp_path / name
    work.mkdir()
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    try:
        assert mounts.below(tmp_path) == [place]
        discard(work)
        assert not work.exists()
    finally:
        subprocess.run(["umount", place], check=True)
