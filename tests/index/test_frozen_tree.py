"""A tree that freezes at any moment, against one that is a dict."""

import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from copy import copy, deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from stowkenfs.errors import Corrupt
from stowkenfs.ids import ROOT_INODE, InodeNo, PackNo
from stowkenfs.index import frozen_collect, frozen_merge
from stowkenfs.index.catalogue import Catalogue, Extent
from stowkenfs.index.changes import ChangeLog, InodeChange
from stowkenfs.index.connection import Connection
from stowkenfs.index.frozen import InodeGroup, NameGroup
from stowkenfs.index.frozen_collect import Candidate, Freezer
from stowkenfs.index.frozen_scan import all_extents, frozen_totals
from stowkenfs.index.frozen_tree import FrozenTree
from stowkenfs.index.inodes import Inode, InodeTable

PACK = PackNo(3)
SIZE_MAX = 1 << 40


@dataclass
class Index:
    """An index whose groups lie in a dict instead of packs; statements are numbered from 0."""

    path: Path
    blocks: dict[int, bytes] = field(default_factory=dict)  # {offset: payload}
    loads: int = 0
    told: list[tuple[int, int, object]] = field(default_factory=list)  # for ``rebuilt``
    next_statement: int = 0
    opened: set[InodeNo] = field(default_factory=set)
    busy: set[InodeNo] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.open()

    def reopen(self) -> None:
        self.connection.close()
        self.open()

    def open(self) -> None:
        self.connection = Connection(self.path)
        self.frozen = FrozenTree(self.connection, self.load)
        self.inodes = InodeTable(self.connection, self.frozen)
        self.catalogue = Catalogue(self.connection, self.frozen)
        self.log = ChangeLog(self.connection, self.inodes)
        self.freezer = Freezer(
            self.connection,
            self.inodes,
            is_busy=self.busy.__contains__,
            is_open=self.opened.__contains__,
        )

    def load(self, pack: PackNo, offset_bytes: int, stored_bytes: int) -> bytes:
        self.loads += 1
        payload = self.blocks[offset_bytes]
        assert (pack, stored_bytes) == (PACK, len(payload))
        return payload

    def collect(self) -> list[Candidate]:
        encoders = [one for one in self.freezer.collect(self.next_statement) if one is not None]
        return [group for group in (encode() for encode in encoders) if group is not None]

    def write(self, group: Candidate) -> int:
        offset = len(self.blocks)
        self.blocks[offset] = group.payload
        self.told.append((self.next_statement, 0, group))
        return offset

    def adopt(self, group: Candidate) -> bool:
        return self.freezer.adopt(group, PACK, self.write(group), len(group.payload))

    def freeze(self) -> int:
        """How many groups were frozen."""
        return sum(self.adopt(group) for group in self.collect())

    def settle(self) -> None:
        """Write statements of all that changed."""
        while page := self.log.page(7):
            for change, _ in page:
                self.told.append((self.next_statement, 1, deepcopy(change)))
                self.next_statement += 1
            self.log.settle(page)

    def make(self, parent: InodeNo, name: bytes, mode: int = stat.S_IFREG) -> InodeNo:
        ino = self.inodes.new_number()
        is_directory = stat.S_ISDIR(mode)
        inode = Inode(
            ino, mode, 0, 0, 1, 0, 0, ino, ino, ino, parent if is_directory else InodeNo(0), None
        )
        with self.connection.transaction():
            self.inodes.insert(inode)
            if ino != ROOT_INODE:
                self.inodes.link(parent, name, ino)
        return ino

    def hot(self, table: str) -> int:
        found = self.connection.one(f"SELECT count(*) FROM {table}")
        assert found is not None
        return int(found[0])

    def listed(self, directory: InodeNo, rows: int = 2) -> dict[bytes, InodeNo]:
        found: dict[bytes, InodeNo] = {}
        at = 0
        while page := self.inodes.page(directory, at, rows):
            assert len(page) <= rows
            for dentry, inode in page:
                assert dentry.cookie > at
                assert dentry.ino == inode.ino
                assert dentry.name not in found
                found[dentry.name] = dentry.ino
                at = dentry.cookie
        return found


@dataclass
class Kept:
    """An inode of the model."""

    inode: Inode
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    extents: list[Extent] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)


