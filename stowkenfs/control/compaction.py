"""Compaction as people ask for it, and the report that they get."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stowkenfs.control.format import format_count, format_size, printable
from stowkenfs.control.jobs import Jobs
from stowkenfs.control.nodes import ControlFile, Rendered, RenderedBytes
from stowkenfs.errors import BadRequest, DamageFound, JobCancelled, JobRunning
from stowkenfs.vault.compaction.batch import CompactOptions
from stowkenfs.vault.compaction.compactor import CompactReport
from stowkenfs.vault.stats import VaultStats
from stowkenfs.vault.vault import Vault

PROBLEMS_SHOWN = 100
"""Different ones, as many as people read; JSON has all."""


@dataclass(frozen=True, slots=True)
class Compaction:
    """How a compaction went. Sizes in bytes, on the disk (in memory: of what is stored).

    ``report`` is None if it did not come to its end: ``cancelled``, or for the reason that
    ``failure`` tells.
    """

    report: CompactReport | None
    seconds: float
    bytes_in: int
    bytes_before: int
    bytes_after: int
    ratio: float
    cancelled: bool = False
    failure: str | None = None

    @property
    def clean(self) -> bool:
        return self.report is not None and not self.report.problems

    @property
    def found_nothing(self) -> bool:
        """Whether there was nothing to do."""
        report = self.report
        return report is not None and not any(
            (report.documents, report.postponed, report.records, report.segments,
             report.templates, report.blocks_merged, report.inodes_frozen, report.problems)
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        return {
            "clean": self.clean,
            "nothing_to_do": self.found_nothing,
            "cancelled": self.cancelled,
            "failure": self.failure,
            "seconds": round(self.seconds, 3),
            "bytes_in": self.bytes_in,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "ratio": self.ratio,
            "report": self.report.to_dict() if self.report is not None else None,
        }


def format_compaction(done: Compaction) -> str:
    """What a compaction did, in a few sentences."""
    now = f"{format_size(done.bytes_after)} on disk, ratio {done.ratio:.2f}"
    if done.report is None:
        ended = "Cancelled" if done.cancelled else f"It failed: {done.failure}. It ended"
        return (
            f"{ended} after {done.seconds:.1f} s; {now}.\n"
            "What was compacted until then is kept, and the next run goes on from there.\n"
        )
    report = done.report
    if done.found_nothing:
        return f"There was nothing to do: all is compacted. {now}.\n"
    lines = [
        f"Compacted {format_count(report.documents, 'file')} with "
        f"{format_size(report.content_bytes)} in {done.seconds:.1f} s{_speed(done)}.",
        f"{format_size(done.bytes_before)} on disk before, {format_size(done.bytes_after)} now: "
        f"ratio {done.ratio:.2f}.",
    ]
    if report.postponed:
        verb = "is" if report.postponed == 1 else "are"
        lines.append(
            f"{format_count(report.postponed, 'file')} changed meanwhile and {verb} left for "
            "the next time."
        )
    problems = list(dict.fromkeys(map(printable, report.problems)))
    lines += [f"problem: {problem}" for problem in problems[:PROBLEMS_SHOWN]]
    if len(problems) > PROBLEMS_SHOWN:
        lines.append(f"and {format_count(len(problems) - PROBLEMS_SHOWN, 'problem')} more")
    return "".join(f"{line}\n" for line in lines)


def _speed(done: Compaction) -> str:
    content = done.report.content_bytes if done.report is not None else 0
    return f", {format_size(round(content / done.seconds))}/s" if content and done.seconds else ""


Progress = Callable[[int, int], None]


class Measured:
    """A compaction with a clock and a look at the disk before it."""

    def __init__(self, vault: Vault, level: int | None) -> None:
        """Raises BadRequest for a level that is none."""
        self._vault = vault
        options = CompactOptions(threads=max(vault.config.workers, 1))
        try:
            self._options = (
                options if level is None else CompactOptions(level=level, threads=options.threads)
            )
        except ValueError as error:
            raise BadRequest(str(error)) from error
        self._began = time.monotonic()
        self._bytes_before = 0

    async def run(self, progress: Progress) -> CompactReport:
        """Raises what Engine.compact raises."""
        self._began = time.monotonic()
        self._bytes_before = _taken(await self._vault.stats())
        return await self._vault.compact(self._options, progress)

    async def told(
        self,
        report: CompactReport | None,
        *,
        cancelled: bool = False,
        failure: str | None = None,
    ) -> Compaction:
        """How it went, once it is over."""
        seconds = time.monotonic() - self._began
        stats = await self._vault.stats()
        return Compaction(
            report, seconds, stats.bytes_in, self._bytes_before, _taken(stats), stats.ratio,
            cancelled, failure,
        )  # fmt: skip


def _taken(stats: VaultStats) -> int:
    return stats.disk_bytes or stats.storage_bytes


async def compact_vault(vault: Vault, level: int | None, progress: Progress) -> Compaction:
    """Compact, and say how it went. Raises BadRequest, OSError, Corrupt."""
    measured = Measured(vault, level)
    return await measured.told(await measured.run(progress))


class Compacting:
    """The last report of ``compact``, which both of its files show."""

    def __init__(self, vault: Vault, jobs: Jobs) -> None:
        self._vault = vault
        self._jobs = jobs
        self.last: Compaction | None = None

    async def run(self, level: int | None) -> None:
        """Compact the vault. Raises BadRequest, JobRunning, JobCancelled, DamageFound, OSError."""
        measured = Measured(self._vault, level)
        try:
            report = await self._jobs.run("compact", measured.run)
        except JobRunning:
            raise
        except JobCancelled:
            self.last = await measured.told(None, cancelled=True)
            raise
        except Exception as error:
            self.last = await measured.told(None, failure=str(error) or type(error).__name__)
            raise
        self.last = await measured.told(report)
        if not self.last.clean:
            raise DamageFound("compact met problems; the report names them")


class CompactFile(ControlFile):
    """``compact`` and ``compact.json``: writing runs it, reading shows the last report."""

    writable = True
    words = frozenset({"level"})

    def __init__(self, compacting: Compacting, *, as_json: bool) -> None:
        self._compacting = compacting
        self._as_json = as_json

    async def render(self) -> Rendered:
        last = self._compacting.last
        if self._as_json:
            text = json.dumps(last.to_dict() if last else None, indent=2) + "\n"
        elif last is None:
            text = "not run since the vault was mounted; echo 1 > compact runs it\n"
        else:
            text = format_compaction(last)
        if self.refusal is not None and not self._as_json:
            text += f"the last request was refused: {self.refusal}\n"
        return RenderedBytes(text.encode("utf-8", "backslashreplace"))

    async def act(self, words: Mapping[str, str]) -> None:
        level = words.get("level")
        if level is not None and not (level.isascii() and level.isdigit()):
            raise BadRequest("level is a zstd level from 1 to 22")
        await self._compacting.run(None if level is None else int(level))
