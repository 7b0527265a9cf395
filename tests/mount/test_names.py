"""Names in directories: what may be one, renaming, removing, listing."""

import errno
import os
import stat
import threading
import time
from pathlib import Path

from tests.calls import fails_with
from tests.mount.mounted import listed


def test_names_of_any_bytes(folder: Path) -> None:
    root = os.fsencode(folder)
    names = {bytes([byte]) * 3 for byte in range(1, 256) if byte != ord("/")}
    names |= {b"x" * 255, "ü".encode() * 127 + b"x", b"\xff" * 255, b" ", b"-rf", b"\n", b"..."}
    names.discard(b"..")
    for name in names:
        with open(os.path.join(root, name), "xb") as file:  # noqa: PTH118, PTH123 - bytes
            file.write(name)
    assert set(listed(root)) == names
    for name in names:
        with open(os.path.join(root, name), "rb") as file:  # noqa: PTH118, PTH123
            assert file.read() == name


def test_longer_names_are_refused(folder: Path) -> None:
    with fails_with(errno.ENAMETOOLONG):
        (folder / ("x" * 256)).touch()
    with fails_with(errno.ENAMETOOLONG):
        (folder / ("x" * 256)).mkdir()
    with fails_with(errno.ENAMETOOLONG):
        (folder / ("x" * 256)).stat()
    (folder / "short").touch()
    with fails_with(errno.ENAMETOOLONG):
        (folder / "short").rename(folder / ("x" * 256))


def test_rename_over_existing(folder: Path) -> None:
    (folder / "old").write_bytes(b"old")
    (folder / "new").write_bytes(b"new")
    ino = (folder / "new").stat().st_ino
    with (folder / "old").open("rb") as opened:
        (folder / "new").rename(folder / "old")
        assert opened.read() == b"old"
        assert os.fstat(opened.fileno()).st_nlink == 0
    assert (folder / "old").read_bytes() == b"new"
    assert (folder / "old").stat().st_ino == ino
    assert listed(folder) == ["old"]


def test_rename_rules(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "full" / "below").mkdir(parents=True)
    (folder / "empty").mkdir()
    with fails_with(errno.ENOTEMPTY):
        (folder / "empty").rename(folder / "full")
    with fails_with(errno.EISDIR):
        (folder / "file").rename(folder / "empty")
    with fails_with(errno.ENOTDIR):
        (folder / "empty").rename(folder / "file")
    with fails_with(errno.EINVAL):
        (folder / "full").rename(folder / "full" / "below" / "itself")
    with fails_with(errno.ENOENT):
        (folder / "absent").rename(folder / "file")
    (folder / "full").rename(folder / "empty")
    assert (listed(folder)) == ["empty", "file"]
    assert folder.stat().st_nlink == 3
    assert (folder / "empty").stat().st_nlink == 3
    (folder / "empty" / "below").rename(folder / "below")
    assert folder.stat().st_nlink == 4
    assert (folder / "below" / "..").stat().st_ino == folder.stat().st_ino


def test_unlink_while_open(folder: Path) -> None:
    path = folder / "file"
    path.write_bytes(b"still here")
    with path.open("r+b", buffering=0) as file:
        path.unlink()
        with fails_with(errno.ENOENT):
            path.stat()
        file.seek(0, os.SEEK_END)
        file.write(b", and more")
        file.seek(0)
        assert file.read() == b"still here, and more"
        assert os.fstat(file.fileno()).st_nlink == 0
        path.write_bytes(b"another")  # the name is free again
        file.seek(0)
        assert file.read() == b"still here, and more"
    assert path.read_bytes() == b"another"


def test_rename_while_open(folder: Path) -> None:
    with (folder / "before").open("wb", buffering=0) as file:
        file.write(b"one")
        (folder / "before").rename(folder / "after")
        file.write(b" two")
    assert (folder / "after").read_bytes() == b"one two"


