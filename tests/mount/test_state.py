"""``.stowken/state``: stored grids in other formats."""

import errno
import gzip
import io
import json
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.mount.conftest import MakeMount
from tests.mount.mounted import Mount, listed

Cells = npt.NDArray[np.float64]
RNG = np.random.default_rng(7)
DENSE = RNG.normal(size=(30, 20))
SPARSE = np.where(RNG.random((50, 50)) < 0.02, RNG.random((50, 50)), 0.0)
SUFFIXES = (".bin", ".bin.gz", ".json", ".npy", ".png")


def binary(cells: Cells) -> bytes:
    height, width = cells.shape
    return struct.pack("<II", width, height) + cells.astype("<f8").tobytes()


def as_json(cells: Cells) -> bytes:
    height, width = cells.shape
    return json.dumps({"width": width, "height": height, "data": cells.ravel().tolist()}).encode()


def npy(cells: Cells) -> bytes:
    out = io.BytesIO()
    np.save(out, cells)
    return out.getvalue()


WRITERS: dict[str, Callable[[Cells], bytes]] = {
    "bin": binary,
    "json": as_json,
    "gz": lambda cells: gzip.compress(binary(cells), mtime=0),
    "npy": npy,
}


def read_binary(content: bytes) -> Cells:
    width, height = struct.unpack_from("<II", content)
    return np.frombuffer(content, "<f8", offset=8).reshape(height, width)


def read_json(content: bytes) -> Cells:
    told = json.loads(content)
    return np.array(told["data"]).reshape(told["height"], told["width"])


READERS: dict[str, Callable[[bytes], Cells]] = {
    ".bin": read_binary,
    ".bin.gz": lambda content: read_binary(gzip.decompress(content)),
    ".json": read_json,
    ".npy": lambda content: np.load(io.BytesIO(content)),
}


def view(mount: Mount, path: str) -> Path:
    return mount.control / "state" / path


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("written", WRITERS)
def test_each_format_in_all_others(
    make_mount: MakeMount, shared: Mount, written: str, sealed: bool
) -> None:
    mount = shared if sealed else make_mount("seal_after=3600")
    for cells in (DENSE, SPARSE, np.array([[-0.0, 5e-324], [1.5e308, -1.5e308]])):
        folder = mount.path / f"from {written}"
        folder.mkdir(exist_ok=True)
        (folder / "grid").write_bytes(WRITERS[written](cells))
        if sealed:
            mount.wait_sealed()
        for suffix, read in READERS.items():
            shown = view(mount, f"from {written}/grid{suffix}")
            content = shown.read_bytes()
            assert shown.stat().st_size == len(content)
            found = read(content)
            assert found.tobytes() == cells.tobytes()
            assert found.shape == cells.shape
        picture = Image.open(io.BytesIO(view(mount, f"from {written}/grid.png").read_bytes()))
        assert picture.size[0] * cells.shape[0] == picture.size[1] * cells.shape[1]
        assert float(picture.info["maximum"]) == cells.max()
        assert (folder / "grid").read_bytes() == WRITERS[written](cells)


def test_listings_show_what_can_be_read(mount: Mount) -> None:
    folder = mount.path / "s" / "deep"
    folder.mkdir(parents=True)
    (folder / "a.bin").write_bytes(binary(DENSE))
    (folder / "notes.txt").write_text("no grid")
    (folder / "empty").touch()
    (folder / "link").symlink_to("a.bin")
    os.mkfifo(folder / "pipe")
    (folder / "x.json").mkdir()
    odd = os.fsencode(folder) + b"/\xff\n"
    Path(os.fsdecode(odd)).write_bytes(npy(SPARSE))
    assert listed(view(mount, "")) == listed(view(mount, ".")) == ["s"]
    wanted = {f"a.bin{suffix}" for suffix in SUFFIXES} | {"x.json"}
    wanted |= {f"\udcff\n{suffix}" for suffix in SUFFIXES}
    assert set(listed(view(mount, "s/deep"))) == wanted
    for name in wanted - {"x.json"}:
        assert len(view(mount, f"s/deep/{name}").read_bytes()) == view(
            mount, f"s/deep/{name}"
        ).stat().st_size > 100  # fmt: skip


