"""The program ``stowkenfs``: finds the subcommand, and ends with its exit code."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

COMMANDS = {
    "mount": "mount",
    "umount": "umount",
    "stats": "stats",
    "compact": "compact",
    "train": "train",
    "dictionaries": "dictionaries",
    "substrings": "substrings",
    "near-duplicates": "near_duplicates",
    "context": "context",
    "gc": "gc",
    "retention": "retention",
    "reindex": "reindex",
    "verify": "verify",
    "import": "import_",
    "export": "export",
}
"""``{subcommand: its module in this package}``, in the order of the help."""

INTERRUPTED = 130
"""What shells give for a program that SIGINT ended."""


class LazyGroup(click.Group):
    """Imports a subcommand's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"stowkenfs.cli.{COMMANDS[cmd_name]}")
        command: click.Command = module.command
        return command


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("stowkenfs")
        except PackageNotFoundError:
            number = "(not installed)"
        click.echo(f"stowkenfs {number}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def group() -> None:
    """A filesystem for the conversations of language models.

    Works on vaults: directories that hold conversations and any other files, with what repeats
    between them stored once. The program touches the vault and the mount point that are named,
    and nothing else.

    \b
    Example:
      stowkenfs mount my-vault my-logs
      cp -r chats my-logs/
      stowkenfs umount my-logs

    \b
    EXIT STATUS
      0  all is well
      1  it failed, or damage was found
      2  wrong usage
      3  the vault is locked by another process, or the mount point is busy
      4  the vault is damaged and cannot be opened
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and exit."""
    os.umask(0o077)  # what is made is a vault's, or gets a mode of its own
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """The exit code of one command line; errors are a sentence on stderr."""
    try:
        code = group.main(arguments, prog_name="stowkenfs", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("stowkenfs: interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has enough of it; nothing more goes there when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the one boundary; see failures.tell
        from stowkenfs.cli.failures import tell

        return tell(error)
    return int(code or 0)
