"""Programs that people use every day work in a mount."""

import filecmp
import json
import os
import random
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.mounted import Mount, listed, run

TEXT = "The quick brown fox jumps over the lazy dog, again and again. "


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree outside the mount with a bit of everything."""
    root = tmp_path_factory.mktemp("source") / "tree"
    chance = random.Random(3)
    for folder in ("a", "a/deep", "b c"):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for at in range(15):
            messages = [{"role": "user", "content": f"{at} {TEXT * 3}"}]
            (root / folder / f"{at}.json").write_text(json.dumps({"messages": messages}))
        (root / folder / "noise").write_bytes(chance.randbytes(50_000))
        (root / folder / "empty").touch()
    (root / "link").symlink_to("a/0.json")
    os.link(root / "a" / "0.json", root / "a" / "second name")
    (root / "a" / "1.json").chmod(0o600)
    (root / "script").write_text("#!/bin/sh\necho ran\n")
    (root / "script").chmod(0o755)
    for path in root.rglob("*"):
        if not path.is_symlink():
            os.utime(path, ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
    return root


def assert_same(one: Path, other: Path) -> None:
    run("diff", "-r", "--no-dereference", one, other)


@pytest.fixture
def with_tail() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def test_cp_archive(folder: Path, source: Path) -> None:
    run("cp", "-a", source, folder / "copy")
    assert_same(source, folder / "copy")
    for path in source.rglob("*"):
        copied = folder / "copy" / path.relative_to(source)
        one, other = path.lstat(), copied.lstat()
        assert one.st_mode == other.st_mode, path
        assert one.st_nlink == other.st_nlink, path
        if not path.is_symlink():
            assert one.st_mtime_ns == other.st_mtime_ns, path


def test_a_script_runs(folder: Path, source: Path) -> None:
    run("cp", "-a", source / "script", folder)
    assert run(folder / "script") == "ran\n"


def test_tar(folder: Path, source: Path, shared: Mount) -> None:
    run("cp", "-a", source, folder / "copy")
    shared.wait_sealed()
    run("tar", "-cf", folder / "archive.tar", "-C", folder, "copy")
    (folder / "out").mkdir()
    run("tar", "-xpf", folder / "archive.tar", "-C", folder / "out")
    assert_same(source, folder / "out" / "copy")
    run("tar", "--compare", "-f", folder / "archive.tar", "-C", folder / "out")
    run("tar", "-czf", folder / "archive.tgz", "-C", source.parent, source.name)
    run("tar", "--compare", "-f", folder / "archive.tgz", "-C", source.parent)


@needs("rsync")
def test_rsync_twice(folder: Path, source: Path, shared: Mount) -> None:
    run("rsync", "-aH", f"{source}/", folder / "copy")
    assert_same(source, folder / "copy")
    shared.wait_sealed()
    assert run("rsync", "-aH", "--itemize-changes", f"{source}/", folder / "copy") == ""
    assert run("rsync", "-aHc", "--itemize-changes", f"{source}/", folder / "copy") == ""
    (folder / "copy" / "a" / "3.json").unlink()
    changes = run("rsync", "-aH", "--itemize-changes", f"{source}/", folder / "copy")
    assert "a/3.json" in changes
    assert "4.json" not in changes
    run("rsync", "-a", "--inplace", "--append", f"{source}/", folder / "copy")
    run("rsync", "-aH", f"{folder}/copy/", folder / "again")
    assert_same(source, folder / "again")


@needs("jq")
def test_jq(folder: Path) -> None:
    rows = [{"role": "user", "n": at, "content": TEXT} for at in range(100)]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("jq", "-s", "map(.n) | add", folder / "log.jsonl").strip() == "4950"
    (folder / "nice.json").write_text(run("jq", "-s", ".", folder / "log.jsonl"))
    assert json.loads((folder / "nice.json").read_text()) == rows
    assert run("python3", "-m", "json.tool", "--json-lines", "--compact", folder / "log.jsonl")


def test_grep(folder: Path, source: Path) -> None:
    run("cp", "-r", source, folder / "copy")
    found = run("grep", "-rl", "14 The quick", folder / "copy").splitlines()
    assert sorted(Path(path).name for path in found) == ["14.json"] * 3


@needs("git")
def test_git(folder: Path, source: Path) -> None:
    repository = folder / "repository"

    def git(*words: str) -> str:
        identity = ("-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "gc.auto=0")
        return run("git", *identity, *words, cwd=repository)

    run("cp", "-a", source, repository)
    git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-qm", "first")
    assert git("status", "--porcelain") == ""
    (repository / "a" / "0.json").write_text("changed\n")
    (repository / "b c" / "0.json").unlink()
    assert len(git("status", "--porcelain").splitlines()) >= 2
    git("commit", "-qam", "second")
    git("checkout", "-q", "HEAD~1")
    assert_same(source / "b c", repository / "b c")
    git("checkout", "-q", "main")
    git("gc", "-q", "--prune=now")
    git("fsck", "--full", "--strict")
    run("git", "clone", "-q", repository, folder / "clone")
    assert run("git", "-C", folder / "clone", "log", "--oneline").count("\n") == 2


@needs("vim")
@pytest.mark.parametrize("how", ["backupcopy=yes", "backupcopy=no", "nowritebackup"])
def test_vim_saves(folder: Path, shared: Mount, how) -> None:
    path = folder / "edited.txt"
    path.write_text("one\ntwo\nthree\n")
    path.chmod(0o640)
    shared.wait_sealed()
    run(
        "vim", "-es", "-u", "NONE", "-i", "NONE", "-c", f"set {how}",
        "-c", "%s/two/2/", "-c", "wq", path,
    )  # fmt: skip
    assert path.read_text() == "one\n2\nthree\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert listed(folder) == ["edited.txt"]


def test_save_by_temporary_and_rename(folder: Path, shared: Mount) -> None:
    path = folder / "settings.json"
    for version in range(50):
        temporary = folder / f".settings.{version}.tmp"
        with temporary.open("w") as file:
            json.dump({"version": version, "text": TEXT}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        assert json.loads(path.read_text())["version"] == version
    assert listed(folder) == ["settings.json"]
    shared.wait_sealed()
    assert json.loads(path.read_text())["version"] == 49


@pytest.mark.parametrize("journal", ["delete", "truncate", "persist", "wal"])
def test_sqlite(folder: Path, shared: Mount, journal) -> None:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(folder / "database", isolation_level=None)
        connection.execute(f"PRAGMA journal_mode = {journal}")
        return connection

    database = connect()
    database.execute("CREATE TABLE log (n INTEGER PRIMARY KEY, text TEXT)")
    database.execute("BEGIN")
    database.executemany(
        "INSERT INTO log VALUES (?, ?)", [(at, f"{at} {TEXT}") for at in range(1000)]
    )
    database.execute("COMMIT")
    for at in range(1000, 1020):
        database.execute("INSERT INTO log VALUES (?, ?)", (at, TEXT))
    database.execute("UPDATE log SET text = 'changed' WHERE n % 7 = 0")
    database.execute("BEGIN")
    database.execute("DELETE FROM log")
    database.execute("ROLLBACK")
    database.close()
    shared.wait_sealed()
    database = connect()
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert database.execute("SELECT count(*) FROM log").fetchone() == (1020,)
    database.execute("VACUUM")
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()
    if shutil.which("sqlite3"):
        assert run("sqlite3", folder / "database", "PRAGMA integrity_check").strip() == "ok"


def test_two_processes_lock_a_database(folder: Path) -> None:
    """Locks are the kernel's; each process waits for the other."""
    path = folder / "counter"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE counter (n INTEGER)")
        database.execute("INSERT INTO counter VALUES (0)")
    database.close()
    script = (
        "import sqlite3, sys\n"
        "d = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)\n"
        "for _ in range(50):\n"
        "    d.execute('BEGIN IMMEDIATE'); d.execute('UPDATE counter SET n = n + 1')\n"
        "    d.execute('COMMIT')\n"
    )
    workers = [subprocess.Popen(["python3", "-c", script, path]) for _ in range(2)]
    assert [worker.wait(90) for worker in workers] == [0, 0]
    database = sqlite3.connect(path)
    assert database.execute("SELECT n FROM counter").fetchone() == (100,)
    database.close()


