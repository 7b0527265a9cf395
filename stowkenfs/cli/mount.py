"""``stowkenfs mount``."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click


@click.command("mount", short_help="Show a vault as files.")
@click.argument("vault", type=click.Path(path_type=Path))
@click.argument("mountpoint", type=click.Path(path_type=Path))
@click.option("-f", "--foreground", is_flag=True, help="Stay, and return when it is unmounted.")
@click.option(
    "-o",
    "--options",
    metavar="OPT,…",
    multiple=True,
    help="allow_other, allow_root, ro, noatime, sync and such for the kernel; "
    "control=visible lists .stowken; writeback is faster, and loses what the kernel holds if "
    "the daemon dies; workers=N processes encode; seal_after=SECONDS; near_dedup=0.85 stores what "
    "is so similar to something stored as the difference. Words that only fstab or systemd need "
    "are accepted.",
)
def command(vault: Path, mountpoint: Path, foreground: bool, options: tuple[str, ...]) -> None:
    """Show VAULT as files at MOUNTPOINT, and return when they are there.

    VAULT is a directory; it is made if it is absent, and must else be empty or a vault.
    MOUNTPOINT is an empty directory. In the background, messages go to the file log in VAULT.
    What a dead daemon left mounted is replaced. SIGTERM, SIGINT and SIGHUP unmount cleanly.

    \b
    Example:
      mkdir -p my-logs
      stowkenfs mount my-vault my-logs
      stowkenfs mount -f -o control=visible,workers=2 my-vault my-logs

    \b
    EXIT STATUS
      0  the files are there; with -f: they were unmounted
      1  it failed, for example without /dev/fuse or MOUNTPOINT
      2  wrong usage
      3  VAULT is locked by another process, or MOUNTPOINT is in use
      4  VAULT is damaged, of a later release, or something else than a vault
    """
    from stowkenfs.cli.logfile import log_to_stderr, redirect_stderr

    def work(ready: Callable[[], None]) -> None:
        log_to_stderr(with_time=not foreground)
        _serve(vault, mountpoint, ",".join(options), ready)

    vault, mountpoint = vault.absolute(), mountpoint.absolute()
    if foreground:
        from stowkenfs.cli.notify import notify

        work(lambda: notify("READY=1"))
        notify("STOPPING=1")
        return
    from stowkenfs.cli.daemon import start

    _say_if_it_takes_long(vault)
    start(work, lambda: redirect_stderr(vault))
    _check_mounted(mountpoint)


def _say_if_it_takes_long(vault: Path) -> None:
    """The daemon's own lines come when it is ready."""
    from stowkenfs.vault.reindex.placing import needs_rebuilding

    if (vault / "superblock").exists() and needs_rebuilding(vault):
        click.echo(f"the index of {vault} is not there: it is rebuilt from the packs", err=True)


def _serve(vault: Path, mountpoint: Path, options_text: str, ready: Callable[[], None]) -> None:
    from stowkenfs.cli.memory import use_one_arena
    from stowkenfs.cli.mountpoints import check_fuse, place_to_mount
    from stowkenfs.fs.options import MountOptions

    options = MountOptions.parse(options_text)
    place = partial(place_to_mount, mountpoint, vault)
    with place():  # before the vault is opened, which may take long
        check_fuse()
    use_one_arena()
    import trio

    from stowkenfs.fs.service import serve

    trio.run(serve, vault, mountpoint, options, ready, place)


def _check_mounted(mountpoint: Path) -> None:
    """The daemon says so; the kernel has the last word."""
    from stowkenfs.cli.failures import CommandFailed

    if mountpoint.stat().st_dev == mountpoint.resolve().parent.stat().st_dev:
        raise CommandFailed(
            f"nothing is mounted at {mountpoint}: somebody unmounted it, or the daemon is "
            "in another mount namespace"
        )
