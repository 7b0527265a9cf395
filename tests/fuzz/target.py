"""A decoder, what to feed it, and what it may answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from stowkenfs import kernels
from stowkenfs.errors import Corrupt
from tests.fuzz.mutation import mutated
from tests.kernels import outcome, using


def as_it_is(content: bytes) -> bytes:
    """Content without checksums."""
    return content


@dataclass(frozen=True)
class Target:
    """One decoder.

    ``run`` decodes and uses what came out; it may raise ``allowed`` and nothing else. ``mend``
    makes checksums right again, so that what is behind them is reached. ``seeds`` are valid.
    """

    name: str
    run: Callable[[bytes], Any]
    seeds: Callable[[], Sequence[bytes]]
    allowed: tuple[type[Exception], ...] = (Corrupt,)
    mend: Callable[[bytes], bytes] = as_it_is
    slow: bool = False
    """It takes more than some milliseconds."""

    def check(self, content: bytes) -> bool:
        """Run it; whether ``content`` was taken. Raises what must not come out."""
        try:
            self.run(content)
        except self.allowed:
            return False
        return True

    def case(self, entropy: bytes) -> bytes:
        """An input, decided by ``entropy``."""
        seeds = self.seeds()
        which = int.from_bytes(entropy[:2], "little") % len(seeds)
        return self.mend(mutated(seeds[which], seeds, entropy[2:]))

    def cases(self) -> st.SearchStrategy[bytes]:
        """Inputs for hypothesis."""
        return st.binary(max_size=40).map(self.case)


def alike(run: Callable[[], Any]) -> Any:
    """The outcome of ``run``: with what is compiled, where it is, the same as without.

    An error comes out as its kind. Of several things that are wrong each way may name another.
    """
    found = []
    for compiled in (kernels.built, None):
        with using(compiled):
            found.append(outcome(run))
    if not all(isinstance(one, type) for one in found):
        assert found[0] == found[1]
    return found[0]
