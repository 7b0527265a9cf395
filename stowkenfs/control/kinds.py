"""What a job is: its words, its work, and how its end is told."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from stowkenfs.control.format import format_size
from stowkenfs.control.words import Word, parse_words
from stowkenfs.errors import BadRequest

if TYPE_CHECKING:
    from stowkenfs.vault.stats_report import VaultStats
    from stowkenfs.vault.vault import Vault

Progress = Callable[[int, int], None]
Values = Mapping[str, Any]
"""What was asked for: the keys of a kind's words, each with what it means."""


class Report(Protocol):
    """What a job did."""

    def to_dict(self) -> dict[str, Any]: ...


R = TypeVar("R", bound=Report)


@dataclass(frozen=True, slots=True)
class JobKind(Generic[R]):
    """A job that control files and commands can ask for.

    Attributes:
        file: its control file, a path under ``.stowken``.
        title: what lists of jobs call it.
        run: the work, on an open vault.
        told: how a run that came to its end is told, in a few sentences.
        left: what a run that did not come to its end leaves, in a sentence.
        what: the word ``what=…`` that tells it from others of the same file.
        words: what it can be asked for besides.
        measured: whether the bytes on the disk before and after it are told.
        damage: what it says when its report names damage, else None.
        fields: the report for programs; of None, if there is none.
        within: the key of the outcome in the file's JSON twin, which tells more; else None.

    """

    file: str
    title: str
    run: Callable[["Vault", Values, Progress], Awaitable[R]]
    told: Callable[["Outcome[R]", R], str]
    left: str
    what: str | None = None
    words: tuple[Word, ...] = ()
    measured: bool = True
    damage: Callable[[R], str | None] = lambda _report: None
    fields: Callable[[R | None], dict[str, Any]] = lambda report: (
        {} if report is None else report.to_dict()
    )
    within: str | None = None


AnyKind = JobKind[Any]


def choose(kinds: Sequence[AnyKind], text: str) -> tuple[AnyKind, dict[str, Any]]:
    """The job that ``text`` asks for, of those of one file, the first without ``what=``.

    Raises BadRequest.
    """
    asked = [word for word in text.split() if word.startswith("what=")]
    rest = " ".join(word for word in text.split() if word not in asked)
    known = {kind.what: kind for kind in kinds if kind.what is not None}
    if not asked or not known:
        return kinds[0], parse_words(text, kinds[0].words)
    what = asked[-1].removeprefix("what=")
    if len(asked) > 1 or what not in known:
        raise BadRequest(f"what is {' or '.join(known)}, not {what!r}, and given once")
    return known[what], parse_words(rest, known[what].words)


@dataclass(frozen=True, slots=True)
class DiskUse:
    """What the vault takes up around a job. Bytes on the disk; in memory, of what is stored."""

    bytes_in: int
    bytes_before: int
    bytes_after: int
    ratio: float


@dataclass(frozen=True, slots=True)
class Outcome(Generic[R]):
    """How a job went.

    ``report`` is None if it did not come to its end: ``cancelled``, or for the reason that
    ``failure`` tells. ``disk`` is None where that is not measured.
    """

    kind: JobKind[R]
    report: R | None
    seconds: float
    disk: DiskUse | None = None
    cancelled: bool = False
    failure: str | None = None

    @property
    def damage(self) -> str | None:
        """What is to be said if the report names damage."""
        return None if self.report is None else self.kind.damage(self.report)

    @property
    def clean(self) -> bool:
        return self.report is not None and self.damage is None

    def to_dict(self) -> dict[str, Any]:
        about: dict[str, Any] = {
            "job": self.kind.title,
            "clean": self.clean,
            "cancelled": self.cancelled,
            "failure": self.failure,
            "seconds": round(self.seconds, 3),
        }
        if self.disk is not None:
            about |= {
                "bytes_in": self.disk.bytes_in,
                "bytes_before": self.disk.bytes_before,
                "bytes_after": self.disk.bytes_after,
                "ratio": self.disk.ratio,
            }
        return about | self.kind.fields(self.report)

    def text(self) -> str:
        """How it went, in a few sentences."""
        if self.report is not None:
            return self.kind.told(self, self.report)
        ended = "Cancelled" if self.cancelled else f"It failed: {self.failure}. It ended"
        now = ""
        if self.disk is not None:
            now = f"; {format_size(self.disk.bytes_after)} on disk, ratio {self.disk.ratio:.2f}"
        return f"{ended} after {self.seconds:.1f} s{now}.\n{self.kind.left}\n"


class Run(Generic[R]):
    """A job with a clock and a look at the disk before and after it."""

    def __init__(self, vault: "Vault", kind: JobKind[R], values: Values) -> None:
        self._vault = vault
        self._kind = kind
        self._work = partial(kind.run, vault, values)
        self._began = time.monotonic()
        self._bytes_before = 0

    async def work(self, progress: Progress) -> R:
        """Do it. Raises what the job raises."""
        self._began = time.monotonic()
        if self._kind.measured:
            self._bytes_before = _taken(await self._vault.stats())
        return await self._work(progress)

    async def outcome(
        self, report: R | None, *, cancelled: bool = False, failure: str | None = None
    ) -> Outcome[R]:
        """How it went, once it is over."""
        seconds = time.monotonic() - self._began
        disk = None
        if self._kind.measured:
            stats = await self._vault.stats()
            disk = DiskUse(stats.bytes_in, self._bytes_before, _taken(stats), stats.ratio)
        return Outcome(self._kind, report, seconds, disk, cancelled, failure)


def _taken(stats: "VaultStats") -> int:
    return stats.disk_bytes or stats.storage_bytes


async def carry_out(
    vault: "Vault", kind: JobKind[R], values: Values, progress: Progress
) -> Outcome[R]:
    """Do a job, and say how it went. Raises what the job raises."""
    run = Run(vault, kind, values)
    return await run.outcome(await run.work(progress))
