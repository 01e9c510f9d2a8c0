"""What every client makes of the published index, through the real web server; and what it asks for on the way."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pypi_simple
import pytest
import requests
import tomllib
from packaging.utils import canonicalize_name
from pipmirror_lib import sync
from pipmirror_lib.engine import Engine
from pipmirror_lib.settings import Mirror
from simple_repository import parser as simple_repository

from tests.integration.conftest import Ensure
from tests.support.box import Box, box
from tests.support.dists import make_wheel
from tests.support.localindex import LocalIndex
from tests.support.mirrors import PLATFORM, declare, directory_of, equip
from tests.support.network import bridge_address
from tests.support.target import Target
from tests.support.webserver import WebServer, serving

pytestmark = pytest.mark.integration

UV = Path(sys.executable).with_name("uv")
JSON_TYPE = "application/vnd.pypi.simple.v1+json"
# alpha 2.0 is looked at first, and cannot live with beta 2.0.
WANTED = ["alpha", "beta>=2", "omega"]
# omega 2.0 is yanked.
CHOSEN = {"alpha": "1.0", "beta": "2.0", "gamma-delta": "1.0", "omega": "1.0"}
REASON = 'it "deletes" <files> & more'
# Without what a machine's own configuration says of indexes.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("PIP_", "UV_", "PDM_", "POETRY_")) and not name.lower().endswith("_proxy")
} | {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "UV_NO_CONFIG": "1",
    "PYTHONWARNINGS": "ignore",
}

Client = Callable[[Sequence[str]], dict[str, str]]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Mirror:
    place = tmp_path_factory.mktemp("mirror")
    place.chmod(0o755)
    with LocalIndex() as index:

        def add(name: str, version: str, uploaded: str | None = "2020-01-01T00:00:00Z", **how: Any) -> str:
            filename = index.add(make_wheel(place / "shelf", name, version, **how))
            index.change(filename, upload_time=uploaded)
            return filename

        add("alpha", "1.0", requires=["beta", "Gamma.Delta"])
        add("alpha", "2.0", requires=["beta<2"], files={"alpha/big.bin": os.urandom(200_000)})
        add("beta", "1.0")
        add("beta", "2.0", "2024-06-01T00:00:00Z", requires_python=">=3.6,<4")
        add("Gamma.Delta", "1.0", None)
        add("omega", "1.0")
        yanked = add("omega", "2.0")
        index.yank(yanked, REASON)
        sets = {"old": ["alpha==2.0", "beta==1.0"], "yanked": ["omega==2.0"]}
        declared = declare(place, index.url, packages=["alpha==1.0", "beta==2.0", "omega==1.0"], sets=sets)
        equip(declared)
        answer = sync.sync(declared)
    assert answer["result"], answer
    return declared


@pytest.fixture(scope="module")
def web(mirror: Mirror, tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[WebServer]:
    """Where containers reach it as well."""
    place = tmp_path_factory.mktemp("web")
    with serving(place, mirror.target, host=bridge_address()) as server:
        yield server


def index_of(web: WebServer) -> str:
    return f"{web.url}/{PLATFORM}/simple/"


def run(*words: str | Path, cwd: Path | None = None, code: int = 0, **variables: str) -> str:
    environment = {**ENVIRONMENT, **variables}
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, cwd=cwd, env=environment, timeout=300, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


# -- parsers -------------------------------------------------------------------------------------------------


def test_two_parsers_read_every_page(mirror: Mirror, web: WebServer) -> None:
    records = directory_of(mirror).manifest()["wheels"]
    root = fetched(index_of(web), JSON_TYPE), fetched(index_of(web), "text/html")
    listings = [simple_repository.parse_json_project_list(root[0]), simple_repository.parse_html_project_list(root[1])]
    names = {"alpha", "beta", "gamma-delta", "omega"}
    assert [{one.name for one in listing.projects} for listing in listings] == [names, names]
    indexes = [pypi_simple.IndexPage.from_json_data(json.loads(root[0])), pypi_simple.IndexPage.from_html(root[1])]
    assert [set(index.projects) for index in indexes] == [names, names]
    assert {index.repository_version for index in indexes} == {"1.1"}
    seen = {filename for name in names for filename in check_project(web, name, records)}
    assert seen == set(records)


def check_project(web: WebServer, name: str, records: dict[str, Any]) -> set[str]:
    """The files of a project's pages, after everything that is said of them was compared with the manifest."""
    url = f"{index_of(web)}{name}/"
    as_json, html = fetched(url, JSON_TYPE), fetched(url, "text/html")
    theirs = [
        simple_repository.parse_json_project_page(as_json),
        simple_repository.parse_html_project_page(html, name),
    ]
    pages = [
        pypi_simple.ProjectPage.from_json_data(json.loads(as_json), base_url=url),
        pypi_simple.ProjectPage.from_html(name, html, base_url=url),
    ]
    own = {filename for filename in records if canonicalize_name(filename.split("-")[0]) == name}
    assert [{file.filename for file in page.files} for page in theirs] == [own, own]
    assert theirs[0].versions == {filename.split("-")[1] for filename in own}
    assert [{package.filename for package in page.packages} for page in pages] == [own, own]
    for package in (package for page in pages for package in page.packages):
        record = records[package.filename]
        assert package.digests == {"sha256": record["sha256"]}
        assert package.metadata_digests == {"sha256": record["metadata_sha256"]}
        assert package.requires_python == record["requires_python"]
        assert (package.is_yanked, package.yanked_reason) == ("yanked" in record, record.get("yanked"))
        assert package.url == f"{web.url}/{PLATFORM}/{package.filename}"
    for file in theirs[0].files:
        record = records[file.filename]
        assert file.size == record["size"]
        assert file.upload_time is not None
        assert ("_upload-time-is" in file.private_metadata) == (record["upload_time"] == "")
    return own


