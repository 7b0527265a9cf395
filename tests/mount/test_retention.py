"""``.stowken/retention``: which files of folders go by themselves."""

import errno
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.mount.conftest import SOON, MakeMount
from tests.mount.mounted import Mount, cli_command, environment, listed
from tests.mount.test_jobs import ask, shown

DAY = 86400


def put(folder: Path, name: str, days_old: float = 0, content: bytes = b"0123456789") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    age(path, days_old)
    return path


def age(path: Path, days_old: float) -> None:
    then = time.time() - days_old * DAY
    os.utime(path, (then, then))


def let_lie(mount: Mount) -> None:
    """Return when what was written last counts as left alone."""
    mount.wait_sealed()
    time.sleep(0.25)  # SOON


def applied(mount: Mount) -> dict[str, object]:
    assert ask(mount, "retention", "apply") == 0, shown(mount, "retention")
    last = json.loads(shown(mount, "retention.json"))["last"]
    assert isinstance(last, dict)
    return last


def wait_gone(path: Path) -> None:
    """Return when the kernel knows that a file is gone: a thread tells it."""
    deadline = time.monotonic() + 20
    while path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        cli_command("retention", *words),
        capture_output=True, text=True, check=False, timeout=60, env=environment(),
    )  # fmt: skip


def test_files_of_age_go(mount: Mount) -> None:
    sessions = mount.path / "sessions"
    for name, days in (("old", 31), ("new", 29), ("deep/old", 40)):
        put((sessions / name).parent, Path(name).name, days)
    let_lie(mount)
    assert ask(mount, "retention", "sessions/ max-age=30d") == 0
    page = shown(mount, "retention")
    assert (
        "sessions/ max-age=30d\n  would remove now: 2 files, 20 B\n    /sessions/deep/old" in page
    )
    assert (mount.control / "retention").stat().st_size == len(page.encode())
    planned = json.loads(shown(mount, "retention.json"))
    assert planned["last"] is None
    assert planned["policies"][0]["oldest"] == ["/sessions/deep/old", "/sessions/old"]

    assert listed(sessions) == ["deep", "new", "old"]
    assert applied(mount)["files"] == 2
    assert listed(sessions) == ["deep", "new"]
    wait_gone(sessions / "old")
    assert "2 files removed, 20 B" in shown(mount, "retention")
    assert "nothing to remove" in shown(mount, "retention")


def test_the_kernel_is_told(mount: Mount) -> None:
    """It keeps what it knows for an hour: names, attributes, and content of open files."""
    folder = mount.path / "s"
    gone, held = put(folder, "gone", 40), put(folder, "held", 40)
    twice = put(folder, "twice", 40)
    other = mount.path / "other"
    os.link(twice, other)
    put(folder, "new")
    let_lie(mount)
    before = folder.stat()
    assert other.stat().st_nlink == 2
    with held.open("rb") as file:  # open: it stays
        assert gone.read_bytes() == file.read() == b"0123456789"
        assert ask(mount, "retention", "s max-age=30d") == 0
        assert applied(mount)["files"] == 2
        wait_gone(gone)
        wait_gone(twice)
        assert other.stat().st_nlink == 1
        assert listed(folder) == ["held", "new"]
        assert folder.stat().st_mtime_ns > before.st_mtime_ns
        assert "waiting, being open or not sealed yet: 1 file" in shown(mount, "retention")
    assert other.read_bytes() == b"0123456789"
    put(folder, "gone", 0, b"anew")
    assert gone.read_bytes() == b"anew"
    assert applied(mount)["files"] == 1
    assert listed(folder) == ["gone", "new"]


