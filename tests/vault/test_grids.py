"""Grids in a vault: what they share, and that they read back whatever is done with them."""

import random
import struct
from collections.abc import Awaitable, Callable

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs.documents import cells as cells_module
from stowkenfs.documents.record import renders_to
from stowkenfs.errors import Corrupt
from stowkenfs.frames.codec import DEPTH_MAX, FrameKind, depth_of
from stowkenfs.grids.formats import GridFormat, encode
from stowkenfs.grids.grid import Grid
from stowkenfs.grids.snapshot import Metadata, Snapshot, encode_snapshot
from stowkenfs.ids import SegmentType
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.reindex.background import rebuild_index
from stowkenfs.vault.vault import Vault
from tests.vault.grids import BINARY, drifting, files_of, in_vault, read, write_draft
from tests.vault.near import frames, rows
from tests.vault.rebuilding import check, compact, opened, rewrite, told_by_packs

FORMATS = list(GridFormat)
UPDATE_BYTES_MAX = {  # a frame for five changed cells and their share of earlier ones
    GridFormat.BINARY: 320,
    GridFormat.NPY: 320,
    GridFormat.JSON: 320,
    GridFormat.COMPRESSED: 850,
}


@pytest.mark.parametrize("grid_format", FORMATS)
def test_versions_of_a_path_cost_what_changed(tmp_path, grid_format):
    files = files_of(1, 40, grid_format, width=50, height=50)

    async def main(vault: Vault) -> None:
        sizes = []
        for content in files:
            before = sum(map(len, frames(vault).values()))
            await vault.write_document(b"/state", content)
            assert await read(vault, b"/state") == content
            sizes.append(sum(map(len, frames(vault).values())) - before)
        assert sum(sizes[1:]) / len(sizes[1:]) < UPDATE_BYTES_MAX[grid_format]

    in_vault(main, tmp_path / "v")


@pytest.mark.parametrize("grid_format", FORMATS)
def test_versions_of_a_snapshot_cost_what_changed(tmp_path, grid_format):
    """Metadata differs as well: its times do."""
    grids = drifting(1, 40, width=50, height=50)
    files = [
        encode_snapshot(Snapshot(grid, Metadata(number, 10**18 + number, "ann")), grid_format)
        for number, grid in enumerate(grids)
    ]

    async def main(vault: Vault) -> None:
        sizes = []
        for number, content in enumerate(files):
            path = b"/checkpoints/%06d" % number
            before = sum(map(len, frames(vault).values()))
            await vault.write_document(path, content)
            assert await read(vault, path) == content
            sizes.append(sum(map(len, frames(vault).values())) - before)
        assert sum(sizes[1:]) / len(sizes[1:]) < UPDATE_BYTES_MAX[grid_format] + 150

    in_vault(main, tmp_path / "v")


@given(st.data())
def test_what_looks_like_a_snapshot_is_kept_all_the_same(data):
    content = encode_snapshot(Snapshot(drifting(1, 1)[0]), data.draw(st.sampled_from(FORMATS)))
    at = data.draw(st.integers(0, len(content) - 1))
    flipped = bytes([content[at] ^ data.draw(st.integers(1, 255))])
    damaged = content[:at] + flipped + content[at + 1 :]
    record = cells_module.grid_record(damaged)
    assert record is None or renders_to(record, damaged)
    assert cells_module.grid_record(content) is not None


def test_a_file_that_replaces_another_by_its_name_shares_with_it(tmp_path):
    """Written beside it and renamed over it, as programs do that must not lose the old one."""
    files = files_of(2, 12, GridFormat.BINARY)

    async def main(vault: Vault) -> None:
        for content in files:
            write_draft(vault, b"/d/state.tmp", content)
            folder = vault.tree.resolve(b"/d").ino
            vault.tree.rename(folder, b"state.tmp", folder, b"state")
            await vault.sealer.seal_due(everything=True)
            assert await read(vault, b"/d/state") == content
        kinds = [frame[0] for frame in frames(vault).values()]
        assert kinds.count(FrameKind.NESTED) == len(files) - 1

    in_vault(main, tmp_path / "v")


def test_near_equal_grids_sealed_together_share(tmp_path):
    files = files_of(3, 30, GridFormat.NPY)

    async def main(vault: Vault) -> None:
        for number, content in enumerate(files):
            write_draft(vault, b"/d/%d" % number, content)
        await vault.sealer.seal_due(everything=True)
        for number, content in enumerate(files):
            assert await read(vault, b"/d/%d" % number) == content
        kinds = [frame[0] for frame in frames(vault).values()]
        assert kinds.count(FrameKind.NESTED) == len(files) - 1

    in_vault(main, tmp_path / "v")


