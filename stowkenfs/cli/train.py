"""``stowkenfs train``."""

from pathlib import Path

import click

from stowkenfs.cli.jobs import json_option, run_job, target_argument


@click.group("train", short_help="Find what the stored texts have in common.")
def command() -> None:
    """Find what the stored texts have in common, so that later ones can refer to it.

    Training adds to the registry of the vault and rewrites nothing. A mounted vault is trained
    by its mount. Ctrl-C stops it, and then nothing was added.

    \b
    Example:
      stowkenfs train substrings my-vault
      stowkenfs train dictionary my-vault --activate

    \b
    EXIT STATUS
      0  it came to its end; what it found may be nothing
      1  it failed, or something stored is damaged
      2  wrong usage
      3  the vault is locked by a process that has not mounted it, or its mount runs another job
      4  the vault is damaged and cannot be opened
    """


@command.command("substrings", short_help="Runs of tokens that come again and again.")
@target_argument
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=500,
    show_default=True,
    help="How many segments are looked at.",
)
@click.option(
    "--min-occurrences",
    type=click.IntRange(2),
    default=5,
    show_default=True,
    help="How often a run of tokens has to come there.",
)
@json_option
def substrings(target: Path, samples: int, min_occurrences: int, as_json: bool) -> int:
    """Find runs of tokens that come again and again, and register them.

    What is stored from then on refers to them where that is smaller; `stowkenfs compact --what
    substrings` rewrites what is stored already. Nothing is registered that would make the vault
    larger.

    \b
    Example:
      stowkenfs train substrings my-vault
      stowkenfs train substrings my-logs --samples 5000 --min-occurrences 3

    \b
    EXIT STATUS
      0  it came to its end; what it found may be nothing
      1  it failed, or something stored is damaged
      2  wrong usage
      3  the vault is locked by a process that has not mounted it, or its mount runs another job
      4  the vault is damaged and cannot be opened
    """
    from stowkenfs.control.training import TRAIN_SUBSTRINGS

    asked = {"samples": samples, "min_occurrences": min_occurrences}
    return run_job(target, TRAIN_SUBSTRINGS, asked, as_json=as_json)


@command.command("dictionary", short_help="A dictionary for the compressor.")
@target_argument
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="How many segments are looked at.",
)
@click.option("--activate", is_flag=True, help="Use it from then on.")
@json_option
def dictionary(target: Path, samples: int, activate: bool, as_json: bool) -> int:
    """Train a dictionary for the compressor, as large as pays on segments it was not shown.

    `stowkenfs dictionaries --activate ID` uses it from then on, if it was not asked for here.
    What was stored with another one keeps that.

    \b
    Example:
      stowkenfs train dictionary my-vault --activate

    \b
    EXIT STATUS
      0  it came to its end; what it found may be nothing
      1  it failed, or something stored is damaged
      2  wrong usage
      3  the vault is locked by a process that has not mounted it, or its mount runs another job
      4  the vault is damaged and cannot be opened
    """
    from stowkenfs.control.training import TRAIN_DICTIONARY

    asked = {"samples": samples, "activate": activate}
    return run_job(target, TRAIN_DICTIONARY, asked, as_json=as_json)
