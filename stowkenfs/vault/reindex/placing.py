"""The files of an index: whether it has to be made, and the new one put in place of the old."""

from contextlib import suppress
from pathlib import Path

from stowkenfs.store.local import sync_directory
from stowkenfs.vault.closed import DOUBT, LOG_MARK, forget_closed

NEW = "index.db.new"
READY = "index.db.ready"
SCANNED = "index.db.scan"
KEYS = "index.db.keys"
CHECKED = "index.db.check"
DAMAGED = "index.db.damaged"


def needs_rebuilding(directory: Path) -> bool:
    """Whether a vault has content and no index at all. Blocks."""
    if (directory / "index.db").exists():
        return False
    packs, drafts = directory / "packs", directory / "drafts"
    return any(
        path.stat().st_size for folder in (packs, drafts) if folder.is_dir()
        for path in folder.iterdir()
    )  # fmt: skip


def remove_leftovers(directory: Path) -> None:
    """Remove what an interrupted rebuild left."""
    for name in (NEW, SCANNED, KEYS, CHECKED):
        for path in directory.glob(f"{name}*"):
            path.unlink(missing_ok=True)


def put_in_place(directory: Path) -> None:
    """Let the new index take the place of the old one; killed anywhere, one of them is there."""
    (directory / NEW).rename(directory / READY)
    sync_directory(directory)
    finish_interrupted(directory)


def finish_interrupted(directory: Path) -> None:
    """Put an index in place that is whole. Blocks; the caller has locked the vault.

    The old one's log goes before the new one comes: SQLite would take it for the new one's.
    """
    ready, index, damaged = directory / READY, directory / "index.db", directory / DAMAGED
    if not ready.exists():
        return
    if index.exists():
        _wal(damaged).unlink(missing_ok=True)
        index.rename(damaged)
        sync_directory(directory)
    if _wal(index).exists():
        with suppress(FileNotFoundError):
            _wal(index).rename(_wal(damaged))
    for name in ("index.db-shm", LOG_MARK, DOUBT):
        (directory / name).unlink(missing_ok=True)
    forget_closed(directory)
    sync_directory(directory)
    ready.rename(index)
    sync_directory(directory)


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")
