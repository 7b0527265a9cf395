"""The compiled inner loops, where there are any.

They only save time. Whoever calls one has the same in Python beside it, which runs where
``compiled`` is None: nothing was compiled when stowkenfs was installed, or the environment
has ``STOWKENFS_PURE=1``. What both give is the same, errors included: of what is damaged a
compiled function only says that it is, by None, and the Python code finds out how.

Arrays are C-contiguous, in the machine's byte order; their item sizes are checked.
"""

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol, cast

import numpy.typing as npt

Array = npt.NDArray[Any]
Buffer = bytes | bytearray | memoryview | Array
Columns = tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes]

PURE = "STOWKENFS_PURE"
"""The environment variable that turns them off; any text but nothing and ``0``."""


class Compiled(Protocol):
    """``csrc``. All raise TypeError and ValueError for arguments that do not fit together."""

    def spell_ranked(
        self,
        source: Buffer,
        starts: Array,
        ends: Array,
        header: bytes,
        entries: Array,
        rest: Array,
        bytes_max: int,
        order: Array,
        has_rank: Array,
        first_entries: Array,
        /,
    ) -> list[bytes | None]:
        """The texts of segments in ranked codes (``codebook``), without their terminators.

        Segments lie in ``source`` from ``starts`` to ``ends`` (int64), behind a ``header``. A
        SpellingTable has ``entries`` and ``rest`` (uint64). ``order`` (uint32) has the ids by
        rank, ``has_rank`` (uint8) tells of an id whether it is among them, ``first_entries``
        (uint64) has the entries of the first ranks, of as many as there are. None for each text
        that has to be decoded alone: it is damaged, has no such header, an id that the table
        does not spell, or more than ``bytes_max``, as all texts up to its own may have.
        """
        ...

    def spell_varints(
        self,
        source: Buffer,
        starts: Array,
        ends: Array,
        header: bytes,
        entries: Array,
        rest: Array,
        bytes_max: int,
        /,
    ) -> list[bytes | None]:
        """As ``spell_ranked``, for segments that are varints."""
        ...

    def scan_bodies(self, source: Buffer, starts: Array, ends: Array, types: Array, /) -> Columns:
        """Bodies of records, each in ``source`` from its start to its end (int64), as columns.

        The columns of ``pieces.Pieces``, in its order, the last one uint8: whether a record is
        left out. ``types`` (uint8, shape (256,)) tells which types of segments there are.
        """
        ...

    def fill(
        self,
        templates: Sequence[bytes],
        places: Array,
        place_ends: Array,
        source: Buffer,
        is_parts: Array,
        starts: Array,
        ends: Array,
        value_ends: Array,
        parts: Array,
        texts: Sequence[bytes],
        /,
    ) -> list[bytes | None]:
        """The bytes of records; None where there are not as many values as slots.

        A record has the ``templates`` that ``places`` (int64) name, up to its entry of
        ``place_ends`` (int64), and values up to its entry of ``value_ends`` (int64). A value is
        what ``source`` has from ``starts`` to ``ends`` (int64), or, where ``is_parts`` (uint8),
        the ``texts`` that ``parts`` (int64) name from there to there.
        """
        ...

    def varints32(self, buffer: Buffer, /) -> bytes | None:
        """``varints.decode_varints`` as uint32; None where it raises."""
        ...

    def varints56(self, buffer: Buffer, /) -> bytearray | None:
        """``dense_streams.decode_numbers`` as int64; None where it raises."""
        ...

    def places_of(self, buffer: Buffer, byte: int, /) -> bytearray:
        """Where ``byte`` stands, as uint32; the buffer has less than 2**32 bytes."""
        ...

    def identifiers(
        self, packed: Buffer, count: int, numbers: bytes, characters: bytes, sizes: bytes, /
    ) -> list[bytes] | None:
        """``dense_families.decode_identifiers``; None where it raises.

        ``numbers`` are the family's alphabets; ``characters`` has 64 bytes for each alphabet
        that there is, and ``sizes`` how many of them it has.
        """
        ...

    def spell_texts(
        self,
        ids: Array,
        ends: Array,
        texts: Buffer,
        text_ends: Array,
        entries: Array,
        rest: Array,
        /,
    ) -> bytes:
        """Whether ids (uint32) spell texts: for each 1, or 0 where that has to be found out.

        ``ends`` and ``text_ends`` (int64) tell where each has its ids and bytes, which follow
        each other. A SpellingTable has ``entries`` and ``rest``.
        """
        ...

    def pack_varints(self, ids: Array, ends: Array, /) -> list[bytes]:
        """``varints.encode_varints`` of the ids (uint32) up to each of ``ends`` (int64)."""
        ...

    def names_in_bodies(
        self, bodies: Sequence[bytes], types: Array, /
    ) -> tuple[bytes, bytes] | None:
        """Numbers of templates, and of segments, in record bodies, each as they come, as int64.

        ``types`` (uint8, shape (256,)) tells which types of segments there are. None where
        ``body.decode_body`` raises.
        """
        ...

    def rename_bodies(
        self, bodies: Sequence[bytes], types: Array, templates: Array, segments: Array, /
    ) -> list[bytes] | None:
        """Bodies with other numbers: what ``templates`` and ``segments`` (int64) have there.

        None where ``body.decode_body`` raises, or where they have -1, or end before.
        """
        ...

    def lex(
        self, content: Buffer, wholes: Array, values_max: int, long_bytes: int, /
    ) -> tuple[bytes, list[bytes], list[int], list[int]] | None:
        """``lexer.lex``: skeleton, values, and which are of ``long_bytes`` or more, and wholes.

        ``wholes`` (int64) has where each starts and ends, ascending. None as there.
        """
        ...

    def unescape(self, literal: Buffer, /) -> bytes | None:
        """``styles.unescape``."""
        ...

    def escape(self, text: Buffer, style: int, /) -> bytes | None:
        """``styles.write`` of a style that escapes; None where it raises."""
        ...

    def occurring(self, content: Buffer, needles: tuple[bytes, ...], /) -> int:
        """Which of at most eight ``needles`` occur, which begin alike: a bit for each."""
        ...

    def is_filled(
        self, content: Buffer, templates: tuple[bytes, ...], written: tuple[bytes, ...], /
    ) -> bool:
        """Whether ``content`` is the templates with this in their slots."""
        ...

    def encode_body(self, template_nos: list[int], values: list[Any], /) -> bytes:
        """``body.encode_body``. Raises OverflowError for a number of 63 bits or more."""
        ...

    def trie_index(self, parent: Array, token: Array, buckets: Array, /) -> None:
        """Fills the empty ``buckets`` of a trie: ``Trie.rebuild_buckets``. All are uint32."""
        ...

    def trie_observe(
        self,
        ids: Array,
        end: int,
        state: Array,
        live: Array,
        parent: Array,
        token: Array,
        credibility: Array,
        observations: Array,
        node_credibility: Array,
        child: Array,
        sibling: Array,
        depth: Array,
        flags: Array,
        buckets: Array,
        events: Array,
        /,
    ) -> None:
        """``observing.observe``, as far as the columns have room; ``state`` tells how far.

        ``state`` (int64, shape (3,)) has ids taken, slots used and events so far.
        """
        ...

    def model_encode(self, ids: Array, ends: Array, /, *model: Any) -> list[bytes | None]:
        """``coder.encode`` of the ids (uint32) up to each of ``ends`` (int64).

        ``model`` is its orders, hits and arrays. None for what cannot be coded.
        """
        ...

    def model_decode(
        self, source: Buffer, starts: Array, ends: Array, limit: int, /, *model: Any
    ) -> list[bytes | None]:
        """``coder.decode`` of each range of ``source``, as uint32; None where it raises."""
        ...


VERSION = 4
"""Of the functions; what was compiled from other sources, and left lying, is not used."""


def _load() -> Compiled | None:
    try:
        module = import_module("stowkenfs._kernels")
    except ImportError:
        return None
    return cast("Compiled", module) if getattr(module, "VERSION", 0) == VERSION else None


built = _load()
"""What was compiled, whether it is in use or not."""

compiled = None if os.environ.get(PURE, "0") not in {"", "0"} else built
