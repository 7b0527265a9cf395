"""What the tests of near duplicates are made with."""

from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any, cast

from stowkenfs import Conversation, Message, Vault, VaultConfig
from stowkenfs.frames.codec import FrameKind
from stowkenfs.ids import SegmentNo
from stowkenfs.index.canonicals import CanonicalTable
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.compaction.batch import CompactOptions
from stowkenfs.vault.unpacked import PlainSegments
from tests.running import run

Main = Callable[[Vault], Awaitable[Any]]

PLAIN = VaultConfig(seal_after_seconds=0, lock_wait_seconds=0)
NEAR = VaultConfig(seal_after_seconds=0, lock_wait_seconds=0, near_dedup_threshold=0.8)
QUICK = CompactOptions(level=1)

CANON = list(range(200))
VARIANT = [99_999 if one == 10 else 88_888 if one == 100 else one for one in CANON]


def in_vault(directory: Path | None, *steps: Main, config: VaultConfig = NEAR) -> list[Any]:
    """What each step gives, with the vault opened anew for it."""
    results = []
    for step in steps:

        async def with_vault(step: Main = step) -> Any:
            clock = count(1_700_000_000_000_000_000).__next__
            opened = (
                Vault.open(directory, config, clock=clock)
                if directory
                else Vault.memory(config, clock=clock)
            )
            async with opened as vault:
                result = await step(vault)
                report = await vault.verify()
                assert report.clean, report
                return result

        results.append(run("trio", with_vault))
    return results


async def store(vault: Vault, name: str, tokens: list[int], user: int = 1) -> None:
    messages = [Message("system", tokens=tokens), Message("user", tokens=[user])]
    await vault.store(Conversation(id=name, tokenizer="cl100k_base", messages=messages))


async def tokens_of(vault: Vault, name: str) -> list[int]:
    found = await vault.retrieve(name)
    tokens: list[int] = found.segments[0].tokens.tolist()
    return tokens


def frames(vault: Vault) -> dict[int, bytes]:
    """All frames that there are, by the number of their segment."""
    found = {}
    for first, end in vault._catalogue.hot_ranges(BlockKind.SEGMENTS):
        for number in range(first, end):
            segments, at = vault.reader._segments(SegmentNo(number))
            found[number] = cast("PlainSegments", segments).items.frames[at]
    return found


def kinds(vault: Vault) -> list[FrameKind]:
    return [FrameKind(frame[0]) for frame in frames(vault).values()]


def rows(vault: Vault) -> list[int]:
    return [number for number, _, _ in CanonicalTable(vault._connection).page(-1, 10_000)]


def drift(seed: int, length: int, base: int = 0) -> list[int]:
    """A prompt of which three tokens are different each time."""
    tokens = list(range(base, base + length))
    for at, place in enumerate((seed % length, seed * 7 % length, seed * 13 % length)):
        tokens[place] = 90_000 + (seed * 17 + at * 11) % 5_000
    return tokens


async def fill(vault: Vault) -> None:
    for seed in range(20):
        await store(vault, f"a/{seed}", drift(seed, 250), seed)
    for seed in range(5):
        await store(vault, f"b/{seed}", drift(seed, 100, 5000), seed)
    await store(vault, "c/0", [*range(20_000, 20_200)])
