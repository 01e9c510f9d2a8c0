"""Build one wheel from one sdist: a small PEP 517 front end.

Runs inside a container without network. The build environment was made on the host and cannot be written
to; each hook runs in a process of its own (PEP 517 wants that), in the unpacked source directory.

/pipmirror/env   the virtual environment with the build requirements        read-only
/pipmirror/in    this file, request.json and the sdist                      read-only
/pipmirror/out   requires.json (what the backend asks for) and the wheel
"""

import json
import os
import posixpath
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from typing import Any, Dict, List

# Python 3.6 runs this.
# ruff: noqa: B034, B904, S103, S202, UP006, UP031, UP035

ROOT = os.environ.get("PIPMIRROR_ROOT", "/pipmirror")
# As the sysexits: 64 asks for more build requirements, 65 means that the sdist itself is unusable.
MORE_REQUIREMENTS = 64
BAD_SDIST = 65


class BadSdist(Exception):
    pass


def checked(name: str) -> str:
    """A member's name, normalised; never one that leads out of the directory."""
    path = posixpath.normpath(name)
    if path.startswith(("/", "../")) or path == ".." or "\0" in path:
        raise BadSdist("member %r leads out of the archive" % name)
    return path


def unpack_tar(archive: str, directory: str) -> None:
    with tarfile.open(archive) as stream:
        members = []
        for member in stream:
            path = checked(member.name)
            if member.issym():
                checked(posixpath.join(posixpath.dirname(path), member.linkname))
            elif member.islnk():
                checked(member.linkname)
            elif not (member.isfile() or member.isdir()):
                raise BadSdist("member %r is a device or a pipe" % member.name)
            # Whatever the publisher's umask was, we must be able to read, enter and change it.
            member.mode = (member.mode or 0) | (0o755 if member.isdir() else 0o644)
            members.append(member)
        # Python 3.12 warns, and 3.14 changes its mind, when no filter is named; older ones know none.
        options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # type: Dict[str, Any]
        stream.extractall(directory, members, **options)


def unpack_zip(archive: str, directory: str) -> None:
    with zipfile.ZipFile(archive) as stream:
        for member in stream.infolist():
            checked(member.filename.replace("\\", "/"))
            path = stream.extract(member, directory)
            if not member.filename.endswith("/") and (member.external_attr >> 16) & 0o111:
                os.chmod(path, 0o755)


