"""The segments of a vault that was only imported: each in a frame of its own."""

from collections.abc import Iterator
from pathlib import Path

from stowkenfs.frames.codec import decode_frame
from stowkenfs.frames.segment import Segment
from stowkenfs.ids import PackNo
from stowkenfs.store.block import HEADER_BYTES, BlockKind, decode_block, stored_length
from stowkenfs.vault.payloads import decode_segments


def segments_of(vault: Path) -> Iterator[tuple[Segment, int]]:
    """Each with the bytes of its frame, in the order in which they were stored."""
    for path in sorted((vault / "packs").iterdir()):
        pack, content, at = PackNo(int(path.stem)), path.read_bytes(), 0
        while at < len(content):
            end = at + stored_length(content[at : at + HEADER_BYTES], pack, at)
            block = decode_block(content[at:end], pack, at)
            if block.kind is BlockKind.SEGMENTS:
                items = decode_segments(block.payload, block.count)
                for frame in map(items.frames.__getitem__, range(block.count)):
                    yield decode_frame(frame), len(frame)
            at = end
