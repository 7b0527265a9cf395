"""Packs in memory, for vaults without a disk."""

import threading
from collections.abc import Iterator

from stowkenfs.ids import PackNo


class MemoryStore:
    """Packs as byte arrays; ``_lock`` guards ``_packs``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._packs: dict[PackNo, bytearray] = {}

    def write(self, pack: PackNo, offset_bytes: int, content: bytes) -> None:
        with self._lock:
            held = self._packs.setdefault(pack, bytearray())
            held[offset_bytes : offset_bytes + len(content)] = content

    def read(self, pack: PackNo, offset_bytes: int, length_bytes: int) -> bytes:
        with self._lock:
            held = self._packs.get(pack, bytearray())
            return bytes(held[offset_bytes : offset_bytes + length_bytes])

    def sync(self, pack: PackNo) -> None:
        """Nothing is promised beyond the life of the process."""

    def truncate(self, pack: PackNo, length_bytes: int) -> None:
        with self._lock:
            del self._packs[pack][length_bytes:]

    def remove(self, pack: PackNo) -> None:
        with self._lock:
            self._packs.pop(pack, None)

    def packs(self) -> Iterator[tuple[PackNo, int]]:
        with self._lock:
            sizes = [(pack, len(held)) for pack, held in sorted(self._packs.items())]
        yield from sizes

    def close(self) -> None:
        """The packs go with the object."""
