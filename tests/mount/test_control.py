"""``.stowken``: what the mount says about itself and does when asked."""

import contextlib
import errno
import hashlib
import json
import os
import random
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from stowkenfs.frames.tokenizer import tokenize
from stowkenfs.frames.vocabulary import spell
from stowkenfs.ids import Vocabulary
from tests.mount.conftest import MakeMount
from tests.mount.mounted import Mount, listed, run

QUESTION = "What lives in the deep sea, and how does it find anything to eat down there? " * 4
ANSWER = "Fish with lamps, worms at hot vents, and much that nobody has seen. " * 6
SYSTEM = "You are a marine biologist who answers briefly and never makes anything up. " * 5


def chat(conversation_id: str, answer: str = ANSWER, **more: object) -> bytes:
    turns = (("system", SYSTEM), ("user", QUESTION), ("assistant", answer))
    messages = [{"role": role, "content": content} for role, content in turns]
    return json.dumps({"id": conversation_id, **more, "messages": messages}, indent=2).encode()


@contextlib.contextmanager
def fails_with(*numbers: int) -> Iterator[None]:
    with pytest.raises(OSError) as failure:
        yield
    assert failure.value.errno in numbers, failure.value


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )


# Where it is


def test_hidden_and_there(mount: Mount) -> None:
    assert listed(mount.path) == []
    assert stat.S_ISDIR(mount.control.stat().st_mode)
    names = set(listed(mount.control))
    assert {"README", "status", "stats", "verify", "progress", "tokens", "conversations"} <= names
    assert "echo 1 > verify" in (mount.control / "README").read_text()


def test_listed_when_asked_for(make_mount: MakeMount) -> None:
    mount = make_mount("control=visible")
    (mount.path / "file").touch()
    assert (listed(mount.path)) == [".stowken", "file"]
    shown = run("find", mount.path)
    assert ".stowken/status" in shown
    assert run("ls", "-laR", mount.path)


def test_modes_and_owner(mount: Mount) -> None:
    for path in (mount.control, *mount.control.iterdir()):
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
        assert not status.st_mode & 0o077, path
    assert stat.S_IMODE((mount.control / "verify").stat().st_mode) == 0o600
    assert stat.S_IMODE((mount.control / "status").stat().st_mode) == 0o400


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")
def test_others_are_kept_out(make_mount: MakeMount) -> None:
    mount = make_mount("allow_other")
    for parent in (mount.path, *mount.path.parents[:-2]):
        parent.chmod(parent.stat().st_mode | 0o711)
    (mount.path / "open").write_text("y")
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    assert run(*nobody, "cat", mount.path / "open") == "y"
    for command in (
        ["cat", mount.control / "status"],
        ["ls", mount.control],
        ["cat", mount.control / "tokens" / "open"],
        ["sh", "-c", f"echo 1 > {mount.control}/verify"],
    ):
        refused = subprocess.run(
            [*nobody, *map(str, command)], capture_output=True, text=True, check=False
        )
        assert refused.returncode != 0
        assert "Permission denied" in refused.stderr


# Reading


def test_sizes_are_true(mount: Mount) -> None:
    (mount.path / "chat.json").write_bytes(chat("one"))
    mount.wait_sealed()
    assert shell("echo 1 > .stowken/verify", mount.path).returncode == 0
    files = ["README", "status", "stats", "stats.json", "verify", "verify.json", "progress"]
    for name in [*files, "tokens/chat.json"]:
        path = mount.control / name
        size = path.stat().st_size
        assert size > 0
        assert size == len(path.read_bytes()), name
        assert run("tail", "-c", "5", path)
        run("cp", path, mount.path / "copied")
        assert (mount.path / "copied").stat().st_size == size, name


def test_status(mount: Mount) -> None:
    status = mount.status()
    assert int(status["pid"]) == mount.pid
    assert status["vault"] == str(mount.vault)
    assert status["mountpoint"] == str(mount.path)
    assert status["job"] == "none"
    assert int(status["memory_peak_kib"]) > 1000


def test_stats_make_sense(mount: Mount) -> None:
    content = chat("one")
    for at in range(3):
        (mount.path / f"{at}.json").write_bytes(content)
    mount.wait_sealed()
    stats = json.loads((mount.control / "stats.json").read_text())
    assert stats["segments"] == 3
    assert sum(frame["frames"] for frame in stats["frames"].values()) == 3
    (mount.path / "other").write_bytes(random.Random(1).randbytes(100_000))
    mount.wait_sealed()
    time.sleep(1.1)  # what was shown is kept for a second
    stats = json.loads((mount.control / "stats.json").read_text())
    assert stats["documents"] == 4
    assert stats["conversations"] == 3
    assert stats["bytes_in"] == stats["sealed_bytes"] == 3 * len(content) + 100_000
    assert stats["drafts"] == 0
    assert 100_000 < stats["storage_bytes"] < stats["bytes_in"]
    assert stats["disk_bytes"] >= stats["storage_bytes"]
    assert stats["ratio"] > 0
    assert (mount.control / "stats").read_text().strip()


