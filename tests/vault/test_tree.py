"""The rules of names: renaming, links, directories, and what goes when."""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from stowkenfs.errors import (
    AlreadyExists,
    AttributeExists,
    DirectoryNotEmpty,
    InvalidMove,
    InvalidName,
    IsADirectory,
    NameTooLong,
    NoSuchAttribute,
    NotADirectory,
    NotFound,
    NotPermitted,
    TooManyLinks,
)
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.catalogue import Catalogue
from stowkenfs.index.connection import Connection
from stowkenfs.index.inodes import Inode, InodeTable
from stowkenfs.store.memory import MemoryStore
from stowkenfs.vault import tree as tree_module
from stowkenfs.vault.files import FileTable
from stowkenfs.vault.passages import Passages
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.tree import TARGET_BYTES_MAX, Tree

ROOT = ROOT_INODE


class Bench:
    """A tree over a memory index, with a clock that ticks."""

    def __init__(self, drafts: Path) -> None:
        self.now = 1000
        self.connection = Connection(None)
        self.inodes = InodeTable(self.connection)
        catalogue = Catalogue(self.connection)
        reader = Reader(MemoryStore(), catalogue, record_cache_bytes=1000, block_cache_bytes=1000)
        self.files = FileTable(
            self.connection, self.inodes, catalogue, reader, Passages(), drafts, self.clock
        )
        self.tree = Tree(self.connection, self.inodes, self.files, self.clock)

    def clock(self) -> int:
        self.now += 1
        return self.now

    def file(self, name: bytes, parent: int = ROOT) -> InodeNo:
        return self.tree.create(InodeNo(parent), name, stat.S_IFREG | 0o644, 5, 6).ino

    def folder(self, name: bytes, parent: int = ROOT, mode: int = 0o755) -> InodeNo:
        return self.tree.create(InodeNo(parent), name, stat.S_IFDIR | mode, 5, 6).ino

    def names(self, parent: int = ROOT) -> set[bytes]:
        return {dentry.name for dentry, _ in self.tree.page(InodeNo(parent), 0, 1000)}

    def nlink(self, ino: int) -> int:
        return self.tree.inode(InodeNo(ino)).nlink

    def check_links(self) -> None:
        """Every directory has two links and one for each below; a file one for each name."""
        names: dict[int, int] = {}
        folders: dict[int, int] = {ROOT: 0}
        waiting: list[InodeNo] = [ROOT]
        while waiting:
            at = waiting.pop()
            for _, inode in self.tree.page(at, 0, 1000):
                if stat.S_ISDIR(inode.mode):
                    assert inode.parent == at
                    folders[at] += 1
                    folders[inode.ino] = 0
                    waiting.append(inode.ino)
                else:
                    names[inode.ino] = names.get(inode.ino, 0) + 1
        for ino, below in folders.items():
            assert self.nlink(ino) == 2 + below
        for ino, count in names.items():
            assert self.nlink(ino) == count


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.check_links()
    found.files.close()
    found.connection.close()


def times(inode: Inode) -> tuple[int, int]:
    return inode.mtime_ns, inode.ctime_ns


# Making


def test_what_is_made(bench: Bench) -> None:
    folder = bench.folder(b"d")
    file = bench.file(b"f", folder)
    link = bench.tree.create(folder, b"l", stat.S_IFLNK | 0o777, 1, 2, target=b"../\xff")
    device = bench.tree.create(folder, b"n", stat.S_IFCHR | 0o600, 0, 0, rdev=0x103)
    assert bench.names(folder) == {b"f", b"l", b"n"}
    assert (link.size, link.target) == (4, b"../\xff")
    assert device.rdev == 0x103
    inode = bench.tree.inode(file)
    assert (inode.uid, inode.gid, inode.nlink, inode.size) == (5, 6, 1, 0)
    assert bench.tree.resolve(b"/d//./f").ino == file
    assert bench.tree.path_of(file) == b"/d/f"


def test_a_set_group_id_directory_hands_its_group_down(bench: Bench) -> None:
    folder = bench.folder(b"d", mode=0o2755)
    bench.tree.set_attributes(folder, gid=77)
    assert bench.tree.inode(bench.file(b"f", folder)).gid == 77
    below = bench.tree.inode(bench.folder(b"e", folder))
    assert (below.gid, below.mode & stat.S_ISGID) == (77, stat.S_ISGID)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0b"])
