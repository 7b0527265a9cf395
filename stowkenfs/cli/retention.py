"""``stowkenfs retention``."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stowkenfs.cli.jobs import json_option, run_job, target_argument
from stowkenfs.cli.targets import MountTarget, find_target

if TYPE_CHECKING:
    from stowkenfs.vault.retention.policy import Policy
    from stowkenfs.vault.retention.report import FolderReport


@click.command("retention", short_help="Say which files of a folder go by themselves, and when.")
@target_argument
@click.option("--set", "chosen", metavar="FOLDER", help="Give this folder of the vault a policy.")
@click.option(
    "--max-age", metavar="AGE", help="Files last modified longer ago go: 30d, 12h, never."
)
@click.option(
    "--keep", type=int, metavar="N", help="Of the files directly in it the N newest stay."
)
@click.option("--versions", type=int, metavar="N", help="Of each file keep N earlier contents.")
@click.option("--unset", metavar="FOLDER", help="Take the policy of this folder away.")
@click.option("--apply", "applying", is_flag=True, help="Remove what the policies say, now.")
@json_option
def command(
    target: Path,
    chosen: str | None,
    max_age: str | None,
    keep: int | None,
    versions: int | None,
    unset: str | None,
    applying: bool,
    as_json: bool,
) -> int:
    """Show what policies of folders would remove now. Removes nothing without --apply.

    A policy stays with its folder, also when that is renamed. --max-age counts for folders below,
    too, of which the nearest that says it counts, and so does --versions; --keep for files
    directly in the folder. Files
    that are open or not sealed yet stay. A mount applies the policies of its vault once a minute;
    of a vault that is not mounted nothing goes without --apply.

    \b
    Example:
      stowkenfs retention my-vault --set sessions --max-age 30d
      stowkenfs retention my-vault
      stowkenfs retention my-vault --apply

    \b
    EXIT STATUS
      0  all is well
      1  it failed, or something stored is damaged
      2  wrong usage, or there is no such folder
      3  the vault is locked by a process that has not mounted it, or its mount runs another job
      4  the vault is damaged and cannot be opened
    """
    words = _words(max_age, keep, versions)
    if (chosen is not None) + (unset is not None) + applying > 1:
        raise click.UsageError("--set, --unset and --apply do not go with each other")
    if bool(words) != (chosen is not None):
        raise click.UsageError("--set FOLDER goes with --max-age, --keep, --versions")
    if chosen is not None:
        return _set(target, chosen, words)
    if unset is not None:
        return _set(target, unset, "none")
    if applying:
        return _apply(target, as_json=as_json)
    return _show(target, as_json=as_json)


def _words(max_age: str | None, keep: int | None, versions: int | None) -> str:
    """As the control file is written."""
    said = {"max-age": max_age, "keep": keep, "versions": versions}
    return " ".join(f"{name}={value}" for name, value in said.items() if value is not None)


def _set(target: Path, folder: str, words: str) -> int:
    from stowkenfs.control.retained import folder_name, parse_policy

    policy = parse_policy(words)  # before anything is opened
    path = os.fsencode(folder)
    found = find_target(target)
    if isinstance(found, MountTarget):
        from stowkenfs.cli.in_mount import told_refusal

        with told_refusal(found, "retention"):
            found.act("retention", f"{folder_name(path)} {words}")
    else:
        from stowkenfs.cli.running import run

        run(_set_directly, found.directory, path, policy)
    return 0


async def _set_directly(directory: Path, path: bytes, policy: "Policy | None") -> None:
    from stowkenfs.control.retention import set_policies
    from stowkenfs.vault.vault import Vault

    async with Vault.open(directory) as vault:
        await set_policies(vault, {path: policy})


def _apply(target: Path, *, as_json: bool) -> int:
    from stowkenfs.control.retained import format_applied
    from stowkenfs.control.retention import APPLY, RETENTION

    def text(outcome: dict[str, Any]) -> str:
        return format_applied(_folders(outcome["folders"]))

    return run_job(target, RETENTION, {APPLY: APPLY}, as_json=as_json, shown=text)


def _show(target: Path, *, as_json: bool) -> int:
    from stowkenfs.control.retained import format_plan

    found = find_target(target)
    if isinstance(found, MountTarget):
        rows = found.json("retention.json")["policies"]
    else:
        from stowkenfs.cli.running import run

        rows = run(_planned, found.directory)
    click.echo(json.dumps({"policies": rows}, indent=2) if as_json else format_plan(_folders(rows)),
               nl=as_json)  # fmt: skip
    return 0


async def _planned(directory: Path) -> list[dict[str, Any]]:
    from stowkenfs.vault.vault import Vault

    async with Vault.open(directory) as vault:
        return [folder.to_dict() for folder in (await vault.retention.plan()).folders]


def _folders(rows: Sequence[dict[str, Any]]) -> "list[FolderReport]":
    from stowkenfs.vault.retention.report import FolderReport

    read: Callable[[dict[str, Any]], FolderReport] = FolderReport.from_dict
    return [read(row) for row in rows]
