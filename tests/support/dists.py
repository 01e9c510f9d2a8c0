"""Tiny real distributions, made on the spot: wheels and sdists that pip itself builds and installs.

The same arguments give the same bytes, so a test may compare hashes. What a hostile or careless publisher
might get wrong can be overridden, and then nothing is checked: lying is the point.
"""

from __future__ import annotations

import base64
import email.parser
import gzip
import hashlib
import io
import json
import re
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from email.message import Message
from pathlib import Path

from packaging.utils import canonicalize_name

SUFFIXES = (".whl", ".tar.gz", ".tar.bz2", ".tar.xz", ".zip")
# Zip knows no time before 1980, and setuptools copies a source's time into the wheel that it builds.
_MTIME = 946684800
_METADATA = r"[^/]+\.dist-info/METADATA|[^/]+/PKG-INFO"

_C_SOURCE = """\
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyObject *answer(PyObject *self, PyObject *ignored) { return PyLong_FromLong(42); }

static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, ""}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "@NAME@", "", -1, methods};

PyMODINIT_FUNC PyInit_@NAME@(void) { return PyModule_Create(&module); }
"""

# Runs in the target's interpreter, which may be as old as 3.6: no newer syntax, only the standard library.
_BACKEND = '''\
"""A PEP 517 backend that builds one wheel with nothing but the standard library."""
import base64
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import zipfile

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "recipe.json")) as stream:
    RECIPE = json.load(stream)


def get_requires_for_build_wheel(config_settings=None):
    return RECIPE["get_requires"]


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    info = RECIPE["stem"] + ".dist-info"
    os.mkdir(os.path.join(metadata_directory, info))
    for name, content in _dist_info().items():
        with open(os.path.join(metadata_directory, name), "wb") as target:
            target.write(content)
    return info


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    exec(RECIPE["on_build"], {})
    members = {}
    for name in RECIPE["files"]:
        with open(name, "rb") as source:
            members[name] = source.read()
    if RECIPE["extension"]:
        members.update(_compiled(RECIPE["extension"]))
    members.update(_dist_info())
    record = RECIPE["stem"] + ".dist-info/RECORD"
    lines = [_line(name, content) for name, content in members.items()] + [record + ",,"]
    members[record] = "".join(line + "\\n" for line in lines).encode()
    filename = "%s-%s.whl" % (RECIPE["stem"], _tag())
    with zipfile.ZipFile(os.path.join(wheel_directory, filename), "w") as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o644 << 16
            archive.writestr(member, content)
    return filename


def _dist_info():
    info = RECIPE["stem"] + ".dist-info"
    wheel = "Wheel-Version: 1.0\\nGenerator: intree\\nRoot-Is-Purelib: %s\\nTag: %s\\n"
    pure = "false" if RECIPE["extension"] else "true"
    texts = {"/METADATA": RECIPE["metadata"], "/WHEEL": wheel % (pure, _tag())}
    return {info + name: text.encode() for name, text in texts.items()}


def _tag():
    if not RECIPE["extension"]:
        return "py3-none-any"
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    abi = "cp" + sysconfig.get_config_var("SOABI").split("-")[1]
    return "cp%d%d-%s-%s" % (sys.version_info[0], sys.version_info[1], abi, platform)


def _compiled(module):
    compiler = os.environ.get("CC") or "cc"
    library = module + sysconfig.get_config_var("EXT_SUFFIX")
    include = "-I" + sysconfig.get_paths()["include"]
    subprocess.check_call([compiler, "-shared", "-fPIC", "-O0", include, module + ".c", "-o", library])
    with open(library, "rb") as stream:
        return {library: stream.read()}


def _line(name, content):
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return "%s,sha256=%s,%d" % (name, digest, len(content))
'''


def module_name(name: str) -> str:
    """How a project's default module, and its part of a wheel's file name, is spelled."""
    return canonicalize_name(name).replace("-", "_")


def core_metadata(
    name: str,
    version: str,
    *,
    requires: Sequence[str] = (),
    extras: Mapping[str, Sequence[str]] | None = None,
    requires_python: str | None = None,
    metadata_version: str = "2.1",
) -> str:
    """METADATA or PKG-INFO; requirements, extras' names and versions go in verbatim, valid or not."""
    lines = [f"Metadata-Version: {metadata_version}", f"Name: {name}", f"Version: {version}"]
    if requires_python is not None:
        lines.append(f"Requires-Python: {requires_python}")
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    for extra, members in (extras or {}).items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {_for_extra(requirement, extra)}" for requirement in members]
    return "\n".join(lines) + "\n\nMade for a test.\n"


def record_of(members: Mapping[str, bytes], record_name: str) -> str:
    """RECORD for these members, itself included without a hash, as the specification wants it."""
    lines = []
    for name, content in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    return "".join(lines) + f"{record_name},,\n"


