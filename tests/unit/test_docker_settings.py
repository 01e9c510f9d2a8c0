"""What the docker state makes of a declaration: by rule and by table, without Salt."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml
from salt.exceptions import SaltInvocationError

TREE = Path(__file__).parents[2] / "salt" / "docker"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("docker_settings", TREE / "docker_settings.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docker_settings = _load()
DEFAULTS, FAMILIES, SYSTEMS = (
    yaml.safe_load((TREE / f"{name}.yaml").read_text()) for name in ("defaults", "osfamilymap", "osmap")
)

DEBIAN = {"os": "Debian", "os_family": "Debian", "oscodename": "bookworm", "osarch": "amd64", "init": "systemd"}
ROCKY = {"os": "Rocky", "os_family": "RedHat", "osarch": "x86_64", "init": "systemd"}
ARCH = {"os": "Arch", "os_family": "Arch", "osarch": "x86_64", "init": "systemd"}
WINDOWS = {"os": "Windows", "os_family": "Windows", "osarch": "AMD64", "init": "Windows"}
MACOS = {"os": "MacOS", "os_family": "MacOS", "osarch": "arm64", "init": "launchd"}


def resolve(pillar: Any = None, grains: dict[str, str] = DEBIAN, booted: bool = False) -> dict[str, Any]:
    answer: dict[str, Any] = docker_settings.resolve(pillar, grains, DEFAULTS, FAMILIES, SYSTEMS, booted)
    return answer


def good(pillar: Any = None, grains: dict[str, str] = DEBIAN) -> dict[str, Any]:
    settings = resolve(pillar, grains)
    assert settings["faults"] == []
    return settings


@pytest.mark.parametrize(
    ("pillar", "fault"),
    [
        (["docker"], "docker: must be a mapping, not ['docker']"),
        ({"pyton": True}, "docker:pyton: unknown key; did you mean 'python'?"),
        ({"zzzzzz": 1}, "docker:zzzzzz: unknown key; remove it"),
        ({"repo": {"kye": "x"}}, "docker:repo:kye: unknown key; did you mean 'key'?"),
        ({"repo": "https://mirror"}, "docker:repo: must be a mapping, not 'https://mirror'"),
        ({"hold": "yes"}, "docker:hold: must be true or false, not 'yes'"),
        ({"version": 27.3}, "docker:version: must be a string, not 27.3; quote it"),
        ({"users": "joe"}, "docker:users: must be a list, not 'joe'"),
        ({"users": ["joe", 7]}, "docker:users: must be names, not 7"),
        ({"users": ["$(id)"]}, "docker:users: must be names, not '$(id)'"),
        ({"daemon": ["debug"]}, "docker:daemon: must be a mapping, not ['debug']"),
        ({"packages": [{"a": "1", "b": "2"}]}, "docker:packages: must be names, or NAME: VERSION (quoted), not {"),
        ({"packages": [{"docker-ce": 27.3}]}, "docker:packages: must be names, or NAME: VERSION (quoted), not {"),
        (
            {"provider": "snap"},
            "docker:provider: snap is not to be had on Debian; choose one of docker-ce, distro, podman",
        ),
        (
            {"repo": {"uri": "https://m/x stable\ndeb http://evil"}},
            "docker:repo:uri: must begin with https://, http:// or file://",
        ),
        (
            {"repo": {"uri": "https://me:secret@mirror"}},
            "docker:repo:uri: everybody may read apt's list; keep name and",
        ),
        (
            {"repo": {"codename": "book worm"}},
            "docker:repo:codename: must be one word of letters, digits and ._+/-, not 'book worm'",
        ),
        (
            {"version": "1 --allow"},
            "docker:version: must be like 27.3.1, 27.3.*, or what the package manager writes, not '1 --allow'",
        ),
        ({"repo": {"format": "one-line"}}, "docker:repo:format: must be list or deb822, not 'one-line'"),
        (
            {"repo": {"key": "docker.asc", "key_sha256": "0" * 64}},
            "docker:repo:key: must be a URL, salt:// or an absolute path",
        ),
        ({"repo": {"uri": "ftp://me:secret@mirror"}}, "docker:repo:uri: must begin with https://, http:// or file://"),
        (
            {"repo": {"uri": "mirror+file:/etc/mirrors"}},
            "docker:repo:uri: must begin with https://, http:// or file://",
        ),
        ({"repo": {"uri": 'https://m/"x'}}, "docker:repo:uri: must begin with https://, http:// or file://"),
        ({"repo": {"key": "https://mirror/a key"}}, "docker:repo:key: must be a URL, salt:// or an absolute path"),
        ({"repo": {"key": "/k.asc\n"}}, "docker:repo:key: must be a URL, salt:// or an absolute path"),
        ({"packages": [""]}, "docker:packages: must be names, or NAME: VERSION (quoted), not ''"),
        ({"packages": ["--help"]}, "docker:packages: must be names, or NAME: VERSION (quoted), not '--help'"),
        ({"packages": ["a\nb"]}, "docker:packages: must be names, or NAME: VERSION (quoted), not 'a\\nb'"),
        ({"packages": [{"docker-ce": "1 2"}]}, "docker:packages: must be names, or NAME: VERSION (quoted), not {"),
        ({"packages": [None]}, "docker:packages: must be names, or NAME: VERSION (quoted), not None"),
        ({"daemon": {1: 2}}, "docker:daemon: keys must be strings, not 1"),
        ({"daemon": {"mtu": float("nan")}}, "docker:daemon:mtu: must be a value that JSON knows, which this float"),
        ({"daemon": {"proxies": {"x": b"secret"}}}, "docker:daemon:proxies: must be a value that JSON knows, which"),
        ({"daemon": {"hosts": ["tcp://10.0.0.1:2375"]}}, "docker:daemon:hosts: must name unix:///var/run/docker.sock"),
        (
            {"daemon": {"group": "staff"}, "users": ["joe"]},
            "docker:daemon:group: docker:users are members of the group docker; remove one of the two",
        ),
        (
            {"repo": {"key": "https://me:secret@mirror/k.asc", "key_sha256": "0" * 64}},
            "docker:repo:key: every highstate would show name and password",
        ),
        ({"repo": {"key": "/k.asc"}}, "docker:repo:key_sha256: a key of your own needs its hash"),
        ({"repo": {"key": "/k.asc", "key_sha256": "12"}}, "docker:repo:key_sha256: must be 64 hexadecimal digits"),
        ({"repo": {"codenames": {"bookworm": "bookworm"}}}, "docker:repo:codenames: must be DISTRIBUTION/CODENAME"),
        ({"provider": "podman", "daemon": {"debug": True}}, "docker:daemon: podman has no daemon.json; remove it"),
        ({"provider": "podman", "users": ["joe"]}, "docker:users: podman has no group of its users; remove it"),
    ],
)
def test_faults(pillar: Any, fault: str) -> None:
    (found,) = resolve(pillar)["faults"]
    assert found.startswith(fault)
    assert "secret" not in found


def test_an_address_with_an_at_sign() -> None:
    assert (
        "https://mirror/@docker/debian bookworm"
        in good({"repo": {"uri": "https://mirror/@docker"}})["repo"]["contents"]
    )


def test_faults_come_together() -> None:
    assert len(resolve({"hodl": True, "repo": {"uri": 1}, "users": "joe"})["faults"]) == 3


@pytest.mark.parametrize(
    ("grains", "pillar", "fault"),
    [
        ({"os": "Solaris", "os_family": "Solaris"}, {}, "docker: nothing is known of Solaris; install an engine"),
        ({**DEBIAN, "oscodename": "forky"}, {}, "docker:repo:fallback: Docker publishes no packages for forky"),
        ({**DEBIAN, "oscodename": ""}, {}, "docker:repo:fallback: Docker publishes no packages for a system without"),
        ({**ROCKY, "os": "OEL"}, {}, "docker:provider: Docker publishes no packages for OEL; choose another provider"),
        ({**ROCKY, "os": "Amazon"}, {"provider": "podman"}, "docker:provider: podman is not to be had on Amazon"),
        (ROCKY, {"repo": {"uri": "http://mirror"}}, "docker:repo:key_sha256: a key that comes over plain http needs"),
        (ARCH, {"version": "27"}, "docker:version: the package manager of this system keeps no versions"),
        (ARCH, {"hold": True}, "docker:hold: the package manager of this system keeps no versions"),
        (WINDOWS, {"hold": True}, "docker:hold: the package manager of this system keeps no versions"),
        (MACOS, {"provider": "colima"}, "docker:users: must name one user, whose virtual machine colima runs"),
    ],
)
def test_what_a_system_does_not_offer(grains: dict[str, str], pillar: Any, fault: str) -> None:
    (found,) = resolve(pillar, grains)["faults"]
    assert found.startswith(fault)


@pytest.mark.parametrize(
    ("system", "codename", "suite"),
    [
        ("Debian", "bullseye", "debian bullseye"),
        ("Debian", "trixie", "debian trixie"),
        ("Ubuntu", "noble", "ubuntu noble"),
        ("Mint", "wilma", "ubuntu noble"),
        ("Mint", "virginia", "ubuntu jammy"),
        ("Mint", "faye", "debian bookworm"),
        ("Pop", "jammy", "ubuntu jammy"),
        ("Kali", "kali-rolling", "debian trixie"),
        ("Raspbian", "bookworm", "raspbian bookworm"),
        ("Devuan", "daedalus", "debian bookworm"),
        ("elementary", "circe", "ubuntu noble"),
        ("TurnKey", "bookworm", "debian bookworm"),
    ],
)
def test_derivatives(system: str, codename: str, suite: str) -> None:
    repo = good(grains={**DEBIAN, "os": system, "oscodename": codename})["repo"]
    assert f"/linux/{suite} stable" in repo["contents"]


@pytest.mark.parametrize(
    ("repo", "suite"),
    [
        ({"fallback": "trixie"}, "debian trixie"),
        ({"codename": "bookworm"}, "debian bookworm"),
        ({"codenames": {"forky": "ubuntu/noble"}}, "ubuntu noble"),
        ({"codename": "forky", "fallback": "trixie"}, "debian forky"),
        ({"distribution": "ubuntu", "codename": "jammy"}, "ubuntu jammy"),
    ],
)
def test_a_codename_of_which_nothing_is_known(repo: dict[str, Any], suite: str) -> None:
    settings = good({"repo": repo}, {**DEBIAN, "oscodename": "forky"})
    assert f"/linux/{suite} stable" in settings["repo"]["contents"]


def test_what_is_told_of_a_derivative_wins() -> None:
    told = {"distribution": "debian", "codename": "bookworm"}
    settings = good({"repo": told}, {**DEBIAN, "os": "Mint", "oscodename": "wilma"})
    assert "/linux/debian bookworm stable" in settings["repo"]["contents"]


def test_a_fallback_is_for_what_is_unknown_alone() -> None:
    assert " bookworm stable" in good({"repo": {"fallback": "trixie"}})["repo"]["contents"]


def test_deb822() -> None:
    repo = good({"repo": {"format": "deb822", "uri": "http://mirror.example/docker/"}})["repo"]
    assert (repo["file"], repo["other"]) == (
        "/etc/apt/sources.list.d/docker.sources",
        "/etc/apt/sources.list.d/docker.list",
    )
    assert repo["contents"].splitlines() == [
        "Types: deb",
        "URIs: http://mirror.example/docker/debian",
        "Suites: bookworm",
        "Components: stable",
        "Architectures: amd64",
        "Signed-By: /etc/apt/keyrings/docker.asc",
    ]


@pytest.mark.parametrize(
    ("version", "debian", "rocky"),
    [
        ("27.3.1", ["5:27.3.1-*"] * 3, ["3:27.3.1-*", "1:27.3.1-*", "27.3.1-*"]),
        ("27.3.*", ["5:27.3.*"] * 3, ["3:27.3.*", "1:27.3.*", "27.3.*"]),
        ("27.3.1-1.el9", ["5:27.3.1-1.el9"] * 3, ["3:27.3.1-1.el9", "1:27.3.1-1.el9", "27.3.1-1.el9"]),
        ("5:27.3.1-1~debian.12~bookworm",) + (["5:27.3.1-1~debian.12~bookworm"] * 3,) * 2,
    ],
)
def test_version(version: str, debian: list[str], rocky: list[str]) -> None:
    """Docker's .deb packages are all of one epoch, each of its .rpm packages has its own."""
    names = ["docker-ce", "docker-ce-cli", "docker-ce-rootless-extras"]
    for grains, expected in ((DEBIAN, debian), (ROCKY, rocky)):
        packages = good({"version": version, "packages": [*names, "containerd.io"]}, grains)["packages"]
        pinned = [{name: told} for name, told in zip(names, expected, strict=True)]
        assert packages == [*pinned, "containerd.io"]


