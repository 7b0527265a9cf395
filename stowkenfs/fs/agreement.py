"""What is agreed on with the kernel when a vault is mounted.

libfuse asks the kernel to drop a file's pages whenever it learns of a new mtime, and learns of
one after each write. That is for filesystems whose files change elsewhere; here all changes come
through the kernel, so that what was just written can be read back from its pages. pyfuse3 has
no way to say so; the compiled module ``_session`` has, where there is one.
"""

import logging
import os
import sys
from importlib import import_module
from typing import Protocol, cast

log = logging.getLogger(__name__)

# FUSE_CAP_… of libfuse's fuse_common.h.
AUTO_INVAL_DATA = 1 << 12
EXPLICIT_INVAL_DATA = 1 << 25

MODULE = "stowkenfs.fs._session"


class _Session(Protocol):
    """``csrc/session.c``."""

    def ask(self, wanted: int, unwanted: int, /) -> None: ...


def _load() -> _Session | None:
    """The module, whose fuse_session_new takes the place of libfuse's for whoever calls it."""
    before = sys.getdlopenflags()
    sys.setdlopenflags(before | os.RTLD_GLOBAL)
    try:
        return cast("_Session", import_module(MODULE))
    except ImportError:  # nothing was compiled
        return None
    finally:
        sys.setdlopenflags(before)


_session = _load()


def keep_pages(*, keep: bool = True) -> None:
    """Have the kernel keep pages through writes, from the next mount on.

    Where the kernel, libfuse or this installation cannot, all stays as libfuse has it.
    """
    if _session is None:
        log.debug("nothing is compiled: the kernel drops pages of files that were written to")
        return
    _session.ask(*((EXPLICIT_INVAL_DATA, AUTO_INVAL_DATA) if keep else (0, 0)))
