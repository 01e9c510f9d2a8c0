"""The end of conversations: one thread tells all of them, at the time that was said last."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from pipmirror_lib.deadlines import Clock

FAR, SOON = 600.0, 0.05


@pytest.fixture
def line() -> Iterator[socket.socket]:
    """Our end of a connection whose other end says nothing."""
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    with ours, theirs:
        yield ours


def clocks() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "pipmirror-clock"}


def test_what_is_late_is_hung_up(line: socket.socket) -> None:
    with Clock().deadline() as limit:
        limit.watch(line)
        limit.within(SOON)
        assert line.recv(1) == b"", "hung up, not timed out"
        assert limit.late.is_set()


def test_an_end_that_is_nearer_than_all_others_is_not_slept_through(line: socket.socket) -> None:
    clock = Clock()
    with clock.deadline() as patient:
        patient.within(FAR)
        with clock.deadline() as limit:
            limit.watch(line)
            limit.within(SOON)
            assert line.recv(1) == b""
        assert not patient.late.is_set()


def test_what_was_said_before_counts_no_more(line: socket.socket) -> None:
    clock = Clock()
    with clock.deadline() as limit, clock.deadline() as other:
        limit.watch(line)
        limit.within(SOON)
        limit.within(FAR)
        other.within(2 * SOON)
        assert other.late.wait(10)
        assert not limit.late.is_set()


def test_another_attempt_has_a_time_and_a_line_of_its_own(line: socket.socket) -> None:
    with Clock().deadline() as limit:
        limit.within(0)
        assert limit.late.wait(10)
        limit.again(FAR)
        limit.watch(line)
        assert not limit.late.is_set()
        line.settimeout(SOON)
        with pytest.raises(TimeoutError):
            line.recv(1)


def test_all_are_told_by_one_thread_and_none_is_left() -> None:
    others = clocks()
    clock = Clock()

    def talk() -> None:
        with clock.deadline() as limit:
            limit.within(FAR)

    threads = [threading.Thread(target=talk) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (thread,) = clocks() - others
    clock.hang_up()
    thread.join(10)
    assert not thread.is_alive()


def test_the_end_of_the_run_ends_every_conversation(line: socket.socket) -> None:
    clock = Clock()
    with clock.deadline() as limit:
        limit.watch(line)
        limit.within(FAR)
        clock.hang_up()
        assert limit.late.is_set()
        assert line.recv(1) == b""
