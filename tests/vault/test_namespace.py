"""The tree in packs: what is stated comes back, and hostile bytes give Corrupt."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo
from stowkenfs.index.catalogue import Extent
from stowkenfs.index.changes import Change, DentryChange, InodeChange
from stowkenfs.index.inodes import Inode
from stowkenfs.vault.namespace import (
    Checkpoint,
    decode_changes,
    encode_changes,
    encode_checkpoint,
)

UNSIGNED = st.one_of(st.integers(0, 300), st.integers(0, 2**63 - 1))
SIGNED = st.one_of(st.integers(-300, 300), st.integers(-(2**63), 2**63 - 1))
INODE_NOS = UNSIGNED.map(InodeNo)
WORDS = st.one_of(st.integers(0, 300), st.integers(0, 2**32 - 1))
TEXTS = st.binary(min_size=1, max_size=20)
NAMES = TEXTS.map(lambda name: name.translate(None, b"./\0") or b"x")
INODES = st.builds(
    Inode,
    INODE_NOS, st.integers(0, 0o177777), WORDS, WORDS, WORDS, UNSIGNED, UNSIGNED,
    SIGNED, SIGNED, SIGNED, st.integers(0, 2**62).map(InodeNo),
    st.one_of(st.none(), st.binary(max_size=30)),
)  # fmt: skip
XATTRS = st.lists(st.tuples(TEXTS, st.binary(max_size=20)), max_size=3).map(tuple)


@st.composite
def inode_changes(draw: st.DrawFn) -> InodeChange:
    inode = draw(INODES)
    start = draw(st.one_of(st.none(), st.integers(0, 2**40)))
    extents, at = [], start or 0
    if start is not None:
        for gap, length in draw(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 999)))):
            record = draw(st.integers(0, 2**61))
            extents.append(Extent(at + gap, length, record, draw(st.integers(1, 1024))))
            at += gap + length
    return InodeChange(inode.ino, inode, draw(XATTRS), start, tuple(extents))


CHANGES = st.lists(
    st.one_of(
        inode_changes(),
        st.builds(InodeChange, INODE_NOS, st.none()),
        st.builds(DentryChange, INODE_NOS, NAMES, st.one_of(st.none(), INODE_NOS)),
    ),
    max_size=6,
)


def statements(changes: Sequence[Change]) -> list[Change]:
    """What a reader is told: attributes and extents of an inode apart."""
    told: list[Change] = []
    for change in changes:
        if isinstance(change, InodeChange) and change.inode is not None:
            told.append(replace(change, extents_from=None, extents=()))
            if change.extents_from is not None:
                told.append(replace(change, inode=None, xattrs=()))
        else:
            told.append(change)
    return told


@given(CHANGES)
def test_round_trip(changes: list[Change]) -> None:
    payload, count = encode_changes(changes)
    told = statements(changes)
    assert list(decode_changes(payload)) == told
    assert count == len(told)


@given(st.sets(st.integers(0, 500) | st.integers(0, 2**60)), st.integers(0, 500))
def test_a_checkpoint_comes_back(groups: set[int], behind: int) -> None:
    since = max(groups, default=-1) + 1 + behind
    payload = encode_checkpoint(since, list(groups))
    assert list(decode_changes(payload)) == [Checkpoint(since, tuple(sorted(groups)))]


@given(st.binary(max_size=80))
def test_hostile_bytes(content: bytes) -> None:
    for statement in (b"", b"\x01", b"\x03", b"\x05", b"\x06"):
        try:
            for _ in decode_changes(statement + content):
                pass
        except Corrupt:
            pass


@given(CHANGES, st.data())
def test_a_cut_gives_a_beginning_or_corrupt(changes: list[Change], data: st.DataObject) -> None:
    payload, _ = encode_changes(changes)
    told = statements(changes)
    found: list[Change | Checkpoint] = []
    cut = data.draw(st.integers(0, len(payload)))
    with suppress(Corrupt):
        found.extend(decode_changes(payload[:cut]))
    assert found == told[: len(found)]


@pytest.mark.parametrize(
    "content",
    [
        b"\x00",
        b"\x07",
        b"\x06\x05\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x06\x05\x01\x05",
        b"\x01" + b"\xff" * 20,
        b"\x03\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x05\x01\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    ],
)
def test_claims_without_bytes(content: bytes) -> None:
    with pytest.raises(Corrupt):
        list(decode_changes(content))
