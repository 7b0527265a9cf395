"""Rows of drafts."""

from collections.abc import Iterator

import pytest

from stowkenfs.ids import InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.drafts import DraftTable, Region


@pytest.fixture
def table() -> Iterator[DraftTable]:
    connection = Connection(None)
    yield DraftTable(connection)
    connection.close()


def test_rows_come_back_in_order(table: DraftTable) -> None:
    regions = [Region(50, 0, None), Region(0, 90, 10), Region(2**62, 7, 1)]
    table.put(InodeNo(3), 4, regions)
    table.put(InodeNo(2), 1, [])
    assert table.all() == [(2, 1), (3, 4)]
    assert table.generation(InodeNo(3)) == 4
    assert table.generation(InodeNo(9)) is None
    assert table.regions(InodeNo(3)) == [regions[1], regions[0], regions[2]]


def test_put_states_the_whole_draft(table: DraftTable) -> None:
    table.put(InodeNo(3), 1, [Region(0, 0, 5), Region(9, 5, None)])
    table.put_region(InodeNo(3), Region(9, 5, 2))
    table.put_region(InodeNo(3), Region(20, 7, None))
    assert table.regions(InodeNo(3)) == [Region(0, 0, 5), Region(9, 5, 2), Region(20, 7, None)]
    table.put(InodeNo(3), 2, [Region(20, 0, None)])
    assert table.regions(InodeNo(3)) == [Region(20, 0, None)]
    assert table.all() == [(3, 2)]


def test_delete(table: DraftTable) -> None:
    table.put(InodeNo(3), 1, [Region(0, 0, 5)])
    table.put(InodeNo(4), 1, [Region(1, 0, 5)])
    table.delete(InodeNo(3))
    assert table.all() == [(4, 1)]
    assert table.regions(InodeNo(3)) == []
    assert table.regions(InodeNo(4)) == [Region(1, 0, 5)]
