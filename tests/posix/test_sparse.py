"""Files with holes: a hole costs neither time nor memory nor bytes, whatever its size."""

import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.calls import descriptor
from tests.mount.mounted import Mount, run
from tests.posix.jobs import LINES, all_jobs

HUGE_BYTES = 999_999_999_999_999
PIECES = int(os.environ.get("STOWKENFS_POSIX_ENTRIES", "1000"))
"""Of a file that is written here and there."""

PEAK_KIB = 512 << 10


def vault_bytes(mount: Mount) -> int:
    """What content costs: packs and drafts, not the index's pages."""
    files = [*(mount.vault / "packs").iterdir(), *(mount.vault / "drafts").iterdir()]
    return sum(path.stat().st_size for path in files)


def held_bytes(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_a_petabyte_of_nothing_costs_nothing(mount: Mount) -> None:
    path, began = mount.path / "sparse", time.monotonic()
    spots = {0: b"begin", HUGE_BYTES // 3: b"a third", HUGE_BYTES - 4: b"last"}

    def check() -> None:
        with descriptor(path, os.O_RDONLY) as fd:
            assert os.fstat(fd).st_size == HUGE_BYTES
            for at, content in spots.items():
                assert os.pread(fd, 100, at) == content.ljust(min(100, HUGE_BYTES - at), b"\0")
            for at in (HUGE_BYTES // 2, HUGE_BYTES // 3 - (1 << 20), HUGE_BYTES // 3 + 7):
                assert os.pread(fd, 1 << 20, at) == bytes(1 << 20)
        assert 0 < held_bytes(path) <= 16 << 10
        assert run("tail", "-c", "6", path) == "\0\0last"
        assert vault_bytes(mount) < 64 << 10

    path.touch()
    os.truncate(path, HUGE_BYTES)
    assert held_bytes(path) == 0
    with descriptor(path, os.O_RDWR) as fd:
        for at, content in spots.items():
            os.pwrite(fd, content, at)
    check()
    mount.wait_sealed()
    check()
    for _ in all_jobs(mount):
        check()
    mount.remount()
    check()
    assert int(os.getxattr(path, "user.stowken.stored_bytes")) < 1000
    os.link(path, mount.path / "second")
    path.unlink()
    path = mount.path / "second"
    check()
    os.truncate(path, HUGE_BYTES // 2)  # and the end is gone
    os.truncate(path, HUGE_BYTES)
    spots[HUGE_BYTES - 4] = bytes(4)
    with descriptor(path, os.O_RDONLY) as fd:
        assert os.pread(fd, 1 << 17, HUGE_BYTES - (1 << 17)) == bytes(1 << 17)
    path.unlink()
    assert time.monotonic() - began < 60
    assert mount.measure() < PEAK_KIB


def test_the_beginning_of_a_petabyte_is_read_through_a_pipe(shared: Mount, folder: Path) -> None:
    path = folder / "sparse"
    path.touch()
    os.truncate(path, HUGE_BYTES)
    read = run("bash", "-c", f"cat {path} | head -c 50000000 | tr -d '\\0' | wc -c")
    assert read.strip() == "0"
    assert shared.measure() < PEAK_KIB


def test_a_petabyte_is_exported_with_its_hole(mount: Mount, tmp_path: Path) -> None:
    """As far as what it is exported to has holes of that size."""
    length = 16 << 30
    with (mount.path / "sparse").open("wb") as file:
        file.write(b"begin")
        file.truncate(length)
        file.seek(length - 3)
        file.write(b"end")
    mount.unmount()
    command = mount.command()
    program = command[: command.index("mount")]
    subprocess.run([*program, "export", mount.vault, tmp_path / "out"], check=True, timeout=60)
    status = (tmp_path / "out" / "sparse").stat()
    assert status.st_size == length
    assert status.st_blocks * 512 < 1 << 20
    subprocess.run(
        [*program, "import", tmp_path / "again", tmp_path / "out"], check=True, timeout=60
    )
    mount.start()


def test_blocks_tell_what_is_no_hole(shared: Mount, folder: Path) -> None:
    path, mebi = folder / "file", 1 << 20
    text = LINES[: 100 << 10]
    with descriptor(path, os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, 100 * mebi)
        assert os.fstat(fd).st_blocks == 0
        for at in (5, 50, 99):
            os.pwrite(fd, text, at * mebi)
        assert os.fstat(fd).st_blocks * 512 == 3 * len(text)
        os.pwrite(fd, text, 50 * mebi)  # over what is there
        os.pwrite(fd, text[:5000], 99 * mebi - 1000)  # over some of it
        assert held_bytes(path) == 3 * len(text) + 1024
    before = path.stat()
    shared.wait_sealed()
    (shared.control / "compact").write_text("1\n")
    shared.remount()
    assert path.stat().st_blocks == before.st_blocks
    assert run("du", "-k", path).split()[0] == str((3 * len(text) >> 10) + 1)
    with descriptor(path, os.O_RDWR) as fd:
        os.pwrite(fd, text, 50 * mebi)  # a draft over a record
        assert os.fstat(fd).st_blocks == before.st_blocks
        os.ftruncate(fd, 50 * mebi + 512)
        assert os.fstat(fd).st_blocks * 512 == len(text) + 512
        os.ftruncate(fd, 100 * mebi)
        assert os.fstat(fd).st_blocks * 512 == len(text) + 512
    dense = folder / "dense"
    dense.write_bytes(text * 30)
    assert held_bytes(dense) == len(text) * 30
    shared.wait_sealed()
    shared.remount()
    assert held_bytes(dense) == len(text) * 30


def test_sparse_copies(shared: Mount, folder: Path, tmp_path: Path) -> None:
    """cp looks at blocks to see that there are holes, and leaves them out."""
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.write(LINES)
        file.truncate(40 << 20)
        file.seek(30 << 20)
        file.write(LINES)
    copied, back = folder / "copied", tmp_path / "back"
    run("cp", "--sparse=always", "--reflink=auto", source, copied)
    assert held_bytes(copied) < 1 << 20
    shared.wait_sealed()
    shared.remount()
    assert held_bytes(copied) < 1 << 20
    run("cmp", source, copied)
    run("cp", copied, back)
    run("cmp", source, back)
    assert held_bytes(back) < 4 << 20
    run("tar", "-cSf", tmp_path / "archive.tar", "-C", folder, "copied")
    assert (tmp_path / "archive.tar").stat().st_size < 4 << 20
    run("cp", "--sparse=never", source, folder / "whole")  # zeros that are written are content
    assert held_bytes(folder / "whole") == 40 << 20


def test_a_file_written_here_and_there(mount: Mount, say) -> None:
    """What each piece costs does not depend on how many there are."""
    path, stride = mount.path / "file", 1_000_003
    places = list(range(PIECES))
    random.Random(1).shuffle(places)
    began = time.monotonic()
    with mount.watched():
        with descriptor(path, os.O_RDWR | os.O_CREAT) as fd:
            for at in places:
                os.pwrite(fd, b"piece %d" % at, at * stride)
            written = time.monotonic()
            size = os.fstat(fd).st_size
        mount.wait_sealed(30 + PIECES / 100)
        sealed = time.monotonic()
        with descriptor(path, os.O_RDWR) as fd:
            for at in places[::7]:
                content = b"piece %d" % at
                assert os.pread(fd, len(content), at * stride) == content
            for at in places[::3]:
                os.pwrite(fd, b"other %d" % at, at * stride)
            os.ftruncate(fd, size // 2)
        mount.wait_sealed(30 + PIECES / 100)
        mount.remount()
        with descriptor(path, os.O_RDONLY) as fd:
            for rank, at in enumerate(places):
                content = b"piece %d" % at if rank % 3 else b"other %d" % at
                expected = content if at * stride + len(content) <= size // 2 else b""
                if expected or at * stride >= size // 2:
                    assert os.pread(fd, len(content), at * stride) == expected
    say(
        f"{PIECES} pieces: written in {written - began:.1f} s, sealed in {sealed - written:.1f} s,"
        f" peak {mount.peak_kib >> 10} MiB"
    )
    assert mount.peak_kib < PEAK_KIB


@pytest.mark.parametrize("seed", [1])
def test_holes_made_by_truncation(shared: Mount, folder: Path, seed) -> None:
    """Down and up again, through drafts, records and compacted records: zeros in between."""
    chance, path, model = random.Random(seed), folder / "file", bytearray()
    path.touch()
    for turn in range(30):
        with descriptor(path, os.O_RDWR) as fd:
            if chance.random() < 0.5:
                at = chance.randrange(4 << 20)
                content = LINES[: chance.randrange(1, 100_000)]
                os.pwrite(fd, content, at)
                model.extend(bytes(max(at - len(model), 0)))
                model[at : at + len(content)] = content
            else:
                size = chance.randrange(4 << 20)
                os.ftruncate(fd, size)
                del model[size:]
                model.extend(bytes(size - len(model)))
        if turn % 9 == 8:
            shared.wait_sealed()
        if turn % 15 == 14:
            (shared.control / "compact").write_text("1\n")
            shared.remount()
        assert path.read_bytes() == model
    assert held_bytes(path) <= len(model) + 511
