"""What the dashboard's pages show, from a snapshot as it is served. Needs neither NumPy nor the tools that fit."""

from collections.abc import Iterable
from datetime import datetime
from functools import cache
from typing import Any

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined

from service.drawing import reliability, sparkline, waterfall
from service.holder import Loaded

LEVELS = (0.1, 0.3, 0.5, 0.8)
"""Edges of the heat map's colours; 0.5 is where an alert is usually raised."""
TREND_MONTHS, TREND = 3, 0.05
"""A probability has a trend where it moved by so much in so many months."""


@cache
def templates() -> Environment:
    found = Environment(loader=PackageLoader("service"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    found.globals |= {"sparkline": sparkline, "waterfall": waterfall, "reliability": reliability, "level": level, "trend": trend}
    return found


def render(page: str, **shown: Any) -> bytes:
    return templates().get_template(page).render(**shown).encode()


def level(probability: float | None) -> str:
    """Class of a cell of the heat map."""
    return "none" if probability is None else f"p{sum(probability >= edge for edge in LEVELS)}"


def trend(recent: list[float | None]) -> tuple[str, str]:
    """(sign, in words) of what a unit's filtered probability did over the last three months with figures."""
    known = recent[-TREND_MONTHS - 1 :]
    if len(known) <= TREND_MONTHS or known[0] is None or known[-1] is None or abs(known[-1] - known[0]) < TREND:
        return "", "steady"
    return ("▲", "rising") if known[-1] > known[0] else ("▼", "falling")


def overview(found: Loaded) -> dict[str, Any]:
    """The heat map's rows and columns, and the units' table."""
    families: dict[str, str] = {}
    importers: dict[str, dict[str, dict[str, Any]]] = {}
    for entry in found.snapshot.index:
        families.setdefault(entry["family"], entry["title"])
        importers.setdefault(entry["importer"], {})[entry["family"]] = entry
    rows = [orjson.loads(found.records[unit]) for unit in found.order]
    return {
        "families": families,
        "importers": dict(sorted(importers.items(), key=lambda i: (-max(e["probability"] or 0 for e in i[1].values()), i[0]))),
        "rows": rows,
        "restricted": sum((e["probability"] or 0) >= 0.5 for e in found.snapshot.index),
        "answered": sum(e["probability"] is not None for e in found.snapshot.index),
    }


def drawn(row: dict[str, Any], context: dict[str, Any] | None) -> dict[str, Any]:
    """What the page's script draws: months, and series of the same length."""
    filtered = [m for m in row["history"] if m["kind"] in ("filtered", "nowcast")]
    smoothed = {m["period"]: m for m in row["history"] if m["kind"] == "smoothed"}
    months = [m["period"] for m in filtered]
    beside = context or {"period": [], "covariates": {}, "exporter_kg": [], "importer_kg": []}
    place = {month: n for n, month in enumerate(beside["period"])}

    def along(values: list[float | None]) -> list[float | None]:
        return [values[place[m]] if m in place else None for m in months]

    def of(kind: Iterable[dict[str, Any] | None]) -> dict[str, list[Any]]:
        listed = list(kind)
        return {
            "p": [m and m["probability"] for m in listed],
            "low": [m and m["probability_interval"][0] for m in listed],
            "high": [m and m["probability_interval"][1] for m in listed],
        }

    return {
        "months": months,
        "low": [m["counterfactual_kg_interval"][0] for m in filtered],
        "high": [m["counterfactual_kg_interval"][1] for m in filtered],
        "moved": [m["observed_kg"] for m in filtered],
        "exporter": along(beside["exporter_kg"]),
        "importer": along(beside["importer_kg"]),
        "filtered": of(filtered),
        "smoothed": of(smoothed.get(m) for m in months),
        "covariates": {name: along(v) for name, v in beside["covariates"].items() if any(x is not None for x in v)},
    }


def following(month: str) -> str:
    year, number = int(month[:4]), int(month[5:7])
    return f"{year + number // 12}-{number % 12 + 1:02d}"


def instants(switches: list[tuple[datetime, str]], most: int = 400) -> list[str]:
    """When something was published, oldest first, to the microsecond: asked as of then, that is what is answered."""
    return [at.isoformat() for at, _ in switches[-most:]]
