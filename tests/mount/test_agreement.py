"""What the kernel keeps of files, shown by a daemon that is stopped and cannot answer."""

import mmap
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stowkenfs.fs import agreement
from tests.mount.conftest import MakeMount
from tests.mount.mounted import Mount

CONTENT = bytes(range(256)) * 64


@contextmanager
def stopped(mount: Mount) -> Iterator[None]:
    mount.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        mount.signal(signal.SIGCONT)


def comes_from_pages(mount: Mount, read) -> bool:
    """Whether ``read()`` returns while nobody answers the kernel; it gives the content."""
    found = []
    reader = threading.Thread(target=lambda: found.append(read()))
    with stopped(mount):
        reader.start()
        reader.join(1)
        is_there = not reader.is_alive()
    reader.join()
    assert found == [CONTENT]
    return is_there


def write(path: Path) -> int:
    """A file that had other bytes and whose attributes the kernel knows; open."""
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(file, CONTENT[::-1])
    assert os.pread(file, len(CONTENT), 0) == CONTENT[::-1]
    os.fstat(file)
    os.pwrite(file, CONTENT, 0)
    return file


def needs_compiled() -> None:
    if agreement._session is None:
        pytest.skip("stowkenfs.fs._session is not compiled here")


@pytest.mark.parametrize("how", ["explicit", "auto"])
def test_what_was_written_is_read_from_pages(make_mount: MakeMount, how: str) -> None:
    needs_compiled()
    mount = make_mount(f"seal_after=3600,invalidate={how}")
    file = write(mount.path / "one")
    try:
        read = comes_from_pages(mount, lambda: os.pread(file, len(CONTENT), 0))
    finally:
        os.close(file)
    assert read == (how == "explicit")


@pytest.mark.parametrize("how", ["explicit", "auto"])
def test_every_way_to_change_a_file_is_seen(make_mount: MakeMount, how: str) -> None:
    mount = make_mount(f"seal_after=0.1,invalidate={how}")
    path = mount.path / "one"
    path.write_bytes(CONTENT)
    with path.open("r+b") as reader:
        assert reader.read() == CONTENT
        with path.open("r+b") as writer:
            writer.truncate(5)
        os.truncate(path, 9)
        assert path.read_bytes() == CONTENT[:5] + bytes(4)
        with path.open("ab") as writer:
            writer.write(b"more")
        assert path.read_bytes() == CONTENT[:5] + bytes(4) + b"more"
        direct = os.open(path, os.O_RDWR | os.O_DIRECT)
        page = mmap.mmap(-1, 4096)
        page.write(CONTENT[:4096])
        os.pwrite(direct, page, 0)
        assert path.read_bytes() == CONTENT[:4096]
        os.close(direct)
        with mmap.mmap(reader.fileno(), 4096) as pages:
            pages[:3] = b"abc"
            pages.flush()
        assert path.read_bytes() == b"abc" + CONTENT[3:4096]
        path.write_bytes(b"short")
        reader.seek(0)
        assert reader.read() == b"short"
    mount.wait_sealed()
    assert path.read_bytes() == b"short"
    (mount.control / "compact").write_text("1\n")
    assert path.read_bytes() == b"short"
    mount.remount()
    assert path.read_bytes() == b"short"
