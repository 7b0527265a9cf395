"""One file in use."""

from dataclasses import dataclass

from stowkenfs.index.inodes import Inode
from stowkenfs.vault.drafts import Draft


@dataclass(slots=True)
class LiveFile:
    """One file while somebody uses it.

    ``users`` counts open handles and the sealer; ``writers`` the handles that may write.
    ``unsettled``: size and mtime here are newer than the index's row.
    ``changed_from``: lowest byte changed since the sealer last looked; None when none was.
    """

    inode: Inode
    draft: Draft | None
    users: int = 0
    writers: int = 0
    unsettled: bool = False
    changed_from: int | None = None
    written_ns: int = 0

    def note_change(self, start: int) -> None:
        """Tell a sealer at work that bytes from ``start`` are not what it read."""
        if self.changed_from is None or start < self.changed_from:
            self.changed_from = start
