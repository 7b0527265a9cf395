"""The disk of the simulation: what was synced stays, the rest may."""

from tests.power.disk import SECTOR, Chance, Disk, File
from tests.power.recording import Event, Kind

SEEDS = range(200)


def disk_after(*events: Event) -> Disk:
    disk = Disk()
    for event in events:
        disk.apply(event)
    return disk


def event(
    kind: Kind, path: str, inode: int = 0, offset: int = 0, other: str = "", data: bytes = b""
) -> Event:
    return Event(kind, inode, offset, path, other, data)


def synced(path: str, inode: int = 0, number: int = 1) -> list[Event]:
    kinds = (Kind.SYNC_BEGIN, Kind.SYNC_END)
    return [event(kind, path, inode, offset=number) for kind in kinds]


CREATED = event(Kind.CREATE, "f", 7)
WRITTEN = event(Kind.WRITE, "f", 7, data=b"a" * 3 * SECTOR)


def left(disk: Disk) -> set[bytes | None]:
    """What a file f may be: None where it has no name."""
    trees = [disk.tree(Chance(style, seed)) for style in Chance.STYLES for seed in SEEDS]
    return {file.content if (file := tree.get("f")) else None for tree in trees}


def test_of_what_was_not_synced_anything_may_be_left() -> None:
    found = left(disk_after(CREATED, *synced(""), WRITTEN))
    a, zeros = b"a" * SECTOR, bytes(SECTOR)
    assert None not in found
    assert {b"", a * 3, zeros * 3, a + zeros * 2, zeros + a * 2} <= found


def test_a_synced_file_is_there_if_its_name_is() -> None:
    assert left(disk_after(CREATED, WRITTEN, *synced("f", 7))) == {None, b"a" * 3 * SECTOR}
    disk = disk_after(CREATED, WRITTEN, *synced("f", 7), *synced("", number=2))
    assert left(disk) == {b"a" * 3 * SECTOR}


def test_what_is_written_during_a_sync_is_not_covered_by_it() -> None:
    begin, end = synced("f", 7)
    assert b"" in left(disk_after(CREATED, *synced("", number=3), begin, WRITTEN, end))


def test_a_sector_has_what_was_written_before_to_it_too() -> None:
    disk = disk_after(
        CREATED,
        *synced(""),
        event(Kind.WRITE, "f", 7, data=b"ab"),
        event(Kind.WRITE, "f", 7, offset=2, data=b"cd"),
    )
    assert left(disk) == {b"", b"ab", b"abcd", bytes(2), bytes(4), b"ab" + bytes(2)}


def test_a_cut_file_is_old_or_new() -> None:
    disk = disk_after(
        CREATED, WRITTEN, *synced("f", 7), *synced("", number=2), event(Kind.TRUNCATE, "f", 7, 5)
    )
    assert left(disk) == {b"a" * 3 * SECTOR, b"a" * 5}


def test_a_rename_is_one_step_and_may_be_left_without_the_content() -> None:
    disk = disk_after(
        CREATED,
        event(Kind.WRITE, "f", 7, data=b"old"),
        *synced("f", 7),
        *synced("", number=2),
        event(Kind.CREATE, "new", 8),
        event(Kind.WRITE, "new", 8, data=b"new"),
        event(Kind.RENAME, "new", 8, other="f"),
    )
    assert left(disk) == {b"old", b"", bytes(3), b"new"}


def test_a_removed_file_may_come_back() -> None:
    disk = disk_after(
        CREATED, WRITTEN, *synced("f", 7), *synced("", number=2), event(Kind.UNLINK, "f")
    )
    assert left(disk) == {None, b"a" * 3 * SECTOR}
    for one in synced("", number=3):
        disk.apply(one)
    assert left(disk) == {None}


def test_the_same_seed_leaves_the_same() -> None:
    file = File(b"", disk_after(CREATED, WRITTEN)._files[7].pending)
    contents = [Chance("mixed", 5).content(file, "f") for _ in range(2)]
    assert contents[0] == contents[1]
