"""``stowkenfs import``."""

import json
import os
import stat
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stowkenfs.cli.terminal import Show, shown_progress

if TYPE_CHECKING:
    from stowkenfs.vault.stats_report import VaultStats
    from stowkenfs.vault.transfer import TransferReport

CACHE_BYTES = 32 << 20
"""Little is read again while importing: what was just stored, to compare it."""


@click.command("import", short_help="Take in files and directories, without a mount.")
@click.argument("vault", type=click.Path(path_type=Path))
@click.argument(
    "sources", metavar="SOURCE…", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(vault: Path, sources: tuple[Path, ...], as_json: bool) -> int:
    """Take files and directories into VAULT, as cp -a SOURCE… MOUNTPOINT/ would.

    Reads every SOURCE and puts it, under its own name, at the top of VAULT, which is made if it
    is absent. Modes, owners, times, links and holes are kept. An existing file is replaced, an
    existing directory merged. Everything is on disk on return.

    \b
    Example:
      stowkenfs import my-vault ~/chats agent.jsonl

    \b
    EXIT STATUS
      0  everything was taken in
      1  it failed, or something could not be read: the rest was taken in
      2  wrong usage
      3  the vault is mounted (copy into the mount instead) or locked by another process
      4  VAULT is damaged, of a later release, or something else than a vault
    """
    from stowkenfs.cli.failures import CommandFailed
    from stowkenfs.cli.reports import tell_failures, transfer_line
    from stowkenfs.cli.running import run
    from stowkenfs.cli.targets import refuse_mounted
    from stowkenfs.control.format import format_size

    _check_names(sources)
    refuse_mounted(vault, lambda mountpoint: f"copy into it instead: cp -a SOURCE… {mountpoint}/")
    if not any(os.path.lexists(source) for source in sources):
        raise CommandFailed(f"{sources[0]}: No such file or directory")
    began = time.monotonic()
    with shown_progress("import", quiet=as_json) as show:
        report, stats = run(_import, vault, sources, show)
    seconds = time.monotonic() - began
    tell_failures(report)
    if as_json:
        numbers = report.to_dict() | {"seconds": round(seconds, 3), "stats": stats.to_dict()}
        click.echo(json.dumps(numbers, indent=2))
    else:
        click.echo(f"took in {transfer_line(report, seconds)}")
        click.echo(
            f"the vault holds {format_size(stats.bytes_in)} in "
            f"{format_size(stats.disk_bytes)} on disk"
        )
    return 0 if report.complete else 1


def _check_names(sources: Sequence[Path]) -> None:
    from stowkenfs.cli.mounts import CONTROL_NAME

    for source in sources:
        if source.absolute().name == CONTROL_NAME:
            raise click.UsageError(
                f"{source}: a mount has its control files under the name {CONTROL_NAME}; "
                "rename it first"
            )


async def _import(
    directory: Path, sources: Sequence[Path], show: Show
) -> "tuple[TransferReport, VaultStats]":
    from stowkenfs.vault.config import VaultConfig
    from stowkenfs.vault.importer import import_trees
    from stowkenfs.vault.vault import Vault

    measured = _Measured(sources)

    def progress(report: "TransferReport") -> None:
        show(report.content_bytes, measured.total_bytes, f"{report.files:,} files")

    config = VaultConfig(
        workers=len(os.sched_getaffinity(0)),
        record_cache_bytes=CACHE_BYTES,
        block_cache_bytes=CACHE_BYTES,
    )
    async with Vault.open(directory, config) as vault:
        report = await import_trees(vault, sources, progress)
    async with Vault.open(directory) as vault:  # closed in between: its files have their size
        return report, await vault.stats()


class _Measured:
    """How much there is to read, found out meanwhile by a thread; ``total_bytes`` None until then.

    A file with several names counts as often: good enough for a bar.
    """

    def __init__(self, sources: Sequence[Path]) -> None:
        self.total_bytes: int | None = None
        threading.Thread(target=self._run, args=(sources,), daemon=True).start()

    def _run(self, sources: Sequence[Path]) -> None:
        self.total_bytes = sum(_size(os.fsencode(source)) for source in sources)


def _size(path: bytes) -> int:
    try:
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            return status.st_size if stat.S_ISREG(status.st_mode) else 0
        total = 0
        for parent, _, names in os.walk(path):
            for name in names:
                status = os.lstat(os.path.join(parent, name))  # noqa: PTH118 - bytes
                total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    except OSError:
        return 0
    return total
