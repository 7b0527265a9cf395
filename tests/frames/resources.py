"""What frames refer to, held in dictionaries, for tests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames.dictionary import Dictionary
from stowkenfs.frames.segment import Segment
from stowkenfs.ids import Vocabulary
from tests.format_vectors import VECTORS, Vector, content_of
from tests.frames.strategies import array

T = TypeVar("T")


@dataclass
class Resources:
    """The FrameResources of a test; all maps are by number."""

    substrings: dict[int, Segment] = field(default_factory=dict)
    dictionaries: dict[int, Dictionary] = field(default_factory=dict)
    canonicals: dict[int, Segment] = field(default_factory=dict)

    def substring(self, number: int) -> Segment:
        return _found(self.substrings, number)

    def dictionary(self, number: int) -> Dictionary:
        return _found(self.dictionaries, number)

    def canonical(self, number: int, below: int = 1) -> Segment:
        return _found(self.canonicals, number)


def _found(by_number: Mapping[int, T], number: int) -> T:
    if number not in by_number:
        raise FrameCorrupt(f"{number} is not there")
    return by_number[number]


def resources_of(vector: Vector) -> Resources:
    """What the frame of a vector refers to: names of vectors of dictionaries, or ids."""
    return Resources(
        substrings=_segments(vector.get("substrings", {})),
        dictionaries={
            int(number): Dictionary.decode(content_of(VECTORS[f"dictionary/{name}"]))
            for number, name in vector.get("dictionaries", {}).items()
        },
        canonicals=_segments(vector.get("canonicals", {})),
    )


def _segments(of_vector: dict[str, dict[str, Any]]) -> dict[int, Segment]:
    return {
        int(number): Segment(Vocabulary[one["vocabulary"]], array(one["ids"]))
        for number, one in of_vector.items()
    }
