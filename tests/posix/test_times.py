"""Times of files, and the programs that decide by them what is to be done."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.mount.conftest import SOON, MakeMount
from tests.mount.mounted import Mount, run
from tests.posix.jobs import LINES

PAST_NS = 1_234_567_890_123_456_789


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


def _nothing(mount: Mount) -> None:
    pass


def _remount(mount: Mount) -> None:
    mount.wait_sealed()
    mount.remount()


def _compact(mount: Mount) -> None:
    mount.wait_sealed()
    (mount.control / "compact").write_text("1\n")
    mount.remount()


def _crash(mount: Mount) -> None:
    mount.crash()


def _reindex(mount: Mount) -> None:
    mount.unmount()
    for path in mount.vault.glob("index.db*"):
        path.unlink()
    mount.expected.append("being rebuilt")
    mount.start()


EVENTS = [_nothing, _remount, _compact, _crash, _reindex]
"""After each of which files have to be as old as before."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small tree outside the mount, with times of its own to the nanosecond."""
    root = tmp_path / "source"
    (root / "deep" / "er").mkdir(parents=True)
    for at in range(20):
        path = root / ("deep/er" if at % 2 else "deep") / f"{at}.jsonl"
        path.write_bytes(LINES[at * 100 : at * 1000])
        os.utime(path, ns=(PAST_NS + at, PAST_NS + at * 1_000_000_007))
    (root / "link").symlink_to("deep/0.jsonl")
    os.link(root / "deep" / "2.jsonl", root / "second")
    for path in (root / "deep" / "er", root / "deep", root):
        os.utime(path, ns=(PAST_NS, PAST_NS + 1))
    os.utime(root / "link", ns=(PAST_NS, PAST_NS + 2), follow_symlinks=False)
    return root


