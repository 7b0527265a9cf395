"""How programs use files that others write at the same time, or that they replace."""

import contextlib
import ctypes
import mailbox
import multiprocessing
import os
import select
import shutil
import sqlite3
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.calls import descriptor
from tests.mount.mounted import Mount, listed, run
from tests.posix.jobs import LINES

# Databases


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_sqlite_that_maps_its_file(shared: Mount, folder: Path, journal) -> None:
    """Written through descriptors and a shared mapping of the log's index; read through another."""

    def connect() -> sqlite3.Connection:
        database = sqlite3.connect(folder / "database", isolation_level=None)
        database.execute("PRAGMA mmap_size = 268435456")
        database.execute(f"PRAGMA journal_mode = {journal}")
        return database

    database, reader = connect(), connect()
    database.execute("CREATE TABLE log (n INTEGER PRIMARY KEY, text BLOB)")
    for turn in range(5):
        database.execute("BEGIN")
        rows = [(turn * 200 + at, LINES[at : at + 700]) for at in range(200)]
        database.executemany("INSERT INTO log VALUES (?, ?)", rows)
        database.execute("COMMIT")
        counted = reader.execute("SELECT count(*), sum(length(text)) FROM log").fetchone()
        assert counted == (200 * (turn + 1), 700 * 200 * (turn + 1) + 200 * turn)
        database.execute("UPDATE log SET text = zeroblob(900) WHERE n = ?", (turn,))
    reader.close()
    database.close()
    shared.wait_sealed()
    (shared.control / "compact").write_text("1\n")
    shared.remount()
    database = connect()
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert database.execute("SELECT count(*) FROM log WHERE text = zeroblob(900)").fetchone() == (
        5,
    )
    database.execute("DELETE FROM log WHERE n % 2")
    database.execute("VACUUM")
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()


# Watching


IN_MODIFY, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
IN_CLOSE_WRITE = 0x8


class Watch:
    """inotify(7) on one directory."""

    def __init__(self, directory: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK)
        assert self._fd >= 0
        assert libc.inotify_add_watch(self._fd, os.fsencode(directory), 0xFFF) >= 0

    def events(self) -> list[tuple[int, str]]:
        """What has happened."""
        found = []
        while select.select([self._fd], [], [], 0.2)[0]:
            content, at = os.read(self._fd, 1 << 16), 0
            while at < len(content):
                _, mask, _, length = struct.unpack_from("iIII", content, at)
                name = content[at + 16 : at + 16 + length].rstrip(b"\0").decode()
                found.append((mask, name))
                at += 16 + length
        return found

    def close(self) -> None:
        os.close(self._fd)


def test_watchers_are_told(shared: Mount, folder: Path) -> None:
    """Of what goes through this mount; sealing is no change."""
    with contextlib.closing(Watch(folder)) as watch:
        path = folder / "log"
        path.write_bytes(LINES)
        path.rename(folder / "log.1")
        (folder / "log.1").unlink()
        wanted = {(IN_CREATE, "log"), (IN_MODIFY, "log"), (IN_CLOSE_WRITE, "log"),
                  (IN_MOVED_FROM, "log"), (IN_MOVED_TO, "log.1"), (IN_DELETE, "log.1")}  # fmt: skip
        assert wanted <= set(watch.events())
        path.write_bytes(LINES)
        watch.events()
        shared.wait_sealed()
        assert watch.events() == []


# Logs


