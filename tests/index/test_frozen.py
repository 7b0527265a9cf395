"""Groups of frozen rows: everything comes back, and hostile bytes raise Corrupt only."""

import random
import stat
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo
from stowkenfs.index.frozen import (
    FrozenInode,
    InodeGroup,
    Name,
    NameGroup,
    encode_inodes,
    encode_names,
)
from stowkenfs.index.frozen_columns import Cursor, decode_column, encode_column
from stowkenfs.index.rows import Extent, Inode
from stowkenfs.minimal_zstd import compress

I64 = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.one_of(I64, st.integers(-3, 300), st.sampled_from([5, 10**18]))
SIZES = st.one_of(st.integers(0, 2**63 - 1), st.integers(0, 5000))
MODES = st.integers(0, 0o177777)
WORDS = st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 300))
PARENTS = st.one_of(st.integers(0, 2**62), st.integers(0, 300))
BYTES = st.binary(max_size=20)


@st.composite
def extents(draw: st.DrawFn) -> tuple[Extent, ...]:
    found, at = [], 0
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 5]))):
        start = at + draw(st.sampled_from([0, 0, 7, 2**40]))
        at = start + draw(st.integers(1, 2**50))
        record, count = draw(st.integers(0, 2**60)), draw(st.integers(0, 2**31))
        found.append(Extent(start, at - start, record, count))
    return tuple(found)


@st.composite
def frozen_inodes(draw: st.DrawFn) -> list[FrozenInode]:
    numbers = draw(
        st.one_of(
            st.sets(st.integers(1, 2**63 - 1), min_size=1, max_size=12),
            st.integers(1, 12).map(lambda count: set(range(7, 7 + count))),
        )
    )
    rows = []
    for ino in sorted(numbers):
        here = draw(extents())
        size = draw(st.one_of(SIZES, st.just(here[-1].end if here else 0)))
        inode = Inode(
            InodeNo(ino), draw(MODES), draw(WORDS), draw(WORDS), draw(WORDS), size,
            draw(SIZES), draw(NUMBERS), draw(NUMBERS), draw(NUMBERS), InodeNo(draw(PARENTS)),
            draw(st.none() | BYTES),
        )  # fmt: skip
        xattrs = draw(st.dictionaries(BYTES, BYTES, max_size=2))
        rows.append(FrozenInode(inode, tuple(sorted(xattrs.items())), here, draw(st.booleans())))
    return rows


NAMES = st.one_of(
    st.binary(min_size=1, max_size=255).map(lambda name: name.translate(None, b"\0./") or b"x"),
    st.integers(0, 3000).map(lambda number: b"%d.json" % number),
)


@st.composite
def entries(draw: st.DrawFn) -> list[Name]:
    found = draw(st.dictionaries(st.tuples(st.integers(1, 3) | SIZES, NAMES), SIZES, min_size=1))
    return [(InodeNo(key[0]), key[1], InodeNo(ino)) for key, ino in sorted(found.items())]


# Columns

SQUARES = [2**62 + n * n * 10**14 for n in range(200)]


@settings(deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=300), st.randoms(use_true_random=False))
@example([-(2**63), 2**63 - 1, 0], random.Random(1))
@example([2**63 - 1], random.Random(1))
def test_a_column_comes_back(numbers: list[int], chance: random.Random) -> None:
    values = np.array(numbers, np.int64)
    other = np.array([chance.choice([one, one - 9, 0]) for one in numbers[::-1]]).clip(
        -(2**63), 2**63 - 1
    )
    other = other.astype(np.int64)
    for beside in (None, other):
        cursor = Cursor(encode_column(values, beside) + b"rest")
        assert decode_column(cursor, len(numbers), beside).tolist() == numbers
        assert cursor.rest() == b"rest"


@pytest.mark.parametrize(
    ("numbers", "other", "bytes_max"),
    [
        ([7] * 256, None, 2),
        (list(range(1000, 1256)), None, 5),
        ([2**62 + n % 3 for n in range(256)], None, 300),
        (SQUARES, [number - 5 for number in SQUARES], 3),
    ],
    ids=["equal", "counting", "few values", "beside another column"],
)  # fmt: skip
def test_columns_are_small(numbers: list[int], other: list[int] | None, bytes_max: int) -> None:
    beside = None if other is None else np.array(other, np.int64)
    assert len(encode_column(np.array(numbers, np.int64), beside)) <= bytes_max


# Groups


