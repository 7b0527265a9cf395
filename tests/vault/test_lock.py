"""One writer: processes that want the same vault."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stowkenfs.errors import VaultLocked
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.lock import Holder, VaultLock, is_locked, read_holder
from stowkenfs.vault.vault import Vault
from tests.running import run

HOLD = """
import sys
from pathlib import Path
from stowkenfs.vault.lock import Holder, VaultLock
lock = VaultLock(Path(sys.argv[1]))
for line in sys.stdin:
    lock.announce(eval(line))
    print("done", flush=True)
"""


@contextmanager
def another_process(directory: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds the lock and announces what it is told to."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        tell(process, f"Holder({process.pid})")
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def tell(process: "subprocess.Popen[str]", holder: str) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(holder + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


def test_a_second_process_is_told_who_holds_it(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        with pytest.raises(VaultLocked, match=f"process {process.pid}$"):
            VaultLock(tmp_path, wait_seconds=30)
        tell(process, f"Holder({process.pid}, '/mnt/logs')")
        with pytest.raises(VaultLocked, match="mounted at /mnt/logs") as caught:
            VaultLock(tmp_path, wait_seconds=30)
        assert caught.value.path == tmp_path
        assert is_locked(tmp_path)
        assert read_holder(tmp_path) == Holder(process.pid, "/mnt/logs")
        process.kill()
        process.wait()
        assert not is_locked(tmp_path)
        lock = VaultLock(tmp_path)
        assert read_holder(tmp_path) == Holder(os.getpid())
        lock.release()


def test_a_holder_that_is_leaving_is_waited_for(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        tell(process, f"Holder({process.pid}, '/mnt/logs', True)")
        with pytest.raises(VaultLocked, match="finishing"):
            VaultLock(tmp_path, wait_seconds=0.1)
        timer = threading.Timer(0.2, process.kill)
        timer.start()
        began = time.monotonic()
        lock = VaultLock(tmp_path, wait_seconds=30)
        assert 0.1 < time.monotonic() - began < 10
        lock.release()
        timer.join()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}', b'{"pid": null}', b"\xff"])
def test_a_lock_file_that_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content)
    assert read_holder(tmp_path) is None
    assert not is_locked(tmp_path)
    lock = VaultLock(tmp_path)
    lock.release()


def test_what_a_dead_holder_left_does_not_matter(tmp_path: Path) -> None:
    stale = {"pid": 1, "mountpoint": "/somewhere/with/a/long/name" * 9, "leaving": False}
    (tmp_path / "lock").write_text(json.dumps(stale))
    lock = VaultLock(tmp_path)
    assert read_holder(tmp_path) == Holder(os.getpid())
    lock.release()
    assert not is_locked(tmp_path)
    assert not is_locked(tmp_path / "absent")


def test_announcements_replace_each_other(tmp_path: Path) -> None:
    lock = VaultLock(tmp_path)
    for holder in (Holder(5, "/long/" + "x" * 300), Holder(6), Holder(7, "/y", True)):
        lock.announce(holder)
        assert read_holder(tmp_path) == holder
    lock.release()


def test_a_vault_opens_once(tmp_path: Path) -> None:
    async def main() -> None:
        config = VaultConfig(lock_wait_seconds=0)
        async with Vault.open(tmp_path / "v", config):
            with pytest.raises(VaultLocked, match=str(os.getpid())):
                async with Vault.open(tmp_path / "v", config):
                    pass
        async with Vault.open(tmp_path / "v", config):
            pass
        with (
            another_process(tmp_path / "v") as process,
            pytest.raises(VaultLocked, match=str(process.pid)),
        ):
            async with Vault.open(tmp_path / "v", config):
                pass
        with pytest.raises(ZeroDivisionError):
            async with Vault.open(tmp_path / "v", config):
                raise ZeroDivisionError
        async with Vault.open(tmp_path / "v", config):
            pass

    run("trio", main)
