"""Renaming with flags, and files whose names go while they are open."""

import errno
import itertools
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from tests.calls import descriptor, fails_with, name_open_file, rename
from tests.mount.mounted import Mount, listed
from tests.posix.jobs import LINES, NOISE, all_jobs

NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4


# Flags


def test_noreplace_gives_a_free_name_only(folder: Path) -> None:
    (folder / "a").write_bytes(b"a")
    (folder / "b").write_bytes(b"b")
    (folder / "directory").mkdir()
    (folder / "dangling").symlink_to("nothing")
    for taken in ("b", "directory", "dangling", "a"):
        with fails_with(errno.EEXIST):
            rename(folder / "a", folder / taken, NOREPLACE)
        with fails_with(errno.EEXIST):
            rename(folder / "directory", folder / taken, NOREPLACE)
    rename(folder / "a", folder / "directory" / "a", NOREPLACE)
    assert (folder / "directory" / "a").read_bytes() == b"a"
    assert listed(folder) == ["b", "dangling", "directory"]


def _rename_all(folder: Path, who: int) -> None:
    won = 0
    for at in range(100):
        (folder / f"{who}").write_bytes(b"%d" % who)
        try:
            rename(folder / f"{who}", folder / f"target-{at}", NOREPLACE)
            won += 1
        except FileExistsError:
            pass
    (folder / f"{who}").write_bytes(b"%d" % won)


def test_of_many_that_rename_to_one_name_one_wins(folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_rename_all, args=(folder, who)) for who in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert sum(int((folder / f"{who}").read_bytes()) for who in range(4)) == 100
    holders = [int((folder / f"target-{at}").read_bytes()) for at in range(100)]
    assert set(holders) <= set(range(4))


def test_flags_that_make_no_sense_are_refused(folder: Path) -> None:
    (folder / "a").write_bytes(b"a")
    (folder / "b").write_bytes(b"b")
    for flags in (NOREPLACE | EXCHANGE, WHITEOUT, WHITEOUT | EXCHANGE, 64):
        with fails_with(errno.EINVAL):
            rename(folder / "a", folder / "b", flags)
    assert (folder / "b").read_bytes() == b"b"
    assert listed(folder) == ["a", "b"]


def test_exchange_needs_both(folder: Path) -> None:
    (folder / "a").write_bytes(b"a")
    for pair in (("a", "absent"), ("absent", "a"), ("absent", "absent")):
        with fails_with(errno.ENOENT):
            rename(folder / pair[0], folder / pair[1], EXCHANGE)
    with fails_with(errno.ENAMETOOLONG):
        rename(folder / "a", folder / ("x" * 256), EXCHANGE)
    with fails_with(errno.ENAMETOOLONG):
        rename(folder / "a", folder / ("x" * 256), NOREPLACE)
    assert listed(folder) == ["a"]


def test_onto_itself_nothing_happens(folder: Path) -> None:
    (folder / "a").write_bytes(b"a")
    os.link(folder / "a", folder / "same")
    (folder / "directory").mkdir()
    before = (folder / "a").stat()
    for name, flags in itertools.product(("a", "directory"), (0, EXCHANGE)):
        rename(folder / name, folder / name, flags)
    for flags in (0, EXCHANGE):  # two names of one file
        rename(folder / "a", folder / "same", flags)
    with fails_with(errno.EEXIST):
        rename(folder / "a", folder / "same", NOREPLACE)
    assert listed(folder) == ["a", "directory", "same"]
    assert (folder / "a").stat() == before
    assert before.st_nlink == 2


def _links(directory: Path) -> int:
    """What the link count of a directory should be."""
    return 2 + sum(path.is_dir() and not path.is_symlink() for path in directory.iterdir())