@needs("make")
def test_make(folder: Path) -> None:
    (folder / "Makefile").write_text("out: in\n\ttr a-z A-Z < in > out\n")
    (folder / "in").write_text("text\n")
    run("make", "-s", cwd=folder)
    assert (folder / "out").read_text() == "TEXT\n"
    assert "up to date" in run("make", cwd=folder)
    os.utime(folder / "in", ns=(2**61, 2**61))
    assert "tr a-z" in run("make", cwd=folder)


@needs("gcc")
def test_compiler(folder: Path) -> None:
    (folder / "hello.c").write_text('#include <stdio.h>\nint main(void) { puts("hi"); }\n')
    run("gcc", "-o", folder / "hello", folder / "hello.c")
    assert run(folder / "hello") == "hi\n"


def test_tail_follows(folder: Path, with_tail: list[subprocess.Popen[str]]) -> None:
    path = folder / "log.jsonl"
    path.write_text('{"n": -1}\n')
    tail = subprocess.Popen(
        ["tail", "-n", "+1", "-s", "0.05", "-f", path], stdout=subprocess.PIPE, text=True
    )
    with_tail.append(tail)
    limit = threading.Timer(30, tail.kill)
    limit.start()
    assert tail.stdout is not None
    assert json.loads(tail.stdout.readline()) == {"n": -1}
    for at in range(20):
        with path.open("a") as log:
            log.write(json.dumps({"n": at}) + "\n")
        assert json.loads(tail.stdout.readline()) == {"n": at}
    limit.cancel()


