"""``stowkenfs stats``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from stowkenfs.vault.stats import VaultStats


@click.command("stats", short_help="What is stored, and how many bytes it takes.")
@click.argument("target", metavar="VAULT|MOUNTPOINT", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(target: Path, as_json: bool) -> None:
    """Say what is stored, and how many bytes it takes.

    Reads the vault, or asks its mount if it has one. Files, conversations and bytes, and the
    segments, records and frames that they are made of.

    \b
    Example:
      stowkenfs stats my-vault
      stowkenfs stats my-logs --json | jq .ratio

    \b
    EXIT STATUS
      0  all is well
      1  it failed, for example because there is no such vault
      2  wrong usage
      3  the vault is locked by a process that has not mounted it
      4  the vault is damaged and cannot be opened
    """
    import json

    from stowkenfs.cli.targets import MountTarget, find_target

    found = find_target(target)
    if isinstance(found, MountTarget):
        click.echo(found.text("stats.json" if as_json else "stats"), nl=False)
        return
    from stowkenfs.cli.running import run
    from stowkenfs.control.format import format_stats

    stats = run(_stats, found.directory)
    if as_json:
        click.echo(json.dumps(stats.to_dict(), indent=2))
    else:
        click.echo(format_stats(stats), nl=False)


async def _stats(directory: Path) -> "VaultStats":
    from stowkenfs.vault.vault import Vault

    async with Vault.open(directory) as vault:
        return await vault.stats()
