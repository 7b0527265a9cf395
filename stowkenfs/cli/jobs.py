"""Jobs of a vault, through its mount if it has one: what all commands of that kind share."""

import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stowkenfs.cli.targets import MountTarget, VaultTarget, find_target
from stowkenfs.cli.terminal import Show, shown_progress

if TYPE_CHECKING:
    from stowkenfs.control.kinds import AnyKind, Outcome
    from stowkenfs.control.kinds import Report as Listed
    from stowkenfs.vault.vault import Vault

target_argument = click.argument(
    "target", metavar="VAULT|MOUNTPOINT", type=click.Path(path_type=Path)
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

Asked = Mapping[str, str | int | float | bool | None]
"""Options by the names of the job's words; None and False are as good as nothing."""


Rebuild = Callable[[Path, Callable[[int, int], None]], Awaitable[Any]]
"""Work on a vault that is not open: on its directory, with what to tell of the progress."""


def run_job(
    target: Path,
    kind: "AnyKind",
    asked: Asked,
    *,
    as_json: bool,
    closed: Rebuild | None = None,
    shown: Callable[[dict[str, Any]], str] | None = None,
) -> int:
    """Run a job, show how it goes and went, and return the exit code.

    A vault that is not mounted is opened for it, or given to ``closed`` as it is. ``shown`` makes
    a text of the outcome, where that is not what the control file says.
    Raises Abort when it was interrupted, after saying what that leaves; BadRequest.
    """
    from stowkenfs.cli.failures import ExitCode
    from stowkenfs.control.words import parse_words

    words = _words(kind, asked)
    values = parse_words(words, kind.words)  # before anything is opened
    found = find_target(target, mending=closed is not None)
    try:
        with shown_progress(kind.title, quiet=as_json) as show:
            if isinstance(found, MountTarget):
                from stowkenfs.cli.in_mount import run_in_mount

                which = f"what={kind.what} " if kind.what is not None else ""
                text, outcome = run_in_mount(found, kind, (which + words).strip() or "1", show)
            else:
                done = _directly(found, kind, values, show, closed)
                text, outcome = done.text(), done.to_dict()
    except click.Abort:
        click.echo(f"stowkenfs: {kind.left[0].lower()}{kind.left[1:]}", err=True)
        raise
    if shown is not None and outcome.get("failure") is None:
        text = shown(outcome)
    click.echo(json.dumps(outcome, indent=2) if as_json else text, nl=as_json)
    return ExitCode.OK if outcome["clean"] else ExitCode.FAILED


def _words(kind: "AnyKind", asked: Asked) -> str:
    """As a control file is written."""
    words = []
    for word in kind.words:
        value = asked.get(word.name)
        if value is not None and value is not False:
            text = "yes" if value is True else str(value)
            words.append(text if word.bare else f"{word.name}={text}")
    return " ".join(words)


def _directly(
    target: VaultTarget,
    kind: "AnyKind",
    values: Mapping[str, Any],
    show: Show,
    closed: Rebuild | None,
) -> "Outcome[Any]":
    from stowkenfs.cli.running import run

    def progress(done: int, total: int) -> None:
        show(done, total, "")

    if closed is not None:
        return run(_run_closed, target.directory, kind, closed, progress)
    return run(_run_open, target.directory, kind, values, progress)


async def _run_open(
    directory: Path,
    kind: "AnyKind",
    values: Mapping[str, Any],
    progress: Callable[[int, int], None],
) -> "Outcome[Any]":
    from stowkenfs.control.kinds import carry_out
    from stowkenfs.vault.vault import Vault

    async with Vault.open(directory) as vault:
        return await carry_out(vault, kind, values, progress)


async def _run_closed(
    directory: Path, kind: "AnyKind", work: Rebuild, progress: Callable[[int, int], None]
) -> "Outcome[Any]":
    from stowkenfs.control.kinds import Outcome

    began = time.monotonic()
    report = await work(directory, progress)
    return Outcome(kind, report, time.monotonic() - began)


def show_list(
    target: Path,
    name: str,
    listed: "Callable[[Vault], Sequence[Listed]]",
    text: Callable[[Sequence[Mapping[str, Any]]], str],
    *,
    as_json: bool,
) -> int:
    """Show the list ``name`` of the registry: what the mount says, or ``listed(vault)``."""
    from stowkenfs.control.listed import as_json as for_programs

    found = find_target(target)
    if isinstance(found, MountTarget):
        rows = found.json(f"{name}.json")[name]
    else:
        from stowkenfs.cli.running import run

        rows = run(_listed, found.directory, listed)
    click.echo(for_programs({name: rows}) if as_json else text(rows), nl=False)
    return 0


async def _listed(
    directory: Path, listed: "Callable[[Vault], Sequence[Listed]]"
) -> list[dict[str, Any]]:
    from stowkenfs.vault.vault import Vault

    async with Vault.open(directory) as vault:
        return [one.to_dict() for one in listed(vault)]