Names = dict[tuple[InodeNo, bytes], InodeNo]


def rebuilt(index: Index) -> tuple[dict[InodeNo, Kept], Names]:
    """The tree as statements and groups tell it, in the order of their numbers."""
    files: dict[InodeNo, Kept] = {}
    names: Names = {}
    for _, _, told in sorted(index.told, key=lambda one: one[:2]):
        if isinstance(told, frozen_collect.InodeCandidate):
            for row in InodeGroup(told.payload).rows():
                files[row.inode.ino] = Kept(row.inode, dict(row.xattrs), list(row.extents))
        elif isinstance(told, frozen_collect.NameCandidate):
            for parent, name, ino in NameGroup(told.payload).entries():
                names[parent, name] = ino
        elif isinstance(told, InodeChange) and told.inode is None:
            files.pop(told.ino, None)
        elif isinstance(told, InodeChange):
            assert told.inode is not None
            kept = files.setdefault(told.ino, Kept(told.inode))
            kept.inode, kept.xattrs = told.inode, dict(told.xattrs)
            if told.extents_from is not None:
                before = [one for one in kept.extents if one.start < told.extents_from]
                kept.extents = before + list(told.extents)
        elif told.ino is None:  # type: ignore[attr-defined]
            names.pop((told.parent, told.name), None)  # type: ignore[attr-defined]
        else:
            names[told.parent, told.name] = told.ino  # type: ignore[attr-defined]
    return files, names


SMALL_GROUPS = {"GROUP_ROWS": 4, "GROUP_EXTENTS": 6, "GROUP_ATTRIBUTE_BYTES": 60}
SMALL_MERGES = SMALL_GROUPS | {"SMALL_ROWS": 3, "SMALL_GROUPS_MAX": 2}

NAMES = st.sampled_from([b"a", b"aa", b"ab", b"b", b"ba", b"c", b"\xff", b"0", b"1", b"2"])


