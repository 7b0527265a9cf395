"""What a compaction asks of the names takes no longer where a directory has very many."""

import anyio

from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.vault import Vault
from tests.vault.test_closed import TEXT

CHANGED = ("SELECT", "INSERT", "DELETE", "UPDATE")


def test_no_statement_goes_through_a_whole_directory(tmp_path) -> None:
    async def main() -> set[str]:
        async with Vault.open(tmp_path / "v", VaultConfig(seal_after_seconds=0)) as vault:
            said: set[str] = set()
            vault._connection._writer.set_trace_callback(said.add)
            for start in range(0, 200, 20):
                for number in range(start, start + 20):
                    await vault.write_document(b"/all/%d" % number, TEXT % number)
                await vault.compact()
            vault._connection._writer.set_trace_callback(None)
            about = {one for one in said if "dentry" in one and one.startswith(CHANGED)}
            assert {one.split()[0] for one in about} >= {"SELECT", "INSERT", "DELETE"}
            return {
                f"{one}: {detail}"
                for one in about
                for *_, detail in vault._connection._writer.execute(f"EXPLAIN QUERY PLAN {one}")
                if "dentry_cookie (parent>" in detail or detail.startswith("SCAN dentry")
            }

    assert not anyio.run(main)
