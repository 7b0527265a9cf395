"""Which numbers the blocks of packs name as their bases, in use or not.

A block that nothing uses any more lies in its pack until the pack goes, and a reader of packs
alone unpacks it too, to learn what it holds. So nothing may take the place of its base.
"""

from collections import defaultdict
from collections.abc import Mapping

from stowkenfs.ids import PackNo
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import HEADER_BYTES, base_of, stored_length

BASE_NUMBER_BYTES = 8


def named_bases(store: PackStore, lengths: Mapping[PackNo, int]) -> dict[int, set[int]]:
    """``{kind: numbers}`` by the headers of all blocks in the committed bytes of packs.

    A read of some bytes for each block. A thread's. Raises OSError, and Corrupt for a block
    behind which nobody knows where the next one is.
    """
    named: defaultdict[int, set[int]] = defaultdict(set)
    for pack, length in sorted(lengths.items()):
        at = 0
        while at < length:
            head = store.read(pack, at, min(HEADER_BYTES + BASE_NUMBER_BYTES, length - at))
            size = stored_length(head, pack, at)
            number = base_of(head)
            if number is not None:
                named[head[4]].add(number)
            at += size
    return dict(named)
