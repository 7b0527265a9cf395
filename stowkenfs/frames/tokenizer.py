"""Text to ids, by splintr; the ids count only when they spell the same text again.

Reading needs none of this: without splintr everything decodes.
"""

import threading
from binascii import b2a_base64
from collections.abc import Sequence
from itertools import count, pairwise

import numpy as np

from stowkenfs import kernels
from stowkenfs.errors import StowkenError
from stowkenfs.frames.spelling import spelling_table
from stowkenfs.frames.token_table import token_table
from stowkenfs.frames.varints import TokenArray, ends_of
from stowkenfs.frames.vocabulary import TEXT_BYTES_MAX, NoSpelling, spell
from stowkenfs.ids import Vocabulary
from stowkenfs.once import made_once

# splintr remembers whole pre-tokens, up to a number of them but of any length: 1,200 runs of
# 64 KiB letters held 250 MB. So its cache is emptied each time that it has seen this much.
_CACHED_TEXT_BYTES_MAX = 8 << 20

# What one batch call gets: enough for all cores, and its flat result stays small.
_BATCH_CHARACTERS = 1 << 20


class TokenizerMissing(StowkenError):
    """splintr cannot be imported. Reading works, storing text as tokens does not."""

    def __init__(self, error: ImportError) -> None:
        super().__init__(
            f"tokenizing needs splintr ({error}); install it with: pip install splintr-rs"
        )


def tokenize(text: str, vocabulary: Vocabulary) -> TokenArray | None:
    """The ids of ``text``: uint32, shape (n,), read-only; spelling them gives its UTF-8.

    None when it does not survive: a lone surrogate, more than TEXT_BYTES_MAX, or a
    tokenizer that changes it. The text of a special token is tokenized as ordinary text.
    Raises TokenizerMissing, and NoSpelling for ``FOREIGN``.
    """
    utf8 = _utf8(text)
    if utf8 is None:
        return None
    if (encoder := _encoder_of(vocabulary)) is None:
        return _bytes_as_ids(utf8)
    return _verified(encoder.encode(text, len(utf8)), utf8, vocabulary)


def tokenize_many(texts: Sequence[str], vocabulary: Vocabulary) -> list[TokenArray | None]:
    """``tokenize`` of each; uses all cores, and releases the GIL while splintr works.

    splintr's threads do not survive a fork: worker processes must be spawned.
    """
    found: list[TokenArray | None] = [None] * len(texts)
    encoder = _encoder_of(vocabulary)
    batch: list[tuple[int, str, bytes]] = []
    characters = 0
    for number, text in enumerate(texts):
        utf8 = _utf8(text)
        if utf8 is None:
            continue
        if encoder is None:
            found[number] = _bytes_as_ids(utf8)
            continue
        batch.append((number, text, utf8))
        characters += len(text)
        if characters >= _BATCH_CHARACTERS:
            _tokenize_batch(encoder, batch, vocabulary, found)
            batch, characters = [], 0
    if batch and encoder is not None:
        _tokenize_batch(encoder, batch, vocabulary, found)
    return found


class _Encoder:
    """splintr over our own table, without special tokens: nothing can be promoted to one.

    Its flat calls need that, for they promote; and they are three times as quick as
    ``encode_ordinary``, which returns a list. Safe in any thread.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        try:
            import splintr  # noqa: PLC0415 - late: only writers pay for it
        except ImportError as error:
            raise TokenizerMissing(error) from error
        table = token_table(vocabulary)
        pattern: str = getattr(splintr, f"{vocabulary.name}_PATTERN")
        self._splintr = splintr.Tokenizer.from_bytes(
            _ranks(table.spellings[: table.ordinary].tolist()), pattern
        )
        self._lock = threading.Lock()
        self._seen_bytes = 0  # since the cache was empty; guarded by _lock

    def encode(self, text: str, utf8_bytes: int) -> TokenArray:
        ids = np.frombuffer(self._splintr.encode_flat(text), "<u4")
        self._bound_cache(utf8_bytes)
        return ids

    def encode_many(self, texts: list[str], utf8_bytes: int) -> list[TokenArray]:
        flat, offsets = self._splintr.encode_batch_flat(texts)
        self._bound_cache(utf8_bytes)
        ids = np.frombuffer(flat, "<u4")
        at = np.frombuffer(offsets, "<u8").tolist()
        return [ids[start:end] for start, end in pairwise(at)]

    def _bound_cache(self, utf8_bytes: int) -> None:
        with self._lock:
            self._seen_bytes += utf8_bytes
            if self._seen_bytes > _CACHED_TEXT_BYTES_MAX:
                self._splintr.clear_cache()
                self._seen_bytes = 0


@made_once
def _load_encoder(vocabulary: Vocabulary) -> _Encoder:
    """90 to 170 ms."""
    return _Encoder(vocabulary)


def _encoder_of(vocabulary: Vocabulary) -> _Encoder | None:
    """None for ``BYTES``, whose ids need no tokenizer."""
    if vocabulary is Vocabulary.FOREIGN:
        raise NoSpelling
    return None if vocabulary is Vocabulary.BYTES else _load_encoder(vocabulary)


def _ranks(spellings: list[bytes]) -> bytes:
    """The rank file of tiktoken: a line with base64 and id for each."""
    encoded = [b2a_base64(s, newline=False) for s in spellings]
    return b"".join([b"%b %d\n" % line for line in zip(encoded, count())])


def _tokenize_batch(
    encoder: _Encoder,
    batch: list[tuple[int, str, bytes]],
    vocabulary: Vocabulary,
    found: list[TokenArray | None],
) -> None:
    rows = encoder.encode_many([text for _, text, _ in batch], sum(len(u) for _, _, u in batch))
    same = _spelled(rows, [utf8 for _, _, utf8 in batch], vocabulary)
    for (number, _, utf8), ids, is_same in zip(batch, rows, same, strict=True):
        found[number] = ids if is_same else _verified(ids, utf8, vocabulary)


def _spelled(
    rows: Sequence[TokenArray], texts: Sequence[bytes], vocabulary: Vocabulary
) -> Sequence[int]:
    """1 for each of ``rows`` that surely spells its text."""
    if kernels.compiled is None:
        return bytes(len(rows))
    table = spelling_table(vocabulary)
    return kernels.compiled.spell_texts(
        np.concatenate(rows), ends_of(rows), b"".join(texts), ends_of(texts),
        table.entries, table.rest,
    )  # fmt: skip


def _verified(ids: TokenArray, utf8: bytes, vocabulary: Vocabulary) -> TokenArray | None:
    return ids if spell(ids, vocabulary) == utf8 else None


def _utf8(text: str) -> bytes | None:
    """None for a lone surrogate, which splintr must never see, and for what is too long."""
    if len(text) > TEXT_BYTES_MAX:
        return None
    try:
        utf8 = text.encode()
    except UnicodeEncodeError:
        return None
    return utf8 if len(utf8) <= TEXT_BYTES_MAX else None


def _bytes_as_ids(utf8: bytes) -> TokenArray:
    ids = np.frombuffer(utf8, np.uint8).astype(np.uint32)
    ids.flags.writeable = False
    return ids
