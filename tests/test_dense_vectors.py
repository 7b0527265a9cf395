"""The vectors of what compaction writes: both readers read them, and ours writes them."""

from typing import Any

import numpy as np
import pytest

from stowkenfs.documents.body import Body, BodyValue, References
from stowkenfs.documents.dense import DenseRecord, decode_dense_records, encode_dense_records
from stowkenfs.documents.dense_layout import TemplateLayout, layout_of_template
from stowkenfs.documents.values import Style
from stowkenfs.frames.codebook import Codebook
from stowkenfs.frames.dense import DenseMode, decode_dense, encode_dense, prepare
from stowkenfs.ids import InodeNo, SegmentNo, SegmentType, TemplateNo, Vocabulary
from stowkenfs.index.frozen import (
    FrozenInode,
    InodeGroup,
    NameGroup,
    encode_inodes,
    encode_names,
)
from stowkenfs.index.keys import Grain, decode_keys, encode_keys
from stowkenfs.index.rows import Extent, Inode
from stowkenfs.store.block import Block, BlockKind, Layout
from stowkenfs.vault.codebooks import CodebookEntry, decode_entry, encode_entry
from stowkenfs.vault.unpacked import decode_ranges, encode_ranges
from tests import second_reader_dense, second_reader_tree
from tests.format_vectors import VECTORS, Vector, content_of, vectors
from tests.second_reader_bytes import Bytes


def of_kind(structure: str, kind: str) -> pytest.MarkDecorator:
    names = [
        name
        for name, vector in VECTORS.items()
        if name.partition("/")[0] == structure and vector["kind"] == kind
    ]
    assert names
    return pytest.mark.parametrize("vector", [VECTORS[name] for name in names], ids=names)


def codebook_of(vector: Vector) -> Codebook:
    orders = vector["orders"].items()
    return Codebook({Vocabulary[name]: np.array(ids, np.uint32) for name, ids in orders})


def after_ranges(vector: Vector) -> bytes:
    """What follows the ranges of a dense payload, both readers having read them."""
    content = content_of(vector)
    kind = BlockKind[vector["kind"]]
    block = Block(kind, vector["first"], vector["count"], content, Layout.DENSE)
    ranges, at = decode_ranges(block)
    assert ranges == [tuple(one) for one in vector["ranges"]]
    assert encode_ranges(ranges) == content[:at]
    read = Bytes(content)
    numbers = [number for first, count in ranges for number in range(first, first + count)]
    assert second_reader_dense.read_ranges(read, vector["first"]) == numbers
    assert read.at == at
    return content[at:]


@vectors("codebook")
def test_codebook(vector):
    entry = decode_entry(content_of(vector))
    bases = (vector["segments_base"], vector["records_base"])
    assert (entry.segments_base, entry.records_base) == bases
    assert {v.name: ids.tolist() for v, ids in entry.codebook.orders.items()} == vector["orders"]
    assert encode_entry(CodebookEntry(codebook_of(vector), *bases)) == content_of(vector)
    plus_one = [0 if base is None else base + 1 for base in bases]
    orders = {Vocabulary[name].value: ids for name, ids in vector["orders"].items()}
    assert second_reader_dense.read_codebook(content_of(vector)) == (*plus_one, orders)


@of_kind("dense", "SEGMENTS")
def test_dense_segments(vector):
    payload, items = after_ranges(vector), vector["items"]
    codebook = codebook_of(VECTORS[vector["codebook"]])
    segments = decode_dense(payload, vector["count"])
    assert segments.codebook_no == vector["codebook_no"]
    found = [segments.segment(at, codebook) for at in range(len(segments))]
    assert [(s.vocabulary.name, s.tokens.tolist()) for s in found] == [
        (item["vocabulary"], item["ids"]) for item in items
    ]
    modes = [segments.mode(at) for at in range(len(segments))]
    assert modes == [DenseMode[item["mode"]] for item in items]
    prepared = [prepare(segment.vocabulary, segment.tokens, codebook) for segment in found]
    assert encode_dense(prepared, vector["codebook_no"]) == payload
    number, read = second_reader_dense.read_dense_segments(Bytes(payload), vector["count"])
    assert number == vector["codebook_no"] + 1
    orders = second_reader_dense.read_codebook(content_of(VECTORS[vector["codebook"]]))[2]
    assert [(one[0], one[1], second_reader_dense.ids_of(one, orders)) for one in read] == [
        (Vocabulary[item["vocabulary"]], DenseMode[item["mode"]], item["ids"]) for item in items
    ]


def value_of(shown: Any) -> BodyValue:
    if isinstance(shown, str):
        return bytes.fromhex(shown)
    return References(
        Style[shown["style"]],
        tuple(SegmentType[type_] for type_ in shown["types"]),
        tuple(SegmentNo(number) for number in shown["segments"]),
        bytes.fromhex(shown.get("separator", "")),
    )


