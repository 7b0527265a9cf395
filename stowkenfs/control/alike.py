"""The search for near duplicates as people ask for it, and the report that they get."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

from stowkenfs.control.format import format_count, printable
from stowkenfs.control.kinds import JobKind, Outcome, Progress, Values
from stowkenfs.control.words import share, whole

if TYPE_CHECKING:
    from stowkenfs.vault.near_clusters import NearCluster, NearMember
    from stowkenfs.vault.vault import Vault

COUNT_MAX = 1_000_000_000
CLUSTERS_MAX = 1_000
"""As many as a report may name."""

MEMBERS_SHOWN = 10
"""Of a cluster, as many as people read; JSON has more."""


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Segments that are nearly the same, in clusters: at least ``threshold`` alike."""

    threshold: float
    clusters: "Sequence[NearCluster]"

    def to_dict(self) -> dict[str, Any]:
        clusters = [cluster.to_dict() for cluster in self.clusters]
        return {"threshold": self.threshold, "clusters": clusters}


def format_near_duplicates(done: "Outcome[NearDuplicates]", report: NearDuplicates) -> str:
    """A sentence, and the clusters one by one."""
    found = format_count(len(report.clusters), "cluster") if report.clusters else "No clusters"
    lines = [
        f"{found} of segments that are at least {report.threshold:g} alike; the search took "
        f"{done.seconds:.1f} s.",
    ]
    for cluster in report.clusters:
        lines += ["", f"{_about(cluster)}, and {format_count(cluster.refs, 'other')} like it"]
        lines += _members(cluster)
    return "".join(f"{line}\n" for line in lines)


def _members(cluster: "NearCluster") -> Iterator[str]:
    """A line for each, but one for those in a row of which the same is told."""
    alike = groupby(f"{one.similarity:.3f}  {_about(one)}" for one in cluster.members)
    told = 0
    for line, same in islice(alike, MEMBERS_SHOWN):
        count = len(list(same))
        told += count
        yield f"  {line}" + (f", {count:,} of them" if count > 1 else "")
    if cluster.refs > told:
        yield f"  and {cluster.refs - told:,} more"


def _about(one: "NearCluster | NearMember") -> str:
    where = "a removed file" if one.file is None else printable(one.file)
    return f"{format_count(one.tokens, 'token')} in {where}"


async def _find(vault: "Vault", values: Values, progress: Progress) -> NearDuplicates:
    clusters = await vault.find_near_duplicates(progress=progress, **values)
    return NearDuplicates(values["threshold"], clusters)


NEAR_DUPLICATES: JobKind[NearDuplicates] = JobKind(
    file="near-duplicates",
    title="near-duplicates",
    words=(
        share("threshold", "how alike two segments have to be", 0.85),
        whole("min_refs", "how many others a cluster has to have", 1, COUNT_MAX, 1),
        whole("limit", "how many clusters are told, the largest first", 1, CLUSTERS_MAX, 100),
    ),
    run=_find,
    told=format_near_duplicates,
    left="Nothing was changed.",
    measured=False,
)
