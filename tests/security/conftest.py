"""Fixtures of mounts: those of ``tests/mount``, and places that other users get to."""

from tests.mount.conftest import make_mount, mount
from tests.posix.conftest import reachable

__all__ = ["make_mount", "mount", "reachable"]
