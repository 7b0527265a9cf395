"""Names under which what left a window can be read: ``.stowken/spool/NAME``.

    name  := document "-" message "-" check             one text of a message
           | document "-" first ".." last "-" check     messages ``first`` to before ``last``
    check := 16 hexadecimal digits

``document`` is a number in hexadecimal that stays a file's for ever, the others are decimal, from
0 on. The check is the beginning of a SHA-256: of the text, or of what the first and the last
message of a range say. So a name tells where to look, needs no list of names that were given out,
and never leads to something else than was meant.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from stowkenfs.context.messages import Message

SPOOL_PATH: Final = ".stowken/spool/"
_CHECK_DIGITS: Final = 16
_NAME: Final = re.compile(r"([0-9a-f]{1,16})-([0-9]{1,9})(?:\.\.([0-9]{1,9}))?-([0-9a-f]{16})")


class SpoolName(NamedTuple):
    """What a name says. ``last`` is None for one text; of a range it is behind its end."""

    document: int
    first: int
    last: int | None
    check: str

    def __str__(self) -> str:
        to = "" if self.last is None else f"..{self.last}"
        return f"{self.document:x}-{self.first}{to}-{self.check}"

    @property
    def path(self) -> str:
        """From the root of a mount."""
        return f"{SPOOL_PATH}{self}"


def parse_spool_name(name: str) -> SpoolName | None:
    """The inverse of ``str``; None for what is no name."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    last = None if found[3] is None else int(found[3])
    parsed = SpoolName(int(found[1], 16), int(found[2]), last, found[4])
    return parsed if str(parsed) == name else None


def check_of(content: bytes) -> str:
    """The check of one text."""
    return hashlib.sha256(content).hexdigest()[:_CHECK_DIGITS]


def check_of_range(messages: Sequence[Message]) -> str:
    """The check of a range of messages."""
    ends = (messages[0], messages[-1])
    said = "\0".join(part.text for message in ends for part in message.parts)
    return check_of(f"{len(messages)}\0{said}".encode("utf-8", "surrogatepass"))
