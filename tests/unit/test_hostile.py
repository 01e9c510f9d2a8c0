"""Servers that mean harm: whatever they say, we stop listening in time, keep our memory, and say so in one line."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable
from itertools import chain, repeat

import pytest
from packaging.utils import canonicalize_name
from pipmirror_lib import connections, fetch, pages
from pipmirror_lib.errors import PackageIndexError
from pipmirror_lib.fetch import Client
from pipmirror_lib.settings import Index

from tests.support.hostile import Hostile, Speech, forever, once
from tests.support.memory import measured

OK = b"HTTP/1.1 200 OK\r\n"
HTML = OK + b"Content-Type: text/html\r\n"
JSON = OK + f"Content-Type: {pages.JSON_TYPE}\r\n".encode()
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
MEGABYTE = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
ZEROS = gzip.compress(bytes(64 << 20), 9)  # 64 KB of it are 64 MB


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", os.devnull)


def client(server: Hostile, **more: int) -> Client:
    return Client(Index(url=server.url, **{"retries": 0, "timeout": 5, **more}))


def refused(asking: Client) -> str:
    """The one line in which it is said; it names the URL."""
    with pytest.raises(PackageIndexError) as caught:
        asking.page(f"{asking.urls[0]}demo/", pages.ACCEPT)
    said = str(caught.value)
    assert "\n" not in said
    assert f"{asking.urls[0]}demo/" in said
    assert len(said) < 400
    return said


ENDLESS: dict[str, tuple[Speech, str]] = {
    "body": (forever(MEGABYTE, HTML + CHUNKED), "larger than"),
    "body until it hangs up": (forever(b"x" * (1 << 20), HTML + b"\r\n"), "larger than"),
    "length of a chunk": (forever(b"0" * 65536, HTML + CHUNKED), "is unreachable"),
    "extension of a chunk": (forever(b";x=y" * 4096, HTML + CHUNKED + b"5"), "is unreachable"),
    "status line": (forever(b"x" * 65536, b"HTTP/1.1 200 "), "is unreachable"),
    "header": (forever(b"x" * 65536, OK + b"X: "), "is unreachable"),
    "headers": (forever(b"X: y\r\n" * 1000, OK), "is unreachable"),
    "interim answers": (forever(b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "does not answer in time"),
    "compressed body": (forever(ZEROS, HTML + b"Content-Encoding: gzip\r\n\r\n"), "larger than"),
    "compressed nothing": (
        forever(gzip.compress(b"") * 1000, HTML + b"Content-Encoding: gzip\r\n\r\n"),
        "does not end within",
    ),
    "body of an error": (forever(MEGABYTE, b"HTTP/1.1 500 No\r\n" + CHUNKED), "answers 500 No"),
    "body of a redirect": (
        forever(MEGABYTE, b"HTTP/1.1 302 Found\r\nLocation: /x\r\n" + CHUNKED),
        "sends us on and on",
    ),
}


@pytest.mark.parametrize(("speech", "fault"), ENDLESS.values(), ids=ENDLESS)
def test_what_never_ends(speech: Speech, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "PAGE_LIMIT", 2 << 20)
    monkeypatch.setattr(connections, "LONGEST", 0)
    with Hostile(speech) as server:
        assert fault in refused(client(server, timeout=1))
        assert server.listeners_gone()


DRIPS: dict[str, Speech] = {
    "status": forever(b"H"),
    "header": forever(b"x", OK + b"X: "),
    "body": forever(b"x", HTML + b"Content-Length: 100000\r\n\r\n"),
    "chunk": forever(b"1\r\nx\r\n", HTML + CHUNKED),
    "redirect": forever(b"x", b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 60000\r\n\r\n"),
    "passing failure": forever(b"x", b"HTTP/1.1 503 No\r\nContent-Length: 60000\r\n\r\n"),
}


@pytest.mark.parametrize("speech", DRIPS.values(), ids=DRIPS)
def test_who_says_a_byte_now_and_then(speech: Speech, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, so that no timeout of a socket is ever reached."""
    monkeypatch.setattr(connections, "LONGEST", 0)
    monkeypatch.setattr(connections, "_MOVES", 1)
    with Hostile(speech, drip=0.1) as server:
        said = refused(client(server, timeout=1))
        assert any(text in said for text in ("in time", "within 1 s", "on and on", "answers 503")), said


