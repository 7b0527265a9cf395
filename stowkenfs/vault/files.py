"""Files in use: content as readers and writers see it, from drafts, records and holes."""

import errno
import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import anyio.lowlevel
import anyio.to_thread

from stowkenfs.errors import FileTooLarge, NotFound
from stowkenfs.ids import InodeNo
from stowkenfs.index.catalogue import Catalogue, Extent
from stowkenfs.index.connection import Connection
from stowkenfs.index.drafts import DraftTable
from stowkenfs.index.inodes import Inode, InodeTable
from stowkenfs.index.space import giving_room
from stowkenfs.store.local import sync_directory
from stowkenfs.vault.draft_files import parse_draft_name
from stowkenfs.vault.drafts import Draft, load_draft, new_draft
from stowkenfs.vault.live import LiveFile
from stowkenfs.vault.nameless import Nameless, rows_at_once
from stowkenfs.vault.passages import Passages
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.reading import HOLES_FROM_BYTES, Contents
from stowkenfs.vault.spools import Spools

FILE_BYTES_MAX = (1 << 63) - 1
"""Offsets are signed 64-bit integers in the kernel and in the index."""

IDLE_FILES_MAX = 4096
"""Files without users whose rows may still be out of date."""

Clock = Callable[[], int]


class FileTable:
    """All files in use. Event loop's thread; ``read`` alone waits.

    Owned: ``_live``, one entry for each file with users, and for those in ``_idle``, whose
    last user is gone and whose rows are yet to be written. ``_stale`` lists draft files
    whose rows are gone; the sealer deletes them once that is synced.
    """

    def __init__(
        self,
        connection: Connection,
        inodes: InodeTable,
        catalogue: Catalogue,
        reader: Reader,
        readers: Passages,
        draft_directory: Path | None,
        clock: Clock,
        *,
        read_only: bool = False,
    ) -> None:
        self._connection = connection
        self._inodes = inodes
        self._catalogue = catalogue
        self._contents = Contents(catalogue, reader)
        self._readers = readers
        self._drafts = DraftTable(connection)
        self._directory = draft_directory
        self._read_only = read_only
        self._spools = (
            Spools(draft_directory, self._drafts, read_only=read_only) if draft_directory else None
        )
        self._clock = clock
        self._live: dict[InodeNo, LiveFile] = {}
        self._idle: dict[InodeNo, LiveFile] = {}
        self.nameless = Nameless(connection, inodes, self)
        self._stale: list[Path] = []
        self.on_draft: Callable[[InodeNo], None] = lambda _: None
        self.before_change: Callable[[Inode], None] = lambda _: None
        self.is_looked_up: Callable[[InodeNo], bool] = lambda _: False
        connection.on_rollback(self._reload)

    def _reload(self) -> None:
        """After a rollback, which only failing disks cause: be what the index says again."""
        if self._spools is not None:
            self._spools.reload()
        for ino, live in self._live.items():
            row = self._inodes.get(ino)
            if row is None:
                continue
            if live.draft is not None:
                live.draft.release_file()
            live.draft = self._load_draft(ino)
            row.size = max(row.size, live.draft.end if live.draft else 0)
            row.mtime_ns = max(row.mtime_ns, live.inode.mtime_ns)
            for name in Inode.__slots__:
                setattr(live.inode, name, getattr(row, name))
            live.unsettled = True

    # Who uses what

    def inode(self, ino: InodeNo) -> Inode:
        """The inode as of now. Raises NotFound."""
        live = self._live.get(ino)
        if live is not None:
            return live.inode
        inode = self._inodes.get(ino)
        if inode is None:
            raise NotFound(f"inode {ino} does not exist")
        return inode

    def current(self, inode: Inode) -> Inode:
        """``inode`` as read from the index, or the newer one of a file in use."""
        live = self._live.get(inode.ino)
        return inode if live is None else live.inode

    def live(self, ino: InodeNo) -> LiveFile | None:
        return self._live.get(ino)

    def acquire(self, ino: InodeNo, *, writing: bool) -> LiveFile:
        """Keep ``ino`` in use until ``release``. Raises NotFound."""
        live = self._live.get(ino)
        if live is None:
            live = self._live[ino] = LiveFile(self.inode(ino), self._load_draft(ino))
        self._idle.pop(ino, None)
        live.users += 1
        live.writers += writing
        return live

    def _load_draft(self, ino: InodeNo) -> Draft | None:
        if self._directory is None or self._spools is None:
            return None
        return load_draft(self._directory, self._drafts, self._spools, ino)

    def release(self, ino: InodeNo, *, writing: bool) -> None:
        """The counterpart of ``acquire``; a file without a name goes with its last user."""
        live = self._live[ino]
        live.users -= 1
        live.writers -= writing
        if live.users:
            return
        if live.inode.nlink == 0 and not self.is_looked_up(ino):
            self.purge(ino)
            return
        if live.draft is not None:
            live.draft.release_file()
            if live.inode.nlink:
                self.on_draft(ino)
        if live.draft is None or not live.unsettled or len(self._idle) >= IDLE_FILES_MAX:
            self.settle(live)
            del self._live[ino]
        else:  # most files are sealed a moment later, which writes the row anyway
            self._idle[ino] = live

    @property
    def in_use_count(self) -> int:
        """How many files somebody uses."""
        return len(self._live) - len(self._idle)

    def open_drafts(self) -> list[tuple[InodeNo, LiveFile]]:
        """Files in use that have unsealed bytes."""
        return [
            (ino, live) for ino, live in self._live.items() if live.draft is not None and live.users
        ]

    def in_use(self, ino: InodeNo) -> bool:
        """Whether somebody may still ask for an inode that has no name left."""
        return self.has_users(ino) or self.is_looked_up(ino)

    def has_users(self, ino: InodeNo) -> bool:
        """Whether a file is open, or being sealed."""
        live = self._live.get(ino)
        return live is not None and live.users > 0

    def purge(self, ino: InodeNo) -> None:
        """Forget a file that has neither a name nor a user."""
        live = self._live.get(ino)
        draft = live.draft if live is not None else self._load_draft(ino)
        with giving_room(), self._connection.change():
            if draft is not None:
                self._connection.after_commit(partial(self._stale.append, draft.forget()))
            self._inodes.delete(ino)
            self._connection.after_commit(partial(self._let_go, ino))
            self._connection.after_commit(partial(self.nameless.gone, ino))

    def _let_go(self, ino: InodeNo) -> None:
        """Nobody uses a file, and the index knows all of it."""
        self._live.pop(ino, None)
        self._idle.pop(ino, None)

    def settle(self, live: LiveFile) -> None:
        """Bring the index's row up to date."""
        if live.unsettled:
            with giving_room(), self._connection.change():
                self._inodes.update(live.inode)
                live.unsettled = False

    async def settle_all(self) -> None:
        """Bring all rows up to date, a few at a time, and let go of files without users."""
        self.nameless.purge_forgotten()
        unsettled = [ino for ino, live in self._live.items() if live.unsettled or not live.users]
        for start in range(0, len(unsettled), rows := rows_at_once(self._connection)):
            with giving_room(), self._connection.change():
                for ino in unsettled[start : start + rows]:
                    live = self._live.get(ino)
                    if live is None:
                        continue
                    self.settle(live)
                    if not live.users:
                        self._connection.after_commit(partial(self._let_go, ino))
            await anyio.lowlevel.checkpoint()
        self._connection.flush()

    # Changes

    def write(self, ino: InodeNo, start: int, content: bytes) -> int:
        """Put ``content`` at ``start``; safe from the daemon's death on return."""
        live = self._live[ino]
        if not content:
            return 0
        if start + len(content) > FILE_BYTES_MAX:
            raise FileTooLarge(f"a file ends at byte {FILE_BYTES_MAX}")
        if self._read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        self._connection.require_room()
        live.note_change(start)
        if live.draft is None:
            if start < live.inode.size:
                self.before_change(live.inode)
            with self._connection.change():
                draft = self._new_draft(ino)
                draft.write(start, content)
            live.draft = draft
        else:
            live.draft.write(start, content)
        inode = live.inode
        inode.size = max(inode.size, start + len(content))
        inode.mtime_ns = inode.ctime_ns = live.written_ns = self._clock()
        live.unsettled = True
        return len(content)

    def _new_draft(self, ino: InodeNo) -> Draft:
        assert self._directory is not None, "a vault in memory has no drafts"
        assert self._spools is not None
        return new_draft(self._directory, self._drafts, self._spools, ino)

    def truncate(self, ino: InodeNo, size: int) -> None:
        """Make the file ``size`` bytes long; what is beyond is gone, what is new is zeros."""
        if size > FILE_BYTES_MAX:
            raise FileTooLarge(f"a file ends at byte {FILE_BYTES_MAX}")
        live = self.acquire(ino, writing=False)
        try:
            if size < live.inode.size and live.draft is None:
                self.before_change(live.inode)
            with ExitStack() as changing:
                if size < live.inode.size:
                    changing.enter_context(giving_room())
                is_sealed = size < live.inode.size and self._catalogue.has_extents(ino)
                enter = self._connection.transaction if is_sealed else self._connection.change
                changing.enter_context(enter())
                if is_sealed:
                    self._catalogue.cut_extents(ino, size)
                if size < live.inode.size:
                    self._cut(live, size)
                now = self._clock()
                live.inode.size = size
                live.inode.mtime_ns = live.inode.ctime_ns = live.written_ns = now
                self._inodes.update(live.inode)
                live.unsettled = False
        finally:
            self.release(ino, writing=False)

    def _cut(self, live: LiveFile, size: int) -> None:
        live.note_change(size)
        if live.draft is not None:
            live.draft.truncate(size)
            self._let_go_if_empty(live, live.draft)

    def _let_go_if_empty(self, live: LiveFile, draft: Draft) -> None:
        if draft.is_empty:
            self._connection.after_commit(partial(self._stale.append, draft.forget()))
            live.draft = None

    async def leave_outgrown(self, live: LiveFile) -> None:
        """Move the short rest of a draft whose file is mostly sealed to a new file.

        So the file of a log that is always open does not grow for ever. A write meanwhile
        leaves everything as it is, for the next time.
        """
        if (draft := live.draft) is None or not draft.has_outgrown:
            return
        live.changed_from = None
        move = draft.begin_move()
        await anyio.to_thread.run_sync(move.write)
        if live.draft is not draft or live.changed_from is not None:
            self._stale.append(move.path)
            return
        with giving_room(), self._connection.change():
            self._connection.after_commit(partial(self._stale.append, draft.finish_move(move)))

    def sealed(self, live: LiveFile, start: int, end: int, extents: list[Extent]) -> None:
        """Records hold ``start`` to ``end`` now: they replace the draft's bytes there."""
        ino = live.inode.ino
        with giving_room(), self._connection.transaction():
            self._catalogue.replace_extents(ino, start, end, extents)
            if live.draft is None:
                return
            live.draft.drop(start, end)
            self._let_go_if_empty(live, live.draft)
            self.settle(live)

    # Reading

    async def read(self, live: LiveFile, start: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``start``; fewer at the end of the file.

        Raises Corrupt when a record that holds some of them is damaged.
        """
        with self._readers.enter():
            return await self._contents.read(live.inode, live.draft, start, length)

    def has_draft(self, ino: InodeNo) -> bool:
        """Whether some of a file is not sealed."""
        return self._drafts.generation(ino) is not None

    def unsealed_bytes(self, ino: InodeNo) -> int:
        """How much of a file is a draft."""
        live = self._live.get(ino)
        draft = live.draft if live is not None else self._load_draft(ino)
        return draft.live_bytes if draft is not None else 0

    def held_bytes(self, inode: Inode) -> int:
        """How much of a file is no hole; all of a short one, which is not looked at."""
        if inode.size < HOLES_FROM_BYTES:
            return inode.size
        live = self._live.get(inode.ino)
        draft = live.draft if live is not None else self._load_draft(inode.ino)
        return self._contents.held_bytes(inode, draft)

    # Starting and tidying

    def recover(self) -> list[InodeNo]:
        """After opening: sizes from drafts, files nobody can reach gone. Drafts to seal."""
        for ino in self._inodes.orphans():
            self.purge(ino)
        drafts = self._drafts.all()
        if self._directory is None:
            return []
        known, removed = set(drafts), False
        for path in () if self._read_only else self._directory.iterdir():
            is_spool = self._spools is not None and self._spools.is_needed(path.name)
            if not is_spool and parse_draft_name(path.name) not in known:
                path.unlink()
                removed = True
        if removed:  # else a new file of the same name might turn out to be the old one
            sync_directory(self._directory)
        for ino, _ in drafts:
            self._recover_size(ino)
        return [ino for ino, _ in drafts]

    def _recover_size(self, ino: InodeNo) -> None:
        draft, inode = self._load_draft(ino), self._inodes.get(ino)
        if draft is None or inode is None:
            return
        if draft.end > inode.size:
            inode.size = draft.end
            inode.mtime_ns = inode.ctime_ns = max(draft.modified_ns, inode.mtime_ns)
            self._inodes.update(inode)

    @property
    def draft_names_made(self) -> int:
        """How many names of draft files were made."""
        return self._spools.names_made if self._spools else 0

    def take_stale(self) -> list[Path]:
        """Draft files that may be removed once the index is synced."""
        stale, self._stale = self._stale, []
        return stale + (self._spools.take_stale() if self._spools else [])

    def finish(self) -> None:
        """Before closing: a spool that nobody refers to is stale now."""
        if self._spools is not None:
            self._spools.retire_current()

    def close(self) -> None:
        """Close the files of drafts."""
        if self._spools is not None:
            self._spools.close()
