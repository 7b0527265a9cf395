"""Whether an index goes with the packs beside it: both know how often they were opened.

The index counts its openings, in its setting ``opened``; an empty file ``opened-N`` in the
vault's directory says what it counted last. An index that has counted less is a copy from
before, and what the packs have had since would be taken for what a crash left. One that has
counted more was interrupted between the two.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from stowkenfs.index.catalogue import Catalogue
from stowkenfs.index.connection import Connection
from stowkenfs.store.local import sync_directory
from stowkenfs.vault.superblock import read_superblock

OPENED = "opened"
VAULT = "vault"

_NAME = re.compile(rf"{OPENED}-([1-9][0-9]{{0,17}})")


def times_opened(directory: Path) -> int:
    """What the index of a vault counted last, 0 where nothing says so. Blocks."""
    return max((number for number, _ in _marks(directory)), default=0)


def why_not(directory: Path, settings: Mapping[str, int]) -> str | None:
    """Why an index with these settings does not go with the packs; None if it does. Blocks."""
    mine = _number_of(directory)
    if settings.get(VAULT, mine) != mine:
        return "it is that of another vault"
    last, counted = times_opened(directory), settings.get(OPENED, 0)
    if counted < last:
        return f"it is older than the packs: a copy from opening {counted}, of {last}"
    return None


def check_index(directory: Path, connection: Connection) -> None:
    """Raise IndexDamaged for an index from before, or of another vault. Blocks."""
    reason = why_not(directory, dict(connection.all("SELECT name, value FROM setting")))
    if reason is not None:
        raise connection.damaged(reason)


def count_opening(directory: Path, connection: Connection) -> None:
    """Note in both that the vault was opened; durable when this returns. Blocks.

    Before anything is built upon the index or taken away by it.
    """
    settings, before = Catalogue(connection), _marks(directory)
    number = max(settings.setting(OPENED) or 0, *(counted for counted, _ in before), 0) + 1
    with connection.transaction():
        settings.set_setting(OPENED, number)
        settings.set_setting(VAULT, _number_of(directory))
    connection.sync()
    mark = directory / f"{OPENED}-{number}"
    if before:
        before[-1][1].rename(mark)
    else:
        mark.touch(mode=0o600)
    for _, older in before[:-1]:
        older.unlink()
    sync_directory(directory)


def _marks(directory: Path) -> list[tuple[int, Path]]:
    """Numbers and paths of such files, the last number last."""
    found = ((_NAME.fullmatch(path.name), path) for path in directory.iterdir())
    return sorted((int(match[1]), path) for match, path in found if match)


def _number_of(directory: Path) -> int:
    """63 bits of the vault's id."""
    superblock = read_superblock(directory)
    assert superblock is not None, "a vault has one"
    return int.from_bytes(superblock.vault_id.bytes[:8]) >> 1
