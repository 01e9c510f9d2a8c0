"""Masterless minions: a configuration directory of their own, and this checkout's modules and state tree.

minion = Minion(tmp_path, {"target": "/srv/pip", ...})
assert minion.apply("pipmirror")["pipmirror-default-debian-bookworm"]["result"]
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
SALT_CALL = Path(sys.executable).parent / "salt-call"
NO_NETWORK = ("unshare", "--net")  # a network namespace of its own: not even the loopback is up

State = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What one salt-call said: `value` is None where it only raised an error, which is on `stderr` then."""

    value: Any
    code: int
    stderr: str

    @property
    def states(self) -> dict[str, State]:
        """The outcome of `state.apply` by ID."""
        assert isinstance(self.value, dict), (self.value, self.stderr)
        return {state["__id__"]: state for state in self.value.values()}

    @property
    def platform(self) -> dict[str, Any]:
        """The one platform of an answer that has no other."""
        assert isinstance(self.value, dict), (self.value, self.stderr)
        (only,) = self.value["platforms"].values()
        return dict(only)


@dataclass
class Minion:
    """`pillar` is what stands under `pipmirror`; `extra_pillar` lies beside it. Both may change between calls."""

    directory: Path
    pillar: Any = None
    extra_pillar: dict[str, Any] = field(default_factory=lambda: {"docker": {"managed": False}})
    options: dict[str, Any] = field(default_factory=dict)
    file_root: Path = REPOSITORY / "salt"
    module_dir: Path | None = REPOSITORY
    salt_call: Path = SALT_CALL
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """Where Salt keeps its caches and keys."""
        return self.directory / "root"

    def configure(self) -> None:
        own = {"root_dir": str(self.root), "pillar_roots": {"base": [str(self.directory / "pillar")]}}
        options = {"include": str(REPOSITORY / "etc" / "minion"), **own, **self.options}
        _write(self.directory / "etc" / "minion", json.dumps(options))
        _write(self.directory / "pillar" / "top.sls", json.dumps({"base": {"*": ["declared"]}}))
        pillar = {**self.extra_pillar, **({} if self.pillar is None else {"pipmirror": self.pillar})}
        _write(self.directory / "pillar" / "declared.sls", "#!json\n" + json.dumps(pillar))

    def command(self, *words: str, out: str = "json") -> list[str]:
        modules = ["-m", str(self.module_dir)] if self.module_dir else []
        call = [str(self.salt_call), "--local", "--config-dir", str(self.directory / "etc"), *modules]
        shown = ["--out", out] if out else []
        return [*call, "--file-root", str(self.file_root), *shown, *words]

    def variables(self, more: Mapping[str, str]) -> dict[str, str]:
        quiet = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore"}
        return {**os.environ, **quiet, **self.environment, **more}

    def call(
        self,
        *words: str,
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        timeout: float = 300,
        **arguments: Any,
    ) -> Answer:
        """Run a function; keyword arguments are handed over as YAML would read them."""
        self.configure()
        said = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in arguments.items()]
        done = subprocess.run(
            [*prefix, *self.command(*words, *said)],
            env=self.variables(environment or {}),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        try:
            value = json.loads(done.stdout)["local"]
        except ValueError:
            value = None
        return Answer(value, done.returncode, done.stderr + ("" if value is not None else done.stdout))

    def show(self, *words: str, out: str = "") -> str:
        """What a person reads on the terminal, from the outputter that Salt chooses unless it is told one."""
        self.configure()
        command = self.command(*words, out=out)
        done = subprocess.run(command, env=self.variables({}), capture_output=True, text=True, timeout=300, check=False)
        assert "[ERROR" not in done.stderr, done.stderr
        return done.stdout

    def apply(self, *words: str, **options: Any) -> Answer:
        """`state.apply pipmirror`, with what is said beside it."""
        return self.call("state.apply", "pipmirror", *words, **options)

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """A call in a process group of its own, to be killed or interrupted."""
        self.configure()
        return subprocess.Popen(
            self.command(*words),
            env=self.variables({}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def served(directory: Path) -> list[str]:
    """What a master serves of this repository: its top for the modules, its `salt` for the states."""
    unwanted = shutil.ignore_patterns("__pycache__", ".*")
    for name in ("_modules", "_states", "_utils", "salt"):
        shutil.copytree(REPOSITORY / name, directory / name, ignore=unwanted)
    return [str(directory), str(directory / "salt")]
