"""Control files that list what was trained."""

from collections.abc import Callable, Sequence

import anyio.to_thread

from stowkenfs.control.job_files import JobFile, Runner
from stowkenfs.control.jobs import Jobs
from stowkenfs.control.listed import (
    Row,
    dictionaries_json,
    format_dictionaries,
    format_substrings,
    substrings_json,
)
from stowkenfs.control.nodes import ControlFile, Node, Rendered, RenderedBytes
from stowkenfs.control.training import ACTIVATE
from stowkenfs.vault.vault import Vault


class SubstringsFile(ControlFile):
    """``substrings`` and ``substrings.json``."""

    def __init__(self, vault: Vault, content: Callable[[Sequence[Row]], str]) -> None:
        self._vault = vault
        self._content = content

    async def render(self) -> Rendered:
        await self._vault.load_registry()
        return RenderedBytes(await anyio.to_thread.run_sync(self._shown))  # there may be 50,000

    def _shown(self) -> bytes:
        return self._content([one.to_dict() for one in self._vault.list_substrings()]).encode()


class DictionariesFile(JobFile):
    """``dictionaries`` and ``dictionaries.json``: the list; writing an id activates it."""

    def __init__(self, vault: Vault, runner: Runner, *, for_programs: bool) -> None:
        super().__init__(runner, self._shown)
        self._vault = vault
        self._for_programs = for_programs

    def _shown(self) -> str:
        rows = [one.to_dict() for one in self._vault.list_dictionaries()]
        if self._for_programs:
            return dictionaries_json(rows, self._runner.to_dict())
        last = self._runner.last
        told = f"\n{last.text()}" if last is not None else ""
        return format_dictionaries(rows) + told + self._runner.refused()

    async def render(self) -> Rendered:
        await self._vault.load_registry()
        return RenderedBytes(self._shown().encode())  # few, and listing them is the loop's


def list_files(vault: Vault, jobs: Jobs) -> dict[bytes, Node]:
    """The lists, each for people and for programs."""
    activating = Runner(vault, jobs, (ACTIVATE,))
    return {
        b"dictionaries": DictionariesFile(vault, activating, for_programs=False),
        b"dictionaries.json": DictionariesFile(vault, activating, for_programs=True),
        b"substrings": SubstringsFile(vault, format_substrings),
        b"substrings.json": SubstringsFile(vault, substrings_json),
    }
