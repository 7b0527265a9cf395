"""The matrix: every file of a vault, what may happen to it, and what is done next."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.damage.actions import BYTES, WHOLE
from tests.damage.subjects import Range, Subject
from tests.damage.trial import OPERATIONS, Broken, Outcome, run_cell

NEXT = [*OPERATIONS, "rebuild"]
LOCAL = {"flip a bit": 1, "flip a byte": 1}
"""Actions that reach so many bytes and leave all others where they are."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One trial; ``at`` is None for what happens to a file as a whole."""

    subject: Subject
    file: str
    at: int | None
    action: str
    operation: str
    seed: int = 0

    def __str__(self) -> str:
        where = self.file if self.at is None else f"byte {self.at} of {self.file}"
        return f"{self.subject.name}: {self.action}, {where}; then {self.operation} ({self.seed})"

    def run(self, directory: Path) -> Outcome:
        """Raises Broken, which names the cell."""
        try:
            return run_cell(
                self.subject,
                directory,
                self._damage(),
                self.operation,
                where=self.file,
                is_whole=self.at is None,
                touched=self._touched(),
            )
        except Broken as error:
            raise Broken(f"{self}: {error}") from error

    def _damage(self) -> Callable[[Path], None]:
        if self.at is None:
            return partial(self._damage_whole)
        return partial(self._damage_bytes, self.at)

    def _damage_bytes(self, at: int, directory: Path) -> None:
        BYTES[self.action](directory / self.file, at, random.Random(self.seed))

    def _damage_whole(self, directory: Path) -> None:
        path, other = directory / self.file, self.subject.other(self.file)
        if self.action == "swapped":  # with another of the same vault
            files = sorted(one for one in path.parent.iterdir() if one.is_file() and one != path)
            if not files:
                return
            other = random.Random(self.seed).choice(files)
        WHOLE[self.action](path, other)

    def _touched(self) -> set[Range]:
        if self.at is None or self.action not in LOCAL or not self.file.startswith("packs/"):
            return set()
        return {(self.file, self.at, self.at + LOCAL[self.action])}


def small_cells(subject: Subject, bytes_max: int = 100) -> Iterator[Cell]:
    """Each byte of each small file, flipped and cut; then each operation in turn."""
    turn = 0
    for file, length in subject.files().items():
        for at in range(length if length <= bytes_max else 0):
            for action in ("flip a byte", "cut"):
                yield Cell(subject, file, at, action, NEXT[turn % len(NEXT)], turn)
                turn += 1


def whole_cells(subject: Subject, chance: random.Random) -> Iterator[Cell]:
    """Each file as a whole, each action, and some operation."""
    for file in subject.files():
        for action in WHOLE:
            operation = chance.choice(NEXT)
            yield Cell(subject, file, None, action, operation, chance.randrange(1 << 30))


def random_cells(subjects: list[Subject], chance: random.Random) -> Iterator[Cell]:
    """Any file that has bytes, any byte, any action, any operation; without end."""
    while True:
        subject = chance.choice(subjects)
        file, length = chance.choice([item for item in subject.files().items() if item[1]])
        yield Cell(
            subject,
            file,
            chance.randrange(length),
            chance.choice(list(BYTES)),
            chance.choice(NEXT),
            chance.randrange(1 << 30),
        )
