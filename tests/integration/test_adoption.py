"""A directory that the Ansible role has filled becomes a mirror; its variables work as they are."""

from __future__ import annotations

import subprocess

import pytest
from pipmirror_lib.wheels import sha256_of

from tests.support.dists import make_wheel
from tests.support.site import IMAGE, PRE_COMMAND, Site

pytestmark = pytest.mark.integration

PLATFORM = "debian-bookworm"
FLAT = {"alpha-1.0-py3-none-any.whl", "beta-1.0-py3-none-any.whl", "omega-1.0-py3-none-any.whl"}


@pytest.fixture
def role(site: Site) -> Site:
    """The site as the role's users have it: its variables under `pipmirror`, and what its command has left."""
    # An older beta than the index has, and a wheel that pip built: both are good as they are.
    site.sdist("omega", requires=["beta"], intree_backend=True)
    variables = {
        "target": str(site.target),
        "platforms": [{"image": IMAGE, "pre-command": PRE_COMMAND}],
        "packages": ["alpha", "omega"],
    }
    site.settings.clear()
    site.settings.update(variables, index={"url": site.index.url, "retries": 0})
    make_wheel(site.public(PLATFORM), "alpha", requires=["beta>=1"])
    make_wheel(site.public(PLATFORM), "beta", "1.0")
    make_wheel(site.public(PLATFORM), "omega", requires=["beta"])
    return site


def test_no_wheel_is_fetched_or_built_again(role: Site) -> None:
    before = role.stamps(PLATFORM)
    test = role.state(role.apply("test=True"), PLATFORM)
    assert test["result"] is None
    assert role.stamps(PLATFORM) == before
    answer = role.good(role.apply())
    assert role.asked() == [], "everything is there, so nobody is asked"
    assert role.wheels(PLATFORM) == FLAT
    after = role.stamps(PLATFORM)
    assert {name: after[name] for name in before} == before
    role.check(PLATFORM)
    assert "3 wheels" in str(role.state(answer, PLATFORM)["changes"]["(recorded)"])
    for filename in FLAT:
        record = role.record(filename, PLATFORM)
        assert record["origin"] == "adopted"
        assert record["sha256"] == sha256_of(role.public(PLATFORM) / filename)
    assert role.state(role.good(role.apply()), PLATFORM)["changes"] == {}


def test_what_is_missing_comes_alone(role: Site) -> None:
    (role.public(PLATFORM) / "beta-1.0-py3-none-any.whl").unlink()
    before = role.stamps(PLATFORM)
    role.good(role.apply())
    assert role.wheels(PLATFORM) == FLAT - {"beta-1.0-py3-none-any.whl"} | {"beta-2.0-py3-none-any.whl"}
    after = role.stamps(PLATFORM)
    assert {name: after[name] for name in before} == before
    files = {path.removesuffix(".metadata") for path in role.asked("/files/")}
    assert files == {"/files/beta-2.0-py3-none-any.whl"}


def test_what_has_nothing_to_do_with_it_is_left_alone(role: Site) -> None:
    """A legacy name and somebody's notes stay; a torn wheel, on which pip would give up, is set aside, not lost."""
    public = role.public(PLATFORM)
    (public / "NOTES.txt").write_text("mine")
    torn = public / "torn-1.0-py3-none-any.whl"
    (public / "nonsense.whl").write_bytes(b"no wheel at all")
    (public / "gamma-1.0.tar.gz").write_bytes(b"an sdist")
    before = role.stamps(PLATFORM)
    torn.write_bytes(b"PK\x03\x04 and then nothing")
    state = role.state(role.good(role.apply()), PLATFORM)
    assert torn.name in state["comment"]
    assert not torn.exists()
    assert list(role.private(PLATFORM).glob(f"broken/{torn.name}*"))
    after = role.stamps(PLATFORM)
    assert {name: after[name] for name in before} == before
    assert not list((public / "simple").glob("torn*"))
    assert role.state(role.good(role.apply()), PLATFORM)["changes"] == {}


def test_a_wheel_brought_by_hand_is_recorded(role: Site) -> None:
    role.good(role.apply())
    make_wheel(role.public(PLATFORM), "handmade", "3.0")
    role.settings["packages"].append("handmade>2")
    state = role.state(role.good(role.apply()), PLATFORM)
    assert "handmade" not in state["changes"], "it was there"
    assert role.record("handmade-3.0-py3-none-any.whl", PLATFORM)["origin"] == "adopted"
    role.check(PLATFORM)


def test_the_roles_own_command_fills_what_we_adopt(role: Site) -> None:
    """`docker run IMAGE bash -c "pip wheel -w /mnt/ …"`, with the wheels handed in because containers have no index."""
    role.good(role.apply())
    image = role.call("status").value[PLATFORM]["image"]
    filled = role.directory / "filled" / PLATFORM
    filled.mkdir(parents=True)
    mounts = ["-v", f"{filled}:/mnt", "-v", f"{role.public(PLATFORM)}:/wheels:ro"]
    command = "pip wheel --no-index -f /wheels -w /mnt/ alpha omega"
    subprocess.run(
        ["docker", "run", "--rm", "--network", "none", *mounts, image, "bash", "-c", command],
        timeout=120,
        check=True,
        capture_output=True,
    )
    role.settings["target"], role.target = str(role.directory / "filled"), role.directory / "filled"
    before = role.stamps(PLATFORM)
    assert set(before) == FLAT
    role.forget()
    role.good(role.apply())
    assert role.asked() == []
    after = role.stamps(PLATFORM)
    assert {name: after[name] for name in before} == before
    role.check(PLATFORM)
