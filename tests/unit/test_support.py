"""The tests' own tools against real pip: what they make and serve must be what pip meets elsewhere."""

from __future__ import annotations

import base64
import http.client
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.dists import headers_of, make_sdist, make_wheel, metadata_of
from tests.support.localindex import JSON_TYPE, Fault, LocalIndex

REPOSITORY = Path(__file__).resolve().parents[2]
WHEEL = "demo-1.0-py3-none-any.whl"


def clean_environment() -> dict[str, str]:
    """Without anything that would lead pip elsewhere than to the index of the test."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PIP_") and not name.lower().endswith("_proxy")
    }
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "PYTHONDONTWRITEBYTECODE": "1"}


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, *map(str, command)]
    environment = clean_environment()
    return subprocess.run(arguments, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def pip(*arguments: str | Path) -> str:
    done = run("-m", "pip", "--no-cache-dir", "--disable-pip-version-check", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def imported(directory: Path, expression: str) -> str:
    """What an interpreter that sees `directory` makes of `MODULE.NAME`."""
    module = expression.partition(".")[0]
    done = run("-c", f"import {module}; print({expression})", cwd=directory)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def get(index: LocalIndex, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    address = urlsplit(index.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port or 0, timeout=10)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): v for name, v in headers.items()})
        response = connection.getresponse()
        return response.status, response.read(), dict(response.headers)
    finally:
        connection.close()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[LocalIndex]:
    make_wheel(tmp_path / "files", requires=["other>=1"], requires_python=">=3.6")
    make_wheel(tmp_path / "files", "Other", "1.5", files={"other.py": "NUMBER = 7\n"})
    with LocalIndex(tmp_path / "files") as started:
        yield started


class TestWheels:
    def test_pip_installs_one(self, tmp_path: Path) -> None:
        wheel = make_wheel(tmp_path, "Demo.Pkg", "1.0+local.1", entry_points={"demo": "demo_pkg:main"}, build="1")
        pip("install", "--no-index", "--target", tmp_path / "site", wheel)
        assert wheel.name == "demo_pkg-1.0+local.1-1-py3-none-any.whl"
        assert imported(tmp_path / "site", "demo_pkg.__version__") == "1.0+local.1"
        assert list((tmp_path / "site" / "bin").glob("demo*"))

    def test_pip_follows_an_extra(self, tmp_path: Path) -> None:
        make_wheel(tmp_path, extras={"more": ["other; python_version > '3'", "absent; python_version < '3'"]})
        make_wheel(tmp_path, "other")
        pip("install", "--no-index", "--find-links", tmp_path, "--target", tmp_path / "site", "demo[more]")
        assert imported(tmp_path / "site", "other.__version__") == "1.0"

    def test_same_arguments_same_bytes(self, tmp_path: Path) -> None:
        for make in (make_wheel, make_sdist):
            assert make(tmp_path / "a").read_bytes() == make(tmp_path / "b").read_bytes()

    def test_can_lie(self, tmp_path: Path) -> None:
        wheel = make_wheel(tmp_path, filename="x-2-py3-none-any.whl", record="", extra_members=[("../out", b"!")])
        with zipfile.ZipFile(wheel) as archive:
            assert archive.read("demo-1.0.dist-info/RECORD") == b""
            assert "../out" in archive.namelist()


class TestSdists:
    def test_pip_builds_one_with_its_own_backend(self, tmp_path: Path) -> None:
        sdist = make_sdist(tmp_path, requires=["other"], intree_backend=True, on_build="print('building')")
        pip("wheel", "--no-index", "--no-deps", "--wheel-dir", tmp_path / "built", sdist)
        built = metadata_of(tmp_path / "built" / WHEEL)
        assert built is not None
        assert headers_of(built)["Requires-Dist"] == "other"
        pip("install", "--no-index", "--no-deps", "--target", tmp_path / "site", tmp_path / "built" / WHEEL)
        assert imported(tmp_path / "site", "demo.__version__") == "1.0"

    def test_the_backend_asks_for_more(self, tmp_path: Path) -> None:
        make_wheel(tmp_path, "helper")
        make_wheel(tmp_path, "late")
        code = "import helper, late"
        asks = make_sdist(
            tmp_path, build_requires=["helper"], get_requires=["late"], intree_backend=True, on_build=code
        )
        pip("wheel", "--no-index", "--find-links", tmp_path, "--wheel-dir", tmp_path / "built", asks)
        assert (tmp_path / "built" / WHEEL).is_file()

    @pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
    @pytest.mark.skipif(
        not Path(sysconfig.get_paths()["include"], "Python.h").is_file(), reason="needs Python's headers"
    )
    def test_a_c_extension_is_compiled(self, tmp_path: Path) -> None:
        sdist = make_sdist(tmp_path, c_extension=True, intree_backend=True)
        pip("install", "--no-index", "--target", tmp_path / "site", sdist)
        assert imported(tmp_path / "site", "_demo.answer()") == "42"

    # Imported here, setuptools would replace distutils for every later test of this process.
    @pytest.mark.skipif(importlib.util.find_spec("setuptools") is None, reason="needs setuptools")
    def test_setup_py_is_understood(self, tmp_path: Path) -> None:
        sdist = make_sdist(tmp_path, requires=["other"], extras={"x": ["more"]}, requires_python=">=3.6")
        shutil.unpack_archive(sdist, tmp_path, filter="data")
        done = run("setup.py", "-q", "egg_info", cwd=tmp_path / "demo-1.0")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "demo-1.0/demo.egg-info/requires.txt").read_text() == "other\n\n[x]\nmore\n"

    @pytest.mark.parametrize(("static", "expected"), [(True, ("2.2", "other")), (False, ("2.1", None))])
    def test_metadata_is_static_or_not(self, tmp_path: Path, static: bool, expected: tuple[str, str]) -> None:
        headers = headers_of(metadata_of(make_sdist(tmp_path, requires=["other"], static_metadata=static)) or b"")
        assert (headers["Metadata-Version"], headers["Requires-Dist"]) == expected


class TestIndexServesPip:
    @pytest.mark.parametrize("json", [True, False])
    def test_install_in_either_form(self, index: LocalIndex, tmp_path: Path, json: bool) -> None:
        index.json = json
        pip("install", "--index-url", index.url, "--target", tmp_path / "site", "demo")
        assert imported(tmp_path / "site", "other.NUMBER") == "7"
        for filename in index.files:
            assert [request.status for request in index.requests_of(f"{filename}.metadata")] == [200]
            assert len(index.requests_of(filename)) == 1
        assert index.requests_of(WHEEL)[0].sent == index.files[WHEEL].size

    def test_download_without_metadata_files(self, index: LocalIndex, tmp_path: Path) -> None:
        index.core_metadata = False
        pip("download", "--index-url", index.url, "--dest", tmp_path / "got", "demo")
        assert (tmp_path / "got" / WHEEL).read_bytes() == (tmp_path / "files" / WHEEL).read_bytes()
        assert not index.requests_of(f"{WHEEL}.metadata")

    @pytest.mark.parametrize("json", [True, False])
    def test_yanked_and_requires_python_count(self, index: LocalIndex, tmp_path: Path, json: bool) -> None:
        index.json = json
        index.yank(index.add(make_wheel(tmp_path / "new", version="3.0")))
        index.add(make_wheel(tmp_path / "new", version="2.0", requires_python="<3"))
        pip("download", "--no-deps", "--index-url", index.url, "--dest", tmp_path / "got", "demo")
        assert [path.name for path in (tmp_path / "got").iterdir()] == [WHEEL]

    def test_upload_time_counts(self, index: LocalIndex, tmp_path: Path) -> None:
        new = index.add(make_wheel(tmp_path / "new", version="2.0"))
        page = get(index, "/simple/demo/", Accept=JSON_TYPE)[1]
        index.set_upload_time(new, "2025-06-01T00:00:00.000000Z")
        later = get(index, "/simple/demo/", Accept=JSON_TYPE)[1]
        assert (page.count(b"2024-01-01"), later.count(b"2024-01-01"), later.count(b"2025-06-01")) == (
            2,
            1,
            1,
        )

    def test_password(self, index: LocalIndex, tmp_path: Path) -> None:
        index.username, index.password = "me", "secret"
        assert get(index, "/simple/")[0] == 401
        token = base64.b64encode(b"me:secret").decode()
        assert get(index, "/simple/", Authorization=f"Basic {token}")[0] == 200
        url = index.url.replace("//", "//me:secret@")
        pip("download", "--no-deps", "--index-url", url, "--dest", tmp_path / "got", "demo")


class TestFaults:
    def test_pip_outlives_a_busy_index(self, index: LocalIndex, tmp_path: Path) -> None:
        index.fail["/simple/demo/"] = Fault(503, headers={"Retry-After": "0"})
        pip("download", "--no-deps", "--index-url", index.url, "--dest", tmp_path / "got", "demo")
        assert [request.status for request in index.log if request.path == "/simple/demo/"] == [503, 200]

    def test_truncated(self, index: LocalIndex) -> None:
        index.fail[WHEEL] = Fault(truncate_at=10)
        with pytest.raises(http.client.IncompleteRead) as caught:
            get(index, f"/files/{WHEEL}")
        assert len(caught.value.partial) == 10
        assert get(index, f"/files/{WHEEL}")[0] == 200
        assert [request.sent for request in index.requests_of(WHEEL)] == [10, index.files[WHEEL].size]

    def test_corrupted(self, index: LocalIndex) -> None:
        index.fail[WHEEL] = Fault(corrupt=True)
        (_, bad, _), (_, good, _) = get(index, f"/files/{WHEEL}"), get(index, f"/files/{WHEEL}")
        assert sum(one != other for one, other in zip(bad, good, strict=True)) == 1

    def test_a_stall_ends_with_the_index(self, index: LocalIndex) -> None:
        index.fail["/"] = Fault(stall=0.3)
        start = time.monotonic()
        assert get(index, "/simple/")[0] == 200
        assert time.monotonic() - start >= 0.3
        index.close()
        with pytest.raises(ConnectionRefusedError):
            get(index, "/simple/")
        port = index.port
        assert (index.start().port, get(index, "/simple/")[0]) == (port, 200)


class TestHttp:
    def test_ranges(self, index: LocalIndex, tmp_path: Path) -> None:
        content = (tmp_path / "files" / WHEEL).read_bytes()
        for asked, expected in (("0-3", content[:4]), ("5-", content[5:]), ("-6", content[-6:])):
            status, body, headers = get(index, f"/files/{WHEEL}", Range=f"bytes={asked}")
            assert (status, body) == (206, expected)
            assert headers["Content-Range"].endswith(f"/{len(content)}")
        assert get(index, f"/files/{WHEEL}", Range=f"bytes={len(content)}-")[0] == 416
        index.ranges = False
        assert get(index, f"/files/{WHEEL}", Range="bytes=0-3")[:2] == (200, content)

    def test_unchanged_pages(self, index: LocalIndex) -> None:
        index.etag, index.cache_control = True, "max-age=600"
        headers = get(index, "/simple/demo/")[2]
        assert headers["Cache-Control"] == "max-age=600"
        assert get(index, "/simple/demo/", If_None_Match=headers["ETag"])[0] == 304
        index.yank(WHEEL, "broken")
        assert get(index, "/simple/demo/", If_None_Match=headers["ETag"])[0] == 200

    def test_names_are_normalised(self, index: LocalIndex) -> None:
        status, _, headers = get(index, "/simple/OTHER")
        assert (status, headers["Location"]) == (301, "/simple/other/")
        index.remove("other-1.5-py3-none-any.whl")
        assert [get(index, path)[0] for path in ("/simple/other/", "/simple/", "/")] == [404, 200, 404]

    def test_a_container_finds_it(self, tmp_path: Path) -> None:
        with LocalIndex(tmp_path, bind="0.0.0.0") as index:
            assert index.url_for("192.0.2.1") == f"http://192.0.2.1:{index.port}/simple/"
            assert get(index, "/simple/", Accept=JSON_TYPE)[2]["Content-Type"] == JSON_TYPE

    def test_as_a_command(self, tmp_path: Path) -> None:
        make_wheel(tmp_path)
        command = [sys.executable, "-m", "tests.support.localindex", str(tmp_path), "--port", "0"]
        command += ["--upload-time", "2025-06-01T00:00:00Z"]
        environment = clean_environment()
        with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                pip(
                    "download",
                    "--index-url",
                    server.stdout.readline().strip(),
                    "--dest",
                    tmp_path / "got",
                    "demo",
                )
            finally:
                server.kill()
        assert (tmp_path / "got" / WHEEL).is_file()
