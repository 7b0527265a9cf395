"""A vault against a dictionary of bytes: written, sealed, reopened and killed in any order."""

import json
import random
import shutil
import stat
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from stowkenfs.ids import ROOT_INODE, InodeNo
from tests.running import names_in
from tests.vault.machine import VaultDriver, copy_as_a_crash
from tests.vault.rebuilding import grid

NAMES = [b"a.json", b"b.jsonl", b"c.bin", b"d", b"e.jsonl"]
NAME = st.sampled_from(NAMES)
END = st.sampled_from(["done", "cancelled", "killed"])
SIZE_MAX = 12_000


def _document(seed: int) -> bytes:
    """A piece of content, the same for the same seed; many have parts in common."""
    rng = random.Random(seed)
    shared = f"You are a helpful assistant, number {seed % 3}. Answer in a few plain sentences."
    kind = seed % 7
    if kind == 0:
        messages = [
            {"role": role, "content": shared if role == "system" else f"{seed} {'words ' * 20}"}
            for role in ("system", "user", "assistant")
        ]
        return json.dumps({"id": f"c{seed % 7}", "messages": messages}, indent=seed % 3).encode()
    if kind in (1, 2):
        lines = [
            json.dumps({"n": n, "role": "user", "content": f"{shared} {n} {seed % 5}"})
            for n in range(seed % 8 + 1)
        ]
        return "".join(line + "\n" for line in lines).encode()
    if kind == 3:
        return rng.randbytes(rng.randint(1, 900))
    if kind == 6:
        return grid(rng)
    if kind == 4:
        return shared.encode() * rng.randint(1, 8)
    return b"{" * rng.randint(1, 3) + json.dumps([shared, seed]).encode()[: rng.randint(1, 90)]


DOCUMENT = st.integers(0, 40).map(_document)


@dataclass(eq=False)
class ModelFile:
    """One file of the model: its bytes, and how many handles it has."""

    ino: InodeNo
    content: bytearray = field(default_factory=bytearray)
    handles: list[bool] = field(default_factory=list)  # each: whether it may write

    def put(self, start: int, content: bytes) -> None:
        self.content.extend(bytes(max(start - len(self.content), 0)))
        self.content[start : start + len(content)] = content


class VaultMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp())
        self.crashes = 0
        self.names: dict[bytes, ModelFile] = {}
        self.nameless: list[ModelFile] = []  # with handles only
        self.driver: VaultDriver

    @initialize(backend=st.sampled_from(["trio", "asyncio"]))
    def open(self, backend: str) -> None:
        self.driver = VaultDriver(self.base / "vault", backend)

    def teardown(self) -> None:
        self.check()
        self._close_handles()
        self.driver.close()
        shutil.rmtree(self.base)

    @property
    def vault(self):
        return self.driver.vault

    def _files(self) -> list[ModelFile]:
        return list(dict.fromkeys([*self.names.values(), *self.nameless]))

    def _writable(self, data: st.DataObject) -> ModelFile:
        return data.draw(st.sampled_from(self._files()))

    # Names

    @rule(name=NAME)
    def create(self, name: bytes) -> None:
        if name not in self.names:
            made = self.driver.call(
                self.vault.tree.create, ROOT_INODE, name, stat.S_IFREG | 0o600, 0, 0
            )
            self.names[name] = ModelFile(ino=made.ino)

    def _drop(self, name: bytes) -> None:
        file = self.names.pop(name)
        if file not in self.names.values() and file.handles:
            self.nameless.append(file)

    @precondition(lambda self: self.names)
    @rule(data=st.data())
    def unlink(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.names)))
        self.driver.call(self.vault.tree.unlink, ROOT_INODE, name)
        self._drop(name)

    @precondition(lambda self: self.names)
    @rule(data=st.data(), to=NAME)
    def rename(self, data: st.DataObject, to: bytes) -> None:
        name = data.draw(st.sampled_from(sorted(self.names)))
        self.driver.call(self.vault.tree.rename, ROOT_INODE, name, ROOT_INODE, to)
        file = self.names[name]
        if self.names.get(to) is file:
            return
        if to in self.names:
            self._drop(to)
        del self.names[name]
        self.names[to] = file

    @precondition(lambda self: self.names)
    @rule(data=st.data(), to=NAME)
    def link(self, data: st.DataObject, to: bytes) -> None:
        if to in self.names:
            return
        name = data.draw(st.sampled_from(sorted(self.names)))
        self.driver.call(self.vault.tree.link, self.names[name].ino, ROOT_INODE, to)
        self.names[to] = self.names[name]

    @precondition(lambda self: len(self.names) > 1)
    @rule(data=st.data())
    def exchange(self, data: st.DataObject) -> None:
        one, other = data.draw(st.permutations(sorted(self.names)))[:2]
        self.driver.call(self.vault.tree.exchange, ROOT_INODE, one, ROOT_INODE, other)
        self.names[one], self.names[other] = self.names[other], self.names[one]

    # Handles

    @precondition(lambda self: self.names)
    @rule(data=st.data(), writing=st.booleans())
    def open_file(self, data: st.DataObject, writing: bool) -> None:
        file = self.names[data.draw(st.sampled_from(sorted(self.names)))]
        self._acquire(file, writing=writing)
        file.handles.append(writing)

    def _acquire(self, file: ModelFile, *, writing: bool) -> None:
        self.driver.call(lambda: self.vault.files.acquire(file.ino, writing=writing))

    def _release(self, file: ModelFile, *, writing: bool) -> None:
        self.driver.call(lambda: self.vault.files.release(file.ino, writing=writing))

    @precondition(lambda self: any(file.handles for file in self._files()))
    @rule(data=st.data())
    def close_file(self, data: st.DataObject) -> None:
        file = data.draw(st.sampled_from([file for file in self._files() if file.handles]))
        self._release(file, writing=file.handles.pop())
        if not file.handles and file in self.nameless:
            self.nameless.remove(file)

    def _close_handles(self) -> None:
        for file in self._files():
            while file.handles:
                self._release(file, writing=file.handles.pop())
        self.nameless.clear()

    # Content

    @precondition(lambda self: self._files())
    @rule(data=st.data(), content=DOCUMENT, where=st.floats(0, 1.2), pieces=st.integers(1, 3))
    def write(self, data: st.DataObject, content: bytes, where: float, pieces: int) -> None:
        file = self._writable(data)
        start = min(int(len(file.content) * where), SIZE_MAX)
        size = -(-len(content) // pieces)
        self._acquire(file, writing=True)
        for at in range(0, len(content), size):
            piece = content[at : at + size]
            self.driver.call(self.vault.files.write, file.ino, start + at, piece)
            file.put(start + at, piece)
        self._release(file, writing=True)

    @precondition(lambda self: self._files())
    @rule(data=st.data(), content=DOCUMENT)
    def append(self, data: st.DataObject, content: bytes) -> None:
        file = self._writable(data)
        if len(file.content) > SIZE_MAX:
            return
        self._acquire(file, writing=True)
        self.driver.call(self.vault.files.write, file.ino, len(file.content), content)
        self._release(file, writing=True)
        file.content += content

    @precondition(lambda self: self._files())
    @rule(data=st.data(), where=st.sampled_from([0, 0.1, 0.5, 0.9, 0.99, 1.0, 1.1]))
    def truncate(self, data: st.DataObject, where: float) -> None:
        file = self._writable(data)
        size = min(int(len(file.content) * where), SIZE_MAX)
        self.driver.call(lambda: self.vault.tree.set_attributes(file.ino, size=size))
        del file.content[size:]
        file.content.extend(bytes(size - len(file.content)))

    @rule(name=NAME, content=DOCUMENT)
    def store_whole(self, name: bytes, content: bytes) -> None:
        ino = self.driver.call(self.vault.write_document, b"/" + name, content)
        file = self.names.setdefault(name, ModelFile(ino=ino))
        assert file.ino == ino
        file.content[:] = content

    # Sealing

    @rule()
    def seal(self) -> None:
        self.driver.call(self._seal)
        for file in self._files():
            if not file.handles and file not in self.nameless:
                self.driver.call(self._assert_sealed, file.ino)

    async def _seal(self) -> None:
        await self.vault.sealer.seal_due(everything=True)

    def _assert_sealed(self, ino: InodeNo) -> None:
        """A file that nobody has open has no draft left."""
        live = self.vault.files.acquire(ino, writing=False)
        try:
            assert live.draft is None
        finally:
            self.vault.files.release(ino, writing=False)

    @precondition(lambda self: self._files())
    @rule(
        data=st.data(),
        changes=st.lists(st.tuples(st.integers(0, 9), DOCUMENT, st.booleans()), max_size=4),
        seals=st.integers(1, 2),
        then_crash=st.booleans(),
    )
    def seal_while_it_changes(
        self,
        data: st.DataObject,
        changes: list[tuple[int, bytes, bool]],
        seals: int,
        then_crash: bool,
    ) -> None:
        """Changes, and a kill, at any step of a seal."""
        file = self._writable(data)
        target = self._next_directory() if then_crash else None

        async def run() -> None:
            async with anyio.create_task_group() as tasks:
                for _ in range(seals):
                    tasks.start_soon(self._seal)
                for steps, content, at_end in changes:
                    for _ in range(steps):
                        await anyio.sleep(0.0003)
                    self.vault.files.acquire(file.ino, writing=True)
                    start = len(file.content) if at_end else len(file.content) // 3
                    half = len(content) // 2
                    for at, piece in ((0, content[:half]), (half, content[half:])):
                        self.vault.files.write(file.ino, start + at, piece)
                        file.put(start + at, piece)
                    self.vault.files.release(file.ino, writing=True)
                if target is not None:
                    copy_as_a_crash(self.driver.directory, target)

        self.driver.call(run)
        if target is not None:
            self._go_on_in(target)

    # Jobs of the machines that go on from this one

    def run_beside_changes(
        self,
        job: Callable[[], Coroutine[Any, Any, Any]],
        file: ModelFile,
        changes: Sequence[tuple[int, bytes, bool]],
        new: Sequence[tuple[bytes, bytes]],
        steps: int,
        end: str,
    ) -> None:
        """Changes at any step of a job, which is ``done``, ``cancelled`` or ``killed`` then."""
        target = self._next_directory() if end == "killed" else None

        async def change() -> None:
            for wait, content, at_end in changes:
                for _ in range(wait):
                    await anyio.sleep(0.0003)
                self.vault.files.acquire(file.ino, writing=True)
                start = len(file.content) if at_end else len(file.content) // 3
                self.vault.files.write(file.ino, start, content)
                file.put(start, content)
                self.vault.files.release(file.ino, writing=True)
                assert await self.vault.read_file(file.ino) == file.content
            for name, content in new:
                if name in self.names:
                    await self.vault.write_document(b"/" + name, content)
                    self.names[name].content[:] = content
            await self._seal()

        async def run() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(job)
                await change()
                if end != "done":
                    for _ in range(steps):
                        await anyio.sleep(0.0005)
                if target is not None:
                    copy_as_a_crash(self.driver.directory, target)
                if end == "cancelled":
                    tasks.cancel_scope.cancel()

        self.driver.call(run)
        if target is not None:
            self._go_on_in(target)
        self.check()

    @rule()
    def settle(self) -> None:
        self.driver.call(self.vault.files.settle_all)
        self.driver.call(self.vault.write_namespace)

    # Ends

    @rule()
    def reopen(self) -> None:
        self._close_handles()
        self.driver.reopen()
        self.check()

    def _next_directory(self) -> Path:
        self.crashes += 1
        return self.base / f"crashed {self.crashes}"

    @rule()
    def crash(self) -> None:
        target = self._next_directory()
        self.driver.call(copy_as_a_crash, self.driver.directory, target)
        self._go_on_in(target)

    def _go_on_in(self, target: Path) -> None:
        """Every byte whose write returned is there; what had no name is gone."""
        before = {name: bytes(file.content) for name, file in self.names.items()}
        self._close_handles()
        old = self.driver.directory
        self.driver.reopen(target)
        shutil.rmtree(old)
        assert {name: bytes(file.content) for name, file in self.names.items()} == before
        self.check()

    # Comparing

    @rule()
    def check(self) -> None:
        self.driver.call(self._check)

    async def _check(self) -> None:
        vault = self.vault
        listed = {dentry.name: inode for dentry, inode in vault.tree.page(ROOT_INODE, 0, 100)}
        assert listed.keys() == self.names.keys()
        for name, file in self.names.items():
            assert listed[name].ino == file.ino
            assert listed[name].nlink == list(self.names.values()).count(file)
        for file in self._files():
            assert vault.tree.inode(file.ino).size == len(file.content)
            found = await vault.read_file(file.ino)
            assert found == file.content
            live = vault.files.acquire(file.ino, writing=False)
            at = len(file.content) // 2
            assert await vault.files.read(live, at, 100) == file.content[at : at + 100]
            vault.files.release(file.ino, writing=False)
        stats = await vault.stats()
        assert stats.documents == len(self._files())

    @rule()
    def verify(self) -> None:
        report = self.driver.call(self.vault.verify)
        assert report.clean, report

    @rule()
    def nothing_is_left_over(self) -> None:
        """Without handles, a sealed vault has neither drafts nor files of them."""
        self._close_handles()
        self.driver.call(self._seal)
        self.driver.reopen()
        assert names_in(self.driver.directory / "drafts") == []
        stats = self.driver.call(self.vault.stats)
        assert stats.drafts == 0
        assert stats.documents == len(set(self.names.values()))


TestVault = VaultMachine.TestCase
TestVault.settings = settings(
    deadline=None,
    max_examples=15,
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
