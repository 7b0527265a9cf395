"""The log of changes: nothing that changed is forgotten before it is written."""

import stat
from collections.abc import Iterator

import pytest

from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index import changes as changes_module
from stowkenfs.index.catalogue import Catalogue, Extent
from stowkenfs.index.changes import ChangeLog, DentryChange, InodeChange
from stowkenfs.index.connection import Connection
from stowkenfs.index.inodes import Inode, InodeTable

INO = InodeNo(7)


class Table:
    """The parts of an index that the log is about."""

    def __init__(self) -> None:
        self.connection = Connection(None)
        self.inodes = InodeTable(self.connection)
        self.catalogue = Catalogue(self.connection)
        self.log = ChangeLog(self.connection, self.inodes)
        self.inode = Inode(INO, stat.S_IFREG, 0, 0, 1, 0, 0, 0, 0, 0, InodeNo(0), None)

    def settle(self) -> list[InodeChange | DentryChange]:
        page = self.log.page(100)
        self.log.settle(page)
        return [change for change, _ in page]


@pytest.fixture
def table() -> Iterator[Table]:
    found = Table()
    yield found
    found.connection.close()


def test_extents_and_ids_let_rows_wait_for_the_end_of_a_transaction(table: Table) -> None:
    """A file is one row, not one for each thing that is told of it; all of it is noted."""
    extents = [Extent(0, 9, 1, 1)]
    with table.connection.transaction():
        table.inodes.insert(table.inode)
        table.catalogue.replace_extents(INO, 0, 9, extents)
        table.inodes.name_conversation(INO, ["name"])
        waiting = table.connection.has_pending
        assert waiting
        table.inode.size = 9
        table.inodes.update(table.inode)
    assert not table.connection.has_pending
    assert table.settle() == [InodeChange(INO, table.inode, extents_from=0, extents=tuple(extents))]
    assert table.inodes.conversation("name") == INO
    with pytest.raises(ZeroDivisionError), table.connection.transaction():  # noqa: PT012
        table.inode.size = 20
        table.inodes.update(table.inode)
        table.catalogue.replace_extents(INO, 0, 9, [Extent(0, 20, 2, 1)])
        table.inodes.name_conversation(INO, ["other"])
        raise ZeroDivisionError
    assert table.catalogue.extents(INO, 0, 9) == extents
    assert table.inodes.conversation("name") == INO
    found = table.inodes.get(INO)
    assert found is not None
    assert found.size == 9


def test_every_kind_of_change_is_noted(table: Table) -> None:
    table.inodes.insert(table.inode)
    assert table.settle() == [InodeChange(INO, table.inode)]
    table.inode.size = 9
    table.inodes.update(table.inode)
    assert table.settle() == [InodeChange(INO, table.inode)]
    table.inodes.set_xattr(INO, b"user.a", b"1")
    assert table.settle() == [InodeChange(INO, table.inode, ((b"user.a", b"1"),))]
    table.inodes.set_xattr(INO, b"user.a", b"2")
    assert table.settle() == [InodeChange(INO, table.inode, ((b"user.a", b"2"),))]
    table.inodes.remove_xattr(INO, b"user.a")
    assert table.settle() == [InodeChange(INO, table.inode)]
    table.inodes.link(ROOT_INODE, b"a", INO)
    assert table.settle() == [DentryChange(ROOT_INODE, b"a", INO)]
    table.inodes.link(ROOT_INODE, b"a", InodeNo(8))
    assert table.settle() == [DentryChange(ROOT_INODE, b"a", InodeNo(8))]
    table.inodes.unlink(ROOT_INODE, b"a")
    assert table.settle() == [DentryChange(ROOT_INODE, b"a", None)]
    table.inodes.delete(INO)
    assert table.settle() == [InodeChange(INO, None)]
    assert table.settle() == []


def test_extents_are_stated_from_the_first_change_on(table: Table) -> None:
    table.inodes.insert(table.inode)
    extents = [Extent(at, 10, at, 1) for at in range(0, 50, 10)]
    table.catalogue.replace_extents(INO, 0, 50, extents)
    assert table.settle() == [InodeChange(INO, table.inode, (), 0, tuple(extents))]
    table.catalogue.replace_extents(INO, 30, 40, [Extent(30, 10, 99, 1)])
    expected = (Extent(30, 10, 99, 1), extents[4])
    assert table.settle() == [InodeChange(INO, table.inode, (), 30, expected)]
    table.catalogue.cut_extents(INO, 25)
    assert table.settle() == [InodeChange(INO, table.inode, (), 20, (Extent(20, 5, 20, 1),))]
    table.catalogue.cut_extents(INO, 0)
    assert table.settle() == [InodeChange(INO, table.inode, (), 0, ())]


def test_a_change_made_while_an_earlier_one_is_written_stays(table: Table) -> None:
    table.inodes.insert(table.inode)
    table.inodes.link(ROOT_INODE, b"a", INO)
    page = table.log.page(100)
    table.inode.size = 5
    table.inodes.update(table.inode)
    table.inodes.link(ROOT_INODE, b"a", InodeNo(8))
    table.log.settle(page)
    assert table.settle() == [
        InodeChange(INO, table.inode),
        DentryChange(ROOT_INODE, b"a", InodeNo(8)),
    ]


def test_pages_are_bounded_and_reach_everything(table: Table) -> None:
    for n in range(25):
        table.inodes.link(ROOT_INODE, b"%02d" % n, INO)
        table.inode.ino = InodeNo(100 + n)
        table.inodes.insert(table.inode)
    seen: list[InodeChange | DentryChange] = []
    while page := table.log.page(7):
        assert len(page) <= 7
        seen += [change for change, _ in page]
        table.log.settle(page)
        assert table.log.are_all(page, 7) == (len(seen) == 50)
    assert len(seen) == 50


def test_a_long_file_is_stated_in_parts(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """All extents are told, those that change meanwhile too; the last statement of each holds."""
    monkeypatch.setattr(changes_module, "EXTENTS_AT_ONCE", 4)
    table.inodes.insert(table.inode)
    extents = [Extent(at, 10, at, 1) for at in range(0, 300, 10)]
    table.catalogue.replace_extents(INO, 0, 300, extents)
    told: dict[int, Extent] = {}
    pages = 0
    while page := table.log.page(100):
        pages += 1
        assert pages < 50
        for change, _ in page:
            assert isinstance(change, InodeChange)
            assert len(change.extents) <= 4
            if change.extents_from is not None:
                told = {at: one for at, one in told.items() if at < (change.extents_from or 0)}
                told |= {extent.start: extent for extent in change.extents}
        if pages == 3:  # while it is written
            extents[2] = Extent(20, 10, 999, 1)
            table.catalogue.replace_extents(INO, 20, 30, extents[2:3])
        table.log.settle(page)
    assert list(told.values()) == extents