def test_a_mount_applies_them_by_itself(make_mount: MakeMount) -> None:
    mount = make_mount(f"{SOON},retention=0.2")
    folder = mount.path / "checkpoints"
    folder.mkdir()
    assert ask(mount, "retention", "checkpoints/ keep=5") == 0
    for step in range(12):
        path = folder / f"step_{step}.bin"
        (folder / "tmp").write_bytes(b"%d" % step)
        (folder / "tmp").rename(path)
        age(path, 12 - step)
    deadline = time.monotonic() + 20
    while len(listed(folder)) > 5:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert sorted(listed(folder)) == sorted(f"step_{step}.bin" for step in range(7, 12))
    page = shown(mount, "retention")
    assert re.search(r"removed since the vault was mounted: 7 files, \d+ B$", page, re.MULTILINE)


def test_not_by_itself_where_that_is_said(make_mount: MakeMount) -> None:
    mount = make_mount(f"{SOON},retention=0")
    put(mount.path / "s", "old", 40)
    let_lie(mount)
    assert ask(mount, "retention", "s max-age=30d") == 0
    time.sleep(0.5)
    assert listed(mount.path / "s") == ["old"]


def test_drafts_stay(make_mount: MakeMount) -> None:
    """What is not sealed yet is too young to go, whatever its mtime says."""
    mount = make_mount("seal_after=3600")
    put(mount.path / "s", "old", 40)
    assert ask(mount, "retention", "s max-age=30d") == 0
    last = applied(mount)
    assert (last["files"], last["folders"][0]["waiting"]) == (0, 1)  # type: ignore[index]
    assert listed(mount.path / "s") == ["old"]


def test_names_of_all_kinds(mount: Mount) -> None:
    names = [
        b"with blank",
        b"line\nfeed",
        b"\xff\xfe",
        b"100%",
        b"keep=5",
        b"date=2026",
        "ä".encode(),
    ]
    for name in names:
        put(Path(os.fsdecode(os.fsencode(mount.path) + b"/" + name)), "old", 40)
    let_lie(mount)
    lines = [
        "with blank/ max-age=30d", "line%0Afeed max-age=30d", "%FF%FE/ max-age=30d",
        "100%25/ max-age=30d", "keep=5/ max-age=30d", "date=2026/ max-age=30d", "ä max-age=30d",
    ]  # fmt: skip
    assert ask(mount, "retention", "\n".join(lines)) == 0, shown(mount, "retention")
    page = shown(mount, "retention")
    for told in ("with%20blank/", "line%0Afeed/", "%FF%FE/", "100%25/", "keep=5/", "ä/"):
        assert f"{told} max-age=30d\n  would remove now: 1 file, 10 B\n" in page, page
    # What is shown can be written again.
    policies = [line for line in page.splitlines() if line.endswith("/ max-age=30d")]
    again = "\n".join(policies).replace("30d", "1d")
    assert ask(mount, "retention", again) == 0, shown(mount, "retention")
    assert shown(mount, "retention").count("/ max-age=1d\n") == 7
    with (mount.control / "retention").open("wb", buffering=0) as file:
        file.write(b"\xff\xfe/ none")  # as bytes, too
    assert shown(mount, "retention").count("/ max-age=1d\n") == 6
    assert applied(mount)["files"] == 6


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("absent/ keep=5", "there is no folder 'absent'; make it first"),
        ("../s keep=5", "without '..'"),
        ("s/.. keep=5", "without '..'"),
        ("s/file keep=5", "'file' is a file"),
        ("link keep=5", "'link' is a link"),
        (".stowken/ keep=5", "there is no folder"),
        ("s", "is not understood"),
        ("", "write a folder"),
        ("s keep=0", "keep is a whole number from 1 to 100,000"),
        ("s keep=-1", "keep is"),
        ("s max-age=0", "max-age is a number with s, m, h, d, w or y"),
        ("s max-age=0d", "max-age is"),
        ("s max-age=30", "max-age is"),
        ("s max-age=1e9d", "max-age is"),
        ("s keep=5 keep=6", "given twice"),
        ("s keep=5 shred=yes", "unknown word 'shred=yes'"),
        ("s none", "has no policy of its own"),
        ("s keep=5 none", "unknown word 'none'"),
        ("s keep=5\ns/ keep=6", "named twice"),
        ("s keep=5\nabsent keep=6", "there is no folder"),
        ("apply now", "is not understood"),
    ],
)
def test_what_is_refused(shared: Mount, words: str, reason: str) -> None:
    if not (shared.path / "s").exists():
        put(shared.path / "s", "file")
        (shared.path / "link").symlink_to("s")
    assert ask(shared, "retention", words) == errno.EINVAL
    assert reason in shown(shared, "retention").rpartition("refused: ")[2]
    assert "no folder has a policy yet" in shown(shared, "retention")