@settings(deadline=None)
@given(frozen_inodes(), SIZES)
def test_inodes_come_back(rows: list[FrozenInode], as_of: int) -> None:
    group = InodeGroup(encode_inodes(as_of, rows))
    assert (group.as_of, group.count, group.rows()) == (as_of, len(rows), rows)
    assert (group.first, group.last) == (rows[0].inode.ino, rows[-1].inode.ino)
    for at, row in enumerate(rows):
        assert group.position(row.inode.ino) == at
        one = FrozenInode(
            group.inode(at), group.xattrs(at), group.extents(at), group.is_conversation(at)
        )
        assert one == row
    assert group.position(InodeNo(0)) is None
    known = {row.inode.ino for row in rows}
    for near in (group.first + 1, group.last - 1):
        assert (group.position(InodeNo(near)) is not None) == (near in known)


@settings(deadline=None)
@given(entries(), SIZES)
def test_names_come_back(rows: list[Name], as_of: int) -> None:
    group = NameGroup(encode_names(as_of, rows))
    assert (group.as_of, group.count, group.entries()) == (as_of, len(rows), rows)
    for at, (parent, name, _) in enumerate(rows):
        assert group.position(parent, name) == at
        assert at in group.within(parent)
        absent = (parent, name + b"\0")
        assert group.position(*absent) is None
    assert not group.within(InodeNo(-1))


def copied_files(count: int) -> list[FrozenInode]:
    """What ``cp -r`` of small files leaves: a file a millisecond, with noise."""
    chance = random.Random(5)
    rows = []
    now, record = 1795271332952752226, 36492
    for ino in range(9000, 9000 + count):
        now += chance.randrange(200_000, 1_200_000)
        size = chance.randrange(200, 900)
        inode = Inode(
            InodeNo(ino), stat.S_IFREG | 0o644, 0, 0, 1, size, 0, now, now, now, InodeNo(0), None
        )
        rows.append(FrozenInode(inode, (), (Extent(0, size, record, 1),), is_conversation=True))
        record += 1
    return rows


def test_a_small_file_takes_few_bytes() -> None:
    """Some 20 bits of time and 10 of size; what can be told from a neighbour costs nothing."""
    payload = encode_inodes(1, copied_files(256))
    assert len(compress(payload, 19)) <= 256 * 5
    names: list[Name] = [(InodeNo(7), b"%05d.json" % n, InodeNo(9000 + n)) for n in range(256)]
    assert len(compress(encode_names(1, names), 19)) <= 256


# Hostile bytes


def damage(payload: bytes, flips: Sequence[tuple[int, int]], cut: int | None) -> bytes:
    damaged = bytearray(payload)
    for at, value in flips:
        damaged[at % len(damaged)] = value
    return bytes(damaged[:cut])


FLIPS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4)
CUTS = st.none() | st.integers(0, 2000)


def read_inodes(payload: bytes) -> None:
    try:
        group = InodeGroup(payload)
        for at in range(group.count):
            group.inode(at)
        rows = group.rows()
    except Corrupt:
        return
    for row in rows:  # what SQLite can take
        numbers = [getattr(row.inode, name) for name in Inode.__slots__ if name != "target"]
        numbers += [number for one in row.extents for number in (one.start, one.end, one.record)]
        assert all(-(2**63) <= number < 2**63 for number in numbers)
        assert len({one.start for one in row.extents}) == len(row.extents)
        assert len({name for name, _ in row.xattrs}) == len(row.xattrs)
    assert len({row.inode.ino for row in rows}) == len(rows)


def read_names(payload: bytes) -> None:
    try:
        rows = NameGroup(payload).entries()
    except Corrupt:
        return
    assert len({row[:2] for row in rows}) == len(rows)


@settings(deadline=None, max_examples=300)
@given(frozen_inodes(), FLIPS, CUTS)
def test_damaged_inodes(
    rows: list[FrozenInode], flips: list[tuple[int, int]], cut: int | None
) -> None:
    read_inodes(damage(encode_inodes(3, rows), flips, cut))


@settings(deadline=None, max_examples=300)
@given(entries(), FLIPS, CUTS)
def test_damaged_names(rows: list[Name], flips: list[tuple[int, int]], cut: int | None) -> None:
    read_names(damage(encode_names(3, rows), flips, cut))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
@example(b"")
@example(b"\x00\x00")
@example(b"\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
@example(b"\x00\x80\x20" + b"\x00\x00" * 40)
def test_any_bytes(payload: bytes) -> None:
    read_inodes(payload)
    read_names(payload)
