"""A vault on a disk that fails: what is asked for fails, is logged, and the rest goes on."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.mount import faulty_disk
from tests.mount.mounted import Mount, detach, is_fuse_mount, skip_without_fuse
from tests.mount.test_full_disk import assert_same, chats


class Disk:
    """A folder whose files fail on request."""

    def __init__(self, directory: Path) -> None:
        self.source, self.path = directory / "source", directory / "disk"
        self._faults = directory / "faults"
        self.source.mkdir()
        self.path.mkdir()
        self._process = subprocess.Popen(
            [sys.executable, faulty_disk.__file__, self.source, self.path]
        )
        deadline = time.monotonic() + 20
        while not is_fuse_mount(self.path):
            assert time.monotonic() < deadline, "not mounted"
            time.sleep(0.02)

    def fail(self, *what: str) -> None:
        """Let these fail from now on: ``read pack`` and the like."""
        new = self._faults.with_suffix(".new")
        new.write_text("\n".join(what))
        new.rename(self._faults)

    def close(self) -> None:
        detach(self.path)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    skip_without_fuse()
    made = Disk(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def mount(disk: Disk, tmp_path: Path) -> Iterator[Mount]:
    made = Mount(tmp_path / "mounts", "seal_after=0.2,workers=0")
    made.vault = disk.path / "vault"
    try:
        yield made.start()
    finally:
        disk.fail()
        made.close()
    assert "Traceback" not in made.log(), made.log()


def errno_of(path: Path, content: bytes, *, sync: bool) -> int | None:
    try:
        with path.open("ab", buffering=0) as file:
            file.write(content)
            if sync:
                os.fsync(file.fileno())
    except OSError as error:
        return error.errno
    return None


def test_a_pack_that_cannot_be_read(mount: Mount, disk: Disk) -> None:
    kept = chats(mount.path / "kept", 5, 1)
    for path, content in kept.items():
        path.write_bytes(content)
    mount.wait_sealed()
    mount.remount()
    disk.fail("read .pack")
    for _ in range(20):
        with pytest.raises(OSError, match="Input/output") as refused:
            next(iter(kept)).read_bytes()
        assert refused.value.errno == errno.EIO
    lines = [line for line in mount.log().splitlines() if "ERROR" in line]
    assert any("pack 1: reading " in line for line in lines)
    assert len(lines) < 6, lines
    new = mount.path / "new"
    new.write_bytes(b"a draft needs no pack\n")
    assert new.read_bytes() == b"a draft needs no pack\n"
    disk.fail()
    assert_same(kept)


@pytest.mark.parametrize("what", ["write drafts", "sync drafts", "sync index.db-wal"])
def test_fsync_tells(mount: Mount, disk: Disk, what: str) -> None:
    """And once it has, it goes on telling until the bytes are somewhere else."""
    kept = {mount.path / "before": b"before\n"}
    (mount.path / "before").write_bytes(b"before\n")
    mount.wait_sealed()
    with (mount.path / "log").open("wb", buffering=0) as file:
        file.write(b"one line\n")
        disk.fail(what)
        if what == "write drafts":
            with pytest.raises(OSError, match="Input/output"):
                file.write(b"another\n")
            disk.fail()
            os.fsync(file.fileno())
        else:
            for _ in range(2):
                with pytest.raises(OSError, match="Input/output"):
                    os.fsync(file.fileno())
            disk.fail()
            if what == "sync drafts":
                with pytest.raises(OSError, match="Input/output"):
                    os.fsync(file.fileno())
            else:
                os.fsync(file.fileno())  # the index has left its log for the database
    kept[mount.path / "log"] = b"one line\n"
    assert_same(kept)
    mount.wait_sealed()
    assert errno_of(mount.path / "log", b"more\n", sync=True) is None
    kept[mount.path / "log"] += b"more\n"
    mount.crash()
    assert_same(kept)


@pytest.mark.parametrize("what", ["write index.db-wal", "write .pack", "sync .pack"])
def test_what_fails_is_refused_and_later_operations_go_on(
    mount: Mount, disk: Disk, what: str
) -> None:
    kept = chats(mount.path / "kept", 5, 1)
    for path, content in kept.items():
        path.write_bytes(content)
    mount.wait_sealed()
    disk.fail(what)
    more = {mount.path / f"more {at}": b"%d\n" % at * 1000 for at in range(5)}
    for path, content in more.items():
        code = errno_of(path, content, sync=False)
        assert code in (None, errno.EIO)
        if code is None:
            kept[path] = content
    if "index" in what:
        assert not set(kept) & set(more)
        with pytest.raises(OSError, match="Input/output"):
            (mount.path / "kept").rename(mount.path / "moved")
    time.sleep(1)
    assert_same(kept)
    disk.fail()
    for path, content in more.items():
        if path not in kept:
            assert errno_of(path, content, sync=True) is None
            kept[path] = content
    assert_same(kept)
    (mount.control / "compact").write_text("1\n")
    assert_same(kept)
    mount.remount()
    assert_same(kept)
    (mount.control / "verify").write_text("1\n")
    report = json.loads((mount.control / "verify.json").read_text())
    assert report["clean"]
