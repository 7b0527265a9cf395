"""State as objects of a bucket: Amazon's S3, or what speaks the same."""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from stowkenfs.errors import MissingExtra, StateNotFound, StateStoreFailed
from stowkenfs.state.store import (
    StateEntry,
    check_key,
    check_value,
    has_expired,
    nanoseconds,
)
from stowkenfs.vault.files import Clock

MODIFIED, EXPIRES = "stowkenfs-modified-ns", "stowkenfs-expires-ns"
"""Metadata of objects (``x-amz-meta-…``), in decimal."""

SIDE_BY_SIDE = 8
_ABSENT = ("404", "NoSuchKey", "NotFound")

T = TypeVar("T")
Answer = dict[str, Any]


class S3StateStore:
    """An object for each value, its key behind ``prefix``. Open it with ``S3StateStore.open``.

    An object is replaced at once or not at all. ``append`` transfers the whole value, and
    ``list`` and ``sweep`` ask for each object: S3 lists no metadata.
    """

    def __init__(self, client: Any, bucket: str, prefix: str, clock: Clock) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        self._clock = clock
        self._side_by_side = anyio.CapacityLimiter(SIDE_BY_SIDE)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        bucket: str,
        *,
        prefix: str = "",
        endpoint_url: str | None = None,
        clock: Clock = time.time_ns,
        **options: Any,
    ) -> AsyncIterator["S3StateStore"]:
        """The store in a bucket that is there.

        ``endpoint_url`` is for what is not Amazon's; ``options`` go to ``boto3.client``, which
        finds credentials and the region where AWS's own tools do, if they are not among them.

        Raises MissingExtra without boto3, and StateStoreFailed if the bucket cannot be used.
        """
        try:
            import boto3  # noqa: PLC0415 - an extra, and heavy
        except ImportError:
            raise MissingExtra("state in a bucket", "s3") from None
        with _failures():
            make = partial(boto3.client, "s3", endpoint_url=endpoint_url, **options)
            client = await anyio.to_thread.run_sync(make)
        try:
            store = cls(client, bucket, prefix, clock)
            await store._do(client.head_bucket, Bucket=bucket)
            yield store
        finally:
            client.close()

    async def get(self, key: str) -> bytes | None:
        """As in StateStore."""
        found = await self._fetch(self._name(key))
        return None if found is None else found[0]

    async def put(
        self, key: str, content: bytes, *, expires_after: timedelta | None = None
    ) -> None:
        """As in StateStore."""
        name, now = self._name(key), self._clock()
        expires = None if expires_after is None else now + nanoseconds(expires_after)
        await self._store(name, check_value(content), expires)

    async def append(self, key: str, at: int, content: bytes) -> None:
        """As in StateStore; all of it or nothing."""
        found = await self._fetch(self._name(key))
        if found is None or len(found[0]) < at:
            raise StateNotFound(f"state {key!r} of {at} bytes or more")
        await self._store(self._name(key), found[0][:at] + content, found[1])

    async def delete(self, key: str) -> bool:
        """As in StateStore."""
        name = self._name(key)
        entry = await self._run(partial(self._head, name))
        await self._do(self._client.delete_object, Key=name)
        return entry is not None and not has_expired(entry.expires_ns, self._clock())

    async def list(self, prefix: str = "") -> Sequence[StateEntry]:
        """As in StateStore; a request for each object."""
        now = self._clock()
        entries = await self._entries(prefix)
        return [entry for entry in entries if not has_expired(entry.expires_ns, now)]

    async def sweep(self) -> int:
        """As in StateStore; a request for each object, and one more if it has expired."""
        now = self._clock()
        gone = [one for one in await self._entries("") if has_expired(one.expires_ns, now)]
        for entry in gone:
            await self._do(self._client.delete_object, Key=self._name(entry.key))
        return len(gone)

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    async def _fetch(self, name: str) -> tuple[bytes, int | None] | None:
        """Content, and when it expires, unless it has."""

        def fetch() -> tuple[bytes, int | None] | None:
            answer = self._ask(self._client.get_object, name)
            if answer is None:
                return None
            with answer["Body"] as body:
                return body.read(), _expires(answer)

        found = await self._run(fetch)
        return None if found is None or has_expired(found[1], self._clock()) else found

    async def _store(self, name: str, content: bytes, expires: int | None) -> None:
        metadata = {MODIFIED: str(self._clock())}
        if expires is not None:
            metadata[EXPIRES] = str(expires)
        await self._do(self._client.put_object, Key=name, Body=content, Metadata=metadata)

    async def _entries(self, prefix: str) -> Sequence[StateEntry]:
        def names() -> Sequence[str]:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            return [found["Key"] for page in pages for found in page.get("Contents", ())]

        def look() -> Sequence[StateEntry]:
            with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
                found = list(threads.map(self._head, names()))
            return sorted(entry for entry in found if entry is not None)

        return await self._run(look)

    def _head(self, name: str) -> StateEntry | None:
        """In a thread."""
        found = self._ask(self._client.head_object, name)
        if found is None:
            return None
        modified = found["Metadata"].get(MODIFIED)
        if modified is None:  # of another program
            modified = int(found["LastModified"].timestamp()) * 10**9
        key = name.removeprefix(self._prefix)
        return StateEntry(key, found["ContentLength"], int(modified), _expires(found))

    def _ask(self, method: Callable[..., Answer], name: str) -> Answer | None:
        """The answer about an object, or None if it is not there. In a thread."""
        from botocore.exceptions import ClientError  # noqa: PLC0415 - an extra

        try:
            return method(Bucket=self._bucket, Key=name)
        except ClientError as error:
            if error.response["Error"]["Code"] in _ABSENT:
                return None
            raise

    async def _do(self, method: Callable[..., T], **arguments: Any) -> T:
        arguments.setdefault("Bucket", self._bucket)
        return await self._run(partial(method, **arguments))

    async def _run(self, work: Callable[[], T]) -> T:
        with _failures():
            return await anyio.to_thread.run_sync(work, limiter=self._side_by_side)


def _expires(answer: Answer) -> int | None:
    expires = answer["Metadata"].get(EXPIRES)
    return None if expires is None else int(expires)


@contextmanager
def _failures() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - an extra

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise StateStoreFailed(f"S3: {error}") from error