def test_names_that_cannot_be(bench: Bench, name: bytes) -> None:
    file = bench.file(b"f")
    with pytest.raises(InvalidName):
        bench.file(name)
    with pytest.raises(InvalidName):
        bench.tree.rename(ROOT, b"f", ROOT, name)
    with pytest.raises(InvalidName):
        bench.tree.link(file, ROOT, name)
    assert bench.names() == {b"f"}


def test_names_that_are_too_long(bench: Bench) -> None:
    bench.file(b"x" * 255)
    for use in (
        lambda: bench.file(b"x" * 256),
        lambda: bench.tree.lookup(ROOT, b"x" * 256),
        lambda: bench.tree.rename(ROOT, b"x" * 255, ROOT, b"y" * 256),
        lambda: bench.tree.create(
            ROOT, b"l", stat.S_IFLNK, 0, 0, target=b"x" * (TARGET_BYTES_MAX + 1)
        ),
    ):
        with pytest.raises(NameTooLong):
            use()


def test_nothing_is_made_where_it_cannot_be(bench: Bench) -> None:
    file = bench.file(b"f")
    with pytest.raises(AlreadyExists):
        bench.file(b"f")
    with pytest.raises(AlreadyExists):
        bench.folder(b"f")
    with pytest.raises(NotADirectory):
        bench.file(b"x", file)
    gone = bench.folder(b"gone")
    bench.tree.rmdir(ROOT, b"gone")
    for use in (
        lambda: bench.file(b"x", gone),
        lambda: bench.tree.rename(ROOT, b"f", gone, b"x"),
        lambda: bench.tree.link(file, gone, b"x"),
        lambda: bench.tree.resolve(b"/gone"),
    ):
        with pytest.raises(NotFound):
            use()
    assert bench.names() == {b"f"}


# Links