def make_wheel(
    directory: Path,
    name: str = "demo",
    version: str = "1.0",
    *,
    requires: Sequence[str] = (),
    extras: Mapping[str, Sequence[str]] | None = None,
    requires_python: str | None = None,
    tag: str = "py3-none-any",
    build: str = "",
    files: Mapping[str, str | bytes] | None = None,
    entry_points: Mapping[str, str] | None = None,
    metadata_version: str = "2.1",
    filename: str | None = None,
    dist_info: str | None = None,
    metadata: str | None = None,
    record: str | None = None,
    extra_members: Iterable[tuple[str | zipfile.ZipInfo, str | bytes]] = (),
) -> Path:
    """A wheel; `filename`, `dist_info`, `metadata` and `record` replace the truth.

    `extra_members` follow in the archive without being in RECORD; a ZipInfo there may be a symbolic link, and
    a name may occur twice or lead out of the archive.
    """
    stem = f"{module_name(name)}-{version.replace('-', '_')}"
    info = dist_info if dist_info is not None else f"{stem}.dist-info"
    members = _contents(files if files is not None else _default_module(name, version))
    if metadata is None:
        metadata = _Project(name, version, requires, extras or {}, requires_python).metadata(metadata_version)
    members[f"{info}/METADATA"] = metadata.encode()
    members[f"{info}/WHEEL"] = _wheel_file(tag, build).encode()
    if entry_points:
        members[f"{info}/entry_points.txt"] = _entry_points(entry_points).encode()
    listing = record if record is not None else record_of(members, f"{info}/RECORD")
    members[f"{info}/RECORD"] = listing.encode()
    filename = filename or "-".join(filter(None, (stem, build, tag))) + ".whl"
    return _write_zip(directory / filename, [*members.items(), *extra_members])


def make_sdist(
    directory: Path,
    name: str = "demo",
    version: str = "1.0",
    *,
    requires: Sequence[str] = (),
    extras: Mapping[str, Sequence[str]] | None = None,
    requires_python: str | None = None,
    build_requires: Sequence[str] | None = None,
    backend: str = "setuptools.build_meta",
    files: Mapping[str, str | bytes] | None = None,
    c_extension: bool = False,
    static_metadata: bool = False,
    setup_py: str | None = None,
    pyproject: str | None = None,
    intree_backend: bool = False,
    get_requires: Sequence[str] = (),
    on_build: str = "",
    filename: str | None = None,
) -> Path:
    """An sdist NAME-VERSION.tar.gz, its name as given (so that dashes, dots and capitals are to be had).

    By default a legacy `setup.py`; `build_requires` adds a pyproject.toml. `intree_backend` brings a backend
    of its own and needs no setuptools; only it knows `get_requires` (what a backend asks for on the way) and
    `on_build` (Python statements that the build runs), and it packs `files` (which come on top) too.
    """
    project = _Project(name, version, requires, extras or {}, requires_python)
    sources = {**_default_module(name, version), **(files or {})}
    extension = f"_{module_name(name)}" if c_extension else ""
    if intree_backend:
        recipe = {"files": list(sources), "extension": extension, "on_build": on_build}
        members = project.intree({**recipe, "get_requires": list(get_requires)}, build_requires or ())
    else:
        members = project.legacy(extension, build_requires, backend)
    overrides = {"setup.py": setup_py, "pyproject.toml": pyproject}
    members |= {key: text for key, text in overrides.items() if text is not None}
    members |= {"PKG-INFO": project.pkg_info(static_metadata), **_c_source(extension)}
    contents = _contents({**members, **sources})
    return _write_tar(directory / (filename or f"{name}-{version}.tar.gz"), f"{name}-{version}", contents)


def metadata_of(path: Path) -> bytes | None:
    """A wheel's METADATA or an sdist's PKG-INFO; None where it has none or cannot be read."""
    try:
        if path.name.endswith((".whl", ".zip")):
            with zipfile.ZipFile(path) as archive:
                wanted = (name for name in archive.namelist() if re.fullmatch(_METADATA, name))
                return next((archive.read(name) for name in wanted), None)
        with tarfile.open(path) as sdist:
            stream = next((sdist.extractfile(member) for member in sdist if re.fullmatch(_METADATA, member.name)), None)
            return stream.read() if stream else None
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, OSError, EOFError):
        return None


def headers_of(metadata: bytes) -> Message:
    return email.parser.HeaderParser().parsestr(metadata.decode("utf-8", "surrogateescape"))


def name_and_version(filename: str) -> tuple[str, str]:
    """What a distribution's file name seems to say; a legacy name gets a guess, as from any index."""
    if filename.endswith(".whl"):
        name, _, rest = filename.partition("-")
        return name, rest.partition("-")[0]
    stem = next((filename[: -len(suffix)] for suffix in SUFFIXES if filename.endswith(suffix)), filename)
    name, separator, version = stem.rpartition("-")
    return (name, version) if separator else (stem, "")


