"""``stowkenfs stats``."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stowkenfs.cli.terminal import page_look

if TYPE_CHECKING:
    from stowkenfs.vault.stats_report import VaultStats
    from stowkenfs.vault.where_report import Where

T = TypeVar("T")


@click.command("stats", short_help="What is stored, and how many bytes it takes.")
@click.argument("target", metavar="VAULT|MOUNTPOINT", type=click.Path(path_type=Path))
@click.option("--where", "where", is_flag=True, help="Show which folders the bytes are of.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(target: Path, where: bool, as_json: bool) -> None:
    """Say what is stored, and how many bytes it takes.

    Reads the vault, or asks its mount if it has one. Files, conversations and bytes; the
    segments, records and frames that they are made of; and where the bytes are, by kind:

    \b
      segments   texts as token ids, and bytes that are no text
      values     what else JSON holds: numbers and short strings
      templates  JSON without what it holds: punctuation and keys
      recipes    which records make up each file
      keys       short hashes of all that is stored, to find what comes twice
      inodes     sizes, times, owners and modes of files
      names      names of files and folders
      registry   what texts refer to: codebooks, substrings, dictionaries
      index      the database that finds all this, and the newest of it
      drafts     what was written and is not encoded yet
      slack      unused ends of disk blocks, and what nothing refers to any more

    What is not compacted yet keeps its recipes, keys, inodes and names in the index. By folder
    it is an estimate: files that lie in one block divide it by their length, and what several
    folders share counts in the one that brought it.

    \b
    Example:
      stowkenfs stats my-vault
      stowkenfs stats my-vault --where
      stowkenfs stats my-logs --json | jq .ratio

    \b
    EXIT STATUS
      0  all is well
      1  it failed, for example because there is no such vault
      2  wrong usage
      3  the vault is locked by a process that has not mounted it
      4  the vault is damaged and cannot be opened
    """
    if where:
        _show_where(target, as_json)
    else:
        _show_stats(target, as_json)


def _show_stats(target: Path, as_json: bool) -> None:
    from stowkenfs.cli.targets import MountTarget, find_target
    from stowkenfs.control.where import format_stats_page
    from stowkenfs.vault.stats_report import VaultStats

    found = find_target(target)
    stats = (
        VaultStats.from_dict(found.json("stats.json"))
        if isinstance(found, MountTarget)
        else _run(_stats, found.directory)
    )
    _show(stats.to_dict(), format_stats_page(stats, page_look()), as_json)


def _show_where(target: Path, as_json: bool) -> None:
    from stowkenfs.cli.targets import MountTarget, find_target
    from stowkenfs.control.where import format_where
    from stowkenfs.vault.where_report import Where

    found = find_target(target)
    where = (
        Where.from_dict(found.json("where.json"))
        if isinstance(found, MountTarget)
        else _run(_where, found.directory)
    )
    _show(where.to_dict(), format_where(where, page_look()), as_json)


def _show(numbers: dict[str, Any], text: str, as_json: bool) -> None:
    # Colours were decided on already, by NO_COLOR as well.
    click.echo(json.dumps(numbers, indent=2) if as_json else text, nl=as_json, color=True)


def _run(work: Callable[[Path], Awaitable[T]], directory: Path) -> T:
    from stowkenfs.cli.running import run  # not for a mount, which is asked at once

    return run(work, directory)


async def _stats(directory: Path) -> "VaultStats":
    from stowkenfs.vault.vault import Vault

    async with Vault.open(directory) as vault:
        return await vault.stats()


async def _where(directory: Path) -> "Where":
    from stowkenfs.vault.vault import Vault
    from stowkenfs.vault.where import where_of

    async with Vault.open(directory) as vault:
        return await where_of(vault)
