"""Agent memory that lasts: grids, sessions, checkpoints, and where they are kept.

async with Vault.open("vault") as vault, VaultStateStore.open(vault) as store:
    await CheckpointManager(store, keep=5).save(100, grid)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stowkenfs.grids.formats import GridFormat, decode, detect, encode
    from stowkenfs.grids.grid import Changes, Grid
    from stowkenfs.grids.snapshot import Metadata, Snapshot, decode_snapshot, encode_snapshot
    from stowkenfs.state.cached import CachedState
    from stowkenfs.state.checkpoints import Checkpoint, CheckpointManager
    from stowkenfs.state.incremental import IncrementalState, Point
    from stowkenfs.state.redis_store import RedisStateStore
    from stowkenfs.state.s3_store import S3StateStore
    from stowkenfs.state.sessions import Session, SessionStore
    from stowkenfs.state.snapshots import (
        load_or_backup,
        load_snapshot,
        save_snapshot,
        save_with_backup,
        upgrade_snapshots,
    )
    from stowkenfs.state.sqlite_store import SQLiteStateStore
    from stowkenfs.state.store import StateEntry, StateStore
    from stowkenfs.state.vault_store import VaultStateStore

__all__ = [
    "CachedState",
    "Changes",
    "Checkpoint",
    "CheckpointManager",
    "Grid",
    "GridFormat",
    "IncrementalState",
    "Metadata",
    "Point",
    "RedisStateStore",
    "S3StateStore",
    "SQLiteStateStore",
    "Session",
    "SessionStore",
    "Snapshot",
    "StateEntry",
    "StateStore",
    "VaultStateStore",
    "decode",
    "decode_snapshot",
    "detect",
    "encode",
    "encode_snapshot",
    "load_or_backup",
    "load_snapshot",
    "save_snapshot",
    "save_with_backup",
    "upgrade_snapshots",
]

_MODULES = {
    "stowkenfs.grids.formats": ("GridFormat", "decode", "detect", "encode"),
    "stowkenfs.grids.grid": ("Changes", "Grid"),
    "stowkenfs.grids.snapshot": ("Metadata", "Snapshot", "decode_snapshot", "encode_snapshot"),
    "stowkenfs.state.cached": ("CachedState",),
    "stowkenfs.state.checkpoints": ("Checkpoint", "CheckpointManager"),
    "stowkenfs.state.incremental": ("IncrementalState", "Point"),
    "stowkenfs.state.redis_store": ("RedisStateStore",),
    "stowkenfs.state.s3_store": ("S3StateStore",),
    "stowkenfs.state.sessions": ("Session", "SessionStore"),
    "stowkenfs.state.snapshots": (
        "load_or_backup",
        "load_snapshot",
        "save_snapshot",
        "save_with_backup",
        "upgrade_snapshots",
    ),
    "stowkenfs.state.sqlite_store": ("SQLiteStateStore",),
    "stowkenfs.state.store": ("StateEntry", "StateStore"),
    "stowkenfs.state.vault_store": ("VaultStateStore",),
}

_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what is asked for: a program that has one store loads no other's driver."""
    if name in _HOMES:
        from importlib import import_module  # noqa: PLC0415

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'stowkenfs.state' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
