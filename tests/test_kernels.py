"""Compiled code against the Python beside it: on what was written, on what was damaged since.

``STOWKENFS_KERNELS_EXAMPLES`` says how many examples of each to try (40).
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stowkenfs import kernels
from stowkenfs.documents.body import References, encode_body
from stowkenfs.documents.dense_families import Family, decode_identifiers, encode_identifiers
from stowkenfs.documents.dense_streams import decode_numbers
from stowkenfs.documents.pieces import pieces_of_bodies
from stowkenfs.documents.renaming import names_in, rename
from stowkenfs.documents.rendering import _fill
from stowkenfs.documents.values import Style
from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames.bulk import Speller
from stowkenfs.frames.codebook import Codebook
from stowkenfs.frames.codec import decode_frame, encode_frame
from stowkenfs.frames.dense import DenseSegments, decode_dense, encode_dense, prepare
from stowkenfs.frames.spelling import SpellingTable, spelling_table
from stowkenfs.frames.token_table import token_table
from stowkenfs.frames.varints import decode_varints, encode_varints, encode_varints_of, ends_of
from stowkenfs.frames.vocabulary import TEXT_BYTES_MAX, spell
from stowkenfs.ids import SegmentNo, SegmentType, TemplateNo, Vocabulary
from tests.kernels import both, outcome, using

THOROUGH = settings(
    deadline=None,
    max_examples=int(os.environ.get("STOWKENFS_KERNELS_EXAMPLES", "40")),
    suppress_health_check=[HealthCheck.too_slow],
)

ORDER = np.random.default_rng(1).permutation(90_000)[:700].astype(np.uint32)
BOOK = Codebook({Vocabulary.O200K_BASE: ORDER, Vocabulary.CL100K_BASE: ORDER[:50]})
ESCAPES = ((b"\\", b"\\\\"), (b"\n", b"\\n"))
IDS = st.one_of(st.sampled_from(ORDER.tolist()), st.integers(0, 201_000), st.integers(0, 2**32 - 1))


def test_compiled_where_it_can_be() -> None:
    """What is optional for users is not for us: else all below would compare Python with itself."""
    has_headers = Path(sysconfig.get_path("include"), "Python.h").exists()
    if shutil.which("gcc") and has_headers:
        assert kernels.built is not None


@pytest.mark.parametrize(("value", "pure"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_the_environment_turns_it_off(value: str, pure: bool) -> None:
    code = "from stowkenfs import kernels; print(kernels.compiled is None)"
    env = {**os.environ, kernels.PURE: value}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    assert found.stdout.split() == [str(pure).encode()]


def mutated(draw: Callable[..., Any], content: bytes) -> bytes:
    """``content`` with a few bytes changed, added or cut off; or as it is."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(changed)))
        change = draw(st.sampled_from(["set", "insert", "cut"]))
        if change == "insert":
            changed.insert(at, draw(st.integers(0, 255)))
        elif change == "cut":
            del changed[at : at + draw(st.integers(1, 9))]
        elif at < len(changed):
            changed[at] = draw(st.integers(0, 255))
    return bytes(changed)


@st.composite
def damaged(draw: st.DrawFn, contents: st.SearchStrategy[bytes]) -> bytes:
    return mutated(draw, draw(contents))


def varints(ids: list[int]) -> bytes:
    return encode_varints(np.array(ids, np.uint32))


@THOROUGH
@given(damaged(st.lists(IDS).map(varints)) | st.binary(max_size=30))
@example(b"\x80\x80\x80\x80\x10")
@example(b"\xff\xff\xff\xff\x0f")
@example(b"\x80\x00")
@example(b"\x01" * 500)
@example(b"\xff" * 500)
def test_numbers(content: bytes) -> None:
    both(lambda: decode_varints(content))
    both(lambda: decode_numbers(content))


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    """A payload of three segments at most, damaged or not."""
    vocabularies = st.sampled_from([Vocabulary.O200K_BASE, Vocabulary.CL100K_BASE])
    drawn = draw(st.lists(st.tuples(vocabularies, st.lists(IDS, max_size=9)), max_size=3))
    written = [prepare(vocabulary, np.array(ids, np.uint32), BOOK) for vocabulary, ids in drawn]
    return mutated(draw, encode_dense(written, 3))


def texts_of(found: DenseSegments, escapes: Any) -> dict[int, bytes]:
    speller = Speller(lambda number: found.segment(number, BOOK), escapes)
    places = np.arange(len(found))
    speller.add_dense(found, BOOK, places, places)
    return speller.finish()


