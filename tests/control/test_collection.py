"""Reports of collecting and rebuilding in sentences."""

import json

from stowkenfs.control.collection import GC
from stowkenfs.control.kinds import DiskUse, Outcome
from stowkenfs.control.rebuilding import LINES_MAX, REINDEX
from stowkenfs.vault.collection.report import GcReport, KindCount, nothing_of_each
from stowkenfs.vault.reindex.report import DamagedBytes, ReindexReport

DISK = DiskUse(bytes_in=8 << 20, bytes_before=4 << 20, bytes_after=1 << 20, ratio=8.0)


def collected(report: GcReport) -> list[str]:
    outcome = Outcome(GC, report, 2.0, DISK)
    assert json.loads(json.dumps(outcome.to_dict()))["dry_run"] is report.dry_run
    return outcome.text().splitlines()


def test_a_collection_tells_what_is_gone_by_kind() -> None:
    freed = nothing_of_each() | {"records": KindCount(3, 3 << 20), "segments": KindCount(1234, 5)}
    report = GcReport(
        freed=freed, packs_removed=1, pinned_bytes=1 << 10, waiting_bytes=0, problems=("a\nb",)
    )
    assert collected(report) == [
        "4.0 MiB on disk before, 1.0 MiB now; it took 2.0 s.",
        "1 pack removed.",
        "1.0 KiB that nothing refers to stay for the sake of blocks that are compressed against "
        "them.",
        "  records       3  3.0 MiB",
        "  segments  1,234      5 B",
        r"problem: a\nb",
    ]
    assert Outcome(GC, report, 2.0, DISK).damage is not None


def test_a_collection_that_finds_nothing() -> None:
    told = ["There was nothing to do: all that can be dropped is gone. 1.0 MiB on disk."]
    assert collected(GcReport(freed=nothing_of_each())) == told
    assert collected(GcReport(dry_run=True, candidates=nothing_of_each())) == told


def test_a_collection_that_only_removes_packs_does_not_say_that_it_did_nothing() -> None:
    report = GcReport(freed=nothing_of_each(), packs_removed=2, waiting_bytes=31)
    assert collected(report) == [
        "4.0 MiB on disk before, 1.0 MiB now; it took 2.0 s.",
        "2 packs removed.",
        "31 B that nothing refers to stay in their blocks until rewriting those pays.",
    ]


def test_what_a_collection_would_do() -> None:
    report = GcReport(
        dry_run=True, candidates={"templates": KindCount(2, 2048)}, estimated_bytes=2048
    )
    assert collected(report) == [
        "Nothing was dropped. A collection would free about 2.0 KiB of 1.0 MiB on disk.",
        "  templates  2  2.0 KiB",
    ]


def rebuilt(report: ReindexReport) -> list[str]:
    return Outcome(REINDEX, report, 2.0).text().splitlines()


def test_a_rebuilding_tells_what_it_found() -> None:
    report = ReindexReport(
        blocks=5, stored_bytes=2048, inodes=3, names=1, cut_bytes=7, kept_drafts=1
    )
    assert rebuilt(report) == [
        "Made an index from 5 blocks, 2.0 KiB, in 2.0 s: 3 inodes, 1 name, 0 conversations.",
        "1 draft kept.",
        "7 B of commits that were interrupted cut off.",
        "nothing is missing",
    ]
    assert Outcome(REINDEX, report, 2.0).clean


def test_a_rebuilding_names_what_is_missing_safely() -> None:
    report = ReindexReport(
        damages=[DamagedBytes(3, 10, 20, "a\x1b[2J")],
        problems=["no template 7"],
        files=[f"/f{number}" for number in range(LINES_MAX + 2)],
        recovered=["/lost+found/1"],
        omitted=2,
    )
    lines = rebuilt(report)
    assert lines[1:5] == [
        "put into /lost+found: /lost+found/1",
        r"damaged: bytes 10 to 20 of pack 3: a\x1b[2J",
        "problem: no template 7",
        "not all there: /f0",
    ]
    assert lines[-3:] == [
        "not all there: 2 more",
        "and 2 lines more",
        f"2 problems found, {LINES_MAX + 2} files damaged",
    ]
    assert not Outcome(REINDEX, report, 2.0).clean
