"""Requirements and names of every shape, through real pillar files, and the proof that they install."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.site import PLATFORM, Site

pytestmark = pytest.mark.integration

PWNED = Path("/tmp/pipmirror-pwned")
HOSTILE = [f"x; touch {PWNED}", f"$(touch {PWNED})", f"x`touch {PWNED}`", f"alpha && touch {PWNED}"]
SHAPES = [
    "alpha >= 0.5 , < 2",
    'beta<2; python_version >= "3" and sys_platform == "linux"',
    "gamma[Extra] ~= 1.0",
    "nothere; python_version < '3'",
    "Delta.Dotted==1.*",
    "epsilon!=1.0",
    "zeta>1.0",
    "eta===1.0",
]


def test_every_shape_of_requirement(site: Site) -> None:
    site.wheel("gamma", "1.2", extras={"extra": ["theta>=1"]})
    site.wheel("gamma", "2.0")
    site.wheel("theta")
    for name in ("Delta.Dotted", "epsilon", "zeta", "eta"):
        site.wheel(name, "1.0")
        site.wheel(name, "1.1")
    site.settings["packages"] = SHAPES
    site.good(site.apply())
    assert {name.rsplit("-", 3)[0] for name in site.wheels()} == {
        "alpha-1.0",
        "beta-1.0",
        "gamma-1.2",
        "theta-1.0",
        "delta_dotted-1.1",
        "epsilon-1.1",
        "zeta-1.1",
        "eta-1.0",
    }
    site.check()
    assert site.state(site.good(site.apply()))["changes"] == {}
    verified = site.call("verify")
    assert verified.code == 0, verified
    assert verified.platform["verified"]["packages"]["installed"] == 8


@pytest.mark.parametrize(
    "text", [f"x; touch {PWNED}", f"$(touch {PWNED})", f"x`touch {PWNED}`", f"alpha && touch {PWNED}"]
)
def test_a_shell_is_never_met(site: Site, text: str) -> None:
    PWNED.unlink(missing_ok=True)
    site.settings["packages"] = [text, "alpha"]
    answer = site.apply()
    assert answer.code != 0
    comment = answer.states["pipmirror-declaration"]["comment"]
    assert "pipmirror:packages[0]" in comment
    assert "not a valid requirement" in comment
    assert not PWNED.exists()
    assert not site.target.exists()


def test_constraints_and_prereleases(site: Site) -> None:
    site.wheel("beta", "3.0rc1")
    site.settings["constraints"] = ["beta<2"]
    site.good(site.apply())
    assert "beta-1.0-py3-none-any.whl" in site.wheels()
    site.settings.update(constraints=[], prereleases=["beta"], packages=["alpha", "beta>2"])
    site.good(site.apply())
    assert "beta-3.0rc1-py3-none-any.whl" in site.wheels()


def test_a_platform_in_a_directory_with_spaces_and_slashes(site: Site) -> None:
    """Where an administrator has odd directories, nothing is split or quoted wrongly on the way to a container."""
    site.target = site.directory / "a mirror; of $things"
    site.settings["target"] = str(site.target)
    site.platform["name"] = "debian/12@home"
    site.sdist("omega", intree_backend=True)
    site.settings["packages"] = ["alpha", "omega"]
    site.good(site.apply())
    assert len(site.wheels("debian/12@home")) == 3
    site.check("debian/12@home")
    assert site.call("verify").code == 0


def test_verify_runs_the_programs(site: Site) -> None:
    code = {"tool.py": "def main():\n    print('tool 1.0, at your service')\n"}
    site.wheel("tool", files=code, entry_points={"tool": "tool:main"}, requires=["alpha"])
    site.settings.update(packages=["tool"], verify=True)
    site.good(site.apply())
    verified = site.call("status").value[PLATFORM]["verified"]["packages"]
    assert verified["installed"] == 3
    assert verified["ran"]["tool"]["ok"] is True
    assert "at your service" in verified["ran"]["tool"]["output"]
    # What was proved once is not proved again.
    assert site.state(site.good(site.apply()))["changes"] == {}


def test_verify_tells_what_does_not_install(site: Site) -> None:
    """pip's last word: the METADATA is fine, and the wheel cannot be installed."""
    site.wheel("alpha", "2.0", extra_members=[("alpha-2.0.data/nowhere/x.txt", "no scheme of that name")])
    site.settings.update(packages=["alpha==2.0"], verify=True)
    answer = site.apply()
    state = site.state(answer)
    assert state["result"] is False
    assert "alpha" in state["comment"]
    assert not (site.public() / "simple" / "alpha").exists(), "what does not install is not published"
    assert answer.code != 0
    assert site.call("publish").code != 0
    assert not (site.public() / "simple" / "alpha").exists()


def test_installed_from_the_published_index(site: Site) -> None:
    """The target's pip, in a container without network, from the pages; and flat, as with the role's directory."""
    site.good(site.apply())
    image = site.call("status").value[PLATFORM]["image"]
    docker = ["docker", "run", "--rm", "--network", "none", "-v", f"{site.public()}:/mirror:ro", image]
    for source in ("--index-url file:///mirror/simple/", "--no-index --find-links /mirror"):
        install = f"pip install --break-system-packages {source} alpha && python3 -c 'import alpha, beta'"
        done = subprocess.run(
            [*docker, "sh", "-c", install],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
