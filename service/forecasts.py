"""Forecasts as CSV: one probability a unit and month, in the format that is scored and exchanged."""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from data.durable import write_durably

FORECAST_COLUMNS = (
    "as_of", "exporter", "importer", "family", "period", "kind", "probability", "targeted", "product_wide", "disrupted",
    "severity_mean", "shortfall_kg_mean", "shortfall_kg_p05", "shortfall_kg_p95", "snapshot",
)  # fmt: skip


def forecast_rows(answers: Iterable[dict[str, Any]], as_of: str, snapshot: str) -> Iterator[dict[str, Any]]:
    """One probability a unit and month, the best there is: smoothed before the last month with figures, filtered in it
    (where the two are the same), nowcast after it. Units that abstain have no rows."""
    for answer in answers:
        for month in sorted(answer["history"], key=lambda m: m["period"]):
            past = month["period"] < answer["data_through"]
            if (month["kind"] == "smoothed") == past and month["probability"] is not None:
                yield answer | month | month["causes"] | {"as_of": as_of, "snapshot": snapshot}


def as_csv(rows: Iterable[dict[str, Any]]) -> str:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, FORECAST_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue()


def write_forecasts(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_durably(path, as_csv(rows).encode())
