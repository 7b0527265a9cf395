"""import, export, stats and verify of a vault that is not mounted."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.program import started, stowkenfs


def test_import_then_export_gives_the_same_tree(chats, vault, tmp_path):
    ended = stowkenfs("import", vault, chats)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("took in 2 files, 1 directory: ")
    ended = stowkenfs("export", vault, tmp_path / "out")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("wrote 2 files, 1 directory: ")
    subprocess.run(["diff", "-r", chats, tmp_path / "out" / "chats"], check=True)


def test_reports_as_json(chats, vault, tmp_path):
    report = json.loads(stowkenfs("import", vault, chats, "--json").out)
    size = sum(path.stat().st_size for path in chats.iterdir())
    assert report["complete"] is True
    assert (report["files"], report["content_bytes"]) == (2, size)
    assert report["stats"]["bytes_in"] == size

    stats = json.loads(stowkenfs("stats", vault, "--json").out)
    assert (stats["documents"], stats["conversations"], stats["bytes_in"]) == (2, 2, size)
    verified = json.loads(stowkenfs("verify", vault, "--json").out)
    assert verified["clean"] is True
    exported = json.loads(stowkenfs("export", vault, tmp_path / "out", "--json").out)
    assert (exported["files"], exported["content_bytes"]) == (2, size)


def test_stats_and_verify_as_text(chats, vault):
    stowkenfs("import", vault, chats)
    ended = stowkenfs("stats", vault)
    assert ended.code == 0
    assert ["conversations", "2"] in [line.split() for line in ended.out.splitlines()]
    ended = stowkenfs("verify", vault)
    assert ended.code == 0
    assert ended.out.splitlines()[-1] == "all is well"


def test_import_reports_what_is_missing_and_takes_in_the_rest(chats, vault, tmp_path):
    ended = stowkenfs("import", vault, tmp_path / "absent", chats)
    assert ended.code == 1
    assert ended.err == f"stowkenfs: {tmp_path}/absent: No such file or directory\n"
    assert json.loads(stowkenfs("stats", vault, "--json").out)["documents"] == 2


def test_import_of_nothing_makes_no_vault(vault, tmp_path):
    assert stowkenfs("import", vault, tmp_path / "absent").code == 1
    assert not vault.exists()


def test_import_refuses_the_name_of_the_control_directory(vault, tmp_path):
    (tmp_path / ".stowken").mkdir()
    ended = stowkenfs("import", vault, tmp_path / ".stowken")
    assert ended.code == 2
    assert not vault.exists()


@pytest.mark.parametrize("command", ["stats", "verify", "export"])
def test_a_vault_that_is_not_there_is_not_made(command, vault, tmp_path):
    more = [tmp_path / "out"] if command == "export" else []
    ended = stowkenfs(command, vault, *more)
    assert (ended.code, ended.err) == (1, f"stowkenfs: there is no vault {vault}\n")
    vault.mkdir()
    assert stowkenfs(command, vault, *more).code == 1
    assert list(vault.iterdir()) == []


@pytest.mark.parametrize("command", ["stats", "verify", "export", "import"])
def test_what_is_no_vault_ends_with_4(command, chats, tmp_path):
    more = {"export": [tmp_path / "out"], "import": ["/etc/hostname"]}.get(command, [])
    ended = stowkenfs(command, chats, *more)
    assert ended.code == 4
    assert "is not a stowkenfs vault" in ended.err
    assert len(list(chats.iterdir())) == 2


def test_a_damaged_superblock_ends_with_4(chats, vault):
    stowkenfs("import", vault, chats)
    superblock = bytearray((vault / "superblock").read_bytes())
    superblock[20] ^= 1
    (vault / "superblock").write_bytes(superblock)
    ended = stowkenfs("stats", vault)
    assert ended.code == 4
    assert ended.err.startswith("stowkenfs: the superblock is damaged")


def _damage(vault: Path) -> None:
    """Zeros in the middle of the pack."""
    (pack,) = (vault / "packs").iterdir()
    content = bytearray(pack.read_bytes())
    content[40:60] = bytes(20)
    pack.write_bytes(content)


def test_verify_names_damaged_files_and_ends_with_1(chats, vault):
    stowkenfs("import", vault, chats)
    _damage(vault)
    ended = stowkenfs("verify", vault)
    assert ended.code == 1
    assert "cannot be read: /chats/chat-1.json" in ended.out
    report = json.loads(stowkenfs("verify", vault, "--json").out)
    assert report["clean"] is False
    assert {damaged["path"] for damaged in report["files"]} >= {"/chats/chat-1.json"}


def test_export_leaves_out_damaged_files_and_ends_with_1(chats, vault, tmp_path):
    (chats / "empty").write_bytes(b"")
    stowkenfs("import", vault, chats)
    _damage(vault)
    ended = stowkenfs("export", vault, tmp_path / "out")
    assert ended.code == 1
    assert "out/chats/chat-1.json: " in ended.err
    assert [path.name for path in (tmp_path / "out" / "chats").iterdir()] == ["empty"]


def test_export_refuses_a_directory_with_something_in_it(chats, vault):
    stowkenfs("import", vault, chats)
    ended = stowkenfs("export", vault, chats)
    assert ended.code == 1
    assert "is not empty" in ended.err


def test_export_refuses_to_write_into_the_vault(chats, vault):
    stowkenfs("import", vault, chats)
    ended = stowkenfs("export", vault, vault / "out")
    assert ended.code == 1
    assert "inside the vault" in ended.err
    assert not (vault / "out").exists()


@pytest.fixture
def holder(vault):
    """A process that holds the vault's lock."""
    import fcntl

    vault.mkdir()
    fd = os.open(vault / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.write(fd, json.dumps({"pid": 4711}).encode())
    yield fd
    os.close(fd)


@pytest.mark.parametrize("command", ["stats", "verify", "export", "import"])
def test_a_locked_vault_ends_with_3_and_says_by_whom(command, chats, vault, tmp_path, holder):
    more = {"export": [tmp_path / "out"], "import": [chats]}.get(command, [])
    from uuid import uuid4

    from stowkenfs.vault.superblock import Superblock, write_superblock

    write_superblock(vault, Superblock(uuid4(), 0))
    ended = stowkenfs(command, vault, *more)
    assert ended.code == 3
    assert "in use by process 4711" in ended.err


def test_an_interrupted_import_leaves_whole_files(vault, tmp_path):
    source = tmp_path / "many"
    source.mkdir()
    for number in range(300):
        (source / f"{number:03}.json").write_text('{"text": "%s"}' % (f"{number} " * 20_000))
    process = started("import", vault, source)
    while not any((vault / "packs").glob("*.pack")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "stowkenfs: interrupted\n"
    assert stowkenfs("verify", vault).code == 0
    assert stowkenfs("export", vault, tmp_path / "out").code == 0
    exported = list((tmp_path / "out").rglob("*.json"))
    assert len(exported) < 300
    for path in exported:
        assert path.read_bytes() == (source / path.name).read_bytes()


def test_a_damaged_index_ends_with_4(chats, vault):
    stowkenfs("import", vault, chats)
    (vault / "index.db").write_bytes(b"not a database, whatever it was before" * 100)
    ended = stowkenfs("stats", vault)
    assert ended.code == 4
    assert ended.err.count("\n") == 1