@THOROUGH
@given(blocks(), st.integers(0, 3), st.sampled_from([(), ESCAPES]))
def test_blocks_of_segments(payload: bytes, count: int, escapes: Any) -> None:
    with using(None):
        if isinstance(outcome(lambda: decode_dense(payload, count)), type):
            return
    both(lambda: texts_of(decode_dense(payload, count), escapes))


@THOROUGH
@given(st.lists(st.tuples(st.lists(IDS, max_size=40), st.data()), max_size=4))
def test_frames(drawn: list[tuple[list[int], st.DataObject]]) -> None:
    frames = []
    for ids, data in drawn:
        vocabulary = data.draw(st.sampled_from([Vocabulary.O200K_BASE, Vocabulary.CL100K_BASE]))
        frame = encode_frame(np.array(ids, np.uint32), vocabulary)
        frames.append(mutated(data.draw, frame))
    ends = np.cumsum([0, *map(len, frames)])
    both(
        lambda: spelled(
            lambda speller: speller.add_frames(
                np.arange(len(frames)), b"".join(frames), ends[:-1], ends[1:]
            ),
            frames,
        )
    )


def spelled(add: Callable[[Speller], None], frames: list[bytes]) -> dict[int, bytes]:
    speller = Speller(lambda number: decode_frame(frames[number]))
    add(speller)
    return speller.finish()


LONGEST = max(
    enumerate(token_table(Vocabulary.O200K_BASE).spellings), key=lambda at: len(at[1] or b"")
)


@pytest.mark.parametrize("texts", [1, 2])
def test_more_text_than_there_may_be(texts: int) -> None:
    """One segment with more than a text may have is refused; two that have it together are not."""
    token_id, spelling = LONGEST
    ids = [token_id] * (TEXT_BYTES_MAX // len(spelling) // texts + 1)
    payload = encode_dense(
        [prepare(Vocabulary.O200K_BASE, np.array(ids, np.uint32), BOOK)] * texts, 3
    )
    found = both(lambda: texts_of(decode_dense(payload, texts), ()))
    if texts == 1:
        assert found is FrameCorrupt
    else:
        assert found == {0: spelling * len(ids), 1: spelling * len(ids)}


TEMPLATES = [b"\0", b'{"a":"\0"}', b"none", b"", b"\0\0"]


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    numbers = draw(st.lists(st.integers(0, len(TEMPLATES) - 1) | st.just(2**62), max_size=3))
    values: list[bytes | References] = []
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):
            values.append(draw(st.binary(max_size=5)))
            continue
        style = draw(st.sampled_from(Style))
        segments = draw(st.lists(st.integers(0, 2**40), max_size=3))
        types = (SegmentType.THINKING,) * len(segments)
        values.append(References(style, types, tuple(map(SegmentNo, segments)), b","))
    return mutated(draw, encode_body(list(map(TemplateNo, numbers)), values))


@THOROUGH
@given(st.lists(bodies() | st.binary(max_size=20), max_size=4))
@example([b"\x00\x03" + b"\x80" * 9 + b"\x01", b"\x00\xff" + b"\xff" * 8 + b"\x01"])
@example([b"\x00\x21\x00" + b"\xfe" + b"\xff" * 8 + b"\x00"])
def test_bodies_of_records(encoded: list[bytes]) -> None:
    ends = np.cumsum([0, *map(len, encoded)])

    def columns() -> list[Any]:
        found = pieces_of_bodies(b"".join(encoded), ends[:-1], ends[1:])
        literals = [
            found.source[start:end] if style == 255 else (start, end)
            for style, start, end in zip(
                found.styles.tolist(), found.starts.tolist(), found.ends.tolist(), strict=True
            )
        ]
        arrays = (found.templates, found.template_ends, found.styles, found.value_ends, found.parts)
        return [*(array.tolist() for array in arrays), literals, found.alone]

    both(columns)


@THOROUGH
@given(st.lists(bodies() | st.binary(max_size=20), max_size=4), st.booleans(), st.booleans())
def test_other_numbers_in_bodies(encoded: list[bytes], lack_a: bool, lack_b: bool) -> None:
    """Numbers that are large have others where all are moved up; some have none."""
    others = np.arange(5)[::-1] * 3**20
    templates = others[:3] if lack_a else others
    segments = np.where(others == 0, -1, others) if lack_b else others
    both(lambda: names_in(encoded))
    both(lambda: rename(encoded, templates, segments))


@THOROUGH
@given(st.lists(st.lists(IDS, max_size=9), max_size=4))
def test_varints_of_many(rows: list[list[int]]) -> None:
    found = both(lambda: encode_varints_of([np.array(ids, np.uint32) for ids in rows]))
    assert found == list(map(varints, rows))


