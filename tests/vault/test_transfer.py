"""Trees into a vault and out again, compared byte for byte by a walk of its own."""

import os
import random
import socket
import stat
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from stowkenfs.errors import DirectoryNotEmpty, NotADirectory
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.exporter import export_tree
from stowkenfs.vault.importer import import_trees
from stowkenfs.vault.transfer import TransferReport
from stowkenfs.vault.vault import Vault

MTIME_NS = 1_234_567_890_123_456_789


def take_in(vault: Path, *sources: Path, workers: int = 0, backend: str = "trio") -> TransferReport:
    async def run() -> TransferReport:
        async with Vault.open(vault, VaultConfig(workers=workers)) as opened:
            return await import_trees(opened, sources)

    return anyio.run(run, backend=backend)


def write_out(vault: Path, destination: Path, backend: str = "trio") -> TransferReport:
    async def run() -> TransferReport:
        async with Vault.open(vault) as opened:
            return await export_tree(opened, destination)

    return anyio.run(run, backend=backend)


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def described(top: Path) -> dict[str, tuple[object, ...]]:
    """Everything that counts of each file below ``top``, and which names are one file."""
    found: dict[str, tuple[object, ...]] = {}
    inodes: dict[int, str] = {}
    for path in [top, *sorted(top.rglob("*"))]:
        status = path.lstat()
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(os.fsencode(path))  # noqa: PTH115 - exactly its bytes
        names = os.listxattr(path, follow_symlinks=False)
        xattrs = {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
        name = str(path.relative_to(top))
        found[name] = (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
            inodes.setdefault(status.st_ino, name),
            content,
            xattrs,
        )
    return found


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    return tmp_path / "vault"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    return path


def assert_same_after_a_round_trip(vault: Path, source: Path, workers: int = 0) -> TransferReport:
    report = take_in(vault, source, workers=workers)
    assert report.failures == []
    out = vault.with_name("out")
    assert write_out(vault, out).failures == []
    assert described(out / source.name) == described(source)
    return report


def as_user() -> bool:
    return os.geteuid() != 0


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_ordinary_files_and_directories(vault, source, tmp_path, backend):
    (source / "2026" / "11").mkdir(parents=True)
    (source / "2026" / "11" / "chat.json").write_text('{"messages": []}')
    (source / "run.jsonl").write_text('{"a": 1}\n' * 1000)
    (source / "binary").write_bytes(random.Random(1).randbytes(100_000))
    (source / "empty").write_bytes(b"")
    (source / "nothing in here").mkdir()
    report = take_in(vault, source, backend=backend)
    assert (report.files, report.directories, report.content_bytes) == (4, 4, 16 + 9000 + 100_000)
    assert write_out(vault, tmp_path / "out", backend=backend).to_dict() == report.to_dict()
    assert described(tmp_path / "out" / "source") == described(source)


def test_modes_times_and_attributes(vault, source):
    for mode in (0o400, 0o000, 0o755, 0o2755, 0o4711, 0o666):
        path = source / f"mode-{mode:o}"
        path.write_bytes(b"x")
        path.chmod(mode)
        os.utime(path, ns=(MTIME_NS + 7, MTIME_NS + mode))
    folder = source / "folder"
    folder.mkdir()
    (folder / "inside").write_bytes(b"y")
    os.setxattr(source / "mode-755", "user.origin", b"\0\xff")
    os.setxattr(folder, "user.origin", b"folder")
    folder.chmod(0o2550)
    os.utime(folder, ns=(0, MTIME_NS))
    os.utime(source / "mode-666", ns=(0, -1_500_000_000))  # before 1970
    assert_same_after_a_round_trip(vault, source)


@pytest.mark.skipif(as_user(), reason="only root gives files away")
def test_owners_when_root_exports(vault, source):
    (source / "theirs").write_bytes(b"x")
    os.chown(source / "theirs", 1234, 4321)
    (source / "theirs").chmod(0o4755)
    (source / "link").symlink_to("theirs")
    os.lchown(source / "link", 55, 66)
    assert_same_after_a_round_trip(vault, source)


def test_names_that_are_bytes(vault, source):
    for name in (b"\xff\n name", b" ", b"-rf", b"*", "ü".encode(), b"a" * 255, b"\\", b"\x01"):
        (source / os.fsdecode(name)).write_bytes(name)
    folder = source / os.fsdecode(b"\xfe dir")
    folder.mkdir()
    (folder / os.fsdecode(b"\xfd")).write_bytes(b"inside")
    assert_same_after_a_round_trip(vault, source)


def test_links(vault, source):
    (source / "file").write_text("one file, three names")
    (source / "folder").mkdir()
    os.link(source / "file", source / "again")
    os.link(source / "file", source / "folder" / "and again")
    for name, target in (("to-file", "file"), ("loop", "loop"), ("up", ".."), ("gone", "/no/x")):
        (source / name).symlink_to(target)
    (source / "long").symlink_to(os.fsdecode(b"\xff" * 4000))
    os.link(source / "to-file", source / "to-file-too", follow_symlinks=False)
    os.utime(source / "to-file", ns=(5, MTIME_NS), follow_symlinks=False)
    report = assert_same_after_a_round_trip(vault, source)
    assert (report.files, report.names, report.others) == (1, 3, 5)
    status = (vault.with_name("out") / "source" / "again").stat()
    assert status.st_nlink == 3


def test_fifos_and_sockets(vault, source):
    os.mkfifo(source / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(source / "socket"))
    assert assert_same_after_a_round_trip(vault, source).others == 2


@pytest.mark.skipif(as_user(), reason="only root makes devices")
def test_devices(vault, source):
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert_same_after_a_round_trip(vault, source)
    assert (vault.with_name("out") / "source" / "null").stat().st_rdev == os.makedev(1, 3)


def test_a_large_file_by_worker_processes(vault, source):
    words = [f"word{number}" for number in range(1000)]
    pick = random.Random(2)
    with (source / "log.jsonl").open("w") as file:
        while file.tell() < 10 << 20:
            text = " ".join(pick.choices(words, k=pick.randrange(400)))
            file.write(f'{{"role": "user", "content": "{text}"}}\n')
    (source / "noise").write_bytes(pick.randbytes(10 << 20))
    (source / "one-line.json").write_text('{"text": "%s"}' % ("All in one line. " * 700_000))
    assert_same_after_a_round_trip(vault, source, workers=2)


def test_many_small_files_keep_their_order(vault, source):
    for number in range(1500):
        (source / f"{number:05}").write_bytes(b"%d" % number)
    assert_same_after_a_round_trip(vault, source, workers=2)

    async def names() -> list[bytes]:
        async with Vault.open(vault) as opened:
            return [path async for path, _ in opened.walk()]

    assert anyio.run(names)[1:] == [b"/source/%05d" % number for number in range(1500)]


def test_holes_cost_nothing(vault, source):
    with (source / "sparse").open("wb") as file:
        file.write(b"start")
        file.seek(3 << 30)
        file.write(b"middle")
        file.truncate(1 << 40)
    (source / "all-hole").touch()
    os.truncate(source / "all-hole", 1 << 42)
    assert take_in(vault, source).failures == []
    out = vault.with_name("out")
    assert write_out(vault, out).failures == []
    exported = out / "source" / "sparse"
    assert (exported.stat().st_size, (out / "source" / "all-hole").stat().st_size) == (
        1 << 40,
        1 << 42,
    )
    assert exported.stat().st_blocks * 512 < 1 << 20
    with exported.open("rb") as file:
        assert file.read(8) == b"start\0\0\0"
        file.seek((3 << 30) - 2)
        assert file.read(10) == b"\0\0middle\0\0"


def test_a_deep_tree(vault, source):
    path = source
    for _ in range(1500):
        path = path / "d"
        path.mkdir()
    (path / "bottom").write_text("here")
    try:
        report = take_in(vault, source)
    finally:  # by something that does not recurse, as pytest would
        subprocess.run(["rm", "-rf", source], check=True, timeout=60)
    assert (report.failures, report.directories, report.files) == ([], 1501, 1)


# Again


def test_importing_again_replaces_files_and_merges_directories(vault, source, tmp_path):
    (source / "folder").mkdir()
    (source / "folder" / "kept").write_text("kept")
    (source / "changes").write_text("a long first version")
    (source / "becomes a link").write_text("x")
    os.link(source / "changes", source / "other name")
    take_in(vault, source)
    (source / "folder" / "kept").unlink()
    (source / "folder" / "new").write_text("new")
    (source / "other name").unlink()
    (source / "changes").write_text("second")
    (source / "becomes a link").unlink()
    (source / "becomes a link").symlink_to("changes")
    assert take_in(vault, source).failures == []
    write_out(vault, tmp_path / "out")
    found = tmp_path / "out" / "source"
    assert (found / "changes").read_text() == "second"
    assert (found / "other name").read_text() == "a long first version"
    assert (found / "folder" / "kept").read_text() == "kept"
    assert (found / "folder" / "new").read_text() == "new"
    assert (found / "becomes a link").readlink() == Path("changes")


def test_importing_again_stores_nothing_twice(vault, source):
    (source / "noise").write_bytes(random.Random(3).randbytes(3 << 20))
    take_in(vault, source)
    (pack,) = (vault / "packs").iterdir()
    before = pack.stat().st_size
    take_in(vault, source)
    assert pack.stat().st_size - before < 10_000


def test_a_file_and_a_directory_of_one_name(vault, tmp_path, source):
    other = tmp_path / "other" / "source"
    other.parent.mkdir()
    other.write_text("a file")
    (source / "inside").write_text("x")
    take_in(vault, source)
    report = take_in(vault, other)
    assert [failure.path for failure in report.failures] == [str(other)]
    other.unlink()
    other.mkdir()
    (other / "inside").mkdir()
    (other / "inside" / "below").write_text("y")
    report = take_in(vault, other)
    assert [failure.path for failure in report.failures] == [str(other / "inside")]
    write_out(vault, tmp_path / "out")
    assert (tmp_path / "out" / "source" / "inside").read_text() == "x"


# What goes wrong


def test_what_cannot_be_read_is_reported_and_the_rest_taken_in(vault, source, tmp_path):
    (source / "good").write_text("good")
    # Reading this gives EIO at its start, for root as well.
    report = take_in(vault, source, Path("/proc/self/mem"), tmp_path / "absent")
    assert [failure.path for failure in report.failures] == [
        "/proc/self/mem",
        str(tmp_path / "absent"),
    ]
    assert report.files == 1
    write_out(vault, tmp_path / "out")
    assert names_in(tmp_path / "out") == ["source"]


def test_the_vault_itself_is_left_out(tmp_path):
    (tmp_path / "file").write_text("x")
    report = take_in(tmp_path / "vault", tmp_path)
    assert [failure.path for failure in report.failures] == [str(tmp_path / "vault")]
    assert report.files == 1


def test_files_of_proc_that_have_no_size(vault, tmp_path):
    take_in(vault, Path("/proc/version"))
    write_out(vault, tmp_path / "out")
    assert (tmp_path / "out" / "version").read_text() == Path("/proc/version").read_text()


def test_an_import_that_is_cancelled_leaves_nothing_behind(vault, source, tmp_path):
    (source / "a").write_text("whole")
    (source / "noise").write_bytes(random.Random(4).randbytes(20 << 20))

    async def run() -> None:
        async with Vault.open(vault) as opened:
            with anyio.CancelScope() as scope:
                await import_trees(
                    opened, [source], lambda report: scope.cancel() if report.files else None
                )
            assert scope.cancelled_caught

    anyio.run(run)
    assert write_out(vault, tmp_path / "out").failures == []
    assert names_in(tmp_path / "out" / "source") == ["a"]

    async def documents() -> int:
        async with Vault.open(vault) as opened:
            return (await opened.stats()).documents

    assert anyio.run(documents) == 1


def test_a_full_disk_stops_the_import_with_its_error(vault, source, monkeypatch):
    (source / "file").write_text("x")

    async def run() -> None:
        async with Vault.open(vault) as opened:

            async def full(_pieces: object) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(opened.ingest, "store", full)
            await import_trees(opened, [source])

    with pytest.raises(OSError, match="No space left"):
        anyio.run(run)


def test_export_into_something_that_is_there(vault, source, tmp_path):
    take_in(vault, source)
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectory):
        write_out(vault, tmp_path / "file")
    with pytest.raises(DirectoryNotEmpty):
        write_out(vault, tmp_path)
    with pytest.raises(FileNotFoundError):
        write_out(vault, tmp_path / "a" / "b")
    (tmp_path / "empty").mkdir(0o711)
    write_out(vault, tmp_path / "empty")
    assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == 0o711