def test_nobody_sees_where_they_are_kept(mount: Mount) -> None:
    (mount.path / "s").mkdir()
    assert ask(mount, "retention", "s keep=5") == 0
    assert os.listxattr(mount.path) == []
    for act in (os.getxattr, os.removexattr):
        with pytest.raises(OSError) as failed:
            act(mount.path, "trusted.stowken.retention")
        assert failed.value.errno in (errno.ENODATA, errno.EPERM)
    with pytest.raises(OSError) as failed:
        os.setxattr(mount.path, "trusted.stowken.retention", b"1 keep=1\n")
    assert failed.value.errno == errno.EPERM
    assert "s/ keep=5" in shown(mount, "retention")


def test_survives_being_killed(mount: Mount) -> None:
    put(mount.path / "s", "old", 40)
    let_lie(mount)
    assert ask(mount, "retention", "s max-age=30d") == 0
    mount.crash()
    (mount.path / "s").rename(mount.path / "t")
    mount.crash()
    assert "t/ max-age=30d" in shown(mount, "retention")
    time.sleep(0.25)
    assert applied(mount)["files"] == 1
    mount.unmount()
    for path in mount.vault.glob("index.db*"):
        path.unlink()
    mount.start()
    assert "t/ max-age=30d" in shown(mount, "retention")
    assert ask(mount, "verify") == 0


def test_killed_in_the_middle_it_goes_on(mount: Mount) -> None:
    folder = mount.path / "s"
    for number in range(3000):
        put(folder, f"{number}", 40 if number % 3 else 1, b"%d" % number)
    let_lie(mount)
    assert ask(mount, "retention", "s max-age=30d") == 0
    asking = threading.Thread(target=ask, args=(mount, "retention", "apply"), daemon=True)
    asking.start()
    time.sleep(0.15)
    mount.kill()
    asking.join(20)
    mount.recover()
    time.sleep(0.25)
    left = set(listed(folder))
    young = {str(number) for number in range(0, 3000, 3)}
    assert young <= left
    assert applied(mount)["files"] == len(left - young)
    assert set(listed(folder)) == young
    assert all((folder / name).read_text() == name for name in list(young)[::50])
    assert ask(mount, "verify") == 0


def test_cancelled(make_mount: MakeMount) -> None:
    mount = make_mount(f"{SOON},retention=0")
    folder = mount.path / "s"
    for number in range(6000):
        put(folder, f"{number}", 40, b"%d" % number)
    let_lie(mount)
    assert ask(mount, "retention", "s max-age=30d") == 0
    codes: list[int] = []
    asking = threading.Thread(target=lambda: codes.append(ask(mount, "retention", "apply")))
    asking.start()
    while "running: retention" not in shown(mount, "jobs"):
        assert asking.is_alive()
    assert ask(mount, "retention", "s none") == errno.EBUSY
    assert ask(mount, "jobs", "cancel") == 0
    asking.join(20)
    assert codes == [errno.ECANCELED]
    assert "Cancelled after" in shown(mount, "retention")
    left = len(listed(folder))
    assert applied(mount)["files"] == left


