"""The tree in packs, keys, and small files of a vault."""

import sqlite3
import struct
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.frozen import InodeGroup, NameGroup, encode_inodes, encode_names
from stowkenfs.index.frozen_columns import Cursor, decode_column, encode_column
from stowkenfs.index.keys import Grain, decode_keys, encode_keys
from stowkenfs.index.pending import PendingRows
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.draft_files import draft_path, parse_draft_name
from stowkenfs.vault.lock import is_locked, read_holder
from stowkenfs.vault.namespace import decode_changes
from stowkenfs.vault.opened import times_opened, why_not
from stowkenfs.vault.superblock import read_superblock, write_superblock
from tests.format_vectors import VECTORS
from tests.fuzz.frozen import frozen_blocks
from tests.fuzz.target import Target
from tests.fuzz.targets.frames import of_vectors

_COUNT = struct.Struct("<I")


def _of_kind(kind: BlockKind) -> list[bytes]:
    return [block.payload for block in frozen_blocks() if block.kind is kind]


def _namespace(content: bytes) -> None:
    for change in decode_changes(content):
        repr(change)


def _inodes(content: bytes) -> None:
    group = InodeGroup(content)
    rows = group.rows()
    assert [group.inode(at) for at in range(group.count)] == [row.inode for row in rows]
    assert [group.extents(at) for at in range(group.count)] == [row.extents for row in rows]
    group.record_ranges()
    assert group.position(group.last) == group.count - 1
    assert InodeGroup(encode_inodes(group.as_of, rows)).rows() == rows


def _names(content: bytes) -> None:
    group = NameGroup(content)
    entries = group.entries()
    for parent, name, _ in entries[:20]:
        assert group.position(parent, name) is not None
    if all(len(name) <= 255 and 0 <= parent < 1 << 62 for parent, name, _ in entries):
        assert NameGroup(encode_names(group.as_of, entries)).entries() == entries
    list(group.within(InodeNo(1)))


def _column(content: bytes) -> None:
    rows = content[0] + 1 if content else 1
    other = np.arange(rows)
    decoded = decode_column(Cursor(content[1:]), rows, other)
    assert decoded.shape == (rows,)
    assert (decode_column(Cursor(encode_column(decoded, other)), rows, other) == decoded).all()


def _columns() -> Sequence[bytes]:
    rng = np.random.default_rng(5)
    columns = [
        np.arange(20), np.full(20, 7), rng.integers(-(1 << 62), 1 << 62, 20),
        np.repeat([3, 1 << 40], 10),
    ]  # fmt: skip
    return [bytes((19,)) + encode_column(one.astype(np.int64), np.arange(20)) for one in columns]


def _keys(content: bytes) -> None:
    count = _COUNT.unpack_from(content)[0] if len(content) >= 4 else 0
    items = decode_keys(content[4:], count)
    assert len(items) == count
    assert (items.values >= 0).all()
    keys = np.array([0, -1, 1 << 62, -(1 << 62)], np.int64)
    items.find(np.append(keys, items.prefixes.view(np.int64)[:20]))
    if items.bits < 64:  # the prefixes alone say no more
        shifted = items.prefixes << np.uint64(64 - items.bits)
        again = encode_keys(shifted.view(np.int64), items.values, items.bits, items.grain)
        assert len(decode_keys(again, count)) == count


def _key_seeds() -> Sequence[bytes]:
    rng = np.random.default_rng(3)
    keys = rng.integers(-(1 << 63), (1 << 63) - 1, 50)
    values = rng.integers(0, 1 << 20, 50)
    made = [encode_keys(keys, values, bits, grain) for bits in (8, 16, 64) for grain in Grain]
    frozen = [
        _COUNT.pack(block.count) + block.payload
        for block in frozen_blocks()
        if block.kind is BlockKind.KEYS
    ]
    return [_COUNT.pack(50) + one for one in made] + frozen


def _draft(content: bytes) -> None:
    name = content.decode("utf-8", "surrogateescape")
    found = parse_draft_name(name)
    if found is not None:
        path = draft_path(Path("drafts"), *found)
        assert path.parent == Path("drafts")


def _lock(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        directory = Path(folder)
        (directory / "lock").write_bytes(content)
        holder = read_holder(directory)
        assert holder is None or isinstance(str(holder), str)
        assert not is_locked(directory)


def _locks() -> Sequence[bytes]:
    return [
        b'{"pid": 12, "mountpoint": "/mnt/x", "leaving": false}',
        b'{"pid": 1e999, "mountpoint": null}',
        b"[" * 5000,
        b"",
        b"\xff",
        b'{"pid": ' + b"9" * 5000 + b"}",
    ]


def _settings(content: bytes) -> None:
    """Settings of an index, of any values, beside files with any names."""
    with TemporaryDirectory() as folder:
        directory = Path(folder)
        write_superblock(directory, _SUPERBLOCK)
        name = bytes(byte for byte in content[16:] if byte not in b"/\0")[:200]
        if name not in (b"", b".", b".."):
            (directory / f"opened-{name.decode('utf-8', 'surrogateescape')}").touch()
        assert times_opened(directory) >= 0
        numbers = struct.unpack("<qq", content[:16].ljust(16, b"\0"))
        why_not(directory, {"vault": numbers[0], "opened": numbers[1]})


def _journal(content: bytes) -> None:
    """An entry, told again and written: to an index that has nothing of it."""
    pending = PendingRows()
    pending.apply(content)
    connection = Connection(None)
    try:
        with connection.transaction():
            pending.write(connection.execute_many)
    finally:
        connection.close()


_found = read_superblock(Path(__file__).parents[2] / "vaults" / "v3" / "vault")
assert _found is not None
_SUPERBLOCK = _found


TARGETS = (
    Target(
        "namespace",
        _namespace,
        lambda: [*of_vectors("namespace"), *_of_kind(BlockKind.NAMESPACE)],
    ),
    Target("inodes", _inodes, lambda: [*_of_kind(BlockKind.INODES), *of_inodes()]),
    Target("names", _names, lambda: [*_of_kind(BlockKind.NAMES), *of_names()]),
    Target("frozen-column", _column, _columns),
    Target("keys", _keys, _key_seeds),
    Target(
        "draft-name", _draft, lambda: [b"1a.2", b"spool-3", b"1.", b"ffffffffffffffffffff.1"], ()
    ),
    Target(
        "journal",
        _journal,
        lambda: [bytes.fromhex(one["hex"]) for one in VECTORS["journal/entries"]["entries"]],
        (ValueError, sqlite3.IntegrityError),
    ),
    Target("lock", _lock, _locks, ()),
    Target("settings", _settings, lambda: [bytes(16) + b"3", bytes(16) + b"9" * 18], ()),
)


def of_inodes() -> list[bytes]:
    """Those of the vectors."""
    return [one for one in of_vectors("frozen") if _is_group(InodeGroup, one)]


def of_names() -> list[bytes]:
    """Those of the vectors."""
    return [one for one in of_vectors("frozen") if _is_group(NameGroup, one)]


def _is_group(group: type[InodeGroup] | type[NameGroup], content: bytes) -> bool:
    try:
        group(content)
    except Corrupt:
        return False
    return True
