"""Requests to an index and to wherever it sends us: credentials, certificates, proxies, redirects, patience.

Each step of a redirect is a request of its own, with the credentials, trust and proxy of its own host. This process,
and the one that downloads for it, alone hold the credentials; they never leave them for a container, a log or a file.
"""

from __future__ import annotations

import logging
import os
import re
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

import requests
from requests.utils import get_environ_proxies
from urllib3.exceptions import HTTPError

from pipmirror_lib import __version__, credentials
from pipmirror_lib.answers import Answer
from pipmirror_lib.credentials import Keyring, Pair
from pipmirror_lib.deadlines import Clock, Deadline
from pipmirror_lib.errors import PackageIndexError
from pipmirror_lib.lazily import made_once
from pipmirror_lib.logs import short
from pipmirror_lib.pages import bare
from pipmirror_lib.settings import Index
from pipmirror_lib.trust import Adapter

# Bytes a second below which, and seconds after which, we give up.
SLOWEST, LONGEST = 64 << 10, 7200
CONNECTIONS = 16
# A server may ask for patience, not for hours of it: the platform is locked meanwhile.
PATIENCE = 30  # seconds
_MOVES = 10
_AGENT = f"pipmirror/{__version__}"
_QUERY = re.compile(r"\?[^\s)]*")
_MOVED, _PASSING = (301, 302, 303, 307, 308), (429, 500, 502, 503, 504)
CA_VARIABLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


class Connections:
    """One pool for a whole run; safe to use from several threads."""

    def __init__(self, urls: Sequence[str], settings: Index) -> None:
        self.keyring = Keyring(urls, settings)
        self._settings = settings
        self._closed = threading.Event()
        self._clock = Clock()
        self._proxies: dict[tuple[str, ...], dict[str, str]] = {}
        # Without the library's session, which would take netrc for any host that asks, and read redirects to their end.
        # Pages and files are fetched side by side, and one server may have both.
        self._adapter = Adapter(2 * CONNECTIONS)
        # A query may hold a token, and the library logs it for whoever has his log at debug.
        self._discretion = _Discretion()
        logging.getLogger("urllib3.connectionpool").addFilter(self._discretion)

    def close(self) -> None:
        """Also while threads are at it: they are told that what they ask for was given up."""
        self._closed.set()
        self._clock.hang_up()
        self._adapter.close()
        logging.getLogger("urllib3.connectionpool").removeFilter(self._discretion)

    def pause(self, url: str, seconds: float) -> None:
        """Before it is asked again; the end of the run ends that as well."""
        if self._closed.wait(min(seconds, PATIENCE)):
            raise PackageIndexError(f"{bare(url)} was given up")

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str], own: Pair | None, most: int) -> Iterator[Answer]:
        """An answer of at most so many bytes, which tell how long we wait for the end of it.

        `own` are credentials for this very address; others are looked up. PackageIndexError, in one line, for
        whatever goes wrong until the caller is done with it.
        """
        with self._clock.deadline() as limit:
            answer = self._answer(url, headers, own, limit)
            seconds = self._settings.timeout + min(most / SLOWEST, LONGEST)
            limit.within(seconds)
            try:
                yield answer
                if limit.late.is_set():  # what ends with its connection looks as if it were whole
                    raise requests.ConnectionError("given up")
            except (requests.RequestException, HTTPError, OSError, PackageIndexError) as error:
                if limit.late.is_set():
                    raise PackageIndexError(
                        f"{bare(answer.url)} does not end within {seconds:.0f} s; it was given up"
                    ) from error
                if isinstance(error, (requests.RequestException, HTTPError)):
                    raise PackageIndexError(self._unreachable(answer.url, error)) from error
                raise
            finally:
                answer.close()

    def _answer(self, url: str, headers: Mapping[str, str], own: Pair | None, limit: Deadline) -> Answer:
        """The last of a chain of redirects."""
        place, within = credentials.split(url)
        first, own = place, own or within
        for _ in range(_MOVES + 1):
            origin = credentials.origin_of(place)
            mine = own if credentials.covers(credentials.origin_of(first), origin) else None
            answer = self._patient(place, headers, mine or self.keyring.of(place), limit)
            moved = answer.headers.get("Location") if answer.status_code in _MOVED else None
            if moved is None:
                return answer
            answer.skip()
            place = self._next(place, moved)
        raise PackageIndexError(f"{bare(first)} sends us on and on, at last to {bare(place)}")

    def _next(self, url: str, location: str) -> str:
        """Where a redirect leads; credentials in it are a stranger's and go nowhere."""
        try:
            place, _ = credentials.split(urljoin(url, location.encode("latin-1").decode("utf-8", "replace").strip()))
            scheme, host, _ = credentials.origin_of(place)
        except ValueError as error:
            raise PackageIndexError(f"{bare(url)} sends us to an invalid URL") from error
        if scheme not in ("http", "https") or not host:
            raise PackageIndexError(f"{bare(url)} sends us to {short(bare(place))}, which is no address on the web")
        if (urlsplit(url).scheme, scheme) == ("https", "http") and not self._trusts(place):
            raise PackageIndexError(
                f"{bare(url)} sends us from https to {short(bare(place))}, where anybody on the way could answer; "
                f"declare an index that stays with https, or add {host} to index:trusted_hosts"
            )
        return place

    def _patient(self, url: str, headers: Mapping[str, str], pair: Pair | None, limit: Deadline) -> Answer:
        """An answer that is no passing failure, or the last one."""
        left, pause = self._settings.retries, 0.5
        while True:
            try:
                # The time to connect, and the time until the first byte of an answer.
                limit.again(2 * self._settings.timeout)
                self.pause(url, 0)
                answer = self._ask(url, headers, pair)
                if limit.late.is_set():
                    answer.close()
                    raise requests.Timeout("timed out")
            except (requests.RequestException, HTTPError) as error:
                limit.drop()
                if not left or _is_lasting(error):
                    why = requests.Timeout("timed out") if limit.late.is_set() else error
                    raise PackageIndexError(self._unreachable(url, why)) from error
                seconds = pause
            else:
                if answer.status_code not in _PASSING or not left:
                    return answer
                seconds = _asked(answer, pause)
                answer.skip()
            self.pause(url, seconds)
            left, pause = left - 1, pause * 2

    def _ask(self, url: str, headers: Mapping[str, str], pair: Pair | None) -> Answer:
        proxy = self._settings.proxy
        try:
            request = requests.Request("GET", url, {"User-Agent": _AGENT, **headers}, auth=pair and _encoded(pair))
            response = self._adapter.send(
                request.prepare(),
                stream=True,
                timeout=self._settings.timeout,
                verify=not self._trusts(url) and self._bundle,
                proxies={"http": proxy, "https": proxy} if proxy else self._environs(url),
            )
        except UnicodeError as error:
            raise requests.exceptions.InvalidURL("it is no URL") from error
        return Answer(response)

    def _trusts(self, url: str) -> bool:
        return credentials.is_trusted(url, self._settings.trusted_hosts)

    def _environs(self, url: str) -> dict[str, str]:
        """The environment's proxies, whose exceptions (no_proxy) name hosts; each look reads all of the environment."""
        place = urlsplit(url)[:2]
        if place not in self._proxies:
            self._proxies[place] = get_environ_proxies(url)
        return self._proxies[place]

    @made_once
    def _bundle(self) -> str | bool:
        """The certificates that are trusted; True for those that come with the library."""
        named = {"index:ca_cert": self._settings.ca_cert} | {name: os.environ.get(name, "") for name in CA_VARIABLES}
        key, path = next(((key, path) for key, path in named.items() if path), ("", ""))
        try:
            if path and not os.path.isdir(path):
                self._adapter.context(path)
        except OSError as error:  # of which ssl's own errors are
            reason = "holds no certificates" if isinstance(error, ssl.SSLError) else error.strerror
            raise PackageIndexError(f"{key}: {path}: {reason}") from error
        return path or True

    def _unreachable(self, url: str, error: Exception) -> str:
        """One line; the library's own text repeats the URL and the whole chain of causes."""
        text = _QUERY.sub("", re.sub(r"://[^/\s]*@", "://", str(error)))
        reason = next((said for part, said in _KNOWN.items() if part in text), short(text.splitlines()[0])[:160])
        settings = ", ".join(filter(None, (self.keyring.setting_of(url), "index:proxy", "index:timeout")))
        return f"package index {bare(url)} is unreachable: {reason} ({settings})"