def test_what_is_no_grid(mount: Mount) -> None:
    def refused(name: str) -> str:
        with pytest.raises(OSError) as failed:
            view(mount, name).read_bytes()
        assert failed.value.errno == errno.EINVAL
        deadline = time.monotonic() + 5  # what it shows is kept for a second
        while not (told := mount.status()["state_last_refused"]).startswith(name[:-5] + " "):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return told

    whole = binary(DENSE)
    nan = bytearray(whole)
    nan[8 + 8 * 3 : 8 + 8 * 4] = struct.pack("<d", float("nan"))
    contents = {
        "text": (b"hello", "neither its beginning nor its length"),
        "cut": (whole[:-1], "neither"),
        "more": (whole + b"x", "neither"),
        "nan": (bytes(nan), "32"),
        "json": (b'{"width": 2, "height": 2, "data": [1, 2, 3]}', "4 numbers"),
        "gz": (gzip.compress(whole)[:-5], "gzip"),
        "huge": (struct.pack("<II", 4096, 4096), "neither"),
        "zero": (struct.pack("<II", 0, 0), "neither"),
    }
    for name, (content, reason) in contents.items():
        (mount.path / name).write_bytes(content)
        told = refused(f"{name}.json")
        assert told.startswith(f"{name} is no grid that can be shown: "), told
        assert reason in told
    for absent in ("absent.json", "text", "text.txt", "absent/x.bin", "text/x.bin"):
        with pytest.raises(OSError) as failed:
            view(mount, absent).read_bytes()
        assert failed.value.errno in (errno.ENOENT, errno.ENOTDIR)
    assert listed(view(mount, "")) == []
    with pytest.raises(OSError) as failed:
        view(mount, "new.bin").write_bytes(b"x")
    assert failed.value.errno == errno.EPERM


def test_too_large_to_be_shown(mount: Mount) -> None:
    cells = np.zeros((2048, 2048))
    (mount.path / "large").write_bytes(binary(cells))
    with pytest.raises(OSError) as failed:
        view(mount, "large.json").read_bytes()
    assert failed.value.errno == errno.EINVAL
    assert "4194304 cells" in mount.status()["state_last_refused"]
    with (mount.path / "sparse").open("wb") as file:
        file.truncate(10**15 - 1)
    with pytest.raises(OSError):
        view(mount, "sparse.bin").read_bytes()


def test_views_follow_their_files(mount: Mount) -> None:
    path = mount.path / "grid"
    for step in range(5):
        cells = np.full((4, 5), float(step))
        path.write_bytes(binary(cells))
        assert read_json(view(mount, "grid.json").read_bytes())[0, 0] == step
        if step % 2:
            mount.wait_sealed()
            assert read_json(view(mount, "grid.json").read_bytes())[0, 0] == step
    path.rename(mount.path / "other")
    assert not view(mount, "grid.json").exists()
    assert read_json(view(mount, "other.json").read_bytes())[0, 0] == 4
    (mount.path / "other").write_bytes(b"text")
    with pytest.raises(OSError):
        view(mount, "other.json").read_bytes()


def test_the_largest_that_is_shown(mount: Mount) -> None:
    cells = RNG.random((1448, 1448))
    (mount.path / "large").write_bytes(binary(cells))
    with mount.watched():
        began = time.monotonic()
        for suffix in (".json", ".png", ".npy"):
            assert len(view(mount, f"large{suffix}").read_bytes()) > 1 << 20
        assert time.monotonic() - began < 60
    assert mount.peak_kib < 640 << 10  # daemon and workers together
