"""The cache that the reader keeps decoded things in."""

from stowkenfs.vault.caches import SizedCache


def test_the_least_recently_used_goes_first() -> None:
    cache = SizedCache(10)
    cache.put("a", 1, 4)
    cache.put("b", 2, 4)
    assert cache.get("a") == 1
    cache.put("c", 3, 4)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    cache = SizedCache(10)
    cache.put("a", 1, 10)
    cache.put("giant", 2, 11)
    assert (cache.get("a"), cache.get("giant")) == (1, None)


def test_a_thing_counts_once() -> None:
    cache = SizedCache(10)
    for cost in (9, 2, 5):
        cache.put("a", cost, cost)
    cache.put("b", 0, 5)
    assert (cache.get("a"), cache.get("b")) == (5, 0)
    cache.put("c", 0, 1)
    assert cache.get("a") is None


def test_cleared() -> None:
    cache = SizedCache(10)
    cache.put("a", 1, 10)
    cache.clear()
    assert cache.get("a") is None
    cache.put("b", 2, 10)
    assert cache.get("b") == 2


def test_many_at_once() -> None:
    cache = SizedCache(10)
    cache.put_many([("a", 1, 4), ("giant", 2, 11), ("b", 3, 4)])
    assert cache.get_many(["b", "giant", "a", "absent"]) == [3, None, 1, None]
    cache.put_many([("c", 4, 4)])
    assert cache.get_many("abc") == [1, None, 4]
