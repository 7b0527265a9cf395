"""Exceptions to exit codes and sentences, once for all subcommands."""

import errno
import os
import traceback
from enum import IntEnum

import click

from stowkenfs.errors import (
    BadRequest,
    IndexDamaged,
    JobRunning,
    NotAVault,
    NotOwnFile,
    StowkenError,
    SuperblockCorrupt,
    UnknownFormat,
    VaultLocked,
    VaultNotWritable,
)


class ExitCode(IntEnum):
    """README.md, "Commands"."""

    OK = 0
    FAILED = 1
    USAGE = 2
    IN_USE = 3
    UNUSABLE = 4


class CommandFailed(StowkenError):
    """What a subcommand found itself; the message says what to do."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


_CODES: dict[type[Exception], ExitCode] = {
    BadRequest: ExitCode.USAGE,
    JobRunning: ExitCode.IN_USE,
    VaultLocked: ExitCode.IN_USE,
    NotAVault: ExitCode.UNUSABLE,
    NotOwnFile: ExitCode.UNUSABLE,
    SuperblockCorrupt: ExitCode.UNUSABLE,
    IndexDamaged: ExitCode.UNUSABLE,
    UnknownFormat: ExitCode.UNUSABLE,
    VaultNotWritable: ExitCode.UNUSABLE,
}


_ADVICE = {
    errno.ENOSPC: ": nothing is lost; make room on that disk, then 'stowkenfs gc' gives back what "
    "deleted files took in the vault",
}
"""What to do, behind what the system says."""


def exit_code_of(error: BaseException) -> ExitCode:
    error = _cause(error)
    if isinstance(error, CommandFailed):
        return error.code
    if isinstance(error, OSError) and error.errno == errno.EBUSY:
        return ExitCode.IN_USE
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    return ExitCode.FAILED


def sentence_of(error: BaseException) -> str:
    """What went wrong, for people; one line."""
    error = _cause(error)
    if isinstance(error, OSError) and error.strerror:
        where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        text = where + error.strerror + _ADVICE.get(error.errno or 0, "")
    elif isinstance(error, StowkenError | OSError):
        text = str(error)
    elif isinstance(error, MemoryError):
        text = "there is not enough memory; what was accepted is in the vault"
    else:
        text = (
            f"unexpected {type(error).__name__}: {error}; please report it, with what "
            "STOWKENFS_DEBUG=1 in the environment shows"
        )
    return " ".join(text.split())


def tell(error: BaseException) -> int:
    """Print the sentence, or the traceback where STOWKENFS_DEBUG asks for it; the exit code."""
    if os.environ.get("STOWKENFS_DEBUG", "0") not in ("", "0"):
        traceback.print_exception(error)
    click.echo(f"stowkenfs: {sentence_of(error)}", err=True)
    return exit_code_of(error)


def _cause(error: BaseException) -> BaseException:
    """The first error of a group: task groups wrap what stopped them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