def test_version_of_the_distributions_own_is_left_as_it_is() -> None:
    settings = good({"provider": "distro", "version": "20.10.24+dfsg1-*"})
    assert settings["packages"] == [{"docker.io": "20.10.24+dfsg1-*"}]


def test_packages() -> None:
    own = ["docker-ce", {"containerd.io": "1.7.*"}, "docker-compose-plugin"]
    settings = good({"packages": own, "version": "27.3.*"})
    assert settings["packages"] == [{"docker-ce": "5:27.3.*"}, *own[1:]]
    assert settings["names"] == ["docker-ce", "containerd.io", "docker-compose-plugin"]


def test_the_client_is_a_package_of_its_own_from_trixie_on() -> None:
    packages = {
        codename: good({"provider": "distro"}, {**DEBIAN, "oscodename": codename})["packages"]
        for codename in ("bookworm", "trixie")
    }
    assert packages == {"bookworm": ["docker.io"], "trixie": ["docker.io", "docker-cli"]}


def test_what_the_packages_work_with_is_neither_held_nor_removed() -> None:
    settings = good({"provider": "distro", "hold": True})
    assert (settings["needs"], settings["names"]) == (["iptables"], ["docker.io"])
    assert good({"provider": "distro", "packages": ["docker.io"]})["needs"] == []