@dataclass(frozen=True)
class _Project:
    """What setup.py, PKG-INFO and METADATA say alike."""

    name: str
    version: str
    requires: Sequence[str]
    extras: Mapping[str, Sequence[str]]
    requires_python: str | None

    def metadata(self, metadata_version: str) -> str:
        return core_metadata(
            self.name,
            self.version,
            requires=self.requires,
            extras=self.extras,
            requires_python=self.requires_python,
            metadata_version=metadata_version,
        )

    def pkg_info(self, static: bool) -> str:
        # Before 2.2 nobody may rely on an sdist's dependencies, and most sdists did not even name them.
        return self.metadata("2.2") if static else replace(self, requires=(), extras={}).metadata("2.1")

    def legacy(self, extension: str, build_requires: Sequence[str] | None, backend: str) -> dict[str, str]:
        arguments: dict[str, object] = {"name": self.name, "version": self.version}
        arguments["py_modules"] = [module_name(self.name)]
        arguments["install_requires"] = list(self.requires)
        arguments["extras_require"] = {extra: list(members) for extra, members in self.extras.items()}
        if self.requires_python is not None:
            arguments["python_requires"] = self.requires_python
        lines = [f"    {key}={value!r},\n" for key, value in arguments.items()]
        if extension:
            lines.append(f"    ext_modules=[Extension({extension!r}, [{extension + '.c'!r}])],\n")
        files = {"setup.py": "from setuptools import Extension, setup\n\nsetup(\n" + "".join(lines) + ")\n"}
        if build_requires is not None:
            files["pyproject.toml"] = _build_system(build_requires, backend)
        return files

    def intree(self, recipe: Mapping[str, object], build_requires: Sequence[str]) -> dict[str, str]:
        stem = f"{module_name(self.name)}-{self.version.replace('-', '_')}"
        recipe = {**recipe, "stem": stem, "metadata": self.metadata("2.1")}
        return {
            "pyproject.toml": _build_system(build_requires, "intree", "_backend"),
            "_backend/intree.py": _BACKEND,
            "_backend/recipe.json": json.dumps(recipe, indent=1),
        }


def _for_extra(requirement: str, extra: str) -> str:
    base, separator, marker = requirement.partition(";")
    condition = f"({marker.strip()}) and " if separator else ""
    # The blank before the semicolon is what ends a URL.
    return f'{base.strip()} ; {condition}extra == "{extra}"'


def _default_module(name: str, version: str) -> dict[str, str | bytes]:
    return {f"{module_name(name)}.py": f'__version__ = "{version}"\n'}


def _contents(files: Mapping[str, str | bytes]) -> dict[str, bytes]:
    return {name: content.encode() if isinstance(content, str) else content for name, content in files.items()}


def _wheel_file(tag: str, build: str) -> str:
    pythons, abis, platforms = (part.split(".") for part in tag.split("-"))
    pure = "true" if platforms == ["any"] else "false"
    lines = ["Wheel-Version: 1.0", "Generator: tests.support.dists", f"Root-Is-Purelib: {pure}"]
    lines += [f"Tag: {python}-{abi}-{system}" for python in pythons for abi in abis for system in platforms]
    if build:
        lines.append(f"Build: {build}")
    return "\n".join(lines) + "\n"


def _entry_points(scripts: Mapping[str, str]) -> str:
    return "".join(["[console_scripts]\n", *(f"{script} = {target}\n" for script, target in scripts.items())])


def _c_source(extension: str) -> dict[str, str]:
    return {f"{extension}.c": _C_SOURCE.replace("@NAME@", extension)} if extension else {}


def _build_system(requires: Sequence[str], backend: str, backend_path: str = "") -> str:
    # A JSON list of strings is a TOML list of strings.
    lines = ["[build-system]", f"requires = {json.dumps(list(requires))}", f'build-backend = "{backend}"']
    if backend_path:
        lines.append(f'backend-path = ["{backend_path}"]')
    return "\n".join(lines) + "\n"


def _write_zip(target: Path, members: Iterable[tuple[str | zipfile.ZipInfo, str | bytes]]) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Stored, not deflated: zlib's versions differ in what they make of the same input.
    with zipfile.ZipFile(target, "w") as archive, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Duplicate name")
        for name, content in members:
            archive.writestr(_member(name), content)
    return target


def _member(name: str | zipfile.ZipInfo) -> zipfile.ZipInfo:
    if isinstance(name, zipfile.ZipInfo):
        return name
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = 0o644 << 16
    return info


def _write_tar(target: Path, top: str, members: Mapping[str, bytes]) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size, member.mtime, member.mode = len(content), _MTIME, 0o644
            archive.addfile(member, io.BytesIO(content))
    with target.open("wb") as stream, gzip.GzipFile("", "wb", 6, stream, mtime=0) as packed:
        packed.write(buffer.getvalue())
    return target
