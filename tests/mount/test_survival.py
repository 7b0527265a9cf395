"""What was acknowledged is there after the daemon was killed, at whatever moment."""

import contextlib
import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.documents.corpora import CORPORA
from tests.mount.conftest import SOON, MakeMount
from tests.mount.mounted import (
    ROOT,
    Mount,
    children,
    cli_command,
    detach,
    environment,
    has_cli,
    listed,
    run,
)

KILL_ROUNDS = int(os.environ.get("STOWKENFS_KILL_ROUNDS", "2"))
LINES = [
    json.dumps({"role": "user" if at % 2 else "assistant", "content": f"line {at} " + "ü x" * at})
    for at in range(200)
]
LOG = "".join(f"{line}\n" for line in LINES).encode()


def sealed_file(mount: Mount, name: str, content: bytes) -> Path:
    """A file whose content is records already."""
    path = mount.path / name
    path.write_bytes(content)
    mount.wait_sealed()
    return path


# One change, then a kill


def write_new(mount: Mount) -> None:
    (mount.path / "new").write_bytes(LOG)


def append_sealed(mount: Mount) -> None:
    with (mount.path / "log.jsonl").open("ab", buffering=0) as log:
        log.write(b'{"role": "user", "content": "one more"}\n')
        log.write(b'{"role": "user", "content": "and half a li')


def overwrite_middle(mount: Mount) -> None:
    with (mount.path / "log.jsonl").open("r+b", buffering=0) as log:
        for position in (5000, 100, 5003, 9000):
            log.seek(position)
            log.write(b"OVERWRITTEN" * 20)


def rename_over(mount: Mount) -> None:
    (mount.path / "log.jsonl").rename(mount.path / "other.json")


def truncate_middle(mount: Mount) -> None:
    os.truncate(mount.path / "log.jsonl", 4321)
    os.truncate(mount.path / "other.json", 0)


def truncate_and_extend(mount: Mount) -> None:
    os.truncate(mount.path / "log.jsonl", 1234)
    os.truncate(mount.path / "log.jsonl", 99_999)


def truncate_and_write(mount: Mount) -> None:
    with (mount.path / "log.jsonl").open("r+b", buffering=0) as log:
        log.truncate(777)
        log.seek(5000)
        log.write(b"beyond a hole")


def unlink_one(mount: Mount) -> None:
    (mount.path / "log.jsonl").unlink()


def replace_by_rename(mount: Mount) -> None:
    temporary = mount.path / "other.json.tmp"
    temporary.write_bytes(b'{"messages": []}\n')
    temporary.rename(mount.path / "other.json")


def make_tree(mount: Mount) -> None:
    (mount.path / "a" / "b").mkdir(parents=True)
    (mount.path / "a" / "link").symlink_to("../log.jsonl")
    os.link(mount.path / "log.jsonl", mount.path / "a" / "b" / "second")
    os.setxattr(mount.path / "log.jsonl", "user.colour", b"\x00blue")
    (mount.path / "a").chmod(0o2750)
    os.utime(mount.path / "other.json", ns=(1_234_567_891, 1_987_654_321))


def content_of(mount: Mount) -> dict[str, object]:
    """Everything that can be seen, but change times."""
    seen: dict[str, object] = {}
    for path in sorted(mount.path.rglob("*")):
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = path.read_bytes()
        attributes = {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)
            if not name.startswith("user.stowken.")
        }
        seen[str(path.relative_to(mount.path))] = (
            status.st_ino,
            oct(status.st_mode),
            status.st_nlink,
            status.st_size,
            content,
            attributes,
        )
    return seen


