"""A vault told by itself and by the second reader, and random histories of one."""

import json
import os
import random
import shutil
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from stowkenfs.errors import TreeError
from stowkenfs.grids.formats import GridFormat, encode
from stowkenfs.grids.grid import Grid
from stowkenfs.ids import InodeNo
from stowkenfs.vault.compaction.batch import CompactOptions
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.vault import Vault
from tests import second_reader

QUICK = CompactOptions(level=3)
CONFIG = VaultConfig(seal_after_seconds=0, lock_wait_seconds=0)

Entry = dict[str, Any]
Step = Callable[[Vault], Awaitable[None]]


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Vault]:
    async with Vault.open(directory, CONFIG) as vault:
        yield vault


async def told_by_vault(vault: Vault) -> dict[str, Entry]:
    """Everything of every file, sealed first."""
    await vault.sealer.seal_due(everything=True)
    await vault.files.settle_all()
    entries: dict[str, Entry] = {}
    async for path, inode in vault.walk():
        content = await vault.read_file(inode.ino) if stat.S_ISREG(inode.mode) else None
        names = vault.tree.xattr_names(inode.ino)
        entries[os.fsdecode(path)] = {
            "ino": inode.ino, "mode": inode.mode, "uid": inode.uid, "gid": inode.gid,
            "nlink": inode.nlink, "size": inode.size, "rdev": inode.rdev,
            "times": (inode.atime_ns, inode.mtime_ns, inode.ctime_ns), "parent": inode.parent,
            "target": inode.target, "content": content,
            "xattrs": {name: vault.tree.xattr(inode.ino, name) for name in names},
        }  # fmt: skip
    return entries


def told_by_packs(directory: Path) -> dict[str, Entry]:
    """The same by the second reader."""
    packs = second_reader.Packs(
        path.read_bytes() for path in sorted((directory / "packs").iterdir())
    )
    entries: dict[str, Entry] = {}
    for path, ino in packs.tree().items():
        node = packs.nodes[ino]
        entries[path] = {
            "ino": ino, "mode": node.mode, "uid": node.uid, "gid": node.gid,
            "nlink": node.nlink, "size": node.size, "rdev": node.rdev,
            "times": (node.atime_ns, node.mtime_ns, node.ctime_ns), "parent": node.parent,
            "target": node.target, "xattrs": node.xattrs,
            "content": packs.content(ino) if stat.S_ISREG(node.mode) else None,
        }  # fmt: skip
    return entries


def check(directory: Path, *steps: Step) -> dict[str, Entry]:
    """Run each step in an opening of its own and compare after each."""
    expected: dict[str, Entry] = {}

    async def run(step: Step) -> None:
        nonlocal expected
        async with opened(directory) as vault:
            await step(vault)
            expected = await told_by_vault(vault)

    for step in steps:
        anyio.run(run, step)
        found = told_by_packs(directory)
        assert found == expected, step
    return expected


async def run_step(directory: Path, step: Step) -> None:
    async with opened(directory) as vault:
        await step(vault)


async def compact(vault: Vault) -> None:
    await vault.sealer.seal_due(everything=True)
    await vault.compact(QUICK)


def rewrite(vault: Vault, path: bytes, start: int, content: bytes) -> None:
    """As through a mount: into a draft."""
    ino = vault.tree.resolve(path).ino
    vault.files.acquire(ino, writing=True)
    vault.files.write(ino, start, content)
    vault.files.release(ino, writing=True)


def chat(number: int, turns: int = 2) -> bytes:
    """A conversation, parts of which others have too."""
    system = "You answer in one sentence, and you know the tides of every harbour on this coast."
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
    for turn in range(turns):
        words = f"Question {turn} of {number}: when may I walk over to the island, and come back?"
        messages.append({"role": "user", "content": words, "id": f"msg_{number:08x}{turn:08x}"})
        answer = f"From two hours before low water number {number * turn} until two after it."
        messages.append({"role": "assistant", "content": answer, "logprob": -number / 7})
    time = f"2026-02-{number % 28 + 1:02}T07:35:{number % 60:02}.517Z"
    return json.dumps({"created": time, "messages": messages}, indent=number % 3 or None).encode()


