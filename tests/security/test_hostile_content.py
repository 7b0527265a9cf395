"""Files that are made to do harm: stored, read back byte for byte, in linear time."""

import json
import os
import time
from pathlib import Path

import pytest

from stowkenfs.errors import AttributesTooLarge
from stowkenfs.frames.tokenizer import tokenize
from stowkenfs.ids import InodeNo, Vocabulary
from stowkenfs.vault.about import about
from stowkenfs.vault.importer import import_trees
from stowkenfs.vault.reindex.rebuild import rebuild_closed
from stowkenfs.vault.vault import Vault
from stowkenfs.vault.xattr_room import XATTRS_BYTES_MAX
from tests.running import run

SIZE = 10 << 20 if os.environ.get("STOWKENFS_HOSTILE") else 1 << 20

DOCUMENTS = {
    "half a surrogate pair as id": b'{"id": "\\udc00", "messages": []}',
    "surrogates everywhere": b'{"id": "\\ud83d", "role": "\\udfff", "content": "\\ud800 and so on,'
    b' long enough for a payload of its own, \\udfff"}',
    "half a pair in bytes": b'{"id": "\xed\xa0\x80", "messages": []}',
    "a NUL as id": b'{"id": "a\\u0000b", "messages": []}',
    "a path as id": b'{"id": "../../victim", "messages": []}',
    "arrays in arrays": b"[" * (SIZE // 2) + b"]" * (SIZE // 2),
    "objects in objects": b'{"a":' * (SIZE // 6) + b"1" + b"}" * (SIZE // 6),
    "messages in messages": b'{"messages":[' * (SIZE // 14) + b"]}" * (SIZE // 14),
    "a long number": b'{"n": ' + b"9" * SIZE + b"}",
    "a large exponent": b'{"id": 1e999999999, "n": [' + b"1e400," * 1000 + b"1]}",
    "keys": b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(SIZE // 16)) + b"}",
    "one key again and again": b"{" + b'"id":"a",' * (SIZE // 9) + b'"id":"b"}',
    "a string without end": b'{"id": "' + b"\\" * SIZE,
    "ids that are no ids": b'{"tokens": [' + b"4294967296," * (SIZE // 12) + b"1]}",
}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_it_is_stored_and_read_back(tmp_path: Path, document: str) -> None:
    content = DOCUMENTS[document]

    async def main() -> None:
        async with Vault.open(tmp_path / "vault") as vault:
            ino = await vault.write_document(b"/a.json", content)
            assert await vault.read_file(ino) == content
            await vault.write_namespace()
            assert not (await vault.verify()).problems

    run("trio", main)


@pytest.mark.parametrize("surrogate", ["\\udc00", "\\ud800x"])
def test_an_id_that_is_no_text_is_no_id(tmp_path: Path, surrogate: str) -> None:
    """And keeps nothing else from being stored, imported or rebuilt."""
    content = b'{"id": "%s", "session_id": "s1", "messages": []}' % surrogate.encode()
    assert about(content).names == ("s1",)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "bad.json").write_bytes(content)
    (tree / "good.json").write_bytes(b'{"id": "good", "messages": []}')

    async def main() -> None:
        async with Vault.open(tmp_path / "vault") as vault:
            assert (await import_trees(vault, [tree])).complete
            inode = vault.tree.create(InodeNo(1), b"draft.json", 0o100644, 0, 0)
            vault.files.acquire(inode.ino, writing=True)
            vault.files.write(inode.ino, 0, content)
            vault.files.release(inode.ino, writing=True)
            await vault.sealer.seal_due(everything=True)
            assert vault.extents_of_file(inode.ino), "the draft was sealed"
            assert vault.find_conversation("good").ino != vault.find_conversation("s1").ino

    run("trio", main)
    rebuild_closed(tmp_path / "vault", lambda _done, _total: None)


TEXTS = {
    "white space": " ", "letters": "a", "combining": "e\u0301", "only combining": "\u0301",
    "apostrophes": "'", "line ends": "\r\n", "digits": "7", "case": "aA", "contractions": "'s'LL",
    "emoji": "\U0001f469\u200d", "kana": "\u304b",
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_the_tokenizers_take_linear_time(text: str) -> None:
    """Of text that a regular expression could go back and forth in."""

    def seconds(size: int) -> float:
        began = time.process_time()
        ids = tokenize((TEXTS[text] * size)[:size], Vocabulary.O200K_BASE)
        assert ids is not None
        return time.process_time() - began

    tokenize("a", Vocabulary.O200K_BASE)
    small = min(seconds(SIZE // 16) for _ in range(2))
    assert seconds(SIZE) < 16 * 6 * (small + 0.01)  # 16 if linear, 256 if quadratic


def test_attributes_have_a_limit_together(tmp_path: Path) -> None:
    """All of a file are told again with each of its changes, in one statement."""

    async def main() -> None:
        async with Vault.open(tmp_path / "vault") as vault:
            ino = await vault.write_document(b"/a", b"x")
            value = bytes(1 << 16)
            for at in range(XATTRS_BYTES_MAX // len(value) - 1):
                vault.tree.set_xattr(ino, b"user.%d" % at, value, create=False, replace=False)
            vault.tree.set_xattr(ino, b"user.0", value, create=False, replace=False)
            with pytest.raises(AttributesTooLarge):
                vault.tree.set_xattr(ino, b"user.more", value, create=False, replace=False)
            vault.tree.set_xattr(ino, b"user.less", value[:60_000], create=False, replace=False)

    run("trio", main)


def test_many_attributes_of_many_files_are_told_in_blocks_that_can_be_read(tmp_path: Path) -> None:
    """All in one block would be more than a reader takes: the tree would be lost with the index."""
    files, value = 80, bytes(1 << 16)

    async def main() -> None:
        async with Vault.open(tmp_path / "vault") as vault:
            for number in range(files):
                inode = vault.tree.create(InodeNo(1), b"%d" % number, 0o100644, 0, 0)
                for at in range(14):
                    vault.tree.set_xattr(
                        inode.ino, b"user.%d" % at, value, create=False, replace=False
                    )

    run("trio", main)
    (tmp_path / "vault" / "index.db").unlink()
    report = rebuild_closed(tmp_path / "vault", lambda _done, _total: None)
    assert not report.problems
    assert report.names == files


def test_the_documents_are_what_they_are_called() -> None:
    for name in ("arrays in arrays", "objects in objects"):
        with pytest.raises(RecursionError):
            json.loads(DOCUMENTS[name])
