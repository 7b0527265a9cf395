"""Where each directory is: once, and not in itself. Packs may say otherwise; no walk may hang."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from stowkenfs.ids import ROOT_INODE

Numbers = npt.NDArray[np.int64]
"""int64, shape (n,)."""

_NOWHERE = -1


class Directories:
    """The one place of each directory, of those that names tell of.

    ``inodes`` are directories with the parent that each says it has; ``names`` all names that
    may be of directories, as inodes and parents. Of several places counts the one that the
    directory itself names, else the first. A directory that is in itself, by whatever way, has
    none. 40 bytes for each.
    """

    def __init__(
        self, inodes: Iterable[tuple[Numbers, Numbers]], names: Iterable[tuple[Numbers, Numbers]]
    ) -> None:
        pairs = [*inodes, (np.array([ROOT_INODE]), np.array([ROOT_INODE]))]
        self._inos, first = np.unique(
            np.concatenate([inos for inos, _ in pairs]), return_index=True
        )
        own = np.concatenate([parents for _, parents in pairs])[first]
        self._places = np.full(len(self._inos), _NOWHERE, np.int64)
        for inos, parents in names:
            at, which = self._find(inos)
            says = parents[which]
            open_ = (self._places[at] == _NOWHERE) | (says == own[at])
            # Backwards, for the first of several to be what stays.
            self._places[at[open_][::-1]] = says[open_][::-1]
        root = int(np.searchsorted(self._inos, ROOT_INODE))
        self._places[root] = _NOWHERE
        self.cyclic = self._inos[self._in_circles()]
        self._places[np.isin(self._inos, self.cyclic)] = _NOWHERE

    def _find(self, inos: Numbers) -> tuple[Numbers, Numbers]:
        """Which of ``inos`` are directories: their places here, and there."""
        at = np.minimum(np.searchsorted(self._inos, inos), len(self._inos) - 1)
        which = np.flatnonzero(self._inos[at] == inos)
        return at[which], which

    def _in_circles(self) -> npt.NDArray[np.bool_]:
        """Directories from which no way leads up to one that is nowhere."""
        end = len(self._inos)
        above = np.full(end + 1, end, np.int64)
        at, which = self._find(self._places)
        above[which] = at
        for _ in range(max(end, 1).bit_length()):
            above = above[above]
        circles: npt.NDArray[np.bool_] = above[:-1] != end
        return circles

    def are_directories(self, inos: Numbers) -> npt.NDArray[np.bool_]:
        """Which of ``inos`` are directories."""
        found = np.zeros(len(inos), np.bool_)
        found[self._find(inos)[1]] = True
        return found

    def misplaced(self, inos: Numbers, parents: Numbers) -> npt.NDArray[np.bool_]:
        """Which names, of ``inos`` in ``parents``, are of directories that are not there."""
        found = np.zeros(len(inos), np.bool_)
        at, which = self._find(inos)
        found[which] = self._places[at] != parents[which]
        return found
