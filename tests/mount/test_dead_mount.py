"""What a dead daemon left mounted, and several who mount at the same place at once."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.mount import faulty_disk
from tests.mount.background import Place, begin, stowkenfs
from tests.mount.mounted import ROOT, detach, environment, is_fuse_mount, skip_without_fuse

RACE_ROUNDS = int(os.environ.get("STOWKENFS_RACE_ROUNDS", "2"))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    skip_without_fuse()
    made = Place(tmp_path / "vault", tmp_path / "mnt")
    try:
        yield made
    finally:
        made.close()


def test_a_program_still_in_a_dead_mount_does_not_hinder_the_next(place: Place) -> None:
    place.mount()
    folder = place.path / "folder"
    folder.mkdir()
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
    with subprocess.Popen(["sleep", "60"], cwd=folder) as inside:
        try:
            os.write(log, b"one line\n")
            place.kill()
            place.mount()
            with pytest.raises(OSError, match="not connected") as refused:
                os.write(log, b"to nobody\n")
            assert refused.value.errno == errno.ENOTCONN
        finally:
            inside.kill()
            with suppress(OSError):
                os.close(log)
    assert (folder / "log").read_bytes() == b"one line\n"
    place.umount()


def test_commands_on_a_dead_mount(place: Place) -> None:
    """Those that ask it say what to do; ``umount`` takes it away, and says what is with it."""
    place.mount()
    (place.path / "kept").write_bytes(b"kept\n")
    place.kill()
    asked = stowkenfs("stats", place.path)
    assert asked.returncode == 1
    assert f"stowkenfs umount {place.path}" in asked.stderr
    assert stowkenfs("stats", place.vault).returncode == 0
    gone = stowkenfs("umount", place.path)
    assert gone.returncode == 0
    assert "had died" in gone.stderr
    assert not is_fuse_mount(place.path)
    assert "nothing is mounted" in stowkenfs("umount", place.path).stderr
    place.mount()
    assert (place.path / "kept").read_bytes() == b"kept\n"


def test_what_is_mounted_already_is_said(place: Place, tmp_path: Path) -> None:
    place.mount()
    again = stowkenfs("mount", place.vault, place.path)
    assert again.returncode == 3
    assert f"{place.path} is mounted already" in again.stderr
    other = Place(place.vault, tmp_path / "other")
    refused = stowkenfs("mount", other.vault, other.path)
    assert refused.returncode == 3
    assert f"in use by process {place.pid}, mounted at {place.path}" in refused.stderr
    other = Place(tmp_path / "other vault", place.path)
    refused = stowkenfs("mount", other.vault, other.path)
    assert refused.returncode == 3
    assert not other.vault.exists()


def test_a_dead_mount_of_another_filesystem_is_left_alone(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    other = subprocess.Popen(
        [sys.executable, faulty_disk.__file__, source, place.path], cwd=ROOT, env=environment()
    )
    try:
        while not is_fuse_mount(place.path):
            assert other.poll() is None
            time.sleep(0.02)
        assert "mounted already" in stowkenfs("mount", place.vault, place.path).stderr
    finally:
        other.kill()
        other.wait()
    refused = stowkenfs("mount", place.vault, place.path)
    assert refused.returncode == 3
    assert f"fusermount3 -uz {place.path}" in refused.stderr
    assert stowkenfs("umount", place.path).returncode == 1
    assert is_fuse_mount(place.path)
    assert not place.vault.exists()
    detach(place.path)
    place.mount()


def test_a_mount_inside_a_dead_mount_ends_properly(place: Place, tmp_path: Path) -> None:
    """It goes with the dead one when that is cleared away; what it had taken is kept."""
    place.mount()
    inner = Place(tmp_path / "inner vault", place.path / "inner")
    inner.mount()
    (inner.path / "kept").write_bytes(b"kept\n")
    busy = stowkenfs("umount", place.path)
    assert busy.returncode == 3
    assert "busy" in busy.stderr
    place.kill()
    place.mount()
    assert os.listdir(place.path / "inner") == []  # noqa: PTH208 - names are wanted
    inner.wait_free()
    inner.mount()
    assert (inner.path / "kept").read_bytes() == b"kept\n"
    inner.umount()
    place.umount()


def answers(*running: "subprocess.Popen[str]") -> list[tuple[int, str]]:
    told = [one.communicate(timeout=60)[1] for one in running]
    return [(one.returncode, text) for one, text in zip(running, told, strict=True)]


@pytest.mark.parametrize("before", ["nothing", "dead"])
def test_of_several_that_mount_a_vault_at_once_one_does(place: Place, before: str) -> None:
    """Who finds a dead mount must not clear away what another has mounted there since."""
    for _ in range(RACE_ROUNDS):
        if before == "dead":
            place.mount()
            place.kill()
        told = answers(*(begin("mount", place.vault, place.path) for _ in range(3)))
        assert sorted(code for code, _ in told) == [0, 3, 3], told
        for code, text in told:
            assert not code or "in use by process" in text or "mounted already" in text, told
        assert place.is_answering()
        place.umount()
        assert not is_fuse_mount(place.path), "mounted twice"


def test_of_several_vaults_at_one_place_one_is_mounted(place: Place, tmp_path: Path) -> None:
    vaults = [tmp_path / f"vault {at}" for at in range(3)]
    for _ in range(RACE_ROUNDS):
        told = answers(*(begin("mount", vault, place.path) for vault in vaults))
        assert sorted(code for code, _ in told) == [0, 3, 3], told
        assert sum("is mounted already" in text for _, text in told) == 2, told
        place.umount()
        assert not is_fuse_mount(place.path), "mounted over one another"