CHANGES: tuple[Callable[[Mount], None], ...] = (
    write_new,
    append_sealed,
    overwrite_middle,
    rename_over,
    truncate_middle,
    truncate_and_extend,
    truncate_and_write,
    unlink_one,
    replace_by_rename,
    make_tree,
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_that_returned_survives_a_kill(make_mount: MakeMount, change) -> None:
    mount = make_mount("seal_after=60" if change is write_new else SOON)
    if change is not write_new:
        sealed_file(mount, "log.jsonl", LOG)
        sealed_file(mount, "other.json", json.dumps({"messages": [{"role": "user"}]}).encode())
    change(mount)
    before = content_of(mount)
    mount.options = SOON
    mount.crash()
    assert content_of(mount) == before
    mount.wait_sealed(20)
    assert content_of(mount) == before
    mount.remount()
    assert content_of(mount) == before
    (mount.control / "verify").write_text("1\n")


def test_an_open_file_without_a_name_is_gone_after_a_kill(mount: Mount) -> None:
    path = sealed_file(mount, "doomed", LOG)
    with path.open("r+b", buffering=0) as doomed:
        doomed.write(b"x" * 1000)
        path.unlink()
        doomed.seek(0)
        assert doomed.read(1000) == b"x" * 1000
        mount.kill()
    mount.recover()
    assert listed(mount.path) == []
    mount.unmount()
    assert listed(mount.vault / "drafts") == []


# Kills at random moments


def corpus_lines(count: int) -> list[bytes]:
    """Lines of a real log where the corpora are, else made-up ones."""
    if (CORPORA / "inspect-logs.tar.zst").is_file():
        unpack = subprocess.run(
            f"zstd -dcq --long=27 {CORPORA}/hh-harmless.tar.zst | tar -xOf -",
            shell=True,
            capture_output=True,
            check=False,
        )
        if unpack.returncode == 0:
            return unpack.stdout.splitlines(keepends=True)[:count]
    chance = random.Random(count)
    return [
        json.dumps({"content": f"{at} " + chance.randbytes(chance.randint(1, 900)).hex()}).encode()
        + b"\n"
        for at in range(count)
    ]


def append_lines(
    path: Path, notes: Path, lines: list[bytes], start: int, pause: float, *, reopen: bool
) -> None:
    """Append from line ``start`` on, noting each line whose write returned, until it fails."""
    noted = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    log = -1
    try:
        for at in range(start, len(lines)):
            if log < 0:
                log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            if os.write(log, lines[at]) == len(lines[at]):
                os.write(noted, b"%d\n" % at)
            if reopen:
                os.close(log)
                log = -1
            if pause:
                time.sleep(pause)
    except OSError:
        pass
    finally:
        os._exit(0)


def follow(mount: Mount, path: Path, lines: list[bytes], at: int) -> int:
    """How many ``lines`` the file holds; fails unless it begins as they do."""
    content = path.read_bytes() if path.exists() else b""
    expected = b"".join(lines)
    assert expected.startswith(content), (
        f"round {at}: the log differs from byte "
        f"{next(i for i, (a, b) in enumerate(zip(content, expected, strict=False)) if a != b)}"
        f"\n{mount.log()[-2000:]}"
    )
    held = content.count(b"\n")
    torn = len(content) - sum(map(len, lines[:held]))
    if torn:  # a write that did not return may be there in part, as anywhere; finish it
        with path.open("ab", buffering=0) as log:
            log.write(lines[held][torn:])
        held += 1
    return held


@pytest.mark.parametrize("reopen", [False, True], ids=["held-open", "reopened"])
def test_appended_lines_survive_kills_at_random_moments(
    make_mount: MakeMount, tmp_path: Path, reopen, say
) -> None:
    """Each line whose write returned is there, in order, with sealing going on all the time."""
    lines = corpus_lines(2300) * 20
    chance = random.Random(f"kills {reopen}")
    mount = make_mount("seal_after=0,workers=1")
    path, notes = mount.path / "run.jsonl", tmp_path / "notes"
    held = promises = 0
    context = multiprocessing.get_context("fork")
    for at in range(KILL_ROUNDS):
        notes.write_bytes(b"")
        pause = chance.choice([0.0, 0.0, 0.002])
        writer = context.Process(
            target=append_lines, args=(path, notes, lines, held, pause), kwargs={"reopen": reopen}
        )
        writer.start()
        time.sleep(0.2 + chance.random())
        mount.kill()
        writer.join(20)
        noted = [int(line) for line in notes.read_bytes().splitlines()]
        mount.recover()
        held = follow(mount, path, lines, at)
        assert not noted or held > noted[-1], (
            f"round {at}: line {noted[-1]} was promised, {held} lines are there"
        )
        promises += len(noted)
        if at % 2:
            (mount.control / "verify").write_text("1\n")
    say(f"{KILL_ROUNDS} kills, {promises} promised lines, 0 broken")
    mount.remount()
    assert follow(mount, path, lines, -1) == held
    (mount.control / "verify").write_text("1\n")
    mount.wait_sealed()
    mount.unmount()
    assert listed(mount.vault / "drafts") == []


def test_appending_while_sealing_loses_nothing_without_any_kill(make_mount: MakeMount) -> None:
    """Draft files come and go under a log that is open, closed and open again."""
    mount = make_mount("seal_after=0,workers=0")
    lines = corpus_lines(2300)
    path = mount.path / "run.jsonl"
    for line in lines:
        with path.open("ab", buffering=0) as log:
            log.write(line)
    assert path.read_bytes() == b"".join(lines)
    mount.crash()
    assert path.read_bytes() == b"".join(lines)


# Others that die


def write_chats(folder: Path, count: int) -> dict[str, bytes]:
    """Files that take a second or so to seal."""
    chance = random.Random(count)
    files = {}
    for at in range(count):
        text = " ".join(str(chance.random()) for _ in range(800))
        content = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
        files[f"{at}.json"] = content
        (folder / f"{at}.json").write_bytes(content)
    return files


def test_killed_workers_cost_nothing(make_mount: MakeMount) -> None:
    mount = make_mount("seal_after=0,workers=2")
    mount.expected = ["a worker process died", "Traceback"]
    files = write_chats(mount.path, 200)
    killed = 0
    for _ in range(200):
        for worker in children(mount.pid):
            with contextlib.suppress(OSError):
                os.kill(worker, signal.SIGKILL)
                killed += 1
        time.sleep(0.01)
        if killed >= 3:
            break
    assert killed, "no worker was seen"
    for name, content in files.items():
        assert (mount.path / name).read_bytes() == content
    mount.wait_sealed(60)
    mount.remount()
    for name, content in files.items():
        assert (mount.path / name).read_bytes() == content
    assert "please report" not in mount.log()


def test_interrupt_from_the_terminal_reaches_workers_too(make_mount: MakeMount) -> None:
    """Ctrl-C signals the whole foreground group, while files wait to be encoded."""
    mount = make_mount("seal_after=0,workers=2")
    files = write_chats(mount.path, 300)
    os.killpg(mount.pid, signal.SIGINT)
    assert mount.wait_gone() == 0
    mount.start()
    for name, content in files.items():
        assert (mount.path / name).read_bytes() == content
    mount.wait_sealed()


# Dead mounts


def test_a_killed_mount_says_so_and_mounts_again(mount: Mount) -> None:
    (mount.path / "kept").write_bytes(LOG)
    mount.kill()
    with pytest.raises(OSError) as failure:
        listed(mount.path)
    assert failure.value.errno == errno.ENOTCONN
    if not has_cli():
        detach(mount.path)
    mount.start()  # the command clears the dead mount away by itself
    assert (mount.path / "kept").read_bytes() == LOG


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_signals_unmount_cleanly(mount: Mount, number) -> None:
    (mount.path / "log.jsonl").write_bytes(LOG)
    before = content_of(mount)
    mount.signal(number)
    assert mount.wait_gone() == 0
    assert listed(mount.path) == []
    assert listed(mount.vault / "drafts") == []
    mount.start()
    assert content_of(mount) == before


def test_unmounting_amid_sealing_leaves_no_draft(make_mount: MakeMount) -> None:
    """Sealing is cancelled then, and what it had taken on and not come to is sealed after it."""
    mount = make_mount("seal_after=0.2,workers=0")
    chance = random.Random(5)
    for at in range(2):
        (mount.path / f"{at}").mkdir()
        files = {f"{n}": chance.randbytes(40).hex() for n in range(700)}
        for name, text in files.items():
            (mount.path / f"{at}" / name).write_text(text)
        deadline = time.monotonic() + 0.5
        while mount.status()["files_in_use"] == "0" and time.monotonic() < deadline:
            time.sleep(0.002)  # until the sealer has taken some on
        mount.unmount()
        assert listed(mount.vault / "drafts") == []
        mount.start()
        for name, text in files.items():
            assert (mount.path / f"{at}" / name).read_text() == text


def test_signal_with_files_open_loses_nothing(mount: Mount) -> None:
    log = os.open(mount.path / "log.jsonl", os.O_WRONLY | os.O_CREAT)
    os.write(log, LOG)
    mount.signal(signal.SIGTERM)
    assert mount.wait_gone() == 0
    with contextlib.suppress(OSError):  # there is nothing behind it any more
        os.close(log)
    mount.start()
    assert (mount.path / "log.jsonl").read_bytes() == LOG


def test_mounting_again_at_once_finds_everything(mount: Mount) -> None:
    """``fusermount3 -u`` returns before the daemon is done; the next mount waits for it."""
    for at in range(300):
        (mount.path / f"{at}.json").write_text(json.dumps({"messages": [{"n": at}]}))
    before = content_of(mount)
    earlier = mount._process
    assert earlier is not None
    mount._fusermount("-u")
    mount._process = None
    try:
        mount.start()
        assert content_of(mount) == before
    finally:
        assert earlier.wait(60) == 0


def test_second_mount_of_a_vault_names_the_holder(mount: Mount, tmp_path: Path) -> None:
    other = Mount(tmp_path / "other")
    other.vault = mount.vault
    refused = subprocess.run(
        other.command(), capture_output=True, text=True, env=environment(), check=False, timeout=60
    )
    assert refused.returncode != 0
    assert str(mount.pid) in refused.stderr
    if has_cli():
        assert "Traceback" not in refused.stderr
    assert not os.path.ismount(other.path)
    assert listed(mount.path) == []


# Cost


def test_appending_to_a_large_log_costs_the_appended_bytes(mount: Mount, say) -> None:
    chance = random.Random(30)
    line = json.dumps({"role": "user", "content": "{}"})
    with (mount.path / "large.jsonl").open("wb") as log:
        for at in range(10_000):
            text = f"{at} " + " ".join(str(chance.random()) for _ in range(50))
            log.write(line.replace("{}", text).encode() + b"\n")
    mount.wait_sealed(240)
    size = (mount.path / "large.jsonl").stat().st_size
    assert size > 9 << 20
    written = mount.written_bytes()
    appended = 0
    for at in range(200):
        new = line.replace("{}", f"appended {at} " + "words of it " * 20).encode() + b"\n"
        with (mount.path / "large.jsonl").open("ab", buffering=0) as log:
            appended += log.write(new)
    mount.wait_sealed()
    cost = mount.written_bytes() - written
    say(f"appended {appended} bytes to {size}: the daemon wrote {cost}")
    # Draft, pack, and some index pages for each of 200 opens; nowhere near the 10 MB of the file.
    assert cost < 20 * appended + (4 << 20)
    with (mount.path / "large.jsonl").open("rb") as log:
        log.seek(size)
        assert log.read().count(b"\n") == 200


def unmount_by_command(mount: Mount) -> None:
    run(*cli_command("umount", mount.path), cwd=ROOT)


@pytest.mark.skipif(not has_cli(), reason="the command is not there yet")
def test_umount_command_returns_when_all_is_on_disk(mount: Mount) -> None:
    (mount.path / "log.jsonl").write_bytes(LOG)
    unmount_by_command(mount)
    assert listed(mount.vault / "drafts") == []
    assert mount.wait_gone(10) == 0
    mount.start()
    assert (mount.path / "log.jsonl").read_bytes() == LOG
