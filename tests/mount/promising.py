"""A process that changes files, syncs each change, and only then notes what is promised."""

import hashlib
import json
import mmap
import multiprocessing
import os
import random
from collections.abc import Iterator
from pathlib import Path

GONE = "gone"
"""Of a name that was deleted, and must stay so."""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Promising:
    """One writer in ``folder``; ``notes`` has a line for each promise, in their order.

    A note is about a name in the folder: the digest of its content, or GONE. Before something
    that was promised changes, its name is noted as ``changing``: it may be this or that then.
    """

    def __init__(self, folder: Path, notes: Path, seed: int) -> None:
        self._folder, self._notes = folder, notes
        self._chance = random.Random(f"{folder.name} {seed}")
        notes.touch()
        self._process = multiprocessing.get_context("fork").Process(target=self._run)
        self._process.start()

    def end(self) -> None:
        self._process.kill()
        self._process.join()

    # Looking

    def _lines(self) -> list[tuple[str, str | None]]:
        lines = self._notes.read_bytes().split(b"\n")[:-1]
        return [tuple(json.loads(line)) for line in lines]

    def count(self) -> int:
        """Promises that were made."""
        return sum(digest is not None for _, digest in self._lines())

    def promised(self) -> dict[str, str]:
        """{name: digest or GONE} of what was not being changed."""
        now: dict[str, str] = {}
        for name, digest in self._lines():
            if digest is None:
                now.pop(name, None)
            else:
                now[name] = digest
        return now

    def check(self) -> None:
        """Fail unless all that was promised is as it was promised."""
        for name, digest in self.promised().items():
            path = self._folder / name
            if digest == GONE:
                assert not path.exists(), f"{path} is back"
                continue
            assert path.exists(), f"{path} is lost"
            colour = os.getxattr(path, "user.colour") if name.startswith("marked") else b""
            assert _digest(path.read_bytes() + colour) == digest, f"{path} is different"

    # Writing

    def _run(self) -> None:
        try:
            self._folder.mkdir()
            _sync(self._folder.parent)
            changes = self._changes()
            while True:
                next(changes)
        except OSError:
            pass
        finally:
            os._exit(0)

    def _note(self, name: str, digest: str | None) -> None:
        with self._notes.open("ab", buffering=0) as notes:
            notes.write(json.dumps([name, digest]).encode() + b"\n")

    def _text(self) -> bytes:
        text = self._chance.randbytes(self._chance.randint(5, 3000)).hex()
        return json.dumps({"role": "user", "content": text}).encode() + b"\n"

    def _write(self, path: Path, content: bytes, flags: int) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600)
        try:
            while content:
                content = content[os.write(fd, content) :]
            os.fsync(fd)
        finally:
            os.close(fd)

    def _changes(self) -> Iterator[None]:
        """One change after another, each promised once it is synced."""
        log = b""
        for at in range(10**6):
            content = self._text()
            self._write(self._folder / f"new {at}", content, os.O_EXCL)
            _sync(self._folder)
            self._note(f"new {at}", _digest(content))
            yield
            self._note("log", None)
            log += content
            self._write(self._folder / "log", content, os.O_APPEND)
            _sync(self._folder)
            self._note("log", _digest(log))
            yield
            for change in (self._replace, self._rewrite, self._map, self._link):
                change(self._text(), at)
                yield
            for step in (self._move, self._mark, self._delete):
                step(self._text(), at)
                yield

    def _replace(self, content: bytes, at: int) -> None:
        self._note("replaced", None)
        self._write(self._folder / "temporary", content, os.O_TRUNC)
        (self._folder / "temporary").rename(self._folder / "replaced")
        _sync(self._folder)
        self._note("replaced", _digest(content))

    def _rewrite(self, content: bytes, at: int) -> None:
        self._note("rewritten", None)
        self._write(self._folder / "rewritten", content, os.O_TRUNC)
        _sync(self._folder)
        self._note("rewritten", _digest(content))

    def _map(self, content: bytes, at: int) -> None:
        path = self._folder / "mapped"
        self._note("mapped", None)
        with path.open("w+b") as file:
            file.truncate(len(content))
            with mmap.mmap(file.fileno(), len(content)) as view:
                view[:] = content
                view.flush()
            os.fsync(file.fileno())
        _sync(self._folder)
        self._note("mapped", _digest(content))

    def _link(self, content: bytes, at: int) -> None:
        os.link(self._folder / f"new {at}", self._folder / f"link {at}")
        _sync(self._folder)
        self._note(f"link {at}", _digest((self._folder / f"new {at}").read_bytes()))

    def _move(self, content: bytes, at: int) -> None:
        """A directory with a file in it gets another name."""
        old, new = self._folder / f"dir {at}", self._folder / f"moved {at}"
        old.mkdir()
        self._write(old / "file", content, os.O_EXCL)
        _sync(old)
        old.rename(new)
        _sync(self._folder)
        self._note(f"moved {at}/file", _digest(content))
        self._note(f"dir {at}", GONE)

    def _mark(self, content: bytes, at: int) -> None:
        name = f"marked {at}"
        path, colour = self._folder / name, b"\x00blue %d" % at
        self._write(path, content, os.O_EXCL)
        os.setxattr(path, "user.colour", colour)
        _sync(path)
        _sync(self._folder)
        self._note(name, _digest(content + colour))

    def _delete(self, content: bytes, at: int) -> None:
        if at < 1:
            return
        name = f"new {at - 1}"
        self._note(name, None)
        (self._folder / name).unlink()
        _sync(self._folder)
        self._note(name, GONE)