def test_a_grid_has_the_same_cells_in_all_formats(tmp_path):
    (grid,) = drifting(4, 1)

    async def main(vault: Vault) -> None:
        for one in FORMATS:
            await vault.write_document(b"/" + one.suffix.encode(), encode(grid, one))
        assert len(frames(vault)) == 4  # cells, a layout, a recipe and the header of .npy
        for one in FORMATS:
            summary = await vault.summarize(vault.tree.resolve(b"/" + one.suffix.encode()).ino)
            assert summary.records == 1
            assert summary.conversations == 0

    in_vault(main, tmp_path / "v")


def test_the_segments_of_a_grid_are_cells(tmp_path):
    (grid,) = drifting(4, 1)

    async def main(vault: Vault) -> None:
        ino = await vault.write_document(b"/g", encode(grid, GridFormat.JSON))
        (extent,) = vault.extents_of_file(ino)
        (value,) = vault.reader.body(extent.record).values  # type: ignore[arg-type]
        assert not isinstance(value, bytes)
        assert value.types == (SegmentType.OTHER, SegmentType.CELLS)

    in_vault(main, tmp_path / "v")


def test_differences_are_read_through_few_others(tmp_path):
    """Those of 300 versions through DEPTH_MAX at most, and each refers to an earlier one."""
    files = files_of(5, 300, GridFormat.BINARY, changes=1)

    async def main(vault: Vault) -> None:
        for content in files:
            await vault.write_document(b"/state", content)
        depths = [depth_of(frame) for frame in frames(vault).values()]
        assert 3 <= max(depths) <= DEPTH_MAX
        assert depths.count(0) < 20

    in_vault(main, tmp_path / "v")


@pytest.mark.parametrize("grid_format", FORMATS)
def test_grids_outlive_what_is_done_with_a_vault(tmp_path, grid_format):
    """And a second reader of the packs alone sees the same after each step."""
    files = files_of(6, 24, grid_format)
    directory = tmp_path / "v"

    async def fill(vault: Vault) -> None:
        for number, content in enumerate(files[:16]):
            await vault.write_document(b"/d/%d" % (number % 6), content)

    async def delete(vault: Vault) -> None:
        folder = vault.tree.resolve(b"/d").ino
        for name in (b"0", b"1", b"3"):
            vault.tree.unlink(folder, name)

    async def collect(vault: Vault) -> None:
        await vault.gc()

    async def more(vault: Vault) -> None:
        for number, content in enumerate(files[12:]):
            await vault.write_document(b"/e/%d" % number, content)

    check(directory, fill, delete, collect, more, collect)
    expected = check(directory, compact, delete_all(b"/e", 5), collect, compact)
    for path in directory.glob("index.db*"):
        path.unlink()
    assert anyio.run(rebuild_index, directory).clean
    found = check(directory, more, collect)
    assert {path: found[path]["content"] for path in expected if path.startswith("/d/")} == {
        path: expected[path]["content"] for path in expected if path.startswith("/d/")
    }


def delete_all(folder: bytes, every: int) -> Callable[[Vault], Awaitable[None]]:
    async def step(vault: Vault) -> None:
        parent = vault.tree.resolve(folder).ino
        for dentry, _ in list(vault.tree.page(parent, 0, 1000))[::every]:
            vault.tree.unlink(parent, dentry.name)

    return step


def test_what_differences_need_stays_until_they_go(tmp_path):
    files = files_of(7, 9, GridFormat.BINARY)

    async def main(vault: Vault) -> None:
        for content in files:
            await vault.write_document(b"/state", content)
        await vault.gc()
        assert await read(vault, b"/state") == files[-1]
        kept = {number: depth_of(frame) for number, frame in frames(vault).items()}
        assert min(kept.values()) == 0
        vault.tree.unlink(1, b"state")  # type: ignore[arg-type]
        await vault.gc()
        assert not frames(vault)
        assert not rows(vault)

    in_vault(main, tmp_path / "v")


def test_after_compaction_differences_begin_anew(tmp_path):
    files = files_of(8, 8, GridFormat.JSON)

    async def main(vault: Vault) -> None:
        for content in files[:4]:
            await vault.write_document(b"/state", content)
        await vault.compact()
        assert not frames(vault)
        for content in files[4:]:
            await vault.write_document(b"/state", content)
            assert await read(vault, b"/state") == content
        kinds = [frame[0] for frame in frames(vault).values()]
        assert kinds.count(FrameKind.NESTED) == 3

    in_vault(main, tmp_path / "v")