def test_links_count(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    file = bench.file(b"a")
    folder = bench.folder(b"d")
    bench.tree.link(file, folder, b"b")
    assert bench.nlink(file) == 2
    with pytest.raises(AlreadyExists):
        bench.tree.link(file, folder, b"b")
    with pytest.raises(NotPermitted):
        bench.tree.link(folder, ROOT, b"e")
    monkeypatch.setattr(tree_module, "LINKS_MAX", 2)
    with pytest.raises(TooManyLinks):
        bench.tree.link(file, ROOT, b"c")
    bench.tree.unlink(ROOT, b"a")
    assert bench.nlink(file) == 1
    bench.tree.unlink(folder, b"b")
    with pytest.raises(NotFound):
        bench.tree.inode(file)


def test_an_open_file_without_a_name_stays_and_cannot_be_linked(bench: Bench) -> None:
    file = bench.file(b"a")
    bench.files.acquire(file, writing=True)
    bench.files.write(file, 0, b"content")
    bench.tree.unlink(ROOT, b"a")
    assert bench.nlink(file) == 0
    with pytest.raises(NotFound):
        bench.tree.link(file, ROOT, b"again")
    bench.file(b"a")
    bench.files.release(file, writing=True)
    with pytest.raises(NotFound):
        bench.tree.inode(file)
    assert bench.names() == {b"a"}


def test_a_nameless_file(bench: Bench) -> None:
    kept = bench.tree.create_nameless(stat.S_IFREG | 0o600, 1, 2).ino
    lost = bench.tree.create_nameless(stat.S_IFREG | 0o600, 1, 2).ino
    for ino in (kept, lost):
        bench.files.acquire(ino, writing=True)
        bench.files.write(ino, 0, b"content")
    bench.tree.give_name(kept, ROOT, b"kept")
    for ino in (kept, lost):
        bench.files.release(ino, writing=True)
    assert bench.tree.resolve(b"kept").ino == kept
    with pytest.raises(NotFound):
        bench.tree.inode(lost)


# Removing


def test_what_the_kernel_holds_goes_when_it_lets_go(bench: Bench) -> None:
    held = {bench.file(b"written"), bench.file(b"named again"), bench.file(b"empty")}
    written, again, empty = sorted(held)
    bench.files.is_looked_up = held.__contains__
    bench.files.acquire(written, writing=True)
    bench.files.write(written, 0, b"content")
    bench.files.release(written, writing=True)
    bench.tree.link(again, ROOT, b"other")
    for name in (b"written", b"named again", b"other", b"empty"):
        bench.tree.unlink(ROOT, name)
    trio.run(bench.files.settle_all)
    assert [bench.tree.inode(ino).nlink for ino in sorted(held)] == [0, 0, 0]
    bench.files.nameless.forgotten([written])  # not quite: it was asked for again meanwhile
    assert bench.tree.inode(written).nlink == 0
    held.clear()
    bench.files.nameless.forgotten([written, again, empty, ROOT])
    for ino in (written, again, empty):
        with pytest.raises(NotFound):
            bench.tree.inode(ino)
    assert bench.tree.inode(ROOT).nlink == 2


def test_unlink_and_rmdir_mind_what_they_remove(bench: Bench) -> None:
    bench.file(b"f")
    folder = bench.folder(b"d")
    bench.file(b"below", folder)
    with pytest.raises(IsADirectory):
        bench.tree.unlink(ROOT, b"d")
    with pytest.raises(NotADirectory):
        bench.tree.rmdir(ROOT, b"f")
    with pytest.raises(DirectoryNotEmpty):
        bench.tree.rmdir(ROOT, b"d")
    with pytest.raises(NotFound):
        bench.tree.unlink(ROOT, b"absent")
    bench.tree.unlink(folder, b"below")
    bench.tree.rmdir(ROOT, b"d")
    assert bench.names() == {b"f"}
    assert bench.nlink(ROOT) == 2


# Renaming


def test_rename_within_and_between_directories(bench: Bench) -> None:
    one, two = bench.folder(b"one"), bench.folder(b"two")
    file, folder = bench.file(b"f", one), bench.folder(b"d", one)
    bench.tree.rename(one, b"f", one, b"g")
    bench.tree.rename(one, b"g", two, b"h")
    bench.tree.rename(one, b"d", two, b"d")
    assert bench.tree.resolve(b"two/h").ino == file
    assert bench.tree.inode(folder).parent == two
    assert (bench.nlink(one), bench.nlink(two)) == (2, 3)
    assert bench.names(one) == set()


def test_rename_over_a_file(bench: Bench) -> None:
    old, new = bench.file(b"old"), bench.file(b"new")
    with pytest.raises(AlreadyExists):
        bench.tree.rename(ROOT, b"new", ROOT, b"old", replace=False)
    bench.tree.rename(ROOT, b"new", ROOT, b"old")
    assert bench.tree.resolve(b"old").ino == new
    assert bench.names() == {b"old"}
    with pytest.raises(NotFound):
        bench.tree.inode(old)


def test_rename_over_a_file_that_is_open_or_has_another_name(bench: Bench) -> None:
    opened, linked = bench.file(b"opened"), bench.file(b"linked")
    bench.tree.link(linked, ROOT, b"other")
    bench.files.acquire(opened, writing=True)
    for target in (b"opened", b"linked"):
        bench.file(b"new")
        bench.tree.rename(ROOT, b"new", ROOT, target)
    assert bench.nlink(opened) == 0
    assert bench.nlink(linked) == 1
    bench.files.write(opened, 0, b"still there")
    bench.files.release(opened, writing=True)
    with pytest.raises(NotFound):
        bench.tree.inode(opened)


def test_rename_between_names_of_one_file_does_nothing(bench: Bench) -> None:
    file = bench.file(b"a")
    bench.tree.link(file, ROOT, b"b")
    bench.tree.rename(ROOT, b"a", ROOT, b"b")
    bench.tree.rename(ROOT, b"a", ROOT, b"a")
    assert bench.names() == {b"a", b"b"}
    assert bench.nlink(file) == 2


def test_rename_over_a_directory(bench: Bench) -> None:
    empty, full, file = bench.folder(b"empty"), bench.folder(b"full"), bench.file(b"f")
    bench.folder(b"below", full)
    with pytest.raises(DirectoryNotEmpty):
        bench.tree.rename(ROOT, b"empty", ROOT, b"full")
    with pytest.raises(NotADirectory):
        bench.tree.rename(ROOT, b"full", ROOT, b"f")
    with pytest.raises(IsADirectory):
        bench.tree.rename(ROOT, b"f", ROOT, b"empty")
    bench.check_links()
    assert bench.tree.resolve(b"f").ino == file
    bench.tree.rename(ROOT, b"full", ROOT, b"empty")
    assert bench.tree.resolve(b"empty").ino == full
    assert bench.tree.resolve(b"empty/below")
    with pytest.raises(NotFound):
        bench.tree.inode(empty)
    assert bench.nlink(ROOT) == 3


def test_a_directory_does_not_move_into_itself(bench: Bench) -> None:
    one = bench.folder(b"one")
    two = bench.folder(b"two", one)
    three = bench.folder(b"three", two)
    for target in (one, two, three):
        with pytest.raises(InvalidMove):
            bench.tree.rename(ROOT, b"one", target, b"x")
    with pytest.raises(InvalidMove):
        bench.tree.exchange(ROOT, b"one", two, b"three")
    with pytest.raises(InvalidMove):
        bench.tree.exchange(two, b"three", ROOT, b"one")
    bench.tree.rename(two, b"three", ROOT, b"three")
    bench.tree.rename(ROOT, b"one", three, b"one")
    assert bench.tree.path_of(two) == b"/three/one/two"


def test_exchange(bench: Bench) -> None:
    one, two = bench.folder(b"one"), bench.folder(b"two")
    file, folder = bench.file(b"f", one), bench.folder(b"d", two)
    bench.tree.exchange(one, b"f", two, b"d")
    assert bench.tree.resolve(b"one/f").ino == folder
    assert bench.tree.resolve(b"two/d").ino == file
    assert bench.tree.inode(folder).parent == one
    assert (bench.nlink(one), bench.nlink(two)) == (3, 2)
    bench.check_links()
    bench.tree.exchange(ROOT, b"one", ROOT, b"two")
    assert bench.tree.resolve(b"two/f").ino == folder
    bench.tree.exchange(ROOT, b"one", ROOT, b"one")
    with pytest.raises(NotFound):
        bench.tree.exchange(ROOT, b"one", ROOT, b"absent")


def test_exchange_of_an_open_file_keeps_its_content(bench: Bench) -> None:
    one, two = bench.file(b"one"), bench.file(b"two")
    bench.files.acquire(one, writing=True)
    bench.files.write(one, 0, b"12345")
    bench.tree.exchange(ROOT, b"one", ROOT, b"two")
    assert bench.tree.resolve(b"two").size == 5
    assert bench.tree.resolve(b"one").ino == two
    bench.files.release(one, writing=True)
    assert bench.tree.resolve(b"two").size == 5


# Times and attributes


def test_changes_tell_the_time(bench: Bench) -> None:
    file = bench.file(b"f")
    for change in (
        lambda: bench.file(b"g"),
        lambda: bench.tree.rename(ROOT, b"g", ROOT, b"h"),
        lambda: bench.tree.link(file, ROOT, b"i"),
        lambda: bench.tree.unlink(ROOT, b"i"),
        lambda: bench.folder(b"d"),
        lambda: bench.tree.rmdir(ROOT, b"d"),
    ):
        before = times(bench.tree.inode(ROOT))
        change()
        assert times(bench.tree.inode(ROOT)) > before
    before = times(bench.tree.inode(file))
    bench.tree.set_attributes(file, mode=0o600)
    mtime, ctime = times(bench.tree.inode(file))
    assert (mtime, ctime > before[1]) == (before[0], True)


def test_attributes_change_alone(bench: Bench) -> None:
    file = bench.file(b"f")
    bench.tree.set_attributes(file, mode=0o4711, uid=9, gid=8, atime_ns=-5, mtime_ns=7)
    inode = bench.tree.inode(file)
    assert inode.mode == stat.S_IFREG | 0o4711
    assert (inode.uid, inode.gid, inode.atime_ns, inode.mtime_ns) == (9, 8, -5, 7)
    bench.tree.set_attributes(file, size=10)
    assert bench.tree.inode(file).size == 10


@pytest.mark.parametrize("time_ns", [2**63, -(2**70), 10**30])
def test_times_beyond_the_index_become_the_nearest(bench: Bench, time_ns: int) -> None:
    file = bench.file(b"f")
    bench.tree.set_attributes(file, atime_ns=time_ns, mtime_ns=time_ns)
    found = bench.tree.inode(file).mtime_ns
    assert abs(found) >= 2**63 - 1
    assert (found < 0) == (time_ns < 0)


def test_extended_attributes(bench: Bench) -> None:
    file = bench.file(b"f")
    with pytest.raises(NoSuchAttribute):
        bench.tree.set_xattr(file, b"user.a", b"1", create=False, replace=True)
    bench.tree.set_xattr(file, b"user.a", b"1", create=True, replace=False)
    with pytest.raises(AttributeExists):
        bench.tree.set_xattr(file, b"user.a", b"2", create=True, replace=False)
    bench.tree.set_xattr(file, b"user.a", b"\0", create=False, replace=False)
    assert bench.tree.xattr(file, b"user.a") == b"\0"
    bench.tree.remove_xattr(file, b"user.a")
    for use in (
        lambda: bench.tree.xattr(file, b"user.a"),
        lambda: bench.tree.remove_xattr(file, b"user.a"),
    ):
        with pytest.raises(NoSuchAttribute):
            use()
