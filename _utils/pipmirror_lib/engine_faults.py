"""Every error of the docker SDK, or of its transport, in one line that says what to do."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pipmirror_lib.errors import EngineError, ImageError
from pipmirror_lib.logs import harmless

_START = "apply the docker state or start dockerd"
# Characters of what an engine, or a proxy before it, has to say.
_LONGEST = 300


def json_lines(text: str) -> Iterator[Mapping[str, Any]]:
    import json

    for line in text.splitlines():
        if line.strip():
            yield json.loads(line)


def raise_reported(lines: Iterable[Mapping[str, Any]]) -> None:
    """What fails before the engine's headers are sent is a `message`, after them an `error`."""
    for line in lines:
        if fault := line.get("error") or line.get("message"):
            raise docker_errors().DockerException(str(fault))


def docker_errors() -> Any:
    import docker.errors

    return docker.errors


@contextlib.contextmanager
def translated(doing: str, kind: Callable[[str], EngineError] = EngineError) -> Iterator[None]:
    """Every error of the SDK, or of its transport, in one line; and answers of another shape than the API's."""
    import requests

    try:
        yield
    except docker_errors().ImageNotFound as error:
        raise ImageError(f"{doing}: {first_line(error)}") from error
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
        raise kind(f"{doing}: the container engine has gone away ({first_line(error)}); {_START} again") from error
    except requests.exceptions.InvalidJSONError as error:
        raise kind(f"{doing}: {_odd(error)}") from error
    except (docker_errors().DockerException, requests.RequestException) as error:
        raise kind(f"{doing}: {first_line(error)}") from error
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise kind(f"{doing}: {_odd(error)}") from error


def _odd(error: Exception) -> str:
    said = f"{type(error).__name__}: {first_line(error)}"
    return f"nobody understands what the container engine answers ({said}); {_START} again"


def lacks_program(error: EngineError) -> bool:
    """Whether a container could not start because its image has no such program."""
    return bool(re.search(r"executable file not found|no such file or directory", str(error)))


def first_line(error: BaseException) -> str:
    text = str(getattr(error, "explanation", None) or error).strip()
    return harmless(text).split("\n", 1)[0][:_LONGEST] or type(error).__name__


def unreachable(error: BaseException, url: str) -> str:
    text = str(error)
    where = f"the container engine at {url or os.environ.get('DOCKER_HOST') or 'its usual socket'}"
    if "PermissionError" in text or "Permission denied" in text:
        return f"{where} refuses this user; run as root or join the group docker"
    if "FileNotFoundError" in text or "No such file" in text:
        return f"{where} does not exist; {_START}"
    if "ConnectionRefusedError" in text or "Connection refused" in text:
        return f"{where} is not running; {_START}"
    return f"{where} does not answer ({first_line(error)}); {_START}"