def test_only_apt_fetches_what_excludes_something_installed() -> None:
    assert [good(grains=grains)["can_fetch"] for grains in (DEBIAN, ROCKY, ARCH)] == [True, False, False]


def test_hosts_that_go_with_the_rest() -> None:
    good({"daemon": {"hosts": ["unix:///run/docker.sock", "tcp://10.0.0.1:2375"], "group": "docker"}, "users": ["joe"]})


def test_repositories_left_alone() -> None:
    assert good({"repo": {"managed": False}}, {**DEBIAN, "oscodename": "forky"})["repo"]["kind"] == ""


@pytest.mark.parametrize(
    ("init", "booted", "expected"), [("systemd", False, True), ("unknown", False, False), ("unknown", True, True)]
)
def test_init_system(init: str, booted: bool, expected: bool) -> None:
    assert resolve({}, {**DEBIAN, "init": init}, booted)["has_init"] is expected


class TestInstalled:
    @staticmethod
    def run(
        monkeypatch: pytest.MonkeyPatch,
        installed: tuple[str, ...],
        noted: str = "",
        others: tuple[str, ...] = (),
        grains: dict[str, Any] = DEBIAN,
        **pillar: Any,
    ) -> dict[str, Any]:
        def version(*names: str) -> Any:
            found = {name: "1" if name in installed else "" for name in names}
            return found if len(names) > 1 else found[names[0]]

        functions: dict[str, Any] = {
            "pillar.get": lambda key, default: pillar or default,
            "pkg.version": version,
            "file.file_exists": lambda path: bool(noted),
            "file.read": lambda path: noted,
        }
        if grains is DEBIAN:
            functions["pkg.get_selections"] = lambda state: {state: list(others)} if others else {}
        else:
            functions["pkg.list_holds"] = lambda full: TestInstalled.locks(others)
        values = {"__salt__": functions, "__grains__": grains}
        values.update(defaults=DEFAULTS, families=FAMILIES, systems=SYSTEMS)
        for name, value in values.items():
            monkeypatch.setattr(docker_settings, name, value, raising=False)
        settings: dict[str, Any] = docker_settings.run()
        return settings

    @staticmethod
    def locks(others: tuple[str, ...]) -> list[str]:
        """As Salt's modules for dnf and zypper tell them."""
        if "no plugin" in others:
            raise SaltInvocationError("Cannot proceed, python3-dnf-plugin-versionlock is not installed.")
        return list(others)

    def test_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = self.run(monkeypatch, ("docker-ce",))
        assert (settings["faults"], settings["rivals"]) == ([], [])

    def test_are_a_fault(self, monkeypatch: pytest.MonkeyPatch) -> None:
        (fault,) = self.run(monkeypatch, ("docker.io", "runc"))["faults"]
        assert "docker-ce excludes what is installed (docker.io, runc)" in fault
        assert "docker:replace_conflicting" in fault

    def test_unless_they_may_be_replaced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = self.run(monkeypatch, ("docker.io", "runc"), replace_conflicting=True)
        assert (settings["faults"], settings["rivals"]) == ([], ["docker.io", "runc"])

    @pytest.mark.parametrize("grains", [DEBIAN, ROCKY])
    def test_holds_of_ours_are_those_that_nobody_else_had(
        self, monkeypatch: pytest.MonkeyPatch, grains: dict[str, Any]
    ) -> None:
        settings = self.run(monkeypatch, (), others=("docker-ce",), grains=grains, hold=True)
        assert (settings["kept"], settings["released"]) == (["docker-ce-cli", "containerd.io"], [])
        noted = "# What the docker state holds\ndocker-ce-cli\ncontainerd.io\n"
        everything = ("docker-ce", "docker-ce-cli", "containerd.io")
        again = self.run(monkeypatch, everything, noted=noted, others=everything, grains=grains, hold=True)
        assert (again["kept"], again["released"]) == (["docker-ce-cli", "containerd.io"], [])
        gone = self.run(monkeypatch, everything, noted=noted, others=everything, grains=grains)
        assert (gone["kept"], gone["released"]) == ([], ["docker-ce-cli", "containerd.io"])

    def test_nothing_is_held_where_nothing_can_hold_yet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = self.run(monkeypatch, (), others=("no plugin",), grains=ROCKY, hold=True)
        assert settings["kept"] == ["docker-ce", "docker-ce-cli", "containerd.io"]

    def test_what_is_declared_no_more_is_released(self, monkeypatch: pytest.MonkeyPatch) -> None:
        noted = "docker-ce\ndocker-compose-plugin\ndocker-scan-plugin\n"
        settings = self.run(
            monkeypatch, ("docker-ce", "docker-compose-plugin"), noted=noted, hold=True, packages=["docker-ce"]
        )
        assert (settings["kept"], settings["released"]) == (["docker-ce"], ["docker-compose-plugin"])

    def test_leave_podman_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.run(monkeypatch, ("docker-ce",), provider="podman")["faults"] == []


@pytest.mark.parametrize(
    ("prefix", "base", "own"),
    [("/usr", "/usr", True), ("/venv", "/usr", False), ("/opt/saltstack/salt",) * 2 + (False,)],
)
def test_whose_interpreter_it_is(prefix: str, base: str, own: bool) -> None:
    assert docker_settings._is_systems_own(prefix, base) is own


def test_one_docker_sdk_for_both_state_trees() -> None:
    pinned = yaml.safe_load((TREE.parent / "pipmirror" / "defaults.yaml").read_text())["pipmirror"]["python"][
        "packages"
    ]
    (sdk,) = [item for item in pinned if item.startswith("docker==")]
    assert f'["{sdk}"]' in (TREE / "python.sls").read_text()
