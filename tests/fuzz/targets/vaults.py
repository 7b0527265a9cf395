"""A whole vault whose packs say something else, with checksums that are right."""

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from stowkenfs.errors import Corrupt, TreeError, VaultError
from stowkenfs.store.block import HEADER_BYTES, Block, BlockCodec, _assemble, stored_length
from stowkenfs.vault.compaction.batch import CompactOptions
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.exporter import export_tree
from stowkenfs.vault.vault import Vault
from tests.fuzz.frozen import VAULTS, frozen_blocks
from tests.fuzz.target import Target
from tests.fuzz.targets.blocks import mend_block
from tests.running import names_in

CONFIG = VaultConfig(lock_wait_seconds=0)


def mend_pack(content: bytes) -> bytes:
    """The checksums of all blocks made right, as far as they follow each other."""
    out, at = [], 0
    while at + HEADER_BYTES <= len(content):
        head = content[at : at + HEADER_BYTES]
        try:
            length = stored_length(b"SKb1" + head[4:], 1, at)  # type: ignore[arg-type]
        except Corrupt:
            length = HEADER_BYTES
        # A block that became longer or shorter ends where the next one begins.
        following = content.find(b"SKb1", at + HEADER_BYTES)
        end = following if following >= 0 else min(at + length, len(content))
        out.append(mend_block(content[at:end]))
        at = end
    return b"".join(out) + content[at:]


@cache
def _packs() -> Sequence[bytes]:
    """All of a frozen vault, nothing of it compressed."""
    found = []
    for version in ("v1", "v2", "v3"):
        blocks: Sequence[Block] = frozen_blocks(version)
        found.append(b"".join(_assemble(b, BlockCodec.STORED, b.payload) for b in blocks))
    return found


def _vault(content: bytes) -> None:
    with TemporaryDirectory(prefix="fuzz-") as folder:
        anyio.run(_use, Path(folder), content)
        assert set(names_in(Path(folder))) <= {"vault", "out"}


async def _use(folder: Path, content: bytes) -> None:
    directory = folder / "vault"
    (directory / "packs").mkdir(parents=True)
    (directory / "superblock").write_bytes((VAULTS / "v3/vault/superblock").read_bytes())
    (directory / "packs" / "00000001.pack").write_bytes(content)
    async with Vault.open(directory, CONFIG) as vault:
        async for _path, inode in vault.walk():
            with suppress(Corrupt, TreeError):
                live = vault.files.acquire(inode.ino, writing=False)
                try:
                    await vault.files.read(live, 0, 1 << 20)
                finally:
                    vault.files.release(inode.ino, writing=False)
        await vault.verify()
        await vault.stats()
        if content[-1] % 4 == 0:
            await export_tree(vault, folder / "out")
        if content[-1] % 4 == 1:
            with suppress(Corrupt):
                await vault.compact(CompactOptions(level=1))
        if content[-1] % 4 == 2:
            with suppress(Corrupt):
                await vault.gc()


TARGETS = (Target("vault", _vault, _packs, (VaultError, Corrupt), mend_pack, slow=True),)