def state_of(vault: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file of a vault."""
    found = {}
    for path in vault.rglob("*"):
        status = path.stat()
        if path.is_file():
            found[str(path.relative_to(vault))] = (status.st_size, status.st_mtime_ns)
    return found


def settle(vault: Path) -> dict[str, tuple[int, int]]:
    """The state of a vault after what had begun before is done."""
    deadline, before = time.monotonic() + 30, state_of(vault)
    while True:
        time.sleep(1.5)
        now = state_of(vault)
        if now == before:
            return now
        assert time.monotonic() < deadline
        before = now


@pytest.mark.parametrize("written", ["drafts", "records", "compacted"])
def test_reading_writes_nothing(make_mount: MakeMount, source: Path, written: str) -> None:
    """atime is as of a mount with noatime: set when a file is made and by utimensat(2) alone."""
    mount = make_mount("seal_after=3600" if written == "drafts" else SOON)
    run("cp", "-a", source, mount.path / "copy")
    if written != "drafts":
        mount.wait_sealed()
    if written == "compacted":
        (mount.control / "compact").write_text("1\n")
    before = settle(mount.vault)
    paths = [path for path in mount.path.rglob("*") if path.is_file()]
    accessed = {path: path.lstat().st_atime_ns for path in paths}
    for _ in range(3):
        run("tar", "-cf", mount.path.parent / "archive.tar", "-C", mount.path, "copy")
        run("grep", "-rc", "someone", mount.path / "copy")
        run("find", mount.path, "-newer", paths[0])
        run("ls", "-lR", mount.path)
        for path in paths:
            os.listxattr(path)
            path.read_bytes()
    assert settle(mount.vault) == before
    assert {path: path.lstat().st_atime_ns for path in paths} == accessed


def test_times_that_are_set_stay(mount: Mount) -> None:
    path, link = mount.path / "file", mount.path / "link"
    path.write_bytes(LINES)
    link.symlink_to("file")
    run("touch", "-d", "1969-12-31 23:59:59.999999999 UTC", path)
    assert path.stat().st_mtime_ns == -1
    run("touch", "-d", "2038-01-19 03:14:08.5 UTC", path)
    assert path.stat().st_mtime_ns == (1 << 31) * 10**9 + 5 * 10**8
    run("touch", "-a", "-d", "2001-02-03 04:05:06.700000008 UTC", path)
    run("touch", "-h", "-d", "2002-02-02 02:02:02.000000002 UTC", link)
    run("touch", "-r", path, mount.path / "same")
    run("touch", "-c", mount.path / "absent")
    assert not (mount.path / "absent").exists()
    expected = {path: path.stat() for path in (path, mount.path / "same")}
    of_link = link.lstat()
    assert (of_link.st_mtime_ns, path.stat().st_atime_ns) == (
        1_012_615_322_000_000_002,
        981_173_106_700_000_008,
    )
    for event in (_crash, _compact, _reindex):
        event(mount)
        for each, was in expected.items():
            now = each.stat()
            assert (now.st_atime_ns, now.st_mtime_ns, now.st_ctime_ns) == (
                was.st_atime_ns,
                was.st_mtime_ns,
                was.st_ctime_ns,
            )
        assert link.lstat().st_mtime_ns == of_link.st_mtime_ns


@needs("rsync")
def test_rsync_twice_copies_nothing(mount: Mount, source: Path) -> None:
    command = ("rsync", "-aH", "--itemize-changes", f"{source}/", f"{mount.path}/copy")
    assert run(*command) != ""
    for event in EVENTS:
        event(mount)
        assert run(*command) == ""
    assert run(*command, "--checksum") == ""
    back = source.parent / "back"
    run("rsync", "-aH", f"{mount.path}/copy/", back)
    assert run("rsync", "-aH", "--itemize-changes", f"{source}/", back) == ""


def test_cp_keeps_times_and_cp_u_sees_them(mount: Mount, source: Path) -> None:
    (source / "second").unlink()  # cp makes further names of a file anew each time
    run("cp", "-a", f"{source}/.", mount.path)
    for event in EVENTS:
        event(mount)
        for path in source.rglob("*"):
            copied = (mount.path / path.relative_to(source)).lstat()
            assert copied.st_mtime_ns == path.lstat().st_mtime_ns, path
        assert run("cp", "-auv", f"{source}/.", mount.path) == ""
    os.utime(source / "deep" / "4.jsonl", ns=(PAST_NS, PAST_NS + 10**11))
    changed = run("cp", "-auv", f"{source}/.", mount.path).splitlines()
    assert ["4.jsonl" in line for line in changed] == [True]


@needs("make")
def test_make_does_what_is_needed(mount: Mount) -> None:
    """Times differ by less than a second; what was made after its sources is up to date."""
    root = mount.path
    (root / "Makefile").write_text(
        "all: program\n"
        "program: one.o two.o\n\tcat one.o two.o > $@\n"
        "%.o: %.c common.h\n\tcat $< common.h > $@\n"
    )
    for name in ("one.c", "two.c", "common.h"):
        (root / name).write_text(f"{name}\n")
    assert run("make", cwd=root).count("cat") == 3
    for event in EVENTS:
        event(mount)
        assert "cat" not in run("make", cwd=root)
    (root / "two.c").write_text("changed\n")
    assert run("make", cwd=root).splitlines() == [
        "cat two.c common.h > two.o",
        "cat one.o two.o > program",
    ]
    assert "cat" not in run("make", cwd=root)
    run("touch", root / "common.h")
    assert run("make", cwd=root).count("cat") == 3
    assert (root / "program").read_text() == "one.c\ncommon.h\nchanged\ncommon.h\n"


@needs("git")
def test_git_does_not_look_into_what_did_not_change(mount: Mount, source: Path) -> None:
    """What it remembers of each file, its number and times among it, is as it was."""
    root = mount.path / "repository"
    run("cp", "-a", source, root)

    def git(*words: str) -> str:
        return run("git", "-c", "user.name=T", "-c", "user.email=t@example.org", *words, cwd=root)

    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    for event in EVENTS:
        event(mount)
        git("diff-files", "--quiet")  # fails where status would have to look
    assert git("status", "--porcelain") == ""
    (root / "second").write_bytes(b"changed")
    assert git("status", "--porcelain").split() == ["M", "deep/2.jsonl", "M", "second"]
    git("gc", "-q", "--prune=now")
    git("fsck", "--full", "--strict")


def test_tar_takes_what_is_new(mount: Mount, source: Path, tmp_path: Path) -> None:
    run("cp", "-a", source, mount.path / "copy")

    def added(level: int) -> list[str]:
        archive = tmp_path / f"{level}.tar"
        snapshot = mount.path / "snapshot"
        run("tar", "--no-check-device", "-g", snapshot, "-cf", archive, "-C", mount.path, "copy")
        names = run("tar", "-tf", archive).splitlines()
        return [name for name in names if not name.endswith("/")]

    assert len(added(0)) == 22
    time.sleep(0.01)
    assert added(1) == []
    _compact(mount)
    assert added(2) == []
    (mount.path / "copy" / "deep" / "4.jsonl").write_bytes(b"changed")
    (mount.path / "copy" / "new").write_bytes(b"new")
    assert added(3) == ["copy/new", "copy/deep/4.jsonl"]
    out = tmp_path / "out"
    out.mkdir()
    for level in range(4):
        run("tar", "-g", "/dev/null", "-xf", tmp_path / f"{level}.tar", "-C", out)
    run("diff", "-r", "--no-dereference", mount.path / "copy", out / "copy")


def test_find_newer(shared: Mount, folder: Path) -> None:
    for name in ("old", "mark", "new"):
        (folder / name).write_bytes(b"x")
        time.sleep(0.01)

    def newer() -> list[str]:
        found = run("find", folder, "-type", "f", "-newer", folder / "mark", "-printf", "%f\n")
        return sorted(found.split())

    assert newer() == ["new"]
    _compact(shared)
    assert newer() == ["new"]
    with (folder / "old").open("ab") as file:
        file.write(b"y")
    assert newer() == ["new", "old"]
    assert run("find", folder, "-mmin", "-5", "-name", "old") != ""


def test_the_clock_of_the_mount_is_the_machines(folder: Path) -> None:
    """A file's time is between the moments before and behind the call that set it."""
    for make in (Path.touch, Path.mkdir, os.mkfifo):
        before = time.time_ns()
        make(folder / make.__name__)
        assert before <= (folder / make.__name__).stat().st_mtime_ns <= time.time_ns()
    path, last = folder / "touch", 0
    for _ in range(200):
        before = time.time_ns()
        path.write_bytes(b"x")
        now = path.stat().st_mtime_ns
        assert max(before, last) <= now <= time.time_ns()
        last = now


def test_an_older_file_is_not_taken_for_a_newer(folder: Path) -> None:
    """bash's -nt and -ot, with times a nanosecond apart."""
    for at, name in enumerate(("older", "newer")):
        (folder / name).touch()
        os.utime(folder / name, ns=(PAST_NS, PAST_NS + at))
    script = "[ newer -nt older ] && [ older -ot newer ] && ! [ older -nt newer ]"
    subprocess.run(["bash", "-c", script], cwd=folder, check=True)
