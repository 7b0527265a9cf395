"""Damage as somebody with a mount meets it: EIO, a sentence in the log, and all else there."""

import errno
import random
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.damage.actions import flip_byte
from tests.damage.subjects import Subject
from tests.mount.mounted import Mount, cli_command, environment, skip_without_fuse

pytestmark = pytest.mark.mount

PEAK_KIB_MAX = 512 << 10


@pytest.fixture
def mount(tmp_path: Path, subjects: dict[str, Subject]) -> Iterator[Mount]:
    """A copy of the compacted vault, not mounted yet."""
    skip_without_fuse()
    mount = Mount(tmp_path)
    subjects["dense"].copy(mount.vault)
    try:
        yield mount
    finally:
        mount.measure()
        mount.close()


def read_all(mount: Mount, subject: Subject) -> set[bytes]:
    """Every file is exact, or EIO; the paths of those that are EIO.

    What is partly a draft may be what it was before, for mounts whose index was lost.
    """
    failed, errors = set(), set()
    for path, entry in subject.entries.items():
        file = mount.path / path[1:].decode()
        try:
            content = file.read_bytes() if stat.S_ISREG(file.lstat().st_mode) else None
        except OSError as error:
            failed.add(path)
            errors.add(error.errno)
        else:
            assert content in {entry.content, subject.before.get(path)}, path
    assert errors <= {errno.EIO}
    return failed


def program(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """A command as people run it."""
    return subprocess.run(
        cli_command(*words), capture_output=True, text=True, env=environment(), check=False
    )


def test_a_damaged_pack_under_a_mount(mount: Mount, subjects: dict[str, Subject]) -> None:
    subject = subjects["dense"]
    path = b"/late/renamed.json"
    file, start, end = max(subject.needs[path], key=lambda needed: needed[2] - needed[1])
    flip_byte(mount.vault / file, (start + end) // 2, random.Random(1))
    mount.expected = ["damage"]
    mount.start()
    failed = read_all(mount, subject)
    assert path in failed
    assert len(failed) < len(subject.entries)
    log = mount.log()
    assert f"block at byte {start} of pack {int(Path(file).stem)}" in log
    with pytest.raises(OSError, match="Input/output"):
        (mount.control / "verify").write_text("1")
    assert path.decode() in (mount.control / "verify").read_text()
    (mount.path / "fresh").write_bytes(b"written beside damage" * 100)
    mount.remount()
    assert (mount.path / "fresh").read_bytes() == b"written beside damage" * 100
    assert read_all(mount, subject) == failed
    mount.check_log()
    assert mount.peak_kib < PEAK_KIB_MAX


@pytest.mark.parametrize("file", ["index.db", "superblock"])
def test_a_mount_refuses_what_reindex_mends(
    mount: Mount, subjects: dict[str, Subject], file: str
) -> None:
    flip_byte(mount.vault / file, 30, random.Random(1))
    refused = program("mount", mount.vault, mount.path, "-f")
    assert refused.returncode
    assert "Traceback" not in refused.stderr
    assert "stowkenfs reindex" in refused.stderr
    assert program("reindex", mount.vault).returncode == 0
    mount.start()
    assert not read_all(mount, subjects["dense"])
    mount.unmount()
    mount.check_log()
