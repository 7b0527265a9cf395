"""Kills at random moments, amid every kind of change; each promise is looked at byte for byte."""

import errno
import json
import os
import random
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.mount.conftest import MakeMount
from tests.mount.mounted import Mount, children, detach, environment
from tests.mount.promising import GONE, Promising
from tests.mount.test_jobs_killed import Request, drift, write_files

ROUNDS = int(os.environ.get("STOWKENFS_CRASH_ROUNDS", "1"))
WRITERS = int(os.environ.get("STOWKENFS_WRITERS", "3"))
WHILE = ("sealing", "compact", "gc", "reindex", "umount", "start")
OPTIONS = "seal_after=0.1,workers=1"
ORPHAN_SECONDS = 3.0


def crowd(mount: Mount, at: int) -> list[Promising]:
    """Writers in folders of their own, begun."""
    return [
        Promising(mount.path / f"{at} {number}", mount.path.parent / f"notes {at} {number}", number)
        for number in range(WRITERS)
    ]


def kill_amid(mount: Mount, what: str, chance: random.Random) -> None:
    """Kill the daemon while it does ``what``; nothing is mounted then."""
    request = None
    if what in ("compact", "gc", "reindex"):
        request = Request(mount, what, "1")
    elif what == "umount":
        subprocess.run(["fusermount3", "-uz", mount.path], check=True)
    if what != "start":
        time.sleep(chance.random())
    mount.kill()
    detach(mount.path)
    if request is not None:
        request.join(20)
    for _ in range(2 if what == "start" else 0):
        starting = subprocess.Popen(
            mount.command(), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(chance.random())
        starting.kill()
        starting.wait()
        detach(mount.path)


@pytest.mark.parametrize("what", WHILE)
def test_promises_hold_after_a_kill(make_mount: MakeMount, what: str, say) -> None:
    chance = random.Random(f"{what} {ROUNDS}")
    mount = make_mount(OPTIONS)
    kept: list[Promising] = []
    slowest = 0.0
    promises = 0
    for at in range(ROUNDS):
        writers = crowd(mount, at)
        time.sleep(0.3 + 0.4 * chance.random())
        kill_amid(mount, what, chance)
        for writer in writers:
            writer.end()
        began = time.monotonic()
        mount.start()
        slowest = max(slowest, time.monotonic() - began)
        kept = (kept + writers)[-4 * WRITERS :]
        for writer in kept:
            writer.check()
        promises += sum(writer.count() for writer in writers)
        (mount.control / "verify").write_text("1\n")
        assert json.loads((mount.control / "verify.json").read_text())["clean"]
    assert promises, "nothing was promised"
    peak = mount.measure() // 1024
    say(
        f"{what}: {ROUNDS} kills, {promises} promises, 0 broken; "
        f"mounted in {slowest:.1f} s, {peak} MiB"
    )


def test_what_a_check_finds(tmp_path: Path) -> None:
    """The check of promises fails where one is broken."""
    folder = tmp_path / "folder"
    writer = Promising(folder, tmp_path / "notes", 1)
    deadline = time.monotonic() + 20
    while writer.count() < 30 and time.monotonic() < deadline:
        time.sleep(0.02)
    writer.end()
    writer.check()
    names = [name for name, digest in writer.promised().items() if digest != GONE]
    victim = folder / names[0]
    content = victim.read_bytes()
    victim.write_bytes(content[:-1])
    with pytest.raises(AssertionError):
        writer.check()
    victim.unlink()
    with pytest.raises(AssertionError):
        writer.check()


# Worker processes


def files_to_compact(mount: Mount) -> dict[Path, bytes]:
    files = write_files(mount.path / "chats", 0, 60)
    mount.wait_sealed(60)
    return files


def kill_workers(mount: Mount, over: threading.Event, killed: list[int]) -> None:
    while not over.wait(0.05):
        for worker in children(mount.pid):
            with suppress(OSError):
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)


def is_zombie(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False


@pytest.mark.parametrize("name", ["compact", "train/dictionary"])
def test_a_job_whose_workers_are_killed_says_so(make_mount: MakeMount, name: str) -> None:
    mount = make_mount("seal_after=0,workers=1")
    files = files_to_compact(mount)
    over = threading.Event()
    killed: list[int] = []
    killer = threading.Thread(target=kill_workers, args=(mount, over, killed))
    killer.start()
    try:
        with pytest.raises(OSError, match="allocate") as refused:
            (mount.control / name).write_text("1\n")
        assert refused.value.errno == errno.ENOMEM
    finally:
        over.set()
        killer.join()
    assert len(killed) >= 2
    assert "two worker processes died" in (mount.control / name).read_text()
    (mount.control / name).write_text("1\n")  # nobody kills any more
    assert not any(is_zombie(child) for child in children(mount.pid))
    for path, content in files.items():
        assert path.read_bytes() == content
    assert "Traceback" not in mount.log()


def test_one_worker_that_is_killed_costs_a_second_try(make_mount: MakeMount) -> None:
    mount = make_mount("seal_after=0,workers=1")
    mount.expected = ["a worker process died"]
    files_to_compact(mount)
    request = Request(mount, "compact", "1")
    deadline = time.monotonic() + 20
    while request.is_alive() and time.monotonic() < deadline:
        workers = children(mount.pid)
        if workers:
            with suppress(OSError):
                os.kill(workers[0], signal.SIGKILL)
            break
    request.join(60)
    report = json.loads((mount.control / "compact.json").read_text())
    assert report["failure"] is None


def test_workers_end_with_the_daemon(make_mount: MakeMount) -> None:
    """Also amid work that would take them much longer."""
    mount = make_mount("seal_after=0,workers=1")
    for at in range(8):
        (mount.path / f"{at}.json").write_bytes(b"[" + b",".join([drift(at, 40)] * 60) + b"]")
    mount.wait_sealed(60)
    request = Request(mount, "compact", "level=22")
    deadline = time.monotonic() + 20
    while not children(mount.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(1.0)  # it has begun
    workers = children(mount.pid)
    mount.kill()
    deadline = time.monotonic() + ORPHAN_SECONDS
    left = workers
    while left and time.monotonic() < deadline:
        left = [one for one in left if Path(f"/proc/{one}").exists() and not is_zombie(one)]
        time.sleep(0.05)
    assert not left
    request.join(10)
    mount.start()
