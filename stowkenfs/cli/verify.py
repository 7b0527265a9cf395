"""``stowkenfs verify``."""

from pathlib import Path

import click

from stowkenfs.cli.jobs import json_option, run_job, target_argument


@click.command("verify", short_help="Read and check everything that is stored.")
@target_argument
@json_option
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
    from stowkenfs.control.verification import VERIFY

    return run_job(target, VERIFY, {}, as_json=as_json)
