"""Who is told what is done: a terminal, the log, a master."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from typing import Any

import pytest
from pipmirror_lib.progress import Step

from _modules import pipmirror
from tests.functional.conftest import prepared
from tests.support.localindex import Fault
from tests.support.site import PLATFORM, Site


def on_a_terminal(command: list[str], environment: dict[str, str]) -> tuple[str, str]:
    """What a command writes to its standard output, and to the terminal that its errors go to."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += (read := os.read(ours, 65536))
        except OSError:  # nobody has it open any more
            break
        if not read:
            break
    os.close(ours)
    return process.communicate(timeout=60)[0], shown.decode()


def test_one_line_for_all_platforms(site: Site) -> None:
    """It is written over while they are at work, and gone at the end."""
    site.also("trixie")
    prepared(site)
    site.index.fail["/simple/"] = Fault(stall=1.0, times=None)
    site.minion.configure()
    said, shown = on_a_terminal(site.minion.command("pipmirror.sync"), site.minion.variables({}))
    assert json.loads(said)["local"]["result"] is True
    first, *lines = shown.split("\r\x1b[K")
    assert first == lines[-1] == ""
    told = [line for line in lines if line]
    assert told
    assert not [line for line in told if "\n" in line or len(line) >= 80]
    assert any(f"{PLATFORM}: " in line and "trixie: " in line for line in told)


def test_states_in_processes_of_their_own_take_turns(site: Site) -> None:
    site.also("trixie")
    prepared(site)
    site.index.fail["/simple/"] = Fault(stall=1.0, times=None)
    site.minion.configure()
    said, shown = on_a_terminal(site.minion.command("state.apply", "pipmirror"), site.minion.variables({}))
    assert all(state["result"] for state in json.loads(said)["local"].values())
    told = [line for line in shown.split("\r\x1b[K") if line]
    parts = [part for line in told for part in line.split(" | ")]
    assert {part.partition(":")[0] for part in parts} == {PLATFORM, "trixie"}
    assert not [part for part in parts if PLATFORM in part and "trixie" in part]
    assert any(PLATFORM in line and "trixie" in line for line in told), "neither writes over what the other says"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Events to a master; the module as a minion has it."""
    events: list[tuple[str, Any]] = []

    def send(tag: str, data: Any) -> None:
        events.append((tag, data))

    monkeypatch.setattr(pipmirror, "__salt__", {"event.send": send}, raising=False)
    monkeypatch.setattr(pipmirror, "__opts__", {"master_uri": "tcp://master.invalid:4506"}, raising=False)
    return events


def test_a_master_is_told_now_and_then(sent: list[tuple[str, Any]]) -> None:
    with pipmirror._progress() as tell:
        listen = pipmirror._named(tell, "first:")
        for number in range(100):
            listen(Step("bookworm", "fetched", number, 100, number * 10, 1000))
    ((tag, data),) = sent
    assert tag == "pipmirror/progress"
    told = {"text": "fetched", "files": 0, "of_files": 100, "bytes": 0, "of_bytes": 1000, "builds": 0, "of_builds": 0}
    assert data == {"platforms": {"first:bookworm": told}}


@pytest.mark.parametrize("options", [{"local": True}, {"file_client": "local"}, {"master_type": "disable"}])
def test_where_there_is_no_master_nothing_is_sent(
    sent: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(pipmirror, "__opts__", options)
    with pipmirror._progress() as tell:
        tell(Step("bookworm", "fetched"))
    assert sent == []


@pytest.mark.usefixtures("sent")
def test_a_master_out_of_reach_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipmirror, "__salt__", {})
    with pipmirror._progress() as tell:
        tell(Step("bookworm", "fetched"))
