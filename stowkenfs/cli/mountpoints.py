"""Whether a vault can be mounted at a place; each obstacle is a sentence that says what to do."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stowkenfs.cli.failures import CommandFailed, ExitCode
from stowkenfs.cli.mounts import is_dead, mount_at, real_path, turn_at, unmount

FUSE_DEVICE = Path("/dev/fuse")


@contextmanager
def place_to_mount(mountpoint: Path, vault: Path) -> Iterator[None]:
    """Be the one to mount at ``mountpoint``; raises what ``prepare_mountpoint`` raises."""
    with turn_at(mountpoint):
        prepare_mountpoint(mountpoint, vault)
        yield


def prepare_mountpoint(mountpoint: Path, vault: Path) -> None:
    """Clear a dead mount away, then raise CommandFailed if ``mountpoint`` cannot be used."""
    _check_apart(real_path(mountpoint), real_path(vault))
    if is_dead(mountpoint):
        mount = mount_at(mountpoint)
        if mount is not None and not mount.is_ours:
            raise CommandFailed(
                f"{mountpoint} is a dead {mount.filesystem_type} mount; "
                f"clear it with: fusermount3 -uz {mountpoint}",
                ExitCode.IN_USE,
            )
        unmount(real_path(mountpoint), lazily=True)
    mount = mount_at(mountpoint)
    if mount is not None:
        hint = f"`stowkenfs umount {mountpoint}` unmounts it" if mount.is_ours else (
            f"it shows a filesystem of type {mount.filesystem_type}"
        )  # fmt: skip
        raise CommandFailed(f"{mountpoint} is mounted already; {hint}", ExitCode.IN_USE)
    _check_directory(mountpoint)


def _check_apart(mountpoint: Path, vault: Path) -> None:
    if mountpoint == vault:
        raise CommandFailed("the vault and the mount point are the same place", ExitCode.USAGE)
    if mountpoint.is_relative_to(vault):
        raise CommandFailed(
            f"the mount point {mountpoint} is inside the vault; name a place outside",
            ExitCode.USAGE,
        )
    if vault.is_relative_to(mountpoint):
        raise CommandFailed(
            f"the mount would hide its own vault {vault}; name another mount point",
            ExitCode.USAGE,
        )


def _check_directory(mountpoint: Path) -> None:
    try:
        with os.scandir(mountpoint) as entries:
            is_empty = next(entries, None) is None
    except FileNotFoundError:
        raise CommandFailed(
            f"{mountpoint} does not exist; make it with: mkdir -p {mountpoint}"
        ) from None
    except NotADirectoryError:
        raise CommandFailed(f"{mountpoint} is not a directory; name an empty one") from None
    if not is_empty:
        raise CommandFailed(
            f"{mountpoint} is not empty, and the mount would hide what is in it; "
            "name an empty directory",
            ExitCode.IN_USE,
        )


def check_fuse() -> None:
    """Raise CommandFailed if this machine, container or user cannot mount with FUSE."""
    is_root = os.geteuid() == 0
    try:
        os.close(os.open(FUSE_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            raise CommandFailed(
                f"{FUSE_DEVICE} is not there; load it with `modprobe fuse`, "
                "or start the container with --device /dev/fuse"
            ) from None
        if is_root:
            raise CommandFailed(
                f"{FUSE_DEVICE} cannot be opened ({error.strerror}); "
                "start the container with --device /dev/fuse --cap-add SYS_ADMIN"
            ) from None
        # Otherwise it is for fusermount3, which is setuid root, to say.
    if not is_root and shutil.which("fusermount3") is None:
        raise CommandFailed("fusermount3 is not installed; install the package fuse3")
