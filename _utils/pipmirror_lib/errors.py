"""What can go wrong: one root exception, one subclass for each kind of failure.

Every message is written for the administrator who reads it in a highstate: it names the thing at fault
and says what to do next, in one line (two where a log is named).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from pipmirror_lib.logs import harmless

_ADVICE = {
    errno.ENOSPC: "make room there and run again",
    errno.EDQUOT: "make room there, or raise the quota, and run again",
    errno.EROFS: "mount it writable and run again",
    errno.ENOLCK: "the file system must offer locks (over NFS: lockd must run)",
}


def why(error: OSError) -> str:
    """What the system says, and what can be done about it."""
    said = error.strerror or str(error)
    return f"{said}; {_ADVICE[error.errno]}" if error.errno in _ADVICE else said


class PipmirrorError(Exception):
    """Root of everything that this library raises on purpose.

    Messages repeat what strangers wrote (names, metadata, output), so what could steer a terminal is taken out here.
    """

    def __init__(self, message: str) -> None:
        super().__init__(harmless(message))


@contextmanager
def raised_as(kind: Callable[[str], Exception]) -> Iterator[None]:
    """What is raised on purpose, as an error of which Salt shows the text, not a traceback."""
    try:
        yield
    except PipmirrorError as error:
        raise kind(str(error)) from error


class SettingsError(PipmirrorError):
    """The declaration or what a call was given is faulty; carries *every* fault, not the first."""

    def __init__(self, faults: Iterable[str] = (), key: str = "pipmirror", *, arguments: Iterable[str] = ()) -> None:
        """`key` is that of the pillar."""
        parts = {f"{key} settings": tuple(faults), "arguments": tuple(arguments)}
        self.faults = tuple(fault for part in parts.values() for fault in part)
        super().__init__("\n".join(_listed(where, part) for where, part in parts.items() if part))


def faults_of(load: Callable[[], object]) -> list[str]:
    """What is wrong with a declaration, one line for each fault."""
    try:
        load()
    except SettingsError as error:
        return list(error.faults)
    return []


def _listed(where: str, faults: tuple[str, ...]) -> str:
    head = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return "\n".join([f"{head} in the {where}:", *(f"- {fault}" for fault in faults)])


class WheelError(PipmirrorError):
    """A file that claims to be a distribution is not what it claims."""


class MisnamedError(WheelError):
    """A file holds the metadata of another project or version than its name says."""


class PackageIndexError(PipmirrorError):
    """The package index cannot be reached, refuses us, or sends what we cannot trust."""


class ResolutionError(PipmirrorError):
    """A requirement set cannot be satisfied, or not within `resolve_timeout`."""


class EngineError(PipmirrorError):
    """The container engine does not answer or refuses a request."""


class ImageError(EngineError):
    """A base image cannot be had from any of the allowed sources."""


class BuilderError(PipmirrorError):
    """A builder image or its target profile could not be made."""


class BuildError(PipmirrorError):
    """A source distribution did not become the wheel that it should."""


class VerifyError(PipmirrorError):
    """A mirrored set does not install without network."""


class PortageError(PipmirrorError):
    """Portage cannot tell what packages need, or does not fetch it."""


class MirrorError(PipmirrorError):
    """The mirror's directory cannot be read, locked or written."""


class Interrupted(PipmirrorError):
    """The run ends, and begins nothing any more; nobody reads that, who has interrupted it knows."""

    def __init__(self) -> None:
        super().__init__("the run was interrupted")
