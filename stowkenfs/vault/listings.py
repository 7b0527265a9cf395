"""Which directories somebody is in the middle of."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from stowkenfs.ids import InodeNo


class Listings:
    """Directories in whose listings positions have to stay. Event loop's thread."""

    def __init__(self) -> None:
        self._going_on: Counter[InodeNo] = Counter()

    def __contains__(self, directory: InodeNo) -> bool:
        return directory in self._going_on

    @contextmanager
    def of(self, directory: InodeNo) -> Iterator[None]:
        """While inside, positions in a directory stay as they are."""
        self.begin(directory)
        try:
            yield
        finally:
            self.end(directory)

    def begin(self, directory: InodeNo) -> None:
        self._going_on[directory] += 1

    def end(self, directory: InodeNo) -> None:
        self._going_on[directory] -= 1
        if not self._going_on[directory]:
            del self._going_on[directory]
