"""0x05 and the registry of substrings."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs.errors import FrameCorrupt, Unstorable
from stowkenfs.frames.codec import (
    EncodeChoices,
    FrameKind,
    decode_frame,
    encode_frame,
    frame_kind,
    references_of,
)
from stowkenfs.frames.segment import Segment
from stowkenfs.frames.substrings import SubstringMatcher, decode_substring, encode_substring
from stowkenfs.ids import Vocabulary
from tests.frames.drift import drift, same
from tests.frames.resources import Resources
from tests.frames.strategies import array, arrays

V = Vocabulary.CL100K_BASE
vocabularies = st.sampled_from(Vocabulary)


def fitted(vocabulary: Vocabulary, ids: np.ndarray) -> Segment:
    return Segment(vocabulary, ids & np.uint32(0xFF) if vocabulary is Vocabulary.BYTES else ids)


@st.composite
def registries(draw):
    numbers = draw(st.lists(st.integers(0, 1 << 20), max_size=6, unique=True))
    entries = {}
    for number in numbers:
        segment = fitted(draw(vocabularies), draw(arrays)[:400])
        if len(segment.tokens):
            entries[number] = segment
    return entries


@settings(deadline=None)
@given(registries(), vocabularies, st.data())
def test_round_trip(entries, vocabulary, data):
    """Of anything; parts of entries, changed ones among them, make 0x05 likely."""
    parts = [data.draw(arrays)[:30]]
    for entry in entries.values():
        ids = entry.tokens.copy()
        ids[data.draw(st.integers(0, len(ids) - 1))] = 5
        parts += [ids[data.draw(st.integers(0, len(ids))) :], data.draw(arrays)[:5]]
    segment = fitted(vocabulary, np.concatenate(parts))
    choices = EncodeChoices(SubstringMatcher(entries))
    frame = encode_frame(segment.tokens, vocabulary, choices=choices)
    assert same(decode_frame(frame, Resources(entries)), segment)
    assert len(frame) <= len(encode_frame(segment.tokens, vocabulary))
    assert set(references_of(frame).numbers) <= set(entries)
    again = EncodeChoices(SubstringMatcher(dict(reversed(entries.items()))))
    assert encode_frame(segment.tokens, vocabulary, choices=again) == frame


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damaged_frames(data):
    entries = {n: Segment(V, drift(n, 200).tokens[n * 10 :]) for n in range(5)}
    choices = EncodeChoices(SubstringMatcher(entries))
    frame = bytearray(encode_frame(drift(9, 230).tokens, V, choices=choices))
    assert frame_kind(bytes(frame)) is FrameKind.SUBSTRINGS
    for _ in range(data.draw(st.integers(1, 3))):
        frame[data.draw(st.integers(2, len(frame) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        decode_frame(bytes(frame), Resources(entries))
    except FrameCorrupt:
        return


def test_parts_of_entries_and_changed_ids():
    entries = {40: Segment(V, np.arange(250, dtype=np.uint32))}
    choices = EncodeChoices(SubstringMatcher(entries))
    frames = [encode_frame(drift(seed, 250).tokens, V, choices=choices) for seed in range(30)]
    assert all(references_of(f) == references_of(frames[0]) for f in frames)
    assert references_of(frames[0]).numbers == (40,)
    assert sum(map(len, frames)) < 30 * 22
    assert all(
        same(decode_frame(f, Resources(entries)), drift(seed, 250)) for seed, f in enumerate(frames)
    )


def test_a_short_segment_may_be_one_entry():
    entry = Segment(V, np.arange(9000, 9012, dtype=np.uint32))
    choices = EncodeChoices(SubstringMatcher({3: entry}))
    frame = encode_frame(entry.tokens, V, choices=choices)
    assert frame == bytes.fromhex("0501 03 02 01")


def test_vocabularies_are_apart():
    entry = drift(0, 100)
    choices = EncodeChoices(SubstringMatcher({0: entry}))
    frame = encode_frame(entry.tokens, Vocabulary.O200K_BASE, choices=choices)
    assert frame_kind(frame) in (FrameKind.VARINT, FrameKind.ZSTD)
    frame = encode_frame(entry.tokens, V, choices=choices)
    other = Segment(Vocabulary.O200K_BASE, entry.tokens)
    with pytest.raises(FrameCorrupt, match="O200K_BASE"):
        decode_frame(frame, Resources({0: other}))
    with pytest.raises(FrameCorrupt, match="none were given"):
        decode_frame(frame)


def test_a_matcher_survives_pickling():
    matcher = SubstringMatcher({4: drift(0, 100)})
    copy = pickle.loads(pickle.dumps(matcher))
    assert list(copy.entries) == [4]
    assert copy.body(drift(3, 100), 15) == matcher.body(drift(3, 100), 15)


def test_what_matches_everywhere_takes_no_time():
    """Entries and a segment of one id over and over: zstd has it, and at once."""
    entries = {n: Segment(V, np.full(16 + n, 7, np.uint32)) for n in range(50)}
    choices = EncodeChoices(SubstringMatcher(entries))
    segment = Segment(V, np.full(1 << 20, 7, np.uint32))
    frame = encode_frame(segment.tokens, V, choices=choices)
    assert same(decode_frame(frame, Resources(entries)), segment)


@settings(deadline=None)
@given(arrays, vocabularies)
def test_entries(ids, vocabulary):
    segment = fitted(vocabulary, ids)
    content = encode_substring(vocabulary, segment.tokens)
    if len(ids):
        assert same(decode_substring(content), segment)
    else:
        with pytest.raises(FrameCorrupt):
            decode_substring(content)


@settings(deadline=None)
@given(st.binary())
def test_hostile_entries(content):
    try:
        segment = decode_substring(content)
    except FrameCorrupt:
        return
    assert encode_substring(segment.vocabulary, segment.tokens) == content


def test_refused_entries():
    for content in (b"", b"\1", b"\3abc", b"\1\x80"):
        with pytest.raises(FrameCorrupt):
            decode_substring(content)
    with pytest.raises(Unstorable):
        encode_substring(Vocabulary.BYTES, array([256]))
