"""The whole way: a mirror behind the distribution's nginx, and machines that reach nothing else."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from pipmirror_lib import latecomers
from pipmirror_lib.engine import Engine

from tests.integration.conftest import Ensure
from tests.support.box import Box, box, closed_network, join
from tests.support.localindex import LocalIndex
from tests.support.salt import Minion
from tests.support.site import IMAGE, PLATFORM, Site
from tests.support.target import Target
from tests.support.tls import Authority

pytestmark = pytest.mark.integration

UV = Path(sys.executable).with_name("uv")
JSON_TYPE = "application/vnd.pypi.simple.v1+json"
# What pip 26 sends.
PIP_ACCEPT = f"{JSON_TYPE}, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"


@dataclass
class Served:
    """A mirror, the machine whose nginx serves it, and a network on which nothing but that machine is."""

    site: Site
    server: Box
    minion: Minion
    network: str
    image: str
    directory: Path
    settings: dict[str, Any] | None = None

    @property
    def url(self) -> str:
        return f"http://{self.server.address()}"

    def raw(self, path: str) -> int:
        """The status for a path that nobody has made plainer on the way."""
        with contextlib.closing(http.client.HTTPConnection(self.server.address(), timeout=10)) as connection:
            connection.request("GET", path)
            return connection.getresponse().status

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(f"{self.url}/{path}", headers=headers, timeout=10, allow_redirects=False)


@pytest.fixture(scope="module")
def image(engine: Engine, ensure: Ensure, tmp_path_factory: pytest.TempPathFactory) -> str:
    """With a Python that can run Salt, and pip."""
    ensure(IMAGE)
    return Target.prepare(engine, "bookworm", tmp_path_factory.mktemp("box")).image.id


@pytest.fixture(scope="module")
def served(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("served")
    directory.chmod(0o755)  # nginx has no rights of ours
    with LocalIndex() as index, closed_network() as network, box(image, [directory]) as server:
        site = Site(directory, index)
        site.wheel("alpha", requires=["beta>=1"])
        site.wheel("beta", "2.0")
        # Old and young, for clients that ask how old a file is.
        site.index.change(site.wheel("beta", "1.0"), upload_time="2020-01-01T00:00:00Z")
        site.settings["packages"] = ["alpha", "beta==1.0"]
        site.settings["sets"] = {"new": ["beta==2.0"]}
        site.good(site.apply())
        minion = Minion(directory / "server", extra_pillar={"pipmirror_server": {"target": str(site.target)}})
        join(network, server)
        yield Served(site, server, minion, network, image, directory)


def serve(served: Served, **settings: Any) -> dict[str, Any]:
    """Apply the SLS with these settings; all went well."""
    served.settings = settings
    served.minion.extra_pillar["pipmirror_server"] = {"target": str(served.site.target), **settings}
    answer = served.server.apply(served.minion, "pipmirror.server")
    bad = {name: state["comment"] for name, state in answer.states.items() if state["result"] is not True}
    assert not bad, json.dumps(bad, indent=1)
    return {name: state["changes"] for name, state in answer.states.items() if state["changes"]}


@pytest.fixture
def plain(served: Served) -> Served:
    """Served without any restriction."""
    if served.settings != {}:
        serve(served)
    return served


def test_from_nothing_to_a_server(served: Served) -> None:
    told = served.server.call(served.minion, "state.apply", "pipmirror.server", "test=True")
    assert {name: one["result"] for name, one in told.states.items() if one["result"] is False} == {}
    assert served.server.run("which", "nginx").returncode, "a test has changed something"
    changed = serve(served)
    assert {"pipmirror-server-package", "pipmirror-server-site", "pipmirror-server"} <= set(changed)
    assert serve(served) == {}, "the second run changes something"
    again = served.server.call(served.minion, "state.apply", "pipmirror.server", "test=True")
    assert {one["result"] for one in again.states.values()} == {True}
    page = served.get(f"{PLATFORM}/simple/alpha/", Accept=PIP_ACCEPT)
    assert page.headers["Content-Type"] == JSON_TYPE
    assert page.headers["Vary"] == "Accept-Encoding, Accept"
    assert page.headers["Cache-Control"] == "no-cache"
    (file,) = page.json()["files"]
    wheel = served.get(f"{PLATFORM}/simple/alpha/{file['url']}")
    assert wheel.status_code == 200
    assert len(wheel.content) == file["size"]
    again = served.get(f"{PLATFORM}/simple/alpha/{file['url']}", **{"If-None-Match": wheel.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        ("text/html", "text/html; charset=utf-8"),
        (JSON_TYPE, JSON_TYPE),
        ("application/vnd.pypi.simple.latest+json", JSON_TYPE),
        (f"text/html;q=0.5, {JSON_TYPE};q=0.9", JSON_TYPE),
        (f"{JSON_TYPE};q=0, text/html", "text/html; charset=utf-8"),
        (f"{JSON_TYPE}; q=0.0", "text/html; charset=utf-8"),
        (f"{JSON_TYPE};charset=utf-8 ; Q=0.000", "text/html; charset=utf-8"),
        (f"{JSON_TYPE};q=0;level=1, text/html", "text/html; charset=utf-8"),
        (f"{JSON_TYPE};charset=utf-8, text/html;q=0", JSON_TYPE),
    ],
)
def test_what_is_asked_for_is_served(plain: Served, accept: str, kind: str) -> None:
    for path in ("simple/", "simple/alpha/"):
        assert plain.get(f"{PLATFORM}/{path}", Accept=accept).headers["Content-Type"] == kind


def test_a_page_by_its_name_is_that_page(plain: Served) -> None:
    for kind, name in ((JSON_TYPE, "index.json"), ("text/html; charset=utf-8", "index.html")):
        for path in ("simple/", "simple/alpha/"):
            page = plain.get(f"{PLATFORM}/{path}{name}", Accept="text/html")
            assert (page.status_code, page.headers["Content-Type"]) == (200, kind)
            assert page.headers["Cache-Control"] == "no-cache"


def test_nothing_hidden_is_served(plain: Served) -> None:
    assert (plain.site.target / ".pipmirror" / PLATFORM / "manifest.json").is_file()
    hidden = (".pipmirror", "%2epipmirror", "%2Epipmirror", ".%70ipmirror", "/.pipmirror", ".PIPMIRROR")
    others = (f"{PLATFORM}/../.pipmirror", f"{PLATFORM}/%2e%2e/.pipmirror", f"{PLATFORM}/..%2f.pipmirror")
    for folder in (*hidden, *others, f"{PLATFORM}/simple/../../.pipmirror"):
        for path in (f"/{folder}", f"/{folder}/", f"/{folder}/{PLATFORM}/manifest.json"):
            assert plain.raw(path) in (400, 404), path
    assert plain.raw(f"/../../{plain.site.target}/.pipmirror/") == 400
    assert ".pipmirror" not in plain.get("").text


def test_no_link_leads_to_what_is_hidden(plain: Served) -> None:
    link = plain.site.target / "link"
    link.symlink_to(".pipmirror")
    try:
        assert plain.raw(f"/link/{PLATFORM}/manifest.json") in (403, 404)
    finally:
        link.unlink()


def test_what_has_left_is_there_for_who_has_read_a_page_before(plain: Served) -> None:
    public = plain.site.public()
    hidden = public / latecomers.HIDDEN
    hidden.mkdir()
    try:
        (hidden / "left-1.0-py3-none-any.whl").write_bytes(b"wheel")
        (hidden / "left-1.0-py3-none-any.whl.metadata").write_bytes(b"metadata")
        (hidden / "alpha-1.0-py3-none-any.whl").write_bytes(b"of before")
        found = plain.get(f"{PLATFORM}/left-1.0-py3-none-any.whl")
        assert (found.status_code, found.content) == (200, b"wheel")
        assert plain.get(f"{PLATFORM}/left-1.0-py3-none-any.whl.metadata").content == b"metadata"
        assert plain.get(f"{PLATFORM}/alpha-1.0-py3-none-any.whl").content != b"of before"
        for path in (".gone/", ".gone/left-1.0-py3-none-any.whl", "never-1.0-py3-none-any.whl"):
            assert plain.get(f"{PLATFORM}/{path}").status_code == 404
        assert "gone" not in plain.get(f"{PLATFORM}/").text
    finally:
        shutil.rmtree(hidden)


def test_html_where_there_is_no_json(plain: Served) -> None:
    page = plain.site.public() / "simple" / "alpha" / "index.json"
    content = page.read_bytes()
    page.unlink()
    try:
        found = plain.get(f"{PLATFORM}/simple/alpha/", Accept=PIP_ACCEPT)
        assert (found.status_code, found.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert found.headers["Vary"].endswith("Accept")
    finally:
        page.write_bytes(content)
    assert plain.get(f"{PLATFORM}/simple/nothing/").status_code == 404


def test_a_line_feed_in_a_path_leads_to_no_other_folder(plain: Served) -> None:
    for path in ("no%0athing/simple/", "no%0athing/simple/index.html", f"{PLATFORM}/simple/no%0athing/"):
        assert plain.raw(f"/{path}") == 404, path


def test_headers(plain: Served) -> None:
    for path in ("", f"{PLATFORM}/", f"{PLATFORM}/simple/alpha/", f"{PLATFORM}/alpha-1.0-py3-none-any.whl"):
        headers = plain.get(path).headers
        assert headers["Cache-Control"] == "no-cache", path
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Server"] == "nginx"
        assert ("default-src 'none'" in headers.get("Content-Security-Policy", "")) == (not path.endswith(".whl"))


def test_a_slash_that_is_missing(plain: Served) -> None:
    redirected = plain.get(f"{PLATFORM}/simple")
    assert (redirected.status_code, redirected.headers["Location"]) == (301, f"/{PLATFORM}/simple/")


def test_wget_finds_every_wheel(plain: Served, tmp_path: Path) -> None:
    command = ["wget", "-q", "-r", "-A", "whl", "-np", "-nd", f"{plain.url}/{PLATFORM}/"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    assert {path.name for path in tmp_path.iterdir()} == plain.site.wheels()


def test_people_get_pages(plain: Served) -> None:
    for path, title in (("", "Python packages"), (f"{PLATFORM}/", PLATFORM)):
        for accept in ("text/html", PIP_ACCEPT):
            page = plain.get(path, Accept=accept)
            assert page.headers["Content-Type"] == "text/html; charset=utf-8"
            assert f"<h1>{title}</h1>" in page.text
            assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    kinds = {"pipmirror.css": "text/css", "mirror.json": "application/json", "pipmirror.js": "application/javascript"}
    for name, kind in kinds.items():
        assert plain.get(f"{PLATFORM}/{name}").headers["Content-Type"].startswith(kind)
    assert plain.get("mirror.json").json()["platforms"][0]["platform"] == PLATFORM
    (plain.site.target / "elsewhere").mkdir()
    (plain.site.target / "elsewhere" / "note.txt").write_text("mine")
    assert "note.txt" in plain.get("elsewhere/").text, "what has no page is listed"


def test_a_faulty_configuration_replaces_nothing(plain: Served) -> None:
    plain.minion.extra_pillar["pipmirror_server"]["allow"] = ["300.0.0.0/8"]
    answer = plain.server.apply(plain.minion, "pipmirror.server")
    assert answer.states["pipmirror-server-site"]["result"] is False
    assert "300.0.0.0/8" in answer.states["pipmirror-server-site"]["comment"]
    assert plain.get(f"{PLATFORM}/simple/").status_code == 200
    assert plain.server.run("nginx", "-t").returncode == 0, "it would not start again"
    assert serve(plain) == {}


def test_regular_expressions_are_compiled_whoever_says_so(plain: Served) -> None:
    """nginx takes the word once, and the file of its administrator comes first."""

    def said() -> int:
        return plain.server.good("nginx", "-T").count("pcre_jit on;")

    assert said() == 1
    plain.server.good("sed", "-i", "1i pcre_jit on;", "/etc/nginx/nginx.conf")
    assert plain.server.run("nginx", "-t").returncode
    assert "pipmirror-server-compiled" in serve(plain)
    assert said() == 1
    assert plain.get(f"{PLATFORM}/simple/").status_code == 200
    plain.server.good("sed", "-i", "1d", "/etc/nginx/nginx.conf")
    assert "pipmirror-server-compiled" in serve(plain)
    assert said() == 1
    own = "/etc/nginx/modules-enabled/50-own.conf"
    plain.server.good("sh", "-c", f"echo 'pcre_jit on;' >/etc/nginx/own; ln -s ../own {own}")
    assert plain.server.run("nginx", "-t").returncode
    assert "pipmirror-server-compiled" in serve(plain)
    assert said() == 1
    plain.server.good("rm", own)
    assert "pipmirror-server-compiled" in serve(plain)
    assert said() == 1
    assert serve(plain) == {}


def test_faults_of_the_pillar(served: Served) -> None:
    faulty = {"target": "x;y", "lisen": [1], "names": "a; b", "htpasswd": {}, "tls": {"k": 1, "key": "x"}}
    served.minion.extra_pillar["pipmirror_server"] = faulty
    (state,) = served.server.apply(served.minion, "pipmirror.server").states.values()
    assert state["result"] is False
    told = state["comment"].splitlines()
    assert [line.split(": ", 1)[0] for line in told] == [
        "pipmirror_server:lisen",
        "pipmirror_server:target",
        "pipmirror_server:htpasswd",
        "pipmirror_server:tls:k",
        "pipmirror_server:tls",
        "pipmirror_server:tls",
        "pipmirror_server:names",
    ]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"tls": "/etc/ssl/x.pem"}, "pipmirror_server:tls: must be a mapping"),
        ({"target": "/"}, "pipmirror_server:target: must be the absolute path of a directory"),
        ({"target": "/x\n"}, "pipmirror_server:target: must be the absolute path of a directory"),
        ({"target": "/x\0"}, "pipmirror_server:target: must be the absolute path of a directory"),
        ({"listen": []}, "pipmirror_server:listen: must name a port"),
        ({"listen": ["80\n"]}, 'pipmirror_server:listen: "80\\n" is not a value'),
        ({"allow": [None]}, "pipmirror_server:allow: null is not a value"),
        ({"allow": False}, "pipmirror_server:allow: false is not a value"),
        ({"tls": {"certificate": "/c", "key": "/k", "listen": []}}, "pipmirror_server:tls:listen: must name a port"),
    ],
)
def test_a_fault_of_the_pillar_changes_nothing(served: Served, settings: dict[str, Any], told: str) -> None:
    served.minion.extra_pillar["pipmirror_server"] = {"target": "/x", **settings}
    (state,) = served.server.apply(served.minion, "pipmirror.server").states.values()
    assert state["comment"].startswith(told)


def test_one_value_needs_no_list(served: Served) -> None:
    serve(served, listen=80, names="mirror.example.com", allow="0.0.0.0/0")
    assert served.get(f"{PLATFORM}/simple/", Host="mirror.example.com").status_code == 200


def test_who_may_read(served: Served) -> None:
    secret = served.server.good("openssl", "passwd", "-apr1", "s3cret").strip()
    changed = serve(served, htpasswd=f"reader:{secret}\n")
    assert secret not in json.dumps(changed), "hashes are nobody's business"
    shown = served.server.call(served.minion, "state.show_sls", "pipmirror.server").value
    assert secret not in json.dumps(shown)
    assert served.get(f"{PLATFORM}/").status_code == 401
    url = f"{served.url}/{PLATFORM}/"
    assert requests.get(url, auth=("reader", "s3cret"), timeout=10).status_code == 200
    assert serve(served, htpasswd=f"reader:{secret}\n") == {}
    serve(served, allow=["192.0.2.0/24"])
    assert served.get(f"{PLATFORM}/").status_code == 403


@pytest.fixture(scope="module")
def identity(served: Served) -> tuple[Path, dict[str, str]]:
    """An authority that clients may trust, and a certificate of it for both of the server's addresses."""
    authority = Authority(served.directory / "authority")
    addresses = served.server.address(), served.server.address(served.network)
    certificate, key = authority.issue(served.directory, *addresses)
    return authority.bundle, {"certificate": str(certificate), "key": str(key)}


