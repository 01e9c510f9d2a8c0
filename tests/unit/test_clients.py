"""What pip and uv are told, beside what an administrator has told them."""

from __future__ import annotations

import configparser
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import tomllib
from pipmirror_lib import client_files, clients
from pipmirror_lib.client_files import BEGIN, END, SET_ASIDE
from pipmirror_lib.errors import MirrorError, SettingsError

CASES = json.loads(Path(__file__).with_name("clients.json").read_text())
WRITE = {"pip": client_files.pip_conf, "uv": client_files.uv_toml}


def written(text: str) -> str:
    """The cases name our comments in short."""
    return text.replace("# <", BEGIN).replace("# >", END).replace("# - ", SET_ASIDE)


def options_of(tool: str, text: str) -> dict[str, Any]:
    """As the tool itself reads it."""
    if tool == "uv":
        return tomllib.loads(text)
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    return {name.replace("_", "-"): value for name, value in parser.items("global")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['tool']}: {case['name']}")
def test_cases(case: dict[str, Any]) -> None:
    tool, options, before = case["tool"], case["options"], case.get("back", case["old"])
    write = WRITE[tool]
    new = write(case["old"], options)
    assert new == written(case["new"])
    assert write(new, options) == new, "the second time changes it"
    wanted = {name: value for name, value in options.items() if value}
    if tool == "uv":
        wanted = tomllib.loads("\n".join(f"{name} = {value}" for name, value in wanted.items()))
    assert options_of(tool, new).items() >= wanted.items()
    assert write(new, {}) == before, "what stood there comes back"
    others = {"offline": "true"} if tool == "uv" else {"timeout": "9"}
    assert write(new, others) == write(before, others), "one declaration takes the place of another"


def test_from_an_index() -> None:
    client = clients.load({"url": "http://me:word@mirror:8080/pip/"}, "debian-bookworm")
    url = "http://me:word@mirror:8080/pip/debian-bookworm/simple/"
    assert clients.pip_options(client) == {"index-url": url, "trusted-host": "mirror:8080", "no-index": ""}
    assert clients.uv_options(client) == {"index-url": f'"{url}"', "no-index": ""}


