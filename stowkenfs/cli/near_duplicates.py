"""``stowkenfs near-duplicates``."""

from pathlib import Path

import click

from stowkenfs.cli.jobs import json_option, run_job, target_argument


@click.command("near-duplicates", short_help="Find texts that are nearly the same.")
@target_argument
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.85,
    show_default=True,
    help="How alike two segments have to be: the share of their tokens that both have.",
)
@click.option(
    "--min-refs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How many others a cluster has to have.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=100,
    show_default=True,
    help="How many clusters are told.",
)
@json_option
def command(target: Path, threshold: float, min_refs: int, limit: int, as_json: bool) -> int:
    """Find segments that are nearly the same, in clusters.

    Reads the vault and changes nothing. A mounted vault is searched by its mount, and stays
    usable meanwhile.

    \b
    Example:
      stowkenfs near-duplicates my-vault
      stowkenfs near-duplicates my-logs --threshold 0.7 --limit 10

    \b
    EXIT STATUS
      0  it came to its end; what it found may be nothing
      1  it failed, or something stored is damaged
      2  wrong usage
      3  the vault is locked by a process that has not mounted it, or its mount runs another job
      4  the vault is damaged and cannot be opened
    """
    from stowkenfs.control.alike import NEAR_DUPLICATES

    asked = {"threshold": threshold, "min_refs": min_refs, "limit": limit}
    return run_job(target, NEAR_DUPLICATES, asked, as_json=as_json)
