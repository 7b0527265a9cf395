"""What a policy of a folder says, in words and as it is stored. Pure, no I/O.

Stored is one line for each folder: its inode number, then the words that people write. So it is
found again whatever the folder is called by then.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from stowkenfs.ids import InodeNo

NEVER: Final = 0
"""``max-age=never``: no file goes for its age, whatever folders above say."""

AGE_SECONDS_MAX: Final = 100 * 366 * 86400
KEEP_MAX: Final = 100_000
"""As many are remembered while a folder is looked through, some 300 bytes each."""

VERSIONS_MAX: Final = 100
"""Of one file; all are listed when one is added."""

POLICIES_MAX: Final = 1000
"""Of one vault. They are told again in packs whenever the root directory changes."""

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_AGE = re.compile(r"([0-9]{1,12})([smhdwy])")
_SHOWN_UNITS: Final = ("d", "h", "m", "s")


@dataclass(frozen=True, slots=True)
class Policy:
    """What goes of a folder's files, and what is kept of them; None says nothing.

    Attributes:
        max_age_seconds: files last modified longer ago go, also in folders below; NEVER: none.
        keep: of the files directly in the folder all but so many of the newest go.
        versions: of each file, also in folders below, so many earlier contents are kept.

    """

    max_age_seconds: int | None = None
    keep: int | None = None
    versions: int | None = None

    def __post_init__(self) -> None:
        if not self.words():
            raise ValueError("a policy says something: max-age=30d, keep=5, versions=3")
        if self.max_age_seconds is not None and not 0 <= self.max_age_seconds <= AGE_SECONDS_MAX:
            raise ValueError("max_age_seconds is NEVER or from 1 second to 100 years")
        if self.keep is not None and not 1 <= self.keep <= KEEP_MAX:
            raise ValueError(f"keep is from 1 to {KEEP_MAX}")
        if self.versions is not None and not 0 <= self.versions <= VERSIONS_MAX:
            raise ValueError(f"versions is from 0 to {VERSIONS_MAX}")

    def words(self) -> str:
        """As people write it: ``max-age=30d keep=5``."""
        words = []
        if self.max_age_seconds is not None:
            words.append(f"max-age={format_age(self.max_age_seconds)}")
        if self.keep is not None:
            words.append(f"keep={self.keep}")
        if self.versions is not None:
            words.append(f"versions={self.versions}")
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Unknown:
    """What a later release stated of a folder: kept as it is, and not applied."""

    text: str

    def words(self) -> str:
        return self.text


Stated = Policy | Unknown


def parse_age(text: str) -> int:
    """Seconds of ``30d``, ``12h``, ``never``. Raises ValueError."""
    if text == "never":
        return NEVER
    found = _AGE.fullmatch(text)
    if found is None:
        raise ValueError(text)
    seconds = int(found[1]) * _UNITS[found[2]]
    if not 1 <= seconds <= AGE_SECONDS_MAX:
        raise ValueError(text)
    return seconds


def format_age(seconds: int) -> str:
    """Inverse of ``parse_age``, in the largest unit up to days that says it exactly."""
    if seconds == NEVER:
        return "never"
    unit = next(unit for unit in _SHOWN_UNITS if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def encode_policies(policies: Mapping[InodeNo, Stated]) -> bytes:
    """All policies of a vault, as they are stored."""
    return b"".join(
        f"{ino} {policy.words()}\n".encode() for ino, policy in sorted(policies.items())
    )


def decode_policies(stored: bytes) -> dict[InodeNo, Stated]:
    """Inverse of ``encode_policies``; lines that make no sense say nothing."""
    policies: dict[InodeNo, Stated] = {}
    for line in stored.decode("utf-8", "replace").splitlines():
        number, _, words = line.partition(" ")
        if number.isascii() and number.isdigit() and len(number) < 20 and words.strip():
            policies[InodeNo(int(number))] = _read(words.split())
    return policies


def _read(words: Iterable[str]) -> Stated:
    words = list(words)
    said: dict[str, int] = {}
    try:
        for word in words:
            name, _, value = word.partition("=")
            if name == "max-age":
                said["max_age_seconds"] = parse_age(value)
            elif name in ("keep", "versions") and value.isascii() and value.isdigit():
                said[name] = int(value)
            else:
                return Unknown(" ".join(words))
        return Policy(**said)
    except ValueError:
        return Unknown(" ".join(words))
