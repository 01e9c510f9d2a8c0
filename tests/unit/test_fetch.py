"""Connections: what is sent to whom, what is retried, and what a failure says."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import connections, fetch, pages
from pipmirror_lib.errors import MirrorError, PackageIndexError
from pipmirror_lib.fetch import Client, default_url
from pipmirror_lib.settings import Index

from tests.support.dists import make_wheel
from tests.support.localindex import Fault, LocalIndex

NAME = "demo-1.0-py3-none-any.whl"
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in connections.CA_VARIABLES:
            monkeypatch.delenv(name)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[LocalIndex]:
    make_wheel(tmp_path / "files")
    with LocalIndex(tmp_path / "files") as running:
        yield running


def client(index: LocalIndex, **more: Any) -> Client:
    return Client(Index(**{"url": index.url, "retries": 0, "timeout": 5, **more}))


def page(client: Client, project: str = "demo") -> tuple[bytes, str, str] | None:
    return client.page(f"{client.urls[0]}{project}/", pages.ACCEPT)


def file_url(index: LocalIndex, name: str = NAME) -> str:
    return index.url.replace("/simple/", f"/files/{name}")


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_page(index: LocalIndex) -> None:
    found = page(client(index))
    assert found
    assert found[1].startswith(pages.JSON_TYPE)
    assert found[2] == f"{index.url}demo/"


def test_html_where_there_is_no_json(index: LocalIndex) -> None:
    index.json = False
    found = page(client(index))
    assert found
    assert found[1].startswith("text/html")


def test_no_such_page_is_none(index: LocalIndex) -> None:
    assert page(client(index), "other") is None


def test_a_url_is_the_same_with_and_without_its_slash(index: LocalIndex) -> None:
    assert client(index, url=index.url.rstrip("/"), extra_urls=("http://b/x",)).urls == (index.url, "http://b/x/")


def test_the_final_address_of_a_redirect_is_told(index: LocalIndex) -> None:
    moved = Fault(302, headers={"Location": "/simple/demo/"})
    index.fail = {"/elsewhere/": moved}
    found = client(index).page(index.url.replace("/simple/", "/elsewhere/demo/"), pages.ACCEPT)
    assert found
    assert found[2] == f"{index.url}demo/"


def test_redirects_in_a_circle_end(index: LocalIndex) -> None:
    index.fail = {"/simple/": Fault(302, times=None, headers={"Location": "/simple/demo/"})}
    with pytest.raises(PackageIndexError, match="sends us on and on"):
        page(client(index))


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_failure_is_retried(index: LocalIndex, status: int) -> None:
    index.fail = {"/simple/demo/": Fault(status)}
    assert page(client(index, retries=1))
    assert [request.status for request in index.log] == [status, 200]


@pytest.mark.parametrize(
    ("status", "said"),
    [(400, "answers 400"), (410, "answers 410"), (500, "answers 500"), (503, "answers 503")],
)
def test_a_lasting_failure_is_told(index: LocalIndex, status: int, said: str) -> None:
    index.fail = {"/simple/demo/": Fault(status, times=None)}
    with pytest.raises(PackageIndexError, match=said) as caught:
        page(client(index))
    assert f"{index.url}demo/" in str(caught.value)


def test_credentials_are_sent(index: LocalIndex) -> None:
    index.username, index.password = "me", SECRET
    assert page(client(index, username="me", password=SECRET))
    assert index.log[-1].headers["authorization"] == "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()


def test_credentials_within_the_url_are_sent_and_not_told(index: LocalIndex) -> None:
    index.username, index.password = "me", SECRET
    asking = client(index, url=index.url.replace("://", f"://me:{SECRET}@"))
    assert page(asking)
    index.fail = {"/simple/demo/": Fault(500, times=None)}
    with pytest.raises(PackageIndexError) as caught:
        page(asking)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "it wants credentials"),
        ({"username": "me", "password": "wrong"}, "check index:username and index:password"),
    ],
)
def test_a_refusal_says_what_to_check(index: LocalIndex, more: dict[str, str], said: str) -> None:
    index.username, index.password = "me", SECRET
    with pytest.raises(PackageIndexError, match=rf"refuses us \(401\): {said}") as caught:
        page(client(index, **more))
    assert "wrong" not in str(caught.value)


def test_a_refusal_names_the_setting_of_the_index_that_refuses(index: LocalIndex, tmp_path: Path) -> None:
    with LocalIndex(tmp_path / "none") as other:
        index.username, index.password = "me", SECRET
        extra = index.url.replace("://", "://me:wrong@")
        with pytest.raises(PackageIndexError) as caught:
            client(index, url=other.url, extra_urls=[extra]).page(f"{index.url}demo/", pages.ACCEPT)
        said = f"{index.url}demo/ refuses us (401): check what index:extra_urls or netrc say"
        assert str(caught.value) == said
        with pytest.raises(PackageIndexError, match=r"it wants credentials \(index:extra_urls\)"):
            client(index, url=other.url, extra_urls=[index.url]).page(f"{index.url}demo/", pages.ACCEPT)
        one_host = client(index, url=f"{index.url}a/", extra_urls=[f"{index.url}b/"])
        with pytest.raises(PackageIndexError, match=r"\(index:url or index:extra_urls\)"):
            one_host.page(f"{index.url}demo/", pages.ACCEPT)


def test_403_is_a_refusal_too(index: LocalIndex) -> None:
    index.fail = {"/simple/": Fault(403)}
    with pytest.raises(PackageIndexError, match=r"refuses us \(403\)"):
        page(client(index))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_credentials_stay_with_the_index(index: LocalIndex, tmp_path: Path, host: str) -> None:
    """A page may link anywhere: to another host, or to another service of the same host."""
    index.username, index.password = "me", SECRET
    asking = client(index, username="me", password=SECRET)
    with LocalIndex(tmp_path / "files") as stranger:
        asking.download(f"http://{host}:{stranger.port}/files/{NAME}", tmp_path / "got", "", None)
        assert "authorization" not in stranger.log[-1].headers
    asking.download(file_url(index), tmp_path / "got", "", None)
    assert "authorization" in index.log[-1].headers


@pytest.mark.parametrize(
    ("declared", "asked", "sent"),
    [
        ("http://index.invalid/simple/", "https://index.invalid/files/x", True),
        ("http://index.invalid:80/simple/", "http://index.invalid/files/x", True),
        ("https://index.invalid/simple/", "http://index.invalid/files/x", False),
        ("http://index.invalid:8080/simple/", "https://index.invalid/files/x", False),
        ("https://index.invalid/simple/", "https://index.invalid.evil.invalid/files/x", False),
        ("https://index.invalid/simple/", "https://index.invalid@evil.invalid/files/x", False),
    ],
)
def test_whose_credentials_they_are(declared: str, asked: str, sent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", os.devnull)
    asking = Client(Index(url=declared, username="me", password=SECRET))
    assert (asking._connections.keyring.of(asked) is not None) is sent


@pytest.mark.parametrize("url", ["http://[x/y", "http://host:port/y", "http:///y", "http://"])
def test_a_link_that_is_no_address(index: LocalIndex, tmp_path: Path, url: str) -> None:
    with pytest.raises(PackageIndexError):
        client(index).download(url, tmp_path / "got", "", None)


def test_credentials_do_not_follow_a_redirect_elsewhere(index: LocalIndex, tmp_path: Path) -> None:
    index.username, index.password = "me", SECRET
    with LocalIndex(tmp_path / "files") as stranger:
        asking = client(index, username="me", password=SECRET)
        index.fail = {NAME: Fault(302, headers={"Location": f"http://localhost:{stranger.port}/files/{NAME}"})}
        # The index itself wants credentials first, then its fault is due.
        index.username = index.password = ""
        asking.download(file_url(index), tmp_path / "got", "", None)
        assert len(stranger.log) == 1
        assert "authorization" not in stranger.log[-1].headers


def test_an_index_that_is_not_there(tmp_path: Path) -> None:
    url = f"http://me:{SECRET}@127.0.0.1:{closed_port()}/simple/"
    with pytest.raises(PackageIndexError, match=r"is unreachable: connection refused \(index:url") as caught:
        page(Client(Index(url=url, retries=0)))
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(PackageIndexError, match="its name cannot be resolved"):
        page(Client(Index(url="http://index.invalid/simple/", retries=0, timeout=5)))


def test_an_index_that_does_not_answer_in_time(index: LocalIndex) -> None:
    index.fail = {"/simple/": Fault(times=None, stall=30)}
    with pytest.raises(PackageIndexError, match="does not answer in time"):
        page(client(index, timeout=0.2))


def test_a_proxy_is_used_and_its_secret_not_told(index: LocalIndex) -> None:
    proxy = f"http://me:{SECRET}@127.0.0.1:{closed_port()}"
    with pytest.raises(PackageIndexError, match="unreachable") as caught:
        page(client(index, proxy=proxy))
    assert SECRET not in str(caught.value)
    assert index.log == []


def test_a_page_without_end_is_not_read(index: LocalIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "PAGE_LIMIT", 100)
    index.fail = {"/simple/": Fault(200, body=b"x" * 5000)}
    with pytest.raises(PackageIndexError, match="larger than"):
        page(client(index))


# -- files ---------------------------------------------------------------------------------------------------


class Dripping:
    """A server that sends something now and then, and never ends."""

    def __init__(self, head: bytes, drip: bytes) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/{NAME}"
        self._head, self._drip = head, drip
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(self._head)
            while not self._ended.wait(0.001 if len(self._drip) > 1 else 0.2):
                connection.sendall(self._drip)

    def __enter__(self) -> Dripping:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._server.close()


@pytest.mark.parametrize("head", ["Content-Length: 100000", "X-No: length"])
def test_a_server_that_never_ends_is_given_up(
    index: LocalIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    monkeypatch.setattr(connections, "LONGEST", 0)
    with (
        Dripping(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode(), b"x") as server,
        pytest.raises(PackageIndexError, match="does not end within 1 s"),
    ):
        client(index, timeout=1).download(server.url, tmp_path / "x", "", None)


def test_a_file_without_end_is_not_kept(index: LocalIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "LARGEST", 4 << 20)
    with (
        Dripping(b"HTTP/1.1 200 OK\r\n\r\n", bytes(1 << 20)) as server,
        pytest.raises(PackageIndexError, match="is longer than 4 MB"),
    ):
        client(index).download(server.url, tmp_path / "x", "", None)
    assert not (tmp_path / "x").exists()


def test_a_query_is_not_told(tmp_path: Path, index: LocalIndex) -> None:
    url = f"http://127.0.0.1:{closed_port()}/{NAME}?sig={SECRET}"
    with pytest.raises(PackageIndexError) as caught:
        client(index).download(url, tmp_path / "x", "", None)
    assert SECRET not in str(caught.value)


def test_a_download_tells_its_hash(index: LocalIndex, tmp_path: Path) -> None:
    entry = index.files[NAME]
    found = client(index).download(file_url(index), tmp_path / "got", entry.sha256, entry.size)
    assert found == entry.sha256 == hashlib.sha256((tmp_path / "got").read_bytes()).hexdigest()


def test_a_hash_that_the_index_does_not_know_is_computed(index: LocalIndex, tmp_path: Path) -> None:
    assert client(index).download(file_url(index), tmp_path / "got", "", None) == index.files[NAME].sha256


def test_a_flipped_bit_is_noticed(index: LocalIndex, tmp_path: Path) -> None:
    index.fail = {NAME: Fault(corrupt=True)}
    entry = index.files[NAME]
    with pytest.raises(PackageIndexError, match=r"has sha256 .*…, its page says .*…; nothing was kept"):
        client(index).download(file_url(index), tmp_path / "got", entry.sha256, entry.size)


def test_a_file_that_ends_early_is_noticed(index: LocalIndex, tmp_path: Path) -> None:
    index.fail = {NAME: Fault(times=None, truncate_at=100)}
    entry = index.files[NAME]
    with pytest.raises(PackageIndexError):
        client(index).download(file_url(index), tmp_path / "got", entry.sha256, entry.size)


@pytest.mark.parametrize(("lie", "said"), [(-1, "is longer than"), (1, "ended after")])
def test_a_size_that_is_a_lie(index: LocalIndex, tmp_path: Path, lie: int, said: str) -> None:
    entry = index.files[NAME]
    with pytest.raises(PackageIndexError, match=said):
        client(index).download(file_url(index), tmp_path / "got", entry.sha256, entry.size + lie)


@pytest.mark.parametrize(("status", "said"), [(404, "answers 404"), (401, "refuses us"), (500, "answers 500")])
def test_a_file_that_cannot_be_had(index: LocalIndex, tmp_path: Path, status: int, said: str) -> None:
    index.fail = {NAME: Fault(status, times=None)}
    with pytest.raises(PackageIndexError, match=said):
        client(index).download(file_url(index), tmp_path / "got", "", None)
    assert not (tmp_path / "got").exists()


def test_a_disk_that_cannot_be_written_is_not_the_networks_fault(index: LocalIndex, tmp_path: Path) -> None:
    with pytest.raises(MirrorError, match="cannot write"):
        client(index).download(file_url(index), tmp_path / "none" / "got", "", None)


# -- where to ask --------------------------------------------------------------------------------------------


def test_the_configured_index_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.internal/simple")
    assert default_url() == "https://index.internal/simple"


@pytest.mark.parametrize("ask", ["as it is", "raise SystemExit('pip is another one by now')"])
def test_the_index_of_pips_configuration_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ask: str) -> None:
    if ask != "as it is":
        monkeypatch.setattr(fetch, "_ASK", ask)
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://from-file.internal/simple\n")
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert default_url() == "https://from-file.internal/simple"


def _somewhere(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Let us be where somebody else has put what is called like what we import."""
    for name in ("pip", "runpy"):
        (place / name).mkdir()
        (place / name / "__init__.py").write_text(f"open({str(place / 'run')!r}, 'w')\nraise SystemExit")
    monkeypatch.chdir(place)


def test_nothing_is_run_that_is_called_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nor where pip cannot be asked the short way."""
    _somewhere(monkeypatch, tmp_path)
    monkeypatch.setattr(fetch, "_ASK", "raise SystemExit('pip is another one by now')")
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://from-file.internal/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert default_url() == "https://from-file.internal/simple"
    assert not (tmp_path / "run").exists()


def test_what_a_site_prints_is_no_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('welcome')")
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://from-file.internal/simple\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert default_url() == "https://from-file.internal/simple"


def test_pips_own_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever is called pip where somebody happens to be, and without pip in this process."""
    _somewhere(monkeypatch, tmp_path)
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    loggers = logging.getLoggerClass()
    found = default_url()
    assert logging.getLoggerClass() is loggers
    assert found.startswith("https://")
    assert found.endswith("/simple")


def test_without_any_pip_the_setting_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(PackageIndexError, match="set index:url"):
        default_url()
