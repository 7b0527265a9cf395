"""What a workload was promised, and whether what is found after a power cut keeps it.

Names change in the order in which they were changed: what is found is one of the trees that
there were, not older than the last one that was promised. Of a file all that was promised is
there; bytes that were written since are there, or what was there before, or zeros.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

FILE, FOLDER, LINK = "file", "folder", "link"


@dataclass(slots=True)
class Node:
    """``versions``: contents since the last promise, which is the first of them.

    ``torn``: whether parts of them may be there; else they are as a whole, or not at all.
    ``touched``: ranges that were written since.
    """

    sort: str
    versions: list[bytes] = field(default_factory=lambda: [b""])
    torn: bool = False
    touched: list[tuple[int, int]] = field(default_factory=list)

    def promise(self) -> None:
        self.versions = self.versions[-1:]
        self.torn, self.touched = False, []

    def change(self, content: bytes, start: int, end: int) -> None:
        self.versions.append(content)
        self.touched.append((start, end))
        self.torn = True


@dataclass(frozen=True, slots=True)
class Found:
    """One name. ``ino`` tells names of one file; ``content``, or where a link points."""

    sort: str
    ino: int
    content: bytes


Tree = dict[str, Node]


class Promises:
    """``trees``: what names there were since the last promise, which is the first of them."""

    def __init__(self) -> None:
        self.trees: list[Tree] = [{}]

    @classmethod
    def of(cls, found: Mapping[str, Found]) -> "Promises":
        """All that was found is promised."""
        promises, nodes = cls(), dict[int, Node]()
        for path, entry in found.items():
            node = nodes.setdefault(entry.ino, Node(entry.sort, [entry.content]))
            promises.trees[0][path] = node
        return promises

    # What happens

    def apply(self, mark: Mapping[str, Any]) -> None:
        """A mark of ``Workload``: something begins, or is done with what that promises."""
        if mark["what"] == "begin":
            getattr(self, f"_{mark['operation']}")(*map(_bytes, mark["arguments"]))
        if mark.get("names"):
            self.trees = self.trees[-1:]
        for path, node in self.trees[-1].items():
            if mark.get("content") in (path, "*"):
                node.promise()

    def _now(self) -> Tree:
        return self.trees[-1]

    def _mkdir(self, path: str) -> None:
        self.trees.append({**self._now(), path: Node(FOLDER)})

    def _create(self, path: str) -> None:
        self.trees.append({**self._now(), path: Node(FILE)})

    def _symlink(self, target: str, path: str) -> None:
        self.trees.append({**self._now(), path: Node(LINK, [target.encode()])})

    def _link(self, path: str, other: str) -> None:
        self.trees.append({**self._now(), other: self._now()[path]})

    def _unlink(self, path: str) -> None:
        self.trees.append({p: node for p, node in self._now().items() if p != path})

    def _rename(self, path: str, other: str) -> None:
        """Of a file, or of a folder with all in it."""
        tree = {p: n for p, n in self._now().items() if p not in (path, other)}
        moved = {
            other + p.removeprefix(path): n
            for p, n in self._now().items()
            if p == path or p.startswith(f"{path}/")
        }
        self.trees.append({p: n for p, n in tree.items() if not p.startswith(f"{path}/")} | moved)

    def _write(self, path: str, start: int, data: bytes) -> None:
        node = self._now()[path]
        old = node.versions[-1].ljust(start, b"\0")
        end = start + len(data)
        node.change(old[:start] + data + old[end:], start, end)

    def _truncate(self, path: str, size: int) -> None:
        node = self._now()[path]
        node.change(node.versions[-1][:size].ljust(size, b"\0"), size, size)

    def _put(self, path: str, content: bytes) -> None:
        """All of a file at once, with the folders that it is in."""
        for at in range(1, len(path)):
            if path[at] == "/" and path[:at] not in self._now():
                self._mkdir(path[:at])
        node = self._now().get(path)
        if node is None:
            self.trees.append({**self._now(), path: Node(FILE, [content])})
        else:
            node.versions.append(content)

    def _nothing(self) -> None:
        pass

    # What is found

    def broken(self, found: Mapping[str, Found]) -> list[str]:
        """What of it is against a promise."""
        shape = {path: entry.sort for path, entry in found.items()}
        alike = [
            [*_broken_contents(tree, found), *_broken_links(tree, found)]
            for tree in self.trees
            if {path: node.sort for path, node in tree.items()} == shape
        ]
        if alike:  # several, where a name was another file's in between
            return min(alike, key=len)
        oldest, newest = self.trees[0], self.trees[-1]
        return [
            f"names that never were together: missing {sorted(set(oldest) - set(shape))},"
            f" unknown {sorted(set(shape) - set(newest))}, of {len(self.trees)} possible trees"
        ]


def _bytes(argument: Any) -> Any:
    """Arguments of marks are JSON; bytes are told as a list of one string."""
    return argument[0].encode("latin-1") if isinstance(argument, list) else argument


def _broken_contents(tree: Tree, found: Mapping[str, Found]) -> list[str]:
    return [
        problem
        for path, node in tree.items()
        for problem in _broken_content(path, node, found[path].content)
    ]


def _broken_links(tree: Tree, found: Mapping[str, Found]) -> list[str]:
    inos: dict[int, int] = {}
    for path, node in tree.items():
        if inos.setdefault(id(node), found[path].ino) != found[path].ino:
            return [f"{path} is another file than its other name"]
    return []


def _broken_content(path: str, node: Node, content: bytes) -> list[str]:
    if content in node.versions:
        return []
    if not node.torn:
        return [f"{path}: {_told(content)}, not one of {[_told(v) for v in node.versions]}"]
    sizes = [len(version) for version in node.versions]
    if not min(sizes) <= len(content) <= max(sizes):
        return [f"{path}: {len(content)} bytes, which it never had: {sizes}"]
    there = np.frombuffer(content, np.uint8)
    allowed = np.zeros(len(there), bool)
    for version in node.versions:
        common = min(len(version), len(there))
        allowed[:common] |= np.frombuffer(version[:common], np.uint8) == there[:common]
    loose = np.zeros(len(there), bool)
    loose[min(sizes) :] = True
    for start, end in node.touched:
        loose[start:end] = True
    allowed |= loose & (there == 0)
    wrong = np.flatnonzero(~allowed)
    if not len(wrong):
        return []
    at = int(wrong[0])
    where = f"{len(wrong)} bytes from {at} to {int(wrong[-1])} of {len(there)}"
    return [
        f"{path}: {where} were never there: {content[at : at + 40]!r};"
        f" promised {node.versions[0][at : at + 40]!r}"
    ]


def _told(content: bytes) -> str:
    return f"{len(content)} bytes {content[:30]!r}"
