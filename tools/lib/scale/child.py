"""One piece of work of the scale section in a process of its own; told as JSON on stdout.

python -m lib.scale.child COMMAND {"vault": PATH, ...}
"""

import os
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from lib.density.child import (
    IMPORT_CACHE_BYTES,
    WORKERS,
    Spec,
    Teller,
    cpu_seconds,
    forget_all,
    main,
    percentile,
)
from lib.scale.generate import BYTES, Generator, deleted, path_of
from lib.scale.passages import Passages

from stowkenfs.index.inodes import Inode
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.importer import import_trees
from stowkenfs.vault.transfer import TransferReport
from stowkenfs.vault.vault import Vault

RANGE_BYTES = 65_536
LOG_LOOK_SECONDS = 0.05


async def generate(spec: Spec) -> Spec:
    """Write the files of one step below a directory."""
    passages = Passages([Path(one) for one in spec["corpora"]], spec["seed"])
    generator = Generator(passages, spec["ladder"], spec["seed"], spec["log_bytes"])
    teller = Teller("wrote")
    amount = spec["amount"]

    def enough(number: int, size: int) -> bool:
        done = size if spec["ladder"] == BYTES else number - spec["first"]
        return done >= int(amount)

    count = size = 0
    for wrote in generator.write(Path(spec["target"]), spec["first"], enough):
        count += 1
        size += wrote
        teller(size, amount if spec["ladder"] == BYTES else size * amount // count)
    return {"next": spec["first"] + count, "files": count, "bytes": size}


@asynccontextmanager
async def opened(spec: Spec, told: Spec, config: VaultConfig) -> AsyncIterator[Vault]:
    """The vault; ``told`` gets how long opening and closing took."""
    begin = time.perf_counter()
    async with Vault.open(spec["vault"], config) as vault:
        told["open_seconds"] = time.perf_counter() - begin
        # The parent said when it started this process: the clock is the machine's.
        told["start_seconds"] = time.monotonic() - spec["began"]
        yield vault
        begin = time.perf_counter()
    told["close_seconds"] = time.perf_counter() - begin


async def only_open(spec: Spec) -> Spec:
    """Open and close."""
    told: Spec = {}
    async with opened(spec, told, VaultConfig()):
        pass
    return told


async def ingest(spec: Spec) -> Spec:
    """Import what was generated; how long the index's log became."""
    config = VaultConfig(
        workers=WORKERS,
        record_cache_bytes=IMPORT_CACHE_BYTES,
        block_cache_bytes=IMPORT_CACHE_BYTES,
    )
    told: Spec = {"log_bytes": 0}
    teller = Teller("imported")

    def progress(report: TransferReport) -> None:
        teller(report.content_bytes, spec["bytes"])

    async def look(vault: Vault) -> None:
        while True:
            told["log_bytes"] = max(told["log_bytes"], vault.index_log_bytes)
            await anyio.sleep(LOG_LOOK_SECONDS)

    async with opened(spec, told, config) as vault, anyio.create_task_group() as tasks:
        tasks.start_soon(look, vault)
        begin = time.perf_counter()
        sources = [Path(spec["source"], name) for name in spec["names"]]
        report = await import_trees(vault, sources, progress)
        told["seconds"] = time.perf_counter() - begin
        tasks.cancel_scope.cancel()
    return told | {"complete": report.complete}


async def look(spec: Spec) -> Spec:
    """Find and read random files: each from empty caches, then found again from full ones."""
    chance = random.Random(spec["seed"])
    told: Spec = {}
    async with opened(spec, told, VaultConfig()) as vault:
        paths = _paths(spec, chance)
        cold, cpu, inodes = [], [], []
        for path in paths:
            forget_all(vault)
            begin, cpu_begin = time.perf_counter(), time.process_time()
            inodes.append(vault.tree.resolve(path))
            cold.append(time.perf_counter() - begin)
            cpu.append(time.process_time() - cpu_begin)
        told["find_cold"] = _summary(cold, cpu)
        told["find_warm"] = _summary(*_again(vault, paths))
        told |= await _read(vault, inodes, chance, spec)
    return told


def _paths(spec: Spec, chance: random.Random) -> list[bytes]:
    count, ladder = spec["files"], spec["ladder"]
    gone = [range(*one) for one in spec["deleted"]]
    numbers = (chance.randrange(count) for _ in range(spec["reads"]))
    there = (one for one in numbers if not any(one in some for some in gone))
    return [b"/" + path_of(ladder, one).encode() for one in there]


def _again(vault: Vault, paths: list[bytes]) -> tuple[list[float], list[float]]:
    """What finding each takes once more."""
    for path in paths:
        vault.tree.resolve(path)
    warm, cpu = [], []
    for path in paths:
        begin, cpu_begin = time.perf_counter(), time.process_time()
        vault.tree.resolve(path)
        warm.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - cpu_begin)
    return warm, cpu


async def _read(vault: Vault, inodes: list[Inode], chance: random.Random, spec: Spec) -> Spec:
    """Whole small files, or ranges of large ones, each from empty caches."""
    seconds, cpu, size = [], [], 0
    for inode in inodes:
        at = chance.randrange(max(inode.size - RANGE_BYTES, 0) + 1)
        wanted = RANGE_BYTES if spec["ladder"] == BYTES else inode.size
        forget_all(vault)
        live = vault.files.acquire(inode.ino, writing=False)
        begin, cpu_begin = time.perf_counter(), time.process_time()
        try:
            size += len(await vault.files.read(live, at, wanted))
        finally:
            vault.files.release(inode.ino, writing=False)
        seconds.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - cpu_begin)
    return {"read_cold": _summary(seconds, cpu), "read_bytes": size}


def _summary(seconds: list[float], cpu: list[float]) -> Spec:
    return {
        "count": len(seconds),
        "seconds": sum(seconds),
        "p50_seconds": statistics.median(seconds) if seconds else 0.0,
        "p99_seconds": percentile(seconds, 0.99),
        "cpu_seconds": sum(cpu),
    }


async def compact(spec: Spec) -> Spec:
    told: Spec = {}
    async with opened(spec, told, VaultConfig(workers=WORKERS)) as vault:
        begin = time.perf_counter()
        report = await vault.compact(None, Teller("compacted"))
        told["seconds"] = time.perf_counter() - begin
    return told | {"documents": report.documents}


async def collect(spec: Spec) -> Spec:
    """Remove some files of the last step, then let go of what only they referred to."""
    told: Spec = {}
    async with opened(spec, told, VaultConfig(workers=WORKERS)) as vault:
        going = deleted(spec["ladder"], spec["first"], spec["files"])
        for number in going:
            folder, _, name = path_of(spec["ladder"], number).rpartition("/")
            vault.tree.unlink(vault.tree.resolve(os.fsencode(f"/{folder}")).ino, name.encode())
        begin, cpu = time.perf_counter(), sum(cpu_seconds())
        await vault.gc(progress=Teller("collected"))
        told["seconds"] = time.perf_counter() - begin
        told["gc_cpu_seconds"] = sum(cpu_seconds()) - cpu
    return told | {"removed": len(going)}


COMMANDS: dict[str, Callable[[Spec], Awaitable[Spec]]] = {
    "generate": generate,
    "open": only_open,
    "ingest": ingest,
    "look": look,
    "compact": compact,
    "collect": collect,
}


if __name__ == "__main__":
    main(COMMANDS)
