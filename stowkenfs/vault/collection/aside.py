"""Writing a dense block anew in another process, which has only what is sent of the vault."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stowkenfs.documents.dense_layout import TemplateLayout, layout_of_template
from stowkenfs.errors import Corrupt, FrameCorrupt
from stowkenfs.frames.codebook import Codebook
from stowkenfs.frames.dictionary import Dictionary
from stowkenfs.frames.segment import Segment
from stowkenfs.ids import PackNo, TemplateNo
from stowkenfs.minimal_zstd import Base
from stowkenfs.store.block import Block, BlockKind, decode_block
from stowkenfs.vault.collection.references import referred_to
from stowkenfs.vault.collection.rewriting import Levels, Part, Remade, Rewriter
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.unpacked import Unpacked, unpack


@dataclass(frozen=True, slots=True)
class Material:
    """A block as it lies in its pack, and what it takes to unpack it and to make another one.

    ``base``: the payload of the block that it refers to.
    """

    parts: Sequence[Part]
    content: bytes
    base: bytes | None
    templates: Mapping[int, bytes]
    levels: Levels


def material_of(
    parts: Sequence[Part], unpacked: Unpacked, reader: Reader, levels: Levels
) -> Material:
    """What to send. A thread's. Raises Corrupt."""
    place = parts[0].place
    kind = BlockKind(place.kind)
    templates: dict[int, bytes] = {}
    if kind is BlockKind.RECORDS:
        everything = np.arange(len(unpacked.items))
        for number in np.unique(referred_to(unpacked, everything).templates).tolist():
            templates[number] = reader.template(TemplateNo(number))
    base = None if place.base is None else reader.base(kind, place.base).content
    return Material(parts, reader.stored_block(place), base, templates, levels)


def remade_aside(material: Material) -> Remade | None:
    """As ``Rewriter.remade``. Any process. Raises Corrupt."""
    source = _Sent(material)
    place = material.parts[0].place
    block = decode_block(material.content, PackNo(place.pack), place.offset_bytes, source.base)
    return Rewriter(source, material.levels).remade(material.parts, source.unpack(block))


class _Sent:
    """What was sent, as blocks are unpacked and made with it; there are no frames in them."""

    def __init__(self, material: Material) -> None:
        self._material = material
        self._layouts: dict[int, TemplateLayout] = {}

    def unpack(self, block: Block) -> Unpacked:
        return unpack(block, self.layout_of, lambda _: Codebook({}), self)

    def base(self, kind: BlockKind, number: int) -> Base:
        place = self._material.parts[0].place
        if self._material.base is None or (kind, number) != (place.kind, place.base):
            raise Corrupt(f"the block of {kind.name.lower()} {number} was not sent")
        return Base(self._material.base)

    def layout_of(self, number: TemplateNo) -> TemplateLayout:
        layout = self._layouts.get(number)
        if layout is None:
            template = self._material.templates.get(number)
            if template is None:
                raise Corrupt(f"template {number} was not sent")
            layout = self._layouts[number] = layout_of_template(template)
        return layout

    def substring(self, number: int) -> Segment:
        raise FrameCorrupt(f"substring {number} was not sent")

    def dictionary(self, number: int) -> Dictionary:
        raise FrameCorrupt(f"dictionary {number} was not sent")

    def canonical(self, number: int, below: int = 1) -> Segment:
        del below
        raise FrameCorrupt(f"segment {number} was not sent")
