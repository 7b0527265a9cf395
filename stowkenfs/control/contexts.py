"""``context/BUDGET/PATH``: conversations fitted into budgets; ``spool/NAME``: what left them."""

import logging
import re
import stat
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Final

import anyio

from stowkenfs.context.addresses import SpoolName, parse_spool_name
from stowkenfs.context.pressure import ContextConfig
from stowkenfs.control.format import printable
from stowkenfs.control.listed import as_json
from stowkenfs.control.nodes import (
    ControlDirectory,
    ControlFile,
    Node,
    Rendered,
    RenderedBytes,
    RenderedFile,
)
from stowkenfs.control.plans import format_plan
from stowkenfs.errors import NotAConversation, NotFound
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.vault.contexts import FittedDocument, fit_file, read_spooled
from stowkenfs.vault.vault import Vault

log = logging.getLogger(__name__)

PAGE_ROWS: Final = 500
KEPT_MAX: Final = 64
KEPT_BYTES_MAX: Final = 16 << 20
"""Of fitted documents that are kept until their files change."""
IN_MEMORY_BYTES_MAX: Final = 1 << 20
"""Longer ones are temporary files once somebody reads them."""

_BUDGET: Final = re.compile(rb"[1-9][0-9]{0,9}")
_PLAN: Final = b".plan"
_PLAN_JSON: Final = b".plan.json"

_Key = tuple[InodeNo, int, int, int, int]
"""Inode, size, two times, budget: what a fitted document depends on."""


class FittedViews:
    """Fitted documents, kept while their files stay as they are. Event loop's thread.

    One is made at a time. ``_kept``: at most KEPT_MAX, and KEPT_BYTES_MAX of content.
    """

    def __init__(self, vault: Vault) -> None:
        self.vault = vault
        self._lock = anyio.Lock()
        self._kept: OrderedDict[_Key, FittedDocument] = OrderedDict()
        self._kept_bytes = 0

    async def get(self, ino: InodeNo, budget: int) -> FittedDocument:
        """The file at ``ino`` fitted. Raises NotAConversation, Corrupt."""
        async with self._lock:
            inode = self.vault.files.inode(ino)
            key = (ino, inode.size, inode.mtime_ns, inode.ctime_ns, budget)
            found = self._kept.get(key)
            if found is None:
                found = await fit_file(self.vault, ino, ContextConfig(budget))
                self._keep(key, found)
            self._kept.move_to_end(key)
            return found

    def _keep(self, key: _Key, fitted: FittedDocument) -> None:
        self._kept[key] = fitted
        self._kept_bytes += _size(fitted)
        while len(self._kept) > 1 and (
            len(self._kept) > KEPT_MAX or self._kept_bytes > KEPT_BYTES_MAX
        ):
            _, gone = self._kept.popitem(last=False)
            self._kept_bytes -= _size(gone)


def _size(fitted: FittedDocument) -> int:
    return len(fitted.content or b"")


def _rendered(content: bytes) -> Rendered:
    if len(content) <= IN_MEMORY_BYTES_MAX:
        return RenderedBytes(content)
    rendered = RenderedFile()
    rendered.append(content)
    return rendered.finish()


class _FittedFile(ControlFile):
    """What the files of one conversation and one budget have in common."""

    def __init__(self, views: FittedViews, ino: InodeNo, budget: int) -> None:
        self._views = views
        self._ino = ino
        self._budget = budget

    def _name(self) -> str:
        path = self._views.vault.tree.path_of(self._ino) or b""
        return printable(path.removeprefix(b"/").decode("utf-8", "backslashreplace"))

    async def _fitted(self) -> FittedDocument:
        try:
            return await self._views.get(self._ino, self._budget)
        except NotAConversation as error:
            log.info("context/%d/%s: %s", self._budget, self._name(), error)
            raise


class ContextFile(_FittedFile):
    """A conversation fitted into a budget. Reading one that does not fit fails (BudgetTooSmall)."""

    async def render(self) -> Rendered:
        fitted = await self._fitted()
        if fitted.content is None:
            assert fitted.error is not None
            log.warning("context/%d/%s: %s", self._budget, self._name(), fitted.error)
            raise fitted.error
        return _rendered(fitted.content)


class PlanFile(_FittedFile):
    """How a conversation is fitted, or why it does not fit."""

    async def render(self) -> Rendered:
        report = (await self._fitted()).report
        return RenderedBytes(format_plan(report, self._name()).encode("utf-8", "backslashreplace"))


class PlanJsonFile(_FittedFile):
    """The same for programs."""

    async def render(self) -> Rendered:
        return RenderedBytes(as_json((await self._fitted()).report.to_dict()).encode())


class ContextDirectory(ControlDirectory):
    """``context/BUDGET``: the tree of the vault again, each conversation fitted."""

    def __init__(self, views: FittedViews, budget: int, ino: InodeNo = ROOT_INODE) -> None:
        self._views = views
        self._budget = budget
        self._ino = ino

    async def find(self, name: bytes) -> Node | None:
        tree = self._views.vault.tree
        inode = tree.lookup(self._ino, name)
        if inode is not None:
            return self._node(inode.ino, inode.mode)
        for suffix, kind in ((_PLAN, PlanFile), (_PLAN_JSON, PlanJsonFile)):
            stem = name.removesuffix(suffix)
            if stem != name and (inode := tree.lookup(self._ino, stem)) is not None:
                is_file = stat.S_ISREG(inode.mode)
                return kind(self._views, inode.ino, self._budget) if is_file else None
        return None

    async def names(self) -> AsyncIterator[tuple[bytes, Node]]:
        cookie = 0
        while page := self._views.vault.tree.page(self._ino, cookie, PAGE_ROWS):
            for dentry, inode in page:
                cookie = dentry.cookie
                node = self._node(inode.ino, inode.mode)
                if node is not None:
                    yield dentry.name, node

    def _node(self, ino: InodeNo, mode: int) -> Node | None:
        if stat.S_ISDIR(mode):
            return ContextDirectory(self._views, self._budget, ino)
        return ContextFile(self._views, ino, self._budget) if stat.S_ISREG(mode) else None


class BudgetsDirectory(ControlDirectory):
    """``context``: a directory for each budget, in tokens.

    None is listed: who walks through all files would have each of them fitted.
    """

    def __init__(self, views: FittedViews) -> None:
        self._views = views

    async def find(self, name: bytes) -> Node | None:
        if _BUDGET.fullmatch(name) is None:
            return None
        return ContextDirectory(self._views, int(name))

    async def names(self) -> AsyncIterator[tuple[bytes, Node]]:
        return
        yield  # what makes this an iterator


class SpoolFile(ControlFile):
    """What left a conversation, whole."""

    def __init__(self, vault: Vault, name: SpoolName) -> None:
        self._vault = vault
        self._name = name

    async def render(self) -> Rendered:
        return _rendered(await read_spooled(self._vault, self._name))


class SpoolDirectory(ControlDirectory):
    """``spool``: names stand in fitted conversations, and none is listed."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def find(self, name: bytes) -> Node | None:
        try:
            parsed = parse_spool_name(name.decode("ascii"))
            if parsed is None or not self._is_file(parsed):
                return None
        except (UnicodeDecodeError, NotFound):
            return None
        return SpoolFile(self._vault, parsed)

    def _is_file(self, name: SpoolName) -> bool:
        if name.document >> 62:
            return False  # no file has such a number, nor could the index look for it
        return stat.S_ISREG(self._vault.files.inode(InodeNo(name.document)).mode)

    async def names(self) -> AsyncIterator[tuple[bytes, Node]]:
        return
        yield  # what makes this an iterator
