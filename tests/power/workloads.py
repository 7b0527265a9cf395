"""Workloads on a vault. ``python -m tests.power.workloads NAME VAULT LOG`` does one."""

import functools
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from stowkenfs.vault import drafts
from stowkenfs.vault.compaction.batch import CompactOptions
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.reindex.rebuild import rebuild_closed
from stowkenfs.vault.vault import Vault
from tests.power.actor import Actor, InVault
from tests.power.recording import Marks

QUICK = CompactOptions(level=3)
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "")]

Workload = Callable[[Path, Marks], Awaitable[None]]


def text(seed: int, words: int = 60) -> str:
    """Like that of others in places: one in three is of a few."""
    rng = random.Random(seed % 4)
    some = rng.choices(WORDS, k=words)
    own = random.Random(f"own {seed}")
    for _ in range(words // 8):
        some[own.randrange(words)] = f"{own.choice(WORDS)}{seed}"
    return " ".join(some)


def chat(seed: int, turns: int = 2) -> bytes:
    messages = [{"role": "user", "content": text(seed * 7 + turn)} for turn in range(turns)]
    return json.dumps({"id": f"chat-{seed}", "messages": messages}).encode()


def line(seed: int) -> bytes:
    return json.dumps({"role": "user", "at": seed, "content": text(seed, 20)}).encode() + b"\n"


@asynccontextmanager
async def opened(
    directory: Path, marks: Marks, seal_after: float = 60.0, near: float | None = None
) -> AsyncIterator[tuple[Vault, Actor, InVault]]:
    config = VaultConfig(
        seal_after_seconds=seal_after, lock_wait_seconds=0, near_dedup_threshold=near
    )
    async with Vault.open(directory, config) as vault:
        place = InVault(vault)
        actor = Actor(place, marks)
        yield vault, actor, place
        place.close_all()
    actor.closed()


# Of files, mounted or not


async def replace_files(actor: Actor, rounds: int = 3) -> None:
    """A temporary file, synced, takes the place of another one; its folder is synced."""
    actor.mkdir("safe")
    await actor.fsync_folder("")
    for at in range(rounds):
        actor.create("safe/tmp")
        actor.write("safe/tmp", 0, chat(at))
        await actor.fsync("safe/tmp")
        actor.rename("safe/tmp", "safe/chat.json")
        if at % 2 == 0:
            await actor.fsync_folder("safe")
        actor.place.close("safe/chat.json")


async def append_logs(actor: Actor, lines: int = 8, prefix: str = "") -> None:
    """Two logs, a sync for each line of one, and of every third of the other."""
    ends = {f"{prefix}a.jsonl": 0, f"{prefix}b.jsonl": 0}
    for path in ends:
        actor.create(path)
    for at in range(lines):
        for path, end in ends.items():
            data = line(at) * (at % 3 + 1)
            actor.write(path, end, data)
            ends[path] = end + len(data)
            if path.endswith("a.jsonl") or at % 3 == 0:
                await actor.fsync(path)
    for path in ends:
        actor.place.close(path)


async def write_anywhere(actor: Actor, seed: int, steps: int = 30) -> None:
    """Files written here and there, cut, grown, linked, moved and removed, with syncs."""
    rng = random.Random(seed)
    there: dict[str, int] = {}
    folder = f"any{seed}"
    actor.mkdir(folder)
    for step in range(steps):
        path = f"{folder}/{rng.choice('wxyz')}"
        if path not in there:
            actor.create(path)
            there[path] = 0
            continue
        what = rng.randrange(12)
        if what < 6:
            # Small ones first, so that some begin in a spool; others that leave it at once.
            size = rng.choice([40, 700, 3000, 9000, 140_000 if step % 5 == 0 else 20])
            start = rng.choice([there[path], there[path], 0, rng.randrange(20_000)])
            actor.write(path, start, rng.randbytes(size // 2).hex().encode())
            there[path] = max(there[path], start + size // 2 * 2)
        elif what == 6:
            there[path] = rng.randrange(there[path] + 3000)
            actor.truncate(path, there[path])
        elif what < 10:
            await actor.fsync(path)
        elif what == 10 and step % 2:
            actor.place.close(path)
            actor.unlink(path)
            del there[path]
        else:
            actor.link(path, f"{folder}/link{step}")
            actor.symlink(f"../{path}", f"{folder}/symlink{step}")
            if step % 3 == 0:
                await actor.fsync_folder(folder)


async def write_apart(actor: Actor) -> None:
    """Synced pieces that are apart, then unsynced ones elsewhere in the same files."""
    for at, size in enumerate((6000, 198, 9000)):
        path = f"apart{at}"
        actor.create(path)
        actor.write(path, 500_000, b"first." * 30_000)  # too much for a spool
        actor.write(path, 20_000, b"second" * 400)
        actor.write(path, 10_000, b"third." * 300)
        await actor.fsync(path)
        actor.write(path, 40_000, b"fourth" * (size // 3))
        await actor.fsync_folder("")
        actor.write(path, 60_000, b"fifth." * (size // 6))
        actor.write(path, 90_000, b"sixth." * 200)


# Of the library


async def conversations(directory: Path, marks: Marks) -> None:
    """Stored, stored again, deleted; in a vault that is new."""
    async with opened(directory, marks) as (vault, actor, _):
        for at in range(8):
            await actor.store(vault, f"app/chat-{at % 5}", text(at))
        await actor.delete(vault, "app/chat-1")
        await actor.store(vault, "app/chat-1", text(1, 400))
    async with opened(directory, marks) as (vault, actor, _):
        await actor.delete(vault, "app/chat-2")
        await actor.store(vault, "other", text(3))


async def files(directory: Path, marks: Marks) -> None:
    async with opened(directory, marks, seal_after=0) as (vault, actor, place):
        await replace_files(actor)
        await append_logs(actor)
        await actor.job(functools.partial(vault.sealer.seal_due, everything=True))
        actor.write("a.jsonl", 400, b"over what is sealed")
        await actor.fsync("a.jsonl")
        await append_again(actor, "b.jsonl")
        place.close_all()


async def append_again(actor: Actor, path: str) -> None:
    at = 1 << 16  # beyond the end: there is a hole before it
    for number in range(4):
        data = line(100 + number)
        actor.write(path, at, data)
        at += len(data)
        await actor.fsync(path)


async def anywhere(directory: Path, marks: Marks, seed: int) -> None:
    async with opened(directory, marks, seal_after=0) as (vault, actor, _):
        await write_anywhere(actor, seed)
        await actor.job(functools.partial(vault.sealer.seal_due, everything=True))
        await write_anywhere(actor, seed + 100)
    async with opened(directory, marks, seal_after=0) as (_, actor, _):
        await write_anywhere(actor, seed + 200)


async def apart(directory: Path, marks: Marks) -> None:
    async with opened(directory, marks) as (_, actor, _):
        await write_apart(actor)


async def sealing(directory: Path, marks: Marks) -> None:
    """Everything is sealed in the background while it is written; drafts are left for new ones."""
    drafts.DEAD_BYTES_MAX, drafts.MOVED_BYTES_MAX = 20_000, 10_000
    async with (
        opened(directory, marks, seal_after=0) as (vault, actor, _),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(vault.tidy)
        actor.create("log.jsonl")
        end = 0
        for at in range(40):
            data = line(at) * 6
            actor.write("log.jsonl", end, data)
            end += len(data)
            if at % 4 == 0:
                await actor.fsync("log.jsonl")
            if at % 8 == 3:
                actor.create(f"chat-{at}")
                actor.write(f"chat-{at}", 0, chat(at))
                await actor.fsync(f"chat-{at}")
                actor.place.close(f"chat-{at}")
            if at % 8 == 7:
                # Half a line stays a draft, so that the rest of one is moved.
                actor.write("log.jsonl", end, b'{"role"')
                await actor.job(functools.partial(vault.sealer.seal_due, everything=True))
                actor.write("log.jsonl", end + 7, b': "user"}\n')
                end += 17
            await anyio.sleep(0.005)
        tasks.cancel_scope.cancel()


async def _filled(vault: Vault, actor: Actor, start: int, count: int) -> None:
    for at in range(start, start + count):
        await actor.store(vault, f"d{at % 3}/chat-{at}", text(at, 150))


async def _meanwhile(
    vault: Vault, actor: Actor, name: str, job: Callable[[], Coroutine[Any, Any, object]]
) -> None:
    """A job, and things stored, written and deleted beside it."""
    actor.marks.note("begin", operation="nothing", arguments=[])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(job)
        for at in range(3):
            await actor.store(vault, f"{name}/{at}", text(at + 50))
        await actor.delete(vault, f"{name}/1")
    actor.marks.note("done")


async def compaction(directory: Path, marks: Marks) -> None:
    async with opened(directory, marks) as (vault, actor, _):
        await _filled(vault, actor, 0, 12)
        actor.create("draft")
        actor.write("draft", 0, chat(77))
        await actor.fsync("draft")
        await _meanwhile(vault, actor, "first", lambda: vault.compact(QUICK))
        await actor.store(vault, "d0/chat-0", text(500, 200))
        await _filled(vault, actor, 12, 6)
        await _meanwhile(vault, actor, "second", lambda: vault.compact(QUICK))


async def collection(directory: Path, marks: Marks) -> None:
    async with opened(directory, marks) as (vault, actor, _):
        await _filled(vault, actor, 0, 12)
        for at in range(0, 12, 2):
            await actor.delete(vault, f"d{at % 3}/chat-{at}")
        await _meanwhile(vault, actor, "first", vault.gc)
        await actor.job(lambda: vault.compact(QUICK))
        for at in range(1, 12, 4):
            await actor.delete(vault, f"d{at % 3}/chat-{at}")
        await _meanwhile(vault, actor, "second", vault.gc)


async def training(directory: Path, marks: Marks) -> None:
    async with opened(directory, marks, near=0.7) as (vault, actor, _):
        await _filled(vault, actor, 0, 24)
        await actor.job(functools.partial(vault.train_substrings, 200, 3))
        await _meanwhile(vault, actor, "beside", vault.compact_substrings)
        await actor.job(functools.partial(vault.train_dictionary, 100, activate=True))
        await _filled(vault, actor, 24, 4)
        for at in range(20):
            await actor.delete(vault, f"d{at % 3}/chat-{at}")
        await actor.job(vault.gc)
        await actor.job(vault.gc_substrings)


async def reindexing(directory: Path, marks: Marks) -> None:
    async with opened(directory, marks) as (vault, actor, _):
        await _filled(vault, actor, 0, 8)
        await _meanwhile(vault, actor, "beside", vault.reindex)
        await actor.job(lambda: vault.compact(QUICK))
        await _filled(vault, actor, 8, 3)
        actor.create("draft")
        actor.write("draft", 0, line(1) * 200)
        await actor.fsync("draft")
    marks.note("begin", operation="nothing", arguments=[])
    await anyio.to_thread.run_sync(rebuild_closed, directory)
    async with opened(directory, marks) as (vault, actor, _):
        await actor.store(vault, "after", text(9))


async def dying(directory: Path, marks: Marks) -> None:
    """The process is killed, with drafts, and changes that no pack tells of."""
    async with opened(directory, marks) as (vault, actor, _):
        await _filled(vault, actor, 0, 6)
        await actor.job(vault.write_namespace)
        await write_anywhere(actor, 5, 20)
        await actor.store(vault, "last", text(8))
        os._exit(0)


async def reindexing_after(directory: Path, marks: Marks) -> None:
    """What follows ``dying``."""
    marks.note("begin", operation="nothing", arguments=[])
    await anyio.to_thread.run_sync(rebuild_closed, directory)
    async with opened(directory, marks) as (vault, actor, _):
        await actor.store(vault, "after", text(9))


async def opening(directory: Path, marks: Marks) -> None:
    """What mostly follows ``dying``, or a power cut: used for a moment, and closed."""
    async with opened(directory, marks) as (vault, actor, _):
        await actor.store(vault, "after", text(9))
        actor.create("late")
        actor.write("late", 0, line(7) * 3)  # in a spool
        actor.write("late", 5000, line(8) * 300)  # in a file of its own
        await actor.fsync_folder("")
        await actor.job(functools.partial(vault.sealer.seal_due, everything=True))


WORKLOADS: dict[str, tuple[Workload, ...]] = {
    "conversations": (conversations,),
    "files": (files,),
    "apart": (apart,),
    "anywhere-1": (functools.partial(anywhere, seed=1),),
    "anywhere-2": (functools.partial(anywhere, seed=2),),
    "sealing": (sealing,),
    "compaction": (compaction,),
    "collection": (collection,),
    "training": (training,),
    "reindexing": (reindexing,),
    "killed, opened": (dying, opening),
    "opening": (opening,),
    "killed, reindexed": (dying, reindexing_after),
}
"""Each step runs in a process of its own."""


if __name__ == "__main__":
    _, name, step, vault_path, log_path = sys.argv
    anyio.run(WORKLOADS[name][int(step)], Path(vault_path), Marks(Path(log_path)))
