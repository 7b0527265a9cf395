"""``stowkenfs verify``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stowkenfs.cli.jobs import run_in_mount
from stowkenfs.cli.targets import MountTarget, VaultTarget, find_target
from stowkenfs.cli.terminal import Show, shown_progress

if TYPE_CHECKING:
    from stowkenfs.vault.verify import VerifyReport


@click.command("verify", short_help="Read and check everything that is stored.")
@click.argument("target", metavar="VAULT|MOUNTPOINT", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(target: Path, as_json: bool) -> int:
    """Read and check everything that is stored; name the files that are damaged.

    Reads every byte of the vault and changes nothing. A mounted vault is checked by its mount,
    and stays usable meanwhile.

    \b
    Example:
      stowkenfs verify my-vault

    \b
    EXIT STATUS
      0  everything is as it was written
      1  damage was found, or it failed
      2  wrong usage
      3  the vault is locked by a process that has not mounted it, or its mount runs another job
      4  the vault is damaged and cannot be opened
    """
    from stowkenfs.cli.failures import ExitCode

    found = find_target(target)
    with shown_progress("verify", quiet=as_json) as show:
        if isinstance(found, MountTarget):
            text, report = run_in_mount(found, "verify", show)
        else:
            text, report = _directly(found, show)
    click.echo(json.dumps(report, indent=2) if as_json else text, nl=as_json)
    return ExitCode.OK if report["clean"] else ExitCode.FAILED


def _directly(target: VaultTarget, show: Show) -> tuple[str, dict[str, Any]]:
    from stowkenfs.cli.running import run
    from stowkenfs.control.format import format_verify

    report = run(_verify, target.directory, show)
    return format_verify(report), report.to_dict()


async def _verify(directory: Path, show: Show) -> "VerifyReport":
    from stowkenfs.vault.vault import Vault

    async with Vault.open(directory) as vault:
        return await vault.verify(lambda done, total: show(done, total, ""))
