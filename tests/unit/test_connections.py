"""An authenticated index with a private certificate authority, proxies, redirects, netrc: who is told what."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import connections, pages
from pipmirror_lib.errors import PackageIndexError
from pipmirror_lib.fetch import Client
from pipmirror_lib.settings import Index

from tests.support.dists import make_wheel
from tests.support.localindex import Fault, LocalIndex
from tests.support.proxy import Proxy
from tests.support.tls import Authority

NAME = "demo-1.0-py3-none-any.whl"
USER, SECRET = "somebody", "hunter2"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine that the tests run on."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in connections.CA_VARIABLES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", os.devnull)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    make_wheel(tmp_path / "files")
    return tmp_path / "files"


@pytest.fixture
def secure(files: Path, authority: Authority) -> Iterator[LocalIndex]:
    """The index that everything is about: TLS, and a password."""
    with LocalIndex(files, username=USER, password=SECRET, tls=authority.context()) as running:
        yield running


@pytest.fixture
def stranger(files: Path) -> Iterator[LocalIndex]:
    """Another server; under the name localhost another host than the index's 127.0.0.1."""
    with LocalIndex(files) as running:
        yield running


@pytest.fixture
def known(authority: Authority) -> dict[str, Any]:
    """What the administrator has declared of the secure index."""
    return {"username": USER, "password": SECRET, "ca_cert": str(authority.bundle)}


def client(index: LocalIndex, **more: Any) -> Client:
    return Client(Index(**{"url": index.url, "retries": 0, "timeout": 5, **more}))


def page(client: Client, project: str = "demo") -> tuple[bytes, str, str] | None:
    return client.page(f"{client.urls[0]}{project}/", pages.ACCEPT)


def refused(client: Client, project: str = "demo") -> str:
    """The one line in which it is said; it names the URL, and no secret."""
    with pytest.raises(PackageIndexError) as caught:
        page(client, project)
    said = str(caught.value)
    assert "\n" not in said
    assert SECRET not in said
    assert f"/simple/{project}/" in said
    return said


def file_url(index: LocalIndex, host: str = "127.0.0.1", name: str = NAME) -> str:
    return index.url_for(host).replace("/simple/", f"/files/{name}")


def sent(index: LocalIndex) -> bool:
    """Whether its last request held credentials."""
    return "authorization" in index.log[-1].headers


def moved(place: str, times: int | None = None) -> Fault:
    return Fault(302, times=times, headers={"Location": place})


# -- certificates --------------------------------------------------------------------------------------------


def test_a_private_authority_and_credentials(secure: LocalIndex, known: dict[str, Any], tmp_path: Path) -> None:
    asking = client(secure, **known)
    assert page(asking)
    entry = secure.files[NAME]
    assert asking.download(file_url(secure), tmp_path / "got", entry.sha256, entry.size) == entry.sha256


@pytest.mark.parametrize("variable", connections.CA_VARIABLES)
def test_the_authority_of_the_environment(
    secure: LocalIndex, known: dict[str, Any], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, known.pop("ca_cert"))
    assert page(client(secure, **known))


def test_the_declared_authority_is_asked_before_the_environments(
    secure: LocalIndex, known: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(Authority(tmp_path / "other").bundle))
    assert page(client(secure, **known))


def test_an_authority_that_nobody_declared(secure: LocalIndex, known: dict[str, Any], tmp_path: Path) -> None:
    """One line, at once, and nothing was told to whoever it is."""
    other = str(Authority(tmp_path / "other").bundle)
    for more in ({**known, "ca_cert": ""}, {**known, "ca_cert": other}):
        said = refused(client(secure, **more, retries=3))
        assert "its certificate is not trusted; set index:ca_cert" in said
    assert secure.log == []


@pytest.mark.parametrize(
    ("names", "expired", "said"),
    [
        ((), True, "its certificate has expired"),
        (("elsewhere.invalid",), False, "its certificate is for another"),
        (("localhost",), False, "its certificate is for another"),
    ],
)
def test_a_certificate_that_is_not_good(
    files: Path, authority: Authority, known: dict[str, Any], names: tuple[str, ...], expired: bool, said: str
) -> None:
    with LocalIndex(files, tls=authority.context(*names, expired=expired)) as index:
        assert said in refused(client(index, **known))
        assert index.log == []


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), ("no certificate", "holds no certificates"), ("", "holds no certificates")],
)
def test_a_bundle_that_is_none(secure: LocalIndex, tmp_path: Path, content: str | None, said: str) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    with pytest.raises(PackageIndexError, match=rf"index:ca_cert: {bundle}: {said}"):
        page(client(secure, ca_cert=str(bundle)))


