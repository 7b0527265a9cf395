"""The vault's state machine with every job there is, whole, cancelled, killed, beside changes."""

import json
import os
import random
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from stowkenfs.errors import ActivationRefused
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.conversation import Conversation, Message
from tests.vault.machine import VaultDriver
from tests.vault.test_compaction_machine import SMALL, CompactingMachine
from tests.vault.test_vault_machine import DOCUMENT, END, NAME

EXAMPLES = int(os.environ.get("STOWKENFS_JOBS_EXAMPLES", "6"))
CONFIG = VaultConfig(
    seal_after_seconds=0.0, lock_wait_seconds=0.0, compression_level=1, near_dedup_threshold=0.6
)
WORDS = [f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeiou" for c in ("n", "r", "st")]

Job = Callable[[], Coroutine[Any, Any, Any]]


def _variant(seed: int) -> bytes:
    """A conversation whose texts are nearly those of others."""
    rng = random.Random(seed % 3)
    texts = [rng.choices(WORDS, k=90) for _ in range(2)]
    for text in texts:
        text[seed * 7 % 90] = f"changed{seed}"
        text[seed * 13 % 90] = f"{seed}"
    system, answer = (" ".join(text) for text in texts)
    messages = [
        {"role": "system", "content": system},
        {"role": "user", "content": f"question {seed}"},
        {"role": "assistant", "content": answer if seed % 2 else f"{system} {answer}"},
    ]
    return json.dumps({"id": f"v{seed % 5}", "messages": messages}, indent=seed % 2).encode()


VARIANT = st.integers(0, 60).map(_variant)
JOB = st.sampled_from(
    ["train", "recode", "gc substrings", "dictionary", "gc", "compact", "reindex", "verify"]
)


class JobsMachine(CompactingMachine):
    @initialize(backend=st.sampled_from(["trio", "asyncio"]))
    def open(self, backend: str) -> None:
        self.driver = VaultDriver(self.base / "vault", backend, CONFIG)

    def _job(self, name: str) -> Job:
        vault = self.vault
        jobs: dict[str, Job] = {
            "train": partial(vault.train_substrings, samples=50, min_occurrences=2),
            "recode": vault.compact_substrings,
            "gc substrings": vault.gc_substrings,
            "dictionary": partial(vault.train_dictionary, samples=50),
            "gc": vault.gc,
            "compact": partial(vault.compact, SMALL),
            "reindex": vault.reindex,
            "verify": vault.verify,
        }
        return jobs[name]

    # What makes work for them

    @rule(name=NAME, content=VARIANT)
    def store_variant(self, name: bytes, content: bytes) -> None:
        self.store_whole(name, content)

    @rule(start=st.integers(0, 60))
    def store_many_and_drop_most(self, start: int) -> None:
        async def run() -> None:
            for at in range(start, start + 8):
                await self.vault.store(_conversation(at))
            for at in range(start, start + 8):
                await self.vault.delete(f"many-{at}")

        self.driver.call(run)

    # The jobs

    @rule()
    def train_and_recode(self) -> None:
        self.seal()
        promoted = self.driver.call(self._job("train"))
        before = self.driver.call(self.vault.stats)
        listed = {info.id for info in self.vault.list_substrings()}
        assert {info.id for info in promoted} <= listed
        report = self.driver.call(self.vault.compact_substrings)
        after = self.driver.call(self.vault.stats)
        assert after.storage_bytes <= before.storage_bytes
        assert (report.bytes_saved > 0) == (report.segments_rewritten > 0)
        again = self.driver.call(self.vault.compact_substrings)
        assert again.segments_rewritten == 0
        self.check()

    @rule()
    def drop_substrings(self) -> None:
        report = self.driver.call(self.vault.gc_substrings)
        assert report.registry_size_after == len(self.vault.list_substrings())
        again = self.driver.call(self.vault.gc_substrings)
        assert again.substrings_dropped == 0

    @rule(force=st.booleans())
    def train_dictionary(self, force: bool) -> None:
        self.seal()
        self.driver.call(self._job("dictionary"))
        for info in self.vault.list_dictionaries()[-1:]:
            try:
                self.driver.call(partial(self.vault.activate_dictionary, info.id, force=force))
            except ActivationRefused:
                assert not force
            else:
                assert [one.id for one in self.vault.list_dictionaries() if one.is_active] == [
                    info.id
                ]

    @rule()
    def collect(self) -> None:
        dry = self.driver.call(partial(self.vault.gc, dry_run=True))
        assert dry.dry_run
        before = self.driver.call(self.vault.stats)
        report = self.driver.call(self.vault.gc)
        after = self.driver.call(self.vault.stats)
        assert not report.problems
        assert after.storage_bytes <= before.storage_bytes
        assert after.documents == before.documents
        self.check()

    @rule()
    def collect_twice(self) -> None:
        """The second time there is nothing to do."""
        self._close_handles()
        self.seal()
        self.driver.call(self.vault.gc)
        again = self.driver.call(self.vault.gc)
        assert (again.blocks_rewritten, again.blocks_dropped) == (0, 0)

    @rule()
    def reindex(self) -> None:
        report = self.driver.call(self.vault.reindex)
        assert report.clean, report
        self.check()

    @rule()
    def lose_the_index(self) -> None:
        """Of drafts only the index tells whose they are; what is sealed is all there again."""
        self._close_handles()
        self.seal()
        self.driver.close_vault()
        for path in self.driver.directory.glob("index.db*"):
            path.unlink()
        self.driver.reopen()
        self.check()
        self.verify()

    @precondition(lambda self: self._files())
    @rule(
        data=st.data(),
        job=JOB,
        changes=st.lists(
            st.tuples(st.integers(0, 8), VARIANT | DOCUMENT, st.booleans()), max_size=3
        ),
        new=st.lists(st.tuples(NAME, VARIANT), max_size=2),
        steps=st.integers(0, 40),
        end=END,
    )
    def job_while_it_changes(
        self,
        data: st.DataObject,
        job: str,
        changes: list[tuple[int, bytes, bool]],
        new: list[tuple[bytes, bytes]],
        steps: int,
        end: str,
    ) -> None:
        file = self._writable(data)
        self.run_beside_changes(self._job(job), file, changes, new, steps, end)


def _conversation(seed: int) -> Conversation:
    fields = json.loads(_variant(seed))
    messages = [Message(one["role"], one["content"]) for one in fields["messages"]]
    return Conversation(id=f"many-{seed}", messages=messages)


TestJobs = JobsMachine.TestCase
TestJobs.settings = settings(
    deadline=None,
    max_examples=EXAMPLES,
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
