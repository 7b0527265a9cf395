"""mount and umount, and commands on a vault that is mounted."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.program import (
    environment,
    is_running,
    kill,
    pid_of_mount,
    started,
    stowkenfs,
)

pytestmark = pytest.mark.mount


def is_mounted(path: Path) -> bool:
    return f" {path} " in Path("/proc/self/mountinfo").read_text()


def wait_for_mount(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not is_mounted(path):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_mount_returns_when_the_files_are_there_and_umount_when_all_is_on_disk(
    chats, vault, mountpoint
):
    ended = stowkenfs("mount", vault, mountpoint)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert is_mounted(mountpoint)
    subprocess.run(["cp", "-r", chats, mountpoint], check=True)
    daemon = pid_of_mount(mountpoint)
    ended = stowkenfs("umount", mountpoint)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert not is_mounted(mountpoint)
    assert stowkenfs("verify", vault).code == 0
    stats = json.loads(stowkenfs("stats", vault, "--json").out)
    assert (stats["documents"], stats["drafts"]) == (2, 0)
    deadline = time.monotonic() + 60
    while is_running(daemon):
        assert time.monotonic() < deadline


def test_stats_and_verify_go_through_the_mount(chats, vault, mountpoint):
    stowkenfs("import", vault, chats)
    stowkenfs("mount", vault, mountpoint)
    for target in (vault, mountpoint):
        assert json.loads(stowkenfs("stats", target, "--json").out)["documents"] == 2
        assert "conversations" in stowkenfs("stats", target).out
        ended = stowkenfs("verify", target)
        assert (ended.code, ended.out.splitlines()[-1]) == (0, "all is well")
        assert json.loads(stowkenfs("verify", target, "--json").out)["clean"] is True


def test_verify_through_the_mount_ends_with_1_on_damage(chats, vault, mountpoint):
    stowkenfs("import", vault, chats)
    (pack,) = (vault / "packs").iterdir()
    content = bytearray(pack.read_bytes())
    content[40:60] = bytes(20)
    pack.write_bytes(content)
    stowkenfs("mount", vault, mountpoint)
    ended = stowkenfs("verify", mountpoint)
    assert ended.code == 1
    assert "cannot be read: /chats/chat-1.json" in ended.out
    report = json.loads(stowkenfs("verify", vault, "--json").out)
    assert report["clean"] is False


def test_import_and_export_of_a_mounted_vault_say_what_to_do(chats, vault, mountpoint, tmp_path):
    stowkenfs("mount", vault, mountpoint)
    for target in (vault, mountpoint):
        ended = stowkenfs("import", target, chats)
        assert ended.code == 3
        assert f"cp -a SOURCE… {mountpoint}/" in ended.err
        ended = stowkenfs("export", target, tmp_path / "out")
        assert ended.code == 3
        assert f"cp -a {mountpoint}/. {tmp_path}/out/" in ended.err
    assert not (tmp_path / "out").exists()


# What stands in the way of mounting


def test_an_absent_mountpoint(vault, tmp_path):
    ended = stowkenfs("mount", vault, tmp_path / "absent")
    assert ended.code == 1
    assert ended.err == (
        f"stowkenfs: {tmp_path}/absent does not exist; make it with: mkdir -p {tmp_path}/absent\n"
    )
    assert not vault.exists()


def test_a_mountpoint_that_is_a_file(vault, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    ended = stowkenfs("mount", vault, tmp_path / "file")
    assert ended.code == 1
    assert "is not a directory" in ended.err


def test_a_mountpoint_with_something_in_it(vault, chats):
    ended = stowkenfs("mount", vault, chats)
    assert ended.code == 3
    assert "is not empty" in ended.err


def test_a_vault_in_its_mountpoint_and_the_other_way_round(vault, mountpoint):
    for places in (
        (mountpoint / "vault", mountpoint),
        (vault, vault / "mnt"),
        (mountpoint, mountpoint),
    ):
        assert stowkenfs("mount", *places).code == 2
    assert list(mountpoint.iterdir()) == []


def test_something_that_is_no_vault(chats, mountpoint):
    ended = stowkenfs("mount", chats, mountpoint)
    assert ended.code == 4
    assert "is not a stowkenfs vault" in ended.err
    assert len(list(chats.iterdir())) == 2


def test_an_unknown_option(vault, mountpoint):
    ended = stowkenfs("mount", "-o", "frobnicate", vault, mountpoint)
    assert ended.code == 2
    assert "frobnicate" in ended.err
    assert not vault.exists()


def test_a_vault_that_is_mounted_already(vault, mountpoint, tmp_path):
    stowkenfs("mount", vault, mountpoint)
    (tmp_path / "other").mkdir()
    ended = stowkenfs("mount", vault, tmp_path / "other")
    assert ended.code == 3
    assert f"process {pid_of_mount(mountpoint)}, mounted at {mountpoint}" in ended.err
    ended = stowkenfs("mount", tmp_path / "another-vault", mountpoint)
    assert ended.code == 3
    assert "is mounted already" in ended.err


def test_options_of_fstab_are_accepted(vault, mountpoint):
    words = "rw,noauto,user,_netdev,nofail,x-systemd.automount,control=visible"
    assert stowkenfs("mount", "-o", words, vault, mountpoint).code == 0
    assert ".stowken" in [path.name for path in mountpoint.iterdir()]


# The daemon


def test_a_dead_mount_is_replaced(vault, mountpoint):
    stowkenfs("mount", vault, mountpoint)
    (mountpoint / "kept").write_bytes(b"written")
    kill(pid_of_mount(mountpoint))
    with pytest.raises(OSError, match=r"not connected|connection abort"):
        (mountpoint / "kept").read_bytes()
    ended = stowkenfs("stats", mountpoint)
    assert ended.code == 1
    assert "has died" in ended.err
    ended = stowkenfs("mount", vault, mountpoint)
    assert (ended.code, ended.err) == (0, "")
    assert (mountpoint / "kept").read_bytes() == b"written"


def test_umount_takes_a_dead_mount_away(vault, mountpoint):
    stowkenfs("mount", vault, mountpoint)
    kill(pid_of_mount(mountpoint))
    ended = stowkenfs("umount", mountpoint)
    assert ended.code == 0
    assert "had died" in ended.err
    assert not is_mounted(mountpoint)


def test_umount_of_a_busy_mount_ends_with_3(vault, mountpoint):
    stowkenfs("mount", vault, mountpoint)
    with (mountpoint / "open").open("wb"):
        ended = stowkenfs("umount", mountpoint)
        assert ended.code == 3
        assert "busy" in ended.err
        assert "fuser -vm" in ended.err
    assert stowkenfs("umount", mountpoint).code == 0


def test_umount_of_something_else(mountpoint):
    assert stowkenfs("umount", mountpoint).code == 1
    ended = stowkenfs("umount", "/proc")
    assert ended.code == 1
    assert "type proc" in ended.err


def test_the_daemon_holds_no_pipe_of_its_starter(chats, vault, mountpoint):
    """``$(stowkenfs mount …)`` returns, also when drafts of a crash wait to be sealed."""
    stowkenfs("mount", vault, mountpoint)
    subprocess.run(["cp", "-r", chats, mountpoint], check=True)
    kill(pid_of_mount(mountpoint))
    process = started("mount", vault, mountpoint)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


def test_messages_of_the_daemon_are_in_the_vaults_log(vault, mountpoint):
    stowkenfs("mount", vault, mountpoint)
    os.kill(pid_of_mount(mountpoint), signal.SIGTERM)
    while is_mounted(mountpoint):
        time.sleep(0.02)
    assert stowkenfs("stats", vault).code == 0  # waits until the daemon has left
    log = vault / "log"
    assert "SIGTERM" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_unmount_a_mount_in_the_foreground(number, vault, mountpoint, tmp_path):
    process = started("mount", "-f", vault, mountpoint)
    wait_for_mount(mountpoint)
    (mountpoint / "kept").write_bytes(b"written")
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert not is_mounted(mountpoint)
    assert stowkenfs("export", vault, tmp_path / "out").code == 0
    assert (tmp_path / "out" / "kept").read_bytes() == b"written"


def test_a_mount_in_the_foreground_ends_when_it_is_unmounted(vault, mountpoint):
    process = started("mount", "-f", vault, mountpoint)
    wait_for_mount(mountpoint)
    subprocess.run(["fusermount3", "-u", mountpoint], check=True)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_systemd_is_told_when_the_mount_is_ready(vault, mountpoint, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        process = started("mount", "-f", vault, mountpoint, NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert manager.recv(100) == b"READY=1"
        assert is_mounted(mountpoint)
        process.send_signal(signal.SIGTERM)
        assert manager.recv(100) == b"STOPPING=1"
        process.communicate(timeout=60)


def test_paths_may_be_relative_and_the_daemon_leaves_the_directory(tmp_path, mountpoint):
    command = [sys.executable, "-m", "stowkenfs", "mount", "a vault", "mnt"]
    subprocess.run(command, cwd=tmp_path, env=environment(), check=True, timeout=60)
    assert (tmp_path / "a vault" / "superblock").is_file()
    assert Path(f"/proc/{pid_of_mount(mountpoint)}/cwd").readlink() == Path("/")
