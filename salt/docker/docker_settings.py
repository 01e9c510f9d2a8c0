#!py
"""
`docker`: the pillar over the defaults, what follows from this minion's grains, and every fault of it.

map.jinja has this rendered. It is a file of the state tree and not a module, because a minion on which nothing is
synced yet needs it as well; `resolve` knows nothing of Salt.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

Settings = dict[str, Any]

# As `init` tells them; anything else is a container, a chroot, or beyond Salt's service states.
_INITS = ("systemd", "sysvinit", "upstart", "openrc")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"(\d+:)?\d+(\.\d+)*")
# What becomes part of a line of apt's or a section of dnf's must not end it, nor begin an option.
_URI = re.compile(r"(https?://|file:/)[^\s\[\]#\"'\\]+")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:+~*-]*")
_PACKAGE = re.compile(r"[A-Za-z0-9@][A-Za-z0-9@._+:/-]*")
_KEY = re.compile(r"(?:(?:https?|salt|file)://|/)[^\s\"'\\]+")
_PASSWORD = re.compile(r"https?://[^/]*@")
# What may stand there, for those whose value cannot be used.
_PATTERNS = {
    "docker:repo:uri": (_URI, "must begin with https://, http:// or file://, without spaces, quotes, brackets and #"),
    "docker:repo:key": (_KEY, "must be a URL, salt:// or an absolute path, without spaces and quotes"),
    "docker:version": (_VERSION, "must be like 27.3.1, 27.3.*, or what the package manager writes"),
    **{
        f"docker:repo:{key}": (_WORD, "must be one word of letters, digits and ._+/-")
        for key in ("distribution", "codename", "fallback")
    },
}

_ENGINES: dict[str, Settings] = {
    "dockerd": {
        "service": "docker",
        "command": "dockerd",
        "socket": "/var/run/docker.sock",
        "group": "docker",
        "data": ["/var/lib/docker", "/var/lib/containerd"],
    },
    "podman": {
        "service": "podman.socket",
        "command": "podman system service --time=0 unix:///run/podman/podman.sock",
        "socket": "/run/podman/podman.sock",
        "group": "",
        "data": ["/var/lib/containers"],
    },
}
_HELD = "/etc/docker/held-by-salt"
# Where a virtual machine of a user's holds the engine.
_DESKTOP: Settings = {"service": "", "command": "", "socket": "", "group": "", "data": []}


def run() -> Settings:
    """What map.jinja asks for; it passes the YAML files of this directory."""
    installed: Callable[..., Any] = __salt__.get("pkg.version", lambda *names: "")  # type: ignore[name-defined]
    settings = resolve(
        pillar=__salt__["pillar.get"]("docker", None),  # type: ignore[name-defined]
        grains=__grains__,  # type: ignore[name-defined]
        defaults=defaults,  # type: ignore[name-defined]  # noqa: F821
        families=families,  # type: ignore[name-defined]  # noqa: F821
        systems=systems,  # type: ignore[name-defined]  # noqa: F821
        booted=os.path.isdir("/run/openrc"),
    )
    if not settings["faults"]:
        rivals = settings["rivals"]
        found = installed(*rivals) if rivals else {}
        found = found if isinstance(found, Mapping) else {rivals[0]: found}
        settings["rivals"] = [name for name in rivals if found.get(name)]
        _judge_rivals(settings)
        settings.update(_holds(settings))
    settings["sdk"] = settings.get("sdk") if _is_systems_own(sys.prefix, sys.base_prefix) else ""
    return settings


def _is_systems_own(prefix: str, base_prefix: str) -> bool:
    """Is this interpreter the distribution's? A virtual environment's or a onedir's sees none of its packages."""
    return prefix == base_prefix == "/usr"


def _holds(settings: Settings) -> Settings:
    """Which packages this state holds (`marked`), will hold (`kept`) and has to release: never somebody else's."""
    salt: Mapping[str, Callable[..., Any]] = __salt__  # type: ignore[name-defined]
    text = salt["file.read"](settings["mark"]) if salt["file.file_exists"](settings["mark"]) else ""
    marked = [line for line in text.splitlines() if _PACKAGE.fullmatch(line) and salt["pkg.version"](line)]
    kept: list[str] = []
    if settings["hold"]:
        others = _held(salt)
        kept = [name for name in settings["names"] if name in marked or name not in others]
    released = [name for name in marked if name not in kept]
    return {"noted": bool(text), "marked": marked, "kept": kept, "released": released}


