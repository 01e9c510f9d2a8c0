"""Podman's service behind a socket of its own, with storage of its own: nothing of this machine's Podman is touched."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

# A machine may allow fewer open files than Podman asks for; only a real root could raise that.
_RUNTIME = """#!/usr/bin/python3
import json, os, resource, sys
words = sys.argv[1:]
if "--bundle" in words:
    path = os.path.join(words[words.index("--bundle") + 1], "config.json")
    with open(path) as stream:
        config = json.load(stream)
    for limit in config["process"].get("rlimits", []):
        most = resource.getrlimit(getattr(resource, limit["type"]))[1]
        if most != resource.RLIM_INFINITY:
            limit["hard"] = min(limit["hard"], most)
            limit["soft"] = min(limit["soft"], limit["hard"])
    with open(path, "w") as stream:
        json.dump(config, stream)
os.execvp("runc", ["runc", *words])
"""


@dataclass
class Podman:
    """`with Podman() as podman`; its directory has a short name, because that of a socket must be short."""

    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="pm-")))

    @property
    def url(self) -> str:
        return f"unix://{self.directory}/podman.sock"

    def command(self, *words: str) -> list[str]:
        own = ["--root", str(self.directory / "root"), "--runroot", str(self.directory / "run")]
        own += ["--runtime", str(self.directory / "runtime"), "--cgroup-manager", "cgroupfs"]
        return ["podman", *own, "--storage-driver", "overlay", "--events-backend", "file", *words]

    def ask(self, *words: str) -> str:
        return subprocess.run(self.command(*words), capture_output=True, text=True, check=True).stdout

    def load(self, image: str, name: str) -> None:
        """Have an image of Docker's under that name."""
        subprocess.run(["docker", "tag", image, name], check=True)
        try:
            with subprocess.Popen(["docker", "save", name], stdout=subprocess.PIPE) as saved:
                subprocess.run(self.command("load"), stdin=saved.stdout, capture_output=True, check=True)
        finally:
            subprocess.run(["docker", "rmi", name], capture_output=True, check=True)

    def __enter__(self) -> Podman:
        runtime = self.directory / "runtime"
        runtime.write_text(_RUNTIME)
        runtime.chmod(0o755)
        with open(self.directory / "log", "wb") as log:
            service = self.command("system", "service", "--time=0", self.url)
            # Of a container that runs out of memory, its monitor notes so in the current directory.
            self._service = subprocess.Popen(service, stdout=log, stderr=log, cwd=self.directory)
        end = time.monotonic() + 30
        while not (self.directory / "podman.sock").exists():
            assert self._service.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._service.terminate()
        self._service.wait(timeout=30)
        subprocess.run(self.command("rm", "--all", "--force", "--time=0"), capture_output=True, check=False)
        subprocess.run(["umount", "--lazy", str(self.directory / "root" / "overlay")], capture_output=True, check=False)
        shutil.rmtree(self.directory)
