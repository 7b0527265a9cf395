"""Runs of keys: look-ups against a dict, merging, hot tables, caches, damage."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stowkenfs.errors import Corrupt
from stowkenfs.index import key_merge as key_merge_module
from stowkenfs.index import key_runs as key_runs_module
from stowkenfs.index.catalogue import Catalogue
from stowkenfs.index.connection import Connection, Row
from stowkenfs.index.key_merge import (
    DENSE_SPARE_BITS,
    HOT_SPARE_BITS,
    MERGED_SPARE_BITS_MIN,
    KeyBlock,
    cut_run,
    merge_runs,
)
from stowkenfs.index.key_runs import Candidate, KeyPlace, KeyRuns
from stowkenfs.index.keys import (
    KEYS_MAX,
    Grain,
    KeyItems,
    Keys,
    Values,
    decode_keys,
    from_column,
    prefix_bits,
)

THING, OTHER = 2, 1
BELOW = 1000
"""Numbers of rows that came in time."""
I64 = st.integers(-(2**63), 2**63 - 1)


class Packs:
    """Payloads by pack and offset; counts what is read."""

    def __init__(self) -> None:
        self.payloads: dict[tuple[int, int], bytes] = {}
        self.reads = 0

    def load(self, pack: int, offset_bytes: int, stored_bytes: int, count: int) -> bytes:
        self.reads += 1
        payload = self.payloads.get((pack, offset_bytes))
        if payload is None:
            raise FileNotFoundError(pack)
        assert len(payload) + 44 == stored_bytes
        return payload

    def write(self, thing: int, run: int, blocks: Iterator[KeyBlock]) -> list[KeyPlace]:
        places = []
        for block in blocks:
            offset = len(self.payloads) * 100
            self.payloads[run, offset] = block.payload
            length = len(block.payload)
            places.append(
                KeyPlace(
                    thing, run, block.low, block.high, block.count, run, offset, length + 44, length
                )
            )
        return places


class Table:
    """An index with runs in made-up packs."""

    def __init__(self, path: Path | None = None) -> None:
        self.connection = Connection(path)
        self.packs = Packs()
        self.runs = KeyRuns(self.connection, self.packs.load)

    def add(
        self,
        entries: dict[int, int],
        grain: Grain = Grain.EXACT,
        *,
        thing: int = THING,
        spare_bits: int = HOT_SPARE_BITS,
    ) -> int:
        run = self.runs.next_run(thing)
        blocks = cut_run(*arrays(entries), spare_bits, grain)
        self.runs.add(self.packs.write(thing, run, blocks))
        return run

    def merge(self, runs: Sequence[int]) -> int:
        counts = dict(self.runs.plan(THING))
        merged = self.runs.next_run(THING)
        blocks = merge_runs(
            [self.runs.blocks(THING, run) for run in runs], sum(counts[run] for run in runs)
        )
        places = self.packs.write(THING, merged, blocks)
        with self.connection.transaction():
            self.runs.add(places)
            self.runs.drop(THING, runs)
        return merged

    def damage(self, run: int) -> None:
        for name in self.packs.payloads:
            if name[0] == run:
                self.packs.payloads[name] = b"\xff" * len(self.packs.payloads[name])


@pytest.fixture
def table() -> Iterator[Table]:
    found = Table()
    yield found
    found.connection.close()


@pytest.fixture
def table_on_disk(tmp_path: Path) -> Iterator[Table]:
    found = Table(tmp_path / "index.db")
    yield found
    found.connection.close()


def arrays(entries: dict[int, int]) -> tuple[Keys, Values]:
    return np.array(list(entries), np.int64), np.array(list(entries.values()), np.int64)


def random_entries(count: int, seed: int = 1) -> dict[int, int]:
    random = np.random.default_rng(seed)
    keys = random.integers(0, 2**64, count, dtype=np.uint64).view(np.int64)
    return dict(zip(keys.tolist(), random.permutation(count).tolist(), strict=True))


def numbers(found: dict[int, list[Candidate]]) -> dict[int, list[int]]:
    return {key: [candidate.number for candidate in some] for key, some in found.items()}


def unpacked(blocks: Iterator[KeyBlock]) -> list[KeyItems]:
    """The blocks, having checked what all runs promise."""
    found = []
    last = -1
    for block in blocks:
        items = decode_keys(block.payload, block.count)
        assert (items.low, items.high) == (from_column(block.low), from_column(block.high))
        assert last < items.low
        last = items.high
        found.append(items)
    return found


def entries_of(blocks: Sequence[KeyItems], bits: int) -> list[tuple[int, int]]:
    return sorted(
        (prefix >> items.bits - bits, value)
        for items in blocks
        for prefix, value in zip(items.prefixes.tolist(), items.values.tolist(), strict=True)
    )


# Looking up


def test_no_runs(table: Table) -> None:
    assert table.runs.candidates(THING, [1, 2]) == {}
    assert table.runs.candidates(THING, []) == {}
    assert table.runs.plan(THING) == []
    assert table.runs.next_run(THING) == 1


def test_the_edges_of_keys(table: Table) -> None:
    entries = {-(2**63): 1, -1: 2, 0: 3, 1: 4, 2**63 - 1: 5}
    table.add(entries, spare_bits=64)
    asked = [*entries, -(2**63), 7, -2, 2**62]
    assert numbers(table.runs.candidates(THING, asked)) == {k: [v] for k, v in entries.items()}
    assert table.runs.candidates(OTHER, asked) == {}
    rows = table.connection.all("SELECT low, high, typeof(low) FROM key_block")
    assert rows == [(-(2**63), 2**63 - 1, "integer")]


def test_newest_run_first_and_both_grains(table: Table) -> None:
    table.add({5: 1, 6: 2}, spare_bits=64)
    table.add({5: 100, 7: 100}, Grain.BLOCK, spare_bits=64)
    table.add({6: 2}, spare_bits=64)
    assert table.runs.candidates(THING, [7, 6, 5, 4]) == {
        5: [Candidate(100, is_exact=False), Candidate(1, is_exact=True)],
        6: [Candidate(2, is_exact=True)],
        7: [Candidate(100, is_exact=False)],
    }


def test_many_blocks(table: Table) -> None:
    """All keys are found, in whatever block; few others are."""
    entries = random_entries(100_000)
    table.add(entries, spare_bits=DENSE_SPARE_BITS)
    ((_, count),) = table.runs.plan(THING)
    assert count == 100_000
    keys = list(entries)
    for start in range(0, 5000, 500):
        found = table.runs.candidates(THING, keys[start : start + 500])
        for key in keys[start : start + 500]:
            assert Candidate(entries[key], is_exact=True) in found[key]
    assert table.packs.reads == 7
    unknown = list(random_entries(20_000, seed=2))
    false = len(table.runs.candidates(THING, unknown))
    expected = 20_000 / 2**DENSE_SPARE_BITS
    assert expected / 2 < false < expected * 1.2


class RunMachine(RuleBasedStateMachine):
    """Runs come, are merged and go, with small blocks and caches; keys share many prefixes."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(key_merge_module, "KEYS_MAX", 8)
        self.patch.setattr(key_runs_module, "CACHE_BYTES", 3000)
        self.table = Table()
        self.model: dict[int, dict[int, int]] = {}  # {run: {key: value}}

    def teardown(self) -> None:
        self.table.connection.close()
        self.patch.undo()

    @rule(
        entries=st.dictionaries(
            st.one_of(I64, st.integers(-60, 60)), st.integers(0, 50), min_size=1, max_size=60
        ),
        rolled_back=st.booleans(),
    )
    def add(self, entries: dict[int, int], rolled_back: bool) -> None:
        try:
            with self.table.connection.transaction():
                run = self.table.add(entries, spare_bits=64)
                assert not rolled_back
        except AssertionError:
            return
        self.model[run] = entries

    @rule(data=st.data())
    def merge(self, data: st.DataObject) -> None:
        if len(self.model) < 2:
            return
        runs = data.draw(st.lists(st.sampled_from(list(self.model)), min_size=2, unique=True))
        merged: dict[int, int] = {}
        for run in runs:
            for key, value in self.model[run].items():
                if merged.setdefault(key, value) != value:
                    return  # a dict is no model of two values
        run = self.table.merge(runs)
        for old in runs:
            del self.model[old]
        self.model[run] = merged

    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        if self.model:
            run = data.draw(st.sampled_from(list(self.model)))
            self.table.runs.drop(THING, [run])
            del self.model[run]

    @rule(others=st.lists(I64, max_size=5))
    def look_up(self, others: list[int]) -> None:
        asked = {key for entries in self.model.values() for key in entries} | set(others)
        expected: dict[int, list[int]] = {}
        for key in asked:
            for run in sorted(self.model, reverse=True):
                value = self.model[run].get(key)
                if value is not None and value not in expected.setdefault(key, []):
                    expected[key].append(value)
        expected = {key: values for key, values in expected.items() if values}
        assert numbers(self.table.runs.candidates(THING, list(asked))) == expected

    @invariant()
    def runs_are_listed(self) -> None:
        assert [run for run, _ in self.table.runs.plan(THING)] == sorted(self.model)
        assert self.table.runs._blocks.currsize <= 3000