@contextlib.contextmanager
def following(path: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """``tail`` at work on a file; it is ended after 60 s, so that no reader waits for ever."""
    tail = subprocess.Popen(
        ["tail", "-n", "+1", "-s", "0.05", *options, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    limit = threading.Timer(60, tail.kill)
    limit.start()
    try:
        yield tail
    finally:
        limit.cancel()
        tail.kill()
        tail.communicate()


@pytest.mark.parametrize("how", ["rename", "copytruncate"])
def test_a_log_is_rotated_while_it_is_written_and_followed(
    shared: Mount, folder: Path, how
) -> None:
    """Each line is in one of the files, and was seen by who follows the name."""
    path, lines = folder / "log", [f"line {at} {'x' * 50}\n" for at in range(60)]
    path.touch()
    with following(path, "-F") as tail:
        assert tail.stdout is not None
        writer = path.open("a", buffering=1)
        for at, line in enumerate(lines):
            writer.write(line)
            assert tail.stdout.readline() == line
            if at % 20 == 19:
                rotated = folder / f"log.{at // 20}"
                if how == "rename":
                    path.rename(rotated)
                    path.touch()
                    writer.close()
                    writer = path.open("a", buffering=1)
                else:
                    shutil.copyfile(path, rotated)
                    os.truncate(path, 0)
            if at == 30:
                shared.wait_sealed() if how == "rename" and not path.stat().st_size else None
        writer.close()
    kept = "".join((folder / f"log.{at}").read_text() for at in range(3))
    assert kept == "".join(lines)
    assert path.stat().st_size == 0
    shared.wait_sealed()
    shared.remount()
    assert "".join((folder / f"log.{at}").read_text() for at in range(3)) == kept


def test_a_truncated_log_goes_on_at_its_beginning(shared: Mount, folder: Path) -> None:
    """With O_APPEND; without, where the writer was, behind a hole."""
    path = folder / "log"
    with (
        descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as appending,
        descriptor(path, os.O_WRONLY) as writing,
    ):
        os.write(appending, LINES[:10_000])
        os.lseek(writing, 0, os.SEEK_END)
        os.truncate(path, 0)
        os.write(appending, b"appended\n")
        os.write(writing, b"where it was\n")
    expected = b"appended\n".ljust(10_000, b"\0") + b"where it was\n"
    assert path.read_bytes() == expected
    shared.wait_sealed()
    shared.remount()
    assert path.read_bytes() == expected


# Replacing


def test_readers_of_a_file_that_is_replaced_see_one_version(mount: Mount) -> None:
    """Written beside it, synced, and renamed over it, while it is read and sealed."""
    path = mount.path / "settings.json"
    stop, problems, seen = threading.Event(), list[str](), set[bytes]()

    def version(at: int) -> bytes:
        return b"%06d" % at * 5000

    def read() -> None:
        while not stop.is_set():
            content = path.read_bytes()
            seen.add(content[:6])
            if content != version(int(content[:6])):
                problems.append(f"torn: {content[:20]!r} {len(content)}")
                return

    path.write_bytes(version(0))
    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for at in range(1, 120):
        beside = mount.path / ".settings.tmp"
        with beside.open("wb") as file:
            file.write(version(at))
            file.flush()
            if at % 10 == 0:
                os.fsync(file.fileno())
        beside.replace(path)
    stop.set()
    for reader in readers:
        reader.join()
    assert not problems
    assert len(seen) > 1
    assert listed(mount.path) == ["settings.json"]


def test_an_editor_keeps_a_backup(shared: Mount, folder: Path) -> None:
    """The old file becomes the backup, the new one has its mode, owner and place."""
    path, backup = folder / "text", folder / "text~"
    path.write_text("one\n")
    path.chmod(0o4750)
    shared.wait_sealed()
    for text in ("two\n", "three\n"):
        status, before = path.stat(), path.read_text()
        path.replace(backup)
        with descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600) as fd:
            os.write(fd, text.encode())
            os.fchown(fd, status.st_uid, status.st_gid)
            os.fchmod(fd, status.st_mode & 0o7777)
            os.fsync(fd)
        assert (path.read_text(), backup.read_text()) == (text, before)
        assert path.stat().st_mode == status.st_mode
    backup.unlink()
    shared.remount()
    assert listed(folder) == ["text"]
    assert path.read_text() == "three\n"


def test_sed_in_place_with_a_backup(shared: Mount, folder: Path) -> None:
    for at in range(20):
        (folder / f"{at}.txt").write_bytes(LINES[: 1000 * at])
    run("bash", "-c", "sed -i.bak 's/someone/nobody/g' *.txt", cwd=folder)
    shared.wait_sealed()
    for at in range(20):
        before = LINES[: 1000 * at]
        assert (folder / f"{at}.txt.bak").read_bytes() == before
        assert (folder / f"{at}.txt").read_bytes() == before.replace(b"someone", b"nobody")
    found = run("grep", "-rlF", "nobody", folder).splitlines()
    assert len(found) == 19


# Mail


def _deliver(path: Path, who: int) -> None:
    box = mailbox.mbox(path)
    for at in range(10):
        while True:
            try:
                box.lock()
                break
            except mailbox.ExternalClashError:
                pass
        box.add(f"From: {who}@example.org\nSubject: {at}\n\nText {who} {at}\n")
        box.flush()
        box.unlock()
    box.close()


def test_a_mailbox_that_several_deliver_to(folder: Path) -> None:
    """Each locks it as mail programs do: fcntl, and a file beside it made by link(2)."""
    path = folder / "mbox"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_deliver, args=(path, who)) for who in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    box = mailbox.mbox(path)
    found = sorted((str(mail["From"]), int(str(mail["Subject"]))) for mail in box)
    assert found == [(f"{who}@example.org", at) for who in range(3) for at in range(10)]
    box.close()
    assert listed(folder) == ["mbox"]


def test_a_maildir(folder: Path) -> None:
    box = mailbox.Maildir(folder / "mail", create=True)
    keys = [box.add(f"Subject: {at}\n\nText\n") for at in range(20)]
    for key in keys[::2]:
        mail = box.get_message(key)
        mail.set_subdir("cur")
        mail.add_flag("S")
        box[key] = mail
    box.remove(keys[1])
    assert len(listed(folder / "mail" / "cur")) == 10
    assert sorted(int(str(mail["Subject"])) for mail in box) == [0, *range(2, 20)]


# Trees


def test_trees_go_in_and_out(shared: Mount, folder: Path, tmp_path: Path) -> None:
    """Python's shutil: copying within, moving out to another filesystem, moving in."""
    (folder / "a" / "deep").mkdir(parents=True)
    for at in range(10):
        path = folder / "a" / "deep" / f"{at}"
        path.write_bytes(LINES[: at * 1000])
        os.utime(path, ns=(10**18, 10**18 + at))
    (folder / "a" / "link").symlink_to("deep/1")
    os.setxattr(folder / "a" / "deep" / "1", "user.mark", b"kept")
    shutil.copytree(folder / "a", folder / "b", symlinks=True)
    shared.wait_sealed()
    shutil.move(folder / "b", tmp_path / "out")
    assert not (folder / "b").exists()
    shutil.move(tmp_path / "out", folder / "c")
    run("diff", "-r", "--no-dereference", folder / "a", folder / "c")
    for path in (folder / "a").rglob("*"):
        there = folder / "c" / path.relative_to(folder / "a")
        assert there.lstat().st_mode == path.lstat().st_mode
        if path.is_file():
            assert there.stat().st_mtime_ns == path.stat().st_mtime_ns
    shutil.rmtree(folder / "a")
    assert listed(folder) == ["c"]


def test_copies_within_the_mount(shared: Mount, folder: Path) -> None:
    """With whatever the kernel offers for it; the same content is stored once."""
    source = folder / "source"
    source.write_bytes(LINES)
    shared.wait_sealed()
    packs = shared.vault / "packs"
    before = sum(path.stat().st_size for path in packs.iterdir())
    run("cp", "--reflink=auto", source, folder / "one")
    with pytest.raises(AssertionError):
        run("cp", "--reflink=always", source, folder / "two")
    (folder / "two").unlink(missing_ok=True)
    with (
        descriptor(source, os.O_RDONLY) as old,
        descriptor(folder / "three", os.O_RDWR | os.O_CREAT) as new,
    ):
        at = 0
        while at < len(LINES):
            try:
                count = os.copy_file_range(old, new, len(LINES) - at, at, at)
            except OSError:  # as on a kernel that passes it on and does not do it itself
                count = os.sendfile(new, old, at, len(LINES) - at)
            at += count
    shared.wait_sealed()
    for name in ("one", "three"):
        assert (folder / name).read_bytes() == LINES
    assert sum(path.stat().st_size for path in packs.iterdir()) - before < 5000
