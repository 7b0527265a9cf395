"""Policies applied to a vault: what goes, and what never does."""

import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from stowkenfs.errors import BadRequest, InvalidName, NotADirectory, NotFound, NotPermitted
from stowkenfs.ids import ROOT_INODE
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.reindex.background import rebuild_index
from stowkenfs.vault.retention import policy as policies
from stowkenfs.vault.retention.policies import ATTRIBUTE
from stowkenfs.vault.retention.policy import NEVER, Policy
from stowkenfs.vault.vault import Vault
from tests.running import run

DAY = 86400
NOW = 1_800_000_000
NANO = 1_000_000_000
MONTH = Policy(max_age_seconds=30 * DAY)


class Clock:
    """``seconds`` since 1970; set it as you like."""

    def __init__(self) -> None:
        self.seconds = float(NOW)

    def __call__(self) -> int:
        return int(self.seconds * NANO)


@asynccontextmanager
async def opened(directory: Path, clock: Clock | None = None) -> AsyncIterator[Vault]:
    async with Vault.open(directory, VaultConfig(), clock=clock or Clock()) as vault:
        yield vault


async def put(vault: Vault, path: str, days_old: float = 0, size: int = 10) -> None:
    """A sealed file, written long enough ago that it counts as left alone."""
    clock = vault._clock
    assert isinstance(clock, Clock)
    content = os.urandom(size)
    clock.seconds -= 60
    mtime_ns = int((NOW - days_old * DAY) * NANO)
    await vault.write_document(path.encode(), content, mtime_ns=mtime_ns)
    clock.seconds += 60


async def files(vault: Vault) -> list[str]:
    found = [path async for path, inode in vault.walk() if not stat.S_ISDIR(inode.mode)]
    return sorted(path.decode("utf-8", "backslashreplace") for path in found)