def grid(rng: random.Random) -> bytes:
    """One of a few grids in one of the formats, some cells of which others do not have."""
    made = Grid(12, 9)
    for at in range(0, 108, 5):
        made[at, at // 12] = at / 7
    for _ in range(rng.randrange(4)):
        made[rng.randrange(12), rng.randrange(9)] = rng.randrange(5) / 3
    return encode(made, rng.choice(list(GridFormat)))


class History:
    """Random changes of a vault; paths are few, so that names come again."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def path(self) -> bytes:
        folder = self.random.choice([b"", b"", b"/d", b"/d/e"])
        return folder + b"/" + self.random.choice([b"a", b"b", b"c", b"\xff", b"d"])

    def place(self, vault: Vault) -> tuple[InodeNo, bytes]:
        parent, _, name = self.path().rpartition(b"/")
        return vault.tree.resolve(parent).ino, name

    def content(self) -> bytes:
        shape = self.random.randrange(5)
        if shape == 0:
            return chat(self.random.randrange(12))
        if shape == 1:
            numbers = [self.random.randrange(12) for _ in range(8)]
            return b"".join(chat(n).replace(b"\n", b" ") + b"\n" for n in numbers)
        if shape == 4:
            return grid(self.random)
        if shape == 2:
            return self.random.randbytes(self.random.randrange(300))
        return b"words of a text that is repeated " * self.random.randrange(40)

    async def step(self, vault: Vault) -> None:
        tree = vault.tree
        parent, name = self.place(vault)
        what = self.random.randrange(12)
        if what < 3:
            await vault.write_document(self.path(), self.content())
        elif what == 3:
            tree.create(parent, name, stat.S_IFDIR | 0o755, 0, 0)
        elif what == 4:
            tree.rmdir(parent, name)
        elif what == 5:
            tree.unlink(parent, name)
        elif what == 6:
            tree.rename(parent, name, *self.place(vault))
        elif what == 7:
            tree.link(tree.resolve(self.path()).ino, parent, name)
        elif what == 8:
            tree.create(parent, name, stat.S_IFLNK | 0o777, 0, 0, target=self.path())
        elif what == 9:
            inode = tree.resolve(self.path())
            if stat.S_ISREG(inode.mode):
                rewrite(vault, tree.path_of(inode.ino) or b"", self.random.randrange(400), b"new")
        elif what == 10:
            inode = tree.resolve(self.path())
            tree.set_attributes(inode.ino, mode=self.random.randrange(0o1000))
            tree.set_xattr(
                inode.ino, b"user.x", self.random.randbytes(4), create=False, replace=False
            )
        else:
            inode = tree.resolve(self.path())
            if stat.S_ISREG(inode.mode):
                vault.files.truncate(inode.ino, self.random.randrange(200))

    async def steps(self, vault: Vault, most: int) -> None:
        for _ in range(self.random.randrange(most)):
            try:
                await self.step(vault)
            except TreeError:
                continue


class Kill:
    """Copies a vault before some sync of a pack; the copy is what a kill would leave."""

    def __init__(self, directory: Path, copy: Path, chance: random.Random) -> None:
        self._directory = directory
        self._copy = copy
        self._random = chance
        self._left = 0
        self.expected: dict[str, Entry] = {}
        self.count = 0

    def arm(self) -> None:
        self._left = self._random.randrange(1, 7)

    def before_sync(self) -> None:
        if self._left:
            self._left -= 1
            if not self._left:
                shutil.copytree(self._directory, self._copy)

    def go_on_from_there(self) -> None:
        self._left = 0
        if self._copy.exists():
            shutil.rmtree(self._directory)
            self._copy.rename(self._directory)
            assert told_by_packs(self._directory) == self.expected
            self.count += 1
