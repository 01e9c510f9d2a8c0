"""TLS connections of a run: certificates are read once, and each connection is still judged by them."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pipmirror_lib import trust
from pipmirror_lib.connections import CA_VARIABLES
from pipmirror_lib.errors import PackageIndexError
from pipmirror_lib.fetch import Client
from pipmirror_lib.settings import Index


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("tls")
    key, cert = place / "key.pem", place / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@pytest.fixture
def url(certificate: tuple[Path, Path]) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"https://localhost:{server.server_port}/simple/"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*CA_VARIABLES, "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def client(url: str, **more: object) -> Client:
    return Client(Index(url=url, retries=0, timeout=5, **more))  # type: ignore[arg-type]


def test_certificates_are_read_once(url: str, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ssl.SSLContext] = []
    create = trust.create_urllib3_context

    def counted(**options: object) -> ssl.SSLContext:
        made.append(create(**options))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(trust, "create_urllib3_context", counted)
    asking = client(url, ca_cert=str(certificate[0]))
    for host in ("localhost", "127.0.0.1"):
        assert asking.page(url.replace("localhost", host), "*/*")
    assert len(made) == 1


def test_a_certificate_that_nobody_vouches_for(url: str, certificate: tuple[Path, Path]) -> None:
    with pytest.raises(PackageIndexError, match="its certificate is not trusted; set index:ca_cert"):
        client(url).page(url, "*/*")


def test_trusting_one_host_trusts_no_other(url: str, certificate: tuple[Path, Path]) -> None:
    """They would share what says whether to verify."""
    asking = client(url, trusted_hosts=("127.0.0.1",))
    trusted = url.replace("localhost", "127.0.0.1")
    for _ in range(2):
        assert asking.page(trusted, "*/*")
        with pytest.raises(PackageIndexError, match="its certificate is not trusted"):
            asking.page(url, "*/*")


def test_a_certificate_of_another_host(url: str, certificate: tuple[Path, Path]) -> None:
    with pytest.raises(PackageIndexError):
        client(url, ca_cert=str(certificate[0])).page(url.replace("localhost", "127.0.0.2"), "*/*")


def test_the_declared_certificates_win_over_the_environments(
    url: str, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    assert client(url).page(url, "*/*")
    with pytest.raises(PackageIndexError, match="No such file"):
        client(url, ca_cert=str(tmp_path / "none.pem")).page(url, "*/*")