def test_directories(folder: Path) -> None:
    (folder / "a" / "b").mkdir(parents=True)
    assert (folder / "a").stat().st_nlink == 3
    with fails_with(errno.ENOTEMPTY):
        (folder / "a").rmdir()
    with fails_with(errno.EEXIST):
        (folder / "a").mkdir()
    with fails_with(errno.EISDIR):
        (folder / "a").unlink()
    (folder / "a" / "b").rmdir()
    assert (folder / "a").stat().st_nlink == 2
    (folder / "a").rmdir()
    with fails_with(errno.ENOENT):
        (folder / "a").rmdir()
    (folder / "file").touch()
    with fails_with(errno.ENOTDIR):
        (folder / "file").rmdir()
    with fails_with(errno.ENOTDIR):
        (folder / "file" / "below").touch()


def test_hard_links(folder: Path) -> None:
    one, two = folder / "one", folder / "two"
    one.write_bytes(b"shared")
    os.link(one, two)
    assert one.stat().st_ino == two.stat().st_ino
    assert one.stat().st_nlink == 2
    with two.open("ab") as file:
        file.write(b" content")
    assert one.read_bytes() == b"shared content"
    one.unlink()
    assert two.stat().st_nlink == 1
    assert two.read_bytes() == b"shared content"
    with fails_with(errno.EEXIST):
        os.link(two, two)
    with fails_with(errno.EPERM):
        os.link(folder, folder.parent / "directory-link")


def test_symbolic_links(folder: Path) -> None:
    (folder / "target").write_bytes(b"behind")
    (folder / "link").symlink_to("target")
    assert (folder / "link").read_bytes() == b"behind"
    (folder / "dangling").symlink_to("nowhere/at/all")
    assert not (folder / "dangling").exists()
    longest = "x" * 4095
    (folder / "long").symlink_to(longest)
    assert str((folder / "long").readlink()) == longest
    assert (folder / "long").lstat().st_size == 4095
    with fails_with(errno.ENAMETOOLONG):
        (folder / "longer").symlink_to("x" * 4096)
    (folder / "bytes").symlink_to(os.fsdecode(b"\xff\xfe bytes"))
    assert os.fsencode((folder / "bytes").readlink()) == b"\xff\xfe bytes"
    (folder / "link").unlink()
    assert (folder / "target").exists()


def test_special_files(folder: Path) -> None:
    os.mkfifo(folder / "fifo", 0o640)
    status = (folder / "fifo").stat()
    assert stat.S_ISFIFO(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o640
    reader = threading.Thread(target=(folder / "fifo").read_bytes, daemon=True)
    reader.start()
    (folder / "fifo").write_bytes(b"through")
    reader.join(5)
    assert not reader.is_alive()
    os.mknod(folder / "regular", 0o600 | stat.S_IFREG)
    assert (folder / "regular").read_bytes() == b""
    if os.getuid() == 0:
        os.mknod(folder / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        assert (folder / "null").stat().st_rdev == os.makedev(1, 3)


def test_listing_is_stable_while_names_come_and_go(folder: Path) -> None:
    """Each name that was there all the time is seen exactly once."""
    kept = {f"kept-{at}" for at in range(2000)}
    for name in kept:
        (folder / name).touch()
    stop = threading.Event()

    def churn() -> None:
        at = 0
        while not stop.is_set():
            at += 1
            (folder / f"new-{at}").touch()
            if at > 20:
                (folder / f"new-{at - 20}").unlink()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(5):
            seen = []
            with os.scandir(folder) as entries:
                for entry in entries:
                    seen.append(entry.name)
                    if len(seen) % 100 == 0:
                        time.sleep(0.002)
            steady = [name for name in seen if name in kept]
            assert len(steady) == len(kept)
            assert set(steady) == kept
    finally:
        stop.set()
        thread.join()


def test_removing_while_listing_empties(folder: Path) -> None:
    for at in range(1000):
        (folder / f"{at}").touch()
    with os.scandir(folder) as entries:
        for entry in entries:
            os.unlink(entry.path)  # noqa: PTH108
    assert listed(folder) == []