@pytest.mark.parametrize("trusted", ["127.0.0.1", "127.0.0.1:{port}"])
def test_a_trusted_host_needs_no_certificate_and_no_other_host_goes_without(
    secure: LocalIndex, files: Path, authority: Authority, tmp_path: Path, trusted: str
) -> None:
    settings: dict[str, Any] = {"username": USER, "password": SECRET}
    settings["trusted_hosts"] = (trusted.format(port=secure.port),)
    assert page(client(secure, **settings))
    with LocalIndex(files, tls=authority.context()) as other:
        secure.username = secure.password = ""
        # The page links there, the index sends us there.
        secure.fail = {NAME: moved(file_url(other, "localhost"))}
        for url in (file_url(other, "localhost"), file_url(secure)):
            with pytest.raises(PackageIndexError, match=r"localhost.* its certificate is not trusted"):
                client(secure, **settings).download(url, tmp_path / "got", "", None)
        assert other.log == []


def test_a_trusted_port_is_not_the_whole_host(secure: LocalIndex, stranger: LocalIndex) -> None:
    assert "not trusted" in refused(client(secure, trusted_hosts=(f"127.0.0.1:{stranger.port}",)))


# -- redirects -----------------------------------------------------------------------------------------------


def test_a_redirect_to_another_host_takes_no_credentials_along(
    secure: LocalIndex, files: Path, authority: Authority, known: dict[str, Any], tmp_path: Path
) -> None:
    with LocalIndex(files, tls=authority.context()) as other:
        for host in ("localhost", "127.0.0.1"):  # another host, and another service of the same
            secure.fail = {NAME: moved(file_url(other, host))}
            client(secure, **known).download(file_url(secure), tmp_path / "got", "", None)
            assert not sent(other)
            assert sent(secure)


def test_credentials_within_a_redirect_are_a_strangers(secure: LocalIndex, known: dict[str, Any]) -> None:
    elsewhere = secure.url_for("localhost").replace("://", "://their:own@") + "demo/"
    secure.fail = {"/simple/": moved(elsewhere, times=1)}
    asking = client(secure, **known)
    with pytest.raises(PackageIndexError, match=r"localhost.* refuses us \(401\): it wants credentials"):
        page(asking)
    assert not sent(secure)


def test_a_way_back_to_the_index_has_its_credentials(
    secure: LocalIndex, stranger: LocalIndex, known: dict[str, Any], tmp_path: Path
) -> None:
    stranger.fail = {NAME: moved(file_url(secure))}
    client(secure, **known).download(file_url(stranger, "localhost"), tmp_path / "got", "", None)
    assert not sent(stranger)
    assert sent(secure)


def test_the_credentials_of_one_address_are_not_the_next_ones(
    secure: LocalIndex, stranger: LocalIndex, authority: Authority, tmp_path: Path
) -> None:
    secure.fail = {NAME: moved(file_url(stranger, "localhost"))}
    asking = Client(Index(url=stranger.url, ca_cert=str(authority.bundle), trusted_hosts=("localhost",), retries=0))
    asking.download(file_url(secure), tmp_path / "got", "", None, (USER, SECRET))
    assert sent(secure)
    assert not sent(stranger)


