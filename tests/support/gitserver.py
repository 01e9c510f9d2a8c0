"""Git repositories behind HTTP on the loopback: git's own server, or plain files as the oldest servers have them."""

from __future__ import annotations

import base64
import gzip
import os
import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

BACKEND = "/usr/lib/git-core/git-http-backend"
# Commits of the same files at the same time have the same name, on every machine.
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_{what}": "tester" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    **{f"GIT_{who}_DATE": "2024-01-02T03:04:05Z" for who in ("AUTHOR", "COMMITTER")},
}


@dataclass
class Repository:
    """A work tree beside the bare repository that is served."""

    bare: Path
    tree: Path
    url: str

    def git(self, *arguments: str, where: Path | None = None) -> str:
        command = ["git", "-c", "protocol.file.allow=always", "-C", str(where or self.tree), *arguments]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, files: dict[str, str], *, tag: str = "", branch: str = "main") -> str:
        """Commit these files on a branch and publish it; the commit."""
        self.git("checkout", "-q", "-B", branch)
        for name, content in files.items():
            path = self.tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "change")
        if tag:
            self.git("tag", "-a", "-m", tag, tag)
        self.git("push", "-q", "--force", "--tags", str(self.bare), branch)
        self.git("update-server-info", where=self.bare)
        return self.git("rev-parse", "HEAD")


@dataclass
class GitServer:
    """`log` has (method, path) of each request; with `password` set, nobody comes in without it."""

    root: Path
    username: str = ""
    password: str = ""
    dumb: bool = False
    log: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self) -> GitServer:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def repository(self, name: str) -> Repository:
        bare, tree = self.root / f"{name}.git", self.root / f"{name}.tree"
        for path, options in ((bare, ("--bare", "-b", "main")), (tree, ("-b", "main"))):
            subprocess.run(["git", "init", "-q", *options, str(path)], env=ENVIRONMENT, timeout=60, check=True)
        made = Repository(bare, tree, f"{self.url}/{name}.git")
        made.git("config", "uploadpack.allowFilter", "true", where=bare)
        made.git("config", "uploadpack.allowAnySHA1InWant", "true", where=bare)
        return made


def _handler(server: GitServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.log.append((self.command, self.path))
            expected = base64.b64encode(f"{server.username}:{server.password}".encode()).decode()
            if server.password and self.headers.get("Authorization") != f"Basic {expected}":
                self._answer(401, {"WWW-Authenticate": 'Basic realm="git"'}, b"")
            elif server.dumb:
                self._static()
            else:
                self._backend()

        do_POST = do_GET

        def _static(self) -> None:
            path = server.root / urlsplit(self.path).path.lstrip("/")
            self._answer(200, {}, path.read_bytes()) if path.is_file() else self._answer(404, {}, b"")

        def _backend(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            environment = {
                **ENVIRONMENT,
                "GIT_PROJECT_ROOT": str(server.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": parts.path,
                "QUERY_STRING": parts.query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            }
            done = subprocess.run([BACKEND], env=environment, input=body, capture_output=True, timeout=60, check=False)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
            self._answer(int(headers.pop("Status", "200").split()[0]), headers, content)

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Silent: `log` has what matters."""

    return Handler
