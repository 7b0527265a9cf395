"""tests/vectors both ways, and docs/FORMAT.md, which prints them.

What a vector says is compared with the code and, where bytes are read, with the second
reader. Encoding is compared byte by byte but for zstd, whose releases may differ.
"""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stowkenfs import errors
from stowkenfs.documents.body import BodyValue, References, decode_body, encode_body, render_body
from stowkenfs.documents.values import Style
from stowkenfs.frames.address import segment_hash, segment_key
from stowkenfs.frames.dictionary import Dictionary
from stowkenfs.frames.substrings import decode_substring, encode_substring
from stowkenfs.frames.token_table import NAMES, parse_table, render_table, token_table
from stowkenfs.ids import InodeNo, PackNo, SegmentNo, SegmentType, Vocabulary
from stowkenfs.index.catalogue import Extent
from stowkenfs.index.changes import Change, DentryChange, InodeChange
from stowkenfs.index.connection import Connection
from stowkenfs.index.drafts import DraftTable
from stowkenfs.index.inodes import Inode
from stowkenfs.index.journal import Journal, entries
from stowkenfs.index.pending import PendingRows
from stowkenfs.minimal_zstd import Base
from stowkenfs.store.block import (
    Block,
    BlockCodec,
    BlockKind,
    Layout,
    base_of,
    decode_block,
    encode_block,
    encode_dense_block,
)
from stowkenfs.varint import append_varint, read_varint, unzigzag, zigzag
from stowkenfs.vault.conversation import Conversation, parse_conversation, render_conversation
from stowkenfs.vault.draft_files import draft_path, parse_draft_name
from stowkenfs.vault.namespace import (
    Checkpoint,
    Statement,
    decode_changes,
    encode_changes,
    encode_checkpoint,
)
from stowkenfs.vault.payloads import (
    content_key,
    decode_records,
    decode_segments,
    decode_templates,
    encode_records,
    encode_segments,
    encode_templates,
)
from stowkenfs.vault.registry_blocks import SubstringEntry, decode_registry, encode_registry
from stowkenfs.vault.spools import Spools
from stowkenfs.vault.superblock import Superblock
from tests import second_reader, second_reader_frames
from tests.format_vectors import TINY_BLOCKS, VECTORS, Vector, content_of, vectors
from tests.second_reader_bytes import Bytes

FORMAT = (Path(__file__).parent.parent / "docs" / "FORMAT.md").read_text()
EXAMPLES = re.findall(r"^```hex ([\w/-]+)\n(.*?)^```$", FORMAT, re.DOTALL | re.MULTILINE)


# FORMAT.md


