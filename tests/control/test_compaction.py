"""Reports of compaction, and the words by which it is asked for."""

import json
import random

import pytest

from stowkenfs.control.compaction import COMPACT
from stowkenfs.control.job_files import job_files
from stowkenfs.control.jobs import Jobs
from stowkenfs.control.kinds import AnyKind, DiskUse, Outcome, carry_out, choose
from stowkenfs.control.nodes import ControlFile
from stowkenfs.control.training import COMPACT_SUBSTRINGS
from stowkenfs.errors import BadRequest, DamageFound, JobCancelled
from stowkenfs.vault.compaction.compactor import CompactReport
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.vault import Vault
from tests.running import run

CONFIG = VaultConfig(workers=0)
DISK = DiskUse(bytes_in=8 << 20, bytes_before=4 << 20, bytes_after=1 << 20, ratio=8.0)


def done(report: CompactReport | None, **more: object) -> Outcome[CompactReport]:
    return Outcome(COMPACT, report, 2.0, DISK, **more)  # type: ignore[arg-type]


def test_what_was_done_in_sentences() -> None:
    report = CompactReport(documents=1234, records=5, content_bytes=6 << 20, postponed=2)
    assert done(report).text().splitlines() == [
        "Compacted 1,234 files with 6.0 MiB in 2.0 s, 3.0 MiB/s.",
        "4.0 MiB on disk before, 1.0 MiB now: ratio 8.00.",
        "2 files changed meanwhile and are left for the next time.",
    ]
    report = CompactReport(documents=1, content_bytes=1, postponed=1, problems=["a bad block"])
    lines = done(report).text().splitlines()
    assert lines[2] == "1 file changed meanwhile and is left for the next time."
    assert lines[3] == "problem: a bad block"
    assert not done(report).clean


def test_problems_are_told_once_and_safely() -> None:
    problems = ["/a\nb\x1b[31m: damaged"] * 3 + [f"/f{number}: gone" for number in range(150)]
    lines = done(CompactReport(problems=problems)).text().splitlines()
    assert lines[2:4] == [r"problem: /a\nb\x1b[31m: damaged", "problem: /f0: gone"]
    assert lines[-1] == "and 51 problems more"
    assert len(lines) == 2 + 100 + 1


def test_what_was_not_done_in_sentences() -> None:
    nothing = done(CompactReport(stored_bytes_before=5, stored_bytes_after=5))
    assert nothing.to_dict()["nothing_to_do"] is True
    assert nothing.text().startswith("There was nothing to do: all is compacted. ")
    cancelled = done(None, cancelled=True)
    assert not cancelled.clean
    assert cancelled.text() == (
        "Cancelled after 2.0 s; 1.0 MiB on disk, ratio 8.00.\n"
        "What was compacted until then is kept, and the next run goes on from there.\n"
    )
    assert done(None, failure="no space").text().startswith("It failed: no space. It ")


def test_a_vault_is_compacted_once() -> None:
    rng = random.Random(5)
    texts = [" ".join(rng.choices(["wave", "swell", "surf"], k=400)) for _ in range(30)]

    async def main() -> list[Outcome[CompactReport]]:
        async with Vault.memory(CONFIG) as vault:
            for number, text in enumerate(texts):
                content = json.dumps({"text": text}).encode()
                await vault.write_document(b"/a/%d.json" % number, content)
            return [
                await carry_out(vault, COMPACT, {"level": None}, lambda _d, _t: None)
                for _ in range(2)
            ]

    first, second = run("trio", main)
    assert first.clean
    assert first.report is not None
    assert first.report.documents == 30
    assert first.disk is not None
    assert first.disk.bytes_in == sum(len(text) + len('{"text": ""}') for text in texts)
    assert first.disk.bytes_after < first.disk.bytes_before
    assert json.loads(json.dumps(first.to_dict()))["nothing_to_do"] is False
    assert second.clean
    assert json.loads(json.dumps(second.to_dict()))["nothing_to_do"] is True


@pytest.mark.parametrize("level", ["0", "23", "-1", "x", "", "1.5", "²"])
def test_levels_that_are_none(level) -> None:
    with pytest.raises(BadRequest, match="level is a zstd level from 1 to 22"):
        choose([COMPACT, COMPACT_SUBSTRINGS], f"level={level}")


def test_what_is_compacted_can_be_said() -> None:
    kinds: list[AnyKind] = [COMPACT, COMPACT_SUBSTRINGS]
    assert choose(kinds, "") == (COMPACT, {"level": None})
    assert choose(kinds, "level=3") == (COMPACT, {"level": 3})
    assert choose(kinds, "what=substrings") == (COMPACT_SUBSTRINGS, {})
    for text, why in (
        ("what=all", "what is substrings, not 'all'"),
        ("what=", "what is substrings, not ''"),
        ("what=substrings what=substrings", "given once"),
        ("what=substrings level=3", "unknown word 'level=3'; write 1"),
    ):
        with pytest.raises(BadRequest, match=why):
            choose(kinds, text)
    with pytest.raises(BadRequest, match="unknown word"):
        choose([COMPACT], "what=substrings")


def test_how_it_ended_is_shown_by_both_files() -> None:
    async def main() -> None:
        async with Vault.memory(CONFIG) as vault:
            jobs = Jobs()
            text, numbers = job_files(vault, jobs, COMPACT).values()
            assert isinstance(text, ControlFile)
            assert isinstance(numbers, ControlFile)

            async def shown(file: ControlFile) -> str:
                rendered = await file.render()
                return rendered.read(0, rendered.size).decode()

            assert "not run since" in await shown(text)
            assert json.loads(await shown(numbers)) is None
            await vault.write_document(b"/file", b"x" * 5000)
            await text.act(b"level=1\n")
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
                    await text.act(b"1\n")
                assert words in await shown(text)
                assert json.loads(await shown(numbers))["clean"] is False

    run("trio", main)