class FreezingTree(RuleBasedStateMachine):
    """Operations as ``vault.tree`` makes them of those of the table."""

    files = Bundle("files")
    directories = Bundle("directories")
    listings = Bundle("listings")

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        for module, sizes in ((frozen_collect, SMALL_GROUPS), (frozen_merge, SMALL_MERGES)):
            for name, value in sizes.items():
                self.stack.enter_context(mock.patch.object(module, name, value))
        directory = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.index = Index(Path(directory) / "index.db")
        self.index.make(ROOT_INODE, b"", stat.S_IFDIR)
        self.kept = {ROOT_INODE: Kept(self.index.inodes.get(ROOT_INODE))}  # type: ignore[arg-type]
        self.names: Names = {}
        self.waiting: list[Candidate] = []
        self.under_way: dict[int, tuple[InodeNo, int, set[bytes], list[bytes]]] = {}

    def teardown(self) -> None:
        self.index.settle()
        self.check_rebuilt()
        self.index.connection.close()
        self.stack.close()

    def check_rebuilt(self) -> None:
        files, names = rebuilt(self.index)
        assert names == self.names
        for kept in files.values():
            kept.ids = self.kept[kept.inode.ino].ids
        assert files == self.kept

    # Names

    @rule(target=directories)
    def root(self) -> InodeNo:
        return ROOT_INODE

    @rule(target=directories, parent=directories, name=NAMES)
    def make_directory(self, parent: InodeNo, name: bytes) -> object:
        return self._make(parent, name, stat.S_IFDIR | 0o755)

    @rule(target=files, parent=directories, name=NAMES)
    def make_file(self, parent: InodeNo, name: bytes) -> object:
        return self._make(parent, name, stat.S_IFREG | 0o644)

    @rule(target=files, parent=directories, prefix=NAMES, count=st.integers(3, 9))
    def make_many(self, parent: InodeNo, prefix: bytes, count: int) -> object:
        return multiple(
            *(
                ino
                for n in range(count)
                for ino in self._make_all(parent, prefix + b"%d" % n, stat.S_IFREG)
            )
        )

    def _make(self, parent: InodeNo, name: bytes, mode: int) -> object:
        return multiple(*self._make_all(parent, name, mode))

    def _make_all(self, parent: InodeNo, name: bytes, mode: int) -> list[InodeNo]:
        if parent not in self.kept or (parent, name) in self.names:
            return []
        ino = self.index.make(parent, name, mode)
        assert ino not in self.kept
        inode = self.index.inodes.get(ino)
        assert inode is not None
        self.kept[ino] = Kept(inode)
        self.names[parent, name] = ino
        return [ino]

    @rule(parent=directories, name=NAMES, ino=files)
    def link(self, parent: InodeNo, name: bytes, ino: InodeNo) -> None:
        """A new name, or one that is taken over."""
        if parent not in self.kept or ino not in self.kept:
            return
        there = self.names.get((parent, name))
        if there is not None and stat.S_ISDIR(self.kept[there].inode.mode):
            return
        self.index.inodes.link(parent, name, ino)
        self.names[parent, name] = ino

    @rule(data=st.data())
    def unlink(self, data: st.DataObject) -> None:
        self._unlink_one(data)

    @rule(data=st.data(), count=st.integers(2, 6))
    def unlink_some(self, data: st.DataObject, count: int) -> None:
        with self.index.connection.transaction():
            for _ in range(count):
                self._unlink_one(data)

    def _unlink_one(self, data: st.DataObject) -> None:
        free = [
            key
            for key, ino in self.names.items()
            if self.index.inodes.is_empty(ino) == (ino not in {at for at, _ in self.names})
            and ino not in {at for at, _ in self.names}
            and ino not in self.index.opened
        ]
        if not free:
            return
        key = data.draw(st.sampled_from(sorted(free)))
        ino = self.names.pop(key)
        for directory, _, steady, _ in self.under_way.values():
            if directory == key[0]:
                steady.discard(key[1])
        self.index.inodes.unlink(*key)
        if ino not in self.names.values():
            self.index.inodes.delete(ino)
            del self.kept[ino]

    # Inodes

    @rule(ino=files, size=st.integers(0, SIZE_MAX), time=st.integers(-5, 2**62))
    def update(self, ino: InodeNo, size: int, time: int) -> None:
        if ino in self.kept:
            inode = self.kept[ino].inode
            inode.size, inode.mtime_ns, inode.nlink = size, time, 2
            self.index.inodes.update(copy(inode))

    @rule(ino=files, name=NAMES, value=st.none() | st.binary(max_size=40))
    def attribute(self, ino: InodeNo, name: bytes, value: bytes | None) -> None:
        if ino not in self.kept:
            return
        if value is None:
            self.index.inodes.remove_xattr(ino, name)
            self.kept[ino].xattrs.pop(name, None)
        else:
            self.index.inodes.set_xattr(ino, name, value)
            self.kept[ino].xattrs[name] = value

    @rule(ino=files, at=st.integers(0, 7), count=st.integers(0, 3))
    def replace_extents(self, ino: InodeNo, at: int, count: int) -> None:
        if ino not in self.kept:
            return
        start, end = at * 10, (at + count) * 10
        new = [Extent(begin, 10, begin + ino, 1) for begin in range(start, end, 10)]
        self.index.catalogue.replace_extents(ino, start, end, new)
        kept = self.kept[ino]
        kept.extents = sorted(
            [one for one in kept.extents if not start <= one.start < end] + new,
            key=lambda one: one.start,
        )

    @rule(ino=files, size=st.integers(0, 80))
    def cut_extents(self, ino: InodeNo, size: int) -> None:
        if ino not in self.kept:
            return
        self.index.catalogue.cut_extents(ino, size)
        self.kept[ino].extents = [
            Extent(one.start, min(one.length, size - one.start), one.record, one.count)
            for one in self.kept[ino].extents
            if one.start < size
        ]

    @rule(ino=files, ids=st.sets(st.sampled_from(["", "a", "b"])))
    def name_conversation(self, ino: InodeNo, ids: set[str]) -> None:
        if ino in self.kept:
            self.index.inodes.name_conversation(ino, sorted(ids))
            self.kept[ino].ids = ids

    # Freezing

    @rule()
    def freeze(self) -> None:
        self.index.freeze()
        self.index.freeze()  # small groups that this made are merged
        self.index.freeze()
        assert self.index.collect() == []

    @rule(data=st.data())
    def freeze_what_is_at_rest(self, data: st.DataObject) -> None:
        some = st.sets(st.sampled_from(sorted(self.kept)))
        self.index.busy |= data.draw(some)
        before = set(self.index.opened)
        self.index.opened |= data.draw(some)
        self.index.freeze()
        self.index.busy.clear()
        self.index.opened.clear()
        self.index.opened |= before

    @rule()
    def begin_to_freeze(self) -> None:
        """Groups are collected, and changes come before they are adopted."""
        self.adopt()
        self.waiting = self.index.collect()
        for group in self.waiting:
            self.index.write(group)

    @rule()
    def adopt(self) -> None:
        for group in self.waiting:
            offset = next(at for at, there in self.index.blocks.items() if there == group.payload)
            self.index.freezer.adopt(group, PACK, offset, len(group.payload))
        self.waiting = []

    @rule()
    def settle(self) -> None:
        if not self.waiting:  # see frozen_collect: not between collecting and adopting
            self.index.settle()

    @rule()
    def reopen(self) -> None:
        self.adopt()
        self.index.reopen()

    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        """What was thawed in a transaction that fails is frozen again."""
        ino = data.draw(st.sampled_from(sorted(self.kept)))
        with pytest.raises(ZeroDivisionError), self.index.connection.transaction():  # noqa: PT012
            self.index.inodes.delete(ino)
            self.index.inodes.unlink(ROOT_INODE, b"a")
            raise ZeroDivisionError

    # Listings

    @rule(target=listings, directory=directories)
    def begin_listing(self, directory: InodeNo) -> object:
        if directory not in self.kept:
            return multiple()
        number = len(self.under_way)
        steady = {name for parent, name in self.names if parent == directory}
        self.under_way[number] = (directory, 0, steady, [])
        self.index.opened.add(directory)
        return number

    @rule(listing=listings, rows=st.integers(1, 4))
    def go_on(self, listing: int, rows: int) -> None:
        directory, at, steady, seen = self.under_way[listing]
        if directory not in self.index.opened:
            return
        page = self.index.inodes.page(directory, at, rows)
        seen += [dentry.name for dentry, _ in page]
        assert all(seen.count(name) <= 1 for name in steady)
        if page:
            self.under_way[listing] = (directory, page[-1][0].cookie, steady, seen)
            return
        assert steady <= set(seen)
        if not any(
            other != listing and one[0] == directory and one[1] >= 0
            for other, one in self.under_way.items()
        ):
            self.index.opened.discard(directory)
        self.under_way[listing] = (directory, -1, set(), [])

    # What holds

    @invariant()
    def everything_is_there(self) -> None:
        inodes, catalogue = self.index.inodes, self.index.catalogue
        for ino, kept in self.kept.items():
            assert inodes.get(ino) == kept.inode
            assert dict(inodes.xattrs(ino)) == kept.xattrs
            assert list(inodes.xattr_names(ino)) == sorted(kept.xattrs)
            assert inodes.xattr(ino, b"a") == kept.xattrs.get(b"a")
            assert catalogue.extents(ino, 0, 1000) == kept.extents
            assert catalogue.extents(ino, 15, 35) == [
                one for one in kept.extents if one.start < 35 and one.end > 15
            ]
        for (parent, name), ino in self.names.items():
            assert inodes.find(parent, name) == ino
            assert inodes.find_inode(parent, name) == self.kept[ino].inode
            assert inodes.find(parent, name + b"x") == self.names.get((parent, name + b"x"))
            path = inodes.path_of(ino)
            assert path is not None
            assert path.rpartition(b"/")[2] in {n for (_, n), i in self.names.items() if i == ino}
        for directory, kept in self.kept.items():
            if stat.S_ISDIR(kept.inode.mode):
                within = {name: ino for (at, name), ino in self.names.items() if at == directory}
                assert self.index.listed(directory) == within
                assert inodes.is_empty(directory) == (not within)
        by_id = {
            name: max((ino for ino, kept in self.kept.items() if name in kept.ids), default=None)
            for name in ("a", "b")
        }
        assert {name: inodes.conversation(name) for name in by_id} == by_id

    @invariant()
    def nothing_is_hot_and_frozen(self) -> None:
        frozen = self.index.frozen
        numbers = [
            ino
            for place in frozen.inode_places(InodeNo(0), 1000)
            for ino in (row.inode.ino for row in frozen.inode_group(place).rows())
        ]
        assert len(numbers) + self.index.hot("inode") == len(self.kept)
        assert len(set(numbers)) == len(numbers)
        names = sum(place.rows for place in frozen.name_places((0, b""), 1000))
        assert names + self.index.hot("dentry") == len(self.names)