def _held(salt: Mapping[str, Callable[..., Any]]) -> list[str]:
    """What is held, whoever did it: apt knows of selections, dnf and zypper of locks."""
    from salt.exceptions import SaltInvocationError

    if "pkg.get_selections" in salt:
        return list(salt["pkg.get_selections"](state="hold").get("hold", []))
    try:
        return list(salt["pkg.list_holds"](full=False)) if "pkg.list_holds" in salt else []
    except SaltInvocationError:  # Without dnf's plugin, which comes with the first hold, there are none.
        return []


def _judge_rivals(settings: Settings) -> None:
    """Packages that exclude each other: the package manager would remove the installed one, and stop its containers."""
    names = ", ".join(settings["rivals"])
    if names and not settings["replace_conflicting"]:
        settings["faults"].append(
            f"docker:provider: {settings['provider']} excludes what is installed ({names}); name the provider that is "
            "there, or set docker:replace_conflicting to have it replaced once no container runs"
        )


def resolve(
    pillar: Any, grains: Mapping[str, Any], defaults: Settings, families: Settings, systems: Settings, booted: bool
) -> Settings:
    """The settings of this minion; where `faults` holds any, the rest is of no use."""
    faults: list[str] = []
    settings = merged(pillar, defaults, "docker", faults)
    system = _system(grains, families, systems)
    settings["faults"] = faults
    if not faults and not system:
        faults.append(
            f"docker: nothing is known of {grains.get('os')}; install an engine by other means and set docker:managed "
            "to false"
        )
    if not faults:
        _choose_provider(settings, system, grains, faults)
    if not faults:
        _describe_engine(settings, system, grains, booted)
        settings["packages"] = _packages(settings, system, faults)
        settings["names"] = [
            name for item in settings["packages"] for name in ([item] if isinstance(item, str) else item)
        ]
        _judge_daemon(settings, faults)
        settings["repo"] = _repository(settings, system, grains, faults)
    return settings


def merged(given: Any, defaults: Settings, place: str, faults: list[str]) -> Settings:
    """The given values over the defaults; whatever is of another type, or unknown, is a fault."""
    settings = dict(defaults)
    if given is not None and not isinstance(given, Mapping):
        faults.append(f"{place}: must be a mapping, not {given!r}")
        given = {}
    for key, value in (given or {}).items():
        if key not in defaults:
            near = difflib.get_close_matches(str(key), defaults, n=1)
            faults.append(f"{place}:{key}: unknown key; " + (f"did you mean {near[0]!r}?" if near else "remove it"))
        elif value is not None:
            settings[key] = _fitting(value, defaults[key], f"{place}:{key}", faults)
    return settings


def _fitting(value: Any, default: Any, place: str, faults: list[str]) -> Any:
    """The value, if it is of the default's kind."""
    if isinstance(default, Mapping) and default:
        return merged(value, dict(default), place, faults)
    for kind, words in ((bool, "true or false"), (str, "a string"), (list, "a list"), (Mapping, "a mapping")):
        if isinstance(default, kind):
            if isinstance(value, kind) and _is_clean(value, place, faults):
                return value
            if not isinstance(value, kind):
                hint = "; quote it" if kind is str and isinstance(value, (int, float)) else ""
                faults.append(f"{place}: must be {words}, not {value!r}{hint}")
            break
    return default


def _is_clean(value: Any, place: str, faults: list[str]) -> bool:
    bad = place == "docker:users" and [item for item in value if not _is(_USER, item)]
    if bad:
        faults.append(f"{place}: must be names, not {bad[0]!r}")
    pattern, words = _PATTERNS.get(place, (None, ""))
    if pattern and value and not pattern.fullmatch(value):
        shown = re.sub(r"//[^/]*@", "//***@", value)
        faults.append(f"{place}: {words}, not {shown!r}")
        return False
    return not bad


def _system(grains: Mapping[str, Any], families: Settings, systems: Settings) -> Settings:
    """What is known of this system: its family's, its own, its release's; empty where nothing is."""
    family = families.get(grains.get("os_family"))
    if not family:
        return {}
    own = systems.get(grains.get("os")) or {}
    release = (own.get("releases") or {}).get(grains.get("oscodename")) or {}
    return _laid_over(_laid_over(family, own), release)


