"""Grids through a mount: saved as programs save their state, read back, and small."""

import json
import os
from pathlib import Path

import pytest

from stowkenfs.grids.formats import GridFormat
from tests.mount.conftest import SOON, MakeMount
from tests.mount.mounted import Mount
from tests.vault.grids import files_of

VERSIONS = 6


def frames(mount: Mount) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = json.loads(
        (mount.path / ".stowken" / "stats.json").read_text()
    )["frames"]
    return found


def save(path: Path, content: bytes, *, beside: bool) -> None:
    """Over the old content, or beside it and then in its place."""
    if not beside:
        path.write_bytes(content)
        return
    other = path.with_name(path.name + ".tmp")
    with other.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    other.rename(path)


@pytest.mark.parametrize(
    ("grid_format", "beside"), [*((one, True) for one in GridFormat), (GridFormat.BINARY, False)]
)
def test_versions_of_a_state(mount: Mount, grid_format: GridFormat, beside: bool) -> None:
    path = mount.path / f"state{grid_format.suffix}"
    for content in files_of(1, VERSIONS, grid_format):
        save(path, content, beside=beside)
        mount.wait_sealed()
        assert path.read_bytes() == content
    assert frames(mount)["0x07"]["frames"] >= VERSIONS - 1
    assert os.getxattr(path, "user.stowken.conversations") == b"0"
    assert os.getxattr(path, "user.stowken.segments") in (b"1", b"2")


def test_versions_outlive_a_daemon_that_is_killed(make_mount: MakeMount) -> None:
    """What was written by then is there, and the next versions are differences from it."""
    mount = make_mount(SOON)
    files = files_of(2, 3 * VERSIONS, GridFormat.JSON)
    expected = {}
    for at, content in enumerate(files):
        path = mount.path / f"state-{at % 3}.json"
        save(path, content, beside=at % 2 == 1)
        expected[path.name] = content
        if at % VERSIONS == VERSIONS - 1:
            mount.kill()  # some of it sealed, some being sealed, some not
            mount.start()
        elif at % 4 == 0:
            mount.wait_sealed()
    mount.wait_sealed()
    assert {path.name: path.read_bytes() for path in mount.path.iterdir()} == expected
    assert frames(mount)["0x07"]["frames"] > 3
    mount.unmount()
    mount.start()
    assert {path.name: path.read_bytes() for path in mount.path.iterdir()} == expected


def test_control_files_tell_of_grids(mount: Mount) -> None:
    (mount.path / "g.json").write_bytes(files_of(3, 1, GridFormat.JSON)[0])
    mount.wait_sealed()
    control = mount.path / ".stowken"
    stats = json.loads((control / "stats.json").read_text())
    assert stats["conversations"] == 0
    assert stats["documents"] == 1
    segments = [json.loads(line) for line in (control / "tokens/g.json").read_text().splitlines()]
    assert [one["type"] for one in segments] == ["other", "cells"]
    assert {one["tokenizer"] for one in segments} == {"bytes"}
    assert segments[1]["token_count"] == 8 * 20 * 15
    assert float(os.getxattr(mount.path / "g.json", "user.stowken.ratio")) > 1
    (control / "verify").write_text("1")
    assert json.loads((control / "verify.json").read_text())["clean"]
    assert "g.json" not in (control / "near-duplicates").read_text()