def test_a_damaged_version_spoils_those_told_by_it_and_no_new_one(tmp_path):
    files = files_of(11, 6, GridFormat.BINARY)
    directory = tmp_path / "v"

    async def fill(vault: Vault) -> None:
        for number, content in enumerate(files[:4]):
            await vault.write_document(b"/%d" % number, content)
        await vault.write_document(b"/other", encode(drifting(99, 1)[0], GridFormat.NPY))

    in_vault(fill, directory)
    pack = directory / "packs" / "00000001.pack"
    blocks = pack.read_bytes()
    first = next(
        at for at in range(len(blocks)) if blocks[at : at + 5] == b"SKb1\x02"
    )  # of segments: the cells of the first version
    pack.write_bytes(blocks[: first + 60] + b"\xff\xff" + blocks[first + 62 :])

    async def go_on() -> None:
        async with opened(directory) as vault:
            for number in range(4):
                with pytest.raises(Corrupt):
                    await read(vault, b"/%d" % number)
            for name, content in ((b"/new", files[4]), (b"/newer", files[5])):
                await vault.write_document(name, content)
                assert await read(vault, name) == content
            assert await read(vault, b"/other") == encode(drifting(99, 1)[0], GridFormat.NPY)
            whole, nested = frames_of_new(vault)
            assert nested == FrameKind.NESTED != whole

    anyio.run(go_on)


def frames_of_new(vault: Vault) -> list[int]:
    """Kinds of the last two segments."""
    end = vault._catalogue.next_number(BlockKind.SEGMENTS)
    found = [vault.reader.hot_frame(number) for number in (end - 2, end - 1)]
    return [frame[0] for frame in found if frame]


def test_a_grid_that_grows_shrinks_or_is_changed_in_place_reads_back(tmp_path):
    content = encode(drifting(9, 1)[0], GridFormat.BINARY)
    directory = tmp_path / "v"

    async def main(vault: Vault) -> None:
        expected = bytearray(content)
        write_draft(vault, b"/state", content)
        await vault.sealer.seal_due(everything=True)
        for start, piece in (
            (8 + 8 * 7, struct.pack("<d", 2.5)),
            (0, b"\x14\0\0\0"),
            (len(content), b"appended"),
            (8, struct.pack("<d", float("nan"))),
            (100, b"x" * 33),
        ):
            rewrite(vault, b"/state", start, piece)
            expected[start : start + len(piece)] = piece
            await vault.sealer.seal_due(everything=True)
            assert await read(vault, b"/state") == expected
        vault.files.truncate(vault.tree.resolve(b"/state").ino, 1001)
        await vault.sealer.seal_due(everything=True)
        assert await read(vault, b"/state") == expected[:1001]

    in_vault(main, directory)
    told_by_packs(directory)


def test_a_grid_beyond_the_limit_is_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(cells_module, "GRID_BYTES_MAX", 20_000)

    async def main(vault: Vault) -> None:
        write_draft(vault, b"/a", BINARY)
        await vault.sealer.seal_due(everything=True)
        assert await read(vault, b"/a") == BINARY
        assert not rows(vault)

    in_vault(main, tmp_path / "v")


def test_grids_of_many_parts_share_the_parts_that_are_alike(tmp_path):
    """Beyond what is read in the loop; 500 KB in segments of 64 KiB."""
    first, second = files_of(10, 2, GridFormat.BINARY, width=250, height=250)

    async def main(vault: Vault) -> None:
        for content in (first, second):
            write_draft(vault, b"/a", content)
            await vault.sealer.seal_due(everything=True)
            assert await read(vault, b"/a") == content
        sizes = [len(frame) for frame in frames(vault).values() if frame[0] == FrameKind.NESTED]
        assert 1 <= len(sizes) <= 5
        assert sum(sizes) < 150

    in_vault(main, tmp_path / "v")


CELLS = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=12, deadline=None)
@given(st.data(), st.sampled_from(FORMATS), st.integers(0, 2**32))
def test_random_grids_and_changes(tmp_path_factory, data, grid_format, seed):
    width, height = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    count = width * height
    numbers = data.draw(st.lists(CELLS, min_size=count, max_size=count))
    grid = Grid.of(np.array(numbers).reshape(height, width))
    files = [encode(grid, grid_format)]
    for _ in range(data.draw(st.integers(1, 6))):
        grid[data.draw(st.integers(0, width)), data.draw(st.integers(0, height))] = data.draw(CELLS)
        files.append(encode(grid, grid_format))
    rng = random.Random(seed)
    directory = tmp_path_factory.mktemp("grids") / "v"

    async def fill(vault: Vault) -> None:
        for content in files:
            await vault.write_document(b"/%d" % rng.randrange(4), content)
            assert content in [await vault.read_file(inode.ino) for _, inode in
                               [entry async for entry in vault.walk()]]  # fmt: skip

    async def collect(vault: Vault) -> None:
        await vault.gc()

    check(directory, fill, collect, *([compact] if seed % 2 else []), fill, collect)
