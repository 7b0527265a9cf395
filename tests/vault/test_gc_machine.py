"""The vault's state machine with collections, whole, cancelled and killed, beside changes."""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.vault.rebuilding import told_by_packs, told_by_vault
from tests.vault.test_compaction_machine import SMALL
from tests.vault.test_vault_machine import DOCUMENT, END, NAME, VaultMachine

EXAMPLES = int(os.environ.get("STOWKENFS_GC_EXAMPLES", "8"))


class CollectingMachine(VaultMachine):
    @rule()
    def compact(self) -> None:
        assert self.driver.call(self.vault.compact, SMALL).problems == []

    @rule()
    def collect(self) -> None:
        report = self.driver.call(self.vault.gc)
        assert report.problems == ()

    @rule()
    def look(self) -> None:
        before = self.driver.call(self.vault._catalogue.stored_bytes)
        assert self.driver.call(self.vault.gc, True).problems == ()
        assert self.driver.call(self.vault._catalogue.stored_bytes) == before

    @rule()
    def collect_all(self) -> None:
        """What is left is what files refer to, or what others need; all of it can be read."""
        self.seal()
        self.driver.call(self.vault.gc)
        again = self.driver.call(self.vault.gc)
        assert (again.blocks_dropped, again.blocks_rewritten) == (0, 0)
        assert self.driver.call(self.vault.verify).clean
        self.check()

    @rule()
    def tell_by_packs(self) -> None:
        """What the packs say after a collection is what the vault says."""
        self._close_handles()
        self.driver.call(self.vault.gc)
        expected = self.driver.call(told_by_vault, self.vault)
        self.driver.call(self.vault.write_namespace)
        assert told_by_packs(self.driver.directory) == expected

    @precondition(lambda self: self._files())
    @rule(
        data=st.data(),
        changes=st.lists(st.tuples(st.integers(0, 8), DOCUMENT, st.booleans()), max_size=4),
        new=st.lists(st.tuples(NAME, DOCUMENT), max_size=3),
        steps=st.integers(0, 60),
        end=END,
    )
    def collect_while_it_changes(
        self,
        data: st.DataObject,
        changes: list[tuple[int, bytes, bool]],
        new: list[tuple[bytes, bytes]],
        steps: int,
        end: str,
    ) -> None:
        file = self._writable(data)
        self.run_beside_changes(self.vault.gc, file, changes, new, steps, end)
        assert self.driver.call(self.vault.verify).clean


TestCollection = CollectingMachine.TestCase
TestCollection.settings = settings(
    deadline=None,
    max_examples=EXAMPLES,
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
