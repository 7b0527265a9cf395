"""One job at a time, told of line by line, and stopped on request."""

from collections.abc import Callable

import anyio
import pytest

from stowkenfs.control.jobs import PAST_MAX, Jobs, JobsFile
from stowkenfs.errors import BadRequest, JobCancelled, JobRunning
from tests.running import BACKENDS, run

Progress = Callable[[int, int], None]


@pytest.mark.parametrize("backend", BACKENDS)
def test_cancelling_ends_the_job_before_it_returns(backend) -> None:
    ended: list[str] = []

    async def job(progress: Progress) -> None:
        progress(1, 4)
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cleaned up")

    async def main() -> tuple[Jobs, str]:
        jobs = Jobs()

        async def requester() -> None:
            with pytest.raises(JobCancelled):
                await jobs.run("compact", job)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(requester)
            await anyio.wait_all_tasks_blocked()
            during = jobs.list()
            await jobs.cancel()
            assert ended == ["cleaned up"]
            assert jobs.running is None
        return jobs, during

    jobs, during = run(backend, main)
    assert during.startswith("running: compact, since 2")
    assert during.endswith(", 25.0 %\n")
    lines = jobs.list().splitlines()
    assert lines[0] == "running: none"
    assert lines[1].startswith("past: compact, since ")
    assert ", cancelled after 0." in lines[1]
    assert "compact: cancelled after" in jobs.text()


def test_a_job_that_ends_in_spite_of_it_is_done() -> None:
    async def main() -> str:
        jobs = Jobs()

        async def job(_: Progress) -> str:
            jobs.stop()
            return "result"

        assert await jobs.run("verify", job) == "result"
        return jobs.list()

    assert ", done after " in run("trio", main)


def test_an_outer_end_is_no_cancelled_job() -> None:
    """When the mount stops, what stops the job is not answered as a request would be."""

    async def job(_: Progress) -> None:
        await anyio.sleep_forever()

    async def main() -> Jobs:
        jobs = Jobs()
        with anyio.move_on_after(0.01) as scope:
            await jobs.run("verify", job)
        assert scope.cancelled_caught
        return jobs

    jobs = run("trio", main)
    assert ", stopped after " in jobs.list()


def test_one_at_a_time() -> None:
    async def main() -> None:
        jobs = Jobs()

        async def other(_: Progress) -> None:
            raise AssertionError("must not run")

        async def job(_: Progress) -> None:
            with pytest.raises(JobRunning, match="verify is running"):
                await jobs.run("compact", other)

        await jobs.run("verify", job)
        await jobs.run("verify", job)

    run("trio", main)


def test_failures_are_told_and_raised() -> None:
    async def job(_: Progress) -> None:
        raise OSError(28, "No space left on device")

    async def main() -> Jobs:
        jobs = Jobs()
        with pytest.raises(OSError, match="No space"):
            await jobs.run("compact", job)
        return jobs

    jobs = run("trio", main)
    assert "compact: stopped after 0.0 s: [Errno 28] No space left on device" in jobs.text()
    assert jobs.running is None


def test_without_a_job_there_is_nothing_to_cancel() -> None:
    async def main() -> None:
        jobs = Jobs()
        jobs.stop()
        with pytest.raises(BadRequest, match="no job is running"):
            await JobsFile(jobs).act(b"cancel\n")
        with pytest.raises(BadRequest, match="write cancel"):
            await JobsFile(jobs).act(b"1\n")

    run("trio", main)


def test_the_past_is_bounded_and_newest_first() -> None:
    async def job(_: Progress) -> None:
        pass

    async def main() -> str:
        jobs = Jobs()
        for number in range(PAST_MAX + 5):
            await jobs.run(f"job{number}", job)
        return jobs.list()

    lines = run("trio", main).splitlines()
    assert len(lines) == 1 + PAST_MAX
    assert lines[1].startswith(f"past: job{PAST_MAX + 4},")
