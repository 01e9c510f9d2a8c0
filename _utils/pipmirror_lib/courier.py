"""Downloads in a process of their own, where there is much to fetch.

TLS gives out 16 KB at a time, and for each of them a thread needs the interpreter's lock, which a decision that reads
pages hardly lets go: beside one, the downloads of a whole mirror take twice as long as alone, and it waits for them.
What has come is opened there as well, for its METADATA.

The process is told everything through its standard input, credentials included; nothing of that stands on its command
line or in its environment. It starts nothing itself, and ends when whoever started it does, however that ends: what it
was writing may be gone on with by another run at once. One that says nothing any more is ended and done without.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import IO, Any

from pipmirror_lib import children
from pipmirror_lib.errors import MirrorError, MisnamedError, PackageIndexError, PipmirrorError, WheelError, why
from pipmirror_lib.fetch import CONNECTIONS, Client
from pipmirror_lib.logs import harmless
from pipmirror_lib.settings import Index
from pipmirror_lib.wheels import Metadata, checked_metadata

log = logging.getLogger(__name__)
# Bytes to fetch from which on another process is worth its start, and for which a single file waits until it is there.
MANY, LARGE = 16 << 20, 1 << 20
# Seconds between two signs of life, and without any until nobody waits for it any more.
BEAT, SILENCE = 1.0, 30.0
_ALIVE: tuple[object, ...] = (0, "", "", [])
_SIGN = json.dumps(_ALIVE) + "\n"
_KINDS = {kind.__name__: kind for kind in (MirrorError, MisnamedError, OSError, PackageIndexError, WheelError)}
# This very library, whichever others of its name the path leads to, and nothing that lies in the current directory.
# What Python itself runs at its start may have written anything; what is written from now on is for nobody.
_BEGIN = """
import sys
sys.path[:] = filter(None, sys.path)
import json, os
from importlib import import_module, util
answers = os.fdopen(os.dup(1), "w", encoding="ascii")
os.dup2(2, 1)
told = json.loads(sys.stdin.readline())
sys.path[:] = told["path"]
spec = util.spec_from_file_location(told["package"], told["file"])
sys.modules[spec.name] = module = util.module_from_spec(spec)
spec.loader.exec_module(module)
import_module(told["module"]).serve(told["settings"], told["starter"], sys.stdin, answers)
"""


class Gone(PipmirrorError):
    """The process is no more, or is short of something itself; what it was asked for can still be fetched here."""

    def __init__(self) -> None:
        super().__init__("the process that fetches files cannot do it")


class Courier:
    """The other process, as this one sees it; started when it is worth that. Safe to use from several threads."""

    def __init__(self, settings: Index) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._volume = 0
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._begun = threading.Event()
        self._numbers = count(1)
        self._waiting: dict[int, Future[Any]] = {}
        self._is_ready = threading.Event()
        self._heard = 0.0
        self._ended = False

    def takes(self, size: int | None) -> bool:
        """Whether it should fetch a file of that size: there is much to fetch, and it is ready or worth waiting for."""
        size = LARGE if size is None else size
        with self._lock:
            self._volume += size
            if self._thread is None and self._volume >= MANY and not self._ended:
                self._thread = threading.Thread(target=self._attend, name="pipmirror-courier", daemon=True)
                self._thread.start()
                self._begun.wait()
            running = self._process is not None and not self._ended
        return running and (size >= LARGE or self._is_ready.is_set())

    def download(
        self,
        url: str,
        target: Path,
        sha256: str,
        size: int | None,
        credentials: tuple[str, str] | None = None,
        promise: str = "its page",
    ) -> str:
        """As a Client does; raises Gone where that must be done without it."""
        return str(self._asked("download", url, str(target), sha256, size, credentials, promise))

    @property
    def is_ready(self) -> bool:
        return self._is_ready.is_set() and not self._ended

    def checked_metadata(self, wheel: Path, filename: str) -> tuple[bytes, Metadata]:
        """As wheels.checked_metadata: archives of thousands of files take long to open. Raises Gone as well."""
        content, data = self._asked("metadata", str(wheel), filename)
        return content.encode("latin-1"), Metadata.from_data(data)

    def _asked(self, task: str, *arguments: object) -> Any:
        answer: Future[Any] = Future()
        with self._lock:
            if self._ended or self._process is None:
                raise Gone
            number = next(self._numbers)
            self._waiting[number] = answer
            _say(self._process.stdin, [number, task, *arguments])
        while not wait([answer], SILENCE).done:
            if time.monotonic() - self._heard > SILENCE:
                self._process.kill()
        return answer.result()

    def close(self) -> None:
        """At once, whatever it is doing."""
        self._ended = True  # without the lock: who has it may be waiting for the process
        process, thread = self._process, self._thread
        if process:
            process.kill()
        if thread and thread is not threading.current_thread():
            thread.join()

    def _attend(self) -> None:
        """From its start to its end in one thread: the system ends it when the thread that has started it ends."""
        said = ""
        try:
            # Nobody reads meanwhile what it says of itself, and a pipe would be full some time.
            with tempfile.TemporaryFile() as errors:
                self._start(errors)
                self._begun.set()
                status = self._listen()
                errors.seek(0)
                said = errors.read()[-1000:].decode("utf-8", "replace").strip() or f"status {status}"
        except OSError as error:
            said = why(error)
        except (ValueError, TypeError, LookupError) as error:
            said = f"nobody understands what it says: {error}"
        finally:
            self._begun.set()
            self._end(said)

    def _start(self, errors: IO[bytes]) -> None:
        here = Path(__file__).resolve().parent
        path = [place for place in sys.path if place and isinstance(place, str)]
        told = {
            **{"path": path, "package": __package__, "file": str(here / "__init__.py"), "module": __name__},
            **{"settings": asdict(self._settings), "starter": os.getpid()},
        }
        self._heard = time.monotonic()
        self._process = process = subprocess.Popen(
            children.dying([sys.executable or "", "-W", "ignore", "-c", _BEGIN]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C is for us, and we end it
        )
        if self._ended:
            process.kill()
        _say(process.stdin, told)

    def _listen(self) -> int:
        """Until it ends, or says what nobody understands; with which status it has ended."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise ValueError("it has no pipes")
        try:
            for line in process.stdout:
                self._heard = time.monotonic()
                if line == _SIGN:
                    self._is_ready.set()
                elif self._is_ready.is_set():
                    self._pass_on(*json.loads(line))
                else:  # this machine's Python says something when it starts
                    log.debug("pipmirror: the process for downloads says %s", harmless(line.strip()))
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            with suppress(OSError):  # what it was not told any more
                process.stdin.close()
        return process.returncode

    def _pass_on(self, number: int, result: Any, kind: str, text: list[Any]) -> None:
        answer = self._waiting.pop(number)
        if kind:
            answer.set_exception(_KINDS[kind](*text) if kind in _KINDS else Gone())
        else:
            answer.set_result(result)

    def _end(self, said: str) -> None:
        with self._lock:
            asked_to, self._ended = self._ended, True
            waiting, self._waiting = self._waiting, {}
        if not asked_to:
            log.warning("pipmirror: the process for downloads has ended, going on without it: %s", harmless(said))
        for answer in waiting.values():
            answer.set_exception(Gone())