def test_from_an_index_with_a_certificate() -> None:
    client = clients.load({"url": "https://mirror", "ca_cert": "/etc/ssl/our.pem"}, "rocky-9")
    url = "https://mirror/rocky-9/simple/"
    assert clients.pip_options(client) == {"index-url": url, "cert": "/etc/ssl/our.pem", "no-index": ""}
    assert clients.uv_options(client) == {"index-url": f'"{url}"', "no-index": "", "system-certs": "true"}


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("echo uv 0.10.12", "native-tls"),
        ("echo 'uv 0.11.0 (abc 2026-03-23)'", "system-certs"),
        ("echo uv 1.0.0", "system-certs"),
        ("exit 1", "system-certs"),
    ],
)
def test_the_name_that_this_machines_uv_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, name: str
) -> None:
    program = tmp_path / "uv"
    program.write_text(f"#!/bin/sh\n{version}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert name in clients.uv_options(clients.load({"url": "https://mirror", "ca_cert": "/etc/ssl/our.pem"}, "p"))


def test_from_an_index_whose_certificate_is_not_checked() -> None:
    client = clients.load({"url": "https://mirror", "trusted": True}, "rocky-9")
    assert clients.pip_options(client)["trusted-host"] == "mirror"
    assert clients.uv_options(client)["allow-insecure-host"] == '["mirror"]'


def test_from_a_directory() -> None:
    client = clients.load({"find_links": "/mnt/pip/", "platforms": {"rocky-9": "rockylinux-9"}}, "rocky-9")
    assert clients.pip_options(client) == {"no-index": "true", "find-links": "/mnt/pip/rockylinux-9"}
    assert clients.uv_options(client) == {"no-index": "true", "find-links": '["/mnt/pip/rockylinux-9"]'}


def test_from_a_directory_with_a_space() -> None:
    client = clients.load({"find_links": "/mnt/our pip"}, "p")
    assert clients.pip_options(client)["find-links"] == "file:///mnt/our%20pip/p"
    assert clients.uv_options(client)["find-links"] == '["/mnt/our pip/p"]'


def test_absent() -> None:
    assert clients.load({"absent": True}, "p") is None
    assert clients.load({"absent": False, "url": "http://m"}, "p") is not None


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "pipmirror_client:url: name where the mirror is"),
        (None, "pipmirror_client:url: name where the mirror is"),
        ({"url": "http://m", "find_links": "/x"}, "pipmirror_client:url: name where the mirror is"),
        ({"url": "ftp://m"}, "pipmirror_client:url: must be a URL"),
        ({"url": "http://m/\nx = 1"}, "pipmirror_client:url: must be a URL"),
        ({"url": 'http://m/"'}, "pipmirror_client:url: must be a URL"),
        ({"url": "http://[::1/"}, "pipmirror_client:url: must be a URL"),
        ({"url": "http://m:x/"}, "pipmirror_client:url: must be a URL"),
        ({"url": "http:///x"}, "pipmirror_client:url: must be a URL"),
        ({"url": "http://m\x00"}, "pipmirror_client:url: must be a URL"),
        ({"url": "http://m", "absent": "false"}, "pipmirror_client:absent: must be true or false"),
        ({"find_links": "/x\x7f"}, "pipmirror_client:find_links: '/x\\x7f' must be an absolute path"),
        ({"find_links": "x"}, "pipmirror_client:find_links: 'x' must be an absolute path"),
        ({"find_links": "/x\ny"}, "pipmirror_client:find_links: '/x\\ny' must be an absolute path"),
        ({"url": "http://m", "ca_cert": "x.pem"}, "pipmirror_client:ca_cert: 'x.pem' must be an absolute path"),
        ({"url": "http://m", "platform": "../x"}, "pipmirror_client:platform: '../x' is not the name of a platform"),
        ({"url": "http://m", "pip": "no"}, "pipmirror_client:pip: must be true or false"),
        ({"url": "http://m", "platfrom": "x"}, "pipmirror_client:platfrom: unknown key; did you mean 'platform'?"),
        ([], "pipmirror_client: must be a mapping"),
    ],
)
def test_faults(settings: Any, told: str) -> None:
    with pytest.raises(SettingsError) as raised:
        clients.load(settings, "debian-bookworm")
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("kernel", "pip", "uv"),
    [
        ("Linux", "/etc/pip.conf", "/etc/uv/uv.toml"),
        ("FreeBSD", "/etc/pip.conf", "/etc/uv/uv.toml"),
        ("Darwin", "/Library/Application Support/pip/pip.conf", "/etc/uv/uv.toml"),
        ("Windows", "D:/Data/pip/pip.ini", "D:/Data/uv/uv.toml"),
    ],
)
def test_paths(kernel: str, pip: str, uv: str) -> None:
    assert client_files.paths(kernel, {"PROGRAMDATA": "D:/Data"}) == {"pip": Path(pip), "uv": Path(uv)}


def test_the_file_that_uv_reads(tmp_path: Path) -> None:
    """An administrator's own file in the other place would hide ours."""
    environment = {"XDG_CONFIG_DIRS": f"{tmp_path}/a:{tmp_path}/b"}
    assert client_files.paths("Linux", environment)["uv"] == Path("/etc/uv/uv.toml")
    own = tmp_path / "b" / "uv" / "uv.toml"
    own.parent.mkdir(parents=True)
    own.write_text("offline = true\n")
    assert client_files.paths("Linux", environment)["uv"] == own
    assert client_files.unread("Linux", environment) == []
    earlier = tmp_path / "a" / "uv" / "uv.toml"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("offline = false\n")
    assert client_files.paths("Linux", environment)["uv"] == earlier
    assert client_files.unread("Linux", environment) == [own], "what we had written there is to be taken back"
    assert client_files.unread("Windows", environment) == []


