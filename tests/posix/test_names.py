"""Names of any bytes, paths of any depth, long targets and attributes."""

import errno
import itertools
import os
import random
from pathlib import Path

import pytest

from tests.calls import fails_with
from tests.mount.mounted import Mount, listed
from tests.posix.jobs import all_jobs

NAME_BYTES_MAX = 255
PATH_MAX = 4096
DEPTH = 60
"""Of directories whose names are as long as names can be: some four times PATH_MAX."""

VALUES = bytes(byte for byte in range(1, 256) if byte != ord("/"))


def awkward_names() -> set[bytes]:
    """Each byte in each place, and what programs trip over."""
    names = {VALUES[at:] + VALUES[:at] for at in range(0, len(VALUES), 16)}
    assert all(len(name) == 254 for name in names)
    for byte in VALUES:
        names.add(bytes([byte]) * NAME_BYTES_MAX)
    names |= {
        b"...", b".hidden", b" ", b"trailing ", b"trailing.", b"-rf", b"--", b"~", b"*", b"$(id)",
        b"a\nb", b"\r", b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf", b"CON", b"\xef\xbb\xbf", b"\x7f",
        "e\u0301".encode(), "\u00e9".encode(), "\u202e".encode(), b"%2e%2e", b"\\", b"A", b"a",
    }  # fmt: skip
    chance = random.Random(7)
    names |= {bytes(chance.choices(VALUES, k=chance.randrange(1, 256))) for _ in range(20)}
    return names - {b".", b".."}


def contents(root: bytes) -> dict[bytes, bytes]:
    found = {}
    for name in listed(root):
        fd = os.open(os.path.join(root, name), os.O_RDONLY)  # noqa: PTH118 - bytes
        found[name] = os.read(fd, 1000)
        os.close(fd)
    return found


def test_names_of_any_bytes_come_back_from_everywhere(mount: Mount) -> None:
    """The index, frozen groups, and the statements in packs that an index is made from."""
    (mount.path / "names").mkdir()
    root = os.fsencode(mount.path / "names")
    names = awkward_names()
    for name in names:
        fd = os.open(os.path.join(root, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL)  # noqa: PTH118
        os.write(fd, b"in " + name)
        os.close(fd)
    expected = {name: b"in " + name for name in names}
    assert contents(root) == expected
    mount.crash()
    assert contents(root) == expected
    mount.wait_sealed(60)
    for _ in all_jobs(mount):
        assert set(listed(root)) == names
    assert contents(root) == expected
    mount.unmount()
    for path in mount.vault.glob("index.db*"):
        path.unlink()
    mount.expected.append("being rebuilt")
    mount.start()
    assert contents(root) == expected
    for name in sorted(names)[::9]:  # away from there
        new = name[:200] + b" moved"
        os.rename(os.path.join(root, name), os.path.join(root, new))  # noqa: PTH104, PTH118
        expected[new] = expected.pop(name)
    assert contents(root) == expected


def test_the_longest_names(folder: Path) -> None:
    longest = "n" * NAME_BYTES_MAX
    (folder / longest).mkdir()
    (folder / longest / longest).symlink_to(longest)
    os.mkfifo(folder / longest / ("f" * NAME_BYTES_MAX))
    assert listed(folder / longest) == ["f" * NAME_BYTES_MAX, longest]
    wide = "é" * 128  # 256 bytes, and fewer characters
    for make in (Path.touch, Path.mkdir, os.mkfifo, Path.stat, Path.unlink, Path.rmdir):
        with fails_with(errno.ENAMETOOLONG):
            make(folder / wide)
    with fails_with(errno.ENAMETOOLONG):
        os.link(folder / longest, folder / wide)
    with fails_with(errno.ENAMETOOLONG):
        (folder / wide).symlink_to("x")
    (folder / wide[:-1]).touch()


def descend(top: Path, depth: int, *, make: bool) -> int:
    """A descriptor of the directory ``depth`` below ``top``."""
    at = os.open(top, os.O_RDONLY)
    for level in range(depth):
        name = f"{level}-".ljust(NAME_BYTES_MAX, "d")
        if make:
            os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    return at


def write_in(directory: int, name: str, content: bytes) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=directory)
    os.write(fd, content)
    os.close(fd)


def read_in(directory: int, name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY, dir_fd=directory)
    try:
        return os.read(fd, 1000)
    finally:
        os.close(fd)


