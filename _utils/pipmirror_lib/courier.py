"""Downloads in a process of their own, where there is much to fetch.

TLS gives out 16 KB at a time, and for each of them a thread needs the interpreter's lock, which a decision that reads
pages hardly lets go: beside one, the downloads of a whole mirror take twice as long as alone, and it waits for them.

The process is told everything through its standard input, credentials included; nothing of that stands on its command
line or in its environment. It starts nothing itself, and ends when whoever started it does, however that ends.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import IO, Any

from pipmirror_lib.errors import MirrorError, PackageIndexError, PipmirrorError
from pipmirror_lib.fetch import CONNECTIONS, Client
from pipmirror_lib.logs import harmless
from pipmirror_lib.settings import Index

log = logging.getLogger(__name__)
# Bytes to fetch from which on another process is worth its start, and for which a single file waits until it is there.
MANY, LARGE = 16 << 20, 1 << 20
_READY = "ready\n"
_KINDS = {kind.__name__: kind for kind in (MirrorError, PackageIndexError)}
# This very library, whichever others of its name the path leads to.
_BEGIN = """
import json, os, sys
from importlib import import_module, util
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
told = json.loads(sys.stdin.readline())
sys.path[:] = told["path"]
spec = util.spec_from_file_location(told["package"], told["file"])
sys.modules[spec.name] = module = util.module_from_spec(spec)
spec.loader.exec_module(module)
import_module(told["module"]).serve(told["settings"], sys.stdin, answers)
"""


class Gone(PipmirrorError):
    """The process is no more; what it was asked for can still be fetched here."""

    def __init__(self) -> None:
        super().__init__("the process that fetches files has ended")


class Courier:
    """The other process, as this one sees it; started when it is worth that. Safe to use from several threads."""

    def __init__(self, settings: Index) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._volume = 0
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._numbers = count()
        self._waiting: dict[int, Future[str]] = {}
        self._is_ready = threading.Event()
        self._ended = False

    def takes(self, size: int | None) -> bool:
        """Whether it should fetch a file of that size: there is much to fetch, and it is ready or worth waiting for."""
        size = LARGE if size is None else size
        with self._lock:
            self._volume += size
            if self._process is None and self._volume >= MANY and not self._ended:
                self._start()
            running = self._process is not None and not self._ended
        return running and (size >= LARGE or self._is_ready.is_set())

    def _start(self) -> None:
        here = Path(__file__).resolve().parent
        told = {
            **{"path": list(filter(None, sys.path)), "package": __package__, "module": __name__},
            **{"file": str(here / "__init__.py"), "settings": asdict(self._settings)},
        }
        try:
            errors = tempfile.TemporaryFile()  # noqa: SIM115  # nobody reads meanwhile, and a pipe would be full some time
            self._process = process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", _BEGIN],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C is for us, and we end it
            )
        except OSError as error:
            log.warning("pipmirror: downloads have no process of their own: %s", error)
            self._ended = True
            return
        with suppress(OSError):  # it has just ended, which its reader tells
            _say(process.stdin, told)
        self._reader = threading.Thread(
            target=self._read, args=(process, errors), name="pipmirror-courier", daemon=True
        )
        self._reader.start()

    def download(
        self,
        url: str,
        target: Path,
        sha256: str,
        size: int | None,
        credentials: tuple[str, str] | None = None,
        promise: str = "its page",
    ) -> str:
        """As a Client does; raises Gone where there is nobody to do it any more."""
        answer: Future[str] = Future()
        with self._lock:
            if self._ended or self._process is None:
                raise Gone
            number = next(self._numbers)
            self._waiting[number] = answer
            with suppress(OSError):  # it has just ended, which its reader tells
                _say(self._process.stdin, [number, url, str(target), sha256, size, credentials, promise])
        return answer.result()

    def close(self) -> None:
        """At once, whatever it is doing."""
        with self._lock:
            self._ended = True
            process, reader = self._process, self._reader
        if process:
            process.kill()
        if reader and reader is not threading.current_thread():
            reader.join()

    def _read(self, process: subprocess.Popen[str], errors: IO[bytes]) -> None:
        try:
            for line in process.stdout or ():
                self._take(line)
        finally:
            process.kill()  # it may have closed its output alone
            process.wait()
            with errors:
                errors.seek(0)
                self._end(errors.read()[-1000:].decode("utf-8", "replace").strip())
            process.communicate()  # what it has not read is lost

    def _take(self, line: str) -> None:
        if not self._is_ready.is_set():
            if line == _READY:
                self._is_ready.set()
            else:  # this machine's Python says something when it starts
                log.debug("pipmirror: the process for downloads says %s", harmless(line.strip()))
            return
        number, sha256, kind, text = json.loads(line)
        answer = self._waiting.pop(number)
        if kind:
            answer.set_exception(_KINDS.get(kind, RuntimeError)(text))
        else:
            answer.set_result(sha256)

    def _end(self, said: str) -> None:
        with self._lock:
            asked_to, self._ended = self._ended, True
            waiting, self._waiting = self._waiting, {}
        if not asked_to:
            log.warning("pipmirror: the process for downloads has ended, going on without it: %s", harmless(said))
        for answer in waiting.values():
            answer.set_exception(Gone())


def _say(stream: IO[str] | None, what: object) -> None:
    if stream:
        stream.write(json.dumps(what) + "\n")
        stream.flush()


def serve(settings: Mapping[str, Any], questions: IO[str], answers: IO[str]) -> None:
    """In the other process: fetch what is asked for, until nobody can ask any more."""
    known: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    client, lock = Client(Index(**known)), threading.Lock()

    def say(*answer: object) -> None:
        with lock:
            _say(answers, answer)

    def fetch(number: int, url: str, target: str, sha256: str, size: int | None, *of_url: Any) -> None:
        try:
            say(number, client.download(url, Path(target), sha256, size, *of_url), "", "")
        except Exception as error:  # whoever asked gets it, and tells
            text = str(error) if type(error).__name__ in _KINDS else f"{type(error).__name__}: {error}"
            say(number, "", type(error).__name__, text)

    pool = ThreadPoolExecutor(CONNECTIONS)
    answers.write(_READY)
    answers.flush()
    for line in questions:
        pool.submit(fetch, *json.loads(line))
    os._exit(0)  # nobody is left who could want what is under way
