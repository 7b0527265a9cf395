"""The files under ``drafts/``: what they are called, and writing them whole."""

import os
from dataclasses import dataclass
from pathlib import Path

from stowkenfs.ids import InodeNo
from stowkenfs.store.local import private, sync_directory


def draft_path(directory: Path, ino: InodeNo, generation: int) -> Path:
    return directory / f"{ino:x}.{generation:x}"


def parse_draft_name(name: str) -> tuple[InodeNo, int] | None:
    """Inode and generation of a file under ``drafts/``; None for anything else."""
    ino, dot, generation = name.partition(".")
    try:
        return (InodeNo(int(ino, 16)), int(generation, 16)) if dot else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Move:
    """What is left of a draft's file, on its way to a new one."""

    generation: int
    path: Path
    contents: list[bytes]

    def write(self) -> None:
        """Write the new file, synced: rows that refer to it may survive a power cut. Blocks."""
        with open(self.path, "wb", opener=private) as file:
            file.writelines(self.contents)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(self.path.parent)


def sync_drafts(directory: Path) -> None:
    """Return when all drafts survive a power cut. Blocks."""
    for path in directory.iterdir():
        fd = private(path, os.O_RDONLY)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)
    sync_directory(directory)
