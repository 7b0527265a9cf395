"""Control files that run jobs, and show how the last one went."""

from collections.abc import Callable, Sequence
from typing import Any

import anyio.to_thread

from stowkenfs.control.jobs import Jobs
from stowkenfs.control.kinds import AnyKind, Outcome, Run, choose
from stowkenfs.control.listed import as_json
from stowkenfs.control.nodes import ControlFile, Node, Rendered, RenderedBytes
from stowkenfs.control.words import choices, explain, text_of
from stowkenfs.errors import BadRequest, DamageFound, JobCancelled, JobRunning
from stowkenfs.vault.vault import Vault


class Runner:
    """The jobs of one control file. Event loop's thread.

    ``last`` is how the last one went that was begun, and ``refusal`` why the last request was
    refused: both files, for people and for programs, show the same.
    """

    def __init__(self, vault: Vault, jobs: Jobs, kinds: Sequence[AnyKind]) -> None:
        self._vault = vault
        self._jobs = jobs
        self.kinds = kinds
        self.last: Outcome[Any] | None = None
        self.refusal: str | None = None

    def check_idle(self) -> None:
        """Raise JobRunning while a job runs, this or another."""
        self._jobs.check_idle()

    async def act(self, written: bytes) -> None:
        """Do what was asked. Raises JobError, and what the job raises."""
        kind, values = choose(self.kinds, text_of(written))
        run = Run(self._vault, kind, values)
        try:
            report = await self._jobs.run(kind.title, run.work)
        except (JobRunning, BadRequest):
            raise  # nothing was done
        except JobCancelled:
            self.last = await run.outcome(None, cancelled=True)
            raise
        except Exception as error:
            self.last = await run.outcome(None, failure=str(error) or type(error).__name__)
            raise
        self.last = await run.outcome(report)
        if self.last.damage is not None:
            raise DamageFound(self.last.damage)

    def text(self) -> str:
        """How the last job went, and what can be asked for."""
        return (self.last.text() if self.last is not None else self._not_run()) + self.refused()

    def refused(self) -> str:
        """A line if the last request was refused."""
        return f"the last request was refused: {self.refusal}\n" if self.refusal else ""

    def _not_run(self) -> str:
        first = self.kinds[0]
        ask = choices(first.words).partition(" or ")[0]
        ways = explain(first.words)
        for kind in self.kinds[1:]:
            ways += f"  what={kind.what}\n" + explain(kind.words)
        return f"not run since the vault was mounted; echo {ask} > {first.file} runs it\n" + ways

    def to_dict(self) -> dict[str, Any] | None:
        return self.last.to_dict() if self.last is not None else None


class JobFile(ControlFile):
    """A file of which writing runs a job and reading shows ``content()``."""

    writable = True

    def __init__(self, runner: Runner, content: Callable[[], str]) -> None:
        self._runner = runner
        self._content = content

    @property
    def refusal(self) -> str | None:
        return self._runner.refusal

    @refusal.setter
    def refusal(self, why: str | None) -> None:
        self._runner.refusal = why

    def check_writable(self) -> None:
        self._runner.check_idle()

    async def act(self, written: bytes) -> None:
        await self._runner.act(written)

    async def render(self) -> Rendered:
        # A report may name 10,000 damages.
        content = await anyio.to_thread.run_sync(self._content)
        return RenderedBytes(content.encode("utf-8", "backslashreplace"))


def job_files(vault: Vault, jobs: Jobs, *kinds: AnyKind) -> dict[bytes, Node]:
    """The file of ``kinds``, and the same for programs."""
    runner = Runner(vault, jobs, kinds)
    name = kinds[0].file.rpartition("/")[2].encode()
    return {
        name: JobFile(runner, runner.text),
        name + b".json": JobFile(runner, lambda: as_json(runner.to_dict())),
    }