TestRuns = RunMachine.TestCase
TestRuns.settings = settings(deadline=None, max_examples=60, stateful_step_count=20)


def test_numbers_of_runs_are_not_used_again(table: Table) -> None:
    """What is cached of a run would be taken for the next one's."""
    first = table.add({1: 1}, spare_bits=64)
    assert numbers(table.runs.candidates(THING, [1])) == {1: [1]}
    table.runs.drop(THING, [first])
    assert table.add({1: 2}, spare_bits=64) == first + 1
    assert numbers(table.runs.candidates(THING, [1])) == {1: [2]}
    again = KeyRuns(table.connection, table.packs.load)
    assert again.next_run(THING) == first + 2


def test_the_cache_is_bounded(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_runs_module, "CACHE_BYTES", 600_000)
    runs = KeyRuns(table.connection, table.packs.load)
    entries = random_entries(10 * KEYS_MAX)
    table.add(entries, spare_bits=DENSE_SPARE_BITS)
    keys = list(entries)[:2000]
    assert len(runs.candidates(THING, keys)) == 2000
    assert table.packs.reads == 10
    assert 0 < len(runs._blocks) < 10
    assert runs._blocks.currsize <= 600_000
    assert len(runs.candidates(THING, keys)) == 2000
    assert table.packs.reads > 10


