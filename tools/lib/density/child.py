"""One piece of work on a vault in a process of its own; told as JSON on stdout.

    python -m lib.density.child COMMAND {"vault": PATH, ...}

A process of its own, so that its memory and its time are those of the work alone and nothing
is left in its caches from the work before.
"""

import json
import os
import random
import resource
import stat
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

import stowkenfs.vault.block_reader
from stowkenfs.cli.running import run
from stowkenfs.ids import InodeNo
from stowkenfs.store.block import Block
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.importer import import_trees
from stowkenfs.vault.vault import Vault

Spec = dict[str, Any]

WORKERS = len(os.sched_getaffinity(0))
IMPORT_CACHE_BYTES = 32 << 20
"""As ``stowkenfs import``."""

PAUSE_SECONDS = 0.001
"""Between two looks at whether the event loop is in time."""

SMALL_FILE_BYTES = (2000, 8000)
SEQUENTIAL_ROUNDS = 3
TELL_SECONDS = 5.0


def percentile(values: list[float], share: float) -> float:
    """The value below which ``share`` of ``values`` lie; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def cpu_seconds() -> tuple[float, float]:
    """User and system time of this process and of the workers that have ended."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime for one in both), sum(one.ru_stime for one in both)


class Waits:
    """How long a task beside the work has to wait for its turn. Seconds."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def run(self) -> None:
        while True:
            begin = time.perf_counter()
            await anyio.sleep(PAUSE_SECONDS)
            self.seconds.append(max(time.perf_counter() - begin - PAUSE_SECONDS, 0.0))


class Teller:
    """Progress on stderr, not more often than every few seconds."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._told >= TELL_SECONDS:
            self._told = time.monotonic()
            print(f"  {self._what} {done / 1e6:.0f} of {total / 1e6:.0f} MB", file=sys.stderr)


async def take_in(spec: Spec) -> Spec:
    config = VaultConfig(
        workers=WORKERS,
        record_cache_bytes=IMPORT_CACHE_BYTES,
        block_cache_bytes=IMPORT_CACHE_BYTES,
    )
    begin = time.perf_counter()
    async with Vault.open(spec["vault"], config) as vault:
        report = await import_trees(vault, [Path(source) for source in spec["sources"]])
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "complete": report.complete, "report": report.to_dict()}


async def tell_stats(spec: Spec) -> Spec:
    """Of the vault closed and opened again; with ``"stats": true`` after any other command."""
    async with Vault.open(spec["vault"]) as vault:
        return (await vault.stats()).to_dict()


async def compact(spec: Spec) -> Spec:
    waits = Waits()
    config = VaultConfig(workers=WORKERS)
    async with Vault.open(spec["vault"], config) as vault, anyio.create_task_group() as tasks:
        tasks.start_soon(waits.run)
        begin = time.perf_counter()
        report = await vault.compact(None, Teller("compacted"))
        seconds = time.perf_counter() - begin
        tasks.cancel_scope.cancel()
    return {
        "seconds": seconds,
        "wait_p99_ms": percentile(waits.seconds, 0.99) * 1e3,
        "wait_max_ms": max(waits.seconds, default=0.0) * 1e3,
        "late_waits": sum(wait > 0.005 for wait in waits.seconds),
        "waits": len(waits.seconds),
        "report": report.to_dict(),
    }


async def read_small(spec: Spec) -> Spec:
    """Latencies of reading whole small files, by path, in random order."""
    async with Vault.open(spec["vault"]) as vault:
        low, high = SMALL_FILE_BYTES
        paths = [
            path
            async for path, inode in vault.walk()
            if stat.S_ISREG(inode.mode) and low <= inode.size <= high
        ]
        chance = random.Random(3)
        chance.shuffle(paths)
        decoded = Decoded()
        cached = await _latencies(vault, paths[: spec["reads"]], decoded, forget=False)
        cold = await _latencies(vault, paths[: spec["cold_reads"]], decoded, forget=True)
    return {"candidates": len(paths), "cached": cached, "cold": cold}


class Decoded:
    """Counts the bytes that blocks decode to, bases and parts of the tree included."""

    def __init__(self) -> None:
        self.bytes = self.blocks = 0
        module: Any = stowkenfs.vault.block_reader
        decode = module.decode_block

        def counted(*args: Any) -> Block:
            block: Block = decode(*args)
            self.bytes += len(block.payload)
            self.blocks += 1
            return block

        module.decode_block = counted


@dataclass(frozen=True, slots=True)
class Step:
    """What one step of one read took."""

    seconds: float
    decoded_bytes: int
    blocks: int


