"""What was measured as Markdown tables."""

from typing import Any

from lib.density.tables import table

Told = dict[str, Any]


def described(told: Told) -> str:
    """Formats of a sparse and a dense grid, then a hundred updates."""
    parts = [_formats(kind, rows) for kind, rows in told["formats"].items()]
    return "\n\n".join([*parts, _updates(told["updates"])])


def _formats(kind: str, told: Told) -> str:
    headers = (
        f"50 x 50, {kind}",
        "bytes",
        "save, us",
        "load, us",
        "in the vault",
        "save there, us",
        "load there, us",
    )
    columns = ("bytes", "save_us", "load_us", "vault_bytes", "vault_save_us", "vault_load_us")
    rows = [
        (name, *(_number(row.get(name_of)) for name_of in columns)) for name, row in told.items()
    ]
    return table(headers, rows)


def _updates(told: Told) -> str:
    headers = (
        "100 updates of 5 cells",
        "bytes",
        "packs",
        "compacted",
        "du",
        "du compacted",
        "times smaller",
    )
    full = told["full files"]["bytes"]
    columns = ("bytes", "packs", "packs_compacted", "du", "du_compacted")
    rows = [
        (
            name,
            *(_number(row.get(name_of)) for name_of in columns),
            _times(full, row.get("packs_compacted", row.get("packs", row["bytes"]))),
        )
        for name, row in told.items()
    ]
    return table(headers, rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _times(full: int, size: int) -> str:
    return f"{full / size:,.0f}" if size > 0 else ""
