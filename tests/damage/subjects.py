"""Small vaults that have something of everything, and what each of them holds."""

import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

import anyio

from stowkenfs.vault.compaction.batch import CompactOptions
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.vault import Vault
from tests.vault.rebuilding import chat, rewrite

FROZEN = Path(__file__).parents[1] / "vaults" / "v4" / "vault"
"""All kinds of blocks, layouts, codecs and frames (``tests/test_frozen_vaults.py``)."""

NAMES = ["hot", "dense", "killed"]
CONFIG = VaultConfig(
    seal_after_seconds=0, lock_wait_seconds=0, compression_level=1, near_dedup_threshold=0.8
)
QUICK = CompactOptions(level=1)
RAW = bytes(range(256)) * 3

UNTOLD = {b"/last.json"}
"""What packs do not tell of yet: it goes with the index."""

Range = tuple[str, int, int]
"""A pack's file, and which of its bytes: from, to."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name of a vault. ``content``: None for what is no file; ``drafted``: partly a draft."""

    mode: int
    nlink: int
    target: bytes | None
    xattrs: dict[bytes, bytes]
    content: bytes | None
    drafted: bool


@dataclass(frozen=True, slots=True)
class Subject:
    """A vault that nobody has open, what it holds, and which bytes of packs each path needs.

    ``older``: the same vault as it was before. ``before``: what files held of which some is a
    draft now; empty for one that was none. Without an index they have that.
    """

    name: str
    directory: Path
    older: Path
    entries: dict[bytes, Entry]
    needs: dict[bytes, set[Range]]
    before: dict[bytes, bytes]

    def files(self) -> dict[str, int]:
        """Every file of the vault, whatever it is for, and its length."""
        found = sorted(path for path in self.directory.rglob("*") if path.is_file())
        return {str(path.relative_to(self.directory)): path.stat().st_size for path in found}

    def other(self, file: str) -> Path:
        """Another file in the place of ``file``: an older one of it, else one of its sort."""
        of_its_sort = sorted((self.older / file).parent.glob("*[0-9]*"))
        return self.older / file if (self.older / file).is_file() else of_its_sort[0]

    def copy(self, target: Path) -> Path:
        """A vault of one's own to damage."""
        shutil.rmtree(target, ignore_errors=True)
        return Path(shutil.copytree(self.directory, target))


async def _write(vault: Vault) -> None:
    """Hot blocks, names of each kind, and two drafts."""
    for number in range(3):
        await vault.write_document(b"/new/%d.json" % number, chat(number))
    await vault.write_document(b"/new/raw.bin", RAW)
    tree = vault.tree
    folder = tree.resolve(b"/new").ino
    tree.link(tree.resolve(b"/new/raw.bin").ino, folder, b"linked.bin")
    tree.create(folder, b"to", stat.S_IFLNK | 0o777, 1, 2, target=b"0.json")
    tree.set_xattr(folder, b"user.tag", b"\0value", create=True, replace=False)
    rewrite(vault, b"/new/1.json", 40, b"rewritten")


async def _compact(vault: Vault) -> None:
    """Everything dense, then a hot block and a draft."""
    await vault.sealer.seal_due(everything=True)
    await vault.compact(QUICK)
    await vault.write_document(b"/after.json", chat(77))
    rewrite(vault, b"/logs/open.jsonl", 0, b"{} ")


async def _use(vault: Vault) -> None:
    """What is done before a kill: some of it synced, some not."""
    await vault.write_document(b"/last.json", chat(78))
    rewrite(vault, b"/new/2.json", 5, b"in a draft")
    rewrite(vault, b"/new/raw.bin", 100, b"another draft" * 50)
    await vault.files.settle_all()
    await vault.sync_file(vault.tree.resolve(b"/new/raw.bin").ino)


async def entry_of(vault: Vault, path: bytes) -> Entry:
    """What a vault says of ``path``."""
    inode = vault.tree.resolve(path)
    ino = inode.ino
    content = await vault.read_file(ino) if stat.S_ISREG(inode.mode) else None
    xattrs = {name: vault.tree.xattr(ino, name) for name in vault.tree.xattr_names(ino)}
    drafted = vault._connection.one("SELECT 1 FROM draft WHERE ino = ?", (ino,)) is not None
    return Entry(inode.mode, inode.nlink, inode.target, xattrs, content, drafted)


async def _entries(directory: Path) -> dict[bytes, Entry]:
    async with Vault.open(directory, CONFIG) as vault:
        return {path: await entry_of(vault, path) async for path, _ in vault.walk()}


async def _needs(directory: Path, path: bytes) -> set[Range]:
    """What is read for ``path`` by a vault that has nothing in its caches."""
    seen: set[Range] = set()
    async with Vault.open(directory, CONFIG) as vault:
        read = vault._store.read

        def recorded(pack: int, offset: int, length: int) -> bytes:
            seen.add((f"packs/{pack:08}.pack", offset, offset + length))
            return read(pack, offset, length)  # type: ignore[arg-type]

        vault._store.read = recorded  # type: ignore[method-assign, assignment]
        await entry_of(vault, path)
        return set(seen)


def make_subject(name: str, folder: Path) -> Subject:
    """One of NAMES: ``hot``: as written; ``dense``: compacted; ``killed``: that, in use."""
    directory, kept, told = folder / "making", folder / name, folder / "told"
    older = folder / "older"

    async def make() -> None:
        async with Vault.open(directory, CONFIG) as vault:
            await _write(vault)
        shutil.copytree(FROZEN if name == "hot" else directory, older)
        if name != "hot":
            async with Vault.open(directory, CONFIG) as vault:
                await _compact(vault)
        if name == "killed":
            async with Vault.open(directory, CONFIG) as vault:
                await _use(vault)
                shutil.copytree(directory, kept)  # between two awaits: as a kill would leave it
        else:
            shutil.copytree(directory, kept)

    shutil.copytree(FROZEN, directory)
    anyio.run(make, backend="trio")
    shutil.copytree(kept, told)
    entries = anyio.run(_entries, told, backend="trio")
    needs = {path: anyio.run(_needs, told, path, backend="trio") for path in entries}
    log = entries[b"/logs/open.jsonl"].content or b""
    before = {
        b"/new/1.json": chat(1),
        b"/new/2.json": chat(2),
        b"/new/raw.bin": RAW,
        b"/new/linked.bin": RAW,
        b"/logs/open.jsonl": b"" if name == "hot" else b'{"r' + log[3:],
    }
    return Subject(name, kept, older, entries, needs, before)
