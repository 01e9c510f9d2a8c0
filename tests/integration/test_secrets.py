"""Every secret that can be declared stays within the process that uses it, whatever is looked at, whatever happens."""

from __future__ import annotations

import json
import secrets as random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pipmirror_lib import courier

from tests.integration.test_direct import sources
from tests.support import gpg
from tests.support.dists import make_wheel
from tests.support.gitserver import GitServer
from tests.support.gpg import SecretiveMinion
from tests.support.localindex import Fault, LocalIndex
from tests.support.proxy import Proxy
from tests.support.site import PLATFORM, Site
from tests.support.tls import Authority
from tests.support.watching import WAITING, Secrets, Watcher, docker

pytestmark = pytest.mark.integration

BUILT = {"omega-1.0-py3-none-any.whl", "sigma-1.0-py3-none-any.whl"}
FETCHED = {
    *("alpha-1.0-py3-none-any.whl", "beta-1.0-py3-none-any.whl", "extra-1.0-py3-none-any.whl"),
    *("noted-1.0-py3-none-any.whl", "linked-1.0-py3-none-any.whl", "large-1.0-py3-none-any.whl"),
}


@dataclass
class Guarded:
    """A site of which everything wants a password: the index, two more, a file, a repository, the proxy."""

    site: Site
    secrets: Secrets
    noted: Path
    passwords: dict[str, str]
    others: list[LocalIndex]

    @property
    def variables(self) -> dict[str, str]:
        """Without the proxies of the machine, and with a netrc."""
        return {"NETRC": str(self.noted)}

    def call(self, *words: str, **more: Any) -> Any:
        return self.site.minion.call(*words, environment=self.variables, **more)


@pytest.fixture
def on_build() -> str:
    return ""


@pytest.fixture
def guarded(site: Site, tmp_path: Path, on_build: str) -> Iterator[Guarded]:
    names = ("index", "extra", "noted", "linked", "git", "proxy")
    passwords = {name: f"hush-{name}-{random.token_hex(8)}" for name in names}
    authority = Authority(tmp_path / "authority")
    with ExitStack() as running:
        others = {}
        for name in ("extra", "noted", "linked"):
            directory = tmp_path / "others" / name
            make_wheel(directory, name)
            index = LocalIndex(directory, username=name, password=passwords[name], tls=authority.context())
            others[name] = running.enter_context(index)
        git = running.enter_context(GitServer(tmp_path / "git", "git", passwords["git"]))
        proxy = running.enter_context(Proxy("proxy", passwords["proxy"]))
        key = running.enter_context(gpg.key(tmp_path / "gpg"))
        site.index.close()
        site.index.tls = authority.context()
        site.index.username, site.index.password = "index", passwords["index"]
        site.index.start()
        site.wheel("large", files={"noise.bin": random.token_bytes(courier.MANY)})
        site.sdist("omega", intree_backend=True, build_requires=[], on_build=on_build)
        repository = git.repository("sigma")
        files = sources(tmp_path / "sigma", "1.0", on_build)
        repository.commit({n.replace("omega", "sigma"): text.replace("omega", "sigma") for n, text in files.items()})
        noted = tmp_path / "netrc"
        noted.write_text(f"machine 127.0.0.1 login noted password {passwords['noted']}\n")
        site.settings["index"].update(
            url=site.index.url,
            username="index",
            password=passwords["index"],
            extra_urls=[_with("extra", passwords, others["extra"].url), others["noted"].url],
            ca_cert=str(authority.bundle),
            proxy=proxy.url,
        )
        linked = others["linked"].url.replace("/simple/", "/files/linked-1.0-py3-none-any.whl")
        site.settings["packages"] = [
            *("alpha", "extra", "large", "noted", "omega"),
            _with("linked", passwords, linked),
            f"sigma @ git+{_with('git', passwords, repository.url)}",
        ]
        minion = SecretiveMinion(site.minion.directory, site.settings, key=key, secrets=list(passwords.values()))
        minion.options.update(log_file=str(minion.root / "minion.log"), log_level_logfile="trace")
        site.minion = minion
        yield Guarded(site, Secrets(list(passwords.items())), noted, passwords, list(others.values()))