def test_tokens_spell_the_text(mount: Mount) -> None:
    (mount.path / "below").mkdir()
    (mount.path / "below" / "chat.json").write_bytes(chat("one", tokenizer="cl100k_base"))
    (mount.path / "other.json").write_bytes(chat("two"))
    mount.wait_sealed()
    for name, vocabulary in (
        ("below/chat.json", Vocabulary.CL100K_BASE),
        ("other.json", Vocabulary.O200K_BASE),
    ):
        lines = (mount.control / "tokens" / name).read_text().splitlines()
        shown = [json.loads(line) for line in lines]
        assert [segment["type"] for segment in shown] == [
            "system_prompt", "user_turn", "assistant_turn",
        ]  # fmt: skip
        for segment, text in zip(shown, (SYSTEM, QUESTION, ANSWER), strict=True):
            ids = np.array(segment["tokens"], np.uint32)
            assert segment["tokenizer"] == vocabulary.name.lower()
            assert segment["token_count"] == len(ids)
            assert segment["hash"] == hashlib.sha256(ids.astype("<u4").tobytes()).hexdigest()
            assert bytes(spell(ids, vocabulary)).decode() == text
            expected = tokenize(text, vocabulary)
            assert expected is not None
            assert expected.tolist() == segment["tokens"]
            assert segment["stored_bytes"] > 0
            assert segment["frame"] in ("0x01", "0x02")
    assert listed(mount.control / "tokens" / "below") == ["chat.json"]
    assert (listed(mount.control / "tokens")) == ["below", "other.json"]
    with fails_with(errno.ENOENT):
        (mount.control / "tokens" / "absent").stat()


def test_tokens_of_logs_join_to_the_text(mount: Mount) -> None:
    texts = [f"entry {at}: " + ANSWER for at in range(50)]
    rows = (json.dumps({"role": "user", "content": text}) for text in texts)
    (mount.path / "log.jsonl").write_text("".join(f"{row}\n" for row in rows))
    mount.wait_sealed()
    shown = (mount.control / "tokens" / "log.jsonl").read_text().splitlines()
    spelled = [
        bytes(spell(np.array(segment["tokens"], np.uint32), Vocabulary.O200K_BASE)).decode()
        for segment in map(json.loads, shown)
    ]
    assert spelled == texts


def test_conversations_by_id(mount: Mount) -> None:
    (mount.path / "app").mkdir()
    (mount.path / "app" / "some-file.json").write_bytes(chat("chat-7"))
    (mount.path / "slash.json").write_bytes(chat("a/b c", answer="Another one. " * 30))
    mount.wait_sealed()
    conversations = mount.control / "conversations"
    assert (conversations / "chat-7.json").read_bytes() == chat("chat-7")
    assert (conversations / "a%2Fb c.json").read_bytes() == chat("a/b c", "Another one. " * 30)
    assert {"chat-7.json", "a%2Fb c.json"} <= set(listed(conversations))
    (mount.path / "app" / "some-file.json").rename(mount.path / "moved.json")
    assert (conversations / "chat-7.json").read_bytes() == chat("chat-7")
    with fails_with(errno.ENOENT):
        (conversations / "absent.json").read_bytes()
    for name in ("..%2F..%2Fmoved.json", "%00.json", ".json"):
        with fails_with(errno.ENOENT):
            (conversations / name).read_bytes()


# Acting


def test_verify_a_sound_vault(mount: Mount) -> None:
    assert "not run" in (mount.control / "verify").read_text()
    (mount.path / "chat.json").write_bytes(chat("one"))
    mount.wait_sealed()
    done = shell("echo 1 > verify", mount.control)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads((mount.control / "verify.json").read_text())
    assert report["clean"] is True
    assert report["records"] >= 1
    assert report["segments"] == 3
    assert "verify: done" in (mount.control / "progress").read_text()
    assert shell("echo > verify", mount.control).returncode == 0


@pytest.mark.parametrize("words", ["bogus", "x=1", "1 2", "\\377"])
def test_unknown_words_are_refused(mount: Mount, words) -> None:
    done = shell(f"printf '{words}\\n' > verify", mount.control)
    assert done.returncode != 0
    assert "Invalid argument" in done.stderr
    assert (mount.control / "progress").read_text() == ""  # nothing ran
    assert "refused" in (mount.control / "verify").read_text()
    assert shell("echo 1 > verify", mount.control).returncode == 0
    assert "refused" not in (mount.control / "verify").read_text()


