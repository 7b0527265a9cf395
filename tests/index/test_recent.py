"""Rows that are remembered: what the database has, and no more of them than were asked for."""

import sqlite3
import stat

import pytest

from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.inodes import Inode, InodeTable
from stowkenfs.index.pending import UNKNOWN
from stowkenfs.index.recent import Recent, RecentRows


def inode(number: int, mode: int = stat.S_IFREG) -> Inode:
    return Inode(InodeNo(number), mode, 0, 0, 1, 0, 0, 0, 0, 0, InodeNo(0), None)


def remembering(rows_max: int = 100) -> tuple[Connection, RecentRows, InodeTable]:
    connection, recent = Connection(None), RecentRows(rows_max)
    return connection, recent, InodeTable(connection, recent=recent)


def test_what_was_asked_for_last_is_kept() -> None:
    recent: Recent[int, int] = Recent(2)
    for number in range(3):
        recent.put(number, number)
    assert [recent.get(number) for number in range(3)] == [0, 1, 2]
    for number in range(3, 6):
        recent.put(number, number)
    assert recent.get(1) is UNKNOWN
    assert recent.get(5) == 5
    recent.clear()
    assert recent.get(5) is UNKNOWN


def test_one_without_room_keeps_nothing() -> None:
    recent: Recent[int, int] = Recent(0)
    recent.put(1, 1)
    assert recent.get(1) is UNKNOWN


def test_a_second_look_needs_no_query() -> None:
    connection, _, table = remembering()
    table.insert(inode(2))
    table.link(ROOT_INODE, b"a", InodeNo(2))
    connection.flush()
    connection.execute("DELETE FROM inode")  # behind its back
    connection.execute("DELETE FROM dentry")
    assert table.get(InodeNo(2)) == inode(2)
    assert table.find_inode(ROOT_INODE, b"a") == inode(2)
    connection.close()


def test_what_changed_is_seen_at_once() -> None:
    connection, _, table = remembering()
    table.insert(inode(2))
    assert table.find(ROOT_INODE, b"a") is None
    for _ in range(2):
        table.link(ROOT_INODE, b"a", InodeNo(2))
        assert table.find(ROOT_INODE, b"a") == 2
        connection.flush()
        assert table.find(ROOT_INODE, b"a") == 2
        table.unlink(ROOT_INODE, b"a")
        assert table.find(ROOT_INODE, b"a") is None
        connection.flush()
        assert table.find_inode(ROOT_INODE, b"a") is None
    longer = inode(2)
    longer.size = 9
    table.update(longer)
    connection.flush()
    assert table.get(InodeNo(2)) == longer
    table.delete(InodeNo(2))
    connection.flush()
    assert table.get(InodeNo(2)) is None
    connection.close()


def test_all_names_of_a_new_directory_are_known() -> None:
    connection, recent, table = remembering(4)
    table.insert(inode(2, stat.S_IFDIR))
    table.link(InodeNo(2), b"a", InodeNo(3))
    connection.flush()
    assert recent.name(2, b"a") == 3
    assert recent.name(2, b"b") is None
    assert recent.name(3, b"b") is UNKNOWN
    for number in range(20):  # so many that the first are forgotten
        table.link(InodeNo(2), b"%d" % number, InodeNo(3))
    connection.flush()
    assert recent.name(2, b"b") is UNKNOWN
    assert table.find(InodeNo(2), b"a") == 3
    connection.close()


def test_a_rollback_is_not_remembered() -> None:
    connection, recent, table = remembering()
    table.insert(inode(2))
    connection.flush()

    def fail() -> None:
        with connection.transaction():
            table.link(ROOT_INODE, b"a", InodeNo(2))
            connection.execute("SELECT 1")  # which has all changes written
            assert recent.name(ROOT_INODE, b"a") == 2
            connection.execute("no statement")

    with pytest.raises(sqlite3.OperationalError):
        fail()
    assert recent.name(ROOT_INODE, b"a") is UNKNOWN
    assert table.find(ROOT_INODE, b"a") is None
    connection.close()
