"""``stowkenfs dictionaries``."""

from pathlib import Path

import click

from stowkenfs.cli.jobs import json_option, run_job, show_list, target_argument


@click.command("dictionaries", short_help="List trained dictionaries, or say which one to use.")
@target_argument
@click.option("--activate", metavar="ID", help="Use this one from now on; none: use none.")
@click.option("--force", is_flag=True, help="Activate it even if the vault becomes larger by it.")
@json_option
def command(target: Path, activate: str | None, force: bool, as_json: bool) -> int:
    """List the dictionaries that were trained, the one in use with a star.

    With --activate, what is stored from now on uses another one; what was stored with the one of
    before keeps that. It is refused, with the figures, where it would make the vault larger.

    \b
    Example:
      stowkenfs dictionaries my-vault
      stowkenfs dictionaries my-vault --activate none

    \b
    EXIT STATUS
      0  all is well
      1  it failed, or was refused because the vault would become larger
      2  wrong usage, or there is no such dictionary
      3  the vault is locked by a process that has not mounted it, or its mount runs a job
      4  the vault is damaged and cannot be opened
    """
    if activate is None:
        if force:
            raise click.UsageError("--force goes with --activate")
        from stowkenfs.control.listed import format_dictionaries

        return show_list(
            target,
            "dictionaries",
            lambda vault: vault.list_dictionaries(),
            format_dictionaries,
            as_json=as_json,
        )
    from stowkenfs.control.training import ACTIVATE

    return run_job(target, ACTIVATE, {"id": activate, "force": force}, as_json=as_json)
