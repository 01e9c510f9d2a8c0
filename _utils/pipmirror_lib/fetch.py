"""Connections to a package index: credentials, certificates, proxies, retries, and bounded reading.

This process alone holds the credentials; they never leave it for a container, a log or a file.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.response import BaseHTTPResponse
from urllib3.util.retry import Retry

from pipmirror_lib.errors import MirrorError, PackageIndexError
from pipmirror_lib.pages import bare
from pipmirror_lib.settings import Index

PAGE_LIMIT = 64 << 20
# Of a file whose page does not say how large it is.
LARGEST = 4 << 30
# Bytes a second below which, and seconds after which, we give up.
SLOWEST, LONGEST = 64 << 10, 7200
CHUNK = 256 << 10
CONNECTIONS = 16
PATIENCE = 30  # seconds
_Origin = tuple[str, str, int]
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def default_url() -> str:
    """The index that this machine's pip is configured for, else pip's own default."""
    configured = os.environ.get("PIP_INDEX_URL", "")
    if not configured:
        command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        configured = done.stdout.strip() if done.returncode == 0 else ""
    if configured:
        return configured
    try:
        from pip._internal.models.index import PyPI
    except ImportError as error:
        raise PackageIndexError("index:url is not set and Salt's Python has no pip to ask; set index:url") from error
    return str(PyPI.simple_url)


class _Retry(Retry):
    """A server may ask for patience, not for hours of it: the platform is locked meanwhile."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        asked = super().get_retry_after(response)
        return None if asked is None else min(asked, PATIENCE)


class Client:
    """One pool of connections for a whole run; safe to use from several threads."""

    def __init__(self, settings: Index) -> None:
        declared = [url.rstrip("/") + "/" for url in (settings.url or default_url(), *settings.extra_urls)]
        self.urls = tuple(_without_credentials(url) for url in declared)
        self._credentials = _credentials(declared, settings)
        self._settings = settings
        self._session = requests.Session()
        retries = _Retry(
            total=settings.retries,
            backoff_factor=0.5,
            status_forcelist=(429, 500, 502, 503, 504),
            allowed_methods=("GET",),
            respect_retry_after_header=True,
            raise_on_status=False,
        )
        adapter = HTTPAdapter(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS, max_retries=retries)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        environment = next((os.environ[name] for name in _CA_VARIABLES if os.environ.get(name)), "")
        self._verify: str | bool = settings.ca_cert or environment or True
        # Handed over with each request: requests lets the environment win over a session's proxies.
        self._proxies = {"http": settings.proxy, "https": settings.proxy} if settings.proxy else None

    def close(self) -> None:
        self._session.close()

    def page(self, url: str, accept: str) -> tuple[bytes, str, str] | None:
        """(content, content type, final URL) of a page, or None where the index has no such page."""
        with self._get(url, {"Accept": accept}) as response:
            if response.status_code == 404:
                return None
            self._check(response)
            content = bytearray()
            for chunk in response.iter_content(CHUNK):
                content += chunk
                if len(content) > PAGE_LIMIT:
                    raise PackageIndexError(f"{bare(url)} is larger than {PAGE_LIMIT >> 20} MB; is it an index page?")
            return bytes(content), response.headers.get("Content-Type", ""), response.url

    def download(
        self, url: str, target: Path, sha256: str, size: int | None, credentials: tuple[str, str] | None = None
    ) -> str:
        """Write a file while hashing it; the sha256 is returned, and must be the one that the index gave.

        `credentials` are those of the URL itself; requests drops them where it is sent to another host.
        """
        digest, received, most = hashlib.sha256(), 0, LARGEST if size is None else size
        with self._get(url, {"Accept-Encoding": "identity"}, credentials, most) as response:
            self._check(response)
            try:
                with target.open("wb") as file:
                    for chunk in response.iter_content(CHUNK):
                        received += len(chunk)
                        if received > most:
                            said = f"{most >> 20} MB" if size is None else f"the {size} bytes that its page says"
                            raise PackageIndexError(f"{bare(url)} is longer than {said}")
                        digest.update(chunk)
                        file.write(chunk)
            except OSError as error:
                # requests' own errors are OSErrors too; those speak of the network, not of the disk.
                if isinstance(error, requests.RequestException):
                    raise
                raise MirrorError(f"cannot write {target.parent}: {error.strerror}") from error
        found = digest.hexdigest()
        if sha256 and found != sha256:
            raise PackageIndexError(
                f"{bare(url)} has sha256 {found[:12]}…, its page says {sha256[:12]}…; nothing was kept"
            )
        if size is not None and received != size:
            raise PackageIndexError(f"{bare(url)} ended after {received} of {size} bytes")
        return found

    def part(self, url: str, begin: int, end: int) -> bytes | None:
        """The bytes from `begin` up to `end` of a file, or None where the server gives only whole files."""
        headers = {"Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity"}
        with self._get(url, headers) as response:
            # Who ignores the range answers 200; who has a file of another size may refuse it.
            if response.status_code in (200, 416):
                return None
            if response.status_code != 206:
                self._check(response)
            given = response.headers.get("Content-Range", "").lower()
            if not re.fullmatch(rf"bytes {begin}-{end - 1}/(\d+|\*)", given.strip()):
                return None
            content = bytearray()
            for chunk in response.iter_content(CHUNK):
                content += chunk
                if len(content) > end - begin:
                    return None
            return bytes(content) if len(content) == end - begin else None

    @contextmanager
    def _get(
        self, url: str, headers: dict[str, str], credentials: tuple[str, str] | None = None, most: int = PAGE_LIMIT
    ) -> Iterator[requests.Response]:
        """An answer of at most so many bytes, which tell how long we wait for the end of it."""
        origin = _origin(url)
        # Credentials belong to the declared index; a page may link anywhere.
        auth = _encoded(credentials) if credentials else self._credentials.get(origin)
        verify = False if origin[1] in self._settings.trusted_hosts else self._verify
        try:
            response = self._session.get(
                url,
                headers=headers,
                auth=auth,
                verify=verify,
                proxies=self._proxies,
                stream=True,
                timeout=self._settings.timeout,
            )
            seconds = self._settings.timeout + min(most / SLOWEST, LONGEST)
            with response, _ended(response, seconds) as late:
                try:
                    yield response
                    if late.is_set():  # what ends with its connection looks as if it were whole
                        raise requests.ConnectionError("given up")
                except (requests.RequestException, OSError) as error:
                    if not late.is_set():
                        raise
                    raise PackageIndexError(
                        f"{bare(url)} does not end within {seconds:.0f} s; it was given up"
                    ) from error
        except requests.RequestException as error:
            raise PackageIndexError(_unreachable(url, error)) from error

    def _check(self, response: requests.Response) -> None:
        if response.status_code in (401, 403):
            known = _origin(response.url) in self._credentials
            hint = "check index:username and index:password" if known else "it wants credentials"
            raise PackageIndexError(f"{bare(response.url)} refuses us ({response.status_code}): {hint}")
        if response.status_code != 200:
            raise PackageIndexError(f"{bare(response.url)} answers {response.status_code} {response.reason}")