_KNOWN = {
    "407 ": "its proxy wants other credentials (407)",
    "Cannot connect to proxy": "its proxy cannot be reached",
    "Tunnel connection failed": "its proxy does not let us through",
    "Unable to connect to proxy": "its proxy cannot be reached",
    "Name or service not known": "its name cannot be resolved",
    "name resolution": "its name cannot be resolved",
    "Connection refused": "connection refused",
    "Network is unreachable": "network is unreachable",
    "timed out": "it does not answer in time",
    "certificate has expired": "its certificate has expired",
    "ostname mismatch": "its certificate is for another name",
    "IP address mismatch": "its certificate is for another address",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not trusted; set index:ca_cert",
}


class _Discretion(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_QUERY.sub("", part) if isinstance(part, str) else part for part in record.args)
        return True


def _is_lasting(error: Exception) -> bool:
    """What will be the same in a second."""
    final = (requests.exceptions.InvalidURL, requests.exceptions.InvalidProxyURL, requests.exceptions.InvalidSchema)
    return isinstance(error, final) or any(text in str(error) for text in ("CERTIFICATE_VERIFY_FAILED", "407 "))


def _asked(answer: Answer, pause: float) -> float:
    """How long the server wants to be left alone; dates and nonsense count as nothing said."""
    said = answer.headers.get("Retry-After", "").strip()
    return max(float(said[:9]), 0.0) if said.isascii() and said.isdecimal() else pause


def _encoded(pair: Pair) -> Pair:
    """requests encodes as latin-1; this way what it sends is UTF-8."""
    username, password = (text.encode().decode("latin-1") for text in pair)
    return username, password
