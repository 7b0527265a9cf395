"""Stores a long log, fits it step by step, reads it fitted through a mount, and prints the times.

The steps are those of one view: reading the file, the counts that are stored, parsing, counting,
planning with all that a plan replaces, and writing what is left. They are told in processor time,
which other programs lengthen less; what a user waits for is the part through a mount.
"""

import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
from lib.context.generate import session_log
from lib.density.tables import table
from lib.machine import about_machine
from lib.mounts import mounted, settle

from stowkenfs.context.fitting import fit
from stowkenfs.context.messages import measure
from stowkenfs.context.pressure import ContextConfig
from stowkenfs.context.reading import read_conversation
from stowkenfs.context.writing import write_conversation
from stowkenfs.ids import Vocabulary
from stowkenfs.vault.token_counts import TokenCounter, stored_counts
from stowkenfs.vault.vault import Vault

BUDGETS = (8_000, 32_000, 200_000)
STEPS = ("read", "stored counts", "parse", "count", "plan", "write")

Times = dict[str, float]
"""{step: milliseconds of processor time, or to wait}."""


def run_context(rounds: int, messages: int, *, as_json: bool) -> None:
    """Measure a log of so many messages. Medians of the rounds."""
    log = session_log(messages)
    with tempfile.TemporaryDirectory(prefix="stowkenfs-context-") as scratch:
        directory = Path(scratch) / "vault"
        told = anyio.run(_vault, directory, log, rounds, backend="trio")
        told["mount"] = _mount(directory, Path(scratch) / "mount", rounds)
    told |= {"machine": about_machine(), "rounds": rounds, "messages": messages}
    print(json.dumps(told, indent=2) if as_json else described(told))


async def _vault(directory: Path, log: bytes, rounds: int) -> dict[str, Any]:
    async with Vault.open(directory) as vault:
        ino = await vault.write_document(b"/session.jsonl", log)
        found: dict[str, Any] = {"bytes": len(log), "tiers": {}}
        for tier in ("hot", "compacted"):
            if tier == "compacted":
                await vault.compact()
            found["tiers"][tier] = {
                str(budget): await _medians(vault, ino, budget, rounds, found) for budget in BUDGETS
            }
        return found


async def _medians(
    vault: Vault, ino: Any, budget: int, rounds: int, found: dict[str, Any]
) -> Times:
    measured = []
    for _ in range(rounds + 1):
        times, fitting = await _once(vault, ino, budget)
        found["tokens"] = fitting.tokens_before
        assert fitting.fits
        measured.append(times)
    # The first of all loads the tokenizer.
    return {step: statistics.median(one[step] for one in measured[1:]) for step in STEPS}


async def _once(vault: Vault, ino: Any, budget: int) -> tuple[Times, Any]:
    times: Times = {}
    gc.collect()
    gc.disable()  # as in a worker process of a mount
    began = time.process_time()

    def lap(step: str) -> None:
        nonlocal began
        now = time.process_time()
        times[step] = (now - began) * 1000
        began = now

    document = await vault.read_file(ino)
    lap("read")
    known = stored_counts(vault.reader, vault.extents_of_file(ino), Vocabulary.O200K_BASE)
    lap("stored counts")
    conversation = read_conversation(document)
    lap("parse")
    count = TokenCounter(Vocabulary.O200K_BASE, known)
    measure(conversation.dialogue, count)
    lap("count")
    fitting = fit(conversation.dialogue, ContextConfig(budget), count, document=ino)
    lap("plan")
    write_conversation(conversation, fitting.state)
    lap("write")
    gc.enable()
    return times, fitting


def _mount(vault: Path, mountpoint: Path, rounds: int) -> Times:
    """Reading the view of a budget for the first time, again, and its plan; milliseconds."""
    taken: dict[str, list[float]] = {"first budget": [], "another budget": [], "again": []}
    for _ in range(rounds):
        with mounted(vault, mountpoint):
            settle(mountpoint)()
            views = [mountpoint / ".stowken" / "context" / str(one) for one in (8000, 9000, 9000)]
            for name, view in zip(taken, views, strict=True):
                began = time.perf_counter()
                subprocess.run(
                    ["cat", view / "session.jsonl"], stdout=subprocess.DEVNULL, check=True
                )
                taken[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(of) for name, of in taken.items()}


def described(told: dict[str, Any]) -> str:
    """Tables: milliseconds of each step, and through a mount."""
    size = f"{told['messages']:,} messages, {told['tokens']:,} tokens, {told['bytes']:,} bytes"
    rows: list[Sequence[str]] = []
    for tier, budgets in told["tiers"].items():
        for budget, times in budgets.items():
            cells = [f"{times[step]:.1f}" for step in STEPS]
            rows.append((f"{tier}, {int(budget):,}", *cells, f"{sum(times.values()):.1f}"))
    steps = table(("processor ms", *STEPS, "all"), rows)
    through = table(
        ("ms to wait for", *told["mount"]),
        [("cat", *(f"{took:.0f}" for took in told["mount"].values()))],
    )
    return f"{size}\n\n{steps}\n\n{through}"


if __name__ == "__main__":
    sys.exit("run tools/bench --context")
