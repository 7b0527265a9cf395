"""``stowkenfs substrings``."""

from pathlib import Path

import click

from stowkenfs.cli.jobs import json_option, show_list, target_argument


@click.command("substrings", short_help="List the runs of tokens that training registered.")
@target_argument
@json_option
def command(target: Path, as_json: bool) -> int:
    """List the runs of tokens that `stowkenfs train substrings` registered.

    Reads the vault, or asks its mount if it has one.

    \b
    Example:
      stowkenfs substrings my-vault
      stowkenfs substrings my-logs --json | jq '.substrings | length'

    \b
    EXIT STATUS
      0  all is well
      1  it failed, for example because there is no such vault
      2  wrong usage
      3  the vault is locked by a process that has not mounted it
      4  the vault is damaged and cannot be opened
    """
    from stowkenfs.control.listed import format_substrings

    return show_list(
        target,
        "substrings",
        lambda vault: vault.list_substrings(),
        format_substrings,
        as_json=as_json,
    )
