"""What the second reader knows of the tree: statements and frozen groups."""

from dataclasses import dataclass, replace

from tests.second_reader_bytes import Bytes

NAMESPACE, INODES, NAMES = 4, 7, 8


@dataclass
class Node:
    """An inode as the packs tell it."""

    mode: int
    uid: int
    gid: int
    nlink: int
    size: int
    rdev: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    parent: int
    target: bytes | None
    xattrs: dict[bytes, bytes]
    extents: dict[int, tuple[int, int, int]]  # {start: (length, record, count)}


@dataclass
class Told:
    """A block of statements, or a group."""

    kind: int
    count: int
    payload: bytes


class Tree:
    """The tree as blocks of statements and groups tell it, ``{number: block}``."""

    def __init__(self, blocks: dict[int, Told]) -> None:
        self.nodes: dict[int, Node] = {}
        self.names: dict[tuple[int, bytes], int] = {}  # {(parent, name): ino}
        self._since, self._kept = 0, set[int]()
        for number in sorted(blocks):
            if blocks[number].kind == NAMESPACE:
                self._read_checkpoint(Bytes(blocks[number].payload))
        for number in sorted(blocks):
            if number in self._kept or number >= self._since:
                self._replay(blocks[number])

    def _read_checkpoint(self, payload: Bytes) -> None:
        if payload.content[:1] != b"\6":
            return
        payload.take(1)
        self._since, self._kept, number = payload.varint(), set(), -1
        for _ in range(payload.varint()):
            number += payload.varint() + 1
            self._kept.add(number)
        assert payload.rest == 0

    def _replay(self, block: Told) -> None:
        payload = Bytes(block.payload)
        if block.kind == INODES:
            self.nodes.update(read_inodes(payload, block.count))
        elif block.kind == NAMES:
            self.names.update(read_names(payload, block.count))
        elif block.payload[:1] != b"\6":
            for _ in range(block.count):
                self._statement(payload)
        else:
            return
        assert payload.rest == 0

    def _statement(self, payload: Bytes) -> None:
        statement, number = payload.take(1)[0], payload.varint()
        if statement == 1:
            mode, uid, gid, nlink, size, rdev = (payload.varint() for _ in range(6))
            atime, mtime, ctime = (payload.signed() for _ in range(3))
            parent, target_length = payload.varint(), payload.varint()
            target = payload.take(target_length - 1) if target_length else None
            xattrs = {payload.text(): payload.text() for _ in range(payload.varint())}
            extents = self.nodes[number].extents if number in self.nodes else {}
            self.nodes[number] = Node(
                mode, uid, gid, nlink, size, rdev, atime, mtime, ctime, parent, target, xattrs,
                extents,
            )  # fmt: skip
        elif statement == 2:
            self.nodes.pop(number, None)
        elif statement == 3:
            name = payload.text()
            self.names[number, name] = payload.varint()
        elif statement == 4:
            self.names.pop((number, payload.text()), None)
        else:
            assert statement == 5
            at = payload.varint()
            extents = {s: e for s, e in self.nodes[number].extents.items() if s < at}
            for _ in range(payload.varint()):
                gap, length, record, count = (payload.varint() for _ in range(4))
                extents[at + gap] = (length, record, count)
                at += gap + length
            self.nodes[number] = replace(self.nodes[number], extents=extents)

    def paths(self) -> dict[str, int]:
        """``{path: inode number}`` of all names of inodes that are there."""
        children: dict[int, list[tuple[bytes, int]]] = {}
        for (parent, name), ino in self.names.items():
            if ino in self.nodes:
                children.setdefault(parent, []).append((name, ino))
        found: dict[str, int] = {}
        waiting = [("", 1)]
        while waiting:
            path, at = waiting.pop()
            for name, ino in children.get(at, []):
                below = f"{path}/{name.decode(errors='surrogateescape')}"
                found[below] = ino
                if self.nodes[ino].mode & 0o170000 == 0o040000:
                    waiting.append((below, ino))
        return found


# Groups


def as_signed(number: int) -> int:
    """Modulo 2^64, from -2^63 on."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def read_planes(payload: Bytes, width: int, count: int) -> list[int]:
    planes = [payload.take(count) for _ in range(width)]
    return [sum(plane[row] << 8 * at for at, plane in enumerate(planes)) for row in range(count)]


def read_column(payload: Bytes, rows: int, other: list[int] | None = None) -> list[int]:
    (form,) = payload.take(1)
    against, layout = divmod(form, 16)
    first = payload.signed() if against == 1 else 0
    base = payload.signed()
    stored = rows - (against == 1)
    if layout == 9:
        size, width = payload.take(2)
        values, value = [], 0
        for step in read_planes(payload, width, size + 1):
            value += step
            values.append(value)
        above = [values[place] for place in payload.take(stored)]
    else:
        assert layout <= 8
        above = read_planes(payload, layout, stored)
    differences = [base + number for number in above]
    if against == 1:
        column = [first]
        for difference in differences:
            column.append(column[-1] + difference)
    elif against == 2:
        assert other is not None
        column = [one + difference for one, difference in zip(other, differences, strict=True)]
    else:
        assert against == 0
        column = differences
    return [as_signed(number) for number in column]


def read_inodes(payload: Bytes, count: int) -> dict[int, Node]:
    _as_of, rows = payload.varint(), payload.varint()
    assert rows == count
    columns = [read_column(payload, rows) for _ in range(9)]
    inos, modes, uids, gids, nlinks, sizes, rdevs, parents, mtimes = columns
    ctimes, atimes = (read_column(payload, rows, mtimes) for _ in range(2))
    _conversations = read_column(payload, rows)
    targets, n_xattrs, n_extents = (read_column(payload, rows) for _ in range(3))
    total = sum(n_extents)
    extents = [read_column(payload, total) for _ in range(4)] if total else [[]] * 4
    texts = read_column(payload, 2 * sum(n_xattrs)) if sum(n_xattrs) else []
    target_of = [payload.take(length - 1) if length else None for length in targets]
    strings = [payload.take(length) for length in texts]
    nodes: dict[int, Node] = {}
    extent = text = record = 0
    for row in range(rows):
        own: dict[int, tuple[int, int, int]] = {}
        end = 0
        for place in range(n_extents[row]):
            gap, length, jump, n_records = (column[extent] for column in extents)
            start = end + gap
            if place == n_extents[row] - 1:
                length += sizes[row] - start
            own[start] = (length, record + jump, n_records)
            end, record, extent = start + length, record + jump + n_records, extent + 1
        xattrs = {}
        for _ in range(n_xattrs[row]):
            xattrs[strings[text]] = strings[text + 1]
            text += 2
        nodes[inos[row]] = Node(
            modes[row], uids[row], gids[row], nlinks[row], sizes[row], rdevs[row], atimes[row],
            mtimes[row], ctimes[row], parents[row], target_of[row], xattrs, own,
        )  # fmt: skip
    return nodes


def read_names(payload: Bytes, count: int) -> dict[tuple[int, bytes], int]:
    _as_of, rows = payload.varint(), payload.varint()
    assert rows == count
    parents, inos = read_column(payload, rows), read_column(payload, rows)
    shared = payload.take(rows)
    rests = payload.take(payload.rest).split(b"\0")
    assert rests.pop() == b""
    names: dict[tuple[int, bytes], int] = {}
    name = b""
    for parent, ino, same, rest in zip(parents, inos, shared, rests, strict=True):
        name = name[:same] + rest
        names[parent, name] = ino
    return names
