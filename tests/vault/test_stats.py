"""What a vault says it holds and takes up, before and after it is compacted."""

import json
import os
import random
from pathlib import Path

import anyio
import pytest

from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.stats import KindBytes, VaultStats
from stowkenfs.vault.vault import Vault
from tests.running import BACKENDS, run

CONFIG = VaultConfig(lock_wait_seconds=0, workers=0)
KINDS = {
    "segments", "values", "templates", "recipes", "keys", "inodes", "names", "registry",
    "index", "drafts", "slack",
}  # fmt: skip


def chat(number: int) -> bytes:
    rng = random.Random(number)
    text = " ".join(rng.choices(["ebb", "flow", "neap", "spring"], k=150))
    return json.dumps({"messages": [{"role": "user", "content": f"{number}: {text}"}]}).encode()


async def fill(vault: Vault, numbers: range) -> int:
    total = 0
    for number in numbers:
        content = chat(number)
        await vault.write_document(b"/chats/%d.json" % number, content)
        total += len(content)
    return total


def by_kind(stats: VaultStats) -> dict[str, KindBytes]:
    return {kind.kind: kind for kind in stats.kinds}


def n_frames(stats: VaultStats) -> int:
    return sum(totals["frames"] for totals in stats.frames.values())


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_counts_before_and_after_compaction(tmp_path: Path, backend) -> None:
    async def main() -> tuple[VaultStats, VaultStats, int]:
        async with Vault.open(tmp_path / "vault", CONFIG) as vault:
            total = await fill(vault, range(40))
            before = await vault.stats()
            await vault.compact()
            return before, await vault.stats(), total

    before, after, total = run(backend, main)
    for stats in (before, after):
        assert (stats.documents, stats.conversations) == (40, 40)
        assert stats.bytes_in == stats.sealed_bytes == total
        assert stats.segments == stats.records == 40
        assert stats.ratio == round(total / stats.disk_bytes, 2)
    assert (n_frames(before), before.dense_segments) == (40, 0)
    assert (n_frames(after), after.dense_segments) == (0, 40)
    assert 0 < after.dense_bytes < after.storage_bytes < before.storage_bytes


def test_frames_are_those_that_are_not_compacted(tmp_path: Path) -> None:
    async def main() -> list[VaultStats]:
        async with Vault.open(tmp_path / "vault", CONFIG) as vault:
            await fill(vault, range(20))
            await vault.compact()
            await fill(vault, range(20, 27))
            new = await vault.stats()
            await vault.compact()
            await fill(vault, range(27, 30))
            return [new, await vault.stats()]

    new, newer = run("trio", main)
    assert (n_frames(new), new.dense_segments, new.segments) == (7, 20, 27)
    assert (n_frames(newer), newer.dense_segments, newer.segments) == (3, 27, 30)
    assert all(totals["bytes"] >= 0 for totals in newer.frames.values())
    assert sum(totals["bytes"] for totals in newer.frames.values()) > 0


def test_kinds_add_up_to_what_is_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "vault"

    async def main() -> tuple[VaultStats, int, VaultStats]:
        async with Vault.open(path, CONFIG) as vault:
            await fill(vault, range(60))
            hot = await vault.stats()
            await vault.compact()
            # Blocks that are taken ahead for the index, while it is open, do not count.
            excluded = [f"--exclude={name}" for name in ("index.db*", "journal", "reserve")]
            du = await anyio.run_process(["du", "-s", "--block-size=1", *excluded, str(path)])
            index = sum(-(-one.stat().st_size // 4096) * 4096 for one in path.glob("index.db*"))
            return hot, int(du.stdout.split()[0]) + index, await vault.stats()

    hot, du_bytes, stats = run("trio", main)
    assert stats.disk_bytes == du_bytes
    for one in (hot, stats):
        assert {kind.kind for kind in one.kinds} == KINDS
        assert sum(kind.stored_bytes for kind in one.kinds) == one.disk_bytes
        sizes = [kind.stored_bytes for kind in one.kinds]
        assert sizes == sorted(sizes, reverse=True)
        assert all(0 <= kind.hot_bytes <= max(kind.stored_bytes, 0) for kind in one.kinds)
    assert by_kind(hot)["segments"].hot_bytes == by_kind(hot)["segments"].stored_bytes > 0
    assert by_kind(stats)["segments"].hot_bytes == 0
    for kind in ("segments", "values", "templates", "recipes", "keys", "inodes", "names"):
        assert by_kind(stats)[kind].stored_bytes > 0, kind
    for kind in ("recipes", "keys", "names"):
        assert by_kind(hot)[kind].stored_bytes == 0, kind


def test_packs_hold_what_the_kinds_say(tmp_path: Path) -> None:
    """All but the index, drafts and slack lies in packs."""
    path = tmp_path / "vault"

    async def main() -> VaultStats:
        async with Vault.open(path, CONFIG) as vault:
            await fill(vault, range(60))
            await vault.compact()
            return await vault.stats()

    stats = run("trio", main)
    packed = sum(
        kind.stored_bytes for kind in stats.kinds if kind.kind not in ("index", "drafts", "slack")
    )
    # Each counts whole blocks with their headers; closing may add a statement or two.
    packs = sum(pack.stat().st_size for pack in (path / "packs").iterdir())
    assert packs - 2000 <= packed <= packs


def test_a_vault_in_memory_has_kinds_too() -> None:
    async def main() -> VaultStats:
        async with Vault.memory(CONFIG) as vault:
            await fill(vault, range(5))
            return await vault.stats()

    stats = run("trio", main)
    assert stats.disk_bytes == 0
    assert {kind.kind for kind in stats.kinds} == KINDS - {"index", "drafts"}
    assert by_kind(stats)["slack"].stored_bytes == 0


def test_drafts_take_room(tmp_path: Path) -> None:
    async def main() -> VaultStats:
        async with Vault.open(tmp_path / "vault", CONFIG) as vault:
            inode = vault.tree.create(vault.tree.resolve(b"/").ino, b"open", 0o100644, 0, 0)
            vault.files.acquire(inode.ino, writing=True)
            vault.files.write(inode.ino, 0, os.urandom(300_000))
            stats = await vault.stats()
            vault.files.release(inode.ino, writing=True)
            return stats

    stats = run("trio", main)
    assert stats.drafts == 1
    assert by_kind(stats)["drafts"].stored_bytes >= 300_000


def test_damage_does_not_keep_stats_from_counting(tmp_path: Path) -> None:
    path = tmp_path / "vault"

    async def main() -> None:
        async with Vault.open(path, CONFIG) as vault:
            await fill(vault, range(5))
            await vault.compact()

    async def look() -> VaultStats:
        async with Vault.open(path, CONFIG) as vault:
            return await vault.stats()

    run("trio", main)
    sound = run("trio", look)
    for pack in (path / "packs").iterdir():
        pack.write_bytes(bytes(pack.stat().st_size))
    stats = run("trio", look)
    assert (stats.documents, stats.bytes_in) == (5, sound.bytes_in)


def test_told_as_numbers_and_back() -> None:
    async def main() -> VaultStats:
        async with Vault.memory(CONFIG) as vault:
            await fill(vault, range(2))
            return await vault.stats()

    stats = run("trio", main)
    told = json.loads(json.dumps(stats.to_dict()))
    assert VaultStats.from_dict(told) == stats
    assert VaultStats.from_dict(told | {"of_a_later_release": 1}) == stats
