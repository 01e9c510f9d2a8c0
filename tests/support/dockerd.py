"""A container engine of a test's own, to be killed: in a network namespace of its own, so that it alters nobody's.

Its containers have no network; images are brought from the machine's engine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any


class OwnEngine:
    def __init__(self) -> None:
        # The path of a Unix socket may have 107 bytes, which tmp_path uses up easily.
        self.directory = Path(tempfile.mkdtemp(prefix="engine-"))
        self.socket = self.directory / "sock"
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> OwnEngine:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        for point in sorted(self._mounts(), reverse=True):
            subprocess.run(["umount", "--lazy", point], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self) -> None:
        for name in ("pid", "sock"):
            (self.directory / name).unlink(missing_ok=True)
        options = {
            "data-root": self.directory / "data",
            "exec-root": self.directory / "exec",
            "pidfile": self.directory / "pid",
            "host": self.url,
        }
        command = ["unshare", "--net", "--", "dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none"]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *(f"--{name}={value}" for name, value in options.items())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        for _ in range(600):
            if self.docker("version", check=False).returncode == 0:
                return
            assert self.process.poll() is None, (self.directory / "log").read_text()[-2000:]
            time.sleep(0.1)
        raise AssertionError((self.directory / "log").read_text()[-2000:])

    def kill(self) -> None:
        """At once, with what it started; only the supervisors of containers live on, as it is meant to be."""
        assert self.process is not None
        pidfile = self.directory / "exec" / "containerd" / "containerd.pid"
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pidfile.read_text()), signal.SIGKILL)
        pidfile.unlink()  # where nobody reaps it, its number would seem to be at work

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=60)

    def docker(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["docker", "--host", self.url, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=check)

    def take(self, image: str) -> None:
        """Bring an image from the machine's engine."""
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as save:
            command = ["docker", "--host", self.url, "load"]
            subprocess.run(command, stdin=save.stdout, stdout=subprocess.DEVNULL, timeout=300, check=True)

    def containers(self) -> list[str]:
        return self.docker("ps", "--all", "--quiet").stdout.split()

    def processes(self) -> list[int]:
        """Whatever has been started from here and still runs: supervisors, and what they supervise."""
        mark = str(self.directory).encode()
        own = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    if mark in (entry / "cmdline").read_bytes():
                        own.append(int(entry.name))
                except OSError:
                    continue  # it has ended just now
        return own

    def _mounts(self) -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [point for point in (line.split()[4] for line in lines) if point.startswith(f"{self.directory}/")]
