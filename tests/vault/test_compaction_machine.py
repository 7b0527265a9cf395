"""The vault's state machine with compactions, whole and killed and beside changes."""

import os
from functools import partial

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from stowkenfs.vault.compaction.batch import CompactOptions
from tests.vault.test_vault_machine import DOCUMENT, END, NAME, VaultMachine

EXAMPLES = int(os.environ.get("STOWKENFS_COMPACTION_EXAMPLES", "10"))

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
        end=END,
    )
    def compact_while_it_changes(
        self,
        data: st.DataObject,
        changes: list[tuple[int, bytes, bool]],
        new: list[tuple[bytes, bytes]],
        steps: int,
        end: str,
    ) -> None:
        job = partial(self.vault.compact, SMALL)
        self.run_beside_changes(job, self._writable(data), changes, new, steps, end)


TestCompaction = CompactingMachine.TestCase
TestCompaction.settings = settings(
    deadline=None,
    max_examples=EXAMPLES,
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
