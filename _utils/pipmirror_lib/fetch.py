"""Pages and files of a package index: which one is asked, and what of its answers is taken."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from pipmirror_lib.answers import CHUNK, Answer
from pipmirror_lib.connections import CONNECTIONS, Connections
from pipmirror_lib.credentials import split
from pipmirror_lib.errors import PackageIndexError
from pipmirror_lib.logs import short
from pipmirror_lib.pages import bare
from pipmirror_lib.settings import Index
from pipmirror_lib.transfer import Transfer

__all__ = ["CONNECTIONS", "Client", "default_url"]

# Of what pages say, and of METADATA; the largest known have some 8 MB.
PAGE_LIMIT = 32 << 20
# Of a file whose page does not say how large it is.
LARGEST = 4 << 30


# pip's own command takes three times as long; and within this process, pip would set the class of all new loggers.
_ASK = """
import sys
sys.path[:] = filter(None, sys.path)  # whatever is called pip in the current directory
from pip._internal.configuration import Configuration
from pip._internal.exceptions import ConfigurationError
from pip._internal.models.index import PyPI
known = Configuration(isolated=False)
known.load()
try:
    print(known.get_value("global.index-url"))
except ConfigurationError:
    print(PyPI.simple_url)
"""
_COMMAND = """
import sys
sys.path[:] = filter(None, sys.path)
import runpy
sys.argv[:] = ["pip", "config", "get", "global.index-url"]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def default_url() -> str:
    """The index that this machine's pip is configured for, else pip's own default."""
    found = os.environ.get("PIP_INDEX_URL") or _said(_ASK) or _said(_COMMAND)
    if not found:
        raise PackageIndexError("index:url is not set and Salt's Python has no pip that could tell; set index:url")
    return found


def _said(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    # What Python itself runs at its start (.pth, sitecustomize) may have printed something before.
    return done.stdout.strip().rpartition("\n")[2] if done.returncode == 0 else ""


class Client:
    """Pages and files for a whole run; safe to use from several threads."""

    def __init__(self, settings: Index) -> None:
        self.settings = settings = settings if settings.url else replace(settings, url=default_url())
        declared = [url.rstrip("/") + "/" for url in (settings.url, *settings.extra_urls)]
        self.urls = tuple(split(url)[0] for url in declared)
        self._connections = Connections(declared, settings)

    def close(self) -> None:
        self._connections.close()

    def page(self, url: str, accept: str) -> tuple[bytes, str, str] | None:
        """(content, content type, final URL) of a page, or None where the index has no such page."""
        with self._get(url, {"Accept": accept, "Accept-Encoding": "gzip"}) as response:
            if response.status_code == 404:
                return None
            self._check(response)
            return response.decoded(PAGE_LIMIT), response.headers.get("Content-Type", ""), response.url

    def download(
        self,
        url: str,
        target: Path,
        sha256: str,
        size: int | None,
        credentials: tuple[str, str] | None = None,
        promise: str = "its page",
    ) -> str:
        """Write a file while hashing it; the sha256 is returned, and must be the one that was promised, by whomever.

        What `target` has already is not fetched again where the sha256 is known. A connection that breaks is opened
        again, as often as a request is repeated, for what is still lacking.
        `credentials` are those of the URL itself; where it sends us to another host, they do not go there.
        """
        most = LARGEST if size is None else size
        with Transfer(bare(url), target, sha256, size, most, promise) as file:
            left, pause = self.settings.retries, 0.5
            while not file.is_whole:
                begun = file.received
                with self._get(url, file.headers, credentials, most) as answer:
                    if not (begun and file.goes_on(answer)):
                        if not begun or answer.status_code not in (206, 416):
                            self._check(answer)
                        file.restart()  # the server cannot go on, or has another file by now
                        if answer.status_code != 200:
                            continue
                    broken = file.take(answer)
                    if broken and not left:
                        raise broken
                if broken:
                    self._connections.pause(url, pause)
                    left, pause = left - 1, pause * 2
                elif not (begun and file.fault()):
                    break
                if not (broken and sha256):  # another file than what had begun, or nothing could tell that it is not
                    file.restart()
            file.check()
            return file.digest

    def part(self, url: str, begin: int, end: int, size: int) -> bytes | None:
        """The bytes from `begin` up to `end` of a file, or None where the server gives only whole files.

        PackageIndexError for a file of another size than its page says.
        """
        headers = {"Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity"}
        with self._get(url, headers) as response:
            if response.status_code not in (200, 206, 416):
                self._check(response)
            given = response.headers.get("Content-Range", "").lower().strip()
            whole = given.rpartition("/")[2]
            if response.status_code != 200 and whole.isdecimal() and int(whole[:20]) != size:
                raise PackageIndexError(f"{bare(url)} has {whole[:20]} bytes, its page says {size}")
            # Who ignores the range answers 200.
            if response.status_code != 206 or not re.fullmatch(rf"bytes {begin}-{end - 1}/(\d+|\*)", given):
                return None
            content = bytearray()
            for chunk in response.iter_content(CHUNK):
                content += chunk
                if len(content) > end - begin:
                    return None
            return bytes(content) if len(content) == end - begin else None

    def _get(
        self, url: str, headers: dict[str, str], credentials: tuple[str, str] | None = None, most: int = PAGE_LIMIT
    ) -> AbstractContextManager[Answer]:
        return self._connections.get(url, headers, credentials, most)

    def _check(self, answer: Answer) -> None:
        if answer.status_code in (401, 403):
            raise PackageIndexError(f"{bare(answer.url)} refuses us ({answer.status_code}): {self._advice(answer.url)}")
        if answer.status_code == 407:
            raise PackageIndexError(f"the proxy on the way to {bare(answer.url)} refuses us (407): check index:proxy")
        if answer.status_code != 200:
            raise PackageIndexError(f"{bare(answer.url)} answers {answer.status_code} {short(answer.reason)}")

    def _advice(self, url: str) -> str:
        keyring = self._connections.keyring
        setting = keyring.setting_of(url)
        if keyring.of(url):
            # Username and password are for the first index alone.
            first = "index:username and index:password, or " if "index:url" in setting else ""
            return f"check {first}what {setting + ' or netrc say' if setting else 'netrc says'}"
        wants = f"it wants credentials ({setting})" if setting else "it wants credentials"
        return f"{wants}; {keyring.fault}" if keyring.fault else wants
