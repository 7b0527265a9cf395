"""Random operations on a file in the mount and on a plain one: always the same bytes."""

import contextlib
import mmap
import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.mount.conftest import MakeMount
from tests.mount.mounted import Mount

SEEDS = range(1, 1 + int(os.environ.get("STOWKENFS_SEEDS", "3")))
OPERATIONS = 3000
SIZE_MAX = 256 << 10
LINE = b'{"role": "user", "content": "some words that repeat, some words that do not %d"}\n'


class Twin:
    """A file in the mount and its plain copy, to which the same things happen."""

    def __init__(self, mounted: Path, plain: Path) -> None:
        self.mounted, self.plain = mounted, plain
        self._fds: tuple[int, int] | None = None
        for path in (mounted, plain):
            path.write_bytes(b"")

    @property
    def fds(self) -> tuple[int, int]:
        if self._fds is None:
            self._fds = (os.open(self.mounted, os.O_RDWR), os.open(self.plain, os.O_RDWR))
        return self._fds

    @property
    def size(self) -> int:
        return os.stat(self.plain).st_size  # noqa: PTH116

    def close(self) -> None:
        for fd in self._fds or ():
            os.close(fd)
        self._fds = None

    def write(self, start: int, content: bytes) -> None:
        for fd in self.fds:
            assert os.pwrite(fd, content, start) == len(content)

    def append(self, content: bytes) -> None:
        for path in (self.mounted, self.plain):
            with path.open("ab", buffering=0) as file:
                file.write(content)

    def truncate(self, size: int) -> None:
        for fd in self.fds:
            os.ftruncate(fd, size)

    def map_write(self, start: int, content: bytes) -> None:
        for fd in self.fds:
            with mmap.mmap(fd, 0) as view:
                view[start : start + len(content)] = content

    def read(self, start: int, length: int) -> None:
        one, other = (os.pread(fd, length, start) for fd in self.fds)
        assert one == other, _difference(one, other, start)

    def map_read(self, start: int, length: int) -> None:
        pieces = []
        for fd in self.fds:
            with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as view:
                pieces.append(view[start : start + length])
        assert pieces[0] == pieces[1], _difference(pieces[0], pieces[1], start)

    def forget_pages(self) -> None:
        """Let the next read come from the daemon."""
        os.fsync(self.fds[0])
        os.posix_fadvise(self.fds[0], 0, 0, os.POSIX_FADV_DONTNEED)

    def replace(self) -> None:
        """Save as editors do."""
        self.close()
        for path in (self.mounted, self.plain):
            temporary = path.with_name(path.name + ".tmp")
            temporary.write_bytes(path.read_bytes() + b"saved\n")
            temporary.replace(path)

    def check(self) -> None:
        assert os.stat(self.mounted).st_size == self.size  # noqa: PTH116
        one, other = self.mounted.read_bytes(), self.plain.read_bytes()
        assert one == other, _difference(one, other, 0)


def _difference(one: bytes, other: bytes, start: int) -> str:
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return f"{len(one)} and {len(other)} bytes from {start}; they differ from byte {at}"


