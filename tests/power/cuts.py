"""Recorded workloads, and what is found when the power goes somewhere in them."""

import hashlib
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.conversation import Conversation, Message
from stowkenfs.vault.vault import Vault
from tests.power.disk import Chance, Disk, write_tree
from tests.power.promises import FILE, FOLDER, LINK, Found, Promises
from tests.power.recording import Event, Kind, read_events, recorded
from tests.power.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parents[2]
CONFIG = VaultConfig(seal_after_seconds=0, lock_wait_seconds=0)
AFTER = Conversation(id="written afterwards", messages=[Message("user", "what was there? " * 9)])
LOST = "lost+found"
WITHOUT_INDEX_EVERY = 6
"""States of which one is also opened after its index was lost, which takes longer."""


@dataclass(slots=True)
class Recording:
    """What happened to ``disk`` from the beginning on, and what was promised until then.

    ``folder``: where the vault is on the disk.
    """

    events: list[Event]
    folder: str = ""
    disk: Disk = field(default_factory=Disk)
    promises: Promises = field(default_factory=Promises)


def record(name: str, directory: Path) -> Recording:
    """Do the workload ``name`` in a new vault below ``directory``."""
    root, log = directory / "disk", directory / "log"
    root.mkdir(parents=True)
    for step in range(len(WORKLOADS[name])):
        _do(name, step, root, log)
    return Recording(read_events(root, log), "vault")


def record_opening(vault: Path, directory: Path) -> Recording:
    """Open and use the vault that a power cut left at ``vault``, which is moved.

    All that the first opening found is promised from the beginning on: it is on the disk.
    """
    root, log = directory / "disk", directory / "log"
    root.mkdir(parents=True)
    shutil.copytree(vault, directory / "copy")
    vault.rename(root / "vault")
    disk = Disk.holding(root)
    promises = Promises.of(anyio.run(_found_in, directory / "copy"))
    _do("opening", 0, root, log)
    return Recording(read_events(root, log), "vault", disk, promises)


def _do(name: str, step: int, root: Path, log: Path) -> None:
    command = [sys.executable, "-m", "tests.power.workloads", name, str(step)]
    done = subprocess.run(
        [*command, root / "vault", log],
        env=os.environ | recorded(root, log),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# States


@dataclass(frozen=True, slots=True)
class Cut:
    """The power goes before event ``at``; ``style`` and ``seed`` say what is on the disk then."""

    at: int
    style: str
    seed: int


def cuts(events: Sequence[Event], count: int, seed: int) -> list[Cut]:
    """Half of them where something was just synced or is about to be, or was just promised."""
    rng = random.Random(seed)
    special = [
        at
        for at, event in enumerate(events, 1)
        if event.kind in (Kind.SYNC_END, Kind.SYNC_BEGIN, Kind.MARK)
    ]
    chosen = []
    for number in range(count):
        # Spread evenly over the workload, whatever the count.
        place = (number + rng.random()) / count
        anywhere = 1 + int(place * len(events))
        at = special[int(place * len(special))] if number % 2 else anywhere
        style = Chance.STYLES[rng.randrange(len(Chance.STYLES))]
        chosen.append(Cut(at, style, rng.randrange(1 << 30)))
    return sorted(chosen, key=lambda cut: cut.at)


@dataclass(slots=True)
class Outcome:
    """``broken``: what was found against promises, by state. ``counts`` of states by style."""

    broken: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def states(self) -> int:
        return self.counts.total()


def run_cuts(
    recording: Recording,
    chosen: Sequence[Cut],
    kept: Path | None = None,
    chance: Callable[[Cut], Chance] = lambda cut: Chance(cut.style, cut.seed),
) -> Outcome:
    """Open what each cut leaves. States with something broken are copied below ``kept``."""
    disk, promises, outcome = deepcopy(recording.disk), deepcopy(recording.promises), Outcome()
    at = 0
    for number, cut in enumerate(chosen):
        for event in recording.events[at : cut.at]:
            if event.kind is Kind.MARK:
                promises.apply(event.mark)
            else:
                disk.apply(event)
        at = cut.at
        tree = disk.tree(chance(cut))
        outcome.counts[cut.style] += 1
        with _directory() as directory:
            write_tree(tree, directory / "state")
            vault = directory / "state" / recording.folder
            problems = _examine(vault, promises, without_index=not number % WITHOUT_INDEX_EVERY)
        if problems:
            outcome.broken.append(f"{cut}: " + "; ".join(problems))
            if kept is not None:
                write_tree(tree, kept / f"{cut.at}-{cut.style}-{cut.seed}")
    return outcome


@contextmanager
def _directory() -> Iterator[Path]:
    """Where syncs cost nothing, if there is such a place."""
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="power-", dir=where) as path:
        yield Path(path)


