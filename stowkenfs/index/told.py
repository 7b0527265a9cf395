"""Who is told what became of transactions and changes."""

import logging
from collections.abc import Callable

from stowkenfs.index.pending import PendingRows

log = logging.getLogger(__name__)


class Told:
    """What to call: ``after`` the next one is kept, to ``undo``, with rows that were ``written``.

    Event loop's thread. ``after`` is for one time, the others for good.
    """

    def __init__(self) -> None:
        self.after: list[Callable[[], None]] = []
        self.undo: list[Callable[[], None]] = []
        self.written: list[Callable[[PendingRows], None]] = []

    def have_kept(self) -> None:
        """It is kept."""
        after, self.after = self.after, []
        for then in after:
            then()

    def have_undone(self) -> None:
        """It was as if it had never begun."""
        self.after.clear()
        for undo in self.undo:
            try:
                undo()
            except OSError as error:  # of the disk that failed before; each has its turn
                log.error("after a change that failed: %s", error)  # noqa: TRY400

    def have_written(self, rows: PendingRows) -> None:
        """The database has these rows now, as part of its transaction."""
        for then in self.written:
            then(rows)
