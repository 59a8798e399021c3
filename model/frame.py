"""Panel -> Frame: the panel as arrays for the likelihood, and what is worked out from it before any parameter is known."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from data.panel import Panel
from model.chain import MISSING, POSITIVE
from model.flows import Flows, flows
from model.spec import Assumptions

KNOT_MONTHS = 12


@dataclass(frozen=True)
class Frame:
    """The panel as arrays, for the units that have a positive month at all.

    fitted : index into the panel's units. importer, family : index per fitted unit into ``coords``.
    family_seen : (family, period), whether any unit of the family has a positive flow in the month.
    """

    flows: Flows
    fitted: np.ndarray
    importer: np.ndarray
    family: np.ndarray
    kind: np.ndarray
    primary: np.ndarray
    family_seen: np.ndarray
    control: np.ndarray
    covariates: np.ndarray
    lunar: np.ndarray
    month: np.ndarray
    knots: np.ndarray
    coords: dict[str, Any]

    @property
    def usual(self) -> np.ndarray:
        """(unit,) median log flow of the positive months."""
        return np.array([np.median(y[k == POSITIVE]) for y, k in zip(self.primary, self.kind, strict=True)])

    @property
    def family_kind(self) -> np.ndarray:
        """(family, period) what the family chain is shown: POSITIVE or MISSING, never a zero."""
        return np.where(self.family_seen, POSITIVE, MISSING).astype(np.int8)

    @property
    def mirrored(self) -> np.ndarray:
        return self.flows.positive[self.fitted].all(1)


def knot_basis(periods: int) -> np.ndarray:
    """(period, knot): linear interpolation between knots a year apart, flat after the last."""
    knots = np.arange(0, periods, KNOT_MONTHS)
    at = np.arange(periods)
    return np.stack([np.interp(at, knots, np.eye(len(knots))[k]) for k in range(len(knots))], axis=1)


def _control(panel: Panel, month: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """(importer, period) log deviation of the pair's total trade from its own course; 0 where unknown."""
    with np.errstate(divide="ignore"):
        logs = np.log(panel["control_kg"].values)
    logs[~np.isfinite(logs)] = np.nan
    deviation = np.zeros((logs.shape[0], logs.shape[2]))
    design = np.concatenate([basis, np.eye(12)[month][:, 1:], panel["lunar"].values.T], axis=1)
    for i, sides in enumerate(logs):
        for side in sides:
            known = ~np.isnan(side)
            if known.sum() < 24:
                continue
            coefficients = np.linalg.lstsq(design[known], side[known], rcond=None)[0]
            residual = np.where(known, side - design @ coefficients, 0.0)
            limit = 3 * 1.4826 * np.median(np.abs(residual[known])) + 1e-6
            deviation[i] = np.where(deviation[i] == 0, np.clip(residual, -limit, limit), deviation[i])
    return deviation


def standardised(covariate: np.ndarray, fade: float) -> np.ndarray:
    """(unit, period): each unit's own series in robust standard deviations; unknown months fade to 0."""
    out = np.zeros_like(covariate)
    for u, row in enumerate(covariate):
        known = ~np.isnan(row)
        if not known.any():
            continue
        centre = np.median(row[known])
        spread = 1.4826 * np.median(np.abs(row[known] - centre)) or np.std(row[known]) or 1.0
        value = 0.0
        for t, z in enumerate((row - centre) / spread):
            value = value * fade if np.isnan(z) else float(np.clip(z, -4, 4))
            out[u, t] = value
    return out


def contrasts(family: np.ndarray) -> np.ndarray:
    """(unit, contrast), orthonormal: every way in which units can differ within a family, and no other."""
    columns = []
    for g in np.unique(family):
        members = np.flatnonzero(family == g)
        for n in range(1, len(members)):
            column = np.zeros(len(family))
            column[members[:n]], column[members[n]] = 1.0, -n
            columns.append(column / np.linalg.norm(column))
    return np.array(columns).reshape(-1, len(family)).T


def _present(labels: np.ndarray, order: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The labels that occur, in the panel's order, and each label's index among them."""
    present = [str(o) for o in order if o in labels]
    return present, np.array([present.index(str(label)) for label in labels])


def frame(panel: Panel, assumptions: Assumptions) -> Frame:
    seen = flows(panel)
    fitted = np.flatnonzero(seen.positive.any((1, 2)))
    importers, importer = _present(panel["unit_importer"].values[fitted], panel["importer"].values)
    families, family = _present(panel["unit_family"].values[fitted], panel["family"].values)
    kind = seen.combined_kind()[fitted]
    month = panel["period"].dt.month.values - 1
    basis = knot_basis(panel.sizes["period"])
    family_seen = np.zeros((len(families), panel.sizes["period"]), bool)
    np.logical_or.at(family_seen, family, kind == POSITIVE)
    covariates = panel["covariates"].values[:, fitted]
    coords = {
        "unit": [seen.units[u] for u in fitted],
        "importer": importers,
        "family": families,
        "period": np.datetime_as_string(panel["period"].values, unit="M"),
        "month": np.arange(1, 13),
        "window": [str(v) for v in panel["window"].values],
        "covariate": [str(v) for v in panel["covariate"].values],
        "lead": np.arange(assumptions.covariate_leads + 1),
        "knot": np.arange(basis.shape[1]),
        "contrast": np.arange(contrasts(family).shape[1]),
        "state": list(assumptions.states),
        "state_next": list(assumptions.states),
    }
    return Frame(
        flows=seen,
        fitted=fitted,
        importer=importer,
        family=family,
        kind=kind,
        primary=seen.primary()[fitted],
        family_seen=family_seen,
        control=_control(panel, month, basis)[pd.Index(panel["importer"].values).get_indexer(pd.Index(importers))][importer],
        covariates=np.stack([standardised(c, assumptions.covariate_fade) for c in covariates]) if len(covariates) else covariates,
        lunar=panel["lunar"].values,
        month=month,
        knots=basis,
        coords=coords,
    )
