"""Sizes on the disk, and those of the archives that a vault is compared with."""

import io
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import zstandard

LEVEL = 19


def disk_bytes(directory: Path) -> int:
    """What ``du`` says, in bytes."""
    out = subprocess.run(
        ["du", "-s", "--block-size=1", directory], check=True, capture_output=True, text=True
    )
    return int(out.stdout.split()[0])


def files_below(directory: Path) -> list[Path]:
    """Regular files, sorted."""
    paths = (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(paths)


class Counter(io.RawIOBase):
    """Counts what is written to it."""

    size = 0

    def writable(self) -> bool:
        return True

    def write(self, content: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        self.size += len(content)
        return len(content)


def archive_bytes(sources: Sequence[Path], window_log: int) -> int:
    """Size of the directories as one name-sorted tar under zstd -19 --long=``window_log``.

    Times and owners are left out of it, so that the size is that of names and contents.
    """
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, window_log=window_log, enable_ldm=True
    )
    counter = Counter()
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    with (
        compressor.stream_writer(cast("IO[bytes]", counter), closefd=False) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as archive,
    ):
        for path, name in _members(sources):
            archive.add(path, name, recursive=False, filter=_anonymous)
    return counter.size


def _members(sources: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    for source in sources:
        for path in sorted((source, *source.rglob("*"))):
            yield path, str(path.relative_to(source.parent))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
