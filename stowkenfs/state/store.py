"""Where state lives: values by key, the same in a vault, SQLite, Redis and a bucket."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from stowkenfs.errors import InvalidStateKey, Unstorable

KEY_BYTES_MAX = 1000
"""S3 takes 1,024 with what a store puts before it."""
COMPONENT_BYTES_MAX = 200
VALUE_BYTES_MAX = 256 << 20
"""More than any grid in any format; half of what Redis takes."""


@dataclass(frozen=True, slots=True, order=True)
class StateEntry:
    """One value, without its bytes. Times in ns since 1970; None: it does not expire."""

    key: str
    size_bytes: int
    modified_ns: int
    expires_ns: int | None = None


class StateStore(Protocol):
    """Bytes by key; every kind is opened with ``async with ….open(…) as store``.

    Every method may be called from many tasks, under asyncio and trio.

    A key is one or more names with slashes between, as ``sessions/ann_2026-10-22.session``:
    each at most 200 bytes of UTF-8, all together 1,000, none ``.`` or ``..``, no control
    characters. Where values are files, no key can be a folder of another.

    What has expired is as if deleted; its room comes back with ``sweep``, or by itself.
    Raises InvalidStateKey, and StateStoreFailed if what is behind does not answer.
    """

    async def get(self, key: str) -> bytes | None:
        """The value, or None."""

    async def put(
        self, key: str, content: bytes, *, expires_after: timedelta | None = None
    ) -> None:
        """Keep ``content``: all of it or, if this fails, what was there before.

        On return it survives what the store survives. Without ``expires_after`` it stays until
        it is deleted, whatever was said of the value before. Raises Unstorable.
        """

    async def append(self, key: str, at: int, content: bytes) -> None:
        """Make the value its first ``at`` bytes and ``content``; when it expires is as before.

        If this is cut short, there may be less of ``content``, or nothing behind ``at``.
        One program at a time does this with a key. Raises StateNotFound if there are not so
        many bytes.
        """

    async def delete(self, key: str) -> bool:
        """Remove the value; whether there was one."""

    async def list(self, prefix: str = "") -> Sequence[StateEntry]:
        """All whose key begins with ``prefix``, by key."""

    async def sweep(self) -> int:
        """Remove what has expired; how many that were."""


def has_expired(expires_ns: int | None, now_ns: int) -> bool:
    """Whether the time is over; None: never."""
    return expires_ns is not None and expires_ns <= now_ns


def check_key(key: str) -> str:
    """``key`` if it can be one. Raises InvalidStateKey."""
    if not isinstance(key, str) or not key:
        raise InvalidStateKey(key, "is no text, or empty; give it a name")
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        raise InvalidStateKey(key, "is not valid Unicode text") from None
    if any(byte < 0x20 or byte == 0x7F for byte in encoded):
        raise InvalidStateKey(key, "contains a control character")
    if len(encoded) > KEY_BYTES_MAX:
        raise InvalidStateKey(key, f"is longer than {KEY_BYTES_MAX} bytes")
    for part in encoded.split(b"/"):
        if part in (b"", b".", b".."):
            raise InvalidStateKey(key, f"has {part.decode()!r} as a component")
        if len(part) > COMPONENT_BYTES_MAX:
            raise InvalidStateKey(key, f"has a component longer than {COMPONENT_BYTES_MAX} bytes")
    return key


def check_value(content: bytes) -> bytes:
    """``content`` if every store can hold it. Raises Unstorable."""
    if len(content) > VALUE_BYTES_MAX:
        raise Unstorable(f"{len(content)} bytes of state; {VALUE_BYTES_MAX} are the most")
    return content


def nanoseconds(duration: timedelta) -> int:
    """Exactly; raises ValueError unless it is more than nothing."""
    if duration <= timedelta(0):
        raise ValueError(f"what expires after {duration} would never be there")
    return duration // timedelta(microseconds=1) * 1000
