"""The Snapshot: the one type the service gets from the model. Everything a fit said, and nothing it needs to say it again."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr

from data.panel import Panel, fingerprint
from model.causes import CAUSES
from model.checks import Check, outcome, records
from model.context import contexts
from model.spec import Assumptions, Computation


@dataclass(frozen=True)
class Snapshot:
    """tree : DataTree with groups posterior, sample_stats, panel, regimes; of a fit health, and of weighed draws the fit's own groups, too.

    meta : JSON-able facts about it. rows : one JSON-able answer a unit, in panel order. contexts : what is drawn beside it, by unit.
    """

    tree: xr.DataTree
    meta: dict[str, Any]
    rows: list[dict[str, Any]]
    contexts: dict[str, dict[str, Any]]


def assemble(
    posterior: xr.DataTree,
    regimes: xr.Dataset,
    panel: Panel,
    checks: list[Check],
    assumptions: Assumptions,
    computation: Computation,
    titles: dict[str, str],
    versions: dict[str, str],
    fitted_at: datetime,
    revisions: list[dict[str, Any]],
) -> Snapshot:
    """posterior : kept with all its groups. revisions : how late and how much revised the figures are, one record a source and reporter."""
    tree = xr.DataTree.from_dict({node.path: node.to_dataset() for node in posterior.subtree} | {"panel": panel, "regimes": regimes})
    meta = facts(panel, checks, assumptions, computation, versions, fitted_at, revisions)
    return Snapshot(tree, meta, answers(regimes, titles), contexts(panel))


def facts(
    panel: Panel, checks: list[Check], assumptions: Assumptions, computation: Computation, versions: dict[str, str], fitted_at: datetime,
    revisions: list[dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """What a snapshot says of itself."""
    return {
        "as_of": panel.attrs["as_of"],
        "fitted_at": fitted_at.astimezone(UTC).isoformat(),
        "exporter": panel.attrs["exporter"],
        "panel_sha256": panel.attrs["fingerprint"],
        "assumptions": assumptions.model_dump(),
        "assumptions_digest": assumptions.digest(),
        "computation": computation.model_dump(),
        "computation_digest": computation.digest(),
        "gate": outcome(checks),
        "checks": records(checks),
        "versions": versions,
        "data_through": _through(panel),
        "sources": panel.attrs["sources"],
        "log": panel.attrs["log"],
        "covariates": fingerprint(panel[["covariates"]].dropna("period", how="all")),
        "revisions": revisions,
    }


def _through(panel: Panel) -> dict[str, str]:
    """The last month each reporter has published a figure for."""
    known = panel["absence"].values == 0
    through: dict[str, str] = {}
    months = np.datetime_as_string(panel["period"].values, unit="M")
    units = panel["signal_unit"].values
    for row, unit, side in zip(known, units, panel["signal_side"].values, strict=True):
        if row.any():
            exporter, importer, _ = str(unit).split(".", 2)
            reporter = exporter if side == "exporter" else importer
            through[reporter] = max(through.get(reporter, ""), str(months[np.flatnonzero(row)[-1]]))
    return through


def _number(value: Any, digits: int) -> float | None:
    return None if math.isnan(float(value)) else round(float(value), digits)


def _share(value: Any) -> float | None:
    number = _number(value, 6)
    return None if number is None else min(max(number, 0.0), 1.0)


def _kg(value: Any) -> float | None:
    return _number(value, 0)


class Months:
    """Rows of a regime table, one a unit and month. Plain arrays, since xarray takes a millisecond a look."""

    def __init__(self, regimes: xr.Dataset) -> None:
        self._values = {str(name): v.values for name, v in regimes.data_vars.items()}
        self._period = np.datetime_as_string(regimes["period"].values, unit="M")
        self._unit = {str(u): i for i, u in enumerate(regimes["unit"].values)}

    def row(self, unit: str, t: int, which: str) -> dict[str, Any]:
        """Month `t` of `unit`, conditioned as `which` (``filtered`` or ``smoothed``) says."""
        u = self._unit[unit]
        at = {name: v[u, t] for name, v in self._values.items() if v.ndim >= 2 and v.shape[:2] == (len(self._unit), len(self._period))}
        shares = {cause: _share(v) for cause, v in zip(CAUSES, at[which], strict=True)}
        low, high = (_share(v) for v in at[f"{which}_interval"])
        shortfall_low, shortfall_high = (_kg(v) for v in at["shortfall_kg_interval"])
        open_low, open_high = (_kg(v) for v in at["counterfactual_kg_interval"])
        restricted = None if shares["targeted"] is None else _share(1 - (shares["open"] or 0) - (shares["disrupted"] or 0))
        return {
            "period": str(self._period[t]),
            "kind": "nowcast" if which == "filtered" and not bool(at["is_observed"]) else which,
            "probability": restricted,
            "probability_interval": [low, high],
            "causes": shares,
            "severity_mean": _share(at[f"severity_{which}"]),
            "observed_kg": _kg(at["observed_kg"]),
            "counterfactual_kg": _kg(at["counterfactual_kg"]),
            "counterfactual_kg_interval": [open_low, open_high],
            "shortfall_kg_mean": _kg(at["shortfall_kg"]),
            "shortfall_kg_p05": shortfall_low,
            "shortfall_kg_p95": shortfall_high,
        }


def silent(unit: str, titles: dict[str, str], abstention: str) -> dict[str, Any]:
    """The answer of a unit that has none. abstention : why; empty for one whose answer is yet to be filled in."""
    exporter, importer, family = unit.split(".", 2)
    row: dict[str, Any] = {
        "unit": unit,
        "exporter": exporter,
        "importer": importer,
        "family": family,
        "title": titles.get(family, family),
        "abstention": abstention or None,
        "months_observed": 0,
        "data_through": None,
        "current": None,
        "nowcast": None,
        "ahead": [],
        "evidence": None,
        "log_odds": None,
        "detectability": None,
        "onset": None,
        "age_months": None,
        "history": [],
    }
    return row | {"sentence": sentence(row) if abstention else ""}


def answers(regimes: xr.Dataset, titles: dict[str, str], history: bool = True) -> list[dict[str, Any]]:
    """Per unit: the answer for its last month with figures, the nowcast for the as-of month, and its history.

    `history` : every month, filtered and smoothed; without it only those from the last month with figures on.
    """
    horizon, months = int(regimes.attrs["horizon"]), Months(regimes)
    rows = []
    for unit in map(str, regimes["unit"].values):
        of_unit = regimes.sel(unit=unit)
        last, abstention = int(of_unit["last_observed"]), str(of_unit["abstention"].item())
        row = silent(unit, titles, abstention)
        row |= {
            "months_observed": int(of_unit["months_observed"]),
            "data_through": str(np.datetime_as_string(of_unit["period"].values[last], unit="M")) if last >= 0 else None,
        }
        if not abstention:
            row["current"] = months.row(unit, last, "filtered")
            row["nowcast"] = months.row(unit, horizon, "filtered")
            row["ahead"] = [months.row(unit, t, "filtered") for t in range(horizon + 1, of_unit.sizes["period"])]
            row["history"] = [
                months.row(unit, t, which) for which in ("filtered", "smoothed") for t in range(0 if history else last, horizon + 1)
            ]
            row |= _reasons(of_unit)
        row["sentence"] = sentence(row)
        rows.append(row)
    return rows


def _reasons(of_unit: xr.Dataset) -> dict[str, Any]:
    """What stands behind a unit's current probability, where it was worked out."""
    onset = _onset(of_unit)
    found: dict[str, Any] = {} if onset is None else dict(zip(("onset", "age_months"), onset, strict=True))
    if "evidence" in of_unit:
        found["evidence"] = {str(s): _number(v, 3) for s, v in zip(of_unit["source"].values, of_unit["evidence"].values, strict=True)}
        found["log_odds"] = [_number(of_unit[f"log_odds_{when}"], 3) for when in ("before", "after")]
    if "detectability" in of_unit:
        pairs = zip(of_unit["squeeze"].values, of_unit["detectability"].values, strict=True)
        found["detectability"] = {f"{squeeze:.0%}": _number(v, 3) for squeeze, v in pairs}
    return found


