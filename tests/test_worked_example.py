"""The worked example of docs/FORMAT.md: written by a vault, read by the second reader."""

import anyio

from stowkenfs.ids import InodeNo
from stowkenfs.vault.superblock import Superblock, write_superblock
from stowkenfs.vault.vault import Vault
from tests import second_reader
from tests.format_vectors import TINY_BLOCKS, VECTORS, content_of


def test_the_worked_example_is_what_a_vault_writes(tmp_path):
    """The same operations give the same packs; only zstd's output may differ by its release."""
    vector = VECTORS["superblock/v4"]
    superblock = Superblock.decode(content_of(vector))
    document = content_of(VECTORS["tiny/document"])

    async def write() -> None:
        async with Vault.open(tmp_path, clock=lambda: superblock.created_ns) as vault:
            ino = await vault.write_document(b"/a.json", document)
            for at in (1, ino):
                vault.tree.set_attributes(InodeNo(at), uid=1000, gid=1000)

    write_superblock(tmp_path, superblock)
    anyio.run(write)
    assert (tmp_path / "superblock").read_bytes() == content_of(vector)
    written = list(second_reader.blocks_of((tmp_path / "packs" / "00000001.pack").read_bytes()))
    pack = b"".join(content_of(VECTORS[f"tiny/{name}-block"]) for name in TINY_BLOCKS)
    assert written == list(second_reader.blocks_of(pack))


def test_the_second_reader_reads_the_worked_example():
    pack = b"".join(content_of(VECTORS[f"tiny/{name}-block"]) for name in TINY_BLOCKS)
    packs = second_reader.Packs([pack])
    assert packs.tree() == {"/a.json": 2}
    assert packs.content(2) == content_of(VECTORS["tiny/document"])
    payload = bytes.fromhex(VECTORS["tiny/namespace-block"]["payload"])
    assert payload == content_of(VECTORS["tiny/namespace-payload"])
