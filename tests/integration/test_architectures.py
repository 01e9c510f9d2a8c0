"""Another architecture than this machine's, emulated.

Making its base image takes up to a quarter of an hour, so that this is asked for: PIPMIRROR_TEST_EMULATION=1, with
qemu-user-static and binfmt-support installed.
"""

from __future__ import annotations

import os

import pytest
from pipmirror_lib import emulation
from pipmirror_lib.engine import Engine

from tests.support.site import COMPILER, IMAGE, PLATFORM, Site

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not os.environ.get("PIPMIRROR_TEST_EMULATION"), reason="PIPMIRROR_TEST_EMULATION is not set"),
]


def test_a_c_extension_for_arm64(site: Site, engine: Engine) -> None:
    """Built by the target's own compiler and installed by its own pip, beside the same image for this machine."""
    before = engine.image(IMAGE)
    assert emulation.is_foreign(engine, "arm64")
    site.settings["container"] = {"timeout": 3600}
    site.also("arm", architecture="arm64", pre_command=COMPILER)
    site.sdist("omega", intree_backend=True, c_extension=True, on_build="import os; print('on', os.uname().machine)")
    site.settings["platforms"][1]["packages"] = ["omega"]
    site.settings["verify"] = True
    answer = site.call("sync", platform="arm", timeout=3600)
    assert answer.code == 0, answer
    assert "omega-1.0-cp311-cp311-linux_aarch64.whl" in site.wheels("arm")
    record = site.record("omega-1.0-cp311-cp311-linux_aarch64.whl", "arm")
    assert "on aarch64" in (site.private("arm") / "logs" / record["log"]).read_text()
    assert answer.platform["verified"]["packages"]["installed"] == 3
    site.check("arm")
    assert engine.image(IMAGE) == before, "the name is still this machine's"
    assert site.call("sync", platform=PLATFORM, timeout=900).code == 0
    assert site.call("plan").value["platforms"]["arm"]["nothing_to_do"]
