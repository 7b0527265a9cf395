"""Which files with drafts are to be sealed, and when."""

from collections.abc import Callable

from stowkenfs.ids import InodeNo
from stowkenfs.index.space import FULL

Clock = Callable[[], int]
"""Nanoseconds."""

NANOSECONDS = 1_000_000_000

WAIT_SECONDS_MAX = 20.0
WAITING_MAX = 30_000
"""What is due waits for a pause of those who write files, but no longer, and of no more files."""

RETRY_SECONDS = 30.0
ROOM_BYTES = 1 << 20
"""So much more room on a disk that was full is worth another try at once."""


class Due:
    """Files with drafts, each with the time (ns) from which it may be sealed. Loop's thread.

    ``free_bytes()``: room on the disk that the vault is on. ``pause_seconds``: between two looks.
    """

    def __init__(self, clock: Clock, after_seconds: float, free_bytes: Callable[[], int]) -> None:
        self._clock = clock
        self._after_ns = int(after_seconds * NANOSECONDS)
        self.pause_seconds = min(max(after_seconds / 2, 0.01), 1.0)
        self._free_bytes = free_bytes
        self._times: dict[InodeNo, int] = {}
        self._noted_ns = 0  # when a draft was left last
        self._waits_since: int | None = None  # from when on what is due waits for writers
        self._without_room: set[InodeNo] = set()
        self._free_then = 0  # room there was when the last of them met a full disk

    def __len__(self) -> int:
        return len(self._times)

    def __contains__(self, ino: InodeNo) -> bool:
        return ino in self._times

    def left(self, ino: InodeNo) -> None:
        """A draft was left; it may be sealed when it has been left alone for a while."""
        self._noted_ns = self._clock()
        self._not_before(ino, self._noted_ns + self._after_ns)

    def at_once(self, ino: InodeNo) -> None:
        """A draft may be sealed now, unless it has a time already."""
        self._times.setdefault(ino, self._clock())

    def failed(self, ino: InodeNo, error: Exception) -> None:
        """Sealing is tried again later, or as soon as a disk that was full is so no more."""
        if isinstance(error, OSError) and error.errno in FULL:
            self._without_room.add(ino)
            self._free_then = self._free_bytes()
        self._not_before(ino, self._clock() + int(RETRY_SECONDS * NANOSECONDS))

    def _not_before(self, ino: InodeNo, time_ns: int) -> None:
        self._times[ino] = max(time_ns, self._times.get(ino, 0))  # one that failed keeps its delay

    def remove(self, ino: InodeNo) -> None:
        self._times.pop(ino, None)
        self._without_room.discard(ino)

    def now(self, *, everything: bool = False) -> list[InodeNo]:
        """Files that may be sealed now, in the order in which they were left; or all."""
        if self._without_room and self._free_bytes() >= self._free_then + ROOM_BYTES:
            self._times |= dict.fromkeys(self._without_room & self._times.keys(), 0)
            self._without_room.clear()
        now = self._clock()
        return [ino for ino, time_ns in self._times.items() if everything or time_ns <= now]

    def waits_for_writers(self) -> bool:
        """Whether files are being written, and what is due can wait: it would slow them down."""
        now = self._clock()
        if self._waits_since is None:
            self._waits_since = now
        waited = now - self._waits_since >= int(WAIT_SECONDS_MAX * NANOSECONDS)
        is_quiet = now - self._noted_ns >= self._after_ns or len(self) >= WAITING_MAX
        return not (is_quiet or waited)

    def waited(self) -> None:
        """What was due is taken now: the next wait for writers begins anew."""
        self._waits_since = None
