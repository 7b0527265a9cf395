"""``.stowken/state/PATH@N``: what files held before."""

import errno
import json
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest

from tests.mount.conftest import SOON, MakeMount
from tests.mount.mounted import Mount, cli_command, listed, run
from tests.mount.test_jobs import ask, shown


def view(mount: Mount, path: str) -> Path:
    return mount.control / "state" / path


def earlier(mount: Mount, path: str) -> list[bytes]:
    """All versions, the newest first, each read by both of its names."""
    try:
        numbers = listed(view(mount, f"{path}@"))
    except FileNotFoundError:
        return []
    numbers.sort(key=int)
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    contents = [view(mount, f"{path}@/{number}").read_bytes() for number in numbers]
    assert contents == [view(mount, f"{path}@{number}").read_bytes() for number in numbers]
    return contents


def keeping(mount: Mount, count: int, folder: str = "s") -> Path:
    path = mount.path / folder
    path.mkdir()
    assert ask(mount, "retention", f"{folder} versions={count}") == 0, shown(mount, "retention")
    return path


def overwrite(mount: Mount, path: Path, content: bytes, how: str) -> None:
    """Give a file another content in one of the ways that programs have, and have it sealed."""
    if how == "emptied" or not path.exists():
        path.write_bytes(content)
    elif how == "in place":
        with path.open("r+b") as file:
            file.write(content)
            file.truncate()
    elif how == "cut first":
        os.truncate(path, 0)
        with path.open("r+b") as file:
            file.write(content)
    else:
        temporary = path.with_name("tmp")
        temporary.write_bytes(content)
        temporary.replace(path)
    mount.wait_sealed()


@pytest.mark.parametrize("how", ["emptied", "in place", "cut first", "replaced"])
def test_what_a_file_held(mount: Mount, how: str) -> None:
    path = keeping(mount, 3) / "f"
    contents = [f"content {step} ".encode() * (10 - step) for step in range(6)]
    for step, content in enumerate(contents):
        overwrite(mount, path, content, how)
        assert path.read_bytes() == content
        before = contents[:step][::-1][:3]
        assert earlier(mount, "s/f") == before
    assert listed(mount.path / "s") == ["f"]
    assert listed(mount.path) == ["s"]
    assert listed(view(mount, "s")) == ["f@"]
    for absent in ("s/f@0", "s/f@4", "s/f@01", "s/f@x", "s/f@-1", "s/g@1", "s/g@", ".stowken/x"):
        assert not view(mount, absent).exists()
    mount.crash()
    assert earlier(mount, "s/f") == contents[2:5][::-1]
    assert ask(mount, "compact", "level=1") == 0
    assert ask(mount, "gc") == 0
    assert earlier(mount, "s/f") == contents[2:5][::-1]
    mount.unmount()
    for leftover in mount.vault.glob("index.db*"):
        leftover.unlink()
    mount.start()
    assert earlier(mount, "s/f") == contents[2:5][::-1]
    assert ask(mount, "verify") == 0
    overwrite(mount, path, b"anew", how)
    assert earlier(mount, "s/f") == [contents[5], contents[4], contents[3]]


def test_what_makes_no_version(mount: Mount) -> None:
    folder = keeping(mount, 3)
    log = folder / "log"
    for line in range(4):  # it grows
        with log.open("ab") as file:
            file.write(b"line %d\n" % line)
        mount.wait_sealed()
    assert earlier(mount, "s/log") == []
    log.chmod(0o600)
    with log.open("r+b"):
        pass  # opened, and not written
    os.truncate(log, 1000)  # longer
    mount.wait_sealed()
    assert earlier(mount, "s/log") == []
    outside = mount.path / "f"
    for step in range(3):
        overwrite(mount, outside, b"%d" % step, "emptied")
    assert earlier(mount, "f") == []


def test_the_nearest_folder_says(mount: Mount) -> None:
    folder = keeping(mount, 2)
    (folder / "deep").mkdir()
    (folder / "none").mkdir()
    assert ask(mount, "retention", "s/none versions=0") == 0
    for step in range(4):
        overwrite(mount, folder / "deep" / "f", b"%d" % step, "emptied")
        overwrite(mount, folder / "none" / "f", b"%d" % step, "emptied")
    assert earlier(mount, "s/deep/f") == [b"2", b"1"]
    assert earlier(mount, "s/none/f") == []


def test_files_that_were_known_before_the_policy(mount: Mount) -> None:
    """The kernel does not ask for names that it knows, so the daemon looks for them."""
    folder = mount.path / "s"
    folder.mkdir()
    path = folder / "f"
    path.write_bytes(b"before")
    mount.wait_sealed()
    assert ask(mount, "retention", "s versions=2") == 0
    overwrite(mount, path, b"after", "emptied")
    assert earlier(mount, "s/f") == [b"before"]
    folder.rename(mount.path / "t")
    path = mount.path / "t" / "f"
    overwrite(mount, path, b"later", "in place")
    assert earlier(mount, "t/f") == [b"after", b"before"]


def test_versions_are_not_changed(mount: Mount) -> None:
    path = keeping(mount, 2) / "f"
    overwrite(mount, path, b"old", "emptied")
    overwrite(mount, path, b"new", "emptied")
    version = view(mount, "s/f@1")
    for change in (
        lambda: version.write_bytes(b"x"),
        lambda: version.open("r+b"),
        lambda: os.truncate(version, 0),
        lambda: version.chmod(0o777),
        version.unlink,
        lambda: version.rename(mount.path / "g"),
        lambda: os.link(version, mount.path / "g"),
        lambda: os.setxattr(version, "user.x", b"y"),
        lambda: view(mount, "s/f@1.json").write_bytes(b"x"),
    ):
        with pytest.raises(OSError) as failed:
            change()
        assert failed.value.errno in (errno.EPERM, errno.EACCES, errno.EINVAL, errno.EXDEV)
    assert version.read_bytes() == b"old"
    assert not version.stat().st_mode & 0o222
    assert version.stat().st_size == 3