def _laid_over(base: Settings, more: Settings) -> Settings:
    both = dict(base)
    for key, value in more.items():
        old = both.get(key)
        both[key] = _laid_over(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return both


def _choose_provider(settings: Settings, system: Settings, grains: Mapping[str, Any], faults: list[str]) -> None:
    known = {name: one for name, one in system["providers"].items() if one}
    name = settings["provider"] or next(iter(known))
    if name not in known:
        among = ", ".join(known)
        faults.append(f"docker:provider: {name} is not to be had on {grains.get('os')}; choose one of {among}")
        return
    settings["provider"] = name
    settings["own"] = {"rivals": [], "needs": [], "versioned": [], "options": [], "manager": "pkg", **known[name]}


def _describe_engine(settings: Settings, system: Settings, grains: Mapping[str, Any], booted: bool) -> None:
    provider = settings["provider"]
    engine = _DESKTOP if provider in ("docker-desktop", "colima") else _ENGINES.get(provider, _ENGINES["dockerd"])
    settings["engine"] = {**engine, "service": settings["own"].get("service") or engine["service"]}
    settings["has_init"] = grains.get("init") in _INITS or booted
    settings["system"] = grains["os_family"]
    settings["mark"] = _HELD
    settings["rivals"] = list(settings["own"]["rivals"])
    settings["sdk"] = system.get("sdk", "")
    settings["lock"] = list(system.get("lock") or []) if settings["hold"] else []
    settings["needs"] = [] if settings["packages"] else list(settings["own"]["needs"])
    # Others refuse even to fetch what excludes something installed.
    settings["can_fetch"] = settings["system"] == "Debian"


def _packages(settings: Settings, system: Settings, faults: list[str]) -> list[Any]:
    """As pkg.installed takes them: NAME, or {NAME: VERSION}."""
    pins, provider = system.get("pins"), settings["provider"]
    for key, able in (("version", pins), ("hold", system.get("holds", pins))):
        if settings[key] and not able:
            faults.append(f"docker:{key}: the package manager of this system keeps no versions; remove it")
    version, epochs = settings["version"], {}
    if version and provider == "docker-ce":
        epochs = {} if ":" in version else system.get("epochs", {})
        version = f"{version}-*" if _NUMBER.fullmatch(version) else version
    found: list[Any] = []
    for item in settings["packages"] or settings["own"]["packages"]:
        pair = item if isinstance(item, Mapping) and len(item) == 1 else {item: "0"} if isinstance(item, str) else {}
        named = [(_is(_PACKAGE, name), _is(_VERSION, told)) for name, told in pair.items()]
        if named != [(True, True)]:
            faults.append(f"docker:packages: must be names, or NAME: VERSION (quoted), not {item!r}")
        elif isinstance(item, str):
            pinned = version and item in settings["own"]["versioned"]
            found.append({item: epochs.get(item, "") + version} if pinned else item)
        else:
            found.append(dict(item))
    return found


def _is(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _judge_daemon(settings: Settings, faults: list[str]) -> None:
    """Settings that would be silently without effect, or at odds with the rest; the engine itself judges values."""
    if settings["engine"]["group"]:
        _judge_keys(settings, faults)
        return
    told = {"daemon": "has no daemon.json", "users": "has no group of its users"}
    for key, words in told.items():
        if settings[key] and not (key == "users" and settings["provider"] == "colima"):
            faults.append(f"docker:{key}: {settings['provider']} {words}; remove it")
    if settings["provider"] == "colima" and len(settings["users"]) != 1:
        faults.append("docker:users: must name one user, whose virtual machine colima runs")


def _judge_keys(settings: Settings, faults: list[str]) -> None:
    daemon, socket = settings["daemon"], settings["engine"]["socket"]
    for key, value in daemon.items():
        if not isinstance(key, str) or not key:
            faults.append(f"docker:daemon: keys must be strings, not {key!r}")
            continue
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            kind = type(value).__name__  # and not the value, which may hold a password
            faults.append(f"docker:daemon:{key}: must be a value that JSON knows, which this {kind} is not")
    hosts = daemon.get("hosts")
    ours = ("fd://", "unix://", f"unix://{socket}", f"unix://{socket.removeprefix('/var')}")
    if isinstance(hosts, list) and not any(host in ours for host in hosts):
        faults.append(f"docker:daemon:hosts: must name unix://{socket} as well, where the engine is asked what it runs")
    if settings["users"] and daemon.get("group") not in (None, settings["engine"]["group"]):
        faults.append("docker:daemon:group: docker:users are members of the group docker; remove one of the two")


def _repository(settings: Settings, system: Settings, grains: Mapping[str, Any], faults: list[str]) -> Settings:
    repo: Settings = {**settings["repo"], "kind": ""}
    if settings["provider"] != "docker-ce" or not repo["managed"]:
        return repo
    repo["kind"] = system["repository"]
    if repo["format"] not in ("list", "deb822"):
        faults.append(f"docker:repo:format: must be list or deb822, not {repo['format']!r}")
    own = repo["distribution"]
    repo["distribution"] = own or system.get("distribution", "")
    if repo["kind"] == "apt":
        if _PASSWORD.match(repo["uri"]):
            faults.append(
                "docker:repo:uri: everybody may read apt's list; keep name and password in /etc/apt/auth.conf.d"
            )
        _choose_suite(repo, system, str(grains.get("oscodename", "")), faults)
        repo["distribution"] = own or repo["distribution"]
    elif not repo["distribution"]:
        faults.append(
            f"docker:provider: Docker publishes no packages for {grains.get('os')}; choose another provider, or set "
            "docker:repo:distribution to the one whose packages fit (centos, say)"
        )
    _choose_key(repo, system, faults)
    if repo["kind"] == "apt" and not faults:
        _write_apt(repo, str(grains["osarch"]))
    return repo


def _choose_suite(repo: Settings, system: Settings, codename: str, faults: list[str]) -> None:
    derived = {**(system.get("derived") or {}), **repo["codenames"]}.get(codename)
    if derived is not None:
        distribution, slash, codename = str(derived).partition("/")
        if not (slash and _WORD.fullmatch(distribution) and _WORD.fullmatch(codename)):
            faults.append(f"docker:repo:codenames: must be DISTRIBUTION/CODENAME, not {derived!r}")
        repo["distribution"] = distribution
    elif codename not in system["suites"] and not repo["codename"]:
        if not repo["fallback"]:
            faults.append(
                f"docker:repo:fallback: Docker publishes no packages for {codename or 'a system without a codename'} "
                f"that are known here; set it to the codename to use instead (one of {', '.join(system['suites'])})"
            )
        codename = repo["fallback"]
    repo["codename"] = repo["codename"] or codename


def _choose_key(repo: Settings, system: Settings, faults: list[str]) -> None:
    own = repo["key"]
    if own and not repo["key_sha256"]:
        faults.append("docker:repo:key_sha256: a key of your own needs its hash (sha256sum prints it)")
    if _PASSWORD.match(own):
        faults.append(
            "docker:repo:key: every highstate would show name and password; keep the key on salt:// or a disk"
        )
    digest = str(repo["key_sha256"] or system.get("key_sha256", "")).lower()
    if digest and not _SHA256.fullmatch(digest):
        faults.append(f"docker:repo:key_sha256: must be 64 hexadecimal digits, not {repo['key_sha256']!r}")
    plain = own.startswith("http:") or (not own and repo["uri"].startswith("http:"))
    if repo["kind"] == "rpm" and plain and not digest:
        faults.append("docker:repo:key_sha256: a key that comes over plain http needs its hash (sha256sum prints it)")
    repo["base"] = f"{repo['uri'].rstrip('/')}/{repo['distribution']}"
    repo["key"] = own or f"{repo['base']}/gpg"
    repo["key_sha256"] = digest


def _write_apt(repo: Settings, architecture: str) -> None:
    """The file of the repository, and the one of the other form, whose presence would declare it twice."""
    directory, keyring = "/etc/apt/sources.list.d", "/etc/apt/keyrings/docker.asc"
    base, suite = repo["base"], repo["codename"]
    files = {
        "list": f"{directory}/docker.list",
        "deb822": f"{directory}/docker.sources",
    }
    texts = {
        "list": f"deb [arch={architecture} signed-by={keyring}] {base} {suite} stable",
        "deb822": f"Types: deb\nURIs: {base}\nSuites: {suite}\nComponents: stable\nArchitectures: {architecture}\n"
        f"Signed-By: {keyring}",
    }
    repo["keyring"] = keyring
    repo["file"] = files.pop(repo["format"])
    repo["contents"] = texts[repo["format"]]
    (repo["other"],) = files.values()
