"""The power goes somewhere in a workload of the library; what was promised is there."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.power.conftest import CUTS
from tests.power.cuts import Cut, Recording, cuts, record, record_opening, run_cuts
from tests.power.disk import Chance, Disk, File, write_tree
from tests.power.recording import Kind
from tests.power.workloads import WORKLOADS

OPENINGS = max(CUTS // 40, 1)
"""Recoveries that are interrupted themselves; each is recorded, which takes a second."""


@pytest.mark.parametrize("name", WORKLOADS)
def test_promises_are_kept(name: str, tmp_path: Path) -> None:
    recording = record(name, tmp_path)
    assert_exact(recording, tmp_path / "disk")
    outcome = run_cuts(recording, cuts(recording.events, CUTS, seed=CUTS), tmp_path / "broken")
    assert outcome.states == CUTS
    assert not outcome.broken, "\n".join([str(tmp_path), *outcome.broken[:20]])


def assert_exact(recording: Recording, root: Path) -> None:
    """A recording that lacks something would prove nothing."""
    disk = Disk()
    for event in recording.events:
        if event.kind is not Kind.MARK:
            disk.apply(event)
    tree = disk.tree(Chance("everything", 0))
    real = {str(path.relative_to(root)): path for path in root.rglob("*")}
    assert set(tree) == {path for path in real if not path.endswith("-shm")}
    for path, file in tree.items():
        assert file is None or file.content == real[path].read_bytes(), path


@pytest.mark.parametrize("number", range(OPENINGS))
def test_an_opening_after_a_power_cut_may_be_cut_off_too(number: int, tmp_path: Path) -> None:
    rng = random.Random(number)
    name = rng.choice(["anywhere-1", "compaction", "killed, reindexed"])
    recording = record(name, tmp_path / "first")
    at = rng.randrange(len(recording.events) // 2, len(recording.events))
    for event in recording.events[:at]:
        if event.kind is not Kind.MARK:
            recording.disk.apply(event)
    write_tree(recording.disk.tree(Chance("mixed", number)), tmp_path / "left")
    again = record_opening(tmp_path / "left" / "vault", tmp_path / "second")
    outcome = run_cuts(again, cuts(again.events, CUTS, seed=number), tmp_path / "broken")
    assert not outcome.broken, "\n".join([str(tmp_path), *outcome.broken[:20]])


def test_rebuilding_an_index_may_be_cut_off(tmp_path: Path) -> None:
    recording = record("reindexing", tmp_path / "first")
    vault = tmp_path / "first" / "disk" / recording.folder
    for path in vault.glob("index.db*"):
        path.unlink()
    again = record_opening(vault, tmp_path / "second")
    outcome = run_cuts(again, cuts(again.events, CUTS, seed=1), tmp_path / "broken")
    assert not outcome.broken, "\n".join([str(tmp_path), *outcome.broken[:20]])


def without_syncs(recording: Recording, what: Callable[[str], bool]) -> Recording:
    """The same on a disk that lies about syncs of some files."""
    syncs = (Kind.SYNC_BEGIN, Kind.SYNC_END)
    events = [e for e in recording.events if e.kind not in syncs or not what(e.path)]
    return Recording(events, recording.folder)


@pytest.mark.parametrize(
    "what",
    [
        lambda path: path.endswith(".pack"),
        lambda path: path.endswith("index.db-wal"),
        lambda path: path.endswith("packs"),
        lambda path: "drafts/" in path,
        lambda path: path.endswith("drafts"),
    ],
    ids=["packs", "index", "names of packs", "drafts", "names of drafts"],
)
def test_each_sync_is_needed(what: Callable[[str], bool], recorded_files: Recording) -> None:
    """Else this would find nothing whatever a vault does."""
    lying = without_syncs(recorded_files, what)
    assert any(run_cuts(lying, cuts(lying.events, 10, seed)).broken for seed in range(20))


class WithoutIndex(Chance):
    """Of the index what was synced is left, of everything else all."""

    def __init__(self) -> None:
        super().__init__("everything", 0)

    def content(self, file: File, path: str) -> bytes:
        return file.durable if "index.db" in path else super().content(file, path)


def test_bytes_of_one_place_are_not_found_in_another(tmp_path: Path) -> None:
    """Rows are lost that told where the bytes go that follow synced ones in the same file."""
    recording = record("apart", tmp_path)
    ends = [at for at, event in enumerate(recording.events, 1) if event.kind is Kind.WRITE]
    chosen = [Cut(at, "without index", 0) for at in ends if at > ends[-1] // 3]
    outcome = run_cuts(recording, chosen[::3], chance=lambda _: WithoutIndex())
    assert not outcome.broken, "\n".join(outcome.broken[:20])


def test_a_file_that_was_removed_does_not_come_back_as_another(
    tmp_path: Path, recorded_files: Recording
) -> None:
    """What no row names is removed by an opening; then its name is given to something new."""
    disk, events = Disk(), iter(recorded_files.events)
    for event in events:
        if event.kind is not Kind.MARK:
            disk.apply(event)
        if event.kind is Kind.WRITE and "drafts/spool" in event.path:
            break
    write_tree(disk.tree(WithoutIndex()), tmp_path / "left")
    assert list((tmp_path / "left" / "vault" / "drafts").iterdir())
    again = record_opening(tmp_path / "left" / "vault", tmp_path / "second")
    outcome = run_cuts(again, [Cut(at, "nothing", 0) for at in range(1, len(again.events), 4)])
    assert not outcome.broken, "\n".join(outcome.broken[:20])


@pytest.fixture(scope="module")
def recorded_files(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record("files", tmp_path_factory.mktemp("files"))
