"""One session for each user and day, gone after its retention."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.errors import InvalidStateKey, StateNotFound
from stowkenfs.grids.formats import GridFormat
from stowkenfs.state import Grid, SessionStore
from stowkenfs.state.durations import parse_duration
from tests.state.failing import FailingStore
from tests.state.places import FakeClock
from tests.state.using import random_grid, with_store

DAY = 86_400


def test_one_for_each_user_and_day(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        sessions = SessionStore(store, clock=clock)
        await sessions.save("user_001", random_grid(1, 30, 30), {"topic": "tides"})
        await sessions.save("user_002", random_grid(2, 30, 30))
        await clock.pass_time(DAY)
        await sessions.save("user_001", random_grid(3, 30, 30))
        saved = await sessions.save("user_001", random_grid(4, 30, 30))
        assert [entry.key for entry in await store.list()] == [
            "sessions/user_001_2025-10-22.session",
            "sessions/user_001_2025-10-23.session",
            "sessions/user_002_2025-10-22.session",
        ]
        assert (await sessions.load("user_001")).grid == random_grid(4, 30, 30)
        first = await sessions.load("user_001", date(2025, 10, 22))
        assert first.grid == random_grid(1, 30, 30)
        assert (first.metadata.owner, first.metadata.parameters) == ("user_001", {"topic": "tides"})
        assert saved.metadata.created_ns != saved.metadata.modified_ns
        found = await sessions.sessions("user_001")
        assert [(one.user, one.day.day) for one in found] == [("user_001", 22), ("user_001", 23)]
        for user, day in (("nobody", None), ("user_001", date(2025, 10, 24))):
            with pytest.raises(StateNotFound):
                await sessions.load(user, day)

    with_store(backend, main)


def test_they_are_compressed(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        sparse = Grid(50, 50)
        for at in range(20):
            sparse[at, at] = 1.0
        await SessionStore(store, clock=clock).save("ann", sparse)
        (entry,) = await store.list()
        assert entry.size_bytes < 1000
        plain = SessionStore(store, "plain", grid_format=GridFormat.BINARY, clock=clock)
        await plain.save("ann", sparse)
        assert (await store.list("plain/"))[0].size_bytes > 20_000
        assert (await plain.load("ann")).grid == sparse

    with_store(backend, main)


def test_one_expires_thirty_days_after_its_last_save(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        sessions = SessionStore(store, retention="30d", clock=clock)
        forever = SessionStore(store, "forever", retention=None, clock=clock)
        for each in (sessions, forever):
            await each.save("ann", random_grid(1))
        await clock.pass_time(20 * DAY)
        await sessions.save("bob", random_grid(2))
        await clock.pass_time(9 * DAY)
        assert {one.user for one in await sessions.sessions()} == {"ann", "bob"}
        assert await sessions.sweep() == 0
        await clock.pass_time(2 * DAY)
        assert {one.user for one in await sessions.sessions()} == {"bob"}
        with pytest.raises(StateNotFound):
            await sessions.load("ann")
        assert await sessions.sweep() == 1
        assert (await forever.load("ann")).grid == random_grid(1)
        await clock.pass_time(10_000 * DAY)
        assert (await forever.load("ann")).grid == random_grid(1)

    with_store(backend, main)


def test_a_save_renews(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        sessions = SessionStore(store, retention=timedelta(days=2), clock=clock)
        day = date(2025, 10, 22)
        created = (await sessions.save("ann", Grid(1, 1), day=day)).metadata.created_ns
        for _ in range(5):
            await clock.pass_time(1.5 * DAY)
            assert (await sessions.save("ann", Grid(1, 1), day=day)).metadata.created_ns == created
        assert len(await sessions.sessions()) == 1

    with_store(backend, main)


def test_a_damaged_one_can_be_replaced(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        sessions = SessionStore(store, clock=clock)
        await store.put(sessions.key("ann", date(2025, 10, 22)), b"damaged")
        await sessions.save("ann", random_grid(1))
        assert (await sessions.load("ann")).grid == random_grid(1)

    with_store(backend, main)


USERS = ["ann", "a_b", "a_", "_", "a/b", "..", ".", "a%2Fb", "é", "日本語", "a b", "A",
         "a_2025-10-22", "ann@example.org", "x" * 150, "\n", "😀"]  # fmt: skip


def test_users_have_any_names(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        sessions = SessionStore(store, clock=clock)
        for number, user in enumerate(USERS):
            await sessions.save(user, random_grid(number, 3, 3))
        await store.put("sessions/notes.txt", b"x")
        await store.put("sessions/ann_20251022.session", b"x")
        await store.put("sessions/%61nn_2025-10-22.session", b"x")
        assert {one.user for one in await sessions.sessions()} == set(USERS)
        for number, user in enumerate(USERS):
            assert [one.user for one in await sessions.sessions(user)] == [user]
            assert (await sessions.load(user)).grid == random_grid(number, 3, 3)
        assert await sessions.delete("a_") == 1
        assert {one.user for one in await sessions.sessions()} == set(USERS) - {"a_"}
        assert await sessions.delete("ann", date(2025, 10, 21)) == 0
        for bad in ("", "x" * 151, "é" * 60, "\ud800"):
            with pytest.raises(InvalidStateKey):
                await sessions.save(bad, Grid(1, 1))

    with_store(backend, main)


@given(st.integers(1, 999_999), st.sampled_from("smhdw"))
def test_durations(number: int, unit: str) -> None:
    seconds = {"s": 1, "m": 60, "h": 3600, "d": DAY, "w": 7 * DAY}[unit]
    assert parse_duration(f"{number}{unit}") == timedelta(seconds=number * seconds)


@pytest.mark.parametrize("word", ["", "30", "d", "0d", "-1d", "1.5d", "30 d", "30D", "1y", "1d1h"])
def test_what_is_no_duration(word: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(word)
