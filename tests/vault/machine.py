"""Running a vault step by step from synchronous code, and copying it as a crash would."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, TypeVarTuple

from anyio.from_thread import start_blocking_portal

from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.vault import Vault
from tests.running import backend_options

Ts = TypeVarTuple("Ts")

EAGER = VaultConfig(seal_after_seconds=0.0, lock_wait_seconds=0.0, compression_level=1)


class VaultDriver:
    """A vault whose event loop runs in a thread of its own; one step at a time."""

    def __init__(self, directory: Path, backend: str = "trio", config: VaultConfig = EAGER) -> None:
        self.directory = directory
        self._config = config
        self._stack = ExitStack()
        self._portal = self._stack.enter_context(
            start_blocking_portal(backend, backend_options(backend))
        )
        self._opened: AbstractContextManager[Vault] | None = None
        self.vault = self._open()

    def _open(self) -> Vault:
        self._opened = self._portal.wrap_async_context_manager(
            Vault.open(self.directory, self._config)
        )
        return self._opened.__enter__()

    def call(self, function: Callable[[*Ts], Any], *args: *Ts) -> Any:
        """``function``, which may be a coroutine function, in the loop's thread."""
        return self._portal.call(function, *args)

    def reopen(self, directory: Path | None = None) -> None:
        """Close and open; or go on with another directory."""
        self.close_vault()
        self.directory = directory or self.directory
        self.vault = self._open()

    def close_vault(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.__exit__(None, None, None)

    def close(self) -> None:
        self.close_vault()
        self._stack.close()


def copy_as_a_crash(source: Path, target: Path) -> None:
    """What a killed process leaves: every byte that is in the kernel's hands, right now.

    Call it in the loop's thread, so that nothing but worker threads goes on meanwhile; what
    those remove while it is copied was not referred to any more.
    """
    target.mkdir(parents=True)
    for path in sorted(source.rglob("*")):
        copied = target / path.relative_to(source)
        if path.is_dir():
            copied.mkdir(exist_ok=True)
        elif path.name != "index.db-shm":
            try:
                shutil.copyfile(path, copied)
            except FileNotFoundError:
                copied.unlink(missing_ok=True)
