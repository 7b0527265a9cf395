"""The index is deleted; the next mount shows the same tree, the same times, the same bytes."""

import os

import pytest

from tests.mount.conftest import SOON, MakeMount
from tests.mount.mounted import Mount, run
from tests.mount.test_survival import LOG, content_of, make_tree


def fill(mount: Mount) -> None:
    (mount.path / "log.jsonl").write_bytes(LOG)
    (mount.path / "other.json").write_bytes(b'{"messages": [{"role": "user", "content": "hi"}]}\n')
    make_tree(mount)
    os.mkfifo(mount.path / "pipe", 0o640)
    (mount.path / "not \udcff UTF-8").mkdir()
    (mount.path / "sparse").touch()
    os.truncate(mount.path / "sparse", 123_456_789)


def times(mount: Mount) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for path in mount.path.rglob("*"):
        status = path.lstat()
        found[str(path.relative_to(mount.path))] = (
            status.st_ino, status.st_mode, status.st_nlink, status.st_uid, status.st_size,
            status.st_mtime_ns, status.st_ctime_ns, status.st_atime_ns,
        )  # fmt: skip
    return found


@pytest.mark.parametrize("compacted", [False, True])
def test_the_index_is_deleted(make_mount: MakeMount, compacted: bool) -> None:
    mount = make_mount(SOON)
    fill(mount)
    mount.wait_sealed()
    if compacted:
        (mount.control / "compact").write_text("level=1\n")
    mount.remount()  # so that reading below is no first reading
    expected, expected_times = content_of(mount), times(mount)
    mount.unmount()
    for path in mount.vault.glob("index.db*"):
        path.unlink()
    mount.start()
    assert times(mount) == expected_times
    assert content_of(mount) == expected
    assert "is being rebuilt from the packs" in mount.log()
    (mount.path / "after").write_bytes(LOG)
    mount.wait_sealed()
    (mount.control / "verify").write_text("1\n")
    mount.remount()
    assert (mount.path / "after").read_bytes() == LOG
    assert set(times(mount)) - set(expected_times) == {"after"}


def test_through_the_control_file(make_mount: MakeMount) -> None:
    mount = make_mount(SOON)
    fill(mount)
    mount.wait_sealed()
    before = times(mount)
    (mount.control / "reindex").write_text("1\n")
    assert "nothing is missing" in run("cat", mount.control / "reindex")
    assert times(mount) == before