def test_damage_is_named_and_never_returned(make_mount: MakeMount) -> None:
    mount = make_mount("seal_after=0")
    mount.expected = ["damage"]
    chance = random.Random(7)
    files = {
        f"{at}.json": chat(f"chat-{at}", answer=chance.randbytes(4000).hex()) for at in range(8)
    }
    for name, content in files.items():
        (mount.path / name).write_bytes(content)
        mount.wait_sealed()  # a block of its own for each
    mount.unmount()
    pack = max((mount.vault / "packs").iterdir(), key=lambda path: path.stat().st_size)
    with pack.open("r+b") as stored:
        at = pack.stat().st_size // 2
        stored.seek(at)
        byte = stored.read(1)[0]
        stored.seek(at)
        stored.write(bytes([byte ^ 0x55]))
    mount.start()
    done = shell("echo 1 > verify", mount.control)
    assert done.returncode != 0
    assert "Input/output error" in done.stderr
    report = json.loads((mount.control / "verify.json").read_text())
    assert report["clean"] is False
    damaged = {entry["path"].lstrip("/") for entry in report["files"]}
    assert 0 < len(damaged) < len(files)
    shown = (mount.control / "verify").read_text()
    for name, content in files.items():
        if name in damaged:
            assert name in shown
            with fails_with(errno.EIO):
                (mount.path / name).read_bytes()
        else:
            assert (mount.path / name).read_bytes() == content
    assert "damage" in mount.log()
    (mount.path / "new").write_bytes(b"the mount lives on")
    assert (mount.path / "new").read_bytes() == b"the mount lives on"


def removals(control: Path) -> dict[str, Callable[[], object]]:
    return {
        "create": lambda: (control / "new").write_bytes(b""),
        "create below": lambda: (control / "tokens" / "new").write_bytes(b""),
        "mkdir": (control / "new").mkdir,
        "unlink": (control / "status").unlink,
        "rmdir": (control / "tokens").rmdir,
        "rmdir itself": control.rmdir,
        "rename": lambda: (control / "status").rename(control / "other"),
        "rename out": lambda: (control / "status").rename(control.parent / "status"),
        "rename in": lambda: (control.parent / "file").rename(control / "file"),
        "rename onto": lambda: (control.parent / "folder").rename(control),
        "rename itself": lambda: control.rename(control.parent / "other"),
        "link in": lambda: os.link(control.parent / "file", control / "file"),
        "link out": lambda: os.link(control / "status", control.parent / "status"),
        "symlink": lambda: (control / "link").symlink_to("x"),
        "write": lambda: (control / "status").write_bytes(b"x"),
        "write README": lambda: (control / "README").write_bytes(b"x"),
        "chmod": lambda: (control / "status").chmod(0o777),
        "setxattr": lambda: os.setxattr(control / "status", "user.x", b"y"),
        "fifo": lambda: os.mkfifo(control / "fifo"),
    }


@pytest.fixture(scope="module")
def furnished(shared: Mount) -> Mount:
    (shared.path / "file").write_bytes(b"x")
    (shared.path / "folder").mkdir()
    return shared


@pytest.mark.parametrize("action", sorted(removals(Path("x/.stowken"))))
def test_nothing_else_changes_there(furnished: Mount, action) -> None:
    before = listed(furnished.control)
    with fails_with(errno.EPERM, errno.EACCES, errno.EROFS, errno.EXDEV, errno.ENOTSUP):
        removals(furnished.control)[action]()
    assert (listed(furnished.control)) == before
    assert (listed(furnished.path)) == ["file", "folder"]
    furnished.check_log()


def test_progress_can_be_followed(mount: Mount) -> None:
    (mount.path / "file").write_bytes(random.Random(2).randbytes(3 << 20))
    mount.wait_sealed()
    (mount.control / "progress").read_text()
    with subprocess.Popen(
        ["tail", "-n", "+1", "-s", "0.1", "-f", mount.control / "progress"],
        stdout=subprocess.PIPE,
        text=True,
    ) as tail:
        limit = threading.Timer(20, tail.kill)
        limit.start()
        try:
            assert shell("echo 1 > verify", mount.control).returncode == 0
            assert tail.stdout is not None
            assert any("verify: done" in line for line in tail.stdout)
        finally:
            limit.cancel()
            tail.kill()


def test_recursive_tools_do_not_fall_in(mount: Mount) -> None:
    (mount.path / "chat.json").write_bytes(chat("one"))
    assert ".stowken" not in run("find", mount.path)
    assert ".stowken" not in run("grep", "-rl", "deep sea", mount.path)