def test_a_block_larger_than_the_cache(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_runs_module, "CACHE_BYTES", 100)
    runs = KeyRuns(table.connection, table.packs.load)
    table.add({1: 1}, spare_bits=64)
    for _ in range(2):
        assert numbers(runs.candidates(THING, [1])) == {1: [1]}
    assert table.packs.reads == 2


def test_rows_that_come_while_they_are_read(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory a reader sees part of a transaction; that must not be remembered."""
    places = table.packs.write(THING, 1, cut_run(*arrays(random_entries(20_000)), 64, Grain.EXACT))
    first, second = places
    table.runs.add([first])
    read_all = table.connection.read_all

    def read_and_add(sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        rows = read_all(sql, parameters)
        if "ORDER BY low" in sql:
            monkeypatch.undo()
            table.runs.add([second])
        return rows

    monkeypatch.setattr(table.connection, "read_all", read_and_add)
    keys = list(random_entries(20_000))
    assert len(table.runs.candidates(THING, keys)) == first.count
    assert len(table.runs.candidates(THING, keys)) == 20_000


def test_threads_look_up_while_runs_are_merged(table_on_disk: Table) -> None:
    """No look-up misses a key that is in some run all the time."""
    table = table_on_disk
    entries = random_entries(3000)
    keys = list(entries)
    for start in range(0, 3000, 500):
        table.add({key: entries[key] for key in keys[start : start + 500]})
    missing: list[int] = []
    done = threading.Event()

    def look_up() -> None:
        while not done.is_set():
            found = numbers(table.runs.candidates(THING, keys[::7]))
            missing.extend(key for key in keys[::7] if entries[key] not in found.get(key, []))

    threads = [threading.Thread(target=look_up) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):
            old = [run for run, _ in table.runs.plan(THING)]
            merged = table.merge(old)
            for name in [name for name in table.packs.payloads if name[0] in old]:
                del table.packs.payloads[name]  # as a collection of packs does
            assert [run for run, _ in table.runs.plan(THING)] == [merged]
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert missing == []


# Damage


def test_a_damaged_block_hides_its_keys_only(
    table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = table.add({5: 1, 6: 2}, spare_bits=64)
    table.add({5: 1}, spare_bits=64)
    table.damage(damaged)
    for _ in range(2):
        assert numbers(table.runs.candidates(THING, [5, 6])) == {5: [1]}
    assert len(caplog.records) == 1, "it is told once"
    with pytest.raises(Corrupt):
        list(table.runs.blocks(THING, damaged))


def test_another_block_than_indexed(table: Table) -> None:
    first = table.add({5: 1, 6: 2}, spare_bits=64)
    second = table.add({7: 1, 8: 2}, spare_bits=64)
    names = {name[0]: name for name in table.packs.payloads}
    table.packs.payloads[names[first]] = table.packs.payloads[names[second]]
    assert numbers(table.runs.candidates(THING, [5, 6, 7, 8])) == {7: [1], 8: [2]}


def test_packs_that_cannot_be_read(table: Table) -> None:
    table.add({5: 1})
    payloads = dict(table.packs.payloads)
    table.packs.payloads.clear()
    with pytest.raises(FileNotFoundError):
        table.runs.candidates(THING, [5])
    table.packs.payloads.update(payloads)
    assert numbers(table.runs.candidates(THING, [5])) == {5: [1]}
    with pytest.raises(Corrupt):
        list(table.runs.blocks(THING, 77))


# Cutting and merging


def test_runs_are_cut_between_prefixes() -> None:
    """Three entries in four share a prefix; no block divides one, none has more than allowed."""
    keys = np.arange(3 * KEYS_MAX) // 4 << 40
    items = unpacked(cut_run(keys, np.arange(len(keys)), 8, Grain.EXACT))
    assert sum(len(block) for block in items) == len(keys)
    assert max(len(block) for block in items) <= KEYS_MAX


def test_a_prefix_of_more_keys_than_a_block_holds() -> None:
    keys = np.array([1] * (2 * KEYS_MAX) + [-1, -2])
    items = unpacked(cut_run(keys, np.arange(len(keys)), 40, Grain.EXACT))
    assert [len(block) for block in items] == [KEYS_MAX, 2]
    assert items[0].values.tolist() == list(range(KEYS_MAX))


def test_nothing_to_cut() -> None:
    empty = np.empty(0, np.int64)
    assert list(cut_run(empty, empty, 10, Grain.EXACT)) == []


RUNS = st.lists(
    st.lists(
        st.tuples(st.one_of(I64, st.integers(-(2**58), 2**58)), st.integers(0, 9)),
        min_size=1,
        max_size=60,
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=150)
@given(RUNS, st.lists(st.integers(10, 40), min_size=4, max_size=4), st.sampled_from(Grain))
def test_merging(runs: list[list[tuple[int, int]]], spare_bits: list[int], grain: Grain) -> None:
    """As if the shortest prefixes of all entries had been cut at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_merge_module, "KEYS_MAX", 8)
        blocks = []
        for entries, spare in zip(runs, spare_bits, strict=False):
            rows = np.array(entries, np.int64)
            blocks.append(unpacked(cut_run(rows[:, 0].copy(), rows[:, 1].copy(), spare, grain)))
        total = sum(len(entries) for entries in runs)
        bits = min(some[0].bits for some in blocks)
        if bits < prefix_bits(total, MERGED_SPARE_BITS_MIN):
            with pytest.raises(ValueError, match="bits"):
                merge_runs(blocks, total)
            return
        merged = unpacked(merge_runs(blocks, total))
        assert {(items.bits, items.grain) for items in merged} == {(bits, grain)}
        expected = entries_of([items for some in blocks for items in some], bits)
        if max(np.unique([prefix for prefix, _ in expected], return_counts=True)[1]) <= 8:
            assert entries_of(merged, bits) == expected


