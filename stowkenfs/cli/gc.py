"""``stowkenfs gc``."""

from pathlib import Path

import click

from stowkenfs.cli.jobs import json_option, run_job, target_argument


@click.command("gc", short_help="Give back the room of what was deleted.")
@target_argument
@click.option("--dry-run", is_flag=True, help="Only say what it would do.")
@click.option(
    "--what",
    type=click.Choice(["substrings"]),
    help="Only this: substrings of the registry that nothing refers to.",
)
@json_option
def command(target: Path, dry_run: bool, what: str | None, as_json: bool) -> int:
    """Drop what nothing refers to any more, so that its room returns to the disk.

    What other files still share stays. Touches the packs and the index of the vault. A mounted
    vault is collected by its mount, and files can be read and written meanwhile. Ctrl-C stops
    it: what was freed until then is free, and the next run goes on from there.

    \b
    Example:
      stowkenfs gc my-vault --dry-run
      stowkenfs gc my-vault

    \b
    EXIT STATUS
      0  what nothing refers to is gone
      1  it failed, or something stored is damaged
      2  wrong usage
      3  the vault is locked by a process that has not mounted it, or its mount runs another job
      4  the vault is damaged and cannot be opened
    """
    from stowkenfs.control.collection import GC
    from stowkenfs.control.training import GC_SUBSTRINGS

    if what is None:
        return run_job(target, GC, {"dry-run": dry_run}, as_json=as_json)
    if dry_run:
        raise click.UsageError("--dry-run does not go with --what")
    return run_job(target, GC_SUBSTRINGS, {}, as_json=as_json)
