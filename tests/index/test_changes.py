"""The log of changes: nothing that changed is forgotten before it is written."""

import stat
from collections.abc import Iterator

import pytest

from stowkenfs.ids import ROOT_INODE, InodeNo
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
    assert len(seen) == 50
