"""Packs from their first byte to their last: whole blocks, and what is none."""

from collections.abc import Iterator
from dataclasses import dataclass

from stowkenfs.errors import Corrupt
from stowkenfs.ids import PackNo
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import (
    HEADER_BYTES,
    MAGIC,
    BlockHead,
    check_block,
    head_of,
    stored_length,
)

SEARCHED_BYTES = 1 << 20
"""Read at a time to find where the next block begins."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A block that checks out, as it lies in a pack."""

    pack: PackNo
    offset_bytes: int
    content: bytes

    @property
    def head(self) -> BlockHead:
        return head_of(self.content)


@dataclass(frozen=True, slots=True)
class Broken:
    """Bytes ``start`` to ``end`` of a pack in which no block begins that checks out.

    ``head``: what a block there claims to be, if one seems to begin at ``start``.
    ``is_cut``: they end the pack, and are no more than the beginning of a block, or zeros.
    """

    pack: PackNo
    start: int
    end: int
    head: BlockHead | None
    is_cut: bool


def walk(
    store: PackStore, pack: PackNo, length_bytes: int, start: int = 0
) -> Iterator[Whole | Broken]:
    """Everything from ``start`` to ``length_bytes`` of a pack, in order. Memory: two blocks."""
    at, broken_from = start, -1
    while at < length_bytes:
        content = _block_at(store, pack, at, length_bytes)
        if content is None:
            broken_from = at if broken_from < 0 else broken_from
            at = _next_start(store, pack, at, length_bytes)
            continue
        if broken_from >= 0:
            yield _broken(store, pack, broken_from, at, length_bytes)
            broken_from = -1
        yield Whole(pack, at, content)
        at += len(content)
    if broken_from >= 0:
        yield _broken(store, pack, broken_from, length_bytes, length_bytes)


def _length_at(store: PackStore, pack: PackNo, at: int) -> int | None:
    """Length of the block that seems to begin at byte ``at``."""
    try:
        return stored_length(store.read(pack, at, HEADER_BYTES), pack, at)
    except Corrupt:
        return None


def _block_at(store: PackStore, pack: PackNo, at: int, end: int) -> bytes | None:
    length = _length_at(store, pack, at)
    if length is None or at + length > end:
        return None
    content = store.read(pack, at, length)
    try:
        check_block(content, pack, at)
    except Corrupt:
        return None
    return content


def _next_start(store: PackStore, pack: PackNo, at: int, end: int) -> int:
    """Where to go on after byte ``at``, at which no block begins; ``end`` if nowhere.

    Behind the block that is damaged, if its length is not: what it holds may be a copy of
    some pack, with blocks of its own.
    """
    length = _length_at(store, pack, at)
    if length is not None and at + length <= end:
        following = at + length
        if following == end or _block_at(store, pack, following, end) is not None:
            return following
    at += 1
    while at < end:
        piece = store.read(pack, at, min(SEARCHED_BYTES, end - at))
        found = piece.find(MAGIC)
        if found >= 0:
            return at + found
        if len(piece) < len(MAGIC):
            return end
        at += len(piece) - len(MAGIC) + 1
    return end


def _broken(store: PackStore, pack: PackNo, start: int, end: int, length_bytes: int) -> Broken:
    first = store.read(pack, start, min(HEADER_BYTES, end - start))
    head = head_of(first) if len(first) == HEADER_BYTES and first.startswith(MAGIC) else None
    length = _length_at(store, pack, start)
    is_cut = end == length_bytes and (
        (length is not None and start + length > end)
        or (len(first) < HEADER_BYTES and MAGIC.startswith(first[: len(MAGIC)]))
        or _is_zeros(store, pack, start, end)
    )
    return Broken(pack, start, end, head, is_cut)


def _is_zeros(store: PackStore, pack: PackNo, start: int, end: int) -> bool:
    while start < end:
        piece = store.read(pack, start, min(SEARCHED_BYTES, end - start))
        if not piece or any(piece):
            return False
        start += len(piece)
    return True
