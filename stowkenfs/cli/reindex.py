"""``stowkenfs reindex``."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from stowkenfs.cli.jobs import json_option, run_job, target_argument


@click.command("reindex", short_help="Build the index anew from the packs.")
@target_argument
@json_option
def command(target: Path, as_json: bool) -> int:
    """Build the index of a vault anew from its packs alone.

    For a vault whose index.db is damaged or lost: names, modes, times and contents come back as
    they were. A mounted vault does it in its mount, whose index stays in use: what the packs do
    not tell of it is written to them. Ctrl-C stops it, and then the index is the one of before.

    \b
    Example:
      stowkenfs reindex my-vault

    \b
    EXIT STATUS
      0  the index is there
      1  it failed, or something stored is damaged
      2  wrong usage
      3  the vault is locked by a process that has not mounted it, or its mount runs another job
      4  the vault is damaged and cannot be opened
    """
    from stowkenfs.control.rebuilding import REINDEX

    return run_job(target, REINDEX, {}, as_json=as_json, closed=_rebuild)


async def _rebuild(directory: Path, progress: Callable[[int, int], None]) -> Any:
    from stowkenfs.vault.reindex.background import rebuild_index

    # It is logged that an index is rebuilt, for mounts that do it by themselves; here it is asked.
    logging.getLogger(rebuild_index.__module__.rpartition(".")[0]).setLevel(logging.ERROR)
    return await rebuild_index(directory, progress)