@THOROUGH
@given(st.data(), st.lists(st.lists(st.integers(0, 200_100), max_size=5), min_size=1, max_size=4))
def test_texts_that_ids_spell(data: st.DataObject, rows: list[list[int]]) -> None:
    """Of what is said to be the same, each is; of what is, all that has no odd id is said to be."""
    assert kernels.built is not None
    ids = [np.array(row, np.uint32) for row in rows]
    spelled = [outcome(partial(spell, row, Vocabulary.O200K_BASE)) for row in ids]
    true = [text if isinstance(text, bytes) else b"none" for text in spelled]
    texts = [mutated(data.draw, text) for text in true]
    table = spelling_table(Vocabulary.O200K_BASE)
    said = kernels.built.spell_texts(
        np.concatenate(ids), ends_of(ids), b"".join(texts), ends_of(texts),
        table.entries, table.rest,
    )  # fmt: skip
    for is_same, text, spelling, row in zip(said, texts, spelled, rows, strict=True):
        assert spelling == text if is_same else (spelling != text or has_odd(row, table))


def has_odd(row: list[int], table: SpellingTable) -> bool:
    return any(table.more[token_id] == 0xFF for token_id in row)


@THOROUGH
@given(st.data())
def test_filling(data: st.DataObject) -> None:
    """Numbers that fit nothing, too."""
    count = data.draw(st.integers(0, 4))
    places = data.draw(st.lists(st.integers(0, len(TEMPLATES) - 1), max_size=6))
    values = data.draw(st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 6))))
    ends = [
        sorted(data.draw(st.lists(st.integers(0, most), min_size=count, max_size=count)))
        for most in (len(places), len(values))
    ]
    parts = data.draw(st.lists(st.integers(0, 2), min_size=6, max_size=6))
    arguments = (
        TEMPLATES,
        np.array(places, np.int64),
        np.array(ends[0], np.int64),
        b"abcdef",
        np.array([refers for refers, _, _ in values], np.uint8),
        np.array([min(some) for _, *some in values], np.int64),
        np.array([max(some) for _, *some in values], np.int64),
        np.array(ends[1], np.int64),
        np.array(parts, np.int64),
        [b"", b"text", b"\0"],
    )
    assert kernels.built is not None
    assert kernels.built.fill(*arguments) == _fill(*arguments)


@st.composite
def families(draw: st.DrawFn) -> tuple[Family, bytes, int]:
    alphabets = bytes(
        draw(st.lists(st.integers(0, 8) | st.integers(32, 255), min_size=1, max_size=64))
    )
    family, count = Family(alphabets, (b"",)), draw(st.integers(0, 5))
    packed = draw(st.binary(min_size=family.bytes_of(count), max_size=family.bytes_of(count)))
    return family, packed, count


@THOROUGH
@given(families())
def test_identifiers(drawn: tuple[Family, bytes, int]) -> None:
    found = both(lambda: decode_identifiers(*drawn))
    if found and isinstance(found, list):
        family, _, count = drawn
        assert (
            both(lambda: decode_identifiers(family, encode_identifiers(family, found), count))
            == found
        )