def test_of_a_read_only_mount(make_mount: MakeMount) -> None:
    mount = make_mount(SOON)
    put(mount.path / "s", "old", 40)
    let_lie(mount)
    assert ask(mount, "retention", "s max-age=30d") == 0
    mount.unmount()
    mount.options = f"{SOON},ro,retention=0.1"
    mount.start()
    assert "would remove now: 1 file" in shown(mount, "retention")
    assert ask(mount, "retention", "apply") == errno.EROFS
    time.sleep(0.5)
    assert listed(mount.path / "s") == ["old"]


@pytest.mark.parametrize("mounted", [True, False])
def test_the_command(make_mount: MakeMount, mounted: bool) -> None:
    mount = make_mount(f"{SOON},retention=0")
    put(mount.path / "my sessions", "old", 40)
    put(mount.path / "my sessions", "new")
    let_lie(mount)
    if not mounted:
        mount.unmount()
        time.sleep(1.0)  # what a library's vault calls left alone
    target = mount.path if mounted else mount.vault

    def says(*words: str, code: int = 0) -> str:
        done = command(target, *words)
        assert done.returncode == code, done
        return done.stdout + done.stderr

    assert "no folder has a policy yet" in says()
    assert says("--set", "my sessions", "--max-age", "30d", "--keep", "7") == ""
    page = says()
    assert "my%20sessions/ max-age=30d keep=7\n  would remove now: 1 file, 10 B\n" in page
    assert "echo" not in page
    told = json.loads(says("--json"))["policies"][0]
    assert (told["files"], told["folder"]) == (1, "/my sessions")
    assert "1 file removed, 10 B" in says("--apply")
    assert json.loads(says("--apply", "--json"))["files"] == 0
    assert "there is no folder" in says("--set", "absent", "--keep", "1", code=2)
    assert "max-age is a number" in says("--set", "my sessions", "--max-age", "30", code=2)
    assert "has no policy" in says("--unset", "/", code=2)
    says("--apply", "--set", "x", "--keep", "1", code=2)
    says("--keep", "1", code=2)
    says("--set", "x", code=2)
    assert says("--set", "/my sessions/", "--versions", "3") == ""
    assert "my%20sessions/ versions=3\n  nothing to remove" in says()
    assert says("--unset", "my sessions/") == ""
    assert "no folder has a policy yet" in says()
    if not mounted:
        mount.start()
    assert listed(mount.path / "my sessions") == ["new"]


def test_reading_goes_on_meanwhile(make_mount: MakeMount) -> None:
    """While thousands of files are looked at and removed, others are answered at once."""
    mount = make_mount(f"{SOON},retention=0")
    files = int(os.environ.get("STOWKENFS_RETENTION_FILES", "4000"))
    folder = mount.path / "s"
    folder.mkdir()
    for number in range(files):
        put(folder, str(number), 40, b"")
    (mount.path / "other").write_bytes(b"x")
    let_lie(mount)
    assert ask(mount, "retention", "s max-age=30d") == 0
    asking = threading.Thread(target=ask, args=(mount, "retention", "apply"))
    asking.start()
    waits = list(_waits(mount.path, asking))
    asking.join()
    assert listed(folder) == []
    waits.sort()
    assert waits[len(waits) // 2] < 0.05
    assert mount.measure() < 512 << 10


def _waits(path: Path, working: threading.Thread) -> Iterable[float]:
    while working.is_alive():
        began = time.perf_counter()
        os.statvfs(path)  # always asks the daemon
        yield time.perf_counter() - began
        time.sleep(0.002)


def test_stopped_by_a_signal_in_the_middle(make_mount: MakeMount) -> None:
    mount = make_mount(f"{SOON},retention=0.05")
    folder = mount.path / "s"
    for number in range(2000):
        put(folder, str(number), 40, b"")
    assert ask(mount, "retention", "s max-age=30d") == 0
    time.sleep(0.3)
    mount.signal(signal.SIGTERM)
    assert mount.wait_gone() == 0
    mount.options = SOON
    mount.start()
    time.sleep(0.25)
    assert ask(mount, "retention", "apply") == 0
    assert listed(folder) == []
