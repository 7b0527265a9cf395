"""Whole trees in and out of a vault that is not mounted."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

FAILURES_MAX = 10_000
"""A report this long says enough; further ones are counted, not listed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What was left out, and why."""

    path: str
    reason: str


@dataclass(slots=True)
class TransferReport:
    """What an import or export has done so far; ``others`` are symlinks, fifos and devices.

    ``names``: further names of files that have several; ``content_bytes``: of all files.
    """

    files: int = 0
    directories: int = 0
    names: int = 0
    others: int = 0
    content_bytes: int = 0
    failures: list[Failure] = field(default_factory=list)
    omitted: int = 0

    @property
    def complete(self) -> bool:
        return not self.failures

    def fail(self, path: bytes, reason: str) -> None:
        if len(self.failures) < FAILURES_MAX:
            self.failures.append(Failure(path.decode("utf-8", "backslashreplace"), reason))
        else:
            self.omitted += 1

    def to_dict(self) -> dict[str, Any]:
        return {"complete": self.complete, **asdict(self)}


Progress = Callable[[TransferReport], None]
"""Told now and then, on the event loop's thread, what has been done so far."""


def reason_of(error: Exception) -> str:
    """``error`` without the path, which a report names itself."""
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
