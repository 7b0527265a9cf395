"""The cache that decoded things are kept in."""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Any


class SizedCache:
    """A least-recently-used cache bounded in bytes, safe to use from any thread.

    Guarded by ``_lock``: ``_held`` (in order of use) and ``_bytes``, the sum of its costs.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._held: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()  # {name: value, cost}
        self._bytes = 0

    def get(self, name: Hashable) -> Any:
        """What was put under ``name``, None if it is not there any more."""
        with self._lock:
            entry = self._held.get(name)
            if entry is None:
                return None
            self._held.move_to_end(name)
        return entry[0]

    def put(self, name: Hashable, value: object, cost_bytes: int) -> None:
        """Keep ``value``, unless it alone would empty the cache."""
        self.put_many([(name, value, cost_bytes)])

    def put_many(self, entries: Iterable[tuple[Hashable, object, int]]) -> None:
        """``put`` of each: name, value and cost in bytes."""
        held = self._held
        with self._lock:
            for name, value, cost_bytes in entries:
                if cost_bytes > self._bytes_max:
                    continue
                before = held.pop(name, None)
                if before is not None:
                    self._bytes -= before[1]
                held[name] = value, cost_bytes
                self._bytes += cost_bytes
            while self._bytes > self._bytes_max:
                self._bytes -= held.popitem(last=False)[1][1]

    def get_many(self, names: Iterable[Hashable]) -> list[Any]:
        """``get`` of each."""
        with self._lock:
            found: list[Any] = []
            for name in names:
                entry = self._held.get(name)
                if entry is None:
                    found.append(None)
                else:
                    self._held.move_to_end(name)
                    found.append(entry[0])
            return found

    def clear(self) -> None:
        with self._lock:
            self._held.clear()
            self._bytes = 0
