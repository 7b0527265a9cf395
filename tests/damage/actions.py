"""What may happen to the files of a vault that nobody has open."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

Action = Callable[[Path, int, random.Random], None]
"""Damages a file at a byte."""


def flip_bit(path: Path, at: int, chance: random.Random) -> None:
    _replace(path, at, lambda old: bytes((old[0] ^ 1 << chance.randrange(8),)))


def flip_byte(path: Path, at: int, _chance: random.Random) -> None:
    _replace(path, at, lambda old: bytes((old[0] ^ 0xFF,)))


def zero(path: Path, at: int, chance: random.Random) -> None:
    """Up to a page of zeros, as a disk returns them for what it lost."""
    length = chance.choice([1, 16, 512, 4096])
    _replace(path, at, lambda old: bytes(len(old)), length)


def noise(path: Path, at: int, chance: random.Random) -> None:
    _replace(path, at, lambda old: chance.randbytes(len(old)), chance.choice([4, 64, 1024]))


def cut(path: Path, at: int, _chance: random.Random) -> None:
    with path.open("r+b") as file:
        file.truncate(at)


def insert(path: Path, at: int, chance: random.Random) -> None:
    """Bytes that were not there; all behind them is moved."""
    content = path.read_bytes()
    path.write_bytes(content[:at] + chance.randbytes(chance.choice([1, 44, 300])) + content[at:])


def take_out(path: Path, at: int, chance: random.Random) -> None:
    """Bytes that are gone; all behind them is moved."""
    content = path.read_bytes()
    path.write_bytes(content[:at] + content[at + chance.choice([1, 8, 512]) :])


def repeat(path: Path, at: int, chance: random.Random) -> None:
    """A page of the same file in another one's place, as a misdirected write leaves it."""
    content = path.read_bytes()
    page = 1024 if len(content) > 4096 else 64
    at, other = at // page * page, chance.randrange(len(content) // page + 1) * page
    _replace(path, at, lambda _: content[other : other + page], page)


def append(path: Path, _at: int, chance: random.Random) -> None:
    with path.open("ab") as file:
        file.write(chance.randbytes(100))


def _replace(path: Path, at: int, change: Callable[[bytes], bytes], length: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(length)
        file.seek(at)
        file.write(change(old) if old else b"")


BYTES: dict[str, Action] = {
    "flip a bit": flip_bit,
    "flip a byte": flip_byte,
    "zeros": zero,
    "noise": noise,
    "cut": cut,
    "insert": insert,
    "take out": take_out,
    "repeat": repeat,
    "append": append,
}

WholeAction = Callable[[Path, Path], None]
"""Damages a file as a whole; the second path is another of its sort, maybe of another vault."""


def remove(path: Path, _other: Path) -> None:
    path.unlink()


def become_directory(path: Path, _other: Path) -> None:
    path.unlink()
    path.mkdir()


def empty(path: Path, _other: Path) -> None:
    path.write_bytes(b"")


def become(path: Path, other: Path) -> None:
    """The other one's content, which is an older one of its own, or that of something else."""
    shutil.copyfile(other, path)


def swap(path: Path, other: Path) -> None:
    aside = path.with_name("aside")
    path.rename(aside)
    other.rename(path)
    aside.rename(other)


WHOLE: dict[str, WholeAction] = {
    "missing": remove,
    "a directory": become_directory,
    "empty": empty,
    "another": become,
    "swapped": swap,
}