def fetched(url: str, accept: str) -> str:
    answer = requests.get(url, headers={"Accept": accept}, timeout=10)
    assert (answer.status_code, answer.headers["Content-Type"].split(";")[0]) == (200, accept)
    return answer.text


# -- clients -------------------------------------------------------------------------------------------------


def names_in(lines: str) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", lines, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def with_pip(web: WebServer, work: Path, *options: str) -> Client:
    def install(wanted: Sequence[str]) -> dict[str, str]:
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-cache-dir", "-q"]
        trusted = ["--index-url", index_of(web), "--trusted-host", f"{web.host}:{web.port}"]
        run(*command, "--report", work / "report.json", *trusted, *options, *wanted)
        report = json.loads((work / "report.json").read_text())
        return {canonicalize_name(one["metadata"]["name"]): one["metadata"]["version"] for one in report["install"]}

    return install


def with_uv(web: WebServer, work: Path, *options: str) -> Client:
    def compile(wanted: Sequence[str]) -> dict[str, str]:
        (work / "wanted.in").write_text("\n".join(wanted))
        command = [UV, "pip", "compile", "-q", "--no-annotate", "--no-header", "--python", sys.executable]
        command += ["--cache-dir", str(work / "uv"), "--index-url", index_of(web)]
        return names_in(run(*command, *options, work / "wanted.in"))

    return compile


def project(work: Path, wanted: Sequence[str], more: str) -> None:
    listed = json.dumps(list(wanted))
    text = f'[project]\nname = "one"\nversion = "1"\nrequires-python = ">=3.10,<4"\ndependencies = {listed}\n{more}\n'
    (work / "pyproject.toml").write_text(text)


def locked(path: Path) -> dict[str, str]:
    return {canonicalize_name(one["name"]): one["version"] for one in tomllib.loads(path.read_text())["package"]}


def with_poetry(web: WebServer, work: Path, programs: Path) -> Client:
    def lock(wanted: Sequence[str]) -> dict[str, str]:
        source = f'[[tool.poetry.source]]\nname = "mirror"\nurl = "{index_of(web)}"\npriority = "primary"\n'
        project(work, wanted, source + "[tool.poetry]\npackage-mode = false")
        run(programs / "poetry", "lock", "-n", cwd=work, POETRY_CACHE_DIR=str(work / "cache"), HOME=str(work))
        return locked(work / "poetry.lock")

    return lock