def test_merging_takes_one_block_of_each_run_at_a_time() -> None:
    unpacked_now = 0
    most = 0

    def counted(items: Sequence[KeyItems]) -> Iterator[KeyItems]:
        nonlocal unpacked_now, most
        for one in items:
            unpacked_now += 1
            most = max(most, unpacked_now)
            yield one

    runs = [
        unpacked(cut_run(*arrays(random_entries(100_000, seed)), HOT_SPARE_BITS, Grain.EXACT))
        for seed in range(3)
    ]
    merged = []
    for block in merge_runs([counted(run) for run in runs], 300_000):
        unpacked_now -= 1
        merged.append(block)
    assert most < 8
    bits = runs[0][0].bits
    expected = entries_of([items for run in runs for items in run], bits)
    assert entries_of(unpacked(iter(merged)), bits) == expected


def test_what_cannot_be_merged() -> None:
    entries = arrays(random_entries(1000))
    exact = unpacked(cut_run(*entries, DENSE_SPARE_BITS, Grain.EXACT))
    dense = unpacked(cut_run(*entries, DENSE_SPARE_BITS, Grain.BLOCK))
    with pytest.raises(ValueError, match="grains"):
        merge_runs([exact, dense], 2000)
    with pytest.raises(ValueError, match="grains"):
        merge_runs([], 0)
    with pytest.raises(ValueError, match="without blocks"):
        merge_runs([exact, []], 2000)
    assert len(unpacked(merge_runs([exact] * 16, 16_384))) == 1
    with pytest.raises(ValueError, match="too few"):
        merge_runs([exact] * 17, 17_000)
    other = unpacked(cut_run(*entries, DENSE_SPARE_BITS + 1, Grain.EXACT))
    with pytest.raises(Corrupt):
        list(merge_runs([exact + other], 2000))


