"""``stowkenfs export``."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stowkenfs.cli.terminal import Show, shown_progress

if TYPE_CHECKING:
    from stowkenfs.vault.transfer import TransferReport


@click.command("export", short_help="Write every file to a directory, without a mount.")
@click.argument("vault", type=click.Path(path_type=Path))
@click.argument("destination", metavar="DEST", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(vault: Path, destination: Path, as_json: bool) -> int:
    """Write every file of VAULT to the directory DEST, as cp -a MOUNTPOINT/. DEST/ would.

    DEST is made if it is absent, and must else be empty. Modes, times, links and holes are
    kept, owners when root exports. A file with damaged content is left out and named.

    \b
    Example:
      stowkenfs export my-vault /backup/chats

    \b
    EXIT STATUS
      0  everything was written
      1  it failed, or something was left out: the rest was written
      2  wrong usage
      3  the vault is mounted (copy from the mount instead) or locked by another process
      4  the vault is damaged and cannot be opened
    """
    from stowkenfs.cli.reports import tell_failures, transfer_line
    from stowkenfs.cli.running import run
    from stowkenfs.cli.targets import existing_vault, refuse_mounted

    refuse_mounted(
        vault, lambda mountpoint: f"copy from it instead: cp -a {mountpoint}/. {destination}/"
    )
    existing_vault(vault)
    began = time.monotonic()
    with shown_progress("export", quiet=as_json) as show:
        report = run(_export, vault, destination, show)
    seconds = time.monotonic() - began
    tell_failures(report)
    if as_json:
        click.echo(json.dumps(report.to_dict() | {"seconds": round(seconds, 3)}, indent=2))
    else:
        click.echo(f"wrote {transfer_line(report, seconds)}")
    return 0 if report.complete else 1


async def _export(directory: Path, destination: Path, show: Show) -> "TransferReport":
    from stowkenfs.vault.exporter import export_tree
    from stowkenfs.vault.vault import Vault

    async with Vault.open(directory) as vault:
        total = (await vault.stats()).bytes_in

        def progress(report: "TransferReport") -> None:
            show(report.content_bytes, total, f"{report.files:,} files")

        return await export_tree(vault, destination, progress)
