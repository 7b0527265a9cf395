"""One job on a vault in a process of its own; told as JSON on stdout.

python -m lib.jobs.child COMMAND {"vault": PATH, ...}
"""

import json
import os
import stat
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from lib.density.child import (
    COMMANDS,
    IMPORT_CACHE_BYTES,
    WORKERS,
    Spec,
    Teller,
    main,
)

from stowkenfs.errors import ActivationRefused
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.conversation import Conversation
from stowkenfs.vault.importer import import_trees
from stowkenfs.vault.vault import Vault

DICTIONARY_AFTER = 10
"""As in the wheel's script: a dictionary is trained when one in so many conversations is there."""

DICTIONARY_SAMPLES = 200


def config_of(spec: Spec, **words: Any) -> VaultConfig:
    if "near_threshold" in spec:
        words["near_dedup_threshold"] = spec["near_threshold"]
    return VaultConfig(**words)


def brief(report: Any) -> Spec:
    """A report as numbers and words; of lists only how long they are."""
    return {
        name: len(value) if isinstance(value, (list, tuple)) else value
        for name, value in report.to_dict().items()
    }


async def take_in(spec: Spec) -> Spec:
    """Import directories; with ``near_threshold`` also look for what is nearly the same."""
    config = config_of(
        spec,
        workers=WORKERS,
        record_cache_bytes=IMPORT_CACHE_BYTES,
        block_cache_bytes=IMPORT_CACHE_BYTES,
    )
    async with Vault.open(spec["vault"], config) as vault:
        begin = time.perf_counter()
        report = await import_trees(vault, [Path(source) for source in spec["sources"]])
        seconds = time.perf_counter() - begin
    return {"seconds": seconds, "complete": report.complete, "report": brief(report)}


async def train_dictionary(vault: Vault, spec: Spec) -> Spec:
    """Train one and activate it, unless it does not pay."""
    samples = spec.get("dictionary_samples", DICTIONARY_SAMPLES)
    report = await vault.train_dictionary(samples, progress=Teller("trained"))
    told = brief(report)
    if report.info is None:
        return told
    try:
        return told | {"activation": brief(await vault.activate_dictionary(report.info.id))}
    except ActivationRefused as error:
        return told | {"refused": str(error)}


async def train_substrings(vault: Vault, spec: Spec) -> Spec:
    return brief(
        await vault.substring_training(
            spec.get("substring_samples", 500),
            spec.get("occurrences_min", 5),
            progress=Teller("trained"),
        )
    )


async def compact_substrings(vault: Vault, _spec: Spec) -> Spec:
    return brief(await vault.compact_substrings(progress=Teller("rewritten")))


async def gc_substrings(vault: Vault, _spec: Spec) -> Spec:
    return brief(await vault.gc_substrings(progress=Teller("looked at")))


async def delete_and_gc(vault: Vault, spec: Spec) -> Spec:
    """Delete every second file below a directory, then collect."""
    top = os.fsencode(spec["below"])
    directory = vault.tree.resolve(top)
    files = [
        top + path async for path, inode in vault.walk(directory.ino) if stat.S_ISREG(inode.mode)
    ]
    for path in sorted(files)[::2]:
        folder, _, name = path.rpartition(b"/")
        vault.tree.unlink(vault.tree.resolve(folder).ino, name)
    return brief(await vault.gc(progress=Teller("collected")))


async def reindex(vault: Vault, _spec: Spec) -> Spec:
    return brief(await vault.reindex(progress=Teller("read")))


async def verify(vault: Vault, _spec: Spec) -> Spec:
    return brief(await vault.verify(Teller("verified")))


async def compact(vault: Vault, _spec: Spec) -> Spec:
    return brief(await vault.compact(None, Teller("compacted")))


Job = Callable[[Vault, Spec], Awaitable[Spec]]

JOBS: dict[str, Job] = {
    "train substrings": train_substrings,
    "compact substrings": compact_substrings,
    "gc substrings": gc_substrings,
    "train dictionary": train_dictionary,
    "delete half, gc": delete_and_gc,
    "reindex": reindex,
    "verify": verify,
    "compact": compact,
}


def timed(job: Job) -> Callable[[Spec], Awaitable[Spec]]:
    async def work(spec: Spec) -> Spec:
        async with Vault.open(spec["vault"], config_of(spec, workers=WORKERS)) as vault:
            begin = time.perf_counter()
            report = await job(vault, spec)
            return {"seconds": time.perf_counter() - begin, "report": report}

    return work


async def store(spec: Spec) -> Spec:
    """Store conversations one by one, with what the configuration trains; see wheel.py."""
    conversations = _read(Path(spec["conversations"]))
    told: Spec = {"conversations": len(conversations)}
    seconds = cpu = 0.0
    async with Vault.open(spec["vault"], config_of(spec)) as vault:
        for number, fields in enumerate(conversations):
            if spec.get("dictionary_samples") and number == len(conversations) // DICTIONARY_AFTER:
                told["dictionary"] = await train_dictionary(vault, spec)
            begin, cpu_begin = time.perf_counter(), time.process_time()
            await vault.store(Conversation.from_dict(fields))
            seconds += time.perf_counter() - begin
            cpu += time.process_time() - cpu_begin
        if spec.get("substring_samples"):
            begin = time.perf_counter()
            told["substrings"] = await train_substrings(vault, spec)
            told["compacted"] = await compact_substrings(vault, spec)
            told["collected"] = await gc_substrings(vault, spec)
            told["job_seconds"] = time.perf_counter() - begin
        told["different"] = await _different(vault, conversations)
    return told | {"store_seconds": seconds, "store_cpu_seconds": cpu}


def _read(path: Path) -> list[Spec]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


async def _different(vault: Vault, conversations: list[Spec]) -> int:
    """How many come back otherwise than they were stored."""
    different = 0
    for fields in conversations:
        got = await vault.retrieve(fields["id"])
        different += got.to_dict() != fields
    return different


ALL_COMMANDS: dict[str, Callable[[Spec], Awaitable[Spec]]] = (
    COMMANDS
    | {"import": take_in, "store": store}
    | {name: timed(job) for name, job in JOBS.items()}
)


if __name__ == "__main__":
    main(ALL_COMMANDS)
