"""A store that fails when a test says so, around a real one."""

from collections.abc import Sequence
from datetime import timedelta

from stowkenfs.errors import StateStoreFailed
from stowkenfs.state import StateEntry, StateStore


class FailingStore:
    """``fail_in``: how many changes succeed before each fails, None: all.

    ``torn_bytes``: how much of an append that fails is stored all the same. ``changes`` are
    the keys that were changed, in order, ``reads`` those that were read.
    """

    def __init__(self, store: StateStore) -> None:
        self.store = store
        self.fail_in: int | None = None
        self.torn_bytes: int | None = None
        self.changes: list[tuple[str, str]] = []
        self.reads: list[str] = []

    async def get(self, key: str) -> bytes | None:
        self.reads.append(key)
        return await self.store.get(key)

    async def put(
        self, key: str, content: bytes, *, expires_after: timedelta | None = None
    ) -> None:
        self._change("put", key)
        await self.store.put(key, content, expires_after=expires_after)

    async def append(self, key: str, at: int, content: bytes) -> None:
        try:
            self._change("append", key)
        except StateStoreFailed:
            if self.torn_bytes is not None:
                await self.store.append(key, at, content[: self.torn_bytes])
            raise
        await self.store.append(key, at, content)

    async def delete(self, key: str) -> bool:
        self._change("delete", key)
        return await self.store.delete(key)

    async def list(self, prefix: str = "") -> Sequence[StateEntry]:
        return await self.store.list(prefix)

    async def sweep(self) -> int:
        return await self.store.sweep()

    def _change(self, what: str, key: str) -> None:
        if self.fail_in is not None:
            if self.fail_in == 0:
                raise StateStoreFailed("the test says so")
            self.fail_in -= 1
        self.changes.append((what, key))
