"""The files under ``drafts/``: what they are called, and syncing them."""

import os
from pathlib import Path

from stowkenfs.ids import InodeNo
from stowkenfs.store.local import sync_directory


def draft_path(directory: Path, ino: InodeNo, generation: int) -> Path:
    return directory / f"{ino:x}.{generation:x}"


def parse_draft_name(name: str) -> tuple[InodeNo, int] | None:
    """Inode and generation of a file under ``drafts/``; None for anything else."""
    ino, dot, generation = name.partition(".")
    try:
        return (InodeNo(int(ino, 16)), int(generation, 16)) if dot else None
    except ValueError:
        return None


def sync_files(files: list[int], directory: Path) -> None:
    """Return when ``files`` and their names survive a power cut; closes them. Blocks."""
    try:
        for fd in files:
            os.fdatasync(fd)
    finally:
        for fd in files:
            os.close(fd)
    sync_directory(directory)


def sync_drafts(directory: Path) -> None:
    """Return when all drafts survive a power cut. Blocks."""
    for path in directory.iterdir():
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)
    sync_directory(directory)