def test_mode_and_owner_stay(tmp_path: Path) -> None:
    path = tmp_path / "pip.conf"
    path.write_text("[global]\n")
    path.chmod(0o640)
    client_files.store(path, "[global]\ntimeout = 7\n")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("[global]\ntimeout = 7\n", 0o640)
    assert [entry.name for entry in tmp_path.iterdir()] == ["pip.conf"]
    client_files.store(path, "")
    assert not path.exists()


def test_a_link_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "pip.conf"
    link.symlink_to("real")
    client_files.store(link, "[global]\n")
    assert (link.readlink(), real.read_text()) == (Path("real"), "[global]\n")
    client_files.store(link, "")
    assert (link.is_symlink(), real.exists()) == (True, False)


def test_what_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.conf").write_text("[global]\n")

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(MirrorError, match=r"cannot write .*pip\.conf: No space left"):
        client_files.store(tmp_path / "pip.conf", "[global]\ntimeout = 7\n")
    assert [entry.name for entry in tmp_path.iterdir()] == ["pip.conf"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_byte_comes_back(tmp_path: Path, end: str, mark: str) -> None:
    files = {"uv": tmp_path / "uv.toml"}
    before = f'{mark}offline = true{end}index-url = "V"{end}'.encode()
    files["uv"].write_bytes(before)
    ((path, (_, content)),) = clients.drift(clients.load({"url": "http://m"}, "p"), files).items()
    client_files.store(path, content)
    assert path.read_bytes().startswith(f"{mark}{BEGIN}{end}".encode())
    ((path, (_, content)),) = clients.drift(None, files).items()
    client_files.store(path, content)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("tool", "text"),
    [
        ("pip", "timeout = 7\n"),
        ("pip", "[global]\n[global]\n"),
        ("pip", "\ufeff[global]\n"),
        ("uv", "offline = yes\n"),
        ("uv", '"index\\u002durl" = "V"\n'),
    ],
)
def test_what_the_tool_itself_cannot_read(tmp_path: Path, tool: str, text: str) -> None:
    """Nobody installs from the mirror with such a file; taking ours back is always possible."""
    path = tmp_path / "file"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MirrorError, match=rf"file: {tool} cannot read it"):
        clients.drift(clients.load({"url": "http://m"}, "p"), {tool: path})
    assert clients.drift(None, {tool: path}) == {}


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_bytes(b"\xff")
    with pytest.raises(MirrorError, match=r"cannot read .*uv\.toml"):
        clients.drift(None, {"uv": tmp_path / "uv.toml"})


def test_only_what_is_asked_for(tmp_path: Path) -> None:
    files = {"pip": tmp_path / "pip.conf", "uv": tmp_path / "uv.toml"}
    for path, (_, content) in clients.drift(clients.load({"find_links": "/x"}, "p"), files).items():
        client_files.store(path, content)
    without = clients.load({"find_links": "/x", "uv": False}, "p")
    assert clients.drift(without, files) == {files["uv"]: (files["uv"].read_text(), "")}


@pytest.mark.parametrize("tool", ["pip", "uv"])
@pytest.mark.parametrize("torn", [f"{BEGIN}\nx = 1\n", f"x = 1\n{END}\n", f"{BEGIN}\n{BEGIN}\n{END}\n"])
def test_nothing_is_lost_where_nobody_can_say_what_is_ours(tmp_path: Path, tool: str, torn: str) -> None:
    path = tmp_path / "file"
    path.write_text(f"[global]\n{torn}timeout = 7\n")
    for client in (None, clients.load({"find_links": "/x"}, "p")):
        with pytest.raises(MirrorError, match=r"file: the line"):
            clients.drift(client, {tool: path})