def with_pdm(web: WebServer, work: Path, programs: Path) -> Client:
    def lock(wanted: Sequence[str]) -> dict[str, str]:
        project(work, wanted, f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{index_of(web)}"\nverify_ssl = false')
        own = {"PDM_CACHE_DIR": str(work / "cache"), "PDM_CHECK_UPDATE": "0", "PDM_USE_VENV": "0", "HOME": str(work)}
        (work / ".pdm-python").write_text(sys.executable)
        run(programs / "pdm", "lock", cwd=work, **own)
        return locked(work / "pdm.lock")

    return lock


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """poetry and pdm, each in an environment of its own."""
    tools = tmp_path_factory.mktemp("programs")
    own = {**os.environ, "UV_TOOL_DIR": str(tools / "tools"), "UV_TOOL_BIN_DIR": str(tools)}
    for name in ("poetry", "pdm[locked]"):  # whose newest requirements it may not know yet
        command = [UV, "tool", "install", "-q", "--python", sys.executable, name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=own)
        assert done.returncode == 0, done.stderr
    return tools


@pytest.mark.parametrize("name", ["pip", "uv", "poetry", "pdm"])
def test_metadata_instead_of_whole_wheels(
    web: WebServer, tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    if name in ("poetry", "pdm"):
        client = {"poetry": with_poetry, "pdm": with_pdm}[name](web, tmp_path, request.getfixturevalue("programs"))
    else:
        client = {"pip": with_pip, "uv": with_uv}[name](web, tmp_path)
    web.forget()
    assert client(WANTED) == CHOSEN
    asked = web.asked()
    assert {one.status for one in asked} <= {200, 304}
    files = {one.path.rpartition("/")[2] for one in asked if ".whl" in one.path}
    assert "alpha-2.0-py3-none-any.whl.metadata" in files
    assert "alpha-2.0-py3-none-any.whl" not in files, "a wheel was fetched for what stands beside it"
    assert {one.agent for one in asked if "/simple/" in one.path} == {name}


@pytest.fixture(scope="module", params=["bullseye", "bookworm"])
def old(request: pytest.FixtureRequest, engine: Engine, ensure: Ensure, mirror: Mirror) -> Iterator[Box]:
    """A machine with the pip of its distribution: 20.3 and 23.0."""
    ensure(f"debian:{request.param}")
    with tempfile.TemporaryDirectory() as work:
        image = Target.prepare(engine, request.param, Path(work)).image.id
    with box(image, []) as machine:
        yield machine


def test_the_pip_of_a_distribution(old: Box, web: WebServer) -> None:
    web.forget()
    index = ["--index-url", index_of(web), "--trusted-host", web.host]
    old.good("pip3", "install", "--target", "/opt/chosen", *index, *WANTED)
    found = {path.removesuffix(".dist-info") for path in old.good("ls", "/opt/chosen").split() if "-" in path}
    assert found == {"alpha-1.0", "beta-2.0", "gamma_delta-1.0", "omega-1.0"}
    old.good("pip3", "install", "--target", "/opt/yanked", *index, "omega==2.0")
    assert "omega-2.0.dist-info" in old.good("ls", "/opt/yanked")
    assert {one.status for one in web.asked()} <= {200, 304}


@pytest.mark.parametrize("name", ["pip", "uv"])
def test_as_of_a_day(web: WebServer, tmp_path: Path, name: str) -> None:
    """Upstream's own upload times count, and a file of which upstream says none came when it came into the mirror."""
    option = {"pip": "--uploaded-prior-to", "uv": "--exclude-newer"}[name]
    client = {"pip": with_pip, "uv": with_uv}[name]
    then = client(web, tmp_path, option, "2021-01-01T00:00:00Z")
    assert then(["beta"]) == {"beta": "1.0"}
    with pytest.raises(AssertionError, match=r"(?i)gamma-delta"):
        then(["gamma-delta"])
    assert client(web, tmp_path, option, "2024-06-02T00:00:00Z")(["beta"]) == {"beta": "2.0"}


@pytest.mark.parametrize("name", ["pip", "uv"])
def test_a_yanked_release_is_for_who_pins_it(web: WebServer, tmp_path: Path, name: str) -> None:
    client = {"pip": with_pip, "uv": with_uv}[name](web, tmp_path)
    assert client(["omega==2.0"]) == {"omega": "2.0"}
    with pytest.raises(AssertionError, match="omega"):
        client(["omega>1"])


@pytest.mark.parametrize("name", ["pip", "uv"])
def test_hash_checking(web: WebServer, mirror: Mirror, tmp_path: Path, name: str) -> None:
    records = directory_of(mirror).manifest()["wheels"]
    lines = [
        f"{filename.split('-')[0]}=={filename.split('-')[1]} --hash=sha256:{records[filename]['sha256']}"
        for filename in sorted(records)
        if filename.startswith(("alpha-1", "beta-2", "gamma"))
    ]
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("\n".join(lines))
    uv = [UV, "pip", "install", "--cache-dir", tmp_path / "uv", "--python", sys.executable]
    pip = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--trusted-host", web.host]
    command = [*{"pip": pip, "uv": uv}[name], "--index-url", index_of(web), "--require-hashes", "-r", requirements]
    run(*command, "--target", tmp_path / "good")
    assert {path.name for path in (tmp_path / "good").glob("*.dist-info")} >= {"alpha-1.0.dist-info"}
    requirements.write_text(re.sub(r"sha256:....", "sha256:0123", requirements.read_text()))
    said = run(*command, "--target", tmp_path / "bad", code=1)
    assert re.search(r"(?i)hash", said)