def test_paths_up_to_the_longest(folder: Path) -> None:
    text = os.fsencode(folder)
    for length in itertools.count():
        if PATH_MAX - 1 - len(text) <= NAME_BYTES_MAX + 1:
            break
        text += b"/" + b"p" * 200
        os.mkdir(text)  # noqa: PTH102 - bytes
        assert length < 100
    text += b"/"
    text += b"f" * (PATH_MAX - 1 - len(text))
    fd = os.open(text, os.O_CREAT | os.O_WRONLY)
    os.close(fd)
    assert os.lstat(text).st_size == 0
    with fails_with(errno.ENAMETOOLONG):
        os.lstat(text + b"f")
    os.unlink(text)  # noqa: PTH108


def test_deeper_than_any_path(mount: Mount) -> None:
    """Relative names lead there, and whatever walks the tree gets there, too."""
    (mount.path / "top").mkdir()
    deepest = descend(mount.path / "top", DEPTH, make=True)
    write_in(deepest, "file", b"at the bottom")
    os.close(deepest)
    mount.wait_sealed()

    def check(top: Path) -> None:
        at = descend(top, DEPTH, make=False)
        assert read_in(at, "file") == b"at the bottom"
        assert os.listdir(at) == ["file"]  # noqa: PTH208
        assert os.stat("..", dir_fd=at).st_nlink == 3
        os.close(at)

    check(mount.path / "top")
    for _ in all_jobs(mount):
        check(mount.path / "top")
    (mount.control / "where").read_text()
    mount.remount()
    check(mount.path / "top")
    (mount.path / "other").mkdir()
    (mount.path / "top").rename(mount.path / "other" / "below")
    check(mount.path / "other" / "below")
    half = descend(mount.path / "other" / "below", DEPTH // 2, make=False)
    with fails_with(errno.EINVAL):
        os.rename(mount.path / "other", "other", dst_dir_fd=half)
    os.close(half)
    remove_all(mount.path / "other")
    assert listed(mount.path) == []


def remove_all(top: Path) -> None:
    """As ``rm -r``, which changes into directories whose paths are too long."""
    at = [os.open(top, os.O_RDONLY)]
    names: list[str] = []
    while at:
        below = sorted(os.listdir(at[-1]))  # noqa: PTH208
        if below and below[0] == "file":
            os.unlink("file", dir_fd=at[-1])
        elif below:
            names.append(below[0])
            at.append(os.open(below[0], os.O_RDONLY, dir_fd=at[-1]))
        else:
            os.close(at.pop())
            if at:
                os.rmdir(names.pop(), dir_fd=at[-1])
    top.rmdir()


def test_targets_up_to_the_longest(shared: Mount, folder: Path) -> None:
    targets = [
        b"x",
        b"/" * (PATH_MAX - 1),
        b"t" * (PATH_MAX - 1),
        VALUES * 16,
        b"\n",
        b"\xff" * 300,
    ]
    targets = [target[: PATH_MAX - 1] for target in targets]
    for at, target in enumerate(targets):
        (folder / f"{at}").symlink_to(os.fsdecode(target))

    def check() -> None:
        for at, target in enumerate(targets):
            link = folder / f"{at}"
            assert os.readlink(os.fsencode(link)) == target  # noqa: PTH115 - as it was given
            assert link.lstat().st_size == len(target)

    check()
    with fails_with(errno.ENAMETOOLONG):
        (folder / "longer").symlink_to("t" * PATH_MAX)
    with fails_with(errno.ENOENT):
        (folder / "empty").symlink_to("")
    (shared.control / "compact").write_text("1\n")
    check()
    shared.remount()
    check()


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_attributes_up_to_the_largest(shared: Mount, folder: Path, kind) -> None:
    path = folder / "holder"
    path.mkdir() if kind == "directory" else path.touch()
    longest = "user." + "n" * (NAME_BYTES_MAX - 5)
    expected = {"user.empty": b"", "user.largest": os.urandom(1 << 16), longest: VALUES}
    for name, value in expected.items():
        os.setxattr(path, name, value)
    with fails_with(errno.E2BIG):
        os.setxattr(path, "user.larger", bytes((1 << 16) + 1))
    with fails_with(errno.ERANGE):
        os.setxattr(path, longest + "n", b"")
    for flag, number in ((os.XATTR_CREATE, errno.EEXIST), (os.XATTR_REPLACE, errno.ENODATA)):
        with fails_with(number):
            os.setxattr(path, "user.empty" if number == errno.EEXIST else "user.no", b"", flag)

    def check() -> None:
        names = [name for name in os.listxattr(path) if not name.startswith("user.stowken.")]
        assert {name: os.getxattr(path, name) for name in names} == expected

    check()
    shared.crash()
    check()
    (shared.control / "compact").write_text("1\n")
    shared.remount()
    check()
    os.removexattr(path, "user.largest")
    del expected["user.largest"]
    check()