def test_from_https_to_http_is_no_way(
    secure: LocalIndex, stranger: LocalIndex, known: dict[str, Any], tmp_path: Path
) -> None:
    secure.fail = {"/simple/": moved(f"{stranger.url}demo/")}
    said = refused(client(secure, **known))
    assert "sends us from https to http://127.0.0.1" in said
    assert "index:trusted_hosts" in said
    assert stranger.log == []
    assert page(client(secure, **known, trusted_hosts=("127.0.0.1",)))
    assert not sent(stranger)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("file:///etc/passwd", "file:///etc/passwd, which is no address on the web"),
        ("ftp://127.0.0.1/demo", "ftp://127.0.0.1/demo, which is no address on the web"),
        ("data:text/html,x", "which is no address on the web"),
        ("https:///demo/", "which is no address on the web"),
        ("http://[::1/demo", "sends us to an invalid URL"),
        ("http://127.0.0.1:99999999/", "sends us to .*: Port out of range"),
        ("http://\u202e\udce2\x7f/", "unreachable|no address|invalid"),
        ("/simple/demo/", "sends us on and on, at last to http://"),
        ("", "sends us on and on"),
        ("?again", "sends us on and on"),
    ],
)
def test_redirects_that_lead_nowhere(stranger: LocalIndex, place: str, said: str) -> None:
    there = place.encode("utf-8", "surrogateescape").decode("latin-1")
    stranger.fail = {"/": moved(there)} if place.startswith(("/", "?")) or not place else {"/simple/": moved(there)}
    with pytest.raises(PackageIndexError, match=said) as caught:
        page(client(stranger))
    assert "\n" not in str(caught.value)
    assert len(stranger.log) <= 12


def test_a_query_is_logged_by_nobody(stranger: LocalIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stranger.fail = {"/simple/": moved(f"{file_url(stranger)}?token={SECRET}")}
    with caplog.at_level("DEBUG"):
        asking = client(stranger)
        assert page(asking)
        asking.download(f"{file_url(stranger)}?token={SECRET}", tmp_path / "got", "", None)
        asking.close()
    assert NAME in caplog.text, "the library does log what it asks for"
    assert SECRET not in caplog.text


# -- netrc ---------------------------------------------------------------------------------------------------


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(path))
    return path


def test_netrc_is_for_the_declared_index(secure: LocalIndex, notes: Path, authority: Authority) -> None:
    for line in ("machine 127.0.0.1 login {} password {}", "default login {} password {}"):
        notes.write_text(line.format(USER, SECRET))
        assert page(client(secure, ca_cert=str(authority.bundle)))


def test_netrc_in_the_home_directory(
    secure: LocalIndex, tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NETRC")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login {USER} password {SECRET}")
    (tmp_path / ".netrc").chmod(0o600)
    assert page(client(secure, ca_cert=str(authority.bundle)))


def test_the_declaration_wins_over_netrc(secure: LocalIndex, notes: Path, known: dict[str, Any]) -> None:
    notes.write_text(f"machine 127.0.0.1 login {USER} password outdated")
    assert page(client(secure, **known))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_netrc_is_not_for_wherever_strangers_send_us(
    stranger: LocalIndex, files: Path, notes: Path, tmp_path: Path, host: str
) -> None:
    """Neither its default entry, nor an entry of a machine in the clear, by a link or by a redirect."""
    secret = f"login {USER} password {SECRET}"
    notes.write_text(f"machine 127.0.0.1 {secret}\nmachine localhost {secret}\ndefault {secret}")
    with LocalIndex(files) as other:
        asking = client(stranger)
        stranger.fail = {NAME: moved(file_url(other, host))}
        for url in (file_url(other, host), file_url(stranger)):
            asking.download(url, tmp_path / "got", "", None)
            assert not sent(other)
        assert sent(stranger)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("https://files.invalid/x", True),
        ("https://files.invalid:8443/x", False),
        ("http://files.invalid/x", False),
        ("https://other.invalid/x", False),
        ("https://index.invalid/x", True),
        ("http://index.invalid/x", False),
    ],
)
def test_which_address_netrc_is_asked_for(notes: Path, asked: str, found: bool) -> None:
    notes.write_text("machine files.invalid login a password b\ndefault login c password d")
    asking = Client(Index(url="https://index.invalid/simple/"))
    assert (asking._connections.keyring.of(asked) is not None) is found


def test_a_netrc_that_nobody_understands_is_told_where_it_matters(secure: LocalIndex, notes: Path) -> None:
    notes.write_text(f"machine 127.0.0.1\nlogin {USER} pass word {SECRET}\n")
    said = refused(client(secure, trusted_hosts=("127.0.0.1",)))
    assert "it wants credentials" in said
    assert str(notes) in said