def _onset(of_unit: xr.Dataset) -> tuple[str, int] | None:
    """First month of the run of smoothed p(restricted) >= 0.5 that reaches the last month with figures, and its months so far."""
    last = int(of_unit["last_observed"])
    on = of_unit["smoothed"].sel(cause=["targeted", "product_wide"]).sum("cause").values[: last + 1] >= 0.5
    if not on[-1]:
        return None
    first = 0 if on.all() else last + 1 - int(np.argmin(on[::-1]))
    return str(np.datetime_as_string(of_unit["period"].values[first], unit="M")), last + 1 - first


def sentence(row: dict[str, Any]) -> str:
    """What an analyst would say of the answer: what was seen, what was expected, and which cause is likeliest."""
    if row["abstention"]:
        return f"{row['unit']}: no answer; {row['abstention']}."
    c = row["current"]
    low, high = c["counterfactual_kg_interval"]
    tonnes = "{:,.0f} t".format
    change = f" ({c['observed_kg'] / c['counterfactual_kg'] - 1:+.0%})" if c["counterfactual_kg"] else ""
    where = "below" if c["observed_kg"] < low else "above" if c["observed_kg"] > high else "inside"
    cause = max(c["causes"], key=c["causes"].__getitem__)
    named = {
        "open": "no restriction and no disruption",
        "disrupted": "an innocent disruption",
        "targeted": "a deliberate restriction aimed at this importer",
        "product_wide": "a deliberate restriction on all importers of the family",
    }[cause]
    return (
        f"{row['unit']}, {c['period']} ({c['kind']}): {tonnes(c['observed_kg'] / 1e3)} moved where "
        f"{tonnes(c['counterfactual_kg'] / 1e3)} were expected with no restriction{change}, {where} the 90 % range "
        f"{low / 1e3:,.0f}-{tonnes(high / 1e3)}; the likeliest reading is {named} ({c['causes'][cause]:.0%}), "
        f"p(restricted) = {c['probability']:.2f} [{c['probability_interval'][0]:.2f}, {c['probability_interval'][1]:.2f}]."
    )
