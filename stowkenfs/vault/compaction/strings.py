"""Many byte strings in few objects."""

from array import array
from collections.abc import Iterator


class Strings:
    """Byte strings one after another, to be appended to; 8 bytes each beside what they hold.

    To pickle it takes as long as to copy it.
    """

    __slots__ = ("_body", "_ends")

    def __init__(self) -> None:
        self._body = bytearray()
        self._ends = array("q", (0,))  # where each begins, and where the last one ends

    def append(self, string: bytes) -> None:
        self._body += string
        self._ends.append(len(self._body))

    def size(self, at: int) -> int:
        """Bytes of string ``at``, 0 to n-1."""
        return self._ends[at + 1] - self._ends[at]

    @property
    def total_bytes(self) -> int:
        return len(self._body)

    def __getitem__(self, at: int) -> bytes:
        with memoryview(self._body) as body:
            return bytes(body[self._ends[at] : self._ends[at + 1]])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[bytes]:
        return map(self.__getitem__, range(len(self)))
