"""A vault that is open for long moves its keys to packs while others come."""

import anyio
import pytest

from stowkenfs.vault import maintenance
from stowkenfs.vault.assembly import Tally
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.vault import Vault

LINE = b'{"role":"user","content":"A line of more than forty-eight bytes, its number is %d."}\n'


def test_tables_of_keys_stay_small_and_duplicates_are_found(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "FLUSHED_KEYS_MIN", 10)
    monkeypatch.setattr(maintenance, "FLUSHED_WHEN_ADDED", 50)

    async def main() -> None:
        async with Vault.open(tmp_path / "v", VaultConfig(seal_after_seconds=0)) as vault:
            for number in range(30):
                await vault.write_document(b"/%d" % number, LINE % number)
                await vault._tidy_once()
            (kept,) = vault._connection.all("SELECT count(*) FROM record_key")
            assert kept[0] < 30
            assert vault._connection.one("SELECT 1 FROM key_block")
            async with vault._maintenance:  # while a job is at work it is not waited for
                vault._catalogue.keys.added = 50
                await vault._tidy_once()
            for number in range(30):
                again = Tally()
                await vault.write_document(b"/again", LINE % number, tally=again)
                assert again.stored_bytes == 0
            assert (await vault.verify()).clean

    anyio.run(main)
