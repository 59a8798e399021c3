"""Panel -> what a picture of a unit shows beside its answers: both offices' figures, which were revised, and the covariates."""

from typing import Any

import numpy as np

from data.panel import SIDES, Panel


def contexts(panel: Panel) -> dict[str, dict[str, Any]]:
    """By unit: ``period``, the months to the as-of; ``exporter_kg`` and ``importer_kg``, sums over codes, null where one that the office
    reports is not known; ``revised``, months of which a figure was released more than once; ``covariates``, values by name."""
    end = int(panel.attrs["horizon"]) + 1
    months = np.datetime_as_string(panel["period"].values[:end], unit="M").tolist()
    kg, releases = (panel[name].values[:, :end] for name in ("kg", "releases"))
    unit, side = panel["signal_unit"].values, panel["signal_side"].values
    found = {}
    for u, name in enumerate(map(str, panel["unit"].values)):
        of_unit = unit == name
        offices = {f"{office}_kg": _numbers(_sum(kg[of_unit & (side == office)], end)) for office in SIDES}
        revised = (releases[of_unit] > 1).any(0)
        values = {str(n): _numbers(v[:end]) for n, v in zip(panel["covariate"].values, panel["covariates"].values[:, u], strict=True)}
        found[name] = {
            "period": months, **offices, "revised": [m for m, r in zip(months, revised, strict=True) if r], "covariates": values,
        }  # fmt: skip
    return found


def _sum(kg: np.ndarray, months: int) -> np.ndarray:
    return kg.sum(0) if len(kg) else np.full(months, np.nan)


def _numbers(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(v) else round(float(v), 4) for v in values]