FreezingTree.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)
TestFreezingTree = FreezingTree.TestCase


# One by one


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    found = Index(tmp_path / "index.db")
    found.make(ROOT_INODE, b"", stat.S_IFDIR)
    yield found
    found.connection.close()


def fill(index: Index, count: int, parent: InodeNo = ROOT_INODE) -> list[InodeNo]:
    made = [index.make(parent, b"%05d" % n) for n in range(count)]
    for ino in made:
        inode = index.inodes.get(ino)
        assert inode is not None
        inode.size = 10
        index.inodes.update(inode)
        index.catalogue.replace_extents(ino, 0, 10, [Extent(0, 10, ino, 1)])
    return made


def test_everything_goes_and_nothing_is_left_to_tell(index: Index) -> None:
    made = fill(index, 1000)
    index.inodes.name_conversation(made[0], [""])
    index.inodes.name_conversation(made[1], ["", "id"])
    assert index.freeze() == 8
    tables = ("inode", "dentry", "extent", "xattr", "dirty_inode", "dirty_dentry")
    assert [index.hot(table) for table in tables] == [0] * 6
    assert index.hot("conversation") == 2
    assert index.collect() == []
    index.reopen()
    assert index.inodes.new_number() == made[-1] + 1


def test_reading_thaws_nothing(index: Index) -> None:
    made = fill(index, 600)
    index.freeze()
    assert len(index.listed(ROOT_INODE, 64)) == 600
    assert index.inodes.path_of(made[7]) == b"/00007"
    assert index.catalogue.extents(made[7], 0, 10) == [Extent(0, 10, made[7], 1)]
    assert index.inodes.find_inode(ROOT_INODE, b"00007") == index.inodes.get(made[7])
    assert index.inodes.find(ROOT_INODE, b"absent") is None
    assert index.hot("inode") == index.hot("dentry") == 0


