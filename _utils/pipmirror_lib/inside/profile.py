"""Say what this interpreter and its own pip are, as one JSON object between two marker lines.

Runs inside a container, with the target's Python (3.6 or newer) and its pip.
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Dict, List

# Python 3.6 runs this.
# ruff: noqa: UP006, UP031, UP035

BEGIN = "-----BEGIN PIPMIRROR PROFILE-----"
END = "-----END PIPMIRROR PROFILE-----"

VARIABLES = (
    "implementation_name",
    "implementation_version",
    "os_name",
    "platform_machine",
    "platform_python_implementation",
    "platform_release",
    "platform_system",
    "platform_version",
    "python_full_version",
    "python_version",
    "sys_platform",
)
ASK_PATHS = "import json, sys, sysconfig; print(json.dumps([sys.prefix, sysconfig.get_paths()]))"


def markers() -> Dict[str, str]:
    """The variables of environment markers, computed by the code that pip will evaluate them with."""
    from pip._vendor.packaging.markers import default_environment

    environment = dict(default_environment())
    return {name: str(environment[name]) for name in VARIABLES}


def tags() -> List[str]:
    """The tags of wheels that pip would install here, best first."""
    # pip's own function is internal and has moved twice: pip 20, 10 and 9.
    for module in ("pip._internal.utils.compatibility_tags", "pip._internal.pep425tags", "pip.pep425tags"):
        try:
            supported = importlib.import_module(module).get_supported()
        except (ImportError, AttributeError, TypeError):
            continue
        # Before pip 20, a tag was a tuple.
        return ["-".join(tag) if isinstance(tag, tuple) else str(tag) for tag in supported]
    # The library below it is what it calls.
    from pip._vendor.packaging.tags import sys_tags

    return [str(tag) for tag in sys_tags()]


def base_executable() -> str:
    """The interpreter itself, even where we run in a virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def paths(executable: str) -> Dict[str, str]:
    """Where a virtual environment of this interpreter keeps things, relative to its root.

    Asked of a real one: distributions patch the answer (lib64, dist-packages) in ways that cannot be guessed.
    """
    directory = tempfile.mkdtemp()
    environment = os.path.join(directory, "env")
    try:
        # Without pip, Debian needs no python3-venv package for this.
        subprocess.check_output(
            [executable, "-m", "venv", "--without-pip", "--symlinks", environment], stderr=subprocess.STDOUT
        )
        answer = subprocess.check_output([os.path.join(environment, "bin", "python"), "-I", "-c", ASK_PATHS])
        root, found = json.loads(answer.decode())
        names = ("purelib", "platlib", "scripts", "data")
        relative = {name: os.path.relpath(found[name], root) for name in names}
        # A virtual environment compiles against the interpreter's own headers; this is where pip puts others.
        return dict(relative, include=usual_paths()["include"])
    except (OSError, ValueError, KeyError, subprocess.CalledProcessError) as error:
        # Not on stderr, which comes by a way of its own: it may arrive in the middle of the answer.
        print("no virtual environment can be made (%s); taking the usual layout" % error)
        return usual_paths()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def usual_paths() -> Dict[str, str]:
    """The layout of an interpreter without the venv module, as CPython documents it."""
    version = "python%d.%d" % sys.version_info[:2]
    library = getattr(sys, "platlibdir", "lib")
    return {
        "purelib": "lib/%s/site-packages" % version,
        "platlib": "%s/%s/site-packages" % (library, version),
        "scripts": "bin",
        "include": "include/site/%s" % version,
        "data": ".",
    }


def main() -> None:
    if sys.version_info < (3, 6):
        sys.exit("Python %s is too old: 3.6 is the oldest that works" % sys.version.split()[0])
    try:
        import pip
    except ImportError:
        sys.exit("no pip: add it through pre_command (on Debian: apt-get -y install python3-pip)")
    executable = base_executable()
    profile = {
        "markers": markers(),
        "tags": tags(),
        "pip_version": pip.__version__,
        "base_executable": executable,
        "paths": paths(executable),
    }
    print("\n".join(["", BEGIN, json.dumps(profile, sort_keys=True), END]))


if __name__ == "__main__":
    main()
