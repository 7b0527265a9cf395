"""``stowkenfs compact``."""

from pathlib import Path

import click

from stowkenfs.cli.jobs import json_option, run_job, target_argument


@click.command("compact", short_help="Rewrite what is stored so that it takes less room.")
@target_argument
@click.option(
    "--level",
    type=click.IntRange(1, 22),
    help="Effort of the compressor, a zstd level; more is slower and smaller.  [default: 19]",
)
@click.option(
    "--what",
    type=click.Choice(["substrings"]),
    help="Only this: let segments refer to the registered substrings.",
)
@json_option
def command(target: Path, level: int | None, what: str | None, as_json: bool) -> int:
    """Rewrite what was stored since the last time so that it takes less room.

    Touches the packs and the index of the vault; the content of files stays the same. A mounted
    vault is compacted by its mount, and files can be read and written meanwhile. Ctrl-C stops
    it: what was done until then is kept, and the next run goes on from there.

    With --what substrings only the frames of segments are rewritten that become smaller by
    referring to what `stowkenfs train substrings` registered. Nothing is kept of it that makes
    the vault larger.

    \b
    Example:
      stowkenfs compact my-vault
      stowkenfs compact my-vault --what substrings

    \b
    EXIT STATUS
      0  all is compacted, but for files that changed meanwhile
      1  it failed, or something stored is damaged
      2  wrong usage
      3  the vault is locked by a process that has not mounted it, or its mount runs another job
      4  the vault is damaged and cannot be opened
    """
    from stowkenfs.control.compaction import COMPACT
    from stowkenfs.control.training import COMPACT_SUBSTRINGS

    if what is None:
        return run_job(target, COMPACT, {"level": level}, as_json=as_json)
    if level is not None:
        raise click.UsageError("--level does not go with --what")
    return run_job(target, COMPACT_SUBSTRINGS, {}, as_json=as_json)
