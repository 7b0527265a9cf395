"""Trained dictionaries and frames of kind 0x03; ``test_dictionary_training`` makes some."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames.codebook import CODED_IDS, Codebook
from stowkenfs.frames.codec import EncodeChoices, decode_frame, encode_frame, frame_kind
from stowkenfs.frames.dictionary import (
    DICTIONARY_BYTES_MAX,
    Dictionary,
    DictionaryCodec,
    Form,
    dictionary_number,
)
from stowkenfs.frames.kinds import FrameKind
from stowkenfs.frames.segment import SYMBOLS_BYTES_MAX, Segment, symbols_of
from stowkenfs.frames.varints import TokenArray, encode_varints
from stowkenfs.ids import Vocabulary
from tests.format_vectors import VECTORS, content_of
from tests.frames.resources import Resources
from tests.frames.strategies import array, ids

BYTES, O200K, FOREIGN = Vocabulary.BYTES, Vocabulary.O200K_BASE, Vocabulary.FOREIGN

TRAINED = Dictionary.decode(content_of(VECTORS["dictionary/trained"]))
CODES_ONLY = Dictionary(TRAINED.codebook, b"", 7)
NO_CODES = Dictionary(Codebook({}), TRAINED.trained, 7)
RESOURCES = Resources(dictionaries={3: TRAINED, 4: CODES_ONLY, 500: NO_CODES})
FREQUENT = TRAINED.codebook.orders[O200K].tolist()
SAMPLE = array(VECTORS["frames/dictionary-block"]["ids"])
CODEC = DictionaryCodec()

numbers = st.sampled_from(sorted(RESOURCES.dictionaries))
vocabularies = st.sampled_from(Vocabulary)
# Runs of the sample make zstd worth its header; what is repeated goes beyond one block.
arrays = st.builds(
    lambda parts, times: array([token_id for part in parts for token_id in part] * times),
    st.lists(
        st.one_of(
            st.lists(ids, max_size=3),
            st.lists(st.sampled_from(FREQUENT), max_size=9),
            st.builds(
                lambda start, length: SAMPLE[start : start + length].tolist(),
                st.integers(0, 30),
                st.integers(1, 36),
            ),
        ),
        max_size=9,
    ),
    st.sampled_from([1, 1, 1, 20, 3000]),
)


def fitting(tokens: TokenArray, vocabulary: Vocabulary) -> TokenArray:
    return tokens & np.uint32(0xFF) if vocabulary is BYTES else tokens


def body_of(number: int, form: int, packed: bytes = b"") -> memoryview:
    return memoryview(encode_varints(array([number << 2 | form])) + packed)


def frame_of(length: int, zstd_frame: bytes) -> bytes:
    return encode_varints(array([length])) + zstd_frame


def zstd_frame(codes: bytes, write_content_size: int = 0) -> bytes:
    """A reduced zstd frame of TRAINED, by other means than the codec."""
    parameters = zstandard.ZstdCompressionParameters(
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        compression_level=3,
        write_content_size=write_content_size,
        write_checksum=0,
        write_dict_id=0,
    )
    dictionary = zstandard.ZstdCompressionDict(TRAINED.trained)
    compressor = zstandard.ZstdCompressor(compression_params=parameters, dict_data=dictionary)
    return compressor.compress(codes)


# Round trips


@settings(deadline=None)
@given(arrays, vocabularies, numbers)
def test_a_body_comes_back(tokens, vocabulary, number):
    segment = Segment(vocabulary, fitting(tokens, vocabulary))
    choices = EncodeChoices(dictionary=(number, RESOURCES.dictionaries[number]))
    body = CODEC.encode(segment, symbols_of(segment), 15, choices)
    if body is None:
        assert tokens.max() >= CODED_IDS
        return
    assert dictionary_number(memoryview(body)) == number
    read = CODEC.decode(vocabulary, memoryview(body), RESOURCES)
    assert read.vocabulary is vocabulary
    assert read.tokens.dtype == np.uint32
    assert np.array_equal(read.tokens, segment.tokens)
    assert not read.tokens.flags.writeable
    assert CODEC.encode(read, symbols_of(read), 15, choices) == body


@settings(deadline=None)
@given(arrays, vocabularies, numbers)
def test_a_frame_is_never_longer_for_a_dictionary(tokens, vocabulary, number):
    tokens = fitting(tokens, vocabulary)
    choices = EncodeChoices(dictionary=(number, RESOURCES.dictionaries[number]))
    frame, without = (
        encode_frame(tokens, vocabulary, choices=choices),
        encode_frame(tokens, vocabulary),
    )
    assert len(frame) < len(without) or frame == without
    assert np.array_equal(decode_frame(frame, RESOURCES).tokens, tokens)


def test_what_it_was_trained_on_takes_a_fraction():
    segment = Segment(O200K, SAMPLE)
    frame = encode_frame(SAMPLE, O200K, choices=EncodeChoices(dictionary=(3, TRAINED)))
    assert frame_kind(frame) is FrameKind.DICTIONARY
    assert 2 * len(frame) < len(encode_frame(SAMPLE, O200K))
    assert TRAINED.compress(segment) is not None


@pytest.mark.parametrize("number", [0, 1, 31, 32, 2**31, 2**60])
def test_numbers_of_any_length(number):
    frame = encode_frame(SAMPLE, O200K, choices=EncodeChoices(dictionary=(number, TRAINED)))
    resources = Resources(dictionaries={number: TRAINED})
    assert np.array_equal(decode_frame(frame, resources).tokens, SAMPLE)


def form_of(tokens: TokenArray, vocabulary: Vocabulary, dictionary: Dictionary) -> Form:
    found = dictionary.compress(Segment(vocabulary, tokens))
    assert found is not None
    form, packed = found
    assert np.array_equal(dictionary.decompress(vocabulary, form, packed).tokens, tokens)
    return form


def test_each_form_is_taken_where_it_is_the_smallest():
    long = np.resize(SAMPLE, 1 << 18)
    assert form_of(SAMPLE[:0], O200K, TRAINED) is Form.CODES
    assert form_of(SAMPLE[:1], O200K, TRAINED) is Form.CODES
    assert form_of(SAMPLE, O200K, TRAINED) is Form.BLOCK
    assert form_of(long, O200K, TRAINED) is Form.FRAME
    assert form_of(SAMPLE, O200K, CODES_ONLY) is Form.CODES
    assert form_of(long, O200K, CODES_ONLY) is Form.CODES


@pytest.mark.parametrize("length", [(1 << 17) - 1, 1 << 17, (1 << 17) + 1])
def test_around_the_longest_block(length):
    noise = np.random.default_rng(1).integers(0, 8, length)  # one byte each, and some pay
    tokens = TRAINED.codebook.orders[O200K][noise]
    form_of(tokens, O200K, TRAINED)
    form_of(noise.astype(np.uint32), BYTES, TRAINED)


def test_threads_share_a_dictionary():
    dictionary = Dictionary.decode(TRAINED.encode())

    def round_trip(length: int) -> bool:
        segment = Segment(O200K, SAMPLE[: length % 37])
        found = dictionary.compress(segment)
        assert found is not None
        read = dictionary.decompress(O200K, *found)
        return found == TRAINED.compress(segment) and np.array_equal(read.tokens, segment.tokens)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(round_trip, range(2000)))


@pytest.mark.parametrize("token_id", [CODED_IDS, 2**32 - 1])
def test_ids_without_a_code_are_left_to_other_kinds(token_id):
    tokens = np.append(SAMPLE, np.uint32(token_id))
    assert TRAINED.compress(Segment(FOREIGN, tokens)) is None
    frame = encode_frame(tokens, FOREIGN, choices=EncodeChoices(dictionary=(3, TRAINED)))
    assert frame_kind(frame) is not FrameKind.DICTIONARY


def test_codes_longer_than_a_frame_holds_are_left_to_other_kinds():
    assert CODES_ONLY.codes(Segment(FOREIGN, np.ones(SYMBOLS_BYTES_MAX // 3, np.uint32)))
    long = Segment(FOREIGN, np.ones(SYMBOLS_BYTES_MAX // 3 + 1, np.uint32))  # no ranks
    assert CODES_ONLY.compress(long) is None


# Entries


@pytest.mark.parametrize("dictionary", [TRAINED, CODES_ONLY, NO_CODES])
def test_an_entry_comes_back(dictionary):
    content = dictionary.encode()
    for read in (Dictionary.decode(content), pickle.loads(pickle.dumps(dictionary))):
        assert read.encode() == content
        assert read.trained == dictionary.trained
        assert read.codebook.encode() == dictionary.codebook.encode()
        assert read.sample_count == dictionary.sample_count
        assert read.size_bytes == len(content)


def test_an_entry_is_made_anew_as_it_was():
    for dictionary in (TRAINED, CODES_ONLY, NO_CODES):
        parts = dictionary.codebook, dictionary.trained, dictionary.sample_count
        assert Dictionary(*parts).encode() == dictionary.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x07",
        b"\x07\0",
        b"\x07\0\x09\0",  # a codebook that is cut off
        b"\x07\0\x01\0no dictionary",
        b"\x07\0\x01\0" + TRAINED.trained[:40],
        b"\x07\0\x01\0" + bytes(DICTIONARY_BYTES_MAX + 1),
        b"\x07\xff\xff\xff\x7f\0",  # 256 MB of parts
        b"\x07\x05\0\x38\x09\0\0\0",  # one byte of parts where there should be five
        b"\x07\x05not zstd",
    ],
)
def test_an_entry_that_is_refused(content):
    with pytest.raises(FrameCorrupt):
        Dictionary.decode(content)


def test_entries_have_a_bound():
    """Before anything is allocated for what they say."""
    longest = TRAINED.trained.ljust(DICTIONARY_BYTES_MAX, b"a")
    assert Dictionary.decode(Dictionary(CODES_ONLY.codebook, longest, 1).encode())
    for content in (
        Dictionary(CODES_ONLY.codebook, longest + b"a", 1).encode(),
        b"\7\0" + bytes(2 * DICTIONARY_BYTES_MAX + 1),
        b"\7" + encode_varints(array([2 * DICTIONARY_BYTES_MAX + 1])) + b"\0\x38\1\0\0",
    ):
        with pytest.raises(FrameCorrupt, match=r"more than|too large"):
            Dictionary.decode(content)


@settings(deadline=None)
@given(st.data())
def test_a_damaged_entry_is_refused_or_works(data):
    """Its content hash would tell; nothing that it says may do harm."""
    content = bytearray(NO_CODES.codebook.encode())
    content = bytearray(b"\x07\0\x01") + content + NO_CODES.trained
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.sampled_from([len(content), len(content) // 2, 150])) :]
    try:
        dictionary = Dictionary.decode(bytes(content))
    except FrameCorrupt:
        return
    form_of(SAMPLE & np.uint32(0xFF), BYTES, dictionary)


# Frames that are refused


@settings(deadline=None)
@given(
    vocabularies, st.integers(0, 3), numbers, st.one_of(st.binary(), st.binary(max_size=9)), arrays
)
@example(O200K, 1, 3, b"\0\0", array([]))
def test_hostile_bodies(vocabulary, form, number, packed, tokens):
    """A typed error or a segment that can be stored, never another exception."""
    found = TRAINED.compress(Segment(BYTES, tokens & np.uint32(0xFF)))
    assert found is not None
    for content in (packed, found[1] + packed, packed[:1] + found[1][1:]):
        try:
            segment = CODEC.decode(vocabulary, body_of(number, form, content), RESOURCES)
        except FrameCorrupt:
            continue
        assert len(symbols_of(segment)) <= SYMBOLS_BYTES_MAX


CODES = b"\0\1\2" * 9
FRAME = zstd_frame(CODES)


@pytest.mark.parametrize(
    "body",
    [
        memoryview(b""),
        memoryview(b"\x80"),
        memoryview(b"\xff" * 11),
        body_of(3, 0, b"\xf0"),  # a code that is cut off
        body_of(3, 0, b"\xff"),
        body_of(5, 0),  # no such dictionary
        body_of(3, 1),  # an empty block
        body_of(3, 1, b"\0"),
        body_of(3, 1, bytes((1 << 17) + 1)),
        body_of(3, 2),
        body_of(3, 2, frame_of(0, b"\0\x38\1\0\0")),
        body_of(3, 2, frame_of(len(CODES) + 1, FRAME)),
        body_of(3, 2, frame_of(len(CODES) - 1, FRAME)),
        body_of(3, 2, frame_of(SYMBOLS_BYTES_MAX + 1, FRAME)),
        body_of(3, 2, frame_of(2**31, FRAME)),
        body_of(3, 2, frame_of(len(CODES), FRAME + b"\0")),
        body_of(3, 2, frame_of(len(CODES), FRAME[:-1])),
        body_of(3, 2, frame_of(len(CODES), zstandard.compress(CODES))),
        body_of(3, 2, frame_of(len(CODES), b"\0\x78" + FRAME[2:])),  # a window of 2^25 bytes
        body_of(3, 2, frame_of(len(CODES), zstd_frame(CODES, write_content_size=1))),
        body_of(3, 2, frame_of(len(CODES), b"\xc0\x38" + (1 << 60).to_bytes(8, "little"))),
        body_of(3, 3, CODES),
        body_of(4, 1, b"\0\0\0"),  # no zstd dictionary
        body_of(4, 2, frame_of(len(CODES), FRAME)),
    ],
)
def test_a_body_that_is_refused(body):
    with pytest.raises(FrameCorrupt):
        CODEC.decode(O200K, body, RESOURCES)


@pytest.mark.parametrize("length", [0, SYMBOLS_BYTES_MAX + 1, 2**31])
def test_lengths_are_looked_at_before_anything_is_allocated(length):
    with pytest.raises(FrameCorrupt, match=f"^{length} bytes of codes; a frame holds 1-"):
        CODEC.decode(O200K, body_of(3, 2, frame_of(length, FRAME)), RESOURCES)


def test_a_frame_by_another_writer_is_read():
    body = body_of(3, 2, frame_of(len(CODES), FRAME))
    assert CODEC.decode(BYTES, body, RESOURCES).tokens.tolist() == list(CODES)
    expected = [FREQUENT[rank] for rank in CODES]
    assert CODEC.decode(O200K, body, RESOURCES).tokens.tolist() == expected


def test_without_resources():
    with pytest.raises(FrameCorrupt):
        CODEC.decode(O200K, body_of(3, 0), None)
    assert CODEC.encode(Segment(O200K, SAMPLE), b"", 15, None) is None
    assert CODEC.encode(Segment(O200K, SAMPLE), b"", 15, EncodeChoices()) is None


def test_a_block_holds_no_more_than_its_bound():
    """A block of 3 bytes that says 1 MiB: run-length literals."""
    bomb = (1 | 3 << 2 | (1 << 20) - 1 << 4).to_bytes(3, "little") + b"a\0"
    with pytest.raises(FrameCorrupt):
        CODEC.decode(BYTES, body_of(3, 1, bomb), RESOURCES)
    most = (1 | 3 << 2 | 1 << 17 << 4).to_bytes(3, "little") + b"a\0"
    assert CODEC.decode(BYTES, body_of(3, 1, most), RESOURCES).tokens.tolist() == [97] * (1 << 17)


def test_codes_of_more_symbols_than_a_frame_holds():
    dictionary = Dictionary(Codebook({O200K: array([20_000])}), b"", 1)
    resources = Resources(dictionaries={0: dictionary})
    most = SYMBOLS_BYTES_MAX // 3
    read = CODEC.decode(O200K, body_of(0, 0, bytes(most)), resources)
    assert len(read.tokens) == most
    with pytest.raises(FrameCorrupt):
        CODEC.decode(O200K, body_of(0, 0, bytes(most + 1)), resources)
    with pytest.raises(FrameCorrupt):
        CODEC.decode(O200K, body_of(0, 0, bytes(SYMBOLS_BYTES_MAX + 1)), resources)