def test_versions_of_grids_in_all_formats(mount: Mount) -> None:
    path = keeping(mount, 5) / "memory.bin"
    for step in range(4):
        cells = np.full((20, 20), float(step))
        content = struct.pack("<II", 20, 20) + cells.astype("<f8").tobytes()
        overwrite(mount, path, content, "replaced" if step % 2 else "emptied")
    for number in (1, 2, 3):
        told = json.loads(view(mount, f"s/memory.bin@{number}.json").read_text())
        assert told["data"] == [3.0 - number] * 400
        assert view(mount, f"s/memory.bin@{number}.png").read_bytes().startswith(b"\x89PNG")


def test_versions_go(mount: Mount) -> None:
    """With the policy, with their file, with their folder, and for their age."""
    folder = keeping(mount, 5)
    for name in ("gone", "kept"):
        for step in range(3):
            overwrite(mount, folder / name, b"%d" % step, "emptied")
            then = time.time() - (3 - step) * 86400
            os.utime(folder / name, (then, then))
    (folder / "gone").unlink()
    assert earlier(mount, "s/gone") == [b"1", b"0"]
    assert ask(mount, "retention", "apply") == 0
    assert earlier(mount, "s/gone") == []
    assert earlier(mount, "s/kept") == [b"1", b"0"]
    assert ask(mount, "retention", "s versions=5 max-age=60h") == 0
    assert ask(mount, "retention", "apply") == 0
    assert earlier(mount, "s/kept") == [b"1"]
    assert ask(mount, "retention", "s none") == 0
    assert ask(mount, "retention", "apply") == 0
    assert earlier(mount, "s/kept") == []
    assert ask(mount, "retention", "s versions=5") == 0
    overwrite(mount, folder / "kept", b"last", "emptied")
    assert earlier(mount, "s/kept") == [b"2"]
    (folder / "kept").unlink()
    folder.rmdir()
    keeping(mount, 5)
    assert earlier(mount, "s/kept") == []
    assert ask(mount, "retention", "apply") == 0
    assert ask(mount, "verify") == 0


def test_hidden_from_everyone_else(mount: Mount, tmp_path: Path) -> None:
    folder = keeping(mount, 2)
    overwrite(mount, folder / "f", b"old", "emptied")
    overwrite(mount, folder / "f", b"new", "emptied")
    assert listed(mount.path) == ["s"]
    assert ".stowken" not in listed(mount.control / "tokens")
    assert ask(mount, "retention", ".stowken/ keep=1") == errno.EINVAL
    with pytest.raises(FileNotFoundError):
        (mount.control / "state" / ".stowken").stat()
    mount.unmount()
    run(*cli_command("export", mount.vault, tmp_path / "out"))
    assert listed(tmp_path / "out") == ["s"]
    assert (tmp_path / "out" / "s" / "f").read_bytes() == b"new"


def test_an_open_reader_keeps_what_it_reads(mount: Mount) -> None:
    path = keeping(mount, 1) / "f"
    overwrite(mount, path, b"a" * 100, "replaced")
    with path.open("rb") as reader, path.open("r+b") as writer:
        overwrite(mount, path, b"b" * 100, "replaced")  # the writer's file is not kept
        writer.write(b"x")
        writer.flush()
        assert reader.read() == b"x" + b"a" * 99
    assert earlier(mount, "s/f") == []
    with path.open("rb") as reader:
        for letter in (b"c", b"d", b"e"):
            overwrite(mount, path, letter * 100, "replaced")
        assert reader.read() == b"b" * 100
    assert earlier(mount, "s/f") == [b"d" * 100]


def test_killed_at_any_time(make_mount: MakeMount) -> None:
    """Whatever the moment: the file is whole, and so is each version, in the right order."""
    mount = make_mount(SOON)
    path = keeping(mount, 4) / "f"
    step = 0
    for round_number in range(4):
        for _ in range(2):
            overwrite(mount, path, b"%06d" % step * 50, "replaced" if step % 2 else "emptied")
            step += 1
        path.write_bytes(b"%06d" % step * 50)
        time.sleep(0.05 * round_number)
        mount.crash()
        mount.wait_sealed()
        step += 1
        seen = [int(content[:6]) for content in [path.read_bytes(), *earlier(mount, "s/f")]]
        assert seen[0] == step - 1
        assert seen == sorted(seen, reverse=True)
        assert all(len(content) == 300 for content in earlier(mount, "s/f"))
    assert ask(mount, "verify") == 0


def test_no_room_for_what_is_the_same(mount: Mount) -> None:
    """A version takes some bytes of the tree, and none for content."""
    path = keeping(mount, 10) / "f"
    rng = np.random.default_rng(1)
    content = bytearray(rng.bytes(1 << 20))
    overwrite(mount, path, bytes(content), "emptied")
    stats = mount.control / "stats.json"
    before = json.loads(stats.read_text())["storage_bytes"]
    for step in range(5):
        content[step] ^= 1
        overwrite(mount, path, bytes(content), "replaced")
    time.sleep(1.1)  # what it shows is kept for a second
    after = json.loads(stats.read_text())["storage_bytes"]
    assert len(earlier(mount, "s/f")) == 5
    assert after - before < 5 * 70_000
