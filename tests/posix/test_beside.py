"""Random calls on a tree in the mount and on a plain one: the same answers, the same trees."""

import errno
import os
import random
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.calls import rename
from tests.mount.conftest import MakeMount
from tests.mount.mounted import Mount

CALLS = int(os.environ.get("STOWKENFS_POSIX_CALLS", "800"))
SEEDS = range(1, 1 + int(os.environ.get("STOWKENFS_SEEDS", "1")))
COMPARED_EVERY = 500
HELD_MAX = 12
NAMES = ("a", "b", "c", "dir", "x" * 255, "é\n", ".hidden")
DEPTH_MAX = 4
SHARED_MEMORY = Path("/dev/shm")
"""A filesystem that counts links of directories as ext4 does, which overlays do not."""

Call = Callable[["Side"], Any]


class Side:
    """One of the two trees, and what is held open in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.held: list[int] = []

    def close(self) -> None:
        while self.held:
            os.close(self.held.pop())

    def answer(self, call: Call) -> Any:
        """What the call returns, or the name of its errno."""
        try:
            return call(self)
        except OSError as error:
            return errno.errorcode[error.errno or 0]

    def path(self, names: tuple[str, ...]) -> Path:
        return self.root.joinpath(*names)


def attributes(status: os.stat_result) -> tuple[int, ...]:
    """What both trees have in common; a directory's size means nothing."""
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    return (status.st_mode, status.st_nlink, size, status.st_uid, status.st_gid)


def tree(root: Path) -> dict[str, tuple[Any, ...]]:
    """All below ``root``: attributes, contents, targets, and which names are one file."""
    found: dict[str, tuple[Any, ...]] = {}
    first: dict[int, str] = {}
    for parent, directories, files in os.walk(root):
        directories.sort()
        for name in sorted([*directories, *files]):
            path = Path(parent, name)
            status = path.lstat()
            shown = str(path.relative_to(root))
            content: object = None
            if stat.S_ISREG(status.st_mode):
                mode = stat.S_IMODE(status.st_mode)
                content = path.read_bytes() if mode & 0o400 or os.getuid() == 0 else None
            elif stat.S_ISLNK(status.st_mode):
                content = path.readlink()
            same = first.setdefault(status.st_ino, shown)
            found[shown] = (attributes(status), same, content)
    found["."] = (attributes(root.stat()), ".", None)
    return found


