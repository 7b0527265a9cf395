"""When sealing is tried again."""

import errno

import pytest

from stowkenfs.ids import InodeNo
from stowkenfs.vault.due import RETRY_SECONDS, ROOM_BYTES, Due
from tests.vault.test_sealer import Clock

ONE, OTHER = InodeNo(1), InodeNo(2)


class Disk:
    free = 4096

    def __call__(self) -> int:
        return self.free


def test_what_failed_is_tried_again_later() -> None:
    clock, disk = Clock(), Disk()
    due = Due(clock, 1, disk)
    due.failed(ONE, OSError(errno.EIO, "bad"))
    due.left(ONE)  # written to again
    disk.free += 10 * ROOM_BYTES
    clock.advance(RETRY_SECONDS - 0.1)
    assert due.now() == []
    assert due.now(everything=True) == [ONE]
    clock.advance(0.2)
    assert due.now() == [ONE]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_what_met_a_full_disk_is_tried_again_when_there_is_room(code: int) -> None:
    clock, disk = Clock(), Disk()
    due = Due(clock, 1, disk)
    due.failed(ONE, OSError(code, "full"))
    due.failed(OTHER, ValueError("damaged"))
    disk.free += ROOM_BYTES - 1
    assert due.now() == []
    disk.free += 1
    assert due.now() == [ONE]
    due.failed(ONE, OSError(code, "full again"))
    assert due.now() == []
    due.remove(ONE)
    disk.free += ROOM_BYTES
    assert due.now() == []
    clock.advance(RETRY_SECONDS)
    assert due.now() == [OTHER]
