"""What the functions return and what people see of it: complete and always the same for programs, short for eyes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import salt.payload
import yaml

from _modules import pipmirror
from tests.support.dists import make_wheel
from tests.support.salt import Minion
from tests.support.site import PLATFORM, Site

ALPHA, BETA, OLD = (f"{stem}-py3-none-any.whl" for stem in ("alpha-1.0", "beta-2.0", "old-1.0"))
NOTHING = type(None)
DONE = {"result": bool, "comment": str, "added": dict, "removed": dict, "seconds": float}
UNMET = {"*": str}
LEFTOVERS = {"*": {"files": int, "size": int}}
# What DESIGN and the docstrings promise: every key, and of what type; `*` stands for keys that are names.
SHAPES: dict[str, Any] = {
    "plan": {
        "platforms": {
            "*": {
                "satisfied": bool,
                "nothing_to_do": bool,
                "missing": UNMET,
                "orphans": [str],
                "keep_until": UNMET,
                "held": str,
                "closure": [str],
                "unrecorded": [str],
                "vanished": [str],
                "broken": UNMET,
                "warnings": [str],
                "due": [str],
            }
        }
    },
    "status": {
        "*": {
            "satisfied": bool,
            "missing": UNMET,
            "due": [str],
            "wheels": int,
            "bytes": int,
            "built_here": int,
            "orphans": int,
            "orphan_bytes": int,
            "orphans_until": str,
            "held": str,
            "yanked": UNMET,
            "withdrawn": [str],
            "yanked_here": UNMET,
            "last_sync": str,
            "last_look": str,
            "last_failure": str,
            "failure": str,
            "image": str,
            "image_source": str,
            "image_made": str,
            "image_age": (int, NOTHING),
            "verified": dict,
            "python": str,
            "pip": str,
        }
    },
    "wheels": {
        "*": {
            "*": {
                "project": str,
                "version": str,
                "tags": [str],
                "sha256": str,
                "size": int,
                "requires_python": (str, NOTHING),
                "summary": str,
                "metadata_sha256": str,
                "origin": str,
                "url": str,
                "upload_time": str,
                "admitted": str,
                "source": (dict, NOTHING),
                "direct": [str],
                "yanked": (str, NOTHING),
                "withdrawn": bool,
                "yanked_here": (str, NOTHING),
                "wanted_by": [str],
                "undecided": bool,
            }
        }
    },
    "why": {
        "*": {
            "project": str,
            "sets": {
                "*": {"satisfied": bool, "file": (str, NOTHING), "chains": [[str]], "more": bool, "missing": UNMET}
            },
            "files": {"*": {"version": str, "size": int, "origin": str, "yanked": (str, NOTHING)}},
            "broken": UNMET,
            "orphans": [str],
            "undecided": [str],
            "not_here": [str],
            "similar": [str],
            "note": str,
        }
    },
    "platforms": {
        "*": {
            "target": str,
            "highstate": str,
            "engine_sls": str,
            "parallel": int,
            "platforms": {"*": {"image": str, "directory": str, "sets": {"*": [str]}}},
        }
    },
    "publish": {"platforms": {"*": {"written": [str], "removed": [str]}}},
    "prune": {
        "result": bool,
        "comment": str,
        "platforms": {
            "*": {
                "result": bool,
                "comment": str,
                "held": str,
                "added": {},
                "removed": {"*": {"project": str, "version": str, "reason": str, "size": int, "since": str}},
                "unneeded": {"noted": [str], "dropped": [str]},
                "leftovers": LEFTOVERS,
                "seconds": float,
            }
        },
        "leftovers": LEFTOVERS,
        "images": {"*": {"platform": str, "kind": str, "made": str, "size": int}},
    },
}
ARGUMENTS = {"why": {"project": "beta"}, "publish": {"test": True}, "prune": {"test": True, "keep_days": 0}}
SORTED = ("closure", "orphans", "unrecorded", "vanished", "withdrawn", "tags", "written", "removed")


def check(shape: Any, value: Any, place: str) -> None:
    if isinstance(shape, dict):
        assert isinstance(value, dict), place
        names = set(value) if "*" in shape else set(shape)
        assert set(value) == names, place
        for key, one in value.items():
            check(shape.get("*", shape.get(key)), one, f"{place}:{key}")
    elif isinstance(shape, list):
        assert isinstance(value, list), place
        assert value == sorted(value) or place.rpartition(":")[2] not in SORTED, place
        for one in value:
            check(shape[0], one, place)
    else:
        assert isinstance(value, shape), (place, value)


def ask(site: Site, function: str) -> Any:
    return site.call(function, **ARGUMENTS.get(function, {})).value


@pytest.fixture
def synced(site: Site) -> Site:
    """alpha and beta are there, and an orphan that was never recorded."""
    assert site.call("sync").code == 0
    make_wheel(site.public(), "old", "1.0")
    return site


def test_the_shape_of_every_answer(synced: Site) -> None:
    for function, shape in SHAPES.items():
        answer = ask(synced, function)
        assert answer, "an empty answer has no shape"
        check(shape, answer, function)


def test_the_shape_is_the_same_while_something_is_missing(synced: Site) -> None:
    (synced.public() / BETA).unlink()
    (synced.public() / "bad-1.0-py3-none-any.whl").write_bytes(b"")
    for function in ("plan", "status", "wheels", "why", "prune"):
        check(SHAPES[function], ask(synced, function), function)


def test_the_shape_is_the_same_before_there_is_anything(bare: Site) -> None:
    for function, arguments in {"plan": {}, "status": {}, "why": {"project": "alpha"}, "prune": {}}.items():
        check(SHAPES[function], bare.call(function, **arguments).value, function)


def test_the_shape_of_what_was_done(site: Site) -> None:
    (done,) = site.call("sync").value["platforms"].values()
    assert {key: type(done[key]) for key in DONE} == DONE
    added = {"project": str, "version": str, "old": [str], "beside": [str], "origin": str, "sha256": str, "size": int}
    check({"*": added}, done["added"], "added")


@pytest.mark.parametrize("function", SHAPES)
def test_every_key_is_documented(function: str) -> None:
    text = getattr(pipmirror, function).__doc__
    keys = names_of(SHAPES[function])
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}\b", text)] == []


def names_of(shape: Any) -> set[str]:
    if isinstance(shape, list):
        return names_of(shape[0])
    if not isinstance(shape, dict):
        return set()
    return {key for key in shape if key != "*"}.union(*map(names_of, shape.values()))


# -- for people ----------------------------------------------------------------------------------------------


def test_what_people_see(synced: Site) -> None:
    show = synced.minion.show
    assert show("pipmirror.plan").splitlines()[0] == (
        f"{PLATFORM}: satisfied by 2 wheels, but there is something to do"
    )
    assert f"  orphans, which no set needs:\n    {OLD} (its days begin with the next sync)\n" in show("pipmirror.plan")
    assert show("pipmirror.why", "beta") == (
        f"{PLATFORM}: beta is {BETA}\n  set packages:\n    alpha (declared) -> beta>=1\n"
    )
    wheels = show("pipmirror.wheels")
    assert f"alpha 1.0  {BETA}\n" in wheels
    assert synced.record(BETA)["sha256"][:12] in wheels
    assert "target              Python 3.11.2, pip 26.3" in show("pipmirror.status")
    assert show("pipmirror.faults") == "The declaration has no faults.\n"


def test_whoever_asks_for_another_outputter_gets_it(synced: Site) -> None:
    answer = ask(synced, "why")
    assert yaml.safe_load(synced.minion.show("pipmirror.why", "beta", out="yaml")) == {"local": answer}
    assert json.loads(synced.minion.show("pipmirror.why", "beta", out="json")) == {"local": answer}
    assert synced.minion.show("pipmirror.why", "beta", out="nested").startswith("local:\n    ----------\n")


def test_other_functions_are_shown_as_ever(minion: Minion) -> None:
    plain = minion.show("sys.list_functions", "pipmirror")
    assert plain.startswith("local:\n    - pipmirror.clean\n")
    assert minion.show("sys.list_functions", "pipmirror", out="pipmirror") == plain


def test_an_unknown_project(synced: Site) -> None:
    answer = synced.call("why", project="btea")
    assert answer.code != 0
    assert "'btea' is wanted by nobody and lies nowhere; did you mean 'beta'?" in answer.stderr


def test_without_the_outputter_salt_shows_what_it_can(synced: Site, tmp_path: Path) -> None:
    """A checkout of which only modules and library were taken over."""
    modules = tmp_path / "modules"
    modules.mkdir()
    for name in ("_modules", "_utils"):
        (modules / name).symlink_to(Path(pipmirror.__file__).parents[1] / name)
    synced.minion.module_dir = modules
    assert synced.minion.show("pipmirror.why", "beta").startswith("local:\n    ----------\n")


def test_a_master_never_hears_of_the_outputter() -> None:
    name = pipmirror._Outputter("nested")
    assert isinstance(name, str), "Salt takes nothing else"
    assert salt.payload.loads(salt.payload.dumps({"out": name})) == {"out": "nested"}
    assert json.dumps(name) == '"nested"'


@pytest.mark.parametrize(
    "opts",
    [
        {},
        {"__cli": "salt-minion", "fun": "pipmirror.plan"},
        {"__cli": "salt-call", "fun": "state.apply"},
        {"__cli": "salt-call"},
    ],
)
def test_only_a_call_of_ours_looks_for_the_outputter(opts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import salt.loader

    monkeypatch.setattr(salt.loader, "outputters", None)
    monkeypatch.setattr(pipmirror, "__outputter__", {})
    pipmirror.__init__(opts)
    assert pipmirror.__outputter__ == {}