class Choices:
    """The next call, for both sides."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def names(self) -> tuple[str, ...]:
        depth = self._chance.choice((1, 1, 1, 2, 2, 3, DEPTH_MAX))
        return tuple(self._chance.choices(NAMES, k=depth))

    def call(self) -> tuple[str, Call]:
        """What it is, for who reads a failure, and the call."""
        make = self._chance.choice((self._naming, self._naming, self._changing, self._holding))
        return make()

    def _naming(self) -> tuple[str, Call]:
        one, two = self.names(), self.names()
        mode = self._chance.choice((0o600, 0o644, 0o755))
        flags = self._chance.choice((0, 0, 0, 1, 2))
        new = (
            os.O_CREAT
            | os.O_WRONLY
            | os.O_NONBLOCK
            | self._chance.choice((0, os.O_EXCL, os.O_TRUNC))
        )

        def create(side: Side) -> None:
            os.close(os.open(side.path(one), new, mode))

        calls: list[tuple[str, Call]] = [
            ("create", create),
            ("create", create),
            ("mkdir", lambda side: side.path(one).mkdir(mode | 0o700)),
            ("mkdir", lambda side: side.path(one).mkdir(mode | 0o700)),
            ("rmdir", lambda side: side.path(one).rmdir()),
            ("unlink", lambda side: side.path(one).unlink()),
            (f"rename {flags}", lambda side: rename(side.path(one), side.path(two), flags)),
            (f"rename {flags}", lambda side: rename(side.path(one), side.path(two), flags)),
            ("link", lambda side: os.link(side.path(one), side.path(two), follow_symlinks=False)),
            ("symlink", lambda side: side.path(one).symlink_to(two[-1])),
            ("mkfifo", lambda side: os.mkfifo(side.path(one), mode)),
        ]
        what, call = self._chance.choice(calls)
        return f"{what} {one} {two}", call

    def _changing(self) -> tuple[str, Call]:
        one = self.names()
        size, mode = self._chance.randrange(20_000), self._chance.randrange(0o10000) | 0o700
        content = self._chance.randbytes(self._chance.randrange(1, 9000))
        appending = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK

        def append(side: Side) -> int:
            fd = os.open(side.path(one), appending)
            try:
                return os.write(fd, content)
            finally:
                os.close(fd)

        calls: list[tuple[str, Call]] = [
            ("append", append),
            ("truncate", lambda side: os.truncate(side.path(one), size)),
            ("chmod", lambda side: side.path(one).chmod(mode)),
            ("stat", lambda side: attributes(side.path(one).stat())),
            ("lstat", lambda side: attributes(side.path(one).lstat())),
            ("readlink", lambda side: side.path(one).readlink()),
            ("list", lambda side: sorted(os.listdir(side.path(one)))),  # noqa: PTH208
        ]
        what, call = self._chance.choice(calls)
        return f"{what} {one}", call

    def _holding(self) -> tuple[str, Call]:
        """Calls on what is open, which may have another name by now, or none."""
        one, which = self.names(), self._chance.randrange(HELD_MAX)
        flags = self._chance.choice((os.O_RDONLY, os.O_RDWR, os.O_RDONLY | os.O_DIRECTORY))
        content, start = self._chance.randbytes(500), self._chance.randrange(15_000)
        name = one[-1]

        def hold(side: Side) -> None:
            fd = os.open(side.path(one), flags | os.O_NONBLOCK)
            if len(side.held) < HELD_MAX:
                side.held.append(fd)
            else:
                os.close(side.held[which])
                side.held[which] = fd

        def of(use: Callable[[int], Any]) -> Call:
            return lambda side: use(side.held[which]) if which < len(side.held) else "none"

        calls: list[tuple[str, Call]] = [
            ("hold", hold),
            ("hold", hold),
            ("fstat", of(lambda fd: attributes(os.fstat(fd)))),
            ("pwrite", of(lambda fd: os.pwrite(fd, content, start))),
            ("pread", of(lambda fd: os.pread(fd, 3000, start))),
            ("ftruncate", of(lambda fd: os.ftruncate(fd, start))),
            ("fchmod", of(lambda fd: os.fchmod(fd, 0o700 | start & 0o77))),
            ("list", of(lambda fd: sorted(os.listdir(fd)))),  # noqa: PTH208
            ("mkdirat", of(lambda fd: os.mkdir(name, dir_fd=fd))),
            ("mknodat", of(lambda fd: os.mknod(name, 0o600 | stat.S_IFREG, dir_fd=fd))),
            ("unlinkat", of(lambda fd: os.unlink(name, dir_fd=fd))),
            ("statat ..", of(lambda fd: attributes(os.stat("..", dir_fd=fd)))),
            ("fsync", of(os.fsync)),
        ]
        what, call = self._chance.choice(calls)
        return f"{what} {which} {one}", call


@pytest.fixture
def plain() -> Iterator[Path]:
    """An empty directory on an ordinary filesystem."""
    if not os.access(SHARED_MEMORY, os.W_OK):
        pytest.skip(f"needs {SHARED_MEMORY}")
    path = Path(tempfile.mkdtemp(prefix="stowkenfs-beside-", dir=SHARED_MEMORY))
    yield path
    shutil.rmtree(path)


def interrupted(mount: Mount, sides: tuple[Side, Side], turn: int) -> None:
    """Something that must change nothing that anybody sees."""
    if turn % 4 == 0:
        return
    if turn % 4 == 2 and os.getuid() == 0:
        Path("/proc/sys/vm/drop_caches").write_text("2")  # names and inodes, not pages
        return
    for side in sides:
        side.close()
    if turn % 4 == 1:
        mount.remount()
    else:
        mount.crash()


def compact(mount: Mount) -> None:
    (mount.control / "compact").write_text("1\n")


def without_its_index(mount: Mount) -> None:
    """Mount again, so that packs alone tell of the tree."""
    mount.unmount()
    for path in mount.vault.glob("index.db*"):
        path.unlink()
    mount.start()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tree_is_as_a_plain_one(make_mount: MakeMount, plain: Path, seed: int) -> None:
    mount = make_mount("seal_after=0.2")
    (mount.path / "tree").mkdir()
    (plain / "tree").mkdir()
    sides = Side(mount.path / "tree"), Side(plain / "tree")
    choices = Choices(seed)
    past: list[str] = []
    done = 0
    umask = os.umask(0o022)
    try:
        for at in range(1, CALLS + 1):
            what, call = choices.call()
            past.append(what)
            here, there = (side.answer(call) for side in sides)
            assert here == there, "\n".join(past[-30:])
            done += not (isinstance(there, str) and there.startswith("E"))
            if at % COMPARED_EVERY == 0:
                assert tree(sides[0].root) == tree(sides[1].root), "\n".join(past[-30:])
                interrupted(mount, sides, at // COMPARED_EVERY)
                assert tree(sides[0].root) == tree(sides[1].root)
        for side in sides:
            side.close()
        compact(mount)
        without_its_index(mount)
        assert tree(sides[0].root) == tree(sides[1].root)
    finally:
        os.umask(umask)
        for side in sides:
            side.close()
    assert done > CALLS // 4, "most calls had nothing to act on"