def unpack(archive: str) -> str:
    """The source directory: the archive's only directory, or all of it where there is no such thing."""
    # Compilers write paths into what they make: the same name for every build, where it is to be had.
    directory = os.path.join(tempfile.gettempdir(), "pipmirror-source")
    try:
        os.mkdir(directory)
    except FileExistsError:
        directory = tempfile.mkdtemp(prefix="pipmirror-source-")
    try:
        if zipfile.is_zipfile(archive) and not archive.endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")):
            unpack_zip(archive, directory)
        else:
            unpack_tar(archive, directory)
    except (OSError, EOFError, ValueError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise BadSdist("cannot unpack %s: %s" % (os.path.basename(archive), error))
    inner = os.listdir(directory)
    if len(inner) == 1 and os.path.isdir(os.path.join(directory, inner[0])):
        return os.path.join(directory, inner[0])
    return directory


def project_directory(source: str, subdirectory: str) -> str:
    """Where the project lies in its sources: a repository may hold several."""
    path = os.path.realpath(os.path.join(source, subdirectory))
    if not (path + os.sep).startswith(os.path.realpath(source) + os.sep) or not os.path.isdir(path):
        raise BadSdist("the sources hold no directory %r" % subdirectory)
    return path


def backend_path(request: Dict[str, Any], source: str) -> List[str]:
    """The in-tree backend's directories, which PEP 517 keeps inside the source directory."""
    root = os.path.realpath(source)
    found = []
    for text in request["backend_path"]:
        path = os.path.realpath(os.path.join(root, text))
        if path != root and not path.startswith(root + os.sep):
            raise BadSdist("backend-path %r lies outside the source directory" % text)
        found.append(path)
    return found


def run_hook(name: str, request: Dict[str, Any], source: str, arguments: List[Any]) -> Any:
    """Call one hook in a fresh interpreter of the build environment; its return value, or the end of all."""
    handle, answer = tempfile.mkstemp(prefix="hook-", suffix=".json")
    os.close(handle)
    call = {
        "hook": name,
        "backend": request["backend"],
        "backend_path": backend_path(request, source),
        "arguments": arguments,
        "answer": answer,
    }
    python = os.path.join(ROOT, "env", "bin", "python")
    environment = dict(os.environ)
    for variable in ("PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__"):
        environment.pop(variable, None)
    environment["VIRTUAL_ENV"] = os.path.join(ROOT, "env")
    environment["PATH"] = os.path.join(ROOT, "env", "bin") + os.pathsep + environment.get("PATH", os.defpath)
    print("pipmirror: %s of %s" % (name, request["backend"]), flush=True)
    command = [python, os.path.abspath(__file__), json.dumps(call)]
    code = subprocess.call(command, cwd=source, env=environment, stdin=subprocess.DEVNULL)
    if code == -9:
        # Not every engine tells us that it was the kernel, for want of memory.
        sys.stderr.write("Error: the build was killed, perhaps because it ran out of memory\n")
    if code:
        # A signal is a negative number here, and 128 and its number to a shell.
        sys.exit(code if 0 < code < MORE_REQUIREMENTS else 1)
    if os.path.getsize(answer) == 0:
        sys.exit("Error: the build backend ended %s without returning from it" % name)
    with open(answer) as stream:
        return json.load(stream)


def hook(call: Dict[str, Any]) -> None:
    """The child: import the backend and call it."""
    # The script's own directory holds our files, not importable modules (`import build` means another).
    sys.path[0:1] = call["backend_path"]
    from importlib import import_module

    module_name, _, attributes = call["backend"].partition(":")
    try:
        module = import_module(module_name)
    except ImportError as error:
        sys.exit("%s: the build backend %s cannot be imported: %s" % (type(error).__name__, call["backend"], error))
    if call["backend_path"]:
        origin = os.path.realpath(getattr(module, "__file__", None) or "")
        if not any(origin.startswith(path + os.sep) for path in call["backend_path"]):
            sys.exit("ImportError: the build backend %s does not come from backend-path" % call["backend"])
    backend = module  # type: Any
    for attribute in filter(None, attributes.split(".")):
        backend = getattr(backend, attribute)
    function = getattr(backend, call["hook"], None)
    if function is None and call["hook"] == "get_requires_for_build_wheel":
        result = []
    elif function is None:
        sys.exit("AttributeError: the build backend %s has no %s" % (call["backend"], call["hook"]))
    else:
        result = function(*call["arguments"])
    with open(call["answer"], "w") as stream:
        json.dump(result, stream)


def project(requirement: str) -> str:
    """The normalised name that a requirement starts with."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement.strip(), 1)[0]).lower()


def main() -> None:
    os.umask(0o022)
    with open(os.path.join(ROOT, "in", "request.json")) as stream:
        request = json.load(stream)
    out = os.path.join(ROOT, "out")
    try:
        source = project_directory(unpack(os.path.join(ROOT, "in", request["sdist"])), request["subdirectory"])
        requires = run_hook("get_requires_for_build_wheel", request, source, [{}])
        with open(os.path.join(out, "requires.json"), "w") as stream:
            json.dump(list(requires), stream)
        # By name only: the host, which has a library for that, looks at versions and markers afterwards.
        if not request["have_requires"] and any(project(text) not in request["have"] for text in requires):
            print("pipmirror: the backend asks for %s" % ", ".join(map(str, requires)))
            sys.exit(MORE_REQUIREMENTS)
        name = run_hook("build_wheel", request, source, [out, {}, None])
    except BadSdist as error:
        sys.stderr.write("Error: %s\n" % error)
        sys.exit(BAD_SDIST)
    if not isinstance(name, str) or not os.path.isfile(os.path.join(out, os.path.basename(name))):
        sys.exit("Error: the build backend says that it made %r, which is not there" % (name,))
    print("pipmirror: made %s" % os.path.basename(name))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        hook(json.loads(sys.argv[1]))
    else:
        main()