def check_directories(root: Path) -> None:
    """Links, and where ``..`` leads."""
    for path in [root, *root.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            assert path.stat().st_nlink == _links(path), path
            for below in path.iterdir():
                if below.is_dir() and not below.is_symlink():
                    assert (below / "..").stat().st_ino == path.stat().st_ino


SORTS = ("file", "directory", "link", "fifo")


def _make(path: Path, sort: str, mark: str) -> None:
    if sort == "directory":
        (path / f"in-{mark}").mkdir(parents=True)
    elif sort == "link":
        path.symlink_to(mark)
    elif sort == "fifo":
        os.mkfifo(path)
    else:
        path.write_text(mark)


@pytest.mark.parametrize("across", [False, True])
def test_exchange_of_any_sort_with_any(shared: Mount, folder: Path, across) -> None:
    other = folder / "other" if across else folder
    other.mkdir(exist_ok=True)
    numbers = {}
    for one, two in itertools.product(SORTS, SORTS):
        a, b = folder / f"{one}-{two}-a", other / f"{one}-{two}-b"
        _make(a, one, "a")
        _make(b, two, "b")
        numbers[a, b] = (a.lstat(), b.lstat())
        rename(a, b, EXCHANGE)

    def check() -> None:
        for (a, b), (was_a, was_b) in numbers.items():
            assert (a.lstat().st_ino, a.lstat().st_mode) == (was_b.st_ino, was_b.st_mode)
            assert (b.lstat().st_ino, b.lstat().st_mode) == (was_a.st_ino, was_a.st_mode)
        check_directories(folder)

    check()
    shared.crash()
    check()
    shared.remount()
    check()


def test_no_directory_moves_below_itself(folder: Path) -> None:
    (folder / "a" / "b" / "c").mkdir(parents=True)
    (folder / "a" / "file").write_bytes(b"file")
    for flags, target in itertools.product((0, NOREPLACE), ("x", "b/x", "b/c/x", "b/c")):
        if not (flags and target == "b/c"):  # whose existence may be noticed first
            with fails_with(errno.EINVAL):
                rename(folder / "a", folder / "a" / target, flags)
    for below in ("b", "b/c", "file"):
        with fails_with(errno.EINVAL):
            rename(folder / "a", folder / "a" / below, EXCHANGE)
        with fails_with(errno.EINVAL):
            rename(folder / "a" / below, folder / "a", EXCHANGE)
    with fails_with(errno.ENOTEMPTY):
        rename(folder / "a" / "b" / "c", folder / "a", 0)
    check_directories(folder)
    assert (folder / "a" / "file").read_bytes() == b"file"


def test_exchange_moves_times(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "file").write_text(name)
    paths = [folder / "one", folder / "two", folder / "one/file", folder / "two/file"]
    for path in paths:
        os.utime(path, ns=(10**18, 10**18))
    before = [path.stat().st_ctime_ns for path in paths]
    time.sleep(0.01)
    rename(folder / "one" / "file", folder / "two" / "file", EXCHANGE)
    after = [path.stat() for path in paths]
    assert [status.st_mtime_ns > 10**18 for status in after] == [True, True, False, False]
    assert all(status.st_ctime_ns > was for status, was in zip(after, before, strict=True))


# Names that go while a file is open


def test_a_file_renamed_over_is_as_it_was_for_who_has_it_open(mount: Mount) -> None:
    """Whatever becomes of its records: they are in use as long as it is."""
    contents = {"log.jsonl": LINES, "noise": NOISE}
    for name, content in contents.items():
        (mount.path / name).write_bytes(content)
    mount.wait_sealed()
    (mount.control / "compact").write_text("1\n")
    frozen = os.open(mount.path / "log.jsonl", os.O_RDONLY)
    hot = os.open(mount.path / "noise", os.O_RDWR)
    try:
        (mount.path / "new").write_bytes(b"new")
        (mount.path / "new").rename(mount.path / "log.jsonl")
        (mount.path / "noise").unlink()
        for _ in all_jobs(mount):
            for fd, content in ((frozen, LINES), (hot, NOISE)):
                status = os.fstat(fd)
                assert (status.st_nlink, status.st_size) == (0, len(content))
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                assert os.pread(fd, len(content) + 1, 0) == content
        os.pwrite(hot, b"written", 1000)
        os.ftruncate(hot, 5000)
        changed = NOISE[:1000] + b"written" + NOISE[1007:5000]
        for _ in all_jobs(mount):
            assert os.pread(hot, 10_000, 0) == changed
        assert (mount.path / "log.jsonl").read_bytes() == b"new"
    finally:
        os.close(frozen)
        os.close(hot)


def test_a_removed_file_is_not_sealed(mount: Mount) -> None:
    """It may be written for weeks; nobody will want its records."""
    packs = mount.vault / "packs"

    def stored() -> int:
        return sum(path.stat().st_size for path in packs.iterdir())

    for flags in (os.O_RDWR, os.O_RDONLY):  # the second as of a program that only reads on
        path = mount.path / "temporary.jsonl"
        path.write_bytes(LINES[:1000])
        with descriptor(path, flags) as fd, path.open("r+b", buffering=0) as writer:
            path.unlink()
            before = stored()
            for at in range(0, 9 << 20, len(LINES)):  # enough to be sealed while open
                writer.seek(at)
                writer.write(LINES)
            if flags == os.O_RDONLY:
                writer.close()
            os.fsync(fd)
            time.sleep(1.5)
            assert mount.status()["files_waiting_to_be_sealed"] == "0"
            assert stored() - before < 10_000
            assert os.pread(fd, 1000, len(LINES)) == LINES[:1000]
            with fails_with(errno.ENOENT):  # as linkat(2) says of one without O_TMPFILE
                name_open_file(fd, mount.path / "back")
    mount.wait_sealed()
    assert listed(mount.path) == []


def test_an_open_file_gets_a_name_as_long_as_it_has_one(folder: Path) -> None:
    (folder / "one").write_bytes(b"content")
    with descriptor(folder / "one", os.O_RDONLY) as fd:
        name_open_file(fd, folder / "two")
        (folder / "one").unlink()
        name_open_file(fd, folder / "three")
        assert os.fstat(fd).st_nlink == 2
    assert (folder / "three").read_bytes() == b"content"


def test_files_without_a_name_from_the_beginning_are_refused(folder: Path) -> None:
    """So that programs, as they all do, take a name and remove it."""
    with fails_with(errno.EOPNOTSUPP):
        os.open(folder, os.O_TMPFILE | os.O_RDWR)


def test_removed_files_in_use_go_with_a_crash(mount: Mount) -> None:
    fds = []
    for at in range(20):
        path = mount.path / f"{at}"
        path.write_bytes(LINES[: 10_000 + at])
        fds.append(os.open(path, os.O_RDWR))
        path.unlink()
        os.write(fds[-1], b"more")
    mount.kill()
    for fd in fds:
        os.close(fd)
    mount.recover()
    assert listed(mount.path) == []
    mount.wait_sealed()
    (mount.control / "verify").write_text("1\n")
    assert not list((mount.vault / "drafts").glob("*.*"))
