"""Groups of settings, each a mapping of its own: the index, containers, files."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from packaging.utils import InvalidName, NormalizedName, canonicalize_name

from pipmirror_lib.declared import Container, Files, Index
from pipmirror_lib.fields import Fields

_IMAGE = re.compile(r"[A-Za-z0-9][\w.:/@+-]*", re.ASCII)
_ARCHITECTURE = re.compile(r"\w+(/\w+){0,2}", re.ASCII)
_ENGINE = re.compile(r"(http\+)?unix:///\S+|(tcp|https?|ssh)://[^\s/]+\S*|npipe://\S+")


def read_index(read: Fields) -> Index:
    read.refuse_unknown([f.name for f in dataclasses.fields(Index)])
    url = read.text("url")
    extra = tuple(text for _, text in read.strings("extra_urls"))
    for key, text in (("url", url), *(("extra_urls", text) for text in extra)):
        if text and not is_address(text):
            read.fault(key, "must be a URL that starts with http:// or https:// and names a host")
    proxy = read.text("proxy")
    if proxy and not is_address(proxy if "://" in proxy else f"http://{proxy}"):
        read.fault("proxy", "must be http://[USER:PASSWORD@]HOST:PORT, with %2F and the like for what is special there")
    if bool(read.values.get("username")) != bool(read.values.get("password")):
        read.fault("username", "username and password belong together; give both or none")
    ca_cert = read.text("ca_cert")
    if ca_cert and not os.path.isabs(ca_cert):
        read.fault("ca_cert", f"{ca_cert!r} is relative; name an absolute file")
    return Index(
        url=url,
        extra_urls=extra,
        username=read.text("username"),
        password=read.text("password"),
        ca_cert=ca_cert,
        trusted_hosts=tuple(text for _, text in read.strings("trusted_hosts")),
        proxy=proxy,
        retries=read.whole("retries", 4, least=0, most=100),
        timeout=read.whole("timeout", 30, most=86400, what="seconds"),
    )


def is_address(url: str, schemes: Sequence[str] = ("http", "https")) -> bool:
    """Whether it names a host, and nothing in it could be read in two ways."""
    try:
        parts = urlsplit(url)
        port = parts.port or 0
        host = (parts.hostname or "").encode("idna")
    except ValueError:
        return False
    return parts.scheme in schemes and bool(host) and port < 65536 and not re.search(r"[\s\\\x00-\x1f\x7f]", url)


def check_image(read: Fields, image: str) -> None:
    if image and not _IMAGE.fullmatch(image):
        read.fault("image", f"{image!r} is not an image reference")


def read_architecture(read: Fields) -> str:
    architecture = read.text("architecture")
    if architecture and not _ARCHITECTURE.fullmatch(architecture):
        read.fault("architecture", f"{architecture!r} is none; say it as amd64, arm64 or linux/arm/v7")
    return architecture


def read_container(read: Fields, default: Container, without: Sequence[str] = ()) -> Container:
    """`without` are keys that mean nothing there."""
    read.refuse_unknown([f.name for f in dataclasses.fields(Container) if f.name not in without])
    return Container(
        memory=read.size("memory", default.memory, least=16 << 20),
        disk=read.size("disk", default.disk, least=16 << 20),
        pids=read.whole("pids", default.pids),
        cpus=read.number("cpus", default.cpus, least=0.01, most=4096),
        timeout=read.whole("timeout", default.timeout, what="seconds"),
        build_network=read_projects(read, "build_network"),
        engine_url=_engine_url(read),
    )


def _engine_url(read: Fields) -> str:
    url = read.text("engine_url")
    if url and not _ENGINE.fullmatch(url):
        read.fault("engine_url", f"{url!r} is no engine's URL, e.g. unix:///run/podman/podman.sock or tcp://HOST:2375")
    return url


def read_files(read: Fields) -> Files:
    read.refuse_unknown([f.name for f in dataclasses.fields(Files)])
    return Files(
        user=read.owner("user"),
        group=read.owner("group"),
        file_mode=read.mode("file_mode", 0o644),
        dir_mode=read.mode("dir_mode", 0o755),
    )


def read_projects(read: Fields, key: str) -> tuple[NormalizedName, ...]:
    names = []
    for place, text in read.strings(key):
        try:
            names.append(canonicalize_name(text, validate=True))
        except InvalidName:
            read.faults.append(f"{place}: {text!r} is not a project's name")
    return tuple(names)
