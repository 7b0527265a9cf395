"""State in Redis: quick, shared between machines, and gone by itself when it expires."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio

from stowkenfs.errors import MissingExtra, StateNotFound, StateStoreFailed
from stowkenfs.index.event_loops import Call, asyncio_from_here
from stowkenfs.state.store import StateEntry, check_key, check_value, nanoseconds
from stowkenfs.vault.files import Clock

if TYPE_CHECKING:
    from redis.asyncio import Redis

DEFAULT_PREFIX = "stowkenfs:"
CONTENT, MODIFIED = "content", "modified_ns"

Arguments = list[bytes | int | str]

_KEYS_AT_ONCE = 500
_NS_IN_MS = 1_000_000

# Redis runs a script as one step: nobody sees half of it.
_PUT = """
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'content', ARGV[1], 'modified_ns', ARGV[2])
if ARGV[3] ~= '' then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
"""
_APPEND = """
local content = redis.call('HGET', KEYS[1], 'content')
if not content or #content < tonumber(ARGV[1]) then return 0 end
content = string.sub(content, 1, tonumber(ARGV[1])) .. ARGV[2]
redis.call('HSET', KEYS[1], 'content', content, 'modified_ns', ARGV[3])
return 1
"""


class RedisStateStore:
    """A hash for each value, its key behind ``prefix``. Open it with ``RedisStateStore.open``.

    The server's clock decides what has expired. What survives the server's death is a matter
    of how it is configured (``appendonly``).
    """

    def __init__(self, redis: "Redis", call: Call[Any], prefix: str, clock: Clock) -> None:
        self._redis = redis
        self._call = call
        self._prefix = prefix
        self._clock = clock
        self._put = redis.register_script(_PUT)
        self._append = redis.register_script(_APPEND)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, *, prefix: str = DEFAULT_PREFIX, clock: Clock = time.time_ns
    ) -> AsyncIterator["RedisStateStore"]:
        """The store on a server, as ``redis://localhost:6379/0``.

        Raises MissingExtra without redis-py, and StateStoreFailed if nobody answers.
        """
        try:
            from redis.asyncio import Redis  # noqa: PLC0415 - an extra
        except ImportError:
            raise MissingExtra("state in Redis", "redis") from None
        async with asyncio_from_here() as call:
            redis = Redis.from_url(url)
            try:
                store = cls(redis, call, prefix, clock)
                await store._do(redis.ping)
                yield store
            finally:
                with anyio.CancelScope(shield=True):
                    await call(redis.aclose)

    async def get(self, key: str) -> bytes | None:
        """As in StateStore."""
        name = self._name(key)
        found: bytes | None = await self._do(lambda: self._redis.hget(name, CONTENT))
        return found

    async def put(
        self, key: str, content: bytes, *, expires_after: timedelta | None = None
    ) -> None:
        """As in StateStore; expiry is exact to the millisecond."""
        name, check = self._name(key), check_value(content)
        expires: int | str = ""
        if expires_after is not None:
            expires = max(nanoseconds(expires_after) // _NS_IN_MS, 1)
        arguments: Arguments = [check, self._clock(), expires]
        await self._do(lambda: self._put(keys=[name], args=arguments))

    async def append(self, key: str, at: int, content: bytes) -> None:
        """As in StateStore; all of it or nothing."""
        name = self._name(key)
        arguments: Arguments = [at, content, self._clock()]
        if not await self._do(lambda: self._append(keys=[name], args=arguments)):
            raise StateNotFound(f"state {key!r} of {at} bytes or more")

    async def delete(self, key: str) -> bool:
        """As in StateStore."""
        name = self._name(key)
        return bool(await self._do(lambda: self._redis.delete(name)))

    async def list(self, prefix: str = "") -> Sequence[StateEntry]:
        """As in StateStore; goes through all keys of the database."""
        found: Sequence[StateEntry] = await self._do(lambda: self._entries(prefix))
        return sorted(found)

    async def sweep(self) -> int:
        """Nothing to do: the server removes what has expired."""
        return 0

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    async def _entries(self, prefix: str) -> Sequence[StateEntry]:
        pattern = _literally(self._prefix + prefix) + "*"
        names = {name async for name in self._redis.scan_iter(pattern, count=_KEYS_AT_ONCE)}
        ordered = sorted(name.decode() for name in names)
        return [
            entry
            for start in range(0, len(ordered), _KEYS_AT_ONCE)
            for entry in await self._look(ordered[start : start + _KEYS_AT_ONCE])
        ]

    async def _look(self, names: Sequence[str]) -> Sequence[StateEntry]:
        async with self._redis.pipeline(transaction=False) as asking:
            for name in names:
                asking.hstrlen(name, CONTENT)
                asking.hget(name, MODIFIED)
                asking.pexpiretime(name)
            answers = await asking.execute()
        entries = []
        for name, size, modified, expires_ms in zip(
            names, answers[::3], answers[1::3], answers[2::3], strict=True
        ):
            if modified is not None:  # else it went meanwhile
                expires = None if expires_ms < 0 else expires_ms * _NS_IN_MS
                key = name.removeprefix(self._prefix)
                entries.append(StateEntry(key, size, int(modified), expires))
        return entries

    async def _do(self, make: Callable[[], Awaitable[Any]]) -> Any:
        from redis.exceptions import RedisError  # noqa: PLC0415 - an extra

        try:
            return await self._call(make)
        except (RedisError, OSError) as error:
            raise StateStoreFailed(f"Redis: {error}") from error


def _literally(text: str) -> str:
    """A pattern for this text and nothing else."""
    return "".join("\\" + letter if letter in "\\*?[]^-" else letter for letter in text)
