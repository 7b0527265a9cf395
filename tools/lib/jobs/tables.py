"""What was measured of the jobs as Markdown tables."""

from collections.abc import Sequence
from typing import Any

from lib.density.tables import table

Told = dict[str, Any]

FRAME_KINDS = ("0x01", "0x02", "0x03", "0x04", "0x05")
WORDS_TOLD = ("reason", "refused")
MEBI = 1 << 20


def sequence(corpus: Told) -> str:
    """What one corpus takes after each job."""
    headers = (
        "after", *FRAME_KINDS, "registry", "storage", "vault, du", "s", "peak MiB", "all MiB",
    )  # fmt: skip
    rows = [
        (
            step["step"],
            *(f"{step['frames'].get(kind, 0):,}" for kind in FRAME_KINDS),
            f"{step['registry_bytes']:,}",
            f"{step['storage_bytes']:,}",
            f"{step['disk_bytes']:,}",
            f"{step['seconds']:.1f}",
            f"{step['own_peak_bytes'] / MEBI:.0f}",
            f"{step['together_peak_bytes'] / MEBI:.0f}",
        )
        for step in corpus["steps"]
    ]
    notes = [f"- {step['step']}: {note}" for step in corpus["steps"] if (note := _note(step))]
    return "\n\n".join(
        (
            f"**{corpus['name']}**: {corpus['bytes_in']:,} bytes, then {corpus['edited_bytes']:,}"
            " of half of the files with words put in.",
            table(headers, rows),
            *(["\n".join(notes)] if notes else []),
        )
    )


def _note(step: Told) -> str:
    """Why a job did nothing, where it said so."""
    report = step["report"]
    return "; ".join(str(report[word]) for word in WORDS_TOLD if report.get(word))


def summary(told: Sequence[Told]) -> str:
    """All corpora."""
    headers = (
        "corpus", "frames at first", "after substrings", "+ registry", "vault, du at first",
        "before compact", "compacted", "slowest job", "s", "most MiB",
    )  # fmt: skip
    rows = []
    for corpus in told:
        steps = {step["step"]: step for step in corpus["steps"]}
        first, collected = steps["import"], steps["gc substrings"]
        slowest = max(corpus["steps"], key=lambda step: step["seconds"])
        rows.append(
            (
                corpus["name"],
                f"{first['frame_bytes']:,}",
                f"{collected['frame_bytes']:,}",
                f"{collected['registry_bytes']:,}",
                f"{first['disk_bytes']:,}",
                f"{steps['verify']['disk_bytes']:,}",
                f"{steps['compact']['disk_bytes']:,}",
                slowest["step"],
                f"{slowest['seconds']:.1f}",
                f"{max(step['together_peak_bytes'] for step in corpus['steps']) / MEBI:.0f}",
            )
        )
    return table(headers, rows)


def configurations(one: Told) -> str:
    """What one set takes in each configuration."""
    headers = (
        "configuration", "frames", "registry", "both", "bits a byte", "storage", "vault, du",
        "compacted, du", "peer frames", "registry", "both", "bits a byte", "du", "both, x peer",
    )  # fmt: skip
    rows = []
    for name, pair in one["configurations"].items():
        ours, peer = pair["ours"], pair["peer"]
        cells = (
            *_sizes(ours, one),
            f"{ours['storage_bytes']:,}",
            f"{ours['disk_bytes']:,}",
            f"{ours['compacted_disk_bytes']:,}",
        )
        theirs = (
            (*_sizes(peer, one), f"{peer['disk_bytes']:,}", f"{_both(ours) / _both(peer):.3f}")
            if peer
            else ("-",) * 6
        )
        rows.append((name, *cells, *theirs))
    return "\n\n".join(
        (
            f"**{one['name']}**: {one['conversations']:,} conversations that say"
            f" {one['content_bytes']:,} bytes.",
            table(headers, rows),
        )
    )


def _sizes(of: Told, one: Told) -> tuple[str, ...]:
    return (
        f"{of['frame_bytes']:,}",
        f"{of['registry_bytes']:,}",
        f"{_both(of):,}",
        f"{8 * of['frame_bytes'] / one['content_bytes']:.2f}",
    )


def _both(of: Told) -> int:
    """What frames and what they refer to take."""
    return int(of["frame_bytes"] + of["registry_bytes"])


def best(told: Sequence[Told]) -> str:
    """The configuration in which each is smallest, frames alone and with the registry."""
    headers = ("smallest", "ours", "bytes", "peer", "bytes", "x peer")
    rows = []
    for one in told:
        for what, size in (("frames", _frames), ("frames and registry", _both)):
            ours, ours_bytes = _least(one, "ours", size)
            theirs, peer_bytes = _least(one, "peer", size)
            times = f"{ours_bytes / peer_bytes:.3f}" if peer_bytes else "-"
            rows.append(
                (
                    f"{one['name']}: {what}",
                    ours,
                    f"{ours_bytes:,}",
                    theirs,
                    f"{peer_bytes:,}" if peer_bytes else "-",
                    times,
                )
            )
    return table(headers, rows)


def _frames(of: Told) -> int:
    return int(of["frame_bytes"])


def _least(one: Told, who: str, size: Any) -> tuple[str, int]:
    found = [(size(pair[who]), name) for name, pair in one["configurations"].items() if pair[who]]
    least, name = min(found, default=(0, "-"))
    return name, least


def ingest(told: Sequence[Told]) -> str:
    """Plain imports beside those that look for near duplicates."""
    headers = (
        "import", "plain s", "near s", "x", "plain CPU s", "near CPU s", "x CPU", "0x04 bytes",
        "index, bytes a segment",
    )  # fmt: skip
    rows = []
    for one in told:
        plain, near = one["plain"], one["near"]
        segments = max(near["stats"]["segments"], 1)
        more = (near["index_bytes"] - plain["index_bytes"]) / segments
        rows.append(
            (
                one["name"],
                f"{plain['seconds']:.2f}",
                f"{near['seconds']:.2f}",
                f"{near['seconds'] / plain['seconds']:.2f}",
                f"{plain['cpu_seconds']:.2f}",
                f"{near['cpu_seconds']:.2f}",
                f"{near['cpu_seconds'] / plain['cpu_seconds']:.2f}",
                f"{near['frames'].get('0x04', 0):,}",
                f"{more:.0f}",
            )
        )
    return table(headers, rows)


def stores(sets: Sequence[Told]) -> str:
    """The same of conversations that were stored one by one, beside the peer."""
    headers = (
        "stored one by one", "plain CPU s", "near CPU s", "x", "peer plain", "peer near", "x",
    )  # fmt: skip
    rows = []
    for one in sets:
        cells = [one["name"]]
        for who in ("ours", "peer"):
            pair = [one["configurations"][name][who] for name in ("default", "near")]
            if not all(pair):
                cells += ["-"] * 3
                continue
            plain, near = (of["store_cpu_seconds"] for of in pair)
            cells += [f"{plain:.2f}", f"{near:.2f}", f"{near / max(plain, 1e-9):.2f}"]
        rows.append(cells)
    return table(headers, rows)
