"""What frames refer to, for reading them; and what new ones may refer to."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from stowkenfs.frames.segment import Segment

if TYPE_CHECKING:  # both import what encodes with them, which imports this
    from stowkenfs.frames.dictionary import Dictionary
    from stowkenfs.frames.substrings import SubstringMatcher


class FrameResources(Protocol):
    """What frames name by numbers. Each raises FrameCorrupt for a number that is not there."""

    def substring(self, number: int) -> Segment:
        """An entry of the registry of substrings."""
        ...

    def dictionary(self, number: int) -> "Dictionary":
        """A trained dictionary."""
        ...

    def canonical(self, number: int, below: int = 1) -> Segment:
        """A stored segment whose frame's depth is less than ``below``: 1 for one that is whole."""
        ...


@dataclass(frozen=True, slots=True)
class EncodeChoices:
    """What a new frame may refer to. Immutable, for any number of threads."""

    substrings: "SubstringMatcher | None" = None
    dictionary: "tuple[int, Dictionary] | None" = None
    """The active one and its number."""
