"""Reports of compaction, and the words by which it is asked for."""

import json
import random

import pytest

from stowkenfs.control.compaction import (
    CompactFile,
    Compacting,
    Compaction,
    compact_vault,
    format_compaction,
)
from stowkenfs.control.jobs import Jobs
from stowkenfs.control.nodes import parse_words
from stowkenfs.errors import BadRequest, DamageFound, JobCancelled
from stowkenfs.vault.compaction.compactor import CompactReport
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.vault import Vault
from tests.running import run

CONFIG = VaultConfig(workers=0)


def done(report: CompactReport | None, **more: object) -> Compaction:
    values = {
        "seconds": 2.0, "bytes_in": 8 << 20, "bytes_before": 4 << 20, "bytes_after": 1 << 20,
        "ratio": 8.0,
    }  # fmt: skip
    return Compaction(report, **values | more)  # type: ignore[arg-type]


def test_what_was_done_in_sentences() -> None:
    report = CompactReport(documents=1234, records=5, content_bytes=6 << 20, postponed=2)
    assert format_compaction(done(report)).splitlines() == [
        "Compacted 1,234 files with 6.0 MiB in 2.0 s, 3.0 MiB/s.",
        "4.0 MiB on disk before, 1.0 MiB now: ratio 8.00.",
        "2 files changed meanwhile and are left for the next time.",
    ]
    report = CompactReport(documents=1, content_bytes=1, postponed=1, problems=["a bad block"])
    lines = format_compaction(done(report)).splitlines()
    assert lines[2] == "1 file changed meanwhile and is left for the next time."
    assert lines[3] == "problem: a bad block"
    assert not done(report).clean


def test_problems_are_told_once_and_safely() -> None:
    problems = ["/a\nb\x1b[31m: damaged"] * 3 + [f"/f{number}: gone" for number in range(150)]
    lines = format_compaction(done(CompactReport(problems=problems))).splitlines()
    assert lines[2:4] == [r"problem: /a\nb\x1b[31m: damaged", "problem: /f0: gone"]
    assert lines[-1] == "and 51 problems more"
    assert len(lines) == 2 + 100 + 1


def test_what_was_not_done_in_sentences() -> None:
    nothing = done(CompactReport(stored_bytes_before=5, stored_bytes_after=5))
    assert nothing.found_nothing
    assert format_compaction(nothing).startswith("There was nothing to do: all is compacted. ")
    cancelled = done(None, cancelled=True)
    assert not cancelled.clean
    assert format_compaction(cancelled) == (
        "Cancelled after 2.0 s; 1.0 MiB on disk, ratio 8.00.\n"
        "What was compacted until then is kept, and the next run goes on from there.\n"
    )
    assert format_compaction(done(None, failure="no space")).startswith("It failed: no space. It ")


def test_a_vault_is_compacted_once() -> None:
    rng = random.Random(5)
    texts = [" ".join(rng.choices(["wave", "swell", "surf"], k=400)) for _ in range(30)]

    async def main() -> list[Compaction]:
        async with Vault.memory(CONFIG) as vault:
            for number, text in enumerate(texts):
                content = json.dumps({"text": text}).encode()
                await vault.write_document(b"/a/%d.json" % number, content)
            return [await compact_vault(vault, None, lambda _d, _t: None) for _ in range(2)]

    first, second = run("trio", main)
    assert first.clean
    assert not first.found_nothing
    assert first.report is not None
    assert first.report.documents == 30
    assert first.bytes_in == sum(len(text) + len('{"text": ""}') for text in texts)
    assert first.bytes_after < first.bytes_before
    assert second.clean
    assert second.found_nothing
    assert json.loads(json.dumps(second.to_dict()))["nothing_to_do"] is True


@pytest.mark.parametrize("level", ["0", "23", "-1", "x", "", "1.5", "²"])
def test_levels_that_are_none(level) -> None:
    async def main() -> Jobs:
        async with Vault.memory(CONFIG) as vault:
            jobs = Jobs()
            file = CompactFile(Compacting(vault, jobs), as_json=False)
            with pytest.raises(BadRequest, match="level is a zstd level from 1 to 22"):
                await file.act({"level": level})
            return jobs

    assert run("trio", main).text() == ""


def test_how_it_ended_is_shown_by_both_files() -> None:
    async def main() -> None:
        async with Vault.memory(CONFIG) as vault:
            jobs = Jobs()
            compacting = Compacting(vault, jobs)
            text = CompactFile(compacting, as_json=False)
            numbers = CompactFile(compacting, as_json=True)

            async def shown(file: CompactFile) -> str:
                rendered = await file.render()
                return rendered.read(0, rendered.size).decode()

            assert "not run since" in await shown(text)
            assert json.loads(await shown(numbers)) is None
            await vault.write_document(b"/file", b"x" * 5000)
            await text.act({"level": "1"})
            assert (await shown(text)).startswith("Compacted 1 file with ")
            told = json.loads(await shown(numbers))
            assert (told["clean"], told["report"]["documents"]) == (True, 1)

            async def stops(*_: object) -> CompactReport:
                import anyio.lowlevel

                jobs.stop()
                await anyio.lowlevel.checkpoint()
                raise AssertionError("goes on")

            async def meets_problems(*_: object) -> CompactReport:
                return CompactReport(problems=["one"])

            async def breaks(*_: object) -> CompactReport:
                raise OSError(28, "No space left on device")

            for ends, kind, words in (
                (stops, JobCancelled, "Cancelled after"),
                (meets_problems, DamageFound, "problem: one"),
                (breaks, OSError, "It failed: [Errno 28] No space left on device."),
            ):
                vault.compact = ends  # type: ignore[method-assign, assignment]
                with pytest.raises(kind):
                    await text.act({})
                assert words in await shown(text)
                assert json.loads(await shown(numbers))["clean"] is False

    run("trio", main)


def test_words_of_control_files() -> None:
    level, cancel = frozenset({"level"}), frozenset({"cancel"})
    assert parse_words(b"1\n", level) == parse_words(b"\n", level) == {}
    assert parse_words(b"level=19\n", level) == {"level": "19"}
    assert parse_words(b"cancel\n", frozenset(), cancel) == {"cancel": ""}
    for written in (b"cancel", b"level", b"lever=1", b"1 level=3"):
        with pytest.raises(BadRequest, match=r"write 1 or level=…"):
            parse_words(written, level)
    for written in (b"cancel=1", b"stop"):
        with pytest.raises(BadRequest, match="write cancel"):
            parse_words(written, frozenset(), cancel)
    with pytest.raises(BadRequest, match="not UTF-8"):
        parse_words(b"\xff", level)
