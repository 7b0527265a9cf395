"""``stowkenfs compact``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stowkenfs.cli.jobs import run_in_mount
from stowkenfs.cli.targets import MountTarget, VaultTarget, find_target
from stowkenfs.cli.terminal import Show, shown_progress

if TYPE_CHECKING:
    from stowkenfs.control.compaction import Compaction


@click.command("compact", short_help="Rewrite what is stored so that it takes less room.")
@click.argument("target", metavar="VAULT|MOUNTPOINT", type=click.Path(path_type=Path))
@click.option(
    "--level",
    type=click.IntRange(1, 22),
    help="Effort of the compressor, a zstd level; more is slower and smaller.  [default: 19]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(target: Path, level: int | None, as_json: bool) -> int:
    """Rewrite what was stored since the last time so that it takes less room.

    Touches the packs and the index of the vault; the content of files stays the same. A mounted
    vault is compacted by its mount, and files can be read and written meanwhile. Ctrl-C stops
    it: what was done until then is kept, and the next run goes on from there.

    \b
    Example:
      stowkenfs compact my-vault

    \b
    EXIT STATUS
      0  all is compacted, but for files that changed meanwhile
      1  it failed, or something stored is damaged
      2  wrong usage
      3  the vault is locked by a process that has not mounted it, or its mount runs another job
      4  the vault is damaged and cannot be opened
    """
    from stowkenfs.cli.failures import ExitCode

    found = find_target(target)
    try:
        with shown_progress("compact", quiet=as_json) as show:
            if isinstance(found, MountTarget):
                words = "1" if level is None else f"level={level}"
                text, report = run_in_mount(found, "compact", show, words)
            else:
                text, report = _directly(found, level, show)
    except click.Abort:
        click.echo(
            "stowkenfs: what was compacted until now is kept; the next run goes on from there",
            err=True,
        )
        raise
    click.echo(json.dumps(report, indent=2) if as_json else text, nl=as_json)
    return ExitCode.OK if report["clean"] else ExitCode.FAILED


def _directly(target: VaultTarget, level: int | None, show: Show) -> tuple[str, dict[str, Any]]:
    from stowkenfs.cli.running import run
    from stowkenfs.control.compaction import format_compaction

    done = run(_compact, target.directory, level, show)
    return format_compaction(done), done.to_dict()


async def _compact(directory: Path, level: int | None, show: Show) -> "Compaction":
    from stowkenfs.control.compaction import compact_vault
    from stowkenfs.vault.vault import Vault

    async with Vault.open(directory) as vault:
        return await compact_vault(vault, level, lambda done, total: show(done, total, ""))
