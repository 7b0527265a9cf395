"""The index's log starts anew although somebody writes all the time."""

from pathlib import Path

import anyio
import pytest

from stowkenfs.vault import engine
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.vault import Vault
from tests.vault.test_closed import TEXT


@pytest.mark.parametrize("is_long", [True, False])
def test_a_long_log_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_long: bool
) -> None:
    monkeypatch.setattr(engine, "LOG_BYTES_MAX", 0 if is_long else 1 << 40)

    async def main() -> None:
        async with Vault.open(tmp_path / "v", VaultConfig(seal_after_seconds=0)) as vault:
            connection = vault._connection

            def write_once_more() -> None:
                with connection.transaction():
                    connection.execute("INSERT OR REPLACE INTO setting VALUES ('written', 2)")

            for number in range(20):
                await vault.write_document(b"/%d" % number, TEXT % number)
            assert connection._log_mark is not None
            before = connection._log_mark.frames()
            copy = connection.checkpoint

            def copy_beside_a_writer() -> None:
                """What is written while it copies is left, here because of who reads until then."""
                reader = connection._connect()
                reader.execute("BEGIN")
                reader.execute("SELECT 1 FROM setting").fetchone()
                anyio.from_thread.run_sync(write_once_more)
                copy()
                reader.close()

            monkeypatch.setattr(connection, "checkpoint", copy_beside_a_writer)
            await vault.shorten_index_log()
            write_once_more()
            after = connection._log_mark.frames()
            assert before is not None
            assert after is not None
            assert (after[0] != before[0]) is is_long
            assert (after[1] < before[1]) is is_long
            for number in range(20):
                ino = vault.tree.resolve(b"/%d" % number).ino
                assert await vault.read_file(ino) == TEXT % number

    anyio.run(main)
