"""What every PackStore does, written and read behind the store where the medium allows."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stowkenfs.ids import PackNo
from stowkenfs.store.api import PackStore
from stowkenfs.store.local import OPEN_FILES_MAX, LocalStore
from stowkenfs.store.memory import MemoryStore
from tests.running import names_in


class PackStoreTests:
    """The protocol's promises. Subclasses give a store and a way around it."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> PackStore | Iterator[PackStore]:
        raise NotImplementedError

    def put(self, store: PackStore, pack: int, content: bytes) -> None:
        """A pack that the store did not write."""
        raise NotImplementedError

    def get(self, store: PackStore, pack: int) -> bytes | None:
        """A pack as the medium has it."""
        raise NotImplementedError

    def test_a_write_makes_the_pack(self, store: PackStore) -> None:
        store.write(PackNo(1), 0, b"first")
        assert self.get(store, 1) == b"first"

    def test_writes_at_the_end_follow_each_other(self, store: PackStore) -> None:
        store.write(PackNo(1), 0, b"first")
        store.write(PackNo(1), 5, b"second")
        store.write(PackNo(2), 0, b"other")
        assert (self.get(store, 1), self.get(store, 2)) == (b"firstsecond", b"other")

    def test_a_write_replaces_what_an_interrupted_one_left(self, store: PackStore) -> None:
        self.put(store, 1, b"committed and then some")
        store.write(PackNo(1), 9, b"!")
        assert self.get(store, 1) == b"committed!and then some"

    @pytest.mark.parametrize(
        ("offset", "length", "expected"),
        [
            (0, 10, b"0123456789"),
            (3, 4, b"3456"),
            (8, 10, b"89"),
            (10, 1, b""),
            (99, 1, b""),
            (2, 0, b""),
        ],
    )
    def test_reads_end_with_the_pack(
        self, store: PackStore, offset: int, length: int, expected: bytes
    ) -> None:
        self.put(store, 7, b"0123456789")
        assert store.read(PackNo(7), offset, length) == expected

    def test_an_absent_pack_reads_as_nothing(self, store: PackStore) -> None:
        assert store.read(PackNo(3), 0, 10) == b""
        assert self.get(store, 3) is None
        assert list(store.packs()) == []

    def test_truncate_drops_the_rest(self, store: PackStore) -> None:
        self.put(store, 1, b"kept, dropped")
        store.truncate(PackNo(1), 4)
        assert self.get(store, 1) == b"kept"
        store.write(PackNo(1), 4, b"+")
        assert store.read(PackNo(1), 0, 99) == b"kept+"

    def test_packs_are_listed_by_number(self, store: PackStore) -> None:
        for pack in (10, 9, 100_000_000, 1):
            self.put(store, pack, bytes(pack % 97))
        assert list(store.packs()) == [(1, 1), (9, 9), (10, 10), (100_000_000, 100_000_000 % 97)]

    def test_any_byte_comes_back(self, store: PackStore) -> None:
        content = bytes(range(256)) * 4096
        store.write(PackNo(1), 0, content)
        store.sync(PackNo(1))
        assert store.read(PackNo(1), 0, len(content)) == content

    def test_more_packs_than_files_stay_open(self, store: PackStore) -> None:
        packs = range(1, OPEN_FILES_MAX + 20)
        for pack in packs:
            store.write(PackNo(pack), 0, b"%d" % pack)
            store.sync(PackNo(pack))
        for pack in packs:
            assert store.read(PackNo(pack), 0, 9) == b"%d" % pack

    def test_threads_read_while_one_writes(self, store: PackStore) -> None:
        piece, pieces, failed = b"0123456789abcdef", 300, []

        def read() -> None:
            length = 0
            while length < pieces * len(piece):
                found = store.read(PackNo(1), 0, pieces * len(piece))
                if len(found) < length or found != (piece * pieces)[: len(found)]:
                    failed.append(found)
                    return
                length = len(found)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for at in range(pieces):
            store.write(PackNo(1), at * len(piece), piece)
            store.read(PackNo(at + 2), 0, 1)
        for reader in readers:
            reader.join()
        assert not failed


class TestMemoryStore(PackStoreTests):
    @pytest.fixture
    def store(self, tmp_path: Path) -> MemoryStore:
        return MemoryStore()

    def put(self, store: PackStore, pack: int, content: bytes) -> None:
        assert isinstance(store, MemoryStore)
        store._packs[PackNo(pack)] = bytearray(content)

    def get(self, store: PackStore, pack: int) -> bytes | None:
        assert isinstance(store, MemoryStore)
        held = store._packs.get(PackNo(pack))
        return None if held is None else bytes(held)


class TestLocalStore(PackStoreTests):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[LocalStore]:
        self.directory = tmp_path / "packs"
        store = LocalStore(self.directory)
        yield store
        store.close()

    def put(self, store: PackStore, pack: int, content: bytes) -> None:
        (self.directory / f"{pack:08d}.pack").write_bytes(content)

    def get(self, store: PackStore, pack: int) -> bytes | None:
        path = self.directory / f"{pack:08d}.pack"
        return path.read_bytes() if path.exists() else None

    def test_packs_are_private(self, store: LocalStore) -> None:
        store.write(PackNo(1), 0, b"x")
        assert self.directory.stat().st_mode & 0o777 == 0o700
        assert (self.directory / "00000001.pack").stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("name", ["²²²²²²²².pack", "1.pack", "notes.pack", "00000001.pack~"])
    def test_other_files_are_no_packs(self, store: LocalStore, name: str) -> None:
        (self.directory / name).write_bytes(b"something")
        assert list(store.packs()) == []

    def test_a_closed_store_leaves_no_descriptors(self, tmp_path: Path) -> None:
        before = names_in(Path("/proc/self/fd"))
        store = LocalStore(tmp_path / "packs")
        for pack in range(1, 9):
            store.write(PackNo(pack), 0, b"x")
            store.sync(PackNo(pack))
        store.close()
        assert names_in(Path("/proc/self/fd")) == before

    def test_a_read_only_store_makes_nothing(self, tmp_path: Path) -> None:
        store = LocalStore(tmp_path / "packs", read_only=True)
        assert store.read(PackNo(1), 0, 1) == b""
        assert not (tmp_path / "packs").exists()

    def test_sync_makes_content_then_name_durable(
        self, store: LocalStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The name of a new pack is synced once, after its content."""
        calls: list[str] = []
        fdatasync, fsync = os.fdatasync, os.fsync
        real = {"fdatasync": fdatasync, "fsync": fsync}
        for name, call in real.items():

            def noted(fd: int, name: str = name, call: object = call) -> None:
                calls.append(f"{name} {Path(f'/proc/self/fd/{fd}').readlink().name}")
                assert callable(call)
                call(fd)

            monkeypatch.setattr(os, name, noted)
        store.write(PackNo(1), 0, b"x")
        store.sync(PackNo(1))
        assert calls == ["fdatasync 00000001.pack", "fsync packs"]
        store.write(PackNo(1), 1, b"y")
        store.sync(PackNo(1))
        assert calls[2:] == ["fdatasync 00000001.pack"]
