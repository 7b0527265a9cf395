"""Token tables: which bytes an id stands for. Reading needs these and no tokenizer.

Canonical form of a table for the ids 0 .. n-1, whose SHA-256 is the table's name:

    varint   n
    n bytes  length of each id's spelling in bytes; 0: the id has none
    bytes    the spellings, in the order of their ids, without gaps

Example, three ids spelled ``a``, nothing and ``bc``: ``03 01 00 02 61 62 63``. On disk the
form is one zstd frame, ``tables/<vocabulary>.bin``. The ordinary ids, those that text is
tokenized to, are ``0 .. ordinary-1``; above them lie the special tokens that OpenAI
named (``<|endoftext|>`` and the like), which only occur in ids that were given as ids.

The spellings are those of OpenAI's ``cl100k_base`` and ``o200k_base``; the build script
compares their hash with the one that tiktoken pins in ``tiktoken_ext/openai_public.py``.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import numpy.typing as npt
import zstandard

from stowkenfs.errors import Corrupt, FrameCorrupt
from stowkenfs.ids import Vocabulary
from stowkenfs.once import made_once
from stowkenfs.varint import append_varint, read_varint

SPELLING_BYTES_MAX = 128
"""The longest spelling in either vocabulary; a table with a longer one is refused."""

_TABLE_BYTES_MAX = 1 << 22


@dataclass(frozen=True, slots=True)
class TableName:
    """What the code pins about a shipped table."""

    file: str
    sha256: str  # of the canonical form
    ids: int  # n: every id is below it
    ordinary: int  # ids of ordinary text are below it


NAMES = {
    Vocabulary.CL100K_BASE: TableName(
        file="cl100k_base.bin",
        sha256="be84ac48a00571a0b63a236126a341725fcf08afa63b08640f9d4e2b13ba4383",
        ids=100_277,
        ordinary=100_256,
    ),
    Vocabulary.O200K_BASE: TableName(
        file="o200k_base.bin",
        sha256="be3eed43ec8d56bc4a549592aad7b8ca96bdb9f3c5c52e702d6cc54285598949",
        ids=200_019,
        ordinary=199_998,
    ),
}


@dataclass(frozen=True, slots=True)
class TokenTable:
    """The spellings of one vocabulary, ready to be gathered by an array of ids."""

    spellings: npt.NDArray[np.object_]  # id -> bytes, None where it has none; read-only
    ordinary: int


@made_once
def token_table(vocabulary: Vocabulary) -> TokenTable:
    """The shipped table of ``vocabulary``; the first call decompresses it (20-40 ms, 20 MB).

    Raises KeyError for a vocabulary without a table, FrameCorrupt when the shipped file
    is not the one that this release was built with.
    """
    name = NAMES[vocabulary]
    packed = files("stowkenfs.frames").joinpath("tables", name.file).read_bytes()
    try:
        canonical = zstandard.decompress(packed, max_output_size=_TABLE_BYTES_MAX)
    except zstandard.ZstdError as error:
        raise FrameCorrupt(f"token table {name.file}: {error}") from None
    if hashlib.sha256(canonical).hexdigest() != name.sha256:
        raise FrameCorrupt(f"token table {name.file} is not the one named {name.sha256}")
    spellings = np.empty(name.ids, np.object_)
    spellings[:] = parse_table(canonical)
    spellings.flags.writeable = False
    return TokenTable(spellings, name.ordinary)


def parse_table(canonical: bytes) -> list[bytes | None]:
    """The spelling of each id. Raises FrameCorrupt when the form is not as described."""
    try:
        count, at = read_varint(canonical, 0, bits_max=32)
    except Corrupt as error:
        raise FrameCorrupt(f"token table: {error}") from None
    lengths = canonical[at : at + count]
    start = at + count
    if len(lengths) != count or start + sum(lengths) != len(canonical):
        raise FrameCorrupt("token table: the lengths do not add up to its size")
    if max(lengths, default=0) > SPELLING_BYTES_MAX:
        raise FrameCorrupt(f"token table: a spelling of more than {SPELLING_BYTES_MAX} bytes")
    spellings: list[bytes | None] = []
    for length in lengths:
        spellings.append(canonical[start : start + length] if length else None)
        start += length
    return spellings


def render_table(spellings: list[bytes | None]) -> bytes:
    """The canonical form of ``spellings``; inverse of ``parse_table``."""
    out = bytearray()
    append_varint(out, len(spellings))
    out += bytes(len(spelling or b"") for spelling in spellings)
    return bytes(out) + b"".join(spelling or b"" for spelling in spellings)