I64 = np.arange(3)
U64 = np.arange(4).astype(np.uint64)
U32 = np.arange(3).astype(np.uint32)
U8 = np.zeros(256, np.uint8)
WRONG: list[tuple[str, tuple[Any, ...], type[Exception]]] = [
    ("scan_bodies", (b"abc", I64, I64 + 2, U8), ValueError),
    ("scan_bodies", (b"abc", I64 - 1, I64, U8), ValueError),
    ("scan_bodies", (b"abc", I64, I64 - 1, U8), ValueError),
    ("scan_bodies", (b"abc", I64, I64[:2], U8), ValueError),
    ("scan_bodies", (b"abc", I64, I64, U8[:255]), ValueError),
    ("scan_bodies", (b"abc", I64.astype(np.int32), I64, U8), TypeError),
    ("scan_bodies", (b"abc", I64), TypeError),
    ("scan_bodies", ("abc", I64, I64, U8), TypeError),
    ("scan_bodies", (b"abc", I64[::2], I64[::2], U8), ValueError),
    ("spell_varints", (b"abc", I64, I64 + 1, b"", U64, U64, -1), ValueError),
    ("spell_varints", (b"abc", I64, I64 + 1, b"", U64, U64, "1"), TypeError),
    ("spell_varints", (b"abc", I64, I64 + 2, b"", U64, U64, 9), ValueError),
    ("spell_varints", (b"abc", I64, I64 + 1, b"", U8, U64, 9), TypeError),
    ("spell_ranked", (b"abc", I64, I64 + 1, b"", U64, U64, 9, U64, U8, U64), TypeError),
    ("fill", ([b""], I64, I64 + 2, b"", U8[:0], I64[:0], I64[:0], I64 * 0, I64, []), ValueError),
    ("fill", ([b""], I64, I64, b"", U8[:0], I64[:0], I64[:0], I64, I64, []), ValueError),
    ("fill", ([b""], I64, I64, b"", U8[:1], I64[:0], I64[:0], I64 * 0, I64, []), ValueError),
    ("fill", (["a"], I64, I64, b"", U8[:0], I64[:0], I64[:0], I64 * 0, I64, []), TypeError),
    ("fill", ([], I64, I64, b"", U8[:0], I64[:0], I64[:0], I64 * 0, I64, [1]), TypeError),
    ("fill", (1, I64, I64, b"", U8[:0], I64[:0], I64[:0], I64 * 0, I64, []), TypeError),
    ("rename_bodies", ([b"\0"], U8, I64, I64[::2]), ValueError),
    ("rename_bodies", ([b"\0"], U8, I64, I64.astype(np.int32)), TypeError),
    ("rename_bodies", ([b"\0"], U8[:255], I64, I64), ValueError),
    ("rename_bodies", ([1], U8, I64, I64), TypeError),
    ("rename_bodies", (1, U8, I64, I64), TypeError),
    ("names_in_bodies", (["a"], U8), TypeError),
    ("names_in_bodies", ([], U8[:9]), ValueError),
    ("pack_varints", (U32, I64 + 2), ValueError),
    ("pack_varints", (U32, I64[::-1].copy()), ValueError),
    ("pack_varints", (U32, I64 - 1), ValueError),
    ("pack_varints", (U64, I64), TypeError),
    ("spell_texts", (U32, I64, b"abc", I64[:2], U64, U64), ValueError),
    ("spell_texts", (U32, I64, b"a", I64, U64, U64), ValueError),
    ("spell_texts", (U32, I64 + 2, b"abc", I64, U64, U64), ValueError),
    ("spell_texts", (U32, I64, "abc", I64, U64, U64), TypeError),
    ("places_of", (b"", 256), ValueError),
    ("places_of", (b"", -1), ValueError),
    ("varints32", (I64,), TypeError),
    ("identifiers", (b"", 9, b"\x02", bytes(64 * 9), bytes([16] * 9)), ValueError),
    ("identifiers", (b"", -1, b"\x02", bytes(64 * 9), bytes([16] * 9)), ValueError),
    ("identifiers", (b"", 0, b"\x09", bytes(64 * 9), bytes([16] * 9)), ValueError),
    ("identifiers", (b"", 0, b"\x02", bytes(64 * 9), bytes([65] * 9)), ValueError),
    ("identifiers", (b"", 0, b"\x02" * 65, bytes(64 * 9), bytes([16] * 9)), ValueError),
]


@pytest.mark.parametrize(("name", "arguments", "error"), WRONG)
def test_arguments_that_do_not_fit(
    name: str, arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    with pytest.raises(error):
        getattr(kernels.built, name)(*arguments)


def test_places_that_do_not_fit() -> None:
    """Of a template, of a text, of parts and of the source: such a record is left alone."""
    assert kernels.built is not None
    for places, refers, end, parts in (
        ([1], 1, 1, [0]),
        ([-1], 1, 1, [0]),
        ([0], 1, 2, [0]),
        ([0], 1, 1, [1]),
        ([0], 1, 1, [-1]),
        ([0], 0, 4, [0]),
    ):
        one = np.array([1])
        assert kernels.built.fill(
            [b"\0"], np.array(places), one, b"abc", np.array([refers], np.uint8), one * 0,
            np.array([end]), one, np.array(parts), [b"text"],
        ) == [None]  # fmt: skip


def test_spellings_that_do_not_fit() -> None:
    """An id whose entry goes on behind the others, and one beyond the table."""
    assert kernels.built is not None
    entries = np.array([[0x61, 1], [0x62, 9], [0x63, 9 | 8 << 16], [0x64, 0]], np.uint64)
    rest = np.array([0x65], np.uint64)
    starts = np.arange(5)
    found = kernels.built.spell_varints(bytes(range(5)), starts, starts + 1, b"", entries, rest, 99)
    assert found == [b"a", b"b" + bytes(7) + b"e", None, None, None]
    texts = [b"a", b"b" + bytes(7) + b"e", b"c" + bytes(7) + b"e", b"", b"e"]
    ids = np.arange(5).astype(np.uint32)
    said = kernels.built.spell_texts(
        ids, starts + 1, b"".join(texts), ends_of(texts), entries, rest
    )
    assert said == b"\1\1\0\0\0"