def test_a_change_thaws_one_group(index: Index) -> None:
    made = fill(index, 1000)
    index.freeze()
    index.loads = 0
    inode = index.inodes.get(made[300])
    assert inode is not None
    inode.size = 99
    index.inodes.update(inode)
    assert index.hot("inode") == index.hot("dirty_inode") == 256
    assert index.hot("dentry") == 0
    index.inodes.unlink(ROOT_INODE, b"00300")
    assert index.hot("dentry") == 255
    assert index.loads == 2
    assert index.freeze() == 2
    assert index.hot("inode") == index.hot("dentry") == 0
    assert index.inodes.get(made[300]) == inode
    assert index.hot("dirty_dentry") == 1  # that a name is gone is in no group


def test_groups_that_changed_meanwhile_are_not_adopted(index: Index) -> None:
    made = fill(index, 100)
    inodes, names = index.collect()
    index.catalogue.cut_extents(made[50], 3)
    index.opened.add(ROOT_INODE)
    assert not index.adopt(inodes)
    assert not index.adopt(names)
    index.opened.clear()
    assert index.adopt(names)
    assert not index.adopt(names)


def test_what_must_stay_hot(index: Index) -> None:
    made = fill(index, 9)
    index.inodes.insert(Inode(InodeNo(50), stat.S_IFREG, 0, 0, 0, 0, 0, 0, 0, 0, InodeNo(0), None))
    index.connection.execute("INSERT INTO draft VALUES (?, 1)", (made[2],))
    index.busy.add(made[4])
    index.inodes.set_xattr(made[6], b"user.long", bytes(65536))
    index.catalogue.replace_extents(made[8], 0, 1025, [Extent(n, 1, n, 1) for n in range(1025)])
    index.freeze()
    hot = [row[0] for row in index.connection.all("SELECT ino FROM inode ORDER BY ino")]
    assert hot == [made[2], made[4], made[6], made[8], 50]
    assert index.inodes.orphans() == [50]


