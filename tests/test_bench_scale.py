"""``tools/bench --scale`` fills two vaults and tells how what they do grows."""

import csv
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from lib.scale.command import LADDERS, chosen
from lib.scale.generate import BYTES, FILES, Generator, deleted, path_of
from lib.scale.passages import Passages
from lib.scale.plot import drawn
from lib.scale.rows import COLUMNS, Row, grown, read_rows

from tests.test_bench import bench

SVG = "{http://www.w3.org/2000/svg}"
EACH_SIZE = {
    "ingest_cpu_s_per_mb", "ingest_us_per_file", "ingest_log_peak", "ingest_memory", "ingest_close",
    "open_cold", "open_warm", "close", "lookup_cold", "lookup_warm", "read_cold", "look_memory",
    "index", "vault", "compact_s_per_mb", "compact_memory", "gc", "gc_memory",
}  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ``scale.csv``, ``scale.svg``, the table and the progress."""
    directory = tmp_path_factory.mktemp("scale")
    texts = directory / "texts"
    texts.mkdir()
    (texts / "one.json").write_text('{"said": "%s"}' % ("A sentence of many. " * 200))
    done = bench(
        "--scale", "--sizes", "files=20,60", "bytes=100k", "--corpora", texts,
        "--csv", directory / "scale.csv", "--plot", directory / "scale.svg",
        "--work", directory / "work",
    )  # fmt: skip
    (directory / "out").write_text(done.stdout)
    (directory / "err").write_text(done.stderr)
    return directory


def test_a_row_for_each_size_and_measure(out: Path) -> None:
    with (out / "scale.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    found = {(one["ladder"], int(one["size"]), one["measure"]) for one in lines}
    for ladder, sizes in ((FILES, (20, 60)), (BYTES, (100_000,))):
        for size in sizes:
            assert {name for of, at, name in found if (of, at) == (ladder, size)} >= EACH_SIZE
    values = {(one["measure"]): float(one["value"]) for one in lines}
    assert values["open_warm"] > 0
    assert values["ingest_memory"] > 20


def test_curves_and_a_table_come_of_it(out: Path) -> None:
    picture = ET.parse(out / "scale.svg").getroot()
    assert picture.tag == f"{SVG}svg"
    assert len(picture.findall(f".//{SVG}polyline")) > 30
    shown = (out / "out").read_text()
    assert "lookup_cold, compacted" in shown
    assert "### Growth by bytes" in shown
    assert "bench: files: up to 60" in (out / "err").read_text()
    vaults = sorted(path.name for path in (out / "work").glob("*/vault"))
    assert len(vaults) == 2
    assert drawn(read_rows(out / "scale.csv")).count("<g ") == 18


def test_a_number_gives_the_same_file_again() -> None:
    for ladder in LADDERS:
        one, two = (Generator(Passages([], 7), ladder, 7, 10_000) for _ in range(2))
        assert one.content(5) == two.content(5) != one.content(6)
        other = Generator(Passages([], 8), ladder, 8, 10_000)
        assert other.content(5) != one.content(5)
        assert path_of(ladder, 5) != path_of(ladder, 6)
    sizes = [len(Generator(Passages([], 7), FILES, 7).content(number)) for number in range(50)]
    assert 1000 < sum(sizes) / len(sizes) < 2500
    assert deleted(FILES, 1000, 3000) == range(1000, 1020)


def test_growth_is_told_beside_a_hundredth() -> None:
    rows = [
        Row(FILES, size, "imported", "ingest_us_per_file", value, "us")
        for size, value in ((1000, 10.0), (10_000, 20.0), (1_000_000, 50.0))
    ]
    head, _, line = grown(rows, FILES).splitlines()
    assert head.split("|")[-2].strip() == "1M / 10k"
    assert line.split("|")[-2].strip() == "2.50"


def test_sizes_are_read() -> None:
    assert chosen("all", []) == LADDERS
    assert chosen("files", ["files=30,2k"]) == {FILES: [30, 2000]}
    assert chosen("bytes", ["bytes=1G,1M"]) == {BYTES: [10**6, 10**9]}
    for words, sizes in (("ponds", []), ("files", ["files=many"]), ("files", ["ponds=1"])):
        with pytest.raises(SystemExit, match="bench: "):
            chosen(words, sizes)


def test_options_of_scale_want_it() -> None:
    program = Path(__file__).parents[1] / "tools" / "bench"
    ran = subprocess.run(
        [sys.executable, program, "--csv", "x", "y"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert "options of --scale" in ran.stderr
