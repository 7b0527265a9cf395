"""Drafts against byte arrays, the daemon dying between any two operations."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stowkenfs.ids import InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.drafts import DraftTable
from stowkenfs.vault import drafts as drafts_module
from stowkenfs.vault import spools as spools_module
from stowkenfs.vault.draft_files import parse_draft_name
from stowkenfs.vault.drafts import Draft, load_draft, new_draft
from stowkenfs.vault.spools import Spools
from tests.running import names_in

END = 40
INODES = st.sampled_from([InodeNo(5), InodeNo(0x1F)])
CONTENTS = st.integers(1, 9).flatmap(lambda n: st.binary(min_size=n, max_size=n))


class DraftMachine(RuleBasedStateMachine):
    """Several drafts that share spools. The model: each byte that is drafted, or None.

    Files whose rows are gone are removed some operations later, as the sealer does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(drafts_module, "SPOOLED_BYTES_MAX", 6)
        self.patch.setattr(drafts_module, "DEAD_BYTES_MAX", 8)
        self.patch.setattr(drafts_module, "MOVED_BYTES_MAX", 20)
        self.patch.setattr(spools_module, "SPOOL_BYTES_MAX", 20)
        self.patch.setattr(spools_module, "IDLE_BYTES_MAX", 10)
        self.directory = Path(tempfile.mkdtemp())
        self.connection = Connection(None)
        self.table = DraftTable(self.connection)
        self.spools = Spools(self.directory, self.table)
        self.drafts: dict[InodeNo, Draft] = {}
        self.models: dict[InodeNo, list[int | None]] = {}
        self.stale: list[Path] = []
        self.removing: list[Path] = []

    def teardown(self) -> None:
        self._let_go()
        self.connection.close()
        self.patch.undo()
        shutil.rmtree(self.directory)

    def _let_go(self) -> None:
        for draft in self.drafts.values():
            draft.release_file()
        self.spools.close()

    @rule(ino=INODES, start=st.integers(0, END), content=CONTENTS)
    def write(self, ino: InodeNo, start: int, content: bytes) -> None:
        if ino not in self.drafts:
            self.drafts[ino] = new_draft(self.directory, self.table, self.spools, ino)
        self.drafts[ino].write(start, content)
        model = self.models.setdefault(ino, [])
        model.extend([None] * (start + len(content) - len(model)))
        model[start : start + len(content)] = content

    @rule(ino=INODES, content=CONTENTS)
    def append(self, ino: InodeNo, content: bytes) -> None:
        self.write(ino, len(self.models.get(ino, [])), content)

    @precondition(lambda self: self.drafts)
    @rule(data=st.data(), content=CONTENTS, before=st.booleans())
    def write_beside(self, data: st.DataObject, content: bytes, before: bool) -> None:
        """Where a region begins or ends."""
        ino = data.draw(st.sampled_from(sorted(self.drafts)))
        edges = [edge for region in self.drafts[ino]._regions
                 for edge in (region.start, region.start + (region.length or 0))]  # fmt: skip
        edge = data.draw(st.sampled_from(edges))
        self.write(ino, max(edge - len(content), 0) if before else edge, content)

    @precondition(lambda self: self.drafts)
    @rule(data=st.data(), size=st.integers(0, END))
    def truncate(self, data: st.DataObject, size: int) -> None:
        ino = data.draw(st.sampled_from(sorted(self.drafts)))
        with self.connection.transaction():
            self.drafts[ino].truncate(size)
            del self.models[ino][size:]
            self._forget_if_empty(ino)

    @precondition(lambda self: self.drafts)
    @rule(data=st.data(), low=st.integers(0, END), length=st.integers(1, END))
    def drop(self, data: st.DataObject, low: int, length: int) -> None:
        """What sealing a range does."""
        ino = data.draw(st.sampled_from(sorted(self.drafts)))
        draft, model = self.drafts[ino], self.models[ino]
        with self.connection.transaction():
            draft.drop(low, low + length)
            model[low : low + length] = [None] * len(model[low : low + length])
            self._forget_if_empty(ino)

    def _forget_if_empty(self, ino: InodeNo) -> None:
        if self.drafts[ino].is_empty:
            self.stale.append(self.drafts[ino].forget())
            del self.drafts[ino], self.models[ino]

    @precondition(lambda self: any(draft.has_outgrown for draft in self.drafts.values()))
    @rule(data=st.data(), content=st.one_of(st.none(), CONTENTS), start=st.integers(0, END))
    def move(self, data: st.DataObject, content: bytes | None, start: int) -> None:
        """To a new file, unless something is written meanwhile."""
        outgrown = [ino for ino, draft in self.drafts.items() if draft.has_outgrown]
        ino = data.draw(st.sampled_from(outgrown))
        move = self.drafts[ino].begin_move()
        move.write()
        if content is not None:
            self.write(ino, start, content)
            self.stale.append(move.path)
            return
        with self.connection.transaction():
            self.stale.append(self.drafts[ino].finish_move(move))
        assert not self.drafts[ino].has_outgrown

    @rule()
    def begin_removing(self) -> None:
        self.removing += self.stale + self.spools.take_stale()
        self.stale = []

    @rule()
    def remove(self) -> None:
        for path in self.removing:
            path.unlink(missing_ok=True)
        self.removing = []

    @rule(ino=INODES)
    def release(self, ino: InodeNo) -> None:
        if ino in self.drafts:
            self.drafts[ino].release_file()

    @rule()
    def daemon_dies(self) -> None:
        """All that is left is the table and the files; unknown files go, as at an opening."""
        self._let_go()
        self.stale, self.removing = [], []
        self.spools = Spools(self.directory, self.table)
        known = set(self.table.all())
        for path in self.directory.iterdir():
            if not self.spools.is_needed(path.name) and parse_draft_name(path.name) not in known:
                path.unlink()
        for ino in self.drafts:
            loaded = load_draft(self.directory, self.table, self.spools, ino)
            assert loaded is not None
            self.drafts[ino] = loaded
        assert {ino for ino, _ in known} == set(self.drafts)

    @invariant()
    def every_byte_reads_back(self) -> None:
        for ino, model in self.models.items():
            draft = self.drafts[ino]
            found: list[int | None] = [None] * len(model)
            at = 0
            for low, high, content in draft.read(0, 10**9):
                assert at <= low < high == low + len(content)
                found[low:high] = content
                at = high
            assert found == model
            here = [byte is not None for byte in model]
            assert draft.live_bytes == sum(here)
            covered = [False] * len(model)
            at = 0
            while span := draft.next_span(at):
                low, at = span
                covered[low:at] = [True] * (at - low)
            assert covered == here
            assert draft.end == max((n + 1 for n, is_here in enumerate(here) if is_here), default=0)
            assert draft.is_empty == (not any(here))

    @invariant()
    def parts_read_like_the_whole(self) -> None:
        for ino, model in self.models.items():
            for start, end in ((3, 20), (9, 10), (0, 1)):
                for low, high, content in self.drafts[ino].read(start, end):
                    assert start <= low < high <= end
                    assert list(content) == model[low:high]


