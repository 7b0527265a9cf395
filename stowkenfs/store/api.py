"""What a medium for packs can do: named byte strings that grow at their end."""

from collections.abc import Iterator
from typing import Protocol

from stowkenfs.ids import PackNo


class PackStore(Protocol):
    """Packs on some medium. Methods block; callers keep them off the event loop.

    A pack is only ever written at its committed end, so bytes that were synced
    once are never written again.
    """

    def write(self, pack: PackNo, offset_bytes: int, content: bytes) -> None:
        """Put ``content`` at ``offset_bytes``, creating the pack when it is new."""
        ...

    def read(self, pack: PackNo, offset_bytes: int, length_bytes: int) -> bytes:
        """Up to ``length_bytes``: fewer at the end of the pack, none where it is absent."""
        ...

    def sync(self, pack: PackNo) -> None:
        """Return when all that was written to ``pack``, and its name, survive a power cut."""
        ...

    def truncate(self, pack: PackNo, length_bytes: int) -> None:
        """Drop what an interrupted commit left beyond ``length_bytes``."""
        ...

    def remove(self, pack: PackNo) -> None:
        """Take a pack away that nothing refers to."""
        ...

    def packs(self) -> Iterator[tuple[PackNo, int]]:
        """Number and length in bytes of each pack, by number."""
        ...

    def close(self) -> None: ...
