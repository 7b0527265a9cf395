"""What every store promises, under every event loop."""

from datetime import timedelta

import anyio
import pytest

from stowkenfs.errors import InvalidStateKey, StateNotFound, Unstorable
from stowkenfs.state import StateStore
from stowkenfs.state.store import KEY_BYTES_MAX, VALUE_BYTES_MAX
from tests.running import run
from tests.state.places import Main, Place

ALL_BYTES = bytes(range(256)) * 3
SHORT = timedelta(seconds=0.05)
"""Redis has to be waited for."""


def use(backend: str, place: Place, *mains: Main) -> None:
    """Run one after the other, each with the store opened anew."""

    async def each() -> None:
        for main in mains:
            async with place.open() as store:
                await main(store)

    run(backend, each)


@pytest.mark.parametrize("content", [b"", b"\0", ALL_BYTES, b"x" * 3_000_000], ids=len)
def test_what_is_put_comes_back(backend: str, place: Place, content: bytes) -> None:
    async def main(store: StateStore) -> None:
        assert await store.get("a/b.bin") is None
        await store.put("a/b.bin", content)
        assert await store.get("a/b.bin") == content
        (entry,) = await store.list()
        assert (entry.key, entry.size_bytes, entry.expires_ns) == ("a/b.bin", len(content), None)

    use(backend, place, main)


def test_it_is_there_when_the_store_is_opened_again(backend: str, place: Place) -> None:
    if place.kind == "memory":
        pytest.skip("a vault in memory is gone at its end")

    async def write(store: StateStore) -> None:
        await store.put("key", b"old")
        await store.put("key", ALL_BYTES)
        await store.put("log", b"0123456789")
        await store.append("log", 4, b"abc")
        await store.put("later", b"x", expires_after=timedelta(hours=1))

    async def read(store: StateStore) -> None:
        assert await store.get("key") == ALL_BYTES
        assert await store.get("log") == b"0123abc"
        assert [entry.key for entry in await store.list()] == ["key", "later", "log"]
        assert (await store.list("lat"))[0].expires_ns is not None

    use(backend, place, write, read)


def test_delete(backend: str, place: Place) -> None:
    async def main(store: StateStore) -> None:
        await store.put("a/one", b"1")
        await store.put("a/two", b"2")
        assert await store.delete("a/one")
        assert not await store.delete("a/one")
        assert not await store.delete("a")
        assert await store.get("a/one") is None
        assert await store.get("a/two") == b"2"
        assert [entry.key for entry in await store.list()] == ["a/two"]

    use(backend, place, main)


KEYS = ["é/ü", "a b", "a%20b", "a*", "a[b]?\\", "s/2025-10-22_x.session", "s/b", "s.bin", "日本",
        "x:y", "+", "#?&=;", "-x", "~", "_", "'\"`$(x)", "😀", "A", "a"]  # fmt: skip


def test_keys_are_any_names(backend: str, place: Place) -> None:
    async def main(store: StateStore) -> None:
        for key in KEYS:
            await store.put(key, key.encode())
        for key in KEYS:
            assert await store.get(key) == key.encode()
        assert [entry.key for entry in await store.list()] == sorted(KEYS)
        for prefix in ("a", "s/", "é", "a*", "a[", "nothing", "x:", "s"):
            expected = sorted(key for key in KEYS if key.startswith(prefix))
            assert [entry.key for entry in await store.list(prefix)] == expected

    use(backend, place, main)


