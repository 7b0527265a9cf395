"""Extents and blocks against a model that looks at every byte."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stowkenfs.ids import InodeNo, PackNo
from stowkenfs.index import catalogue as catalogue_module
from stowkenfs.index.catalogue import BlockPlace, Catalogue, Extent
from stowkenfs.index.connection import Connection

INO, OTHER = InodeNo(5), InodeNo(6)
END = 60


@pytest.fixture
def connection() -> Iterator[Connection]:
    found = Connection(None)
    yield found
    found.close()


class ExtentMachine(RuleBasedStateMachine):
    """Bytes 0 to END of a document; the model has for each (record, offset in the extent)."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = Connection(None)
        self.catalogue = Catalogue(self.connection)
        self.catalogue.replace_extents(OTHER, 0, END, [Extent(0, END, 999, 1)])
        self.model: list[tuple[int, int] | None] = [None] * END
        self.record = 0

    def teardown(self) -> None:
        self.connection.close()

    @rule(
        start=st.integers(0, END - 1),
        lengths=st.lists(st.integers(1, 12), max_size=5),
        gap=st.booleans(),
    )
    def replace(self, start: int, lengths: list[int], gap: bool) -> None:
        """As sealing does: the range covers whole extents, and the new ones lie in it."""
        end = min(start + sum(lengths), END)
        while start > 0 and self._within(start):
            start -= 1
        while end < END and self._within(end):
            end += 1
        extents, at = [], start
        for number, length in enumerate(lengths):
            fits = min(length, end - at)
            if fits > 0 and not (gap and number == 1):
                extents.append(Extent(at, fits, self.record, number + 1))
                self.record += number + 1
            at += max(fits, 0)
        self.catalogue.replace_extents(INO, start, end, extents)
        self.model[start:end] = [None] * (end - start)
        for extent in extents:
            for byte in range(extent.length):
                self.model[extent.start + byte] = (extent.record, byte)

    def _within(self, at: int) -> bool:
        """Whether an extent goes on at byte ``at``."""
        here = self.model[at]
        return here is not None and here[1] > 0

    @rule(size=st.integers(0, END + 5))
    def cut(self, size: int) -> None:
        self.catalogue.cut_extents(INO, size)
        self.model[size:] = [None] * max(END - size, 0)

    @rule(start=st.integers(0, END), length=st.integers(1, END))
    def query(self, start: int, length: int) -> None:
        """All extents with a byte in the range, whole and in order; no others."""
        found = self.catalogue.extents(INO, start, start + length)
        touched = [byte for byte in self.model[start : start + length] if byte is not None]
        assert [extent.record for extent in found] == list(dict.fromkeys(r for r, _ in touched))

    @invariant()
    def every_byte_is_where_it_was_put(self) -> None:
        found: list[tuple[int, int] | None] = [None] * END
        for extent in self.catalogue.extents(INO, 0, END):
            assert extent.length > 0
            for byte in range(extent.length):
                assert found[extent.start + byte] is None, "extents overlap"
                found[extent.start + byte] = (extent.record, byte)
        assert found == self.model
        assert self.catalogue.extents(OTHER, 0, END) == [Extent(0, END, 999, 1)]


TestExtents = ExtentMachine.TestCase
TestExtents.settings = settings(deadline=None, max_examples=60, stateful_step_count=25)


# Blocks


def place(kind: int, first: int, count: int, pack: int = 1) -> BlockPlace:
    return BlockPlace(kind, first, count, PackNo(pack), first * 10, 10, 20, 30)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(1, 6)), max_size=12),
    st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.integers(0, 50)), max_size=40),
    st.integers(1, 5),
)
def test_locate(blocks: list[tuple[int, int]], asked: list[tuple[int, int]], held: int) -> None:
    """The block of a number, whatever is cached; the cache stays within its bound."""
    connection = Connection(None)
    catalogue = Catalogue(connection)
    nexts = {1: 0, 2: 3}
    places = []
    for kind, count in blocks:
        places.append(place(kind, nexts[kind], count))
        nexts[kind] += count + (count == 3)  # a number that no block holds
    catalogue.add_blocks(places, {PackNo(1): 100})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue_module, "LOCATED_BLOCKS_MAX", held)
        for kind, number in asked:
            expected = [
                p for p in places if p.kind == kind and p.first <= number < p.first + p.count
            ]
            assert catalogue.locate(kind, number) == (expected[0] if expected else None)
            assert len(catalogue._places) <= held
    connection.close()


def test_numbers_and_packs_go_on(connection: Connection) -> None:
    catalogue = Catalogue(connection)
    assert catalogue.next_number(1) == 0
    assert catalogue.open_pack(0) == (0, 0)
    assert catalogue.new_pack() == 1
    catalogue.add_blocks([place(1, 0, 5), place(2, 0, 1)], {PackNo(1): 40})
    catalogue.add_blocks([place(1, 5, 2, pack=2)], {PackNo(2): 7})
    assert catalogue.next_number(1) == 7
    assert catalogue.next_number(2) == 1
    assert catalogue.open_pack(0) == (2, 7)
    assert catalogue.new_pack() == 3
    assert catalogue.reserve(1, 5) == 7
    assert catalogue.next_number(1) == 12


def test_blocks_are_added_all_or_none(connection: Connection) -> None:
    catalogue = Catalogue(connection)
    catalogue.add_blocks([place(1, 0, 5)], {PackNo(1): 40})
    with pytest.raises(Exception, match="UNIQUE"):
        catalogue.add_blocks([place(1, 5, 2), place(1, 0, 5)], {PackNo(1): 90})
    assert catalogue.locate(1, 5) is None
    assert catalogue.open_pack(0) == (1, 40)


def test_keys(connection: Connection) -> None:
    catalogue = Catalogue(connection)
    low, high = -(2**63), 2**63 - 1
    catalogue.keys.add("record_key", [(low, 1), (high, 2), (0, 3)])
    catalogue.keys.add("record_key", [(low, 9)])
    assert catalogue.keys.find("record_key", [low, 0, 7, high]) == {low: 1, 0: 3, high: 2}
    assert catalogue.keys.find("segment_key", [low]) == {}


def test_frames_are_counted(connection: Connection) -> None:
    catalogue = Catalogue(connection)
    counted = "SELECT kind, frames, bytes FROM frame_kind ORDER BY kind"
    assert connection.all(counted) == []
    catalogue.count_frames({1: (2, 20), 2: (1, 5)})
    catalogue.count_frames({1: (1, 1)})
    assert connection.all(counted) == [(1, 3, 21), (2, 1, 5)]