@contextmanager
def _ended(response: requests.Response, seconds: float) -> Iterator[threading.Event]:
    """Hang up when it is time; a server that sends a byte now and then would never let a reader go."""
    late = threading.Event()

    def hang_up() -> None:
        late.set()
        with suppress(OSError, AttributeError):  # it has ended just now
            _line(response.raw).shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _line(raw: Any) -> Any:
    """The socket; of an answer that ends with its connection, http.client leaves it to the reader alone."""
    return getattr(raw.connection, "sock", None) or raw._fp.fp.raw._sock


def _credentials(urls: Sequence[str], settings: Index) -> dict[_Origin, tuple[str, str]]:
    """What each origin is told, also where it moves on from http to https."""
    found = {}
    for number, url in enumerate(urls):
        parts, origin = urlsplit(url), _origin(url)
        username, password = unquote(parts.username or ""), unquote(parts.password or "")
        if number == 0 and settings.username:
            username, password = settings.username, settings.password
        if username:
            found[origin] = _encoded((username, password))
            if origin[::2] == ("http", 80):
                found[("https", origin[1], 443)] = found[origin]
    return found


def _encoded(credentials: tuple[str, str]) -> tuple[str, str]:
    """requests encodes as latin-1; this way what it sends is UTF-8."""
    username, password = (text.encode().decode("latin-1") for text in credentials)
    return username, password


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _origin(url: str) -> _Origin:
    """Scheme, host and port."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise PackageIndexError(f"the index links to {bare(url)}: {error}") from error


def _unreachable(url: str, error: Exception) -> str:
    """One line; the library's own text repeats the URL (with credentials) and the whole chain of causes."""
    text = re.sub(r"\?[^\s)]*", "", re.sub(r"://[^/@\s]*@", "://", str(error)))
    known = {
        "Name or service not known": "its name cannot be resolved",
        "name resolution": "its name cannot be resolved",
        "Connection refused": "connection refused",
        "Network is unreachable": "network is unreachable",
        "timed out": "it does not answer in time",
        "CERTIFICATE_VERIFY_FAILED": "its certificate is not trusted; set index:ca_cert",
    }
    reason = next((said for part, said in known.items() if part in text), text.splitlines()[0][:160])
    return f"package index {bare(url)} is unreachable: {reason} (index:url, index:proxy, index:timeout)"
