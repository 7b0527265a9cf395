"""``stowkenfs context``."""

import errno
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from stowkenfs.cli.targets import MountTarget, VaultTarget
    from stowkenfs.context.report import PlanReport


@click.command("context", short_help="A conversation, fitted into a budget of tokens.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--budget",
    type=click.IntRange(1, 9_999_999_999),
    required=True,
    metavar="TOKENS",
    help="What it may have.",
)
@click.option("--plan", is_flag=True, help="Show what is done for that instead.")
@click.option("--json", "as_json", is_flag=True, help="Show that as one JSON object.")
def command(path: Path, budget: int, plan: bool, as_json: bool) -> None:
    """Print the conversation PATH, fitted into a budget of tokens.

    PATH is a file in a mount, or in a vault that need not be mounted: VAULT/PATH. What comes out
    is in the format of the file (OpenAI chat, Anthropic messages, a session log with a message a
    line), ready to be sent. Nothing is changed if it fits. Else large results of tools keep a
    preview, long messages head and tail, and the oldest messages give way to one line that says
    how many there were. The system prompt and the last turns stay. In each place stands where the
    whole can be read in the mount: .stowken/spool/NAME.

    \b
    Example:
      stowkenfs context my-logs/agents/run.json --budget 8000 > request.json
      stowkenfs context my-vault/agents/run.json --budget 8000 --plan

    \b
    EXIT STATUS
      0  all is well
      1  it failed: no such file, no conversation, or a budget too small for what has to stay
      2  wrong usage
      3  the vault is locked by a process that has not mounted it
      4  the vault is damaged and cannot be opened
    """
    from stowkenfs.cli.targets import MountTarget

    target, inside = _find(path)
    if isinstance(target, MountTarget):
        content = _from_mount(target, inside, budget, plan, as_json)
    else:
        content = _from_vault(target, inside, budget, plan, as_json)
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def _find(path: Path) -> "tuple[MountTarget | VaultTarget, Path]":
    """The mount or vault that ``path`` is in, and where in it."""
    from stowkenfs.cli.failures import CommandFailed
    from stowkenfs.cli.mounts import mount_at
    from stowkenfs.cli.targets import find_target
    from stowkenfs.vault.superblock import read_superblock

    full = Path(os.path.realpath(path.parent)) / path.name
    for above in full.parents:
        mount = mount_at(above)
        if mount is not None and not mount.is_ours:
            break
        if mount is not None or (above.is_dir() and (above / "superblock").is_file()):
            if mount is None and read_superblock(above) is None:
                continue
            return find_target(above), full.relative_to(above)
    raise CommandFailed(f"{path} is in no vault and in no mount of one")


def _from_mount(
    target: "MountTarget", inside: Path, budget: int, plan: bool, as_json: bool
) -> bytes:
    from stowkenfs.cli.failures import CommandFailed

    view = target.path(f"context/{budget}") / inside
    suffix = ".plan.json" if as_json else ".plan" if plan else ""
    try:
        return view.with_name(view.name + suffix).read_bytes()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
            raise CommandFailed(f"there is no file {inside} in {target.mountpoint}") from None
        if error.errno == errno.EFBIG:
            told = json.loads(view.with_name(view.name + ".plan.json").read_bytes())
            raise CommandFailed(f"{inside}: {told['failure']}") from None
        if error.errno == errno.EINVAL:
            last = target.text("log").splitlines()[-1:]
            why = last[0].partition(": ")[2] if last else "it is no conversation"
            raise CommandFailed(f"{inside}: {why}") from None
        raise


def _from_vault(
    target: "VaultTarget", inside: Path, budget: int, plan: bool, as_json: bool
) -> bytes:
    from stowkenfs.cli.failures import CommandFailed
    from stowkenfs.cli.running import run
    from stowkenfs.control.plans import format_plan
    from stowkenfs.errors import BudgetTooSmall, NotAConversation

    try:
        content, report, error = run(_fit, target.directory, os.fsencode(inside), budget)
    except NotAConversation as failure:
        raise CommandFailed(f"{inside}: {failure}") from None
    if as_json:
        return (json.dumps(report.to_dict(), indent=2) + "\n").encode()
    if plan:
        return format_plan(report, str(inside)).encode("utf-8", "backslashreplace")
    if content is None:
        assert isinstance(error, BudgetTooSmall)
        raise CommandFailed(f"{inside}: {error}")
    return content


async def _fit(
    directory: Path, inside: bytes, budget: int
) -> "tuple[bytes | None, PlanReport, Exception | None]":
    from stowkenfs.cli.failures import CommandFailed
    from stowkenfs.context.pressure import ContextConfig
    from stowkenfs.errors import NotFound
    from stowkenfs.vault.contexts import fit_file
    from stowkenfs.vault.vault import Vault

    async with Vault.open(directory) as vault:
        try:
            ino = vault.tree.resolve(inside).ino
        except NotFound:
            raise CommandFailed(f"there is no file {os.fsdecode(inside)} in {directory}") from None
        fitted = await fit_file(vault, ino, ContextConfig(budget))
        return fitted.content, fitted.report, fitted.error