def content_for(chance: random.Random, length: int) -> bytes:
    """Sometimes lines of a log, sometimes noise, sometimes zeros."""
    kind = chance.randrange(4)
    if kind == 0:
        return chance.randbytes(length)
    if kind == 1:
        return bytes(length)
    return (LINE % chance.randrange(1000) * (length // len(LINE) + 1))[:length]


def run_operations(twin: Twin, chance: random.Random, count: int, log: list[str]) -> None:
    for at in range(count):
        size = twin.size
        start = chance.randrange(min(size + 20_000, SIZE_MAX)) if chance.random() < 0.9 else size
        length = min(chance.choice((1, 10, 300, 4096, 9000, 70_000)), SIZE_MAX - start)
        length = chance.randint(0, length) if length > 0 else 0
        action = chance.choices(
            ("write", "append", "read", "truncate", "map_write", "map_read", "reopen",
             "forget", "replace", "check"),
            (25, 8, 20, 6, 6, 6, 12, 8, 1, 3),
        )[0]  # fmt: skip
        log.append(f"{at}: {action} {start} {length}, size {size}")
        if action == "write":
            twin.write(start, content_for(chance, length))
        elif action == "append" and size < SIZE_MAX:
            twin.append(content_for(chance, min(length, 5000)))
        elif action == "read":
            twin.read(start, length)
        elif action == "truncate":
            twin.truncate(chance.choice((start, chance.randint(0, size))))
        elif action == "map_write" and size and start < size:
            twin.map_write(start, content_for(chance, min(length, size - start)))
        elif action == "map_read" and size and start < size:
            twin.map_read(start, length)
        elif action == "reopen":
            twin.close()
        elif action == "forget":
            twin.forget_pages()
        elif action == "replace":
            twin.replace()
        elif action == "check":
            twin.check()


@pytest.mark.parametrize("seed", SEEDS)
def test_random_operations(make_mount: MakeMount, tmp_path: Path, seed) -> None:
    """Like fsx: sealing goes on all the time under reads, writes, maps and truncations."""
    mount = make_mount("seal_after=0,workers=0")
    twin = Twin(mount.path / "file.jsonl", tmp_path / "plain")
    log: list[str] = []
    try:
        run_operations(twin, random.Random(seed), OPERATIONS, log)
    except BaseException as error:
        error.add_note("\n".join(["the last operations:", *log[-30:]]))
        raise
    finally:
        twin.close()
    twin.check()
    mount.wait_sealed()
    twin.check()
    mount.remount()
    twin.check()
    (mount.control / "verify").write_text("1\n")


@pytest.mark.parametrize("seed", SEEDS)
def test_random_operations_and_kills(make_mount: MakeMount, tmp_path: Path, seed) -> None:
    """Every operation returned before the kill, so every byte is there after it."""
    mount = make_mount("seal_after=0,workers=0")
    twin = Twin(mount.path / "file.jsonl", tmp_path / "plain")
    chance, log = random.Random(100 + seed), list[str]()
    for kills in range(4):
        try:
            run_operations(twin, chance, chance.randint(20, 200), log)
            # Pages written through a map are the kernel's until they are synced.
            os.fsync(twin.fds[0])
            mount.kill()
            with contextlib.suppress(OSError):
                twin.close()
            twin._fds = None
            mount.recover()
            twin.check()
        except BaseException as error:
            error.add_note("\n".join([f"after {kills} kills; the last operations:", *log[-30:]]))
            raise
    mount.wait_sealed()
    twin.check()


@st.composite
def splits(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, int]]]:
    """A document and the pieces in which it is written, with what happens between them."""
    lines = draw(
        st.lists(
            st.one_of(
                st.binary(max_size=200),
                st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
                st.integers(0, 99).map(lambda at: LINE % at),
            ),
            max_size=40,
        )
    )
    ending = draw(st.sampled_from([b"\n", b"\r\n", b"", b"\0"]))
    document = ending.join(lines) * draw(st.sampled_from([1, 1, 1, 30]))
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["write", "write", "write", "close", "cut", "again", "sync"]),
                st.integers(1, 70_000),
            ),
            max_size=25,
        )
    )
    return document, steps


@given(splits())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_split_of_writes(busy: Mount, split) -> None:
    document, steps = split
    path = busy.path / "document"
    fd, at = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), 0
    try:
        for step, length in [*steps, ("write", len(document) + 1)]:
            if step == "write":
                at += os.pwrite(fd, document[at : at + length], at)
            elif step == "close":
                os.close(fd)
                fd = os.open(path, os.O_RDWR)
            elif step == "cut":
                at = max(at - length, 0)
                os.ftruncate(fd, at)
            elif step == "again":
                start = max(at - length, 0)
                assert os.pwrite(fd, document[start:at], start) == at - start
            else:
                os.fsync(fd)
            assert os.fstat(fd).st_size == at
    finally:
        os.close(fd)
    os.truncate(path, len(document))
    assert path.read_bytes() == document


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory):
    """A mount that seals at once."""
    from tests.mount.mounted import skip_without_fuse

    skip_without_fuse()
    mount = Mount(tmp_path_factory.mktemp("busy"), "seal_after=0,workers=0")
    try:
        yield mount.start()
        mount.check_log()
    finally:
        mount.close()
