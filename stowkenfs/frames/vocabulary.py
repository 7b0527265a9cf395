"""Ids to the bytes they stand for, and which vocabulary a conversation is in."""

import re

import numpy as np

from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames.token_table import token_table
from stowkenfs.frames.varints import TokenArray
from stowkenfs.ids import Vocabulary

TEXT_BYTES_MAX = 1 << 24
"""The longest text of one segment, in UTF-8. 0x02 of one id repeated could say gigabytes."""

_GATHERED_IDS = 1 << 16  # at most 8 MiB of spelling between two looks at the limit


class NoSpelling(FrameCorrupt):
    """Ids whose vocabulary is not known here have no text."""

    def __init__(self) -> None:
        super().__init__("the ids are of a tokenizer that is not known here, so have no text")


def spell(ids: TokenArray, vocabulary: Vocabulary) -> bytes:
    """The text of ``ids`` (uint32, shape (n,)), as bytes: not always whole UTF-8 characters.

    Raises FrameCorrupt for an id outside the vocabulary and for a text of more than
    TEXT_BYTES_MAX, NoSpelling for ``FOREIGN``. The first call for a vocabulary loads its table.
    """
    if vocabulary is Vocabulary.FOREIGN:
        raise NoSpelling
    if vocabulary is Vocabulary.BYTES:
        if len(ids) > TEXT_BYTES_MAX:
            raise _too_long()
        if len(ids) and ids.max() > 0xFF:
            raise _no_such_id(int(ids.max()), vocabulary)
        return ids.astype(np.uint8).tobytes()
    spellings = token_table(vocabulary).spellings
    parts: list[bytes] = []
    length_bytes = 0
    for start in range(0, len(ids), _GATHERED_IDS):
        some = ids[start : start + _GATHERED_IDS]
        try:
            parts.append(b"".join(spellings[some].tolist()))
        except (IndexError, TypeError):  # beyond the table; a gap in it, which is None
            raise _no_such_id(_first_without(some, vocabulary), vocabulary) from None
        length_bytes += len(parts[-1])
        if length_bytes > TEXT_BYTES_MAX:
            raise _too_long()
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _first_without(ids: TokenArray, vocabulary: Vocabulary) -> int:
    spellings = token_table(vocabulary).spellings
    for token_id in ids.tolist():
        if token_id >= len(spellings) or spellings[token_id] is None:
            return int(token_id)
    raise AssertionError("every id has a spelling")


def _no_such_id(token_id: int, vocabulary: Vocabulary) -> FrameCorrupt:
    return FrameCorrupt(f"{vocabulary.name} has no id {token_id}")


def _too_long() -> FrameCorrupt:
    return FrameCorrupt(f"a text of more than {TEXT_BYTES_MAX} bytes")


_BY_TOKENIZER = {
    "cl100k_base": Vocabulary.CL100K_BASE,
    "o200k_base": Vocabulary.O200K_BASE,
    # The same ids; its additional special tokens are in the table.
    "o200k_harmony": Vocabulary.O200K_BASE,
}

# As tiktoken/model.py. Vendors put their name before a slash, Bedrock before a dot and
# OpenAI "ft:" before fine-tuned ones. "o1" must not catch "o100", nor "gpt-4" "gpt-4.7".
_VENDOR = r"(?:.*/)?(?:ft:)?(?:openai\.)?"
_O200K_MODELS = re.compile(
    _VENDOR + r"(?:(?:chat)?gpt-4o|gpt-4\.[15]|gpt-5|gpt-oss|o[134](?![0-9a-z]))"
)
_CL100K_MODELS = re.compile(
    _VENDOR + r"(?:gpt-4(?![.0-9a-z])|gpt-3\.5|gpt-35-turbo|text-embedding-(?:ada-002|3-))"
)


def vocabulary_for(tokenizer: str | None, model: str | None) -> Vocabulary:
    """The vocabulary to tokenize a conversation's text with. Never FOREIGN: any will do.

    The conversation's own ``tokenizer`` decides, when it is one of ours, then the model.
    """
    return _by_tokenizer(tokenizer) or _by_model(model) or Vocabulary.O200K_BASE


def vocabulary_of_ids(tokenizer: str | None, model: str | None) -> Vocabulary:
    """The vocabulary that ids came in; FOREIGN when the names given do not tell.

    A tokenizer that is named and unknown is not overruled by the model: wrong text for
    ids is worse than none.
    """
    if tokenizer is not None and tokenizer.strip():
        return _by_tokenizer(tokenizer) or Vocabulary.FOREIGN
    return _by_model(model) or Vocabulary.FOREIGN


def _by_tokenizer(name: str | None) -> Vocabulary | None:
    words = (name or "").lower().replace("-", " ").split()
    return _BY_TOKENIZER.get("_".join(words))


def _by_model(name: str | None) -> Vocabulary | None:
    plain = (name or "").strip().lower()
    if _O200K_MODELS.match(plain):
        return Vocabulary.O200K_BASE
    if _CL100K_MODELS.match(plain):
        return Vocabulary.CL100K_BASE
    return None
