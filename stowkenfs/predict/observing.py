"""Feeding ids to a trie: each one follows all contexts that end before it."""

import numpy as np
import numpy.typing as npt

from stowkenfs import kernels
from stowkenfs.predict.trie import (
    CEILING,
    COUNT_MAX,
    FROZEN,
    NO_NODE,
    ROOT,
    Ids,
    Trie,
)

NODE_SHIFT = 5
"""A node's credibility moves by 1/32 of its way at each observation."""

Events = npt.NDArray[np.int64]
"""Shape (n, 2): a frozen node and what followed it."""

_EVENTS = 1 << 14
_TAKEN, _USED, _EVENT_COUNT = range(3)


def observe(trie: Trie, ids: Ids) -> tuple[int, Events]:
    """How many of ``ids`` (uint32, shape (n,)) the trie took, and what followed frozen nodes.

    It takes fewer where it has no more room (``grow`` says so), or after some thousand events.
    ``trie.end`` among them ends a segment. Frozen nodes learn nothing; of longer contexts below
    them, those that are frozen too are told of as well.
    """
    ids = np.ascontiguousarray(ids, np.uint32)
    events = np.zeros((_EVENTS, 2), np.int64)
    taken = count = 0
    while taken < len(ids):
        state = np.array([0, trie.used, count], np.int64)
        if kernels.compiled is not None:
            columns = trie.columns
            kernels.compiled.trie_observe(
                ids[taken:], trie.end, state, trie.live, columns.parent, columns.token,
                columns.credibility, columns.observations, columns.node_credibility,
                columns.child, columns.sibling, columns.depth, columns.flags, trie.buckets,
                events,
            )  # fmt: skip
            trie.used = int(state[_USED])
        else:
            _observe(trie, ids[taken:], state, events)
        taken += int(state[_TAKEN])
        count = int(state[_EVENT_COUNT])
        if taken < len(ids) and (len(events) - count <= trie.depth or not trie.grow()):
            break
    return taken, events[:count]


def _observe(trie: Trie, ids: Ids, state: npt.NDArray[np.int64], events: Events) -> None:
    count = int(state[_EVENT_COUNT])
    for taken, token in enumerate(ids.tolist()):
        state[_TAKEN] = taken
        has_room = trie.used + trie.depth + 1 <= trie.capacity
        if not has_room or (trie.used + trie.depth + 1) * 4 > len(trie.buckets) * 3:
            break
        if len(events) - count <= trie.depth:
            break
        longer = [ROOT]
        for node in trie.live.tolist():
            if node == NO_NODE:
                longer.append(NO_NODE)
            elif trie.columns.flags[node] & FROZEN:
                events[count] = node, token
                count += 1
                longer.append(trie.find(node, token))
            else:
                longer.append(_follow(trie, node, token))
        if token == trie.end:
            longer[2:] = [NO_NODE] * trie.depth
        trie.live[:] = longer[: trie.depth + 1]
    else:
        state[_TAKEN] = len(ids)
    state[_EVENT_COUNT] = count


def _follow(trie: Trie, node: int, token: int) -> int:
    """``token`` followed the context ``node``; the slot of both."""
    columns = trie.columns
    child = trie.find(node, token)
    old = int(columns.node_credibility[node])
    is_known = child != NO_NODE and int(columns.credibility[child]) > 0
    moved = old + ((CEILING - old) >> NODE_SHIFT) if is_known else old - (old >> NODE_SHIFT)
    columns.node_credibility[node] = moved
    columns.observations[node] = min(int(columns.observations[node]) + 1, COUNT_MAX)
    if child == NO_NODE:
        return trie.add(node, token, 1)
    columns.credibility[child] = min(int(columns.credibility[child]) + 1, COUNT_MAX)
    return child