def test_headers_that_drip_again_are_not_waited_for() -> None:
    with Hostile(forever(b"x", OK + b"X: "), drip=0.1) as server:
        assert "does not answer in time" in refused(client(server, timeout=1, retries=1))
        assert server.asked == 2


LIES: dict[str, tuple[bytes, str]] = {
    "longer than it is": (HTML + b"Content-Length: 1000\r\n\r\nshort", "ended after 5 of 1000|IncompleteRead|broken"),
    "two lengths": (HTML + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nshort", "unreachable"),
    "ends within a chunk": (HTML + CHUNKED + b"ff\r\nshort", "unreachable"),
    "no number of a chunk": (HTML + CHUNKED + b"zz\r\nshort", "unreachable"),
    "negative chunk": (HTML + CHUNKED + b"-5\r\nshort", "unreachable"),
    "no HTTP": (b"\x16\x03\x01\x00\x05hello", "unreachable"),
    "nothing": (b"", "unreachable"),
    "not gzip": (HTML + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nshort", "not the gzip that it says"),
    "gzip that ends early": (
        HTML
        + f"Content-Encoding: gzip\r\nContent-Length: {len(ZEROS) // 2}\r\n\r\n".encode()
        + ZEROS[: len(ZEROS) // 2],
        "larger than|ends in the middle",
    ),
    "encoding that nobody asked for": (
        HTML + b"Content-Encoding: br\r\nContent-Length: 5\r\n\r\nshort",
        "encoded as br",
    ),
    "encodings on each other": (
        HTML + b"Content-Encoding: gzip, gzip, gzip\r\nContent-Length: 5\r\n\r\nshort",
        "encoded as gzip, gzip, gzip",
    ),
    "control characters": (b"HTTP/1.1 418 \x1b[2Jforged\x07\r\nContent-Length: 0\r\n\r\n", "answers 418 forged"),
}


@pytest.mark.parametrize(("answer", "fault"), LIES.values(), ids=LIES)
def test_answers_that_lie(answer: bytes, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "PAGE_LIMIT", 2 << 20)
    with Hostile(once(answer)) as server:
        said = refused(client(server))
        assert any(text in said for text in fault.split("|")), said


@pytest.mark.parametrize("length", [b"-1", b"lots", b"5, 5", b"\xb2"])
def test_lengths_that_are_none_are_not_believed(length: bytes) -> None:
    with Hostile(once(HTML + b"Content-Length: " + length + b"\r\n\r\nshort")) as server:
        found = client(server).page(f"{server.url}demo/", pages.ACCEPT)
        assert found
        assert found[0] == b"short"


@pytest.mark.parametrize(
    "asked", [b"9999999", b"9" * 4000, b"-1", b"Fri, 31 Dec 9999 23:59:59 GMT", b"\xff\xb2", b"1e9"]
)
def test_who_asks_for_patience_gets_a_little(asked: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.01)
    answer = b"HTTP/1.1 429 Slow down\r\nContent-Length: 0\r\nRetry-After: " + asked + b"\r\n\r\n"
    with Hostile(once(answer)) as server:
        assert "answers 429 Slow down" in refused(client(server, retries=3))
        assert server.asked == 4


def test_a_run_that_ends_does_not_wait_for_the_patient() -> None:
    answer = b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\nRetry-After: 20\r\n\r\n"
    with Hostile(once(answer)) as server:
        asking = client(server, retries=4)
        asking.close()
        assert "was given up" in refused(asking)


# -- memory: in a process of its own, by what the kernel has counted -----------------------------------------

PREPARATION = """
import sys
from packaging.utils import canonicalize_name
from pipmirror_lib import pages
from pipmirror_lib.errors import PackageIndexError
from pipmirror_lib.fetch import Client
from pipmirror_lib.settings import Index

asking = Client(Index(url=sys.argv[1], retries=0, timeout=20))
"""
READING = """
try:
    found = asking.page(f"{asking.urls[0]}demo/", pages.ACCEPT)
    print(len(list(pages.candidates(*found, canonicalize_name("demo")))), "files")
except PackageIndexError as error:
    print(error)
"""
LINK = b'<a href="/files/demo-%d-py3-none-any.whl#sha256=' + b"ab" * 32 + b'">x</a>\n'
NAMED = '{"filename": "demo-1.%d-py3-none-any.whl", "url": "/x", "hashes": {}}'


def page(head: bytes, *pieces: bytes | Iterable[bytes]) -> Speech:
    """A page that ends with its connection."""
    return lambda: chain([head + b"\r\n"], *([piece] if isinstance(piece, bytes) else piece for piece in pieces))


HUGE: dict[str, tuple[Speech, str]] = {
    "100 MB of text": (page(HTML, repeat(b"x" * (1 << 20), 100)), "larger than 32 MB"),
    "a bomb": (page(HTML + b"Content-Encoding: gzip\r\n", repeat(ZEROS, 40)), "larger than 32 MB"),
    "a million links": (
        page(HTML, (LINK % number for number in range(1_000_000))),
        "larger than 32 MB|beyond any sense",
    ),
    "a million short links": (page(HTML, repeat(b"<a href=x>" * 1000, 1000)), "beyond any sense"),
    "a million attributes": (page(HTML, b"<a ", repeat(b"a " * 1000, 1000)), "longer than"),
    "no end of a comment": (page(HTML, b"<!--", repeat(b"x" * 1000, 20_000)), "longer than"),
    "no end of a script": (page(HTML, b"<script>", repeat(b"x" * 1000, 20_000)), "longer than"),
    "nothing but brackets": (page(HTML, repeat(b"<" * 1000, 20_000)), "beyond any sense"),
    "nested lists": (page(JSON, repeat(b"[" * 1000, 1000)), "not a project page"),
    "many lists": (page(JSON, b'{"files":[', repeat(b"[]," * 1000, 10_000)), "beyond any sense"),
    "a long number": (page(JSON, b'{"files":', repeat(b"1" * 1000, 20_000), b"}"), "not a project page"),
    "a long name": (
        page(JSON, b'{"files":[{"url":"/x","filename":"demo-1.', repeat(b"1" * 1000, 20_000), b'"}]}'),
        "0 files",
    ),
}


@pytest.mark.parametrize(("speech", "fault"), HUGE.values(), ids=HUGE)
def test_pages_that_are_too_much(speech: Speech, fault: str) -> None:
    said, peak = read_in_a_child(speech)
    assert any(text in said for text in fault.split("|")), said
    assert len(said) < 400
    assert peak < 400, "megabytes"


def test_a_large_honest_page_is_read() -> None:
    files = ", ".join(NAMED % number for number in range(50_000)).encode()
    said, peak = read_in_a_child(page(JSON, b'{"files": [' + files + b"]}"))
    assert said == "50000 files"
    assert peak < 400, "megabytes"


def read_in_a_child(speech: Speech) -> tuple[str, int]:
    with Hostile(speech) as server:
        return measured(PREPARATION, READING, server.url)


# -- names -------------------------------------------------------------------------------------------------

CLIMBING = [
    "../../demo-1.0-py3-none-any.whl",
    "/etc/cron.d/demo-1.0-py3-none-any.whl",
    "demo-1.0-py3-none-any.whl\0.txt",
    "demo-1.0\n-py3-none-any.whl",
    "demo-1.0-py3-none-any.whl\n",
    "\u202edemo-1.0-py3-none-any.whl",
    "demo-1.0-py3-none-any\u2044x.whl",
    "demo-1.0-py3-none-any.whl\ud800",
    "demo-1.0-py3-none-any.whl/..",
    "demo-1.0-py3-none-\\..\\any.whl",
    "..",
    "",
    "-demo-1.0.tar.gz",
    ".demo-1.0.tar.gz",
    "demo-1.0-" + "py3." * 80 + "py3-none-any.whl",
    f"demo-1.{'0' * 300}.tar.gz",
    f"demo-1.{'1' * 150}.tar.gz/../x",
    "demo-$(reboot).tar.gz",
    "demo-1.0;reboot.tar.gz",
]


@pytest.mark.parametrize("filename", CLIMBING)
def test_names_that_are_no_names(filename: str) -> None:
    demo = canonicalize_name("demo")
    content = json.dumps({"files": [{"filename": filename, "url": "/x"}]}).encode()
    assert list(pages.candidates(content, pages.JSON_TYPE, "http://x.invalid/", demo)) == []
