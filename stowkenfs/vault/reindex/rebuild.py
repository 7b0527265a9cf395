"""An index made from packs alone, and put in the place of one that is lost or damaged.

Nothing of the vault changes before the new index is whole and synced, but for packs of keys
and second names of drafts, which the next opening or rebuild takes away.
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stowkenfs.index.catalogue import Catalogue
from stowkenfs.index.connection import CHECKPOINT_BYTES, Connection
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import BlockKind
from stowkenfs.store.local import LocalStore
from stowkenfs.vault.draft_files import parse_draft_name
from stowkenfs.vault.lock import VaultLock
from stowkenfs.vault.opened import OPENED, times_opened
from stowkenfs.vault.own_files import check_files
from stowkenfs.vault.progress import Progress, untold
from stowkenfs.vault.registry import ACTIVE_DICTIONARY
from stowkenfs.vault.reindex.build import Builder
from stowkenfs.vault.reindex.holes import cut_ends
from stowkenfs.vault.reindex.old import OldIndex, read_old_index
from stowkenfs.vault.reindex.placing import (
    KEYS,
    NEW,
    SCANNED,
    finish_interrupted,
    put_in_place,
    remove_leftovers,
)
from stowkenfs.vault.reindex.recovered import LostAndFound, Taken, draft_names
from stowkenfs.vault.reindex.report import ReindexReport
from stowkenfs.vault.reindex.superblock import is_superblock_damaged, make_superblock_again

log = logging.getLogger(__name__)

LOGGED_SECONDS = 10.0


def rebuild_closed(directory: Path, progress: Progress = untold) -> ReindexReport:
    """Make the index of a vault that nobody uses anew, from its packs. Blocks.

    Drafts, and changes of the tree that no pack tells of yet, are taken over from the old one
    if it can be read that far. If not, or if there is none, such changes are lost (there are
    none if the vault was closed), and drafts become files under ``/lost+found``. The old one
    is kept as ``index.db.damaged``. ``progress(done, total)`` is told bytes; what it raises
    ends the rebuilding, and everything is as before.

    A superblock that is damaged, or not there beside packs, is made anew, too. An index that is
    known to be what it was when the vault was closed stays where packs lost some of what it
    knows of the tree; ``reindex`` of the vault in use tells them.

    Raises NotAVault, UnknownFormat, VaultLocked, and OSError.
    """
    directory = directory.absolute()
    check_files(directory)
    is_damaged = is_superblock_damaged(directory)
    lock = VaultLock(directory)
    try:
        if is_damaged:
            log.warning("the superblock of %s is damaged, and made anew", directory)
            make_superblock_again(directory)
        return replace_index(directory, progress)
    finally:
        lock.release()


def replace_index(directory: Path, progress: Progress) -> ReindexReport:
    """As ``rebuild_index``, of a vault that the caller has locked."""
    log.warning("the index of %s is being rebuilt from the packs", directory)
    started = time.monotonic()
    finish_interrupted(directory)
    remove_leftovers(directory)
    store = LocalStore(directory / "packs")
    try:
        old = read_old_index(directory)
        report = _make(directory, store, old, _logged(progress))
        if old is not None and old.is_whole and not (report.is_whole and _has_all(store, old)):
            log.warning("the index of %s stays: it is whole, and packs are not", directory)
        else:
            put_in_place(directory)
    finally:
        store.close()
        remove_leftovers(directory)
    log.warning(
        "the index of %s was rebuilt in %.1f s: %d names, %d problems, %d recovered files",
        directory, time.monotonic() - started, report.names,
        len(report.damages) + len(report.problems), len(report.recovered),
    )  # fmt: skip
    return report


def _logged(progress: Progress) -> Progress:
    """``progress``, and a line in the log from time to time."""
    last = time.monotonic()

    def told(done: int, total: int) -> None:
        nonlocal last
        progress(done, total)
        if time.monotonic() - last >= LOGGED_SECONDS:
            last = time.monotonic()
            log.warning("rebuilding the index: %d %%", 100 * done // max(total, 1))

    return told


# Making the new one


def _make(
    directory: Path, store: PackStore, old: OldIndex | None, progress: Progress
) -> ReindexReport:
    report = ReindexReport()
    with _new_index(directory / NEW) as connection:
        lengths = dict(store.packs())
        builder = Builder(
            connection, store, lengths, directory / SCANNED, report,
            lambda done, total: told_to(connection, progress, done, total),
        )  # fmt: skip
        builder.read_tree(() if old is None else old.changes)
        builder.read_content(directory / KEYS)
        builder.finish()
        if old is not None:
            _keep_active(connection, old)
        Catalogue(connection).set_setting(OPENED, times_opened(directory))
        found = LostAndFound(
            connection, builder.inodes, _past_drafts(directory, builder.told.next_ino),
            time.time_ns(), report,
        )  # fmt: skip
        with connection.transaction():
            found.make_root()
            for inode in builder.lost:
                found.put(inode, b"inode %d" % inode.ino)
            cut_ends(connection, _take_drafts(directory, connection, builder, found, old))
            builder.keep_numbers(found.next_ino)
    return report


def _has_all(store: PackStore, old: OldIndex) -> bool:
    """Whether packs are as long as they were."""
    there = dict(store.packs())
    return all(there.get(pack, -1) >= length for pack, length in old.packs.items())


def _keep_active(connection: Connection, old: OldIndex) -> None:
    """Let new frames use the dictionary that they used, if it is there."""
    connection.execute(
        "INSERT INTO setting SELECT ?1, ?2 WHERE EXISTS"
        " (SELECT 1 FROM block WHERE kind = ?3 AND first <= ?2 AND first + count > ?2)",
        (ACTIVE_DICTIONARY, old.active, BlockKind.DICTIONARIES),
    )


def _take_drafts(
    directory: Path,
    connection: Connection,
    builder: Builder,
    found: LostAndFound,
    old: OldIndex | None,
) -> Taken:
    """Put drafts where they belong, or under ``/lost+found``; what went there."""
    drafts = directory / "drafts"
    if not drafts.is_dir():
        return Taken()
    if old is not None and _keep_drafts(connection, builder, old):
        return Taken()  # what no row names was left over
    return found.take_drafts(drafts, draft_names(connection))


def _keep_drafts(connection: Connection, builder: Builder, old: OldIndex) -> bool:
    """Put rows of drafts back, of files that there are; whether that was all."""
    there = [row for row in old.drafts if builder.inodes.get(row[0]) is not None]
    inos = {row[0] for row in there}
    connection.execute_many("INSERT INTO draft VALUES (?, ?)", there)
    connection.execute_many(
        "INSERT INTO draft_region VALUES (?, ?, ?, ?, ?)",
        [row for row in old.regions if row[0] in inos],
    )
    builder.report.kept_drafts = len(there)
    return len(there) == len(old.drafts)


def _past_drafts(directory: Path, next_ino: int) -> int:
    """A number for the next inode, above those that drafts are of."""
    drafts = directory / "drafts"
    for path in drafts.iterdir() if drafts.is_dir() else ():
        named = parse_draft_name(path.name)
        if named is not None and named[0] < 1 << 62:
            next_ino = max(next_ino, named[0] + 1)
    return next_ino


def told_to(connection: Connection, progress: Progress, done: int, total: int) -> None:
    """Pass on what was done, and keep the log of the new index short."""
    progress(done, total)
    if connection.wal_bytes() > CHECKPOINT_BYTES:
        connection.checkpoint()


@contextmanager
def _new_index(path: Path) -> Iterator[Connection]:
    """A new database, closed and synced at the end."""
    connection = Connection(path)
    try:
        yield connection
    finally:
        connection.close()
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