def test_many_small_groups_become_few(index: Index) -> None:
    for at in range(20):  # each between two others that cannot freeze
        made = fill(index, 2, index.make(ROOT_INODE, b"%d" % at, stat.S_IFDIR))
        index.busy.add(made[1])
    index.freeze()
    many = len(index.frozen.inode_places(InodeNo(0), 100))
    assert many >= 20
    index.busy.clear()
    index.freeze()
    index.freeze()
    assert len(index.frozen.inode_places(InodeNo(0), 100)) == 1
    assert index.collect() == []


# Damage


def test_damage_stays_where_it_is(index: Index) -> None:
    """Other entries are listed, and the listing ends with the error."""
    made = fill(index, 1000)
    index.freeze()
    inodes = index.frozen.inode_places(InodeNo(0), 9)
    names = index.frozen.name_places((0, b""), 9)
    for place in (inodes[1], names[2]):
        index.blocks[place.offset_bytes] = bytes(place.stored_bytes)
    with pytest.raises(Corrupt):
        index.inodes.get(made[300])
    with pytest.raises(Corrupt):
        index.inodes.find(ROOT_INODE, b"00600")
    with pytest.raises(Corrupt):
        index.inodes.unlink(ROOT_INODE, b"00600")
    with pytest.raises(Corrupt):
        index.catalogue.cut_extents(made[300], 1)
    assert index.inodes.get(made[5]) is not None
    seen: list[InodeNo] = []
    at = 0
    with pytest.raises(Corrupt):  # noqa: PT012
        while page := index.inodes.page(ROOT_INODE, at, 64):
            seen += [dentry.ino for dentry, _ in page]
            at = page[-1][0].cookie
    lost = {ino for ino in made if inodes[1].first <= ino <= inodes[1].last}
    lost |= set(made[512:768])
    assert set(seen) == set(made) - lost
    assert len(seen) == len(set(seen))
    assert index.inodes.path_of(made[600]) is None
    late = index.make(ROOT_INODE, b"late")
    assert index.inodes.get(late) is not None
    index.freeze()
    assert index.inodes.find(ROOT_INODE, b"late") == late


def test_another_group_is_not_taken_for_this_one(index: Index) -> None:
    made = fill(index, 1000)
    index.freeze()
    first, second = index.frozen.inode_places(InodeNo(0), 2)
    index.blocks[second.offset_bytes] = index.blocks[first.offset_bytes]
    index.connection.execute(
        "UPDATE frozen_inode SET stored = ? WHERE first = ?", (first.stored_bytes, second.first)
    )
    with pytest.raises(Corrupt):
        index.inodes.get(made[300])


# Reports


def test_totals_and_all_extents(index: Index) -> None:
    made = fill(index, 600)
    index.inodes.name_conversation(made[0], [""])
    index.freeze()
    for ino in made[300:302]:  # one group of three is hot again
        index.catalogue.cut_extents(ino, 5)

    async def report() -> None:
        damages: list[Corrupt] = []
        async with index.connection.scanner() as scan:
            totals = await frozen_totals(scan)
            assert (totals.files, totals.conversations) == (600 - 256, 1)
            assert totals.bytes == totals.sealed_bytes == 10 * (600 - 256)
            found = [
                one
                async for some in all_extents(scan, index.frozen, damages.append)
                for one in some
            ]
            assert sorted(ino for ino, _ in found) == made
            assert {extent.length for _, extent in found} == {5, 10}
            assert not damages
        for place in index.frozen.inode_places(InodeNo(0), 1):
            index.blocks[place.offset_bytes] = bytes(place.stored_bytes)
        index.reopen()
        async with index.connection.scanner() as scan:
            some = [one async for one in all_extents(scan, index.frozen, damages.append)]
            assert sum(map(len, some)) == 600 - 255
            assert len(damages) == 1

    anyio.run(report)


def test_few_inodes_are_asked_about_at_a_time(index: Index) -> None:
    """The loop gets its turn between, also where nothing can be frozen."""
    made = fill(index, 300)
    asked = 0

    def is_busy(ino: InodeNo) -> bool:
        nonlocal asked
        asked += 1
        return ino != made[150]

    freezer = Freezer(index.connection, index.inodes, is_busy=is_busy, is_open=lambda _: False)
    most = 0
    for _ in freezer.collect(index.next_statement):
        most, asked = max(most, asked), 0
    assert 0 < most <= frozen_collect.ASKED_AT_ONCE
