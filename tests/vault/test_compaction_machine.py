"""The vault's state machine with compactions, whole and killed and beside changes."""

import os

import anyio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from stowkenfs.vault.compaction.batch import CompactOptions
from tests.vault.machine import copy_as_a_crash
from tests.vault.test_vault_machine import DOCUMENT, NAME, VaultMachine

EXAMPLES = int(os.environ.get("STOWKENFS_COMPACTION_EXAMPLES", "40"))

SMALL = CompactOptions(
    level=1,
    segment_block_bytes=600,
    record_block_bytes=300,
    template_block_bytes=200,
    chunk_bytes=400,
    batch_bytes=1500,
    batch_bytes_max=3000,
    sampled_base_blocks=3,
    threads=1,
)
"""So that a few files make several batches, groups and blocks."""


class CompactingMachine(VaultMachine):
    @rule(options=st.sampled_from([SMALL, CompactOptions(level=1)]))
    def compact(self, options: CompactOptions) -> None:
        report = self.driver.call(self.vault.compact, options)
        assert report.problems == []

    @rule()
    def seal_and_compact(self) -> None:
        self.seal()
        self.compact(SMALL)

    @rule()
    def compact_twice(self) -> None:
        """The second time there is nothing to do."""
        self._close_handles()
        self.seal()
        self.compact(SMALL)
        report = self.driver.call(self.vault.compact, SMALL)
        assert (report.records, report.documents, report.inodes_frozen) == (0, 0, 0)

    @precondition(lambda self: self._files())
    @rule(
        data=st.data(),
        changes=st.lists(st.tuples(st.integers(0, 12), DOCUMENT, st.booleans()), max_size=4),
        new=st.lists(st.tuples(NAME, DOCUMENT), max_size=2),
        steps=st.integers(0, 60),
        end=st.sampled_from(["done", "cancelled", "killed"]),
    )
    def compact_while_it_changes(
        self,
        data: st.DataObject,
        changes: list[tuple[int, bytes, bool]],
        new: list[tuple[bytes, bytes]],
        steps: int,
        end: str,
    ) -> None:
        """Changes at any step of a compaction, which is killed or cancelled at any step."""
        file = self._writable(data)
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
                    other = self.names[name]
                    await self.vault.write_document(b"/" + name, content)
                    other.content[:] = content
            await self._seal()

        async def run() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.vault.compact, SMALL)
                async with anyio.create_task_group() as changing:
                    changing.start_soon(change)
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


TestCompaction = CompactingMachine.TestCase
TestCompaction.settings = settings(
    deadline=None,
    max_examples=EXAMPLES,
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
