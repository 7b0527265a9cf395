"""What an argument VAULT or VAULT|MOUNTPOINT stands for."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stowkenfs.cli.failures import CommandFailed
from stowkenfs.cli.mounts import CONTROL_NAME, is_dead, mount_at, real_path
from stowkenfs.errors import VaultLocked
from stowkenfs.vault.lock import is_locked, read_holder
from stowkenfs.vault.superblock import read_superblock


@dataclass(frozen=True, slots=True)
class MountTarget:
    """A mounted vault, asked through its control files."""

    mountpoint: Path

    def path(self, name: str) -> Path:
        return self.mountpoint / CONTROL_NAME / name

    def text(self, name: str) -> str:
        return self.path(name).read_text("utf-8", "backslashreplace")

    def json(self, name: str) -> Any:
        return json.loads(self.text(name))

    def act(self, name: str, words: str = "1") -> None:
        """Write to a control file; returns when what it does is done. Raises OSError."""
        fd = os.open(self.path(name), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, f"{words}\n".encode())
        finally:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class VaultTarget:
    """A vault that nobody uses; only opening it makes sure of that."""

    directory: Path


def find_target(path: Path, *, mending: bool = False) -> MountTarget | VaultTarget:
    """The mount or vault at ``path``; for a mounted vault, its mount.

    For ``mending`` it need not have its superblock, if it has packs. Raises CommandFailed for
    anything else, VaultLocked, NotAVault, SuperblockCorrupt.
    """
    mount = mount_at(path)
    if mount is not None and mount.is_ours:
        if is_dead(path):
            raise CommandFailed(
                f"{path} is a mount whose daemon has died; `stowkenfs umount {path}` "
                "takes it away, then name the vault"
            )
        return MountTarget(real_path(path))
    directory = path if mending and _lost_superblock(path) else existing_vault(path)
    holder = read_holder(directory) if is_locked(directory) else None
    if holder is None or holder.leaving:
        return VaultTarget(directory)  # opening waits for one that leaves
    if holder.mountpoint is None:
        raise VaultLocked(directory, str(holder))
    return _mount_of(directory, Path(holder.mountpoint), str(holder))


def _mount_of(directory: Path, mountpoint: Path, holder: str) -> MountTarget:
    mount = mount_at(mountpoint)
    if mount is None or not mount.is_ours or is_dead(mountpoint):
        raise VaultLocked(directory, holder)
    return MountTarget(mountpoint)


def _lost_superblock(path: Path) -> bool:
    if not path.is_dir():
        return False
    from stowkenfs.vault.reindex.superblock import is_superblock_damaged

    return is_superblock_damaged(path)


def existing_vault(path: Path) -> Path:
    """``path`` if it is a vault; none is made. Raises CommandFailed or NotAVault."""
    if not path.exists():
        raise CommandFailed(f"there is no vault {path}")
    if read_superblock(path) is None:
        raise CommandFailed(f"{path} is an empty directory, not a vault")
    return path


def refuse_mounted(path: Path, advice: Callable[[str], str]) -> None:
    """Raise VaultLocked for a vault in use; ``advice`` says what to do with its mount point."""
    mount = mount_at(path)
    if mount is not None and mount.is_ours:
        from stowkenfs.cli.failures import ExitCode

        raise CommandFailed(f"{path} is a mount; {advice(str(path))}", ExitCode.IN_USE)
    holder = read_holder(path) if is_locked(path) else None
    if holder is not None and not holder.leaving and holder.mountpoint is not None:
        who = f"{holder}; {advice(holder.mountpoint)}"
        raise VaultLocked(path, who)