def _say(stream: IO[str] | None, what: object) -> None:
    # Who has just ended hears nothing any more, which his listener finds out.
    with suppress(OSError, ValueError):
        if stream:
            stream.write(json.dumps(what) + "\n")
            stream.flush()


def _told(error: Exception) -> tuple[str, list[Any]]:
    """Kind and arguments, as whoever asked shall get them; for anything else he tries it himself."""
    if isinstance(error, OSError):
        place = None if error.filename is None else str(error.filename)
        return "OSError", [error.errno, error.strerror, place] if error.errno else [str(error)]
    kind = type(error).__name__
    return kind, [str(error)]


def serve(settings: Mapping[str, Any], starter: int, questions: IO[str], answers: IO[str]) -> None:
    """In the other process: fetch what is asked for, until nobody can ask any more."""
    known: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    client, lock = Client(Index(**known)), threading.Lock()

    def say(*answer: object) -> None:
        with lock:
            _say(answers, answer)

    def download(url: str, target: str, *of_url: Any) -> str:
        return client.download(url, Path(target), *of_url)

    def metadata(wheel: str, filename: str) -> tuple[str, dict[str, Any]]:
        content, found = checked_metadata(Path(wheel), filename)
        return content.decode("latin-1"), asdict(found)

    tasks: dict[str, Callable[..., object]] = {"download": download, "metadata": metadata}

    def work(number: int, task: str, *arguments: Any) -> None:
        try:
            say(number, tasks[task](*arguments), "", [])
        except Exception as error:  # whoever asked gets it, and tells
            say(number, "", *_told(error))

    def live() -> None:
        while os.getppid() == starter:  # where others have a copy of the pipe, its end is not to be seen there
            say(*_ALIVE)
            time.sleep(BEAT)
        os._exit(0)

    try:
        answers.write("\n")
        threading.Thread(target=live, daemon=True).start()
        pool = ThreadPoolExecutor(CONNECTIONS)
        for line in questions:
            pool.submit(work, *json.loads(line))
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(0)  # nobody is left who could want what is under way