# Hot keys


def test_hot_keys_become_a_run_while_others_come(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_runs_module, "ROWS_AT_ONCE", 10)
    monkeypatch.setattr(key_runs_module, "TAKEN_AT_ONCE", 10)
    catalogue = Catalogue(table.connection)
    entries = random_entries(200)
    edges = {-(2**63): 200, 2**63 - 1: 201, 0: 202, -1: 203}
    entries |= edges
    catalogue.keys.add("segment_key", list(entries.items()))
    late = {key + 1: number + 1000 for key, number in entries.items() if key not in edges}
    changed = list(entries)[7]

    async def add_late() -> None:
        for row in late.items():
            catalogue.keys.add("segment_key", [row])
            await anyio.lowlevel.checkpoint()

    async def flush() -> int:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(add_late)
            keys, values = await table.runs.take_hot("segment_key", 10_000, BELOW)
            run = table.runs.next_run(THING)
            table.runs.add(
                table.packs.write(THING, run, cut_run(keys, values, HOT_SPARE_BITS, Grain.EXACT))
            )
            table.connection.execute("UPDATE segment_key SET no = 1077 WHERE key = ?", (changed,))
            await table.runs.forget_taken("segment_key", keys, BELOW)
        return len(keys)

    taken = anyio.run(flush, backend="trio")
    assert taken == len(entries)
    kept: dict[int, int] = dict(table.connection.all("SELECT key, no FROM segment_key"))
    assert kept.pop(changed) == 1077
    assert kept == late
    for key, number in entries.items():
        assert Candidate(number, is_exact=True) in table.runs.candidates(THING, [key])[key]


@pytest.mark.parametrize(("rows_max", "taken"), [(0, 0), (1, 1), (10, 10), (25, 25), (99, 40)])
def test_no_more_hot_keys_than_asked_for(
    table: Table, monkeypatch: pytest.MonkeyPatch, rows_max: int, taken: int
) -> None:
    monkeypatch.setattr(key_runs_module, "ROWS_AT_ONCE", 10)
    monkeypatch.setattr(key_runs_module, "TAKEN_AT_ONCE", 10)
    entries = random_entries(40)
    Catalogue(table.connection).keys.add("record_key", list(entries.items()))
    keys, values = anyio.run(table.runs.take_hot, "record_key", rows_max, BELOW)
    assert {keys.dtype, values.dtype} == {np.dtype(np.int64)}
    assert list(zip(keys.tolist(), values.tolist(), strict=True)) == sorted(entries.items())[:taken]
    anyio.run(table.runs.forget_taken, "record_key", keys, BELOW)
    assert table.connection.one("SELECT count(*) FROM record_key") == (40 - taken,)