@pytest.fixture
def over_tls(served: Served, identity: tuple[Path, dict[str, str]]) -> tuple[Served, Path]:
    if served.settings != {"tls": identity[1]}:
        serve(served, tls=identity[1])
    return served, identity[0]


def test_over_tls(over_tls: tuple[Served, Path]) -> None:
    served, certificate = over_tls
    address = served.server.address()
    plain = served.get(f"{PLATFORM}/simple/?x=1")
    assert (plain.status_code, plain.headers["Location"]) == (301, f"https://{address}/{PLATFORM}/simple/?x=1")
    secure = requests.get(f"https://{address}/{PLATFORM}/simple/", verify=str(certificate), timeout=10)
    assert secure.status_code == 200
    assert served.settings
    tls = served.settings["tls"]
    serve(served, tls=tls, listen=[])
    with pytest.raises(requests.ConnectionError):
        served.get(f"{PLATFORM}/simple/")
    assert requests.get(secure.url, verify=str(certificate), timeout=10).status_code == 200
    serve(served, tls=tls)


@pytest.fixture
def consumer(served: Served) -> Iterator[Box]:
    """A machine that reaches nothing but the mirror."""
    with box(served.image, [served.directory], network=served.network) as client:
        yield client


def configure(served: Served, consumer: Box, name: str, **settings: Any) -> tuple[Minion, dict[str, str]]:
    minion = Minion(served.directory / name, extra_pillar={"pipmirror_client": {"platform": PLATFORM, **settings}})
    answer = consumer.apply(minion, "pipmirror.client")
    assert answer.code == 0, answer
    return minion, answer.states["pipmirror-client"]["changes"]


