"""What a vault is opened with: its lock, its packs, its index; to be written or only read."""

import contextlib
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from stowkenfs.errors import VaultNotWritable
from stowkenfs.index.connection import Connection
from stowkenfs.index.journal import NAME as JOURNAL
from stowkenfs.index.journal import has_entries
from stowkenfs.index.space import Reserve
from stowkenfs.store.local import LocalStore, sync_directory
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.files import Clock
from stowkenfs.vault.lock import VaultLock
from stowkenfs.vault.own_files import check_files
from stowkenfs.vault.reindex.placing import finish_interrupted, remove_leftovers
from stowkenfs.vault.superblock import (
    FORMAT_VERSION,
    Superblock,
    read_superblock,
    write_superblock,
)

log = logging.getLogger(__name__)

INDEX = "index.db"


def lock_vault(directory: Path, config: VaultConfig, clock: Clock) -> VaultLock:
    """The directory as a vault that this process has locked. Blocks.

    One that is a vault already and cannot be written is locked to be read.
    """
    check_files(directory)
    superblock = read_superblock(directory)  # refuse early what is something else
    if superblock is not None and not os.access(directory, os.W_OK):
        return VaultLock(directory, wait_seconds=config.lock_wait_seconds, read_only=True)
    made = not directory.exists()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = VaultLock(directory, wait_seconds=config.lock_wait_seconds)
    try:
        superblock = read_superblock(directory)
        if superblock is None:
            write_superblock(directory, Superblock(uuid.uuid4(), clock()))
            if made:
                sync_directory(directory.parent)
        elif superblock.version < FORMAT_VERSION:
            # Before anything is written that releases of that version cannot read.
            write_superblock(directory, replace(superblock, version=FORMAT_VERSION))
        (directory / "drafts").mkdir(mode=0o700, exist_ok=True)
        finish_interrupted(directory)
        remove_leftovers(directory)
    except BaseException:
        lock.release()
        raise
    return lock


def open_index(
    directory: Path, store: LocalStore, reserve: Reserve, before_copying: Callable[[], None]
) -> Connection:
    """The index. One without tables beside packs is damaged, else these would be leftovers.

    ``before_copying`` is called before it is written to. On a full disk the reserve makes room
    for what SQLite needs.
    """
    has_packs = any(length for _, length in store.packs())
    while True:
        try:
            return Connection(
                directory / INDEX,
                create=not has_packs,
                reserve=reserve,
                journal=directory / JOURNAL,
                before_copying=before_copying,
            )
        except OSError as error:
            if not reserve.release():
                raise
            log.warning("%s: the reserve is used", error)


def open_index_to_read(directory: Path, closing: contextlib.ExitStack) -> Connection:
    """The index of a vault that cannot be written; ``closing`` gets what is to be taken away.

    One that an opening would have to bring up to date is brought so in a temporary copy.
    Raises VaultNotWritable if there is none.
    """
    path, wal = directory / INDEX, directory / f"{INDEX}-wal"
    if not path.exists():
        raise VaultNotWritable(directory)
    has_changes = has_entries(directory / JOURNAL)
    if not has_changes and not (wal.exists() and wal.stat().st_size):
        connection = Connection(path, read_only=True)
        try:
            if connection.is_settled():
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
    folder = closing.enter_context(tempfile.TemporaryDirectory(prefix="stowkenfs-"))
    copy = Path(folder, INDEX)
    shutil.copyfile(path, copy)
    if wal.exists():
        shutil.copyfile(wal, f"{copy}-wal")
    if has_changes:
        shutil.copyfile(directory / JOURNAL, Path(folder, JOURNAL))
    return Connection(copy, create=False, journal=Path(folder, JOURNAL))
