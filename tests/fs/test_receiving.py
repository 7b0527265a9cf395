"""How requests are received: who waits gets the lock, and nobody is starved."""

import importlib.metadata
import logging
import os
import socket
from collections.abc import Iterator

import pyfuse3
import pytest
import trio
import trio.testing

from stowkenfs.fs.receiving import (
    Readiness,
    ReceiveLock,
    receive_as_pyfuse3,
    receive_at_once,
)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    receive_as_pyfuse3()


def test_it_is_pyfuse3s_that_is_replaced() -> None:
    assert vars(pyfuse3)["trio"] is trio
    assert receive_at_once()
    assert vars(pyfuse3)["trio"].Lock is ReceiveLock
    receive_as_pyfuse3()
    assert vars(pyfuse3)["trio"] is trio


def test_an_unknown_release_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "4.0.0")
    with caplog.at_level(logging.WARNING):
        assert not receive_at_once()
    assert "pyfuse3 4.0.0 is not known here" in caplog.text
    assert vars(pyfuse3)["trio"] is trio


def test_one_at_a_time_and_everybody_in_the_end() -> None:
    lock, inside, done = ReceiveLock(), 0, 0

    async def work() -> None:
        nonlocal inside, done
        for _ in range(20):
            async with lock:
                inside += 1
                assert inside == 1
                await trio.lowlevel.checkpoint()
                inside -= 1
        done += 1

    async def main() -> None:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(work)

    trio.run(main)
    assert done == 10


def test_one_that_gives_up_takes_no_turn_with_it() -> None:
    lock = ReceiveLock()
    got = []

    async def give_up(scope: trio.CancelScope) -> None:
        with scope:
            async with lock:
                got.append("cancelled")

    async def wait() -> None:
        async with lock:
            got.append("waited")

    async def main() -> None:
        scope = trio.CancelScope()
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                async with lock:
                    nursery.start_soon(give_up, scope)
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.start_soon(wait)
                    await trio.testing.wait_all_tasks_blocked()
                # The first is woken and, in the same turn, cancelled.
                scope.cancel()

    trio.run(main)
    assert got in (["waited"], ["cancelled", "waited"])


def test_others_have_their_turn_while_requests_follow_one_another() -> None:
    """The descriptor is always readable; a task that counts goes on all the same."""
    one, other = socket.socketpair()
    readiness, ticks = Readiness(), 0

    async def count() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(count)
                at_once = 0
                while ticks < 10:
                    before = ticks
                    await readiness.wait_readable(one.fileno())
                    at_once += ticks == before
                assert at_once > 10, "most were taken without a detour"
                nursery.cancel_scope.cancel()

    with one, other:
        os.write(other.fileno(), b"a request")
        trio.run(main)


def test_it_waits_where_there_is_nothing() -> None:
    one, other = socket.socketpair()

    async def main() -> None:
        readiness = Readiness()
        with trio.move_on_after(0.05) as scope:
            await readiness.wait_readable(one.fileno())
        assert scope.cancelled_caught

    with one, other:
        trio.run(main)
