"""Files that are nearly grids, or grids in a way of their own."""

import gzip
import json
import struct

import numpy as np
import pytest

from stowkenfs.grids.formats import GridFormat, encode
from stowkenfs.grids.grid import Grid
from stowkenfs.vault.vault import Vault
from tests.vault.grids import BINARY, in_vault, read, write_draft
from tests.vault.rebuilding import told_by_packs

NPY_BIG_ENDIAN = encode(Grid.of(np.arange(30.0).reshape(5, 6)), GridFormat.NPY).replace(
    b"<f8", b">f8"
)
ODD = {
    "one cell": encode(Grid(1, 1), GridFormat.BINARY),
    "a row": encode(Grid(1, 100), GridFormat.JSON),
    "a column": encode(Grid(100, 1), GridFormat.JSON),
    "announced": struct.pack("<II", 1 << 31, 1 << 31) + bytes(100),
    "zero": struct.pack("<II", 0, 5) + bytes(100),
    "nan": struct.pack("<II", 4, 4) + np.full(16, np.nan).tobytes(),
    "infinite": struct.pack("<II", 4, 4) + np.full(16, -np.inf).tobytes(),
    "longer": BINARY + b"\0",
    "shorter": BINARY[:-1],
    "two members": gzip.compress(BINARY) * 2,
    "named": b"\x1f\x8b\x08\x08" + bytes(6) + b"state.bin\0" + gzip.compress(BINARY, mtime=0)[10:],
    "extra": b"\x1f\x8b\x08\x04" + bytes(6) + b"\3\0abc" + gzip.compress(BINARY, mtime=0)[10:],
    "behind gzip": gzip.compress(BINARY) + b"\0",
    "cut gzip": gzip.compress(BINARY)[:-3],
    "a bomb": gzip.compress(struct.pack("<II", 2000, 2000) + bytes(8 * 2000 * 2000)),
    "a lie": gzip.compress(struct.pack("<II", 2, 2) + bytes(1 << 20)),
    "stored": gzip.compress(BINARY, 0),
    "fortran": encode(Grid.of(np.arange(30.0).reshape(5, 6)), GridFormat.NPY).replace(
        b"False", b"True "
    ),
    "big endian": NPY_BIG_ENDIAN,
    "integers": b'{"width":10,"height":2,"data":[%s]}' % b",".join(b"%d" % n for n in range(20)),
    "floats": b'{"width":10,"height":2,"data":[%s]}' % b",".join(b"%d.00" % n for n in range(20)),
    "spaces": b'{"width":10,"height":2,"data":[ %s ]}' % b" , ".join(b"1.5" for _ in range(20)),
    "exponents": b'{"width":10,"height":2,"data":[%s]}' % b",".join(b"1E5" for _ in range(20)),
    "too few": b'{"width":10,"height":2,"data":[%s]}' % b",".join(b"1.5" for _ in range(19)),
    "indented": json.dumps({"width": 5, "height": 5, "data": [0.5] * 25}, indent=2).encode(),
    "in another order": json.dumps({"data": [0.5] * 25, "height": 5, "width": 5}).encode(),
    "a conversation": json.dumps(
        {"width": 5, "height": 5, "messages": [{"role": "user", "content": "How wide? " * 9}]}
    ).encode(),
    "begins as one": b'{"width": 5, "height": 5, "data": [0.5, 0.5' + b"," * 100,
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_usual_grid_reads_back(tmp_path, name):
    async def main(vault: Vault) -> None:
        for path in (b"/a", b"/b"):
            write_draft(vault, path, ODD[name])
            await vault.sealer.seal_due(everything=True)
            assert await read(vault, path) == ODD[name]

    in_vault(main, tmp_path / "v")
    assert told_by_packs(tmp_path / "v")["/a"]["content"] == ODD[name]
