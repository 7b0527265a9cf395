"""Finding what is nearly the same."""

import json

import pytest

from stowkenfs import Vault, VaultConfig
from tests.vault.near import (
    NEAR,
    PLAIN,
    QUICK,
    fill,
    in_vault,
)


@pytest.mark.parametrize("config", [PLAIN, NEAR], ids=["plain", "deltas"])
@pytest.mark.parametrize("compact", [False, True])
def test_clusters_are_found_however_they_are_stored(config: VaultConfig, compact: bool) -> None:
    async def main(vault: Vault) -> None:
        await fill(vault)
        if compact:
            await vault.compact(QUICK)
        told: list[tuple[int, int]] = []
        a, b = await vault.find_near_duplicates(progress=lambda *one: told.append(one))
        assert (a.refs, a.tokens, a.file) == (19, 250, "/a/0.json")
        assert (b.refs, b.tokens, b.file) == (4, 100, "/b/0.json")
        assert {member.file for member in b.members} == {f"/b/{n}.json" for n in range(1, 5)}
        segments = {
            name: (await vault.retrieve(name)).segments[0] for name in ("b/0", "b/1", "b/2")
        }
        assert b.canonical == segments["b/0"].hash.hex()
        by_file = {member.file: member for member in b.members}
        for name in ("b/1", "b/2"):
            one, other = (set(segments[n].tokens.tolist()) for n in ("b/0", name))
            member = by_file[f"/{name}.json"]
            assert member.hash == segments[name].hash.hex()
            assert member.similarity == pytest.approx(len(one & other) / len(one | other), abs=1e-3)
        assert [m.similarity for m in a.members] == sorted(
            (m.similarity for m in a.members), reverse=True
        )
        assert told[-1][0] == told[-1][1] == max(told)[0] > 0
        assert json.loads(json.dumps(a.to_dict()))["members"][0]["tokens"] == 250

    in_vault(None, main, config=config)


def test_clusters_are_as_large_and_as_many_as_asked_for() -> None:
    async def main(vault: Vault) -> None:
        await fill(vault)
        assert [one.refs for one in await vault.find_near_duplicates(min_refs=5)] == [19]
        assert [one.refs for one in await vault.find_near_duplicates(limit=1)] == [19]
        assert await vault.find_near_duplicates(limit=0) == []
        assert await vault.find_near_duplicates(0.999) == []
        for bad in ({"threshold": 0}, {"threshold": 1.1}, {"min_refs": 0}, {"limit": -1}):
            with pytest.raises(ValueError, match="is a"):
                await vault.find_near_duplicates(**bad)

    in_vault(None, main)


def test_what_no_file_refers_to_is_in_no_cluster() -> None:
    async def main(vault: Vault) -> None:
        assert await vault.find_near_duplicates() == []
        await fill(vault)
        await vault.delete("b/0")
        await vault.delete("b/3")
        _, b = await vault.find_near_duplicates()
        assert (b.refs, b.file) == (2, "/b/1.json")

    in_vault(None, main, config=PLAIN)
