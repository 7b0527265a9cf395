"""How strange segments are to a model: bits for an id, as many as coding it takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stowkenfs.predict.coder import encode_many
from stowkenfs.predict.model import Model
from stowkenfs.predict.trie import Ids


@dataclass(frozen=True, slots=True)
class Surprise:
    """Of some segments together. Those of others can be added."""

    ids: int = 0
    bits: int = 0

    def __add__(self, other: "Surprise") -> "Surprise":
        return Surprise(self.ids + other.ids, self.bits + other.bits)

    @property
    def mean(self) -> float:
        """Bits for an id; 0 where there is none."""
        return self.bits / self.ids if self.ids else 0.0

    def is_stale(self, usual: "Surprise", *, factor: float = 1.25, ids_min: int = 10_000) -> bool:
        """Whether this is so much more than ``usual`` that it is time to freeze another model.

        ``usual`` should be of segments that were there when the model was frozen, and were held
        out: what it learned from surprises it up to a third less. Never of fewer than
        ``ids_min`` ids.
        """
        return self.ids >= ids_min and self.mean > usual.mean * factor


def bits_of(rows: Sequence[Ids], model: Model) -> npt.NDArray[np.int64]:
    """Bits that each segment takes, shape (n,), in whole bytes. Raises Unstorable as ``encode``."""
    return np.array([8 * len(coded) for coded in encode_many(rows, model)], np.int64)


def surprise_of(rows: Sequence[Ids], model: Model) -> Surprise:
    """Of all of these segments. Raises Unstorable as ``encode``."""
    return Surprise(sum(map(len, rows)), int(bits_of(rows, model).sum()))


def strangest(rows: Sequence[Ids], model: Model, *, ids_min: int = 16) -> npt.NDArray[np.intp]:
    """Which of the segments take the most bits for an id, the strangest first.

    Shorter ones than ``ids_min`` are left out: they are strange by chance. Equally strange ones
    come as they are given. Raises Unstorable as ``encode``.
    """
    lengths = np.array([len(ids) for ids in rows], np.int64)
    shares = bits_of(rows, model) / np.maximum(lengths, 1)
    order = np.argsort(-shares, kind="stable")
    return order[lengths[order] >= max(ids_min, 1)]