def _with(name: str, passwords: dict[str, str], url: str) -> str:
    return url.replace("://", f"://{name}:{passwords[name]}@")


@pytest.mark.parametrize("on_build", [WAITING], ids=["waiting"])
def test_secrets_stay_with_the_process_that_uses_them(guarded: Guarded) -> None:
    site = guarded.site
    site.settings["verify"] = True
    with Watcher(guarded.secrets, site.directory) as watcher:
        answer = guarded.call("state.apply", "pipmirror", "-l", "trace")
    site.good(answer)
    assert site.wheels() == BUILT | FETCHED
    # What was looked at was there to be seen.
    assert len(watcher.containers) >= 3, "two builds and a proof"
    assert "git" in watcher.programs
    assert watcher.couriers, "where there is much to fetch, another process does"
    assert watcher.faults == []
    told = [answer]
    for words in (
        *(["pipmirror.plan", "resolve=True"], ["pipmirror.status"], ["pipmirror.sync", "upgrade=True"]),
        *(["pipmirror.verify", "hashes=True"], ["state.show_sls", "pipmirror"]),
    ):
        told.append(guarded.call(*words, "-l", "trace"))
    nothing_told(guarded, told)
    assert guarded.secrets.within(watcher.history()) == []
    assert guarded.secrets.within(docker("ps", "-a", "--no-trunc")) == []
    nothing_left(guarded)


def nothing_told(guarded: Guarded, answers: list[Any]) -> None:
    for answer in answers:
        assert guarded.secrets.within(json.dumps(answer.value).encode()) == [], answer.value
        assert guarded.secrets.within(answer.stderr.encode()) == []


def nothing_left(guarded: Guarded) -> None:
    site = guarded.site
    log = (site.minion.root / "minion.log").read_text()
    assert "[TRACE" in log, "Salt tells what it can"
    places = (site.target, site.minion.root, site.minion.directory)
    assert guarded.secrets.below(*places) == []


def _index_is_gone(guarded: Guarded) -> None:
    guarded.site.index.close()


def _index_breaks(guarded: Guarded) -> None:
    guarded.site.index.fail["/simple/"] = Fault(500, times=None)


def _index_refuses(guarded: Guarded) -> None:
    guarded.site.index.password = "another"


def _others_refuse(guarded: Guarded) -> None:
    for other in guarded.others:
        other.password = "another"


def _proxy_refuses(guarded: Guarded) -> None:
    proxy = guarded.site.settings["index"]["proxy"]
    guarded.site.settings["index"]["proxy"] = proxy.replace("proxy:", "somebody:")


def _nobody_is_trusted(guarded: Guarded) -> None:
    guarded.site.settings["index"]["ca_cert"] = ""


def _faulty_settings(guarded: Guarded) -> None:
    passwords = guarded.passwords
    wrong = {
        "url": f"ftp://me:{passwords['index']}@index.invalid/",
        "extra_urls": [f"me:{passwords['extra']}@index.invalid", 5],
        "username": [passwords["index"]],
        "proxy": f"http://me:{passwords['proxy']}@/:x",
        "pasword": passwords["index"],
    }
    guarded.site.settings["index"].update(wrong)
    guarded.site.settings["packages"] += [
        f"hg+https://me:{passwords['git']}@x/y",
        f"a @ https://me:{passwords['git']}@/",
    ]


@pytest.mark.parametrize(
    "spoil",
    [
        _index_is_gone,
        _index_breaks,
        _index_refuses,
        _others_refuse,
        _proxy_refuses,
        _nobody_is_trusted,
        _faulty_settings,
    ],
)
def test_no_error_tells_a_secret(guarded: Guarded, spoil: Any) -> None:
    spoil(guarded)
    site = guarded.site
    answer = guarded.call("state.apply", "pipmirror", "-l", "trace")
    failed = [state for state in answer.states.values() if state["result"] is False]
    assert failed
    assert not (site.target / PLATFORM / "simple").exists()
    nothing_told(guarded, [answer])
    nothing_left(guarded)
