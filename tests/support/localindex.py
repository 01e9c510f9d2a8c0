"""A package index on this machine, for tests and benchmarks: no network, any page, any fault.

    with LocalIndex(directory) as index:
        pip("download", "--index-url", index.url, "demo")
        assert index.requests_of("demo-1.0-py3-none-any.whl")

Every switch is an attribute that may change between two requests. Benchmarks run it as a command, with `-m`.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import html
import io
import json
import re
import socket
import socketserver
import ssl
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from packaging.utils import canonicalize_name

from tests.support.dists import SUFFIXES, headers_of, metadata_of, name_and_version

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
_MAX_STALL = 60.0  # A forgotten stall must not hang a test run.


class Request(NamedTuple):
    """`path` is unquoted and without query; `sent` counts the body; the names in `headers` are lower case."""

    method: str
    path: str
    status: int
    sent: int
    headers: dict[str, str]


@dataclass
class Fault:
    """What goes wrong: `times` times (None: always), then the index recovers.

    With a `status`, that, `body` and `headers` are the whole answer; otherwise the real one is spoiled:
    `truncate_at` announces the full length and hangs up after that many bytes; `stall` waits there, or else
    before the first byte; `corrupt` flips a bit in the middle.
    """

    status: int = 0
    times: int | None = 1
    truncate_at: int | None = None
    corrupt: bool = False
    stall: float = 0.0
    body: bytes = b"fault\n"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class IndexFile:
    """What the index says of a file; a test may make it lie with `LocalIndex.change`."""

    path: Path
    project: str
    size: int
    sha256: str
    metadata: bytes | None = None
    requires_python: str | None = None
    upload_time: str | None = None
    yanked: str | None = None


@dataclass
class _Answer:
    status: int
    body: bytes | Path
    headers: dict[str, str]
    start: int = 0
    length: int = 0

    def __post_init__(self) -> None:
        self.length = len(self.body) if isinstance(self.body, bytes) else self.body.stat().st_size

    def narrowed(self, asked: Message) -> _Answer:
        """This answer as If-None-Match and Range want it."""
        tag, total = self.headers.get("ETag"), self.length
        if tag and tag in asked.get("If-None-Match", ""):
            return _Answer(304, b"", self.headers)
        match = re.fullmatch(r"bytes=(?=.*\d)(\d*)-(\d*)", asked.get("Range", ""))
        if not match or "Accept-Ranges" not in self.headers or asked.get("If-Range", tag) != tag:
            return self
        first, last = match.groups()
        self.start = int(first) if first else max(0, total - int(last))
        end = min(int(last) + 1, total) if first and last else total
        if self.start >= end:
            return _Answer(416, b"", {"Content-Range": f"bytes */{total}"})
        self.status, self.length = 206, end - self.start
        self.headers["Content-Range"] = f"bytes {self.start}-{end - 1}/{total}"
        return self


@dataclass
class LocalIndex:
    """Serves `directory`'s distributions, and what is added later, at `url`, while the context lasts."""

    directory: Path | str | None = None
    json: bool = True
    hashes: bool = True
    core_metadata: bool = True
    sizes: bool = True
    ranges: bool = True
    etag: bool = False
    cache_control: str | None = None
    upload_time: str | None = "2024-01-01T00:00:00.000000Z"
    yanked: Mapping[str, str] = field(default_factory=dict)
    username: str = ""
    password: str = ""
    fail: dict[str, Fault] = field(default_factory=dict)
    # Called with the path in the request's own thread before it is answered; it may wait there.
    before: Callable[[str], object] = lambda path: None
    bind: str = "127.0.0.1"
    port: int = 0
    tls: ssl.SSLContext | None = None
    log: list[Request] = field(default_factory=list)
    files: dict[str, IndexFile] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Emptied by every change.
        self._pages: dict[tuple[object, ...], bytes] = {}
        self._lock = threading.Lock()
        self._server: _Server | None = None
        for path in sorted(Path(self.directory).rglob("*")) if self.directory is not None else ():
            if path.name.endswith(SUFFIXES):
                self.add(path)

    def start(self) -> LocalIndex:
        """Serve; after `close`, at the same port again."""
        self._server = _Server(self)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    __enter__ = start

    def close(self) -> None:
        """Stop at once: a client's idle connection, or a stalled answer, ends too."""
        if self._server is not None:
            self._server.stop()
        self._server = None

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return self.url_for("127.0.0.1")

    def url_for(self, host: str) -> str:
        """The same index as a container sees it; wants `bind="0.0.0.0"`."""
        return f"http{'s' if self.tls else ''}://{host}:{self.port}/simple/"

    def add(self, path: Path | str, *, project: str | None = None, **claims: Any) -> str:
        """Serve a file, in place of one of the same name; `claims` are IndexFile's fields, true or not."""
        path = Path(path)
        content = path.read_bytes()
        metadata = metadata_of(path)
        truth = IndexFile(
            path=path,
            project=canonicalize_name(project or name_and_version(path.name)[0]),
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            metadata=metadata if path.name.endswith(".whl") else None,
            requires_python=headers_of(metadata or b"")["Requires-Python"],
            upload_time=self.upload_time,
            yanked=self.yanked.get(path.name),
        )
        self.files[path.name] = truth
        self.change(path.name, **claims)
        return path.name

    def remove(self, filename: str) -> None:
        with self._lock:
            del self.files[filename]
            self._pages.clear()

    def change(self, filename: str, **claims: Any) -> None:
        """Say something else of a file, true or not."""
        with self._lock:
            self.files[filename] = replace(self.files[filename], **claims)
            self._pages.clear()

    def yank(self, filename: str, reason: str = "") -> None:
        self.change(filename, yanked=reason)

    def set_upload_time(self, filename: str, iso: str | None) -> None:
        self.change(filename, upload_time=iso)

    def requests_of(self, filename: str) -> list[Request]:
        """The requests for a file; add `.metadata` to its name for those of its metadata."""
        return [request for request in list(self.log) if request.path == f"/files/{filename}"]

    def _fault(self, path: str, authorization: str) -> Fault:
        expected = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        if (self.username or self.password) and authorization != f"Basic {expected}":
            return Fault(401, headers={"WWW-Authenticate": 'Basic realm="index"'})
        with self._lock:
            due = (fault for part, fault in self.fail.items() if part in path and fault.times != 0)
            fault = next(due, Fault())
            if fault.times is not None:
                fault.times -= 1
        return fault

    def _answer(self, path: str, asked: Message) -> _Answer:
        kind, _, rest = path[1:].partition("/")
        if kind == "files":
            return self._file(rest)
        project = rest.rstrip("/")
        if kind != "simple" or "/" in project:
            return _Answer(404, b"not found\n", {})
        canonical = f"/simple/{canonicalize_name(project)}/" if project else "/simple/"
        if path != canonical:
            return _Answer(301, b"", {"Location": quote(canonical)})
        # Weights are not looked at: whoever can read JSON prefers it.
        as_json = self.json and JSON_TYPE in asked.get("Accept", "")
        body = self.page(project, as_json)
        if body is None:
            return _Answer(404, b"no such project\n", {})
        headers = {"Content-Type": JSON_TYPE if as_json else "text/html; charset=utf-8", "Vary": "Accept"}
        return _Answer(200, body, headers | self._caching(hashlib.sha256(body).hexdigest()))

    def _file(self, filename: str) -> _Answer:
        entry = self.files.get(filename)
        if entry is not None:
            headers = {"Accept-Ranges": "bytes"} if self.ranges else {}
            return _Answer(200, entry.path, headers | self._caching(entry.sha256))
        wheel = self.files.get(filename.removesuffix(".metadata"))
        if wheel is None or wheel.metadata is None or not self.core_metadata:
            return _Answer(404, b"no such file\n", {})
        return _Answer(200, wheel.metadata, self._caching(hashlib.sha256(wheel.metadata).hexdigest()))

    def _caching(self, digest: str) -> dict[str, str]:
        headers = {"ETag": f'"{digest}"'} if self.etag else {}
        return headers | ({"Cache-Control": self.cache_control} if self.cache_control else {})

    def page(self, project: str, as_json: bool) -> bytes | None:
        key = (project, as_json, self.hashes, self.core_metadata, self.sizes)
        with self._lock:
            if key not in self._pages:
                items = [self._item(entry) for entry in self.files.values() if entry.project == project]
                if project and not items:
                    return None
                roots = [] if project else sorted({entry.project for entry in self.files.values()})
                self._pages[key] = (self._json if as_json else _html)(project, items, roots).encode()
            return self._pages[key]

    def _json(self, project: str, items: list[dict[str, Any]], roots: list[str]) -> str:
        page: dict[str, object] = {"meta": {"api-version": "1.1" if self.sizes else "1.0"}}
        if not project:
            return json.dumps({**page, "projects": [{"name": name} for name in roots]})
        if self.sizes:
            page["versions"] = sorted({name_and_version(item["filename"])[1] for item in items})
        return json.dumps({**page, "name": project, "files": items})

    def _item(self, entry: IndexFile) -> dict[str, Any]:
        item: dict[str, Any] = {"filename": entry.path.name, "url": f"../../files/{quote(entry.path.name)}"}
        item["hashes"] = {"sha256": entry.sha256} if self.hashes else {}
        # JSON, unlike HTML, has no way to say "yanked, for the empty reason".
        yanked = True if entry.yanked == "" else entry.yanked
        item |= {"requires-python": entry.requires_python, "yanked": yanked}
        if self.sizes:
            item |= {"size": entry.size, "upload-time": entry.upload_time}
        if self.core_metadata and entry.metadata is not None:
            digest = {"sha256": hashlib.sha256(entry.metadata).hexdigest()}
            item["core-metadata"] = item["dist-info-metadata"] = digest if self.hashes else True
        return {key: value for key, value in item.items() if value is not None}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128  # The default of 5 turns away clients that open many connections at once.

    def __init__(self, index: LocalIndex) -> None:
        self.index = index
        self.stopping = threading.Event()
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        super().__init__((index.bind, index.port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own looks up the host's name, which may wait for a resolver that is not there.
        socketserver.TCPServer.server_bind(self)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, client = self.socket.accept()
        if self.index.tls is not None:  # shaken hands with in the thread that serves it
            connection = self.index.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, client

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients that hang up are part of many tests.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        index, path = self.server.index, unquote(urlsplit(self.path).path)
        index.before(path)
        fault = index._fault(path, self.headers.get("Authorization", ""))
        if fault.status:
            answer = _Answer(fault.status, fault.body, dict(fault.headers))
        else:
            answer = index._answer(path, self.headers).narrowed(self.headers)
        planned = 0 if self.command == "HEAD" else answer.length
        if fault.truncate_at is None:
            self.server.stopping.wait(min(fault.stall, _MAX_STALL))
        else:
            planned = min(fault.truncate_at, planned)
        headers = {name.lower(): value for name, value in self.headers.items()}
        # Logged before the last byte leaves: a client that has its answer finds its request here.
        index.log.append(Request(self.command, path, answer.status, planned, headers))
        self._send(answer, planned, fault)

    do_HEAD = do_GET

    def _send(self, answer: _Answer, planned: int, fault: Fault) -> None:
        self.send_response(answer.status)
        always = {"Content-Type": "application/octet-stream", "Content-Length": str(answer.length)}
        for name, value in {**always, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        with io.BytesIO(answer.body) if isinstance(answer.body, bytes) else answer.body.open("rb") as stream:
            stream.seek(answer.start)
            flip, left = answer.length // 2, planned
            while left > 0 and (chunk := bytearray(stream.read(min(left, 1 << 18)))):
                if fault.corrupt and 0 <= flip < len(chunk):
                    chunk[flip] ^= 1
                self.wfile.write(chunk)
                flip, left = flip - len(chunk), left - len(chunk)
        if fault.truncate_at is not None:
            self.server.stopping.wait(min(fault.stall, _MAX_STALL))
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr; `LocalIndex.log` has it all."""


def _html(_: str, items: list[dict[str, Any]], roots: list[str]) -> str:
    links = [f'<a href="{name}/">{name}</a><br>\n' for name in roots] + [_anchor(item) for item in items]
    head = '<!DOCTYPE html>\n<html><head><meta name="pypi:repository-version" content="1.1"></head>'
    return f"{head}<body>\n{''.join(links)}</body></html>\n"


def _anchor(item: dict[str, Any]) -> str:
    """A file's JSON description as PEP 503 has it."""
    fragment = "".join(f"#{name}={digest}" for name, digest in item["hashes"].items())
    attributes = {"href": item["url"] + fragment, "data-requires-python": item.get("requires-python")}
    attributes["data-yanked"] = "" if item.get("yanked") is True else item.get("yanked")
    if described := item.get("core-metadata"):
        digest = "true" if described is True else f"sha256={described['sha256']}"
        attributes |= {"data-core-metadata": digest, "data-dist-info-metadata": digest}
    listed = (f'{name}="{html.escape(value)}"' for name, value in attributes.items() if value is not None)
    return f"<a {' '.join(listed)}>{html.escape(item['filename'])}</a><br>\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a directory's distributions as a package index.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--upload-time", default=LocalIndex.upload_time, help="of every file, ISO 8601")
    parser.add_argument("--html", dest="json", action="store_false", help="no JSON")
    parser.add_argument("--no-metadata", dest="core_metadata", action="store_false")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    chosen = vars(parser.parse_args())
    slow = Fault(times=None, stall=chosen.pop("latency"))
    with LocalIndex(**chosen, fail={"/": slow}) as index, contextlib.suppress(KeyboardInterrupt):
        print(index.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