# -- several owners on one host ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/simple/demo/", "one"),
        ("/b/simple/demo/", "two"),
        ("/b/files/demo.whl", "two"),
        ("/files/demo.whl", "one"),
    ],
)
def test_credentials_of_the_nearest_index(path: str, name: str) -> None:
    two = ("https://one:x@index.invalid/a/simple/", "https://two:y@index.invalid/b/simple/")
    asking = Client(Index(url=two[0], extra_urls=two[1:]))
    found = asking._connections.keyring.of(f"https://index.invalid{path}")
    assert found
    assert found[0] == name


# -- proxies -------------------------------------------------------------------------------------------------


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(username=USER, password=SECRET) as running:
        yield running


def test_a_tunnel_through_the_declared_proxy(secure: LocalIndex, known: dict[str, Any], proxy: Proxy) -> None:
    assert page(client(secure, **known, proxy=proxy.url))
    (line,) = proxy.log
    assert line.startswith(f"CONNECT 127.0.0.1:{secure.port} ")
    assert "proxy-authorization" not in secure.log[-1].headers


def test_plain_http_through_the_declared_proxy(stranger: LocalIndex, proxy: Proxy) -> None:
    assert page(client(stranger, proxy=proxy.url))
    assert proxy.log == [f"GET {stranger.url}demo/ HTTP/1.1"]
    assert "proxy-authorization" not in stranger.log[-1].headers


@pytest.mark.parametrize("tls", [True, False])
def test_a_proxy_that_refuses_us(
    secure: LocalIndex, stranger: LocalIndex, known: dict[str, Any], proxy: Proxy, tls: bool
) -> None:
    index = secure if tls else stranger
    said = refused(client(index, **known, proxy=f"http://{USER}:wrong@{proxy.address}", retries=2))
    assert "proxy" in said
    assert "407" in said
    assert "wrong" not in said.replace("wants", "")
    assert index.log == []
    assert len(proxy.refused) == 1, "asking again is of no use"


def test_a_proxy_that_is_not_there(secure: LocalIndex, known: dict[str, Any]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    said = refused(client(secure, **known, proxy=f"http://{USER}:{SECRET}@127.0.0.1:{port}"))
    assert "its proxy cannot be reached" in said
    assert "index:proxy" in said


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_the_proxy_of_the_environment(
    secure: LocalIndex, known: dict[str, Any], proxy: Proxy, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy.url)
    assert page(client(secure, **known))
    assert len(proxy.log) == 1
    monkeypatch.setenv("no_proxy", "example.invalid,127.0.0.1")
    assert page(client(secure, **known))
    assert len(proxy.log) == 1, "no_proxy is an exception from it"


def test_each_host_has_its_own_exceptions_and_the_environment_is_read_once_for_it(
    stranger: LocalIndex, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    read: list[str] = []
    found = connections.get_environ_proxies
    monkeypatch.setattr(connections, "get_environ_proxies", lambda url: read.append(url) or found(url))
    asking = client(stranger)
    for number in range(2):
        asking.download(file_url(stranger), tmp_path / f"{number}", "", None)
        assert proxy.log == [], "an exception from it"
    asking.download(file_url(stranger, "localhost"), tmp_path / "2", "", None)
    assert (len(proxy.log), len(read)) == (1, 2)


def test_the_declared_proxy_wins_over_the_environment(
    secure: LocalIndex, known: dict[str, Any], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """no_proxy too is the environment's: what is declared holds for every host."""
    with Proxy() as other:
        monkeypatch.setenv("HTTPS_PROXY", other.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert page(client(secure, **known, proxy=proxy.url))
        assert len(proxy.log) == 1
        assert other.log == []


def test_redirects_go_through_the_proxy_too(
    stranger: LocalIndex, secure: LocalIndex, known: dict[str, Any], proxy: Proxy, tmp_path: Path
) -> None:
    secure.fail = {NAME: moved(file_url(stranger, "localhost"))}
    asking = client(secure, **known, proxy=proxy.url, trusted_hosts=("localhost",))
    asking.download(file_url(secure), tmp_path / "got", "", None)
    assert len(proxy.log) == 2
    assert "proxy-authorization" not in stranger.log[-1].headers