def install_with_both(consumer: Box, *requirements: str) -> dict[str, str]:
    """{tool: what it installed}, each into an empty directory."""
    consumer.good("pip", "install", "--target", "/opt/pip", *requirements)
    consumer.good(UV, "pip", "install", "--target", "/opt/uv", *requirements)
    found = {}
    for tool in ("pip", "uv"):
        names = consumer.good("ls", f"/opt/{tool}").split()
        found[tool] = " ".join(sorted(name for name in names if name.endswith(".dist-info")))
        consumer.good("rm", "-r", f"/opt/{tool}")
    return found


@pytest.mark.usefixtures("plain")
def test_a_consumer_installs_from_the_mirror_alone(served: Served, consumer: Box) -> None:
    assert consumer.run("pip", "download", "--no-cache-dir", "--timeout", "1", "--retries", "0", "alpha").returncode
    consumer.good("sh", "-c", "printf '[global]\\ntimeout = 7\\nindex-url = http://old.invalid/\\n' >/etc/pip.conf")
    url = f"http://{served.server.address(served.network)}"
    minion, changes = configure(served, consumer, "consumer", url=url)
    assert set(changes) == {"/etc/pip.conf", "/etc/uv/uv.toml"}
    assert consumer.apply(minion, "pipmirror.client").states["pipmirror-client"]["changes"] == {}
    assert "timeout = 7" in consumer.good("cat", "/etc/pip.conf")
    both = install_with_both(consumer, "alpha", "beta")
    assert both == dict.fromkeys(("pip", "uv"), "alpha-1.0.dist-info beta-2.0.dist-info")
    consumer.good("sh", "-c", "mkdir -p /etc/xdg/uv && echo offline = false >/etc/xdg/uv/uv.toml")  # uv reads this one
    changes = consumer.apply(minion, "pipmirror.client").states["pipmirror-client"]["changes"]
    assert set(changes) == {"/etc/xdg/uv/uv.toml", "/etc/uv/uv.toml"}
    assert consumer.run("test", "-e", "/etc/uv/uv.toml").returncode == 1
    minion.extra_pillar["pipmirror_client"]["absent"] = True
    assert consumer.apply(minion, "pipmirror.client").code == 0
    assert consumer.good("cat", "/etc/xdg/uv/uv.toml") == "offline = false\n"
    assert consumer.good("cat", "/etc/pip.conf") == "[global]\ntimeout = 7\nindex-url = http://old.invalid/\n"
    assert consumer.run("test", "-e", "/etc/uv/uv.toml").returncode == 1


