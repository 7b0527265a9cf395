import hashlib

from hypothesis import given

from stowkenfs.frames.address import segment_hash, segment_key
from stowkenfs.ids import Vocabulary
from tests.frames.strategies import array, arrays


def test_hash_is_sha256_of_the_little_endian_ids():
    """sha256sum of the bytes 01000000 00010000."""
    expected = hashlib.sha256(bytes.fromhex("0100000000010000")).digest()
    assert segment_hash(array([1, 256])) == expected


def test_hash_of_nothing_is_that_of_no_bytes():
    """FIPS 180-4 example of the empty message."""
    assert segment_hash(array([])).hex() == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def test_byte_order_and_layout_of_the_array_do_not_matter():
    ids = array([1, 2, 3, 4, 5, 6])
    assert segment_hash(ids.astype(">u4")) == segment_hash(ids)
    assert segment_hash(ids[::2]) == segment_hash(array([1, 3, 5]))


@given(arrays)
def test_key_fits_sqlite_and_tells_vocabularies_apart(ids):
    keys = {segment_key(segment_hash(ids), vocabulary) for vocabulary in Vocabulary}
    assert len(keys) == len(Vocabulary)
    assert all(-(2**63) <= key < 2**63 for key in keys)


def test_key_is_the_first_eight_bytes():
    digest = hashlib.sha256(bytes(32) + b"\xff").digest()
    expected = int.from_bytes(digest[:8], "little", signed=True)
    assert segment_key(bytes(32), Vocabulary.FOREIGN) == expected