@of_kind("dense", "RECORDS")
def test_dense_records(vector):
    templates = {int(no): bytes.fromhex(t) for no, t in vector["template_contents"].items()}

    def layout_of(number: TemplateNo) -> TemplateLayout:
        return layout_of_template(templates[number])

    payload, items = after_ranges(vector), vector["items"]
    expected = [
        DenseRecord(
            item["length_bytes"],
            item["check"],
            Body(
                tuple(TemplateNo(number) for number in item["templates"]),
                tuple(value_of(value) for value in item["values"]),
            ),
        )
        for item in items
    ]
    records = decode_dense_records(payload, vector["count"], layout_of)
    assert expected == [
        DenseRecord(records.lengths[at], int(records.checks[at]), records.body(at))
        for at in range(len(records))
    ]
    assert encode_dense_records(expected, layout_of) == payload
    read = second_reader_dense.DenseRecords(Bytes(payload), vector["count"], templates).all()
    assert read == [
        (
            one.length_bytes,
            one.check,
            second_reader_dense.Body(
                list(one.body.templates),
                [
                    second_reader_dense.References(
                        value.style, value.separator, list(value.segments)
                    )
                    if isinstance(value, References)
                    else value
                    for value in one.body.values
                ],
            ),
        )
        for one in expected
    ]


def test_each_form_of_a_value_has_a_vector():
    marks = {
        line[:1]
        for name, vector in VECTORS.items()
        if name.startswith("dense/") and vector["kind"] == "RECORDS"
        for line in Bytes(lines_of(vector)).content.split(b"\n")
    }
    assert {b"", b"\1", b"\2", b"\3", b"\4", b"\x80", b"\x81"} <= marks


def lines_of(vector: Vector) -> bytes:
    payload = Bytes(after_ranges(vector))
    sizes = [payload.varint() for _ in range(13)]
    return payload.take(sizes[0])


@vectors("keys")
def test_keys(vector):
    keys = np.array([key for key, _ in vector["entries"]], np.int64)
    values = np.array([value for _, value in vector["entries"]], np.int64)
    content = content_of(vector)
    items = decode_keys(content, vector["count"])
    assert (items.bits, items.grain) == (vector["bits"], Grain[vector["grain"]])
    at, found = items.find(keys)
    assert at.tolist() == list(range(len(keys)))
    assert found.tolist() == values.tolist()
    assert encode_keys(keys, values, items.bits, items.grain) == content


def inode_of(item: Vector) -> FrozenInode:
    fields = {name: item[name] for name in Inode.__slots__}
    fields["mode"] = int(fields["mode"], 8)
    fields["target"] = None if fields["target"] is None else bytes.fromhex(fields["target"])
    return FrozenInode(
        Inode(**fields),
        tuple((bytes.fromhex(n), bytes.fromhex(v)) for n, v in item["xattrs"]),
        tuple(Extent(**extent) for extent in item["extents"]),
        item["is_conversation"],
    )


@of_kind("frozen", "INODES")
def test_frozen_inodes(vector):
    rows = [inode_of(item) for item in vector["items"]]
    group = InodeGroup(content_of(vector))
    assert (group.as_of, group.rows()) == (vector["as_of"], rows)
    assert encode_inodes(vector["as_of"], rows) == content_of(vector)
    payload = Bytes(content_of(vector))
    assert second_reader_tree.read_inodes(payload, vector["count"]) == {
        row.inode.ino: second_reader_tree.Node(
            row.inode.mode,
            row.inode.uid,
            row.inode.gid,
            row.inode.nlink,
            row.inode.size,
            row.inode.rdev,
            row.inode.atime_ns,
            row.inode.mtime_ns,
            row.inode.ctime_ns,
            row.inode.parent,
            row.inode.target,
            dict(row.xattrs),
            {one.start: (one.length, one.record, one.count) for one in row.extents},
        )
        for row in rows
    }
    assert payload.rest == 0


@of_kind("frozen", "NAMES")
def test_frozen_names(vector):
    entries = [
        (InodeNo(parent), bytes.fromhex(name), InodeNo(ino))
        for parent, name, ino in vector["items"]
    ]
    group = NameGroup(content_of(vector))
    assert (group.as_of, group.entries()) == (vector["as_of"], entries)
    assert encode_names(vector["as_of"], entries) == content_of(vector)
    payload = Bytes(content_of(vector))
    expected = {(parent, name): ino for parent, name, ino in entries}
    assert second_reader_tree.read_names(payload, vector["count"]) == expected
    assert payload.rest == 0
