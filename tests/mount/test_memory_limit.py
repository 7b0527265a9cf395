"""Memory: what a request is told when there is none, and a daemon that may not have much."""

import errno
import json
import random
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stowkenfs.errors import WorkerDied
from stowkenfs.fs.errno_map import errno_of
from stowkenfs.vault.complaints import is_out_of_memory
from tests.mount.conftest import SOON, MakeMount
from tests.mount.mounted import ADDRESS_SPACE_BYTES, Mount

MEBI = 1 << 20
LIMIT_BYTES = 600 * MEBI


@contextmanager
def limited(mount: Mount, limit_bytes: int) -> Iterator[None]:
    """Let the daemon, and the workers that it starts, have no more address space inside."""
    resource.prlimit(mount.pid, resource.RLIMIT_AS, (limit_bytes, ADDRESS_SPACE_BYTES))
    try:
        yield
    finally:
        whole = (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES)
        if mount.alive:
            resource.prlimit(mount.pid, resource.RLIMIT_AS, whole)


def chats(folder: Path, count: int, size: int) -> dict[Path, bytes]:
    """Logs of about ``size`` bytes that share nothing."""
    chance = random.Random(size)
    files = {}
    for at in range(count):
        line = (json.dumps({"content": chance.randbytes(400).hex()}) for _ in range(size // 820))
        files[folder / f"{at}.jsonl"] = "\n".join(line).encode()
    return files


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("can't start new thread"), WorkerDied()], ids=repr
)
def test_want_of_memory_is_answered_as_such(error: Exception) -> None:
    assert errno_of(error) == errno.ENOMEM


def test_another_error_is_no_want_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("a bug"))


def test_all_of_it_goes_on_within_600_mib(make_mount: MakeMount, say) -> None:
    mount = make_mount(f"{SOON},workers=1")
    files = chats(mount.path, 10, 1_000_000)
    with limited(mount, LIMIT_BYTES), mount.watched():
        for path, content in files.items():
            path.write_bytes(content)
        mount.wait_sealed(100)
        for job in ("compact", "gc", "verify"):
            (mount.control / job).write_text("1\n")
        for path, content in files.items():
            assert path.read_bytes() == content
    say(f"daemon and workers together: {mount.peak_kib // 1024} MiB")
