"""What lies in a vault's directory is the vault's: files and directories, and no links.

Whoever could put a link there would have the vault write, cut or remove what it leads to.
"""

import logging
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from stowkenfs.errors import NotOwnFile

log = logging.getLogger(__name__)

_DIRECTORIES = ("packs", "drafts")
_FILES = re.compile(
    r"superblock(\.new)?|lock|journal|reserve|log|index\.db.*|(opened|closed)-.*", re.DOTALL
)
_OTHERS = 0o077


def check_files(directory: Path) -> None:
    """Look at all that the vault in ``directory`` would open, if it is one. Blocks.

    Raises NotOwnFile. What others may read is told in the log, and stays as its owner made it.
    """
    if not os.path.lexists(directory / "superblock"):
        return
    is_wide = False
    for entry in _of_directory(directory):
        status = entry.stat(follow_symlinks=False)
        wanted = stat.S_IFDIR if entry.name in _DIRECTORIES else stat.S_IFREG
        if stat.S_IFMT(status.st_mode) != wanted:
            raise NotOwnFile(Path(entry.path), status.st_mode)
        is_wide |= bool(status.st_mode & _OTHERS)
    for name in _DIRECTORIES:
        folder = directory / name
        if folder.is_dir():
            _check_inside(folder)
    if is_wide and directory.stat().st_mode & _OTHERS:
        log.info("others may read files of the vault; to stop that: chmod -R go= %s", directory)


def _of_directory(directory: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name in _DIRECTORIES or _FILES.fullmatch(entry.name):
                yield entry


def _check_inside(folder: Path) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_file(follow_symlinks=False):
                raise NotOwnFile(Path(entry.path), entry.stat(follow_symlinks=False).st_mode)
