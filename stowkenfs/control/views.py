"""Other views of what is stored: tokens of a file, conversations by their ids."""

import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from urllib.parse import quote_from_bytes, unquote_to_bytes

import anyio.to_thread

from stowkenfs.control.nodes import (
    ControlDirectory,
    ControlFile,
    ControlLink,
    Node,
    Rendered,
    RenderedFile,
)
from stowkenfs.errors import ConversationNotFound, InvalidId
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.catalogue import Extent
from stowkenfs.vault.about import NAMELESS
from stowkenfs.vault.inspect import stored_segments
from stowkenfs.vault.names import HIDDEN_NAME, NAME_BYTES_MAX
from stowkenfs.vault.vault import Vault

PAGE_ROWS = 500
SUFFIX = b".json"


class TokensFile(ControlFile):
    """A file as segments: one JSON object a line, in the order of the document.

    What is still a draft has no segments yet.
    """

    def __init__(self, vault: Vault, ino: InodeNo) -> None:
        self._vault = vault
        self._ino = ino

    async def render(self) -> Rendered:
        with self._vault.readers.enter():
            extents = self._vault.extents_of_file(self._ino)
            return await anyio.to_thread.run_sync(self._write, extents)

    def _write(self, extents: Sequence[Extent]) -> Rendered:
        rendered = RenderedFile()
        for segment in stored_segments(self._vault.reader, extents):
            rendered.append(segment.to_json().encode() + b"\n")
        return rendered.finish()


class TokensDirectory(ControlDirectory):
    """``tokens/``: the tree of the vault again, each file as its segments."""

    def __init__(self, vault: Vault, ino: InodeNo = ROOT_INODE) -> None:
        self._vault = vault
        self._ino = ino

    async def find(self, name: bytes) -> Node | None:
        inode = self._vault.tree.lookup(self._ino, name)
        return None if inode is None else self._node(inode.ino, inode.mode)

    async def names(self) -> AsyncIterator[tuple[bytes, Node]]:
        cookie = 0
        while page := self._vault.tree.page(self._ino, cookie, PAGE_ROWS):
            for dentry, inode in page:
                cookie = dentry.cookie
                node = self._node(inode.ino, inode.mode)
                if node is not None:
                    yield dentry.name, node

    def _node(self, ino: InodeNo, mode: int) -> Node | None:
        if stat.S_ISDIR(mode):
            return TokensDirectory(self._vault, ino)
        return TokensFile(self._vault, ino) if stat.S_ISREG(mode) else None


class ConversationsDirectory(ControlDirectory):
    """``conversations/``: ``ID.json`` is a link to the file that holds the conversation.

    Ids are those that files give themselves; a slash in one is written ``%2F``, as other
    bytes that a name cannot have.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def find(self, name: bytes) -> Node | None:
        if not name.endswith(SUFFIX):
            return None
        conversation_id = unquote_to_bytes(name.removesuffix(SUFFIX)).decode("utf-8", "replace")
        try:
            inode = self._vault.find_conversation(conversation_id)
        except (ConversationNotFound, InvalidId):
            return None
        return self._link(inode.ino)

    def _link(self, ino: InodeNo) -> Node | None:
        path = self._vault.tree.path_of(ino)
        if path is None or path.startswith(b"/" + HIDDEN_NAME + b"/"):
            return None  # or a file as it was
        return ControlLink(b"../.." + path)

    async def names(self) -> AsyncIterator[tuple[bytes, Node]]:
        for conversation_id, ino in self._ids():
            name = quote_from_bytes(conversation_id.encode("utf-8", "replace"), safe=" ,:;@+=()")
            encoded = name.encode() + SUFFIX
            link = self._link(ino)
            if link is not None and len(encoded) <= NAME_BYTES_MAX:
                yield encoded, link

    def _ids(self) -> Iterator[tuple[str, InodeNo]]:
        after = NAMELESS
        while page := self._vault.ids_page(after, PAGE_ROWS):
            yield from page
            after = page[-1][0]
