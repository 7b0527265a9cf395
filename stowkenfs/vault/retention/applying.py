"""Policies applied: one look through the folders that have some.

Nothing is remembered between two looks, and each file goes by itself: after a crash in the
middle the next look goes on.
"""

import heapq
import stat
import time
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final, NamedTuple

import anyio.lowlevel

from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo
from stowkenfs.index.inodes import Inode
from stowkenfs.vault.files import Clock, FileTable
from stowkenfs.vault.natural import NaturalName
from stowkenfs.vault.retention.policies import Policies, Told
from stowkenfs.vault.retention.policy import NEVER, Policy, Unknown
from stowkenfs.vault.retention.pruning import Pruning
from stowkenfs.vault.retention.report import OLDEST_MAX, FolderReport
from stowkenfs.vault.retention.walk import Page, is_below, pages
from stowkenfs.vault.tree import Tree

SLICE_SECONDS: Final = 0.001
"""How long the event loop is kept before others get their turn."""

NANOSECONDS: Final = 1_000_000_000


class _File(NamedTuple):
    """A name of a file; the order is from the oldest to the newest.

    There may be KEEP_MAX of them: of tuples of such things the garbage collector soon knows that
    it need not look at them.
    """

    mtime_ns: int
    name: NaturalName
    directory: InodeNo
    ino: InodeNo


@dataclass(frozen=True, slots=True)
class Parts:
    """What applying needs of a vault.

    ``fresh_ns``: for how long a file counts as in use after its last change.
    """

    tree: Tree
    files: FileTable
    policies: Policies
    is_sealing: Callable[[InodeNo], bool]
    clock: Clock
    fresh_ns: int


class Application:
    """One look through all folders with policies; with ``told`` None nothing is removed."""

    def __init__(self, parts: Parts, told: Told | None, gone: Callable[[int], None]) -> None:
        self.parts = parts
        self._tree = parts.tree
        self._told = told
        self._gone = gone
        self._since = time.perf_counter()

    async def run(self) -> Sequence[FolderReport]:
        """What was removed of each folder, or would be. Raises OSError and Corrupt."""
        reports = []
        for path, ino, policy in self.parts.policies.folders():
            report = FolderReport(ino, path, policy)
            if isinstance(policy, Unknown):
                report.fail(f"{_shown(path)}: its policy is of a later release, and is left alone")
            else:
                await _Folder(self, policy, report).run()
            reports.append(report)
        if self._told is not None:
            parts = self.parts
            await Pruning(parts.tree, parts.policies, parts.clock, self.pause).run()
        return reports

    async def pause(self) -> None:
        """Let others have their turn, if they have not had one for a while."""
        if time.perf_counter() - self._since > SLICE_SECONDS:
            await anyio.lowlevel.checkpoint()
            self._since = time.perf_counter()

    # Single files

    def is_busy(self, inode: Inode) -> bool:
        """Whether a file is open, not sealed yet, or was changed a moment ago."""
        ino, files = inode.ino, self.parts.files
        if files.has_users(ino) or files.has_draft(ino) or self.parts.is_sealing(ino):
            return True
        # A time in the future is one of a clock that was set back since.
        return abs(self.parts.clock() - inode.ctime_ns) < self.parts.fresh_ns

    def remove(self, file: _File, top: InodeNo, policy: Policy) -> int | None:
        """Remove a name, if all is as it was when it was looked at; what its file's size was.

        0 if the file has other names; None if it stays.
        """
        name = bytes(file.name)  # others want just that
        inode = self._tree.lookup(file.directory, name)
        if inode is None or inode.ino != file.ino or inode.mtime_ns != file.mtime_ns:
            return None
        if self.is_busy(inode) or self.parts.policies.all().get(top) != policy:
            return None
        if not is_below(self._tree, file.directory, top):
            return None
        size = _freed(inode)
        if self._told is not None:
            left = self._tree.unlink(file.directory, name)
            self._told(file.directory, name, left)
            self._gone(size)
        return size


class _Folder:
    """One folder.

    ``_newest`` is a heap of as many of its files as it keeps; ``_oldest`` are the oldest of those
    that go.
    """

    def __init__(self, application: Application, policy: Policy, report: FolderReport) -> None:
        self._application = application
        self._tree = application.parts.tree
        self._policies: Mapping[InodeNo, object] = application.parts.policies.all()
        self._policy = policy
        self._top = report.ino
        self._report = report
        self._newest: list[_File] = []
        self._oldest: list[_File] = []
        age = policy.max_age_seconds
        now = application.parts.clock()
        self._before_ns = now - age * NANOSECONDS if age not in (None, NEVER) and age else None

    async def run(self) -> None:
        if self._before_ns is None and self._policy.keep is None:
            return
        with closing(pages(self._tree, self._top, self._enters, self._damaged)) as found:
            for directory, page in found:
                await self._page(directory, page)
        for file in self._oldest:
            above = self._application.parts.policies.paths.path(file.directory) or b""
            self._report.oldest.append(above.rstrip(b"/") + b"/" + file.name)

    def _enters(self, directory: InodeNo) -> bool:
        """Whether what is below counts: for its age, unless a nearer folder says one."""
        if self._before_ns is None:
            return False
        nearer = self._policies.get(directory)
        return not (isinstance(nearer, Policy) and nearer.max_age_seconds is not None)

    def _damaged(self, directory: InodeNo, error: Corrupt) -> None:
        self._report.fail(f"inode {directory} cannot be listed: {error}")

    async def _page(self, directory: InodeNo, page: Page) -> None:
        for dentry, inode in page:
            await self._application.pause()
            if stat.S_ISREG(inode.mode):
                name = NaturalName(dentry.name)
                file = _File(inode.mtime_ns, name, directory, inode.ino)
                self._judge(file, inode)

    def _judge(self, file: _File, inode: Inode) -> None:
        is_old = self._before_ns is not None and inode.mtime_ns < self._before_ns
        counts = self._policy.keep is not None and file.directory == self._top
        if not is_old and not counts:
            return
        if self._application.is_busy(inode):  # it neither goes nor counts among the newest
            self._report.waiting += is_old
            return
        if is_old:
            self._let_go(file)
            return
        if len(self._newest) < (self._policy.keep or 0):
            heapq.heappush(self._newest, file)
            return
        oldest = heapq.heappushpop(self._newest, file)
        self._let_go(oldest)

    def _let_go(self, file: _File) -> None:
        try:
            size = self._application.remove(file, self._top, self._policy)
        except Corrupt as error:
            self._report.fail(f"{_shown(file.name)} cannot be removed: {error}")
            return
        if size is None:
            return
        self._report.files += 1
        self._report.size_bytes += size
        insort(self._oldest, file)
        del self._oldest[OLDEST_MAX:]


def _freed(inode: Inode) -> int:
    return inode.size if inode.nlink == 1 else 0


def _shown(path: bytes) -> str:
    return repr(path.decode("utf-8", "backslashreplace"))
