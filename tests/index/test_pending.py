"""Changes in memory: whoever looks finds them, and they survive the process."""

import shutil
import stat
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.drafts import DraftTable, Region
from stowkenfs.index.inodes import Inode, InodeTable
from stowkenfs.index.journal import ROOM_BYTES
from stowkenfs.index.pending import PendingRows
from stowkenfs.index.space import Reserve, giving_room

NAMES = st.sampled_from([b"a", b"b", b"c", b"\xff", b"long" * 50])
STARTS = st.integers(0, 5).map(lambda n: n * 100)


def inode(ino: int, mode: int = stat.S_IFREG | 0o644, target: bytes | None = None) -> Inode:
    return Inode(InodeNo(ino), mode, 1, 2, 1, 3, 4, -5, 6, 7, InodeNo(0), target)


@dataclass
class Rows:
    """What there is: the model of the machine."""

    inodes: dict[InodeNo, Inode] = field(default_factory=dict)
    names: dict[bytes, InodeNo] = field(default_factory=dict)
    drafts: dict[InodeNo, tuple[int, dict[int, Region]]] = field(default_factory=dict)


class Changes(RuleBasedStateMachine):
    """Random changes, kept at once or not, and processes that die."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.kept = Rows()
        self.open()
        self.generation = 0

    def open(self) -> None:
        self.connection = Connection(
            self.folder / "index.db",
            reserve=Reserve(self.folder / "reserve"),
            journal=self.folder / "journal",
        )
        self.table = InodeTable(self.connection)
        self.drafts = DraftTable(self.connection)

    def teardown(self) -> None:
        self.connection.close()
        assert not (self.folder / "journal").exists()
        shutil.rmtree(self.folder)

    @initialize()
    def make_root(self) -> None:
        self.make(b"first")

    @rule(name=NAMES, to=st.sampled_from([None, b"", b"there"]))
    def make(self, name: bytes, to: bytes | None = None) -> None:
        if name in self.kept.names:
            return
        made = inode(self.table.new_number(), target=to)
        with self.connection.change():
            self.table.insert(made)
            self.table.link(ROOT_INODE, name, made.ino, is_new=True)
        self.kept.inodes[made.ino] = replace(made)
        self.kept.names[name] = made.ino

    @rule(data=st.data(), name=NAMES)
    def link(self, data: st.DataObject, name: bytes) -> None:
        """Another name, or one that is taken over."""
        ino = self.draw(data)
        if ino is not None:
            self.table.link(ROOT_INODE, name, ino)
            self.kept.names[name] = ino

    @rule(name=NAMES)
    def unlink(self, name: bytes) -> None:
        self.table.unlink(ROOT_INODE, name)
        self.kept.names.pop(name, None)

    @rule(data=st.data(), size=st.integers(0, 2**63 - 1))
    def update(self, data: st.DataObject, size: int) -> None:
        ino = self.draw(data)
        if ino is not None:
            self.kept.inodes[ino].size = size
            self.table.update(replace(self.kept.inodes[ino]))

    @rule(data=st.data())
    def update_what_is_gone(self, data: st.DataObject) -> None:
        self.table.update(inode(data.draw(st.integers(1000, 1010))))

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        ino = self.draw(data)
        if ino is not None and ino not in self.kept.names.values():
            self.table.delete(ino)
            del self.kept.inodes[ino]
            self.kept.drafts.pop(ino, None)

    @rule(data=st.data(), starts=st.sets(STARTS))
    def put_draft(self, data: st.DataObject, starts: set[int]) -> None:
        ino = self.draw(data)
        if ino is not None:
            self.generation += 1
            regions = {start: Region(start, start + 7, 100, 1) for start in starts}
            self.drafts.put(ino, self.generation, list(regions.values()))
            self.kept.drafts[ino] = (self.generation, regions)

    @rule(data=st.data(), start=STARTS, length=st.none() | st.integers(1, 100))
    def put_region(self, data: st.DataObject, start: int, length: int | None) -> None:
        ino = self.draw(data)
        if ino in self.kept.drafts:
            region = Region(start, 3, length)
            self.drafts.put_region(ino, region)
            self.kept.drafts[ino][1][start] = region

    @rule(data=st.data(), first=STARTS, last=STARTS, starts=st.sets(STARTS, max_size=2))
    def cut_regions(self, data: st.DataObject, first: int, last: int, starts: set[int]) -> None:
        ino = self.draw(data)
        if ino in self.kept.drafts:
            regions = self.kept.drafts[ino][1]
            for start in [start for start in regions if first <= start <= last]:
                del regions[start]
            kept = {start: Region(start, 9, 9, 2) for start in starts}
            regions.update(kept)
            self.drafts.replace(ino, first, last, list(kept.values()))

    @rule(data=st.data())
    def drop_draft(self, data: st.DataObject) -> None:
        ino = self.draw(data)
        if ino is not None:
            self.drafts.delete(ino)
            self.kept.drafts.pop(ino, None)

    def draw(self, data: st.DataObject) -> InodeNo | None:
        return data.draw(st.sampled_from(sorted(self.kept.inodes))) if self.kept.inodes else None

    @rule(name=NAMES, whole=st.booleans())
    def fail(self, name: bytes, whole: bool) -> None:
        """Nothing stays of a change or transaction that fails."""
        begin = self.connection.transaction if whole else self.connection.change
        made = inode(self.table.new_number())
        with pytest.raises(ZeroDivisionError), begin():  # noqa: PT012 - it is the context that fails
            self.table.insert(made)
            self.table.unlink(ROOT_INODE, name)
            self.table.link(ROOT_INODE, name, made.ino)
            self.drafts.put(made.ino, 1, [Region(0, 0, 5)])
            self.table.delete(InodeNo(1))
            raise ZeroDivisionError

    @rule()
    def flush(self) -> None:
        self.connection.flush()
        assert not self.connection.has_pending

    @rule()
    def something_else(self) -> None:
        with self.connection.transaction():
            self.connection.execute("INSERT OR REPLACE INTO setting VALUES ('else', 1)")

    @rule()
    def die(self) -> None:
        """What the kernel has of the files is what the next process finds."""
        copy = Path(tempfile.mkdtemp())
        for path in self.folder.iterdir():
            if not path.name.endswith("-shm"):
                shutil.copyfile(path, copy / path.name)
        self.connection.close()
        shutil.rmtree(self.folder)
        self.folder = copy
        self.open()

    @invariant()
    def everything_is_found(self) -> None:
        kept = self.kept
        assert {ino: self.table.get(ino) for ino in kept.inodes} == kept.inodes
        for name in (b"a", b"b", b"c", b"\xff", b"long" * 50):
            ino = kept.names.get(name)
            assert self.table.find(ROOT_INODE, name) == ino
            expected = None if ino is None else kept.inodes[ino]
            assert self.table.find_inode(ROOT_INODE, name) == expected
        for ino in kept.inodes:
            generation, regions = kept.drafts.get(ino, (None, {}))
            assert self.drafts.generation(ino) == generation
            assert self.drafts.regions(ino) == [regions[start] for start in sorted(regions)]

    @rule()
    def list_everything(self) -> None:
        page = self.table.page(ROOT_INODE, 0, 100)
        assert {dentry.name: dentry.ino for dentry, _ in page} == self.kept.names
        assert {i.ino: i for _, i in page} == {
            ino: self.kept.inodes[ino] for ino in self.kept.names.values()
        }
        assert [ino for ino, _ in self.drafts.all()] == sorted(self.kept.drafts)
        assert self.table.is_empty(ROOT_INODE) == (not self.kept.names)


TestChanges = Changes.TestCase


@pytest.fixture
def connection(tmp_path: Path) -> Connection:
    return Connection(tmp_path / "index.db", journal=tmp_path / "journal")


def test_a_change_takes_no_transaction(connection: Connection) -> None:
    table = InodeTable(connection)
    before = connection.wal_bytes()
    for number in range(10, 30):
        table.insert(inode(number))
    assert connection.has_pending
    assert connection.wal_bytes() == before
    connection.close()


def test_what_does_not_fit_into_the_journal_is_in_the_database(connection: Connection) -> None:
    drafts = DraftTable(connection)
    regions = [Region(start, start, 1) for start in range(ROOM_BYTES // 30)]
    drafts.put(InodeNo(3), 1, regions)
    assert not connection.has_pending
    assert drafts.regions(InodeNo(3)) == regions
    connection.close()


def test_a_journal_that_cannot_be_written_fails_the_change(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = InodeTable(connection)
    table.insert(inode(10))

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("stowkenfs.index.journal.os.pwrite", fail)
        with pytest.raises(OSError, match="Input/output"):
            table.insert(inode(11))
    assert table.get(InodeNo(10)) is not None
    assert table.get(InodeNo(11)) is None
    connection.close()


@pytest.mark.parametrize("told", [b"\x00", b"\xff", b"\x01short", b"\x04" + bytes(26)])
def test_an_entry_that_is_none_is_refused(told: bytes) -> None:
    damaged = told if told[0] != 4 else told[:-2] + b"\xff\xff"
    with pytest.raises(ValueError, match="an entry of the journal"):
        PendingRows().apply(damaged)


def test_what_was_accepted_needs_no_leave_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = Reserve(tmp_path / "reserve")
    reserve.make()
    connection = Connection(tmp_path / "index.db", reserve=reserve, journal=tmp_path / "journal")
    table = InodeTable(connection)
    table.insert(inode(ROOT_INODE))
    connection.flush()
    table.insert(inode(2))
    table.link(ROOT_INODE, b"a", InodeNo(2))
    assert connection.pending.count > 0
    reserve.is_held = False  # others took it
    monkeypatch.setattr(reserve, "make", lambda: False)
    assert [dentry.name for dentry, _ in table.page(ROOT_INODE, 0, 10)] == [b"a"]
    assert connection.pending.count == 0
    with pytest.raises(OSError, match="No space left"):
        table.insert(inode(3))
    with giving_room():
        table.unlink(ROOT_INODE, b"a")
    connection.flush()
    assert table.find(ROOT_INODE, b"a") is None
    connection.close()