def test_a_consumer_over_tls(over_tls: tuple[Served, Path], consumer: Box) -> None:
    """pip has the certificate by its file, uv from the system's store; or nobody asks for one."""
    served, certificate = over_tls
    url = f"https://{served.server.address(served.network)}"
    installing = ("pip", "install", "--target", "/opt/pip", "alpha")
    configure(served, consumer, "tls", url=url)
    assert consumer.run(*installing, PIP_RETRIES="0").returncode, "nobody vouches for it"
    configure(served, consumer, "tls", url=url, ca_cert=str(certificate))
    consumer.good(*installing)
    assert "system-certs = true" in consumer.good("cat", "/etc/uv/uv.toml")
    consumer.good(UV, "pip", "install", "--target", "/opt/uv", "alpha", SSL_CERT_FILE=str(certificate))
    configure(served, consumer, "tls", url=url, trusted=True)
    assert set(install_with_both(consumer, "beta").values()) == {"alpha-1.0.dist-info beta-2.0.dist-info"}


def test_a_consumer_of_a_mounted_directory(served: Served, consumer: Box) -> None:
    configure(served, consumer, "mounted", find_links=str(served.site.target))
    both = install_with_both(consumer, "alpha", "beta<2")
    assert both == dict.fromkeys(("pip", "uv"), "alpha-1.0.dist-info beta-1.0.dist-info")


def test_uv_is_at_hand() -> None:
    assert shutil.which(str(UV)), "the tests of consumers need it beside this interpreter"
