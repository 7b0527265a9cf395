"""What a segment is called: in public by all of its hash, inside by 64 bits of it."""

import hashlib

from stowkenfs.frames.varints import TokenArray
from stowkenfs.ids import Vocabulary

HASH_BYTES = 32


def segment_hash(ids: TokenArray) -> bytes:
    """The public address: SHA-256 of the ids (shape (n,)) as little-endian uint32.

    The vocabulary is no part of it, so anyone who has the ids can compute it.
    """
    return hashlib.sha256(ids.astype("<u4", copy=False).tobytes()).digest()


def segment_key(segment_hash: bytes, vocabulary: Vocabulary) -> int:
    """The dedup key of the index: signed 64 bits, as SQLite keeps integers.

    The first 8 bytes, little-endian, of SHA-256(hash || vocabulary byte). Equal ids of
    two vocabularies are different text, so they have different keys. A key is a hint:
    whoever finds one confirms it by comparing the content.
    """
    digest = hashlib.sha256(segment_hash + bytes((vocabulary,))).digest()
    return int.from_bytes(digest[:8], "little", signed=True)