BAD = ["", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\0b", "a\nb", "\ud800", "x" * 201,
       "é" * 101, "a/" * (KEY_BYTES_MAX // 2) + "a"]  # fmt: skip


def test_what_is_no_key_is_refused(backend: str, place: Place) -> None:
    async def main(store: StateStore) -> None:
        for key in BAD:
            with pytest.raises(InvalidStateKey):
                await store.put(key, b"")
            with pytest.raises(InvalidStateKey):
                await store.get(key)
            with pytest.raises(InvalidStateKey):
                await store.append(key, 0, b"")
            with pytest.raises(InvalidStateKey):
                await store.delete(key)
        assert await store.list() == []

    use(backend, place, main)


def test_long_keys(backend: str, place: Place) -> None:
    key = "/".join(["k" * 199] * 5)
    assert len(key) == KEY_BYTES_MAX - 1

    async def main(store: StateStore) -> None:
        await store.put(key, b"x")
        assert [entry.key for entry in await store.list("k")] == [key]

    use(backend, place, main)


def test_too_large(backend: str, place: Place) -> None:
    async def main(store: StateStore) -> None:
        await store.put("key", b"old")
        with pytest.raises(Unstorable):
            await store.put("key", bytes(VALUE_BYTES_MAX + 1))
        assert await store.get("key") == b"old"

    use(backend, place, main)


def test_append(backend: str, place: Place) -> None:
    async def main(store: StateStore) -> None:
        await store.put("log", b"")
        expected = b""
        for part in (ALL_BYTES, b"", b"\0\0", b"x" * 300_000, b"end"):
            await store.append("log", len(expected), part)
            expected += part
            assert await store.get("log") == expected
        await store.append("log", 5, b"")
        assert await store.get("log") == expected[:5]
        await store.append("log", 0, b"new")
        assert await store.get("log") == b"new"
        assert (await store.list())[0].size_bytes == 3
        for key, at in (("log", 4), ("absent", 0)):
            with pytest.raises(StateNotFound):
                await store.append(key, at, b"x")
        assert await store.get("log") == b"new"
        assert await store.get("absent") is None

    use(backend, place, main)


def test_what_has_expired_is_not_there(backend: str, place: Place) -> None:
    async def main(store: StateStore) -> None:
        for key in ("short", "renewed", "kept", "appended"):
            await store.put(key, b"x", expires_after=SHORT)
        await store.put("long", b"x", expires_after=timedelta(days=30))
        await store.put("renewed", b"y", expires_after=timedelta(days=1))
        await store.put("kept", b"z")
        await store.append("appended", 1, b"y")
        await place.pass_time(0.1)
        for key in ("short", "appended"):
            assert await store.get(key) is None
            assert not await store.delete(key)
            with pytest.raises(StateNotFound):
                await store.append(key, 0, b"")
        left = {entry.key: entry.expires_ns for entry in await store.list()}
        assert sorted(left) == ["kept", "long", "renewed"]
        assert left["kept"] is None
        for key, seconds in (("long", 30 * 86400), ("renewed", 86400)):
            expires = left[key]
            assert expires is not None
            assert abs(expires - place.clock() - seconds * 10**9) < 60 * 10**9
        assert [await store.get(key) for key in ("kept", "long", "renewed")] == [b"z", b"x", b"y"]

    use(backend, place, main)


def test_an_expired_key_can_be_used_again(backend: str, place: Place) -> None:
    async def main(store: StateStore) -> None:
        await store.put("key", b"old", expires_after=SHORT)
        await place.pass_time(0.1)
        await store.put("key", b"new")
        assert await store.get("key") == b"new"
        assert (await store.list())[0].expires_ns is None

    use(backend, place, main)


def test_sweep(backend: str, place: Place) -> None:
    async def main(store: StateStore) -> None:
        await store.put("a", b"x", expires_after=SHORT)
        await store.put("b/c", b"x", expires_after=SHORT)
        await store.put("d", b"x", expires_after=timedelta(days=1))
        assert await store.sweep() == 0
        await place.pass_time(0.1)
        assert await store.sweep() == (0 if place.kind == "redis" else 2)
        assert await store.sweep() == 0
        assert [entry.key for entry in await store.list()] == ["d"]

    use(backend, place, main)


def test_nothing_expires_at_once(backend: str, place: Place) -> None:
    async def main(store: StateStore) -> None:
        for duration in (timedelta(0), timedelta(seconds=-1)):
            with pytest.raises(ValueError, match="never be there"):
                await store.put("key", b"x", expires_after=duration)
        assert await store.list() == []

    use(backend, place, main)


def test_times_are_of_the_last_change(backend: str, place: Place) -> None:
    async def main(store: StateStore) -> None:
        await store.put("a", b"x")
        first = (await store.list())[0].modified_ns
        await place.pass_time(0.002)
        await store.append("a", 1, b"y")
        second = (await store.list())[0].modified_ns
        await place.pass_time(0.002)
        await store.put("a", b"z")
        third = (await store.list())[0].modified_ns
        assert first < second < third

    use(backend, place, main)


def test_many_tasks_at_once(backend: str, place: Place) -> None:
    async def main(store: StateStore) -> None:
        async def one(number: int) -> None:
            key, content = f"many/{number % 10}", b"%d" % number * 1000
            await store.put(key, content)
            found = await store.get(key)
            assert found is not None
            number_found = int(found[: len(found) // 1000])
            assert number_found % 10 == number % 10
            assert found == b"%d" % number_found * 1000
            await store.list("many/")

        async with anyio.create_task_group() as tasks:
            for number in range(30):
                tasks.start_soon(one, number)
        assert len(await store.list()) == 10

    use(backend, place, main)


def test_a_cancelled_call_leaves_a_store_that_works(backend: str, place: Place) -> None:
    async def main(store: StateStore) -> None:
        await store.put("key", b"old")
        for _ in range(3):
            with anyio.move_on_after(0):
                await store.put("key", b"new" * 100_000)
            assert await store.get("key") in (b"old", b"new" * 100_000)
        await store.put("other", b"x")
        assert await store.get("other") == b"x"

    use(backend, place, main)
