"""Real pip as the oracle: worlds as files, questions for `pipdriver`, and what pip made of them.

A world lies in a directory of its own: `files`, with static pages in `simple` beside it where pip shall see an
index. Another directory takes what pip says, because the first may be read-only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name
from packaging.version import Version
from pipmirror_lib import inside, local, resolve
from pipmirror_lib.candidates import Candidate
from pipmirror_lib.index import Index
from pipmirror_lib.index_source import IndexSource
from pipmirror_lib.profile import TargetProfile
from pipmirror_lib.resolve import Answer
from pipmirror_lib.settings import Index as IndexSettings
from pipmirror_lib.wheels import Metadata

from tests.support import pipdriver
from tests.support.dists import SUFFIXES, name_and_version
from tests.support.localindex import LocalIndex
from tests.support.worlds import Case, slug

DRIVER = Path(pipdriver.__file__)
# What pip says where the question itself was refused; anything else would agree with any refusal of ours.
REFUSALS = (
    "ResolutionImpossible|No matching distribution found|Cannot install|requires? a different Python|"
    "Could not find a version that satisfies"
)


@dataclass(frozen=True)
class Verdict:
    """What pip came to: {project: file name}, or None where it refused; and what it said."""

    closure: Mapping[str, str] | None
    output: str


@dataclass(frozen=True)
class Inquiry:
    """Where the worlds lie and where pip's words go, as pip sees it; `version` of pip decides how it is asked."""

    worlds: str
    said: str
    version: Version
    index: bool = False

    def arguments(self, case: Case) -> list[str]:
        world, said = f"{self.worlds}/{slug(case)}", f"{self.said}/{slug(case)}"
        isolated = ["--isolated", "--disable-pip-version-check", "--no-cache-dir", "--no-input"]
        where = ["--no-index", "--find-links", f"{world}/files"]
        if self.index:
            page = f"{pipdriver.INDEX}/{slug(case)}/simple/"
            where = ["--index-url", page, "--retries", "0", "--no-build-isolation"]
        constraints = ["-c", f"{world}/constraints.txt"] if case.constraints else []
        allowed = ["--pre"] if case.prereleases is True else []
        return [*self._command(said), *isolated, *where, *constraints, *allowed, *case.want]

    def _command(self, said: str) -> list[str]:
        # Neither looks at what is installed beside pip.
        if self.version < Version("22.2"):
            return ["download", "--dest", f"{said}/downloaded"]
        report = ["--report", f"{said}/report.json"]
        return ["install", "--dry-run", "--ignore-installed", "--target", f"{said}/installed", *report]

    def job(self, case: Case) -> tuple[list[str], str]:
        return self.arguments(case), f"{self.said}/{slug(case)}/output"


def lay_out(case: Case, worlds: Path, *, index: bool = False) -> Path:
    """Make a world's files (and pages); its directory."""
    world = worlds / slug(case)
    (world / "files").mkdir(parents=True)
    for file in case.files:
        file.make(world / "files")
    if case.constraints:
        (world / "constraints.txt").write_text("\n".join(case.constraints))
    if index:
        _write_pages(index_of(case, world), world)
    return world


def _write_pages(index: LocalIndex, world: Path) -> None:
    """The index as static files, with METADATA beside the wheels that lie there already."""
    for project in {entry.project for entry in index.files.values()}:
        folder = world / "simple" / project
        folder.mkdir(parents=True)
        for name, as_json in (("index.html", False), *((("index.json", True),) if index.json else ())):
            (folder / name).write_bytes(index.page(project, as_json) or b"")
    for entry in index.files.values():
        if index.core_metadata and entry.metadata is not None:
            entry.path.with_name(f"{entry.path.name}.metadata").write_bytes(entry.metadata)


def index_of(case: Case, world: Path) -> LocalIndex:
    """The world as an index; what a page says beside the file itself is in the case."""
    index = LocalIndex(world / "files", json=not case.html, core_metadata=case.core_metadata)
    for file in case.files:
        index.change(file.filename, yanked=file.yanked)
        if file.page_python is not None:
            index.change(file.filename, requires_python=file.page_python or None)
    return index


def decide(case: Case, world: Path, profile: TargetProfile, *, index: bool = False) -> Answer:
    """Our own answer, from the very files and pages that pip sees."""
    if not index:
        return resolve.resolve(case.question(profile), local.scan(world / "files"))
    with ExitStack() as stack:
        served = stack.enter_context(index_of(case, world))
        place = Path(stack.enter_context(TemporaryDirectory()))
        settings = IndexSettings(url=served.url, retries=0, timeout=10)
        source = IndexSource(stack.enter_context(Index(settings, place / "files", place / "metadata")), {}, _nothing)
        return resolve.resolve(case.question(profile), source)


def _nothing(candidate: Candidate) -> Metadata:
    raise AssertionError(f"{candidate} lies nowhere")


def read_verdict(said: Path, case: Case, code: int) -> Verdict:
    """What pip left in the directory of that world."""
    place = said / slug(case)
    output = (place / "output").read_text(errors="replace")
    if code:
        return Verdict(None, output)
    if (place / "report.json").exists():
        report = json.loads((place / "report.json").read_text())["install"]
        names = [unquote(urlsplit(one["download_info"]["url"]).path.rsplit("/", 1)[-1]) for one in report]
    else:
        names = [path.name for path in (place / "downloaded").glob("*") if path.name.endswith(SUFFIXES)]
    return Verdict({canonicalize_name(name_and_version(name)[0]): name for name in names}, output)


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "PYTHONDONTWRITEBYTECODE": "1"}


def ask_here(cases: Iterable[Case], place: Path, *, index: bool = False) -> dict[str, Verdict]:
    """Ask the running interpreter's own pip; the worlds lie in `place/worlds` afterwards."""
    import pip

    cases = list(cases)
    worlds, said = place / "worlds", place / "said"
    for case in cases:
        lay_out(case, worlds, index=index)
    inquiry = Inquiry(str(worlds), str(said), Version(pip.__version__), index)
    request = {"jobs": [inquiry.job(case) for case in cases], "parallel": 4, "serve": str(worlds) if index else None}
    (place / "request.json").write_text(json.dumps(request))
    command = [sys.executable, str(DRIVER), str(place / "request.json"), str(place / "answer.json")]
    subprocess.run(command, check=True, env=environment())
    codes = json.loads((place / "answer.json").read_text())["codes"]
    return {case.name: read_verdict(said, case, codes[inquiry.job(case)[1]]) for case in cases}


def profile_here() -> TargetProfile:
    """Of the interpreter that runs us, asked the way a container is."""
    script = Path(inside.__file__).with_name("profile.py")
    said = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=environment(), check=True
    ).stdout
    lines = [line for line in said.splitlines() if line.startswith("{")]
    return TargetProfile.from_data(json.loads(lines[0]))