def test_mv_between_directories(folder: Path, source: Path) -> None:
    run("cp", "-a", source, folder / "copy")
    (folder / "elsewhere").mkdir()
    run("mv", folder / "copy" / "a", folder / "elsewhere")
    run("mv", folder / "copy" / "script", folder / "elsewhere" / "renamed")
    assert_same(source / "a", folder / "elsewhere" / "a")
    assert not (folder / "copy" / "a").exists()
    run("mv", folder / "elsewhere", folder / "copy" / "below")
    assert filecmp.cmp(source / "script", folder / "copy" / "below" / "renamed", shallow=False)


def test_mv_out_of_the_mount_and_back(folder: Path, source: Path, tmp_path: Path) -> None:
    run("cp", "-a", source, folder / "copy")
    run("mv", folder / "copy", tmp_path / "out")
    assert_same(source, tmp_path / "out")
    run("mv", tmp_path / "out", folder / "back")
    assert_same(source, folder / "back")


def test_dd(folder: Path) -> None:
    run("dd", "if=/dev/zero", f"of={folder}/file", "bs=1000", "count=7", "status=none")
    run("dd", "if=/dev/zero", f"of={folder}/file", "bs=10", "count=1", "oflag=append",
        "conv=notrunc", "status=none")  # fmt: skip
    assert (folder / "file").stat().st_size == 7010
    run("dd", "if=/dev/zero", f"of={folder}/file", "bs=1", "count=1", "seek=9999", "conv=notrunc",
        "status=none")  # fmt: skip
    assert (folder / "file").stat().st_size == 10_000


def test_shell_redirections(folder: Path) -> None:
    run("bash", "-c", "echo longer text > f; echo x > f; echo y >> f; : > g; cat f", cwd=folder)
    assert (folder / "f").read_text() == "x\ny\n"
    run("bash", "-c", "exec 3<>f; echo z >&3; exec 3>&-", cwd=folder)
    assert (folder / "f").read_text() == "z\ny\n"
    run("sed", "-i", "s/y/why/", folder / "f")
    assert (folder / "f").read_text() == "z\nwhy\n"


def test_flock(folder: Path) -> None:
    path = folder / "lock"
    done = subprocess.run(
        ["flock", path, "flock", "-n", path, "true"], capture_output=True, check=False
    )
    assert done.returncode == 1


def test_everything_above_is_sound(shared: Mount) -> None:
    """Last: what all those programs left is on disk, and the same after another mount."""
    shared.wait_sealed(60)
    before = {
        path: path.read_bytes()
        for path in shared.path.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    run("bash", "-c", f"echo 1 > {shared.control}/verify")
    shared.remount()
    assert before == {path: path.read_bytes() for path in before}
