"""Finding the identifiers of a block: what the writer of a dense block decides about them.

A reader needs none of this, any families are valid. Candidates are literals that end like a
UUID, or in 12-64 letters and digits. Those of the same prefix and length make a group, groups
that share identifiers become a family, and a family is used when its bits are fewer than what
its literals take as text, compressed.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from stowkenfs.documents.dense_families import (
    PREFIX_BYTES_MAX,
    PREFIXES_MAX,
    Family,
    alphabets_of,
)
from stowkenfs.minimal_zstd import compress

_UUID = re.compile(rb"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")
_TAIL = re.compile(rb"[A-Za-z0-9]{12,64}\Z")
_UUID_BYTES = 36
_TAIL_BYTES_MIN = 12
_LITERAL_BYTES_MAX = PREFIX_BYTES_MAX + 64

_USES_MIN = 3
# Groups that share a single identifier may do so by chance: a name that ends like a hash.
_SHARED_MIN = 2
# What a repeated identifier takes, measured: most repeats are the same distance from the last.
_REPEAT_BYTES = 0.4
# On its own a family's text compresses worse than among other text, but so do its neighbours
# once it is gone: measured over all corpora, 1.08 is best, 0.9 loses 1 % and 1.2 nothing.
_LEVEL = 9
_TEXT_WORTH = 1.08

_Group = tuple[bytes, int]


@dataclass(frozen=True, slots=True)
class Use:
    """A literal that may be written as an identifier; ``line`` is where it stands in the text."""

    slot: int
    line: int
    identifier: bytes


@dataclass(frozen=True, slots=True)
class FoundFamily:
    """A family that pays. ``uses`` has, in the order of slots, use and number of the prefix."""

    family: Family
    uses: list[tuple[Use, int]]


def split_literal(literal: bytes) -> tuple[bytes, bytes] | None:
    """Prefix and identifier of a literal that has the form of one; else None."""
    if not _TAIL_BYTES_MIN <= len(literal) <= _LITERAL_BYTES_MAX:
        return None
    found = _UUID.search(literal, max(0, len(literal) - _UUID_BYTES)) or _TAIL.search(literal)
    if found is None or found.start() > PREFIX_BYTES_MAX:
        return None
    return literal[: found.start()], literal[found.start() :]


class IdentifierFinder:
    """Collects the candidates of one block."""

    def __init__(self) -> None:
        self._groups: dict[_Group, list[Use]] = {}

    def offer(self, literal: bytes, slot: int, line: int) -> None:
        """A literal of the block."""
        parts = split_literal(literal)
        if parts is not None:
            prefix, identifier = parts
            use = Use(slot, line, identifier)
            self._groups.setdefault((prefix, len(identifier)), []).append(use)

    def families(self) -> list[FoundFamily]:
        """The families that pay, the one that gains most first."""
        gains: list[tuple[float, FoundFamily]] = []
        for groups in self._related():
            judged = self._judge(groups)
            if judged is not None:
                gains.append(judged)
        gains.sort(key=lambda gain: -gain[0])
        chosen = []
        left = PREFIXES_MAX
        for _, found in gains:
            if len(found.family.prefixes) <= left:
                left -= len(found.family.prefixes)
                chosen.append(found)
        return chosen

    def _related(self) -> Iterable[list[_Group]]:
        groups = {group: uses for group, uses in self._groups.items() if len(uses) >= _USES_MIN}
        root = {group: group for group in groups}

        def find(group: _Group) -> _Group:
            while root[group] != group:
                group = root[group]
            return group

        owners: dict[bytes, _Group] = {}
        for group, uses in groups.items():
            shared: dict[_Group, int] = {}
            for identifier in dict.fromkeys(use.identifier for use in uses):
                owner = owners.setdefault(identifier, group)
                if owner != group:
                    shared[owner] = shared.get(owner, 0) + 1
            for owner, count in shared.items():
                if count >= _SHARED_MIN:
                    root[find(owner)] = find(group)
        related: dict[_Group, list[_Group]] = {}
        for group in groups:
            related.setdefault(find(group), []).append(group)
        return related.values()

    def _judge(self, groups: list[_Group]) -> tuple[float, FoundFamily] | None:
        identifiers = {use.identifier for group in groups for use in self._groups[group]}
        alphabets = alphabets_of(list(identifiers))
        if alphabets is None:
            return None
        family = Family(alphabets, tuple(prefix for prefix, _ in groups))
        uses = [(use, number) for number, group in enumerate(groups) for use in self._groups[group]]
        by_line = sorted(uses, key=lambda item: item[0].line)
        text = b"\n".join(family.prefixes[number] + use.identifier for use, number in by_line)
        packed = family.bytes_of(len(identifiers)) + (len(uses) - len(identifiers)) * _REPEAT_BYTES
        packed += 4 + sum(map(len, family.prefixes)) + len(alphabets) / 4
        plain = len(compress(text, _LEVEL)) * _TEXT_WORTH
        if packed > plain:
            return None
        uses.sort(key=lambda item: item[0].slot)
        return plain - packed, FoundFamily(family, uses)