async def _latencies(
    vault: Vault, paths: list[bytes], decoded: Decoded, *, forget: bool
) -> dict[str, Spec]:
    """Of finding each path in the tree, of reading its content, and of both."""
    found: list[Step] = []
    read: list[Step] = []
    forget_all(vault)
    for path in paths:
        if forget:
            forget_all(vault)
        decoded.bytes = decoded.blocks = 0
        begin = time.perf_counter()
        inode = vault.tree.resolve(path)
        between = time.perf_counter()
        found.append(Step(between - begin, decoded.bytes, decoded.blocks))
        decoded.bytes = decoded.blocks = 0
        between = time.perf_counter()
        content = await vault.read_file(inode.ino)
        read.append(Step(time.perf_counter() - between, decoded.bytes, decoded.blocks))
        if len(content) != inode.size:
            sys.exit(f"bench: {path!r} reads short")
    both = [
        Step(
            one.seconds + two.seconds,
            one.decoded_bytes + two.decoded_bytes,
            one.blocks + two.blocks,
        )
        for one, two in zip(found, read, strict=True)
    ]
    return {"find": _summary(found), "read": _summary(read), "both": _summary(both)}


def _summary(steps: list[Step]) -> Spec:
    milliseconds = [step.seconds * 1e3 for step in steps]
    sizes = [float(step.decoded_bytes) for step in steps]
    return {
        "reads": len(steps),
        "p50_ms": percentile(milliseconds, 0.5),
        "p99_ms": percentile(milliseconds, 0.99),
        "max_ms": max(milliseconds, default=0.0),
        "decoded_p50_bytes": percentile(sizes, 0.5),
        "decoded_p99_bytes": percentile(sizes, 0.99),
        "decoded_max_bytes": max(sizes, default=0.0),
        "blocks_mean": sum(step.blocks for step in steps) / max(len(steps), 1),
    }


def forget_all(vault: Vault) -> None:
    """Empty every cache of unpacked things, as after opening the vault."""
    vault.reader.forget()
    # What is worked out of templates and of the tree is cached beside the blocks.
    vault.reader._layouts.clear()  # noqa: SLF001
    vault._inodes.forget()  # noqa: SLF001


async def read_sequentially(spec: Spec) -> Spec:
    """Speed of reading the largest file from its beginning to its end, from empty caches."""
    async with Vault.open(spec["vault"]) as vault:
        size, ino, name = 0, InodeNo(0), b""
        async for path, inode in vault.walk():
            if stat.S_ISREG(inode.mode) and inode.size >= size:
                size, ino, name = inode.size, inode.ino, path
        seconds = []
        for _ in range(SEQUENTIAL_ROUNDS):
            forget_all(vault)
            begin = time.perf_counter()
            got = 0
            async for piece in vault.read_pieces(ino):
                got += len(piece)
            seconds.append(time.perf_counter() - begin)
            if got != size:
                sys.exit("bench: the log reads short")
    return {"path": os.fsdecode(name), "bytes": size, "seconds": statistics.median(seconds)}


async def compare(spec: Spec) -> Spec:
    """Every file of the sources with what the vault has under its name."""
    files = size = 0
    different: list[str] = []
    async with Vault.open(spec["vault"]) as vault:
        for source in map(Path, spec["sources"]):
            for path in sorted(source.rglob("*")):
                if path.is_symlink() or not path.is_file():
                    continue
                content = path.read_bytes()
                name = os.fsencode(f"/{path.relative_to(source.parent)}")
                files += 1
                size += len(content)
                if await vault.read_file(vault.tree.resolve(name).ino) != content:
                    different.append(os.fsdecode(name))
    return {"files": files, "bytes": size, "different": different}


COMMANDS: dict[str, Callable[[Spec], Awaitable[Spec]]] = {
    "import": take_in,
    "stats": tell_stats,
    "compact": compact,
    "read": read_small,
    "sequential": read_sequentially,
    "compare": compare,
}


def main(commands: Mapping[str, Callable[[Spec], Awaitable[Spec]]]) -> None:
    """Run the command that the process was started for, and tell what it told."""
    spec = json.loads(sys.argv[2])
    user, system = cpu_seconds()
    result = run(commands[sys.argv[1]], spec)
    user_after, system_after = cpu_seconds()  # the workers have ended
    result |= {"user_seconds": user_after - user, "system_seconds": system_after - system}
    if spec.get("stats"):
        result["stats"] = run(tell_stats, spec)
    print(json.dumps(result))


if __name__ == "__main__":
    main(COMMANDS)
