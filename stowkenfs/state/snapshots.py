"""Grids with metadata in a store: saved, loaded, brought up to date."""

import time
from dataclasses import replace
from datetime import timedelta
from functools import partial

import anyio.to_thread

from stowkenfs.errors import SnapshotCorrupt, StateNotFound
from stowkenfs.grids.formats import GridFormat
from stowkenfs.grids.snapshot import (
    VERSION,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
    version_of,
)
from stowkenfs.state.store import StateStore
from stowkenfs.vault.files import Clock

BACKUP = ".backup"


async def save_snapshot(
    store: StateStore,
    key: str,
    snapshot: Snapshot,
    grid_format: GridFormat = GridFormat.BINARY,
    *,
    expires_after: timedelta | None = None,
    clock: Clock = time.time_ns,
) -> Snapshot:
    """Save it as modified now, and created now unless it says when; what was saved.

    The grid may be changed again while this goes on: it is saved as it is now.
    Raises what ``store.put`` does, and Unstorable for metadata that is no JSON.
    """
    stamped = stamp(snapshot, clock)
    content = await anyio.to_thread.run_sync(partial(encode_snapshot, stamped, grid_format))
    await store.put(key, content, expires_after=expires_after)
    return stamped


def stamp(snapshot: Snapshot, clock: Clock) -> Snapshot:
    """A copy, modified now; created now if it does not say when."""
    now, created = clock(), snapshot.metadata.created_ns
    metadata = replace(
        snapshot.metadata, created_ns=now if created is None else created, modified_ns=now
    )
    return Snapshot(snapshot.grid.copy(), metadata)


async def load_snapshot(store: StateStore, key: str) -> Snapshot:
    """What was saved, by this release or an earlier one; a bare grid in any format, too.

    Raises StateNotFound, SnapshotCorrupt, UnknownSnapshotVersion.
    """
    content = await store.get(key)
    if content is None:
        raise StateNotFound(f"state {key!r}")
    return await anyio.to_thread.run_sync(decode_snapshot, content)


async def upgrade_snapshots(
    store: StateStore, prefix: str = "", *, clock: Clock = time.time_ns
) -> int:
    """Save those of earlier versions anew, in today's; how many that were.

    Everything below ``prefix`` is a snapshot, or this raises SnapshotCorrupt. What such a file
    does not say of its times is taken from the store; when it expires stays.
    """
    upgraded = 0
    for entry in await store.list(prefix):
        content = await store.get(entry.key)
        if content is None or version_of(content) == VERSION:
            continue
        snapshot = await anyio.to_thread.run_sync(decode_snapshot, content)
        metadata = replace(snapshot.metadata, created_ns=entry.modified_ns)
        metadata = replace(metadata, modified_ns=entry.modified_ns)
        new = await anyio.to_thread.run_sync(encode_snapshot, Snapshot(snapshot.grid, metadata))
        left = None if entry.expires_ns is None else entry.expires_ns - clock()
        expires = None if left is None else timedelta(microseconds=max(left // 1000, 1))
        await store.put(entry.key, new, expires_after=expires)
        upgraded += 1
    return upgraded


async def save_with_backup(
    store: StateStore,
    key: str,
    snapshot: Snapshot,
    grid_format: GridFormat = GridFormat.BINARY,
    *,
    clock: Clock = time.time_ns,
) -> Snapshot:
    """Save, and read back what was saved; what was there before stays until that is right.

    Meanwhile, and after a failure, it is at ``KEY.backup``, where ``load_or_backup`` finds it.
    Raises what saving and loading do.
    """
    old = await store.get(key)
    if old is not None and await _is_intact(old):  # else an earlier backup is worth more
        await store.put(key + BACKUP, old)
    saved = await save_snapshot(store, key, snapshot, grid_format, clock=clock)
    if await load_snapshot(store, key) != saved:
        raise SnapshotCorrupt(f"what was saved as {key!r}", 0, "it reads as something else")
    await store.delete(key + BACKUP)
    return saved


async def load_or_backup(store: StateStore, key: str) -> Snapshot:
    """What was saved last, or what was there before if that is absent or damaged.

    Raises as ``load_snapshot``, of ``key`` itself, if neither can be loaded.
    """
    try:
        return await load_snapshot(store, key)
    except (StateNotFound, SnapshotCorrupt):
        content = await store.get(key + BACKUP)
        if content is None or not await _is_intact(content):
            raise
        return await anyio.to_thread.run_sync(decode_snapshot, content)


async def _is_intact(content: bytes) -> bool:
    try:
        await anyio.to_thread.run_sync(decode_snapshot, content)
    except SnapshotCorrupt:
        return False
    return True
