"""``stowkenfs umount``."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import click

POLL_SECONDS = 0.05


@click.command("umount", short_help="Unmount, and return when everything is on disk.")
@click.argument("mountpoint", type=click.Path(path_type=Path))
def command(mountpoint: Path) -> None:
    """Unmount MOUNTPOINT, and return when everything is on disk.

    Touches the mount, and waits for its daemon to encode and sync what was written last. What a
    dead daemon left mounted is taken away.

    \b
    Example:
      stowkenfs umount my-logs

    \b
    EXIT STATUS
      0  unmounted, and everything is on disk
      1  it failed: nothing of stowkenfs is mounted there, or the daemon could not end properly
      2  wrong usage
      3  MOUNTPOINT is busy: a program has a file or its working directory in it
    """
    from stowkenfs.cli.failures import CommandFailed
    from stowkenfs.cli.mounts import is_dead, mount_at, real_path, turn_at, unmount

    mountpoint = real_path(mountpoint)
    mount = mount_at(mountpoint)
    if mount is None:
        raise CommandFailed(f"nothing is mounted at {mountpoint}")
    if not mount.is_ours:
        raise CommandFailed(
            f"{mountpoint} shows a filesystem of type {mount.filesystem_type}, "
            "not of stowkenfs; `umount` is for those"
        )
    with turn_at(mountpoint):
        was_dead = is_dead(mountpoint)
        if was_dead:
            unmount(mountpoint, lazily=True)
    if was_dead:
        click.echo(
            "stowkenfs: the daemon of this mount had died; what it had accepted is in the vault",
            err=True,
        )
        return
    daemon = _daemon_of(mountpoint)
    unmount(mountpoint)
    if daemon is None:
        raise CommandFailed(
            "unmounted; the mount is another user's, so it is not known whether all is on disk"
        )
    with _waiting_message():
        daemon.wait_until_done()


@dataclass(frozen=True, slots=True)
class _Daemon:
    """The process behind a mount."""

    pid: int
    vault: Path

    def wait_until_done(self) -> None:
        """Return when the vault is free, or has gone on to another process.

        Raises CommandFailed if the daemon left it otherwise than at its proper end.
        """
        from stowkenfs.cli.failures import CommandFailed
        from stowkenfs.vault.lock import is_locked, read_holder

        while is_locked(self.vault):
            holder = read_holder(self.vault)
            if holder is not None and holder.pid != self.pid:
                return
            time.sleep(POLL_SECONDS)
        if not self._is_named_no_more():
            raise CommandFailed(
                "unmounted, but the daemon failed before everything was on disk; what it said "
                f"is in {self.vault / 'log'}, if it was in the background"
            )

    def _is_named_no_more(self) -> bool:
        """Whether it took its name off the vault, as it does when all is done."""
        from stowkenfs.vault.lock import read_holder

        try:
            (self.vault / "lock").read_bytes()
        except FileNotFoundError:
            return self.vault.is_dir()  # one that is only read need not have any
        except OSError:
            return False
        holder = read_holder(self.vault)
        return holder is None or holder.pid != self.pid


def _daemon_of(mountpoint: Path) -> _Daemon | None:
    from stowkenfs.cli.mounts import CONTROL_NAME

    try:
        status = (mountpoint / CONTROL_NAME / "status").read_bytes()
    except PermissionError:
        return None
    fields = dict(line.split(b": ", 1) for line in status.splitlines() if b": " in line)
    return _Daemon(int(fields[b"pid"]), Path(os.fsdecode(fields[b"vault"])))


@contextmanager
def _waiting_message() -> Iterator[None]:
    """On a terminal, say what is waited for when it takes a while."""
    if not sys.stderr.isatty():
        with nullcontext():
            yield
        return
    from rich.console import Console

    with Console(stderr=True).status("encoding and syncing what was written last"):
        yield
