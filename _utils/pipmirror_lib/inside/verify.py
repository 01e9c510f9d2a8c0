"""Install a set from the mirrored wheels, with the target's own pip and without network; then try it out.

Runs inside a container. pip's exit code is the verdict and ours. Running something of each root project is
informative only: many a good command wants a terminal, a configuration or a service.

/pipmirror/wheels  the mirrored wheels                                      read-only
/pipmirror/in      this file and request.json                               read-only
/pipmirror/out     result.json
"""

import configparser
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List, Optional, Tuple

# Python 3.6 runs this, in one thread.
# ruff: noqa: PLW1509, UP006, UP031, UP035, UP045

ROOT = os.environ.get("PIPMIRROR_ROOT", "/pipmirror")
ONE_COMMAND = 60
ALL_COMMANDS = 600
MUCH = 1 << 16


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def write_lines(name: str, lines: List[str]) -> str:
    path = os.path.join(tempfile.gettempdir(), name)
    with open(path, "w") as stream:
        stream.write("".join(line + "\n" for line in lines))
    return path


def install(request: Dict[str, Any], site: str) -> int:
    """pip's exit code."""
    wheels = os.path.join(ROOT, "wheels")
    command = [
        sys.executable,
        "-m",
        "pip",
        "--isolated",
        "--disable-pip-version-check",
        "--no-cache-dir",
        "install",
    ]
    command += ["--no-index", "--find-links", wheels, "--only-binary", ":all:"]
    command += ["--ignore-installed", "--target", site, "--no-compile"]
    if request.get("prereleases"):
        command.append("--pre")
    if request.get("constraints"):
        command += ["-c", write_lines("constraints.txt", request["constraints"])]
    command += ["-r", write_lines("requirements.txt", request["requirements"])]
    # An image's own configuration of pip could name another place to take wheels from.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    environment["PIP_CONFIG_FILE"] = os.devnull
    return subprocess.call(command, env=environment, stdin=subprocess.DEVNULL)


def distributions(site: str) -> Dict[str, Tuple[str, str, str]]:
    """{normalised name: (name, version, directory of its metadata)}"""
    found = {}
    for entry in sorted(os.listdir(site)):
        directory = os.path.join(site, entry)
        if not entry.endswith(".dist-info") or not os.path.isfile(os.path.join(directory, "METADATA")):
            continue
        headers = {}  # type: Dict[str, str]
        with open(os.path.join(directory, "METADATA"), encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if not line.strip():
                    break
                key, _, value = line.partition(":")
                headers.setdefault(key.lower(), value.strip())
        if headers.get("name"):
            found[normalized(headers["name"])] = (headers["name"], headers.get("version", ""), directory)
    return found


def read_text(directory: str, name: str) -> str:
    try:
        with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def installed_files(directory: str) -> List[str]:
    """Paths of RECORD, relative to the site directory."""
    lines = read_text(directory, "RECORD").splitlines()
    return [line.split(",")[0].strip('"').replace("../../bin/", "bin/") for line in lines if line]


def console_script(project: str, directory: str, site: str) -> Optional[str]:
    """The command to run: the one that is called like the project, else the first."""
    parser = configparser.RawConfigParser(delimiters=("=",), strict=False)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    try:
        parser.read_string(read_text(directory, "entry_points.txt"))
        names = [name for name, _ in parser.items("console_scripts")]
    except configparser.Error:
        names = []
    names += [os.path.basename(path) for path in installed_files(directory) if path.startswith("bin/")]
    there = sorted(name for name in set(names) if os.access(os.path.join(site, "bin", name), os.X_OK))
    for name in there:
        if normalized(name) == project:
            return name
    return there[0] if there else None


def first_module(directory: str) -> Optional[str]:
    """A top-level module to import."""
    declared = read_text(directory, "top_level.txt").split()
    files = [path.split("/") for path in installed_files(directory)]
    packages = [parts[0] for parts in files if len(parts) == 2 and parts[1] == "__init__.py"]
    modules = [
        re.sub(r"(\.abi3|\.cpython-[^.]*|\.pypy[^.]*)?\.(py|so)$", "", parts[0]) for parts in files if len(parts) == 1
    ]
    for name in declared + packages + modules:
        if name.replace("/", ".").isidentifier() and (name in packages or name in modules or name in declared):
            return name
    return None


def run(command: List[str], site: str) -> Tuple[bool, str]:
    """(whether it went well, first line of what it said)"""
    environment = dict(os.environ, PYTHONPATH=site)
    environment["PATH"] = os.path.join(site, "bin") + os.pathsep + environment.get("PATH", os.defpath)
    # Into a file: a pipe would keep us waiting for whichever grandchild holds it open.
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            cwd=tempfile.mkdtemp(),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            preexec_fn=os.setsid,
        )
        try:
            ok = process.wait(timeout=ONE_COMMAND) == 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return False, "no end after %d seconds" % ONE_COMMAND
        size = said.seek(0, os.SEEK_END)
        said.seek(0 if ok else max(0, size - MUCH))
        output = said.read(MUCH).decode("utf-8", "replace")
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    # Of a failure, the last line says what is wrong.
    return ok, (lines[0 if ok else -1] if lines else "")[:200]


def try_out(project: str, directory: str, site: str) -> Optional[Dict[str, Any]]:
    script = console_script(project, directory, site)
    if script is None:
        module = first_module(directory)
        if module is None:
            return None
        # What a newer Python thinks of the code is no answer.
        ok, output = run([sys.executable, "-W", "ignore", "-c", "import " + module], site)
        return {"command": "import " + module, "ok": ok, "output": output}
    for option in ("--version", "--help"):
        ok, output = run([os.path.join(site, "bin", script), option], site)
        if ok:
            break
    return {"command": script + " " + option, "ok": ok, "output": output}


def main() -> None:
    os.umask(0o022)
    with open(os.path.join(ROOT, "in", "request.json")) as stream:
        request = json.load(stream)
    try:
        import pip
    except ImportError:
        sys.exit("ERROR: no pip: add it through verify_command (or pre_command)")
    site = os.path.join(tempfile.gettempdir(), "site")
    code = install(request, site)
    result = {"installed": [], "ran": {}, "pip": pip.__version__}  # type: Dict[str, Any]
    if code == 0:
        # An empty set (every requirement's marker is false here) makes no directory.
        found = distributions(site) if os.path.isdir(site) else {}
        result["installed"] = sorted((name, version) for name, version, _ in found.values())
        end = time.time() + ALL_COMMANDS
        for project in request["projects"]:
            if project in found and time.time() < end:
                ran = try_out(project, found[project][2], site)
                if ran:
                    result["ran"][project] = ran
    with open(os.path.join(ROOT, "out", "result.json"), "w") as stream:
        json.dump(result, stream)
    sys.exit(code)


if __name__ == "__main__":
    main()
