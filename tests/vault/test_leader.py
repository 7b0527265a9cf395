"""Group commit: rounds, errors, cancellation."""

from collections.abc import Sequence

import anyio
import anyio.lowlevel
import pytest

from stowkenfs.vault.leader import Leader
from tests.running import BACKENDS, run

pytestmark = pytest.mark.parametrize("backend", BACKENDS)


class Rounds:
    """Notes what each round was given; a round ends when ``gate`` is open."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.gate = anyio.Event()
        self.errors: dict[int, BaseException] = {}
        self.running = 0

    async def process(self, items: Sequence[int]) -> list[int]:
        assert self.running == 0, "rounds follow each other"
        self.running += 1
        self.seen.append(list(items))
        await self.gate.wait()
        await anyio.lowlevel.checkpoint()
        self.running -= 1
        for item in items:
            if item in self.errors:
                raise self.errors[item]
        return [item * 10 for item in items]


async def submit_all(
    leader: "Leader[int, int]", items: Sequence[int], weight: int = 1
) -> dict[int, object]:
    found: dict[int, object] = {}

    async def one(item: int) -> None:
        try:
            found[item] = await leader.submit(item, weight)
        except Exception as error:  # noqa: BLE001 - compared by the test
            found[item] = error

    async with anyio.create_task_group() as tasks:
        for item in items:
            tasks.start_soon(one, item)
    return found


def test_those_who_wait_share_a_round(backend: str) -> None:
    async def main() -> None:
        rounds = Rounds()
        leader = Leader(rounds.process, weight_max=100)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leader.submit, 1)
            await anyio.wait_all_tasks_blocked()
            for item in (2, 3, 4):
                tasks.start_soon(leader.submit, item)
            await anyio.wait_all_tasks_blocked()
            rounds.gate.set()
        assert rounds.seen[0] == [1]
        assert sorted(rounds.seen[1]) == [2, 3, 4]
        assert len(rounds.seen) == 2

    run(backend, main)


def test_each_gets_its_own_result(backend: str) -> None:
    async def main() -> None:
        rounds = Rounds()
        rounds.gate.set()
        leader = Leader(rounds.process, weight_max=100)
        found = await submit_all(leader, range(30))
        assert found == {n: n * 10 for n in range(30)}
        assert await leader.submit(5) == 50

    run(backend, main)


def test_rounds_are_bounded_by_weight(backend: str) -> None:
    async def main() -> None:
        rounds = Rounds()
        rounds.gate.set()
        leader = Leader(rounds.process, weight_max=10)
        assert len(await submit_all(leader, range(9), weight=4)) == 9
        assert all(len(members) <= 2 for members in rounds.seen)
        assert len(await submit_all(leader, range(3), weight=50)) == 3

    run(backend, main)


def test_an_error_is_every_members_and_only_theirs(backend: str) -> None:
    async def main() -> None:
        rounds = Rounds()
        rounds.gate.set()
        error = OSError("no space")
        rounds.errors[3] = error
        leader = Leader(rounds.process, weight_max=2)
        found = await submit_all(leader, range(6))
        assert found[3] is error
        failed = next(members for members in rounds.seen if 3 in members)
        for item in range(6):
            assert found[item] == (error if item in failed else item * 10)
        assert await leader.submit(7) == 70

    run(backend, main)


def test_one_who_gives_up_waiting_takes_its_item_along(backend: str) -> None:
    async def main() -> None:
        rounds = Rounds()
        leader = Leader(rounds.process, weight_max=100)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leader.submit, 1)
            await anyio.wait_all_tasks_blocked()
            with anyio.move_on_after(0.01):
                await leader.submit(2)
            rounds.gate.set()
        assert rounds.seen == [[1]]

    run(backend, main)


def test_a_round_is_finished_when_its_leader_is_cancelled(backend: str) -> None:
    async def main() -> None:
        rounds = Rounds()
        leader = Leader(rounds.process, weight_max=100)
        found: list[int] = []
        first = anyio.CancelScope()

        async def lead() -> None:
            with first:
                await leader.submit(1)

        async def follow() -> None:
            found.append(await leader.submit(2))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lead)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(follow)
            await anyio.wait_all_tasks_blocked()
            first.cancel()
            await anyio.wait_all_tasks_blocked()
            rounds.gate.set()
        assert rounds.seen == [[1], [2]]
        assert found == [20]

    run(backend, main)


def test_a_member_that_is_cancelled_in_its_round_harms_nobody(backend: str) -> None:
    async def main() -> None:
        rounds = Rounds()
        leader = Leader(rounds.process, weight_max=100)
        scope = anyio.CancelScope()
        found: list[int] = []

        async def member(item: int) -> None:
            found.append(await leader.submit(item))

        async def leaving() -> None:
            with scope:
                await leader.submit(3)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(member, 1)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(member, 2)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(leaving)
            await anyio.wait_all_tasks_blocked()
            rounds.gate.set()
            await anyio.lowlevel.checkpoint()
            scope.cancel()
        assert sorted(found) == [10, 20]

    run(backend, main)


def test_an_interrupted_round_leaves_nobody_waiting(backend: str) -> None:
    async def main() -> None:
        rounds = Rounds()
        rounds.gate.set()
        rounds.errors[1] = SystemExit()
        leader = Leader(rounds.process, weight_max=100)
        found = []

        async def one(item: int) -> None:
            try:
                await leader.submit(item)
            except BaseException as error:  # noqa: BLE001 - compared by the test
                found.append(type(error))

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                for item in (1, 2, 3):
                    tasks.start_soon(one, item)
        assert SystemExit in found
        assert len(found) == 3

    run(backend, main)