TestDrafts = DraftMachine.TestCase
TestDrafts.settings = settings(deadline=None, max_examples=300, stateful_step_count=30)


class Bench:
    """One directory with its spools."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.connection = Connection(None)
        self.table = DraftTable(self.connection)
        self.spools = Spools(directory, self.table)

    def new(self, ino: int = 5) -> Draft:
        return new_draft(self.directory, self.table, self.spools, InodeNo(ino))

    def reload(self, ino: int = 5) -> Draft:
        self.spools.close()
        self.spools = Spools(self.directory, self.table)
        draft = load_draft(self.directory, self.table, self.spools, InodeNo(ino))
        assert draft is not None
        return draft


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.spools.close()
    found.connection.close()


def whole(draft: Draft) -> bytes:
    return b"".join(content for _, _, content in draft.read(0, draft.end))


def test_forgetting_a_part_touches_no_other_row(bench: Bench) -> None:
    """Of a file that was written in many places, each of which is sealed by itself."""
    draft, count = bench.new(), 2000
    with bench.connection.transaction():
        for at in range(count):
            draft.write(at * 10, b"piece")
    (before,) = bench.connection.one("SELECT total_changes()") or (0,)
    with bench.connection.transaction():
        draft.drop(0, 5)  # what was spooled, or in the own file
        draft.drop(5000, 5005)
        draft.drop(6001, 6003)  # within one
        draft.drop(7003, 7012)  # the end of one and the beginning of another
        draft.drop((count - 1) * 10, count * 10)
    (after,) = bench.connection.one("SELECT total_changes()") or (0,)
    assert after - before <= 5 * 4
    assert draft.live_bytes == count * 5 - 5 - 5 - 2 - 4 - 5
    draft.release_file()
    again = bench.reload()
    assert again.live_bytes == draft.live_bytes
    assert again.read(5990, 7020) == draft.read(5990, 7020)
    assert again.next_span(0) == (10, 15)
    assert again.next_span(7000) == (7000, 7003)
    assert again.end == (count - 2) * 10 + 5
    again.release_file()


def test_appending_touches_no_row(bench: Bench) -> None:
    draft = bench.new()
    draft.write(0, b"spooled")
    draft.write(7, b"first of the file")
    before = bench.connection.one("SELECT total_changes()")
    for n in range(100):
        draft.write(draft.end, b"line %d\n" % n)
    assert bench.connection.one("SELECT total_changes()") == before
    draft.release_file()
    again = bench.reload()
    assert whole(again) == b"spooledfirst of the file" + b"".join(
        b"line %d\n" % n for n in range(100)
    )
    again.release_file()


def test_a_region_that_grows_stops_where_another_begins(bench: Bench) -> None:
    draft = bench.new()
    for start, content in ((0, b"a"), (2, b"c"), (1, b"b"), (2, b"C")):
        draft.write(start, content)
    assert whole(draft) == b"abC"
    draft.release_file()
    again = bench.reload()
    assert whole(again) == b"abC"
    again.release_file()


def test_small_drafts_have_no_file_each(bench: Bench) -> None:
    for ino in range(1, 50):
        bench.new(ino).write(0, b"small %d" % ino)
    assert len(names_in(bench.directory)) == 1


def test_a_new_draft_never_takes_the_file_of_one_that_is_being_removed(bench: Bench) -> None:
    draft = bench.new()
    draft.write(0, b"a")
    draft.write(1, b"b")
    stale = draft.forget()
    later = bench.new()
    later.write(2, b"c")
    later.write(3, b"d")
    later.release_file()
    stale.unlink(missing_ok=True)
    assert whole(later) == b"cd"
    later.release_file()


@pytest.mark.parametrize("lost", range(1, 12))
def test_a_file_that_lost_its_end_in_a_power_cut_takes_new_bytes(bench: Bench, lost: int) -> None:
    """Rows may survive a power cut without their bytes: those are holes, and stay apart."""
    draft = bench.new()
    draft.write(100, b"spool")  # so that the rest is in the draft's own file
    draft.write(0, b"aaaabbbbcccc")
    draft.truncate(10)  # its length has a row now, and is not that of the file
    draft.release_file()
    (path,) = (path for path in bench.directory.iterdir() if parse_draft_name(path.name))
    os.truncate(path, 12 - lost)
    draft = bench.reload()
    left = b"aaaabbbbcccc"[: 12 - lost]
    draft.write(30, b"dddd")
    draft.write(10, b"e")
    draft.release_file()
    draft = bench.reload()
    found = {start: content for start, _, content in draft.read(0, 200)}
    assert b"".join(found[start] for start in sorted(found) if start < 30) == (
        left[:10].ljust(10, b"\0") + b"e"
    )
    assert found[30] == b"dddd"
    draft.release_file()


def test_only_what_continues_it_follows_in_a_draft_s_own_file(bench: Bench) -> None:
    """Its length tells how far it goes; bytes of another place would be taken for its own."""
    draft = bench.new()
    draft.write(100, b"spool")
    draft.write(0, b"tail")
    (path,) = (path for path in bench.directory.iterdir() if parse_draft_name(path.name))
    draft.write(50, b"elsewhere")
    draft.write(59, b", and on")
    assert path.read_bytes() == b"tail"
    draft.write(4, b" grows")
    assert path.read_bytes() == b"tail grows"
    rows = bench.table.regions(InodeNo(5))
    assert [(row.start, row.length, bool(row.spool)) for row in rows] == [
        (0, None, False), (50, 17, True), (100, 5, True),
    ]  # fmt: skip
    draft.release_file()


def test_a_full_disk_leaves_the_old_bytes_or_the_new(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = bench.new()
    draft.write(0, b"spooled")
    draft.write(7, b"file")
    real = os.pwrite

    def full(fd: int, content: bytes, position: int) -> int:
        if len(content) > 2:
            return real(fd, bytes(content)[:2], position)
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "pwrite", full)
    for start in (11, 30):
        with pytest.raises(OSError, match="no space"):
            draft.write(start, b"too much")
    monkeypatch.undo()
    assert whole(draft) == b"spooledfile"
    draft.write(11, b", and more")
    draft.release_file()
    again = bench.reload()
    assert whole(again) == b"spooledfile, and more"
    again.release_file()


def test_a_spool_goes_when_nobody_needs_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools_module, "SPOOL_BYTES_MAX", 10)
    drafts = [bench.new(ino) for ino in range(1, 6)]
    for draft in drafts:
        draft.write(0, b"8 bytes.")
    for draft in drafts:
        draft.forget()
    bench.spools.retire_current()
    for path in bench.spools.take_stale():
        path.unlink()
    assert names_in(bench.directory) == []


@pytest.mark.parametrize("name", ["", "5", "5.", ".5", "x.1", "5.x", "5.1.1", "spool-1", "-"])
def test_names_that_are_no_drafts(name: str) -> None:
    assert parse_draft_name(name) is None