# What is found


def _examine(vault: Path, promises: Promises, *, without_index: bool) -> list[str]:
    try:
        return anyio.run(_examine_vault, vault, promises, without_index)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is reported with its state
        cause: BaseException = error
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        return [f"{type(cause).__name__}: {cause}"]


async def _examine_vault(vault: Path, promises: Promises, without_index: bool) -> list[str]:
    """What is wrong with a vault, with what it becomes when it is used, and without its index."""
    problems = []
    async with Vault.open(vault, CONFIG) as opened:
        found = await _found(opened)
        problems += promises.broken(found)
        copied = vault.with_name("killed")
        shutil.copytree(vault, copied)
        await opened.sealer.seal_due(everything=True)
        problems += _same("sealed", found, await _found(opened))
        report = await opened.verify()
        problems += [str(problem) for problem in (*report.problems, *report.files)]
        await opened.store(AFTER)
        _write_to(opened, found)
        expected = await _found(opened)
    async with Vault.open(copied, CONFIG) as opened:
        problems += _same("killed after it was opened", found, await _found(opened))
    for again in ("opened again", "opened without its index")[: 1 + without_index]:
        async with Vault.open(vault, CONFIG) as opened:
            problems += _same(again, expected, await _found(opened))
            report = await opened.verify()
            problems += [f"{again}: {problem}" for problem in (*report.problems, *report.files)]
            await opened.sealer.seal_due(everything=True)
        if without_index:
            (vault / "index.db").unlink()
    return problems


def _write_to(vault: Vault, found: dict[str, Found]) -> None:
    """As through a mount, to each file that is there."""
    for entry in found.values():
        if entry.sort == FILE:
            ino = vault.tree.inode(entry.ino).ino  # type: ignore[arg-type]
            vault.files.acquire(ino, writing=True)
            vault.files.write(ino, len(entry.content) // 2, b"written afterwards")
            vault.files.release(ino, writing=True)


async def _found_in(directory: Path) -> dict[str, Found]:
    async with Vault.open(directory, CONFIG) as vault:
        return await _found(vault)


async def _found(vault: Vault) -> dict[str, Found]:
    entries: dict[str, Found] = {}
    async for path, inode in vault.walk():
        sort, content = LINK, inode.target or b""
        if stat.S_ISREG(inode.mode):
            sort, content = FILE, await vault.read_file(inode.ino)
            assert len(content) == inode.size, (path, len(content), inode.size)
        elif stat.S_ISDIR(inode.mode):
            sort = FOLDER
        name = os.fsdecode(path[1:])
        if name.startswith(f"{LOST}/"):  # what it is called depends on how far a rebuild came
            name = f"{LOST}/{hashlib.sha256(content).hexdigest()}"
        entries[name] = Found(sort, inode.ino, content)
    return entries


def _same(when: str, before: dict[str, Found], now: dict[str, Found]) -> list[str]:
    if before == now:
        return []
    different = [path for path in {*before, *now} if before.get(path) != now.get(path)]
    return [f"{when}: {len(different)} files are others, such as {sorted(different)[:3]}"]
