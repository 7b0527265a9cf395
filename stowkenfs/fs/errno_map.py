"""Exceptions to errno: one table, applied at one boundary."""

import errno
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import pyfuse3

from stowkenfs import errors
from stowkenfs.vault.complaints import (
    OUT_OF_MEMORY,
    complain,
    complain_of,
    is_out_of_memory,
)

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

ERRNO: dict[type[Exception], int] = {
    errors.NotFound: errno.ENOENT,
    errors.AlreadyExists: errno.EEXIST,
    errors.NotADirectory: errno.ENOTDIR,
    errors.IsADirectory: errno.EISDIR,
    errors.DirectoryNotEmpty: errno.ENOTEMPTY,
    errors.NameTooLong: errno.ENAMETOOLONG,
    errors.InvalidName: errno.EINVAL,
    errors.InvalidMove: errno.EINVAL,
    errors.TooManyLinks: errno.EMLINK,
    errors.NoSuchAttribute: errno.ENODATA,
    errors.AttributeExists: errno.EEXIST,
    errors.AttributesTooLarge: errno.ENOSPC,
    errors.FileTooLarge: errno.EFBIG,
    errors.NotPermitted: errno.EPERM,
    errors.ActivationRefused: errno.EPERM,
    errors.BadRequest: errno.EINVAL,
    errors.JobRunning: errno.EBUSY,
    errors.JobCancelled: errno.ECANCELED,
    errors.DamageFound: errno.EIO,
    errors.ConversationNotFound: errno.ENOENT,
    errors.InvalidId: errno.ENOENT,
    errors.NotAConversation: errno.EINVAL,
    errors.BudgetTooSmall: errno.EFBIG,
    errors.VaultClosed: errno.ESHUTDOWN,
    errors.WorkerDied: errno.ENOMEM,
}

_LOGGED: tuple[type[Exception], ...] = (errors.Corrupt, errors.IndexDamaged)
"""Answered with EIO and named in the log: something on the disk is wrong."""


def errno_of(error: Exception) -> int:
    """The errno for ``error``; EIO, and its traceback in the log, for what is not expected."""
    for kind in type(error).__mro__:
        if kind in ERRNO:
            return ERRNO[kind]
    if is_out_of_memory(error):
        complain(log, OUT_OF_MEMORY)
        return errno.ENOMEM
    if isinstance(error, OSError) and error.errno:
        complain_of(log, error, "input/output")
        return error.errno
    if isinstance(error, _LOGGED):
        log.error("damaged: %s", error)
        return errno.EIO
    log.error("a request failed unexpectedly; please report this", exc_info=error)
    return errno.EIO


def answered(
    handler: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """A request handler of which nothing but FUSEError comes out: the mount lives on."""

    @functools.wraps(handler)
    async def answer(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await handler(*args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except Exception as error:  # noqa: BLE001 - the one boundary
            raise pyfuse3.FUSEError(errno_of(error)) from None

    return answer
