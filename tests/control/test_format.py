"""Reports as people read them."""

import pytest

from stowkenfs.control.format import format_count, format_size, format_stats
from stowkenfs.control.format import printable as as_printable
from stowkenfs.control.verification import format_verify
from stowkenfs.vault.stats import VaultStats
from stowkenfs.vault.verify import DamagedRange, VerifyReport


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (999_999_999_999_999, "909.5 TiB"),
        (1 << 70, "1024.0 EiB"),
    ],
)
def test_sizes(size, text):
    assert format_size(size) == text


def test_counts():
    assert format_count(1, "file") == "1 file"
    assert format_count(1234, "file") == "1,234 files"
    assert format_count(0, "directory", "directories") == "0 directories"


def test_stats_are_aligned_and_complete():
    stats = VaultStats(
        documents=1234,
        conversations=1200,
        segments=5,
        records=6,
        templates=7,
        frames={"0x01": {"frames": 2, "bytes": 10}, "0x7f": {"frames": 3, "bytes": 2048}},
        bytes_in=3 << 20,
        sealed_bytes=1 << 20,
        storage_bytes=4096,
        disk_bytes=8192,
        drafts=1,
        ratio=384.0,
    )
    lines = format_stats(stats).splitlines()
    words = [line.split() for line in lines]
    assert ["files", "1,234"] in words
    assert ["bytes", "on", "disk", "8.0", "KiB", "8,192"] in words
    assert ["frames", "0x7f", "3", "2.0", "KiB"] in words
    assert len({len(line.split("  ")[0]) for line in lines}) > 1
    assert all(line == line.rstrip() for line in lines)


def test_a_vault_in_memory_takes_no_disk():
    stats = VaultStats(0, 0, 0, 0, 0, {}, 0, 0, 0, 0, 0)
    assert "disk" not in format_stats(stats)


def test_a_clean_verification_ends_with_all_is_well():
    text = format_verify(VerifyReport(blocks=1, records=2, segments=3, stored_bytes=1024))
    assert text == "checked 1 block, 2 records, 3 segments: 1.0 KiB\nall is well\n"


def test_damage_is_named_line_by_line():
    report = VerifyReport(
        problems=["block at byte 0 of pack 1: its checksum does not match"],
        files=[DamagedRange("/a\nb\x1b[31m", 0, 10), DamagedRange("/a\nb\x1b[31m", 20, 30)],
        omitted=2,
    )
    lines = format_verify(report).splitlines()
    assert lines[1:] == [
        "damaged: block at byte 0 of pack 1: its checksum does not match",
        r"cannot be read: /a\nb\x1b[31m, bytes 0 to 10",
        r"cannot be read: /a\nb\x1b[31m, bytes 20 to 30",
        "and 2 lines more",
        "1 problem found, 1 file damaged",
    ]


def test_names_stay_on_their_line():
    assert as_printable("grüße 潮.json") == "grüße 潮.json"
    assert as_printable("\udcff\r") == r"\udcff\r"
