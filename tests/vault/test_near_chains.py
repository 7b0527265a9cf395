"""Segments by their bands, in memory and in the index."""

from pathlib import Path

import numpy as np

from stowkenfs.frames.minhash import BANDS_BYTES, bands_of_many
from stowkenfs.index.canonicals import CanonicalTable
from stowkenfs.index.connection import Connection
from stowkenfs.vault.near_chains import CHAIN_MAX, BandChains


def test_the_index_takes_less_than_100_bytes_a_segment(tmp_path: Path) -> None:
    total = 200_000
    bands = np.random.default_rng(3).integers(0, 256, (total, BANDS_BYTES), np.uint8)
    chains = BandChains()
    for start in range(0, total, 1000):
        chains.add(range(start, start + 1000), bands[start : start + 1000])
    assert len(chains) == total
    assert chains.size_bytes / total < 100
    connection = Connection(tmp_path / "index.db")
    table = CanonicalTable(connection)
    connection.checkpoint()
    before = (tmp_path / "index.db").stat().st_size
    for start in range(0, total, 1000):
        table.add([(at, bands[at].tobytes()) for at in range(start, start + 1000)])
    connection.checkpoint()
    assert ((tmp_path / "index.db").stat().st_size - before) / total < 50
    connection.close()


def test_each_of_many_is_found() -> None:
    rng = np.random.default_rng(4)
    sets = [rng.integers(0, 100_000, 60).astype(np.uint32) for _ in range(3000)]
    chains = BandChains()
    bands = bands_of_many(sets)
    for start in range(0, 3000, 700):  # the last piece is shorter
        chains.add(range(start, min(start + 700, 3000)), bands[start : start + 700])
    changed = [np.append(one[2:], np.array([200_000, 200_001], np.uint32)) for one in sets]
    found = chains.matches(bands_of_many(changed), 3)
    first = [matches[0].number if matches else None for matches in found]
    assert sum(number == at for at, number in enumerate(first)) > 2990
    assert all(len(matches) <= 3 for matches in found)


def test_the_oldest_give_way() -> None:
    rng = np.random.default_rng(5)
    bands = rng.integers(0, 256, (5000, BANDS_BYTES), np.uint8)
    chains = BandChains(entries_max=1000)
    gone = []
    for start in range(0, 5000, 7):
        gone += chains.add(range(start, min(start + 7, 5000)), bands[start : start + 7])
    assert gone == [*range(4000)]
    assert len(chains) == 1000
    found = [matches[0].number if matches else None for matches in chains.matches(bands, 1)]
    assert found == [None] * 4000 + [*range(4000, 5000)]


def test_many_at_once_are_as_one_by_one() -> None:
    bands = np.random.default_rng(6).integers(0, 2, (300, BANDS_BYTES), np.uint8)  # all collide
    together, alone = BandChains(entries_max=120), BandChains(entries_max=120)
    gone = together.add(range(300), bands)
    one_by_one = [old for at in range(300) for old in alone.add([at], bands[at : at + 1])]
    assert gone == one_by_one
    assert together.matches(bands, 9) == alone.matches(bands, 9)


def test_numbers_go() -> None:
    bands = np.random.default_rng(7).integers(0, 256, (10, BANDS_BYTES), np.uint8)
    chains = BandChains()
    chains.add(range(10), bands)
    chains.forget(lambda numbers: numbers < 5)
    found = chains.matches(bands, 1)
    assert [matches[0].number if matches else None for matches in found] == (
        [None] * 5 + [5, 6, 7, 8, 9]
    )


def test_a_bucket_that_everything_falls_into_is_not_walked_for_ever() -> None:
    bands = np.zeros((5000, BANDS_BYTES), np.uint8)
    chains = BandChains()
    chains.add(range(5000), bands)
    (found,) = chains.matches(bands[:1], 10_000)
    assert [match.number for match in found] == [*range(4999, 4999 - CHAIN_MAX, -1)]
