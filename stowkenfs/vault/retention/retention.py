"""Retention of one vault: its policies, what they would remove, and removing it."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import anyio

from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo
from stowkenfs.index.inodes import Inode
from stowkenfs.vault.complaints import complain_of
from stowkenfs.vault.progress import Progress, untold
from stowkenfs.vault.retention.applying import Application, Parts
from stowkenfs.vault.retention.policies import Policies, Told
from stowkenfs.vault.retention.policy import Policy, Stated
from stowkenfs.vault.retention.report import RetentionReport

log = logging.getLogger(__name__)

REST_TIMES = 50
"""How many times as long as a look took nothing is done after it: 2 % of a processor at most."""


def _untold(_directory: InodeNo, _name: bytes, _inode: Inode) -> None:
    """Nobody has looked anything up."""


class Retention:
    """Event loop's thread. ``told`` is called with each name that went by a policy.

    ``removed_files`` and ``removed_bytes``: what policies removed since the vault was opened.
    """

    def __init__(
        self, policies: Policies, parts: Parts, sync: Callable[[], Awaitable[None]]
    ) -> None:
        self._policies = policies
        self._parts = parts
        self._sync = sync
        self._at_work = anyio.Lock()
        self.told: Told = _untold
        self.removed_files = self.removed_bytes = 0

    def policies(self) -> Sequence[tuple[bytes, InodeNo, Stated]]:
        """Path, inode and policy of each folder that has one. Raises Corrupt."""
        return self._policies.folders()

    async def set(self, changes: Mapping[bytes, Policy | None]) -> None:
        """Give folders policies, by their paths, or take them away (None); all or none.

        One that a folder had before is replaced. On return that survives a power cut. Raises
        TreeError for what is no folder, BadRequest, NotPermitted, OSError.
        """
        found = {self._policies.folder(path).ino: policy for path, policy in changes.items()}
        self._policies.change(found)
        await self._sync()

    async def plan(self) -> RetentionReport:
        """What all policies would remove now. Raises Corrupt."""
        return RetentionReport(await Application(self._parts, None, _ignored).run(), dry_run=True)

    async def apply(self, progress: Progress = untold) -> RetentionReport:
        """Remove what the policies say, and return when that survives a power cut.

        Files that are open, not sealed yet, or changed a moment ago stay for the next time.
        ``progress(done, total)`` is told bytes of files. Cancelling it, or the process's end,
        leaves the rest as it is. Content goes from the disk with the next collection. Raises
        OSError and Corrupt.
        """
        async with self._at_work:
            total, done = (await self.plan()).size_bytes, 0

            def gone(size_bytes: int) -> None:
                nonlocal done
                done += size_bytes
                progress(min(done, total), total)

            return await self._apply(gone)

    async def _apply(self, progress: Callable[[int], None]) -> RetentionReport:
        def gone(size_bytes: int) -> None:
            self.removed_files += 1
            self.removed_bytes += size_bytes
            progress(size_bytes)

        try:
            folders = await Application(self._parts, self.told, gone).run()
        finally:
            with anyio.CancelScope(shield=True):
                await self._sync()
        return RetentionReport(folders, dry_run=False)

    async def run(self, every_seconds: float) -> None:
        """Apply the policies again and again, for ever; seldom if that takes long."""
        rest = every_seconds
        while True:
            await anyio.sleep(rest)
            began = time.monotonic()
            await self._run_once()
            rest = max(every_seconds, REST_TIMES * (time.monotonic() - began))

    async def _run_once(self) -> None:
        try:
            if not self._policies.all():
                return
            async with self._at_work:
                report = await self._apply(_ignored)
        except OSError as error:
            complain_of(log, error, "policies of folders are applied later")
            return
        except Corrupt as error:
            log.error("policies of folders cannot be applied: %s", error)  # noqa: TRY400
            return
        except Exception:  # the mount lives on
            log.exception("applying policies of folders failed unexpectedly; please report this")
            return
        for folder in report.folders:
            if folder.files:
                log.info(
                    "removed %d files of %r: %s", folder.files, folder.path, folder.policy.words()
                )
            for problem in folder.problems:
                log.warning("retention: %s", problem)


def _ignored(_size_bytes: int) -> None:
    """For who does not ask."""
