"""The vault: what people import."""

import contextlib
import os
import stat
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import anyio.to_thread

from stowkenfs.errors import ConversationNotFound, TreeError
from stowkenfs.index.connection import Connection
from stowkenfs.index.inodes import Inode
from stowkenfs.index.space import RESERVE, Reserve, giving_room
from stowkenfs.store.local import LocalStore
from stowkenfs.store.memory import MemoryStore
from stowkenfs.vault.assembly import Tally
from stowkenfs.vault.closed import ClosedMark
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.conversation import (
    SUFFIX,
    Conversation,
    parse_conversation,
    path_of_id,
    render_conversation,
)
from stowkenfs.vault.documents import Documents
from stowkenfs.vault.files import Clock
from stowkenfs.vault.inspect import conversation_segments
from stowkenfs.vault.opened import check_index, count_opening
from stowkenfs.vault.opening import lock_vault, open_index, open_index_to_read
from stowkenfs.vault.progress import Progress, untold
from stowkenfs.vault.reindex.placing import needs_rebuilding

if TYPE_CHECKING:
    from stowkenfs.context.pressure import ContextConfig
    from stowkenfs.vault.contexts import FittedDocument


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What storing one conversation did. Sizes in bytes.

    ``segments`` counts each different one once; ``stored`` is what is new of it, before
    blocks are compressed and without their headers.
    """

    id: str
    segments: int
    deduplicated_segments: int
    bytes_in: int
    stored: int


class Vault(Documents):
    """Everything stored in one directory, or in memory. Open it with ``Vault.open``.

    One event loop uses it at a time; its methods may be called from many tasks.
    """

    # Opening

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: str | os.PathLike[str],
        config: VaultConfig | None = None,
        *,
        clock: Clock = time.time_ns,
        rebuilding: Progress = untold,
    ) -> AsyncIterator["Vault"]:
        """The vault in a directory, made there if it is absent or empty; locked until the end.

        An index that is not there is made from the packs first, which takes as long as reading
        everything; ``rebuilding(done, total)`` is told bytes, in a thread. One that is damaged
        is refused: ``rebuild_index`` makes a new one.

        A vault whose directory cannot be written is opened to be read (``read_only``): changes
        raise OSError (EROFS).

        Raises NotAVault, UnknownFormat, SuperblockCorrupt, IndexDamaged, VaultNotWritable, or
        VaultLocked, which says by whom.
        """
        config = config or VaultConfig()
        # Absolute, because the process may change its directory later.
        directory = Path(await anyio.to_thread.run_sync(os.path.abspath, path))
        lock = await anyio.to_thread.run_sync(lock_vault, directory, config, clock)
        with contextlib.ExitStack() as closing:
            closing.push(lock.leave)
            store = LocalStore(directory / "packs", read_only=lock.is_to_read)
            closing.callback(store.close)
            closed = ClosedMark(directory)
            await anyio.to_thread.run_sync(closed.begin_check)
            if lock.is_to_read:
                connection = open_index_to_read(directory, closing)
            else:
                if await anyio.to_thread.run_sync(needs_rebuilding, directory):
                    from stowkenfs.vault.reindex.background import in_thread
                    from stowkenfs.vault.reindex.rebuild import replace_index

                    await in_thread(partial(replace_index, directory), rebuilding)
                reserve = Reserve(directory / RESERVE)
                connection = open_index(directory, store, reserve, closed.forget)
                closing.callback(closed.write)  # last, of what the connection left
                closing.callback(reserve.settle)  # there is room again, of the index's log
            closing.callback(connection.close)
            closed.tell(connection.refuse)
            check_index(directory, connection)
            if not lock.is_to_read:
                with giving_room():
                    count_opening(directory, connection)
                closed.carry()
                closed.is_due = True
                connection.sync_after(closed.settle)
            vault = cls(connection, store, config, directory, clock, read_only=lock.is_to_read)
            closing.callback(vault.files.close)
            vault._lock = lock
            if vault._has_leftovers(store):  # which go on the word of the index
                await anyio.to_thread.run_sync(closed.settle)
            vault._recover(store)
            await vault._registry.load()
            try:
                yield vault
            finally:
                with anyio.CancelScope(shield=True):
                    await vault._finish()

    @classmethod
    @asynccontextmanager
    async def memory(
        cls, config: VaultConfig | None = None, *, clock: Clock = time.time_ns
    ) -> AsyncIterator["Vault"]:
        """A vault without a disk, gone at the end; used like one from ``open``."""
        connection = Connection(None)
        try:
            yield cls(connection, MemoryStore(), config or VaultConfig(), None, clock)
        finally:
            connection.close()

    # Conversations

    async def store(self, conversation: Conversation) -> StoreResult:
        """Keep ``conversation``; on return it survives a power cut.

        One with the same id is replaced. Without an id it gets a random one.
        Raises InvalidId.
        """
        if conversation.id is None:
            conversation.id = str(uuid.uuid4())
        path = path_of_id(conversation.id)
        content = render_conversation(conversation)
        tally = Tally()
        ino = await self.write_document(path, content, tally=tally)
        await self.sync()
        summary = await self.summarize(ino)
        return StoreResult(
            id=conversation.id,
            segments=summary.segments,
            deduplicated_segments=max(summary.segments - tally.segments, 0),
            bytes_in=len(content),
            stored=tally.stored_bytes,
        )

    async def retrieve(self, conversation_id: str) -> Conversation:
        """The conversation whole, its ``segments`` filled.

        An id is that of a stored conversation, the path of any file with or without its
        ``.json``, or an id that a file gives itself. Raises ConversationNotFound, InvalidId,
        NotAConversation, Corrupt.
        """
        inode = self.find_conversation(conversation_id)
        content = await self.read_file(inode.ino)
        conversation = await anyio.to_thread.run_sync(parse_conversation, content)
        conversation.segments = await anyio.to_thread.run_sync(conversation_segments, content)
        if conversation.id is None:
            conversation.id = conversation_id
        return conversation

    async def fit(
        self,
        conversation_id: str,
        config: "ContextConfig | int",
        *,
        idle_seconds: float | None = None,
    ) -> "FittedDocument":
        """A conversation made to fit into a budget, in tokens or with all that can be chosen.

        The result has its ``content``, a document in the format of the file, and a ``report`` of
        what was done. ``idle_seconds``: how long it has rested, where it does not tell itself.

        Raises BudgetTooSmall, and what ``retrieve`` does.
        """
        from stowkenfs.context.pressure import ContextConfig
        from stowkenfs.vault.contexts import fit_file

        wanted = ContextConfig(config) if isinstance(config, int) else config
        inode = self.find_conversation(conversation_id)
        fitted = await fit_file(self, inode.ino, wanted, idle_seconds=idle_seconds)
        if fitted.error is not None:
            raise fitted.error
        return fitted

    def find_conversation(self, conversation_id: str) -> Inode:
        """The file of a conversation. Raises ConversationNotFound or InvalidId."""
        path = path_of_id(conversation_id)
        for candidate in (path, path.removesuffix(SUFFIX.encode())):
            with contextlib.suppress(TreeError):
                inode = self.tree.resolve(candidate)
                if stat.S_ISREG(inode.mode):
                    return inode
        ino = self._inodes.conversation(conversation_id)
        if ino is None:
            raise ConversationNotFound(conversation_id)
        return self.tree.inode(ino)

    async def delete(self, conversation_id: str) -> None:
        """Remove a conversation's file; on return that survives a power cut.

        Segments that others share stay. Raises ConversationNotFound.
        """
        inode = self.find_conversation(conversation_id)
        path = self.tree.path_of(inode.ino)
        if path is None:
            raise ConversationNotFound(conversation_id)
        parent, _, name = path.rpartition(b"/")
        self.tree.unlink(self.tree.resolve(parent).ino, name)
        await self.sync()

    def list(self, prefix: str = "") -> Sequence[str]:
        """Ids of all conversations that begin with ``prefix``, sorted.

        An id is the path of a file without its ``.json``. All at once, some 20 us a file;
        ``walk`` goes through a vault of any size step by step.
        """
        paths = (path for path, inode in self._walk_all() if stat.S_ISREG(inode.mode))
        names = (os.fsdecode(path[1:]).removesuffix(SUFFIX) for path in paths)
        return sorted(name for name in names if name.startswith(prefix))
