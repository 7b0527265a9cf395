"""Inode numbers and directory positions: given once, whatever happens in between."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.inodes import COOKIES_RESERVED, Inode, InodeTable


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    found = Connection(tmp_path / "index.db")
    yield found
    found.close()


class Stop(Exception):
    """Rolls back."""


def inode(ino: int, **fields: object) -> Inode:
    values: dict[str, object] = {
        "ino": InodeNo(ino), "mode": stat.S_IFREG | 0o644, "uid": 1, "gid": 2, "nlink": 1,
        "size": 3, "rdev": 4, "atime_ns": -5, "mtime_ns": 6, "ctime_ns": 7, "parent": InodeNo(0),
        "target": None,
    }  # fmt: skip
    return Inode(**(values | fields))  # type: ignore[arg-type]


def make(table: InodeTable, name: bytes) -> InodeNo:
    made = inode(table.new_number())
    table.insert(made)
    table.link(ROOT_INODE, name, made.ino)
    return made.ino


def cookies(table: InodeTable) -> dict[bytes, int]:
    return {dentry.name: dentry.cookie for dentry, _ in table.page(ROOT_INODE, 0, 100_000)}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"target": b"\xff/x", "mode": stat.S_IFLNK | 0o777},
        {"size": 2**63 - 1, "uid": 2**32 - 1, "atime_ns": -(2**63), "mtime_ns": 2**63 - 1},
        {"target": b""},
    ],
)
def test_a_row_comes_back(connection: Connection, fields: dict[str, object]) -> None:
    table = InodeTable(connection)
    made = inode(9, **fields)
    table.insert(made)
    assert table.get(InodeNo(9)) == made
    table.link(ROOT_INODE, b"\xff name", made.ino)
    assert table.find_inode(ROOT_INODE, b"\xff name") == made
    assert table.find(ROOT_INODE, b"\xff name") == 9
    ((dentry, listed),) = table.page(ROOT_INODE, 0, 9)
    assert (dentry.name, dentry.ino, listed) == (b"\xff name", 9, made)


def test_update_writes_all_that_can_change(connection: Connection) -> None:
    table = InodeTable(connection)
    table.insert(inode(9))
    changed = inode(9, mode=1, uid=11, gid=12, nlink=13, size=14, atime_ns=15, mtime_ns=16,
                    ctime_ns=17, parent=InodeNo(18))  # fmt: skip
    table.update(changed)
    assert table.get(InodeNo(9)) == changed


# Inode numbers


def reopened(connection: Connection, path: Path) -> tuple[Connection, InodeTable]:
    connection.close()
    again = Connection(path)
    return again, InodeTable(again)


@pytest.mark.parametrize("order", ["first", "last", "all up", "all down", "rolled back between"])
def test_a_number_is_never_given_twice(tmp_path: Path, order: str) -> None:
    path = tmp_path / "other.db"
    connection = Connection(path)
    table = InodeTable(connection)
    given: set[int] = set()
    for _ in range(3):
        made = [make(table, b"%d" % n) for n in range(4)]
        assert not given & set(made)
        given |= set(made)
        if order == "rolled back between":
            with pytest.raises(Stop), connection.transaction():  # noqa: PT012
                make(table, b"never")
                raise Stop
        gone = {"first": made[:1], "last": made[-1:], "all down": made[::-1]}.get(order, made)
        for ino in gone:
            table.delete(ino)
        connection, table = reopened(connection, path)
    assert table.new_number() not in given
    connection.close()


def test_a_rolled_back_deletion_forgets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = Connection(path)
    table = InodeTable(connection)
    one, two = make(table, b"1"), make(table, b"2")
    with pytest.raises(Stop), connection.transaction():  # noqa: PT012
        table.delete(two)
        raise Stop
    assert table.get(two) is not None
    table.delete(two)
    table.delete(one)
    connection, table = reopened(connection, path)
    assert table.new_number() > two
    connection.close()


def test_deleting_forgets_everything_about_a_file(connection: Connection) -> None:
    table = InodeTable(connection)
    ino = make(table, b"a")
    table.set_xattr(ino, b"user.x", b"1")
    table.name_conversation(ino, ["id"])
    connection.execute("INSERT INTO extent VALUES (?, 0, 1, 0, 1)", (ino,))
    table.delete(ino)
    for name in ("inode", "extent", "xattr", "conversation", "draft", "draft_region"):
        assert connection.one(f"SELECT count(*) FROM {name}") == (0,)
    assert table.conversation("id") is None


# Directory positions


def test_positions_stay_while_the_directory_changes(connection: Connection) -> None:
    table = InodeTable(connection)
    for n in range(20):
        make(table, b"%02d" % n)
    before = cookies(table)
    assert sorted(before.values()) == list(before.values())
    for n in range(0, 20, 2):
        table.unlink(ROOT_INODE, b"%02d" % n)
    make(table, b"new")
    after = cookies(table)
    assert all(after[name] == before[name] for name in after if name != b"new")
    assert after[b"new"] > max(before.values())


def test_pages_go_on_where_the_last_ended(connection: Connection) -> None:
    """Each name that is there all the time is listed exactly once, whatever else happens."""
    table = InodeTable(connection)
    for n in range(50):
        make(table, b"%02d" % n)
    seen: list[bytes] = []
    at = 0
    while page := table.page(ROOT_INODE, at, 7):
        for dentry, _ in page:
            seen.append(dentry.name)
            at = dentry.cookie
        table.unlink(ROOT_INODE, seen[-1])
        if len(seen) < 30:
            make(table, b"late %d" % len(seen))
    steady = [name for name in seen if not name.startswith(b"late")]
    assert steady == [b"%02d" % n for n in range(50)]
    assert len(seen) == len(set(seen))


def test_a_position_is_never_given_twice(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = Connection(path)
    table = InodeTable(connection)
    given: set[int] = set()
    for turn in range(4):
        for n in range(10):
            make(table, b"%d %d" % (turn, n))
        with pytest.raises(Stop), connection.transaction():  # noqa: PT012
            make(table, b"never")
            raise Stop
        make(table, b"%d after" % turn)
        now = set(cookies(table).values())
        assert not now & given
        given |= now
        for name in cookies(table):
            table.unlink(ROOT_INODE, name)
        connection, table = reopened(connection, path)
    connection.close()


def test_a_rolled_back_reservation_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = Connection(path)
    table = InodeTable(connection)
    with pytest.raises(Stop), connection.transaction():  # noqa: PT012
        make(table, b"the first, which reserves")
        raise Stop
    make(table, b"kept")
    kept = cookies(table)[b"kept"]
    connection, table = reopened(connection, path)
    make(table, b"next")
    assert cookies(table)[b"next"] > kept
    connection.close()


def test_positions_beyond_one_reservation(connection: Connection) -> None:
    table = InodeTable(connection)
    with connection.transaction():
        for n in range(COOKIES_RESERVED + 10):
            table.link(ROOT_INODE, b"%d" % n, InodeNo(1))
    rows = connection.all("SELECT count(DISTINCT cookie), max(cookie) FROM dentry")
    assert rows[0][0] == COOKIES_RESERVED + 10


def test_a_name_taken_over_keeps_its_position(connection: Connection) -> None:
    table = InodeTable(connection)
    one, two = make(table, b"a"), make(table, b"b")
    before = cookies(table)
    table.link(ROOT_INODE, b"a", two)
    assert table.find(ROOT_INODE, b"a") == two != one
    assert cookies(table) == before


# Paths, attributes, ids


def test_paths(connection: Connection) -> None:
    table = InodeTable(connection)
    table.insert(inode(1, mode=stat.S_IFDIR))
    folder = inode(2, mode=stat.S_IFDIR, parent=ROOT_INODE)
    table.insert(folder)
    table.insert(inode(3))
    table.link(ROOT_INODE, b"folder", folder.ino)
    table.link(folder.ino, b"file \xff", InodeNo(3))
    assert table.path_of(InodeNo(3)) == b"/folder/file \xff"
    assert table.path_of(ROOT_INODE) == b"/"
    table.unlink(folder.ino, b"file \xff")
    assert table.path_of(InodeNo(3)) is None
    assert table.is_empty(folder.ino)
    assert not table.is_empty(ROOT_INODE)


def test_attributes(connection: Connection) -> None:
    table = InodeTable(connection)
    assert table.xattr(InodeNo(1), b"user.a") is None
    table.set_xattr(InodeNo(1), b"user.b", b"\0\xff")
    table.set_xattr(InodeNo(1), b"user.a", b"")
    table.set_xattr(InodeNo(1), b"user.a", b"2")
    assert table.xattr_names(InodeNo(1)) == [b"user.a", b"user.b"]
    assert table.xattr(InodeNo(1), b"user.b") == b"\0\xff"
    table.remove_xattr(InodeNo(1), b"user.b")
    assert table.xattr_names(InodeNo(1)) == [b"user.a"]


def test_attributes_that_were_rolled_back_are_not_remembered(connection: Connection) -> None:
    table = InodeTable(connection)
    kept = make(table, b"kept")
    table.set_xattr(kept, b"user.kept", b"1")
    with pytest.raises(ZeroDivisionError), connection.transaction():  # noqa: PT012
        table.set_xattr(kept, b"user.lost", b"2")
        table.remove_xattr(kept, b"user.kept")
        assert table.xattr(kept, b"user.lost") == b"2"
        assert table.xattr(kept, b"user.kept") is None
        raise ZeroDivisionError
    assert table.xattr(kept, b"user.lost") is None
    assert table.xattr(kept, b"user.kept") == b"1"


def test_conversation_ids(connection: Connection) -> None:
    table = InodeTable(connection)
    table.name_conversation(InodeNo(5), ["a", "b", "a"])
    table.name_conversation(InodeNo(6), ["b"])
    assert table.conversation("b") == 6
    assert table.conversation("nothing") is None
    assert table.conversation_page("", 9) == [("a", 5), ("b", 6)]
    assert table.conversation_page("a", 9) == [("b", 6)]
    table.name_conversation(InodeNo(6), ["c"])
    assert table.conversation("b") == 5
    table.name_conversation(InodeNo(5), [])
    assert table.conversation_page("", 9) == [("c", 6)]
