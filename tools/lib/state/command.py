"""Measures saved state and prints what it took."""

import json
from functools import partial
from typing import Any

import anyio
from lib.machine import about_machine
from lib.state.measures import KINDS, formats, updates
from lib.state.tables import described


def run_state(rounds: int, *, as_json: bool) -> None:
    """Every format of a sparse and a dense grid, and a hundred sparse updates."""
    told: dict[str, Any] = {"machine": about_machine(), "rounds": rounds}
    told["formats"] = {kind: anyio.run(partial(formats, kind, rounds)) for kind in KINDS}
    told["updates"] = anyio.run(updates)
    print(json.dumps(told, indent=2) if as_json else described(told))
