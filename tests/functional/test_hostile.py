"""An index that means harm with one project: that one fails, in a line, and everything else comes."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from tests.functional.conftest import prepared
from tests.support.dists import make_wheel
from tests.support.localindex import JSON_TYPE, Fault
from tests.support.site import Site

ALPHA, BETA = "alpha-1.0-py3-none-any.whl", "beta-2.0-py3-none-any.whl"
EVIL = "evil-1.0-py3-none-any.whl"


def page(**claims: object) -> Fault:
    files = [{"filename": EVIL, "url": f"../../files/{EVIL}", "hashes": {}, **claims}]
    return Fault(200, times=None, body=json.dumps({"files": files}).encode(), headers={"Content-Type": JSON_TYPE})


# What is said of the project's page or of its file, and what a person reads then.
EVILS: Mapping[str, tuple[dict[str, Fault], str]] = {
    "no page": ({"/simple/evil/": Fault(200, times=None, body=b"[" * 100_000)}, "evil"),
    "nested": (
        {"/simple/evil/": Fault(200, times=None, body=b"[" * 100_000, headers={"Content-Type": JSON_TYPE})},
        "is not a project page",
    ),
    "many parts": ({"/simple/evil/": Fault(200, times=None, body=b"<" * 500_000)}, "beyond any sense"),
    "elsewhere": ({"/simple/evil/": Fault(302, times=None, headers={"Location": "file:///etc/passwd"})}, "sends us to"),
    "in circles": ({"/simple/evil/": Fault(302, times=None, headers={"Location": "/simple/evil/"})}, "on and on"),
    "another hash": ({"/simple/evil/": page(hashes={"sha256": "ab" * 32})}, "has sha256"),
    "another size": ({"/simple/evil/": page(size=10)}, "is longer than the 10 bytes"),
    "no address": ({"/simple/evil/": page(url="https://[::1/evil")}, "/simple/evil/ is not a project page"),
    "no port": ({"/simple/evil/": page(url="https://host:port/evil")}, "/simple/evil/ is not a project page"),
    "surrogates": ({"/simple/evil/": page(url="http://127.0.0.1:1/\ud800")}, "/simple/evil/ is not a project page"),
    "another's file": ({"/simple/evil/": page(url=f"../../files/{ALPHA}")}, "evil"),
    "nothing of it": ({EVIL: Fault(200, times=None, body=b"")}, EVIL),
    "no wheel": ({EVIL: Fault(200, times=None, body=b"MZ\0\0" * 1000)}, EVIL),
}


@pytest.mark.parametrize(("fail", "said"), EVILS.values(), ids=EVILS)
def test_one_project_that_means_harm(site: Site, fail: dict[str, Fault], said: str) -> None:
    site.index.add(make_wheel(site.shelf, "evil"))
    site.index.core_metadata = False
    site.index.fail = fail
    site.settings["packages"] = ["alpha"]
    site.platform["packages"] = []
    site.platform["sets"] = {"bad": ["evil"]}
    site.also("other", sets={})
    prepared(site)
    answer = site.apply()
    state = site.state(answer)
    assert state["result"] is False
    assert "internal error" not in state["comment"]
    assert "Traceback" not in answer.stderr
    assert said in state["comment"]
    assert site.wheels() == {ALPHA, BETA}, "the other set comes"
    assert site.wheels("other") == {ALPHA, BETA}
    assert site.state(answer, "other")["result"] is True