def test_files_of_age_go(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "v") as vault:
            for name, days in (("a", 31), ("b", 29), ("deep/er/c", 40), ("d", 30.001)):
                await put(vault, f"/sessions/{name}", days)
            await put(vault, "/other", 1000)
            await vault.retention.set({b"sessions/": MONTH})
            before = await files(vault)
            planned = await vault.retention.plan()
            assert await files(vault) == before
            (folder,) = planned.folders
            assert (folder.files, folder.size_bytes, folder.waiting) == (3, 30, 0)
            oldest = [b"/sessions/deep/er/c", b"/sessions/a", b"/sessions/d"]
            assert folder.oldest == oldest
            done = await vault.retention.apply()
            assert [f.to_dict() for f in done.folders] == [f.to_dict() for f in planned.folders]
            assert await files(vault) == ["/other", "/sessions/b"]
            assert (await vault.retention.apply()).files == 0

    run("trio", main)


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_the_newest_stay_by_time_then_natural_order(tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        async with opened(tmp_path / "v") as vault:
            for number in (2, 10, 9, 100, 1):  # all of one time
                await put(vault, f"/checkpoints/c_{number}.bin", 1)
            await put(vault, "/checkpoints/newest", 0)
            await put(vault, "/checkpoints/oldest", 9)
            for name in "abc":
                await put(vault, f"/checkpoints/run/{name}", 9)
            await vault.retention.set({b"checkpoints": Policy(keep=3)})
            report = await vault.retention.apply()
            assert report.files == 4
            assert report.folders[0].oldest == [
                b"/checkpoints/oldest",
                b"/checkpoints/c_1.bin",
                b"/checkpoints/c_2.bin",
                b"/checkpoints/c_9.bin",
            ]
            below = ["/checkpoints/run/a", "/checkpoints/run/b", "/checkpoints/run/c"]
            assert await files(vault) == [
                "/checkpoints/c_10.bin",
                "/checkpoints/c_100.bin",
                "/checkpoints/newest",
                *below,
            ]

    run(backend, main)


def test_with_both_either_is_enough(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "v") as vault:
            for days in (1, 2, 3, 40):
                await put(vault, f"/f/{days}", days)
            await vault.retention.set({b"f": Policy(max_age_seconds=30 * DAY, keep=2)})
            await vault.retention.apply()
            assert await files(vault) == ["/f/1", "/f/2"]
            await vault.retention.set({b"f": Policy(max_age_seconds=36 * 3600, keep=2)})
            await vault.retention.apply()
            assert await files(vault) == ["/f/1"]

    run("trio", main)


def test_of_folders_in_one_another_the_nearest_age_counts(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "v") as vault:
            for place in ("", "/short", "/long", "/ever", "/kept"):
                for days in (2, 40):
                    await put(vault, f"/s{place}/{days}", days)
            await vault.retention.set(
                {
                    b"s": MONTH,
                    b"s/short": Policy(max_age_seconds=DAY),
                    b"s/long": Policy(max_age_seconds=90 * DAY),
                    b"s/ever": Policy(max_age_seconds=NEVER),
                    b"s/kept": Policy(keep=1),
                }
            )
            report = await vault.retention.apply()
            assert await files(vault) == [
                "/s/2", "/s/ever/2", "/s/ever/40", "/s/kept/2", "/s/long/2", "/s/long/40"
            ]  # fmt: skip
            counts = {folder.path: folder.files for folder in report.folders}
            assert counts == {
                b"/s": 2, b"/s/ever": 0, b"/s/kept": 0, b"/s/long": 0, b"/s/short": 2
            }  # fmt: skip

    run("trio", main)


def test_all_of_a_vault_may_have_a_policy(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "v") as vault:
            await put(vault, "/a/b", 40)
            await put(vault, "/c", 40)
            await put(vault, "/d", 1)
            await vault.retention.set({b"/": MONTH})
            await vault.retention.apply()
            assert await files(vault) == ["/d"]

    run("trio", main)


def test_what_is_in_use_stays_and_does_not_count(tmp_path: Path) -> None:
    """Open, a draft, or changed a moment ago: each waits, whatever its mtime says."""

    async def main() -> None:
        clock = Clock()
        async with opened(tmp_path / "v", clock) as vault:
            await put(vault, "/s/open", 40)
            await put(vault, "/s/drafted", 40)
            await put(vault, "/s/kept", 1)
            opened_ino = vault.tree.resolve(b"/s/open").ino
            drafted = vault.tree.resolve(b"/s/drafted").ino
            vault.files.acquire(opened_ino, writing=False)
            vault.files.acquire(drafted, writing=True)
            vault.files.write(drafted, 0, b"x")
            vault.files.release(drafted, writing=True)
            vault.tree.set_attributes(drafted, mtime_ns=0)
            clock.seconds += 60
            await vault.retention.set({b"s": Policy(max_age_seconds=30 * DAY, keep=1)})
            report = await vault.retention.apply()
            assert (report.files, report.folders[0].waiting) == (0, 2)
            assert await files(vault) == ["/s/drafted", "/s/kept", "/s/open"]

            vault.files.release(opened_ino, writing=False)
            await vault.sealer.seal_due(everything=True)
            clock.seconds += 60
            vault.tree.set_attributes(drafted, mode=0o600)  # just now
            assert (await vault.retention.apply()).files == 1
            assert await files(vault) == ["/s/drafted", "/s/kept"]
            clock.seconds += 60
            assert (await vault.retention.apply()).files == 1

    run("trio", main)


def test_a_clock_that_is_set_back(tmp_path: Path) -> None:
    """Files of a time to come are not old; those of which ctime is one do not wait for it."""

    async def main() -> None:
        clock = Clock()
        async with opened(tmp_path / "v", clock) as vault:
            await put(vault, "/s/future", -1000)
            await put(vault, "/s/past", 40)
            clock.seconds -= 5 * DAY
            await vault.retention.set({b"s": MONTH})
            await vault.retention.apply()
            assert await files(vault) == ["/s/future"]

    run("trio", main)


def test_links_and_what_is_no_file(tmp_path: Path) -> None:
    """A symbolic link is not followed, and stays; of a hard link one name goes."""

    async def main() -> None:
        clock = Clock()
        async with opened(tmp_path / "v", clock) as vault:
            await put(vault, "/outside/old", 40)
            await put(vault, "/s/two", 40)
            tree = vault.tree
            s, outside = tree.resolve(b"/s").ino, tree.resolve(b"/outside").ino
            tree.create(s, b"link", stat.S_IFLNK | 0o777, 0, 0, target=b"../outside")
            tree.create(s, b"pipe", stat.S_IFIFO | 0o600, 0, 0)
            for name in (b"link", b"pipe"):
                tree.set_attributes(tree.resolve(b"/s/" + name).ino, mtime_ns=0)
            tree.link(tree.resolve(b"/s/two").ino, outside, b"too")
            clock.seconds += 60
            await vault.retention.set({b"s": Policy(max_age_seconds=30 * DAY, keep=1)})
            report = await vault.retention.apply()
            assert (report.files, report.size_bytes) == (1, 0)
            assert await files(vault) == ["/outside/old", "/outside/too", "/s/link", "/s/pipe"]
            assert tree.resolve(b"/outside/too").nlink == 1

    run("trio", main)


def test_a_policy_stays_with_its_folder_and_goes_with_it(tmp_path: Path) -> None:
    async def main() -> None:
        directory = tmp_path / "v"
        async with opened(directory) as vault:
            await put(vault, "/old name/f", 40)
            await put(vault, "/gone/f", 40)
            await vault.retention.set({b"old name": MONTH, b"gone": MONTH})
            vault.tree.rename(ROOT_INODE, b"old name", ROOT_INODE, b"new\nname\xff")
            gone = vault.tree.resolve(b"/gone").ino
            vault.tree.unlink(gone, b"f")
            vault.tree.rmdir(ROOT_INODE, b"gone")
            vault.make_directories(b"/gone")  # another folder of that name
        async with opened(directory) as vault:
            assert [path for path, _, _ in vault.retention.policies()] == [b"/new\nname\xff"]
            await vault.retention.apply()
            assert await files(vault) == []
            await vault.retention.set({b"new\nname\xff": None})
            assert list(vault.retention.policies()) == []
            assert vault.tree.xattr_names(ROOT_INODE) == []

    run("trio", main)


@pytest.mark.parametrize("compacted", [False, True])
def test_policies_come_back_from_packs(tmp_path: Path, compacted: bool) -> None:
    async def main() -> None:
        directory = tmp_path / "v"
        async with opened(directory) as vault:
            await put(vault, "/s/f", 40)
            await put(vault, "/c/f", 40)
            await vault.retention.set({b"s": MONTH, b"c": Policy(keep=5)})
            if compacted:
                await vault.compact()
        (directory / "index.db").unlink()
        await rebuild_index(directory)
        async with opened(directory) as vault:
            stated = [(path, policy) for path, _, policy in vault.retention.policies()]
            assert stated == [(b"/c", Policy(keep=5)), (b"/s", MONTH)]
            assert (await vault.retention.apply()).files == 1

    anyio.run(main, backend="trio")


def test_what_cannot_have_a_policy(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "v") as vault:
            await put(vault, "/s/f")
            vault.tree.create(ROOT_INODE, b"l", stat.S_IFLNK | 0o777, 0, 0, target=b"s")
            for path, error in (
                (b"absent", NotFound),
                (b"s/f", NotADirectory),
                (b"l", NotADirectory),
                (b"l/", NotADirectory),
                (b"s/..", InvalidName),
                (b"../s", InvalidName),
                (b"x" * 300, Exception),
            ):
                with pytest.raises(error):
                    await vault.retention.set({b"s": MONTH, path: MONTH})
                assert list(vault.retention.policies()) == [], "all or none"
            with pytest.raises(NotPermitted):
                await vault.retention.set({b"s": None})

    run("trio", main)


def test_there_is_an_end_to_policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(policies, "POLICIES_MAX", 2)
        monkeypatch.setattr("stowkenfs.vault.retention.policies.POLICIES_MAX", 2)
        async with opened(tmp_path / "v") as vault:
            for name in (b"a", b"b", b"c"):
                vault.make_directories(name)
            await vault.retention.set({b"a": MONTH, b"b": MONTH})
            with pytest.raises(BadRequest):
                await vault.retention.set({b"c": MONTH})
            await vault.retention.set({b"a": None, b"c": MONTH})

    run("trio", main)


def test_what_a_later_release_states_is_not_applied(tmp_path: Path) -> None:
    async def main() -> None:
        directory = tmp_path / "v"
        async with opened(directory) as vault:
            await put(vault, "/s/f", 40)
            ino = vault.tree.resolve(b"/s").ino
            stated = b"%d max-age=1d unless=moon\n" % ino
            vault.tree.set_xattr(ROOT_INODE, ATTRIBUTE, stated, create=True, replace=False)
        async with opened(directory) as vault:
            report = await vault.retention.apply()
            assert report.files == 0
            assert "later release" in report.problems[0]
            assert await files(vault) == ["/s/f"]

    run("trio", main)


def test_cancelled_in_the_middle_it_goes_on_later(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "v") as vault:
            for number in range(50):
                await put(vault, f"/s/{number}", 40)
            await vault.retention.set({b"s": MONTH})
            with anyio.CancelScope() as scope:

                def progress(done: int, total: int) -> None:
                    assert total == 500
                    if done >= 100:
                        scope.cancel()

                # Each file lets others have their turn, so that the end comes soon.
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr("stowkenfs.vault.retention.applying.SLICE_SECONDS", 0.0)
                    await vault.retention.apply(progress)
            assert scope.cancelled_caught
            assert len(await files(vault)) == 40
            assert (await vault.retention.apply()).files == 40

    run("trio", main)


def test_a_file_opened_or_a_policy_gone_in_between(tmp_path: Path) -> None:
    """What is true when a file is looked at may not be when its turn comes."""

    async def main() -> None:
        async with opened(tmp_path / "v") as vault:
            for number in range(4):
                await put(vault, f"/s/{number}", 40)
            await vault.retention.set({b"s": MONTH})
            left: list[bytes] = []

            def told(_directory: object, name: bytes, _inode: object) -> None:
                assert type(name) is bytes, "the kernel's side takes nothing else"
                left.append(name)
                if len(left) == 1:
                    vault.files.acquire(vault.tree.resolve(b"/s/1").ino, writing=False)
                if len(left) == 2:
                    vault.tree.rename(ROOT_INODE, b"s", ROOT_INODE, b"t")
                    vault.retention._policies.change({vault.tree.resolve(b"/t").ino: None})

            vault.retention.told = told
            assert (await vault.retention.apply()).files == 2
            assert left == [b"0", b"2"]
            assert await files(vault) == ["/t/1", "/t/3"]
            vault.files.release(vault.tree.resolve(b"/t/1").ino, writing=False)

    run("trio", main)


def test_a_folder_moved_away_in_between(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "v") as vault:
            await put(vault, "/s/0", 40)
            await put(vault, "/s/sub/1", 40)
            await put(vault, "/s/sub/2", 40)
            await vault.retention.set({b"s": MONTH})
            s = vault.tree.resolve(b"/s").ino

            def told(_directory: object, name: bytes, _inode: object) -> None:
                if name == b"1":
                    vault.tree.rename(s, b"sub", ROOT_INODE, b"rescued")

            vault.retention.told = told
            await vault.retention.apply()
            assert await files(vault) == ["/rescued/2"]

    run("trio", main)