@pytest.mark.parametrize(("name", "shown"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_an_example_in_the_document_is_its_vector(name, shown):
    """Bytes to the left of a semicolon, what they mean to the right of it."""
    written = bytes.fromhex("".join(line.partition(";")[0] for line in shown.splitlines()))
    vector = VECTORS[name]
    assert written.hex() == vector.get("hex", vector.get("frame"))


def test_the_document_shows_each_structure():
    shown = {name.partition("/")[0] for name, _ in EXAMPLES}
    assert shown == {
        "superblock", "block", "payload", "body", "namespace", "frames", "token-table", "tiny",
        "codebook", "dense", "frozen", "keys", "dictionary", "substring", "model", "coded",
        "grid", "snapshot", "grid-log",
    }  # fmt: skip
    assert len({name for name, _ in EXAMPLES}) == len(EXAMPLES)


def test_the_document_names_the_tables_and_columns_of_the_index(tmp_path):
    connection = Connection(tmp_path / "index.db")
    try:
        there = {
            table: [row[1] for row in connection.all(f"PRAGMA table_info({table})")]
            for (table,) in connection.all("SELECT name FROM sqlite_schema WHERE type = 'table'")
        }
    finally:
        connection.close()
    section = FORMAT.partition("\n## Index")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section, re.MULTILINE)
    assert {table: re.findall(r"`(\w+)`", columns) for table, columns in rows} == there


def test_the_document_names_the_token_tables():
    for vocabulary, name in NAMES.items():
        row = f"| `{vocabulary.name}` | `{name.file}` | {name.ids} | {name.ordinary} |"
        assert row in FORMAT
        assert name.sha256 in FORMAT


# Superblock


@vectors("superblock")
def test_superblock(vector):
    vault_id = uuid.UUID(vector["vault_id"])
    expected = Superblock(vault_id, vector["created_ns"], vector["version"])
    assert Superblock.decode(content_of(vector)) == expected
    assert expected.encode() == content_of(vector)
    read = second_reader.read_superblock(content_of(vector))
    assert read == (uuid.UUID(vector["vault_id"]).bytes, vector["created_ns"])


@vectors("superblock", bad=True)
def test_a_superblock_that_is_refused(vector):
    with pytest.raises(getattr(errors, vector["error"])) as caught:
        Superblock.decode(content_of(vector))
    if vector["error"] == "UnknownFormat":
        assert f"version {vector['version']}" in str(caught.value)


# Blocks


@vectors("block")
def test_block(vector):
    check_block(vector)


@pytest.mark.parametrize("name", TINY_BLOCKS)
def test_block_of_the_worked_example(name):
    check_block(VECTORS[f"tiny/{name}-block"])


def check_block(vector: Vector) -> None:
    block = Block(
        BlockKind[vector["kind"]],
        vector["first"],
        vector["count"],
        bytes.fromhex(vector["payload"]),
        Layout[vector.get("layout", "PLAIN")],
    )
    content = content_of(vector)
    number, base = None, None
    if "base" in vector:
        number, base = vector["base"]["number"], bytes.fromhex(vector["base"]["payload"])

    def base_for(kind: BlockKind, of: int) -> Base:
        assert (kind, of, base_of(content)) == (block.kind, number, number)
        assert base is not None
        return Base(base)

    assert decode_block(content, PackNo(1), 0, base_for) == block
    codec = BlockCodec[vector["codec"]]
    if number is not None and base is not None:
        encoded = encode_dense_block(block, level=19, base=(number, Base(base)))
    else:
        encoded = encode_block(block, level=None if codec is BlockCodec.STORED else 6)
    assert encoded[5] == codec
    assert decode_block(encoded, PackNo(1), 0, base_for) == block
    if codec is BlockCodec.STORED:
        assert encoded == content
    [read] = second_reader.stored_blocks(content)
    assert (read.kind, read.layout) == (block.kind, block.layout)
    assert (read.first, read.count) == (block.first, block.count)
    assert read.payload(base) == block.payload


@vectors("block", bad=True)
def test_a_block_that_is_refused(vector):
    with pytest.raises(getattr(errors, vector["error"])):
        decode_block(content_of(vector), PackNo(1), 0)


# Payloads


@vectors("payload")
def test_payload(vector):
    content, count, items = content_of(vector), vector["count"], vector["items"]
    if vector["kind"] == "RECORDS":
        records = decode_records(content, count)
        found: list[Any] = [
            {"length_bytes": length, "key": int(key), "body": records.bodies[at].hex()}
            for at, (length, key) in enumerate(zip(records.lengths, records.keys, strict=True))
        ]
        rows = [(i["length_bytes"], i["key"], bytes.fromhex(i["body"])) for i in items]
        encoded = encode_records(rows)
    elif vector["kind"] == "SEGMENTS":
        segments = decode_segments(content, count)
        found = [
            {"key": int(key), "frame": segments.frames[at].hex()}
            for at, key in enumerate(segments.keys)
        ]
        encoded = encode_segments([(i["key"], bytes.fromhex(i["frame"])) for i in items])
    elif vector["kind"] == "SUBSTRINGS":
        registry = decode_registry(content, count)
        entries = [SubstringEntry.decode(registry.entry(at)) for at in range(count)]
        found = [
            {"occurrences": one.occurrences, "substring": one.substring.hex()} for one in entries
        ]
        encoded = encode_registry(vector["created_ns"], [one.encode() for one in entries])
        assert registry.created_ns == vector["created_ns"]
    else:
        templates = decode_templates(content, count).templates
        found = [templates[at].hex() for at in range(count)]
        encoded = encode_templates([bytes.fromhex(item) for item in items])
    assert found == items
    assert encoded == content


# Record bodies


def body_values(vector: Vector) -> Iterator[BodyValue]:
    for value in vector["values"]:
        if isinstance(value, str):
            yield bytes.fromhex(value)
        else:
            yield References(
                Style[value["style"]],
                tuple(SegmentType[type_] for type_ in value["types"]),
                tuple(SegmentNo(number) for number in value["segments"]),
                bytes.fromhex(value.get("separator", "")),
            )


@vectors("body")
def test_record_body(vector):
    templates = {int(no): bytes.fromhex(t) for no, t in vector["template_contents"].items()}
    segments = {
        int(no): bytes.fromhex(s) if isinstance(s, str) else s
        for no, s in vector["segment_contents"].items()
    }
    values = list(body_values(vector))
    assert encode_body(vector["templates"], values) == content_of(vector)
    body = decode_body(content_of(vector))
    assert list(body.templates) == vector["templates"]
    assert list(body.values) == values
    record = render_body(body, lambda no: templates[no], lambda no, _style: segments[no])
    assert record.hex() == vector["record"]
    read = second_reader.render(
        second_reader.read_body(content_of(vector)),
        templates,
        segments.__getitem__,
        segments.__getitem__,
    )
    assert read.hex() == vector["record"]


@vectors("body", bad=True)
def test_a_record_body_that_is_refused(vector):
    with pytest.raises(getattr(errors, vector["error"])):
        decode_body(content_of(vector))


def test_each_style_has_a_vector():
    shown = {
        value["style"]
        for name, vector in VECTORS.items()
        if name.startswith("body/")
        for value in vector.get("values", ())
        if isinstance(value, dict)
    }
    assert shown == {style.name for style in Style}


# Namespace


def change_of(statement: Vector) -> Change | Checkpoint:
    kind = Statement[statement["statement"]]
    if kind is Statement.CHECKPOINT:
        return Checkpoint(statement["since"], tuple(statement["groups"]))
    if kind in (Statement.NAME, Statement.NAME_GONE):
        ino = InodeNo(statement["ino"]) if kind is Statement.NAME else None
        return DentryChange(InodeNo(statement["parent"]), bytes.fromhex(statement["name"]), ino)
    ino = InodeNo(statement["ino"])
    if kind is Statement.INODE_GONE:
        return InodeChange(ino, None)
    if kind is Statement.EXTENTS:
        extents = tuple(Extent(**extent) for extent in statement["extents"])
        return InodeChange(ino, None, (), statement["from"], extents)
    fields = {name: statement[name] for name in Inode.__slots__}
    fields["mode"] = int(fields["mode"], 8)
    fields["target"] = None if fields["target"] is None else bytes.fromhex(fields["target"])
    xattrs = tuple((bytes.fromhex(n), bytes.fromhex(v)) for n, v in statement["xattrs"])
    return InodeChange(ino, Inode(**fields), xattrs)


@vectors("namespace")
def test_namespace(vector):
    statements = [change_of(statement) for statement in vector["statements"]]
    assert list(decode_changes(content_of(vector))) == statements
    if isinstance(statements[0], Checkpoint):
        checkpoint = statements[0]
        assert encode_checkpoint(checkpoint.since, checkpoint.groups) == content_of(vector)
        return
    changes = [one for one in statements if not isinstance(one, Checkpoint)]
    if len(statements) == 2:  # an inode and its extents are one change to the encoder
        inode, extents = statements
        assert isinstance(inode, InodeChange)
        assert isinstance(extents, InodeChange)
        change = InodeChange(
            inode.ino, inode.inode, inode.xattrs, extents.extents_from, extents.extents
        )
        changes = [change]
    assert encode_changes(changes) == (content_of(vector), vector["count"])


def test_each_statement_has_a_vector():
    shown = {
        statement["statement"]
        for vector in VECTORS.values()
        for statement in vector.get("statements", ())
    }
    assert shown == {statement.name for statement in Statement}


# Small things


def test_draft_names():
    vector = VECTORS["draft/names"]
    for row in vector["names"]:
        draft = InodeNo(row["ino"]), row["generation"]
        assert draft_path(Path("drafts"), *draft).name == row["name"]
        assert parse_draft_name(row["name"]) == draft
    for name in vector["others"]:
        assert parse_draft_name(name) is None


def test_spool_names():
    connection = Connection(None)
    try:
        spools = Spools(Path("drafts"), DraftTable(connection))
        for row in VECTORS["draft/names"]["spools"]:
            assert spools.path(row["spool"]).name == row["name"]
    finally:
        connection.close()


def test_journal(tmp_path):
    vector = VECTORS["journal/entries"]
    journal = Journal(tmp_path / "journal", vector["database"], vector["after"])
    pending = PendingRows()
    for entry in vector["entries"]:
        for row in entry["rows"]:
            _make(pending, dict(row))
        assert pending.told.hex() == entry["hex"]
        journal.append(pending.told)
        pending.end_change()
    journal.close(remove=False)
    written = (tmp_path / "journal").read_bytes()
    assert written.rstrip(b"\0").hex() == vector["hex"].removesuffix("00" * 7)
    found = list(entries(tmp_path / "journal", vector["database"], vector["after"]))
    assert [content.hex() for content in found] == [entry["hex"] for entry in vector["entries"]]
    again = PendingRows()
    for content in found:
        again.apply(content)
    assert vars(again) == vars(pending)


def _make(pending: PendingRows, row: Vector) -> None:
    """The call that a vector's row describes; text there is bytes here, and lists are tuples."""
    call = row.pop("call")
    if call == "put_inode":
        *numbers, target = row["row"]
        row["row"] = (*numbers, target and target.encode())
    elif "name" in row and call != "put_setting":
        row["name"] = row["name"].encode()
    if "region" in row:
        row["region"] = tuple(row["region"])
    if "regions" in row:
        row["regions"] = [tuple(region) for region in row["regions"]]
    getattr(pending, call)(**row)


def test_varints():
    for row in VECTORS["varint/values"]["values"]:
        out, content = bytearray(), bytes.fromhex(row["hex"])
        append_varint(out, row["value"])
        assert out == content
        assert read_varint(content, 0) == (row["value"], len(content))
        assert Bytes(content).varint() == row["value"]


def test_zigzag():
    for signed, unsigned in VECTORS["varint/zigzag"]["values"]:
        assert zigzag(signed) == unsigned
        assert unzigzag(unsigned) == signed


def test_keys():
    for row in VECTORS["key/content"]["values"]:
        assert content_key(bytes.fromhex(row["content"])) == row["key"]
    for row in VECTORS["key/segment"]["values"]:
        hashed = segment_hash(np.array(row["ids"], np.uint32))
        assert hashed.hex() == row["hash"]
        assert segment_key(hashed, Vocabulary[row["vocabulary"]]) == row["key"]


def test_token_table():
    vector = VECTORS["token-table/example"]
    spellings = [None if s is None else bytes.fromhex(s) for s in vector["spellings"]]
    assert parse_table(content_of(vector)) == spellings
    assert render_table(spellings) == content_of(vector)


@pytest.mark.parametrize("vocabulary", NAMES)
def test_the_second_reader_spells_as_the_first(vocabulary):
    ours = [spelling or b"" for spelling in token_table(vocabulary).spellings.tolist()]
    assert second_reader.spellings(vocabulary) == ours


@vectors("conversation")
def test_canonical_rendering_of_a_conversation(vector):
    fields, file = vector["conversation"], vector["file"].encode()
    conversation = Conversation.from_dict(fields)
    assert list(conversation.to_dict()) == list(fields)
    assert conversation.to_dict() == fields
    assert render_conversation(conversation) == file
    assert parse_conversation(file) == conversation
    assert second_reader.render_conversation(fields) == file


@vectors("dictionary")
def test_dictionary(vector):
    dictionary = Dictionary.decode(content_of(vector))
    read = second_reader_frames.read_dictionary(content_of(vector))
    assert dictionary.sample_count == read.sample_count == vector["sample_count"]
    assert dictionary.trained.hex() == read.trained.hex() == vector["trained"]
    orders = {Vocabulary[name]: order for name, order in vector["orders"].items()}
    assert {v: order.tolist() for v, order in dictionary.codebook.orders.items()} == orders
    assert read.orders == orders
    made = Dictionary(dictionary.codebook, dictionary.trained, dictionary.sample_count)
    again = Dictionary.decode(made.encode())
    assert again.codebook.encode() == dictionary.codebook.encode()
    assert again.trained == dictionary.trained


@vectors("substring")
def test_substring(vector):
    vocabulary, ids = Vocabulary[vector["vocabulary"]], vector["ids"]
    assert encode_substring(vocabulary, np.array(ids, np.uint32)) == content_of(vector)
    substring = decode_substring(content_of(vector))
    assert (substring.vocabulary, substring.tokens.tolist()) == (vocabulary, ids)
    assert second_reader_frames.read_substring(content_of(vector)) == (vocabulary, ids)


@vectors("frames")
def test_the_second_reader_reads_frames(vector):
    registry = second_reader_frames.Registry(
        dictionaries={
            int(no): second_reader_frames.read_dictionary(content_of(VECTORS[f"dictionary/{name}"]))
            for no, name in vector.get("dictionaries", {}).items()
        },
        substrings=ids_by_number(vector.get("substrings", {})),
        canonicals={
            number: (vector["canonicals"][str(number)].get("depth", 0), ids)
            for number, ids in ids_by_number(vector.get("canonicals", {})).items()
        },
    )
    frame = bytes.fromhex(vector["frame"])
    vocabulary, ids = second_reader_frames.read_frame(frame, registry)
    assert vocabulary == Vocabulary[vector["vocabulary"]]
    assert ids == vector["ids"]


def ids_by_number(segments: dict[str, Vector]) -> dict[int, second_reader_frames.Ids]:
    return {
        int(no): (int(Vocabulary[one["vocabulary"]]), one["ids"]) for no, one in segments.items()
    }