def test_drafts_of_a_crash_are_exported_too(vault, tmp_path):
    program = (
        "import anyio, os, sys; from stowkenfs.vault.vault import Vault\n"
        "async def main():\n"
        "    async with Vault.open(sys.argv[1]) as vault:\n"
        "        ino = vault.tree.create(1, b'draft', 0o100644, 0, 0).ino\n"
        "        vault.files.acquire(ino, writing=True)\n"
        "        vault.files.write(ino, 0, b'not sealed')\n"
        "        os._exit(0)\n"
        "anyio.run(main)"
    )
    subprocess.run([sys.executable, "-c", program, vault], check=True, timeout=60)
    write_out(vault, tmp_path / "out")
    assert (tmp_path / "out" / "draft").read_bytes() == b"not sealed"


def test_names_that_lead_out_are_not_followed(vault, source, tmp_path):
    """Whatever an index claims: a name is one component."""
    (source / "file").write_text("x")

    async def run() -> TransferReport:
        async with Vault.open(vault) as opened:
            await import_trees(opened, [source])
            for name in (b"..", b"../escaped", b"/tmp/escaped"):
                ino = opened.tree.resolve(b"source/file").ino
                opened._inodes.link(opened.tree.resolve(b"source").ino, name, ino)
            return await export_tree(opened, tmp_path / "out")

    report = anyio.run(run)
    assert len(report.failures) == 3
    assert names_in(tmp_path / "out" / "source") == ["file"]
    assert not (tmp_path / "out" / "escaped").exists()
