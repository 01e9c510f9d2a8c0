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
        return builder.profile(self.engine, self.image, self.platform, LIMITS, workdir=self.workdir)

    @cached_property
    def current_pip(self) -> tuple[str, Path]:
        """Version of the newest pip that supports this Python, and where it lies unpacked."""
        python = self.profile.markers["python_version"]
        version, place = CURRENT_PIP[python], self.workdir / "pip"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(place), "--no-deps"]
        command += ["--only-binary", ":all:", "--python-version", python, f"pip=={version}"]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(place / f"pip-{version}-py3-none-any.whl") as wheel:
            wheel.extractall(place / "unpacked")
        return version, place / "unpacked"

    def ask(
        self, worlds: Path, directory: Sequence[Case] = (), index: Sequence[Case] = (), *, current: bool = True
    ) -> dict[str, Verdict]:
        """What pip makes of the worlds that lie in a directory, in one start of a container."""
        version, unpacked = self.current_pip if current else (self.profile.pip_version, None)
        log_path = self.workdir / "ask.log"
        with Workplace(self.workdir / "asking", keep_out=False) as place:
            jobs = []
            for cases, as_index in ((directory, False), (index, True)):
                inquiry = Inquiry("/pipmirror/worlds", "/pipmirror/out", Version(version), as_index)
                jobs += [inquiry.job(case) for case in cases]
            request = {"jobs": jobs, "parallel": PARALLEL, "serve": "/pipmirror/worlds"}
            request["path"] = "/pipmirror/pip" if unpacked else ""
            place.put("request.json", json.dumps(request))
            place.put("pipdriver.py", DRIVER.read_text())
            spec = place.spec(self.image.id, "python3", "pipdriver.py", LIMITS, log_path=log_path, name="differential")
            mounts = [*spec.mounts, Mount(worlds, "/pipmirror/worlds")]
            mounts += [Mount(unpacked, "/pipmirror/pip")] if unpacked else []
            words = ("/pipmirror/in/request.json", "/pipmirror/out/answer.json")
            spec = replace(spec, mounts=tuple(mounts), command=(*spec.command, *words))
            result = run_python(self.engine, spec, self.platform, "pre_command")
            assert result.exit_code == 0, result.log
            answer = json.loads((place.out / "answer.json").read_text())
            assert answer["pip"] == version
            outputs = {case.name: f"/pipmirror/out/{slug(case)}/output" for case in (*directory, *index)}
            return {
                case.name: read_verdict(place.out, case, answer["codes"][outputs[case.name]])
                for case in (*directory, *index)
            }
