"""A real platform: its builder image, its profile, and pip inside it, the platform's own or the current one."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from packaging.version import Version
from pipmirror_lib import builder
from pipmirror_lib.builder import BuilderImage
from pipmirror_lib.containers import Containers
from pipmirror_lib.engine import Engine, Mount
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.settings import Container, Platform
from pipmirror_lib.workplace import Workplace, run_python

from tests.support.oracle import DRIVER, Inquiry, Verdict, read_verdict
from tests.support.site import PRE_COMMAND
from tests.support.worlds import Case, slug

LIMITS = Container(memory=4 << 30, pids=1024, cpus=2.0, timeout=1800)
# The newest that supports the Python; named, so that a new pip breaks no unrelated change.
CURRENT_PIP = {"3.9": "26.0.1", "3.11": "26.3", "3.13": "26.3"}
PARALLEL = 4


@dataclass(frozen=True)
class Target:
    engine: Engine
    platform: Platform
    image: BuilderImage
    workdir: Path

    @classmethod
    def prepare(cls, engine: Engine, suite: str, workdir: Path) -> Target:
        """With the command of most tests, so that there is an image already."""
        platform = Platform(name=f"tests-{suite}", image=f"debian:{suite}", sets=(), pre_command=PRE_COMMAND)
        image = builder.prepare(engine, platform, LIMITS, workdir=workdir, rebuild_after=0, progress=lambda text: None)
        return cls(engine, platform, image, workdir)

    @cached_property
    def profile(self) -> TargetProfile:
        return builder.profile(
            Containers(self.engine, self.image, self.platform), self.platform, LIMITS, workdir=self.workdir
        )

    @property
    def current_pip(self) -> str:
        return CURRENT_PIP[self.profile.markers["python_version"]]

    def bring_pip(self, version: str) -> Path:
        """Where that version of pip lies unpacked."""
        place = self.workdir / f"pip-{version}"
        if not place.exists():
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(self.workdir), "--no-deps"]
            command += ["--only-binary", ":all:", "--python-version", self.profile.markers["python_version"]]
            subprocess.run([*command, f"pip=={version}"], check=True)
            with zipfile.ZipFile(self.workdir / f"pip-{version}-py3-none-any.whl") as wheel:
                wheel.extractall(place)
        return place

    def ask(
        self, worlds: Path, directory: Sequence[Case] = (), index: Sequence[Case] = (), *, pip: str
    ) -> dict[str, Verdict]:
        """What that version of pip makes of the worlds that lie in a directory, in one start of a container."""
        unpacked = None if pip == self.profile.pip_version else self.bring_pip(pip)
        log_path = self.workdir / "ask.log"
        with Workplace(self.workdir / "asking", keep_out=False) as place:
            jobs = []
            for cases, as_index in ((directory, False), (index, True)):
                inquiry = Inquiry("/pipmirror/worlds", "/pipmirror/out", Version(pip), as_index)
                jobs += [inquiry.job(case) for case in cases]
            request = {"jobs": jobs, "parallel": PARALLEL, "serve": "/pipmirror/worlds"}
            request["path"] = "/pipmirror/pip" if unpacked else ""
            place.put("request.json", json.dumps(request))
            place.put("pipdriver.py", DRIVER.read_text())
            spec = place.spec(self.image.id, "python3", "pipdriver.py", LIMITS, log_path=log_path, name="differential")
            mounts = [*spec.mounts, Mount(worlds, "/pipmirror/worlds")]
            mounts += [Mount(unpacked, "/pipmirror/pip")] if unpacked else []
            # Ours alone runs here, and takes arguments, which what confines strangers' code does not hand on.
            words = ("/pipmirror/in/request.json", "/pipmirror/out/answer.json")
            command = ("python3", "-I", spec.command[-1], *words)
            spec = replace(spec, mounts=tuple(mounts), command=command)
            result = run_python(self.engine, spec, self.platform, "pre_command")
            assert result.exit_code == 0, result.log
            answer = json.loads((place.out / "answer.json").read_text())
            assert answer["pip"] == pip
            outputs = {case.name: f"/pipmirror/out/{slug(case)}/output" for case in (*directory, *index)}
            return {
                case.name: read_verdict(place.out, case, answer["codes"][outputs[case.name]])
                for case in (*directory, *index)
            }
