"""What is measured: directories, and the corpora beside the repository."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CORPORA = Path(__file__).resolve().parents[4] / "shared" / "corpora"
ARCHIVE_SUFFIX = ".tar.zst"


@dataclass(frozen=True, slots=True)
class Corpus:
    """A directory, and how large it is packed where it came as an archive."""

    name: str
    path: Path
    packed_bytes: int | None


def say(message: str) -> None:
    print(f"bench: {message}", file=sys.stderr, flush=True)


def find_corpora(names: Sequence[str], scratch: Path) -> list[Corpus]:
    """Directories and unpacked corpora of these names; all corpora where none is named."""
    if not names:
        archives = CORPORA.glob(f"*{ARCHIVE_SUFFIX}")
        names = sorted(archive.name.removesuffix(ARCHIVE_SUFFIX) for archive in archives)
        if not names:
            sys.exit(f"bench: no corpora in {CORPORA}; name directories with --corpora")
    found = []
    for name in names:
        path = unpacked(name, scratch)
        archive = CORPORA / f"{path.name}{ARCHIVE_SUFFIX}"
        found.append(Corpus(path.name, path, archive.stat().st_size if archive.exists() else None))
    if len({corpus.name for corpus in found}) < len(found):
        sys.exit("bench: two of the directories have the same name")
    return found


def unpacked(name: str, scratch: Path) -> Path:
    """The directory itself, or the corpus of that name, unpacked."""
    if Path(name).is_dir():
        return Path(name).resolve()
    if not (CORPORA / f"{name}{ARCHIVE_SUFFIX}").exists():
        sys.exit(f"bench: {name} is neither a directory nor a corpus in {CORPORA}")
    say(f"unpacking {name}")
    subprocess.run([CORPORA / "unpack", scratch / "corpora", name], check=True)
    return scratch / "corpora" / name


def write_log(corpora: Sequence[Corpus], path: Path, bytes_max: int) -> int:
    """A log of different records of the corpora, one a line, up to a size; its size."""
    seen: set[int] = set()
    size = 0
    with path.open("wb") as log:
        for corpus in corpora:
            for line in _lines(corpus.path):
                if hash(line) in seen:
                    continue
                seen.add(hash(line))
                size += log.write(line)
                if size >= bytes_max:
                    return size
    return size


def _lines(directory: Path) -> Iterator[bytes]:
    for path in sorted(directory.rglob("*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        try:
            whole = json.loads(content)
        except ValueError:
            yield from content.splitlines(keepends=True)
            continue
        for record in whole if isinstance(whole, list) else [whole]:
            yield _line(record)


def _line(record: Any) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
