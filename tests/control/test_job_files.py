"""Any job through its control files: how it ends is kept, shown twice, and answered once."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

import anyio
import pytest

from stowkenfs.control.job_files import JobFile, job_files
from stowkenfs.control.jobs import Jobs
from stowkenfs.control.kinds import JobKind, Outcome, Progress, Values
from stowkenfs.control.listed import as_json
from stowkenfs.control.nodes import ControlFile
from stowkenfs.control.words import whole
from stowkenfs.errors import BadRequest, DamageFound, JobCancelled, JobRunning
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.vault import Vault
from tests.running import run


@dataclass(frozen=True)
class Counted:
    """``bad``: how many of them are damaged."""

    count: int
    bad: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def kind_of(
    work: Callable[[Vault, Values, Progress], Awaitable[Counted]], **more: Any
) -> JobKind[Counted]:
    return JobKind(
        file="folder/count",
        title="count",
        words=(whole("limit", "where it ends", 1, 9, 5),),
        run=work,
        told=lambda _done, report: f"Counted {report.count}.\n",
        left="Nothing was changed.",
        damage=lambda report: f"{report.bad} are bad" if report.bad else None,
        **more,
    )


async def count(_vault: Vault, values: Values, progress: Progress) -> Counted:
    progress(1, 1)
    return Counted(values["limit"], bad=int(values["limit"] == 9))


async def count_for_ever(_vault: Vault, _values: Values, _progress: Progress) -> Counted:
    await anyio.sleep_forever()
    raise AssertionError


async def fail(_vault: Vault, _values: Values, _progress: Progress) -> Counted:
    raise OSError(28, "No space left on device")


async def shown(file: object) -> str:
    assert isinstance(file, ControlFile)
    rendered = await file.render()
    assert len(rendered.read(0, rendered.size + 1)) == rendered.size
    return rendered.read(0, rendered.size).decode()


def with_files(
    kind: JobKind[Counted], use: Callable[[JobFile, JobFile, Jobs], Awaitable[None]]
) -> None:
    async def main() -> None:
        async with Vault.memory(VaultConfig(workers=0)) as vault:
            jobs = Jobs()
            files = job_files(vault, jobs, kind)
            assert list(files) == [b"count", b"count.json"]
            text, numbers = files.values()
            assert isinstance(text, JobFile)
            assert isinstance(numbers, JobFile)
            await use(text, numbers, jobs)

    run("trio", main)


def test_what_can_be_written_and_what_was_done() -> None:
    async def use(text: JobFile, numbers: JobFile, jobs: Jobs) -> None:
        assert await shown(text) == (
            "not run since the vault was mounted; echo 1 > folder/count runs it\n"
            "  limit=5  where it ends: a whole number from 1 to 9\n"
        )
        assert json.loads(await shown(numbers)) is None
        await numbers.act(b"1\n")
        assert await shown(text) == "Counted 5.\n"
        await text.act(b"limit=7\n")
        told = json.loads(await shown(numbers))
        assert told.pop("seconds") >= 0
        assert {"bytes_in", "bytes_before", "bytes_after", "ratio"} <= set(told)
        assert (told["job"], told["clean"], told["cancelled"]) == ("count", True, False)
        assert (told["failure"], told["count"], told["bad"]) == (None, 7, 0)
        assert jobs.list().count("past: count, ") == 2

    with_files(kind_of(count), use)


def test_damage_is_an_error_with_a_report() -> None:
    async def use(text: JobFile, numbers: JobFile, _jobs: Jobs) -> None:
        with pytest.raises(DamageFound, match="1 are bad"):
            await text.act(b"limit=9\n")
        told = json.loads(await shown(numbers))
        assert (told["clean"], told["failure"], told["count"]) == (False, None, 9)
        assert await shown(text) == "Counted 9.\n"
        assert "bytes_in" not in told, "it is not measured"

    with_files(kind_of(count, measured=False), use)


def test_a_bad_word_changes_nothing_and_both_files_know() -> None:
    async def use(text: JobFile, numbers: JobFile, jobs: Jobs) -> None:
        with pytest.raises(BadRequest) as refused:
            await numbers.act(b"limit=10\n")
        numbers.refusal = str(refused.value)
        assert text.refusal == numbers.refusal == "limit is a whole number from 1 to 9, not '10'"
        assert f"the last request was refused: {text.refusal}\n" in await shown(text)
        assert json.loads(await shown(numbers)) is None
        assert jobs.text() == ""

    with_files(kind_of(count), use)


def test_failures_are_kept() -> None:
    async def use(text: JobFile, numbers: JobFile, _jobs: Jobs) -> None:
        with pytest.raises(OSError, match="No space"):
            await text.act(b"1\n")
        told = json.loads(await shown(numbers))
        assert (told["clean"], told["cancelled"]) == (False, False)
        assert told["failure"] == "[Errno 28] No space left on device"
        assert "count" not in told
        assert (await shown(text)).startswith("It failed: [Errno 28] No space left on device. It")
        assert (await shown(text)).endswith("Nothing was changed.\n")

    with_files(kind_of(fail), use)


def test_while_it_runs_nobody_else_may_and_it_can_be_stopped() -> None:
    async def use(text: JobFile, numbers: JobFile, jobs: Jobs) -> None:
        text.check_writable()
        async with anyio.create_task_group() as tasks:

            async def begin() -> None:
                with pytest.raises(JobCancelled):
                    await text.act(b"1\n")

            tasks.start_soon(begin)
            await anyio.wait_all_tasks_blocked()
            for file in (text, numbers):
                with pytest.raises(JobRunning, match="count is running"):
                    file.check_writable()
                with pytest.raises(JobRunning, match="count is running"):
                    await file.act(b"1\n")
            assert "not run" in await shown(text), "a request that was refused is no run"
            await jobs.cancel()
        assert json.loads(await shown(numbers))["cancelled"] is True
        assert (await shown(text)).startswith("Cancelled after 0.")
        text.check_writable()

    with_files(kind_of(count_for_ever), use)


def test_seconds_are_told_in_milliseconds() -> None:
    outcome = Outcome(kind_of(count), Counted(1), 0.1234567)
    assert json.loads(as_json(outcome.to_dict()))["seconds"] == 0.123
