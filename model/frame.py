"""Panel -> Frame: the panel as arrays for the likelihood, and what is worked out from it before any parameter is known."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from data.panel import Panel
from model.drivers import driving, led, measured
from model.flows import Flows, flows
from model.kernel import MISSING, POSITIVE, ZERO
from model.reading import combined
from model.spec import Assumptions
from model.states import EXITS

KNOT_MONTHS = 12
CONTROL_KNOT_MONTHS = 36
SPIKE, LEAST_STEP = 6.0, 0.05
"""How many times the median step of a total a month may lie above its neighbours, and the least that step is taken for (log)."""
CAPACITY_MONTHS = 24
"""A graph is built for a multiple of so many months, so that one more month needs no new graph."""


@dataclass(frozen=True)
class Frame:
    """The panel as arrays, for the series that have a positive month and the units they are of.

    capacity : months that the graph has room for. flows : of those series. fitted : index of the units into the panel's.
    unit : unit per series; family_of : family per series; importer, family : index per unit into ``coords``.
    kind, primary : (series, period). unit_kind : (unit, period).
    drivers : (driver, unit, period) and wide_drivers : (driver, family, period), the covariates and their rises, standardised.
    family_seen : (family, period), whether any series of the family has a positive flow in the month.
    control : (unit, period). several : (series,), whether the unit has other series. usual : (series,) log kg about which a priori the
    flow begins: the median of its positive months.
    """

    capacity: int
    flows: Flows
    fitted: np.ndarray
    unit: np.ndarray
    importer: np.ndarray
    family: np.ndarray
    kind: np.ndarray
    primary: np.ndarray
    family_seen: np.ndarray
    usual: np.ndarray
    control: np.ndarray
    drivers: np.ndarray
    wide_drivers: np.ndarray
    preliminary: np.ndarray
    lunar: np.ndarray
    month: np.ndarray
    coords: dict[str, Any]

    def until(self, months: int) -> "Frame":
        """As it would be were only its first `months` known; of the same structure."""
        known = np.arange(self.periods) < months
        of_flows, kind = (np.where(known, k, MISSING).astype(np.int8) for k in (self.flows.kind, self.kind))
        return replace(
            self, flows=replace(self.flows, kind=of_flows), kind=kind, family_seen=self.family_seen & known,
            usual=medians(self.primary, kind),
        )  # fmt: skip

    @property
    def family_of(self) -> np.ndarray:
        return self.family[self.unit]

    @property
    def several(self) -> np.ndarray:
        return np.bincount(self.unit)[self.unit] > 1

    @property
    def periods(self) -> int:
        return self.kind.shape[1]

    @property
    def knots(self) -> np.ndarray:
        """(period to the capacity, knot) linear interpolation of the baselines between their knots."""
        return knot_basis(self.capacity, upto=self.capacity + KNOT_MONTHS)

    @property
    def structure(self) -> tuple:
        """What a graph is built for, beside the assumptions; frames alike in it differ in data only."""
        names = ("unit", "series", "code", "importer", "family", "window", "driver")
        seen = self.flows.positive.any((0, 2))
        return (
            self.capacity, self.coords["period"][0], *(tuple(self.coords[n]) for n in names), *seen,
            self.flows.positive.all(1).any(), self.preliminary.any(), np.any(self.control), self.flows.summed.any(),
        )  # fmt: skip

    def data(self) -> dict[str, np.ndarray]:
        """What of it enters the graph as data, by name; whatever has months is filled up to the capacity with nothing seen.

        ``months`` : (1,), months up to the last in which anything is seen. ``led`` : (driver, lead, importer, period), the drivers
        as they were so many months before, and ``led_wide``, the same on families.
        """
        seen = self.flows.positive
        of_importer = np.eye(len(self.coords["importer"]))[self.importer]
        importer_drivers = np.einsum("dut,ui->dit", self.drivers, of_importer / of_importer.sum(0))
        monthly = {
            "exporter_log_kg": self.flows.log_kg[:, 0],
            "importer_log_kg": self.flows.log_kg[:, 1],
            "sees_exporter": seen[:, 0].astype(float),
            "sees_importer": seen[:, 1].astype(float),
            "exporter_zero": (self.flows.kind[:, 0] == ZERO).astype(float),
            "preliminary_exporter": self.preliminary[:, 0].astype(float),
            "preliminary_importer": self.preliminary[:, 1].astype(float),
            "primary": self.primary,
            "summed": self.summed.astype(float),
            "control": self.control,
            "calendar_month": np.eye(12)[self.month].T,
            "lunar_window": self.lunar,
            "led": led(importer_drivers, len(self.coords["lead"])),
            "led_wide": led(self.wide_drivers, len(self.coords["lead"])),
            "observed": np.log(np.maximum(np.nan_to_num(self.observed_kg), 1.0)),
            "kind": self.kind.astype(np.int32),
            "family_kind": self.family_kind.astype(np.int32),
        }
        room = self.capacity - self.periods
        filled = {name: np.pad(v, [(0, 0)] * (v.ndim - 1) + [(0, room)]) for name, v in monthly.items()}
        last = np.flatnonzero((self.kind != MISSING).any(0))
        return filled | {"usual": self.usual, "months": np.array([last[-1] + 1], np.int32)}

    @property
    def summed(self) -> np.ndarray:
        """(series, period) whether the figure that is read is of the month and the one before."""
        return np.where(self.flows.positive[:, 0], self.flows.summed[:, 0], self.flows.summed[:, 1])

    @property
    def family_kind(self) -> np.ndarray:
        """(family, period) what the family chain is shown: POSITIVE or MISSING, never a zero."""
        return np.where(self.family_seen, POSITIVE, MISSING).astype(np.int8)

    @property
    def unit_kind(self) -> np.ndarray:
        return np.concatenate([combined(self.kind[self.unit == u][None]) for u in range(len(self.fitted))])

    @property
    def observed_kg(self) -> np.ndarray:
        """(unit, period) kg that moved by the codes that have a figure; NaN where none has."""
        kg = np.where(self.kind == POSITIVE, np.exp(self.primary), 0.0)
        return np.where(self.unit_kind == MISSING, np.nan, np.eye(len(self.fitted))[self.unit].T @ kg)


def medians(primary: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """(series,) median log flow of the positive months; both (series, period)."""
    return np.array([np.median(y[k == POSITIVE]) for y, k in zip(primary, kind, strict=True)])


def knot_basis(periods: int, apart: int = KNOT_MONTHS, upto: int | None = None) -> np.ndarray:
    """(period, knot): linear interpolation between knots `apart` months from each other, flat after the last before `upto`."""
    knots = np.arange(0, upto or periods, apart)
    at = np.arange(periods)
    return np.stack([np.interp(at, knots, np.eye(len(knots))[k]) for k in range(len(knots))], axis=1)


def _control(panel: Panel, month: np.ndarray) -> np.ndarray:
    """(importer, period) log deviation of the pair's total trade from its own course, season and new year; 0 where unknown.

    The course bends every :data:`CONTROL_KNOT_MONTHS`, so that a slump of demand is a deviation and not the course; the
    fit is robust (soft L1) and the deviation is kept whole. Where both offices report, their mean.
    """
    with np.errstate(divide="ignore"):
        logs = np.log(panel["control_kg"].values)
    logs[~np.isfinite(logs)] = np.nan
    deviation = np.full(logs.shape, np.nan)
    design = np.concatenate([knot_basis(logs.shape[2], CONTROL_KNOT_MONTHS), np.eye(12)[month][:, 1:], panel["lunar"].values.T], axis=1)
    for place in np.ndindex(logs.shape[:2]):
        known = ~np.isnan(logs[place])
        if known.sum() < CONTROL_KNOT_MONTHS:
            continue
        x, y = design[known], logs[place][known]
        start = np.linalg.lstsq(x, y, rcond=None)[0]
        fitted = least_squares(lambda b, x=x, y=y: x @ b - y, start, jac=lambda b, x=x, y=y: x, loss="soft_l1", f_scale=0.1)
        deviation[place][known] = _believable(y - x @ fitted.x)
    known = ~np.isnan(deviation)
    return np.where(known, deviation, 0.0).sum(1) / np.maximum(known.sum(1), 1)


def _believable(deviation: np.ndarray) -> np.ndarray:
    """`deviation`, month after month, without spikes: no month lies above both its neighbours (the last, above the one before) by more than
    :data:`SPIKE` times what months usually differ by. A pair's whole trade does not triple for a month; a figure in the wrong unit, or one
    ship, does, and what the expectation gains by it every family of the importer would seem to lack. A slump is kept whole, however sudden:
    plagues are.
    """
    steps = np.abs(np.diff(deviation))
    usual = max(float(np.median(steps)), LEAST_STEP)
    beside = np.full((2, deviation.size), -np.inf)
    beside[0, 1:], beside[1, :-1] = deviation[:-1], deviation[1:]
    return np.minimum(deviation, beside.max(0) + SPIKE * usual)


def contrasts(family: np.ndarray) -> np.ndarray:
    """(series, contrast), orthonormal: every way in which series can differ within a family, and no other."""
    columns = []
    for g in np.unique(family):
        members = np.flatnonzero(family == g)
        for n in range(1, len(members)):
            column = np.zeros(len(family))
            column[members[:n]], column[members[n]] = 1.0, -n
            columns.append(column / np.linalg.norm(column))
    return np.array(columns).reshape(-1, len(family)).T


def room_for(months: int) -> int:
    """Months that a graph has room for, so that some months more are not another graph."""
    return CAPACITY_MONTHS * -(-months // CAPACITY_MONTHS)


class Helmert:
    """The sums of :func:`contrasts`, of arrays and tensors, without the matrix: that has the square of the number of series in numbers."""

    def __init__(self, family: np.ndarray) -> None:
        order = np.argsort(family, kind="stable")
        sizes = np.bincount(family)[family]
        rank = np.empty(len(family), int)
        rank[order] = np.arange(len(family)) - np.searchsorted(family[order], family[order])
        # Contrasts lie by family and rank, and the first of a family has none.
        before = np.searchsorted(family[order], family) - np.searchsorted(np.unique(family), family)
        self._end, self._from, self._rank = before + sizes - 1, before + rank, rank
        self._at = np.flatnonzero(rank[order])
        self._order, self._own = order, rank[order][self._at]
        self._weight = 1 / np.sqrt(self._own * (self._own + 1.0))

    def spread(self, contrast: Any) -> Any:
        """(series, n) of (contrast, n): the matrix times it."""
        scaled = self._weight[:, None] * contrast
        sums = scaled.cumsum(0)
        # Up to one before the first is the sum of none.
        upto_end, upto_own = (sums[np.maximum(at - 1, 0)] * (at > 0.0)[:, None] for at in (self._end, self._from))
        return upto_end - upto_own - self._rank[:, None] * scaled[np.maximum(self._from - 1, 0)]

    def of(self, values: Any) -> Any:
        """(contrast,) of (series,): the matrix' transpose times it."""
        return self._weight * self._summed(values, -self._own)

    def squared(self, values: Any) -> Any:
        """(contrast,) of (series,): the transpose of the matrix of squares times it."""
        return self._weight**2 * self._summed(values, self._own**2)

    def _summed(self, values: Any, own: np.ndarray) -> Any:
        """Of each contrast, the sum over earlier series of its family, and `own` times its own."""
        by_family = values[self._order]
        sums = by_family.cumsum(0)
        started = self._at - self._own
        return sums[self._at - 1] - (sums - by_family)[started] + own * by_family[self._at]


def _present(labels: np.ndarray, order: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The labels that occur, in the panel's order, and each label's index among them."""
    present = [str(o) for o in order if o in labels]
    return present, np.array([present.index(str(label)) for label in labels])


def _drivers(panel: Panel, fitted: np.ndarray, a: Assumptions) -> np.ndarray:
    """(driver, unit, period): each covariate's level, then each one's rise."""
    covariates = panel["covariates"].values[:, fitted]
    centre, spread = np.stack([measured(c) for c in covariates], axis=1)
    return driving(covariates, centre, spread, a.covariate_fade, a.covariate_memory)


def _rows_like(every: Flows, like: Frame) -> np.ndarray:
    known = list(zip(every.unit.tolist(), every.hs, strict=True))
    return np.array([known.index((int(u), hs)) for u, hs in zip(like.flows.unit, like.flows.hs, strict=True)])


def _names(panel: Panel, of: Flows) -> list[str]:
    return [f"{panel['unit'].values[u]}:{hs}" for u, hs in zip(of.unit, of.hs, strict=True)]


def traded(panel: Panel) -> list[str]:
    """The series a frame of `panel` has: those of which something was ever shipped."""
    every = flows(panel)
    return _names(panel, every.take(every.traded))


def frame(panel: Panel, assumptions: Assumptions, like: "Frame | None" = None, capacity: int | None = None) -> Frame:
    """`like` : an earlier panel's frame whose series and capacity are kept, so that its draws can be used on this panel.

    `capacity` : months to make room for; by default those of the panel, rounded up.
    """
    every = flows(panel)
    seen = every.take(every.traded if like is None else _rows_like(every, like))
    fitted, unit = np.unique(seen.unit, return_inverse=True)
    importers, importer = _present(panel["unit_importer"].values[fitted], panel["importer"].values)
    families, family = _present(panel["unit_family"].values[fitted], panel["family"].values)
    kind, primary = seen.combined_kind(), seen.primary()
    periods = panel.sizes["period"]
    month = panel["period"].dt.month.values - 1
    room = capacity or (like.capacity if like is not None else 0)
    if room < periods:
        room = room_for(periods)
    family_seen = np.zeros((len(families), periods), bool)
    np.logical_or.at(family_seen, family[unit], kind == POSITIVE)
    member = np.eye(len(families))[family]
    drivers = _drivers(panel, fitted, assumptions) if panel.sizes["covariate"] else np.zeros((0, len(fitted), periods))
    names = [str(v) for v in panel["covariate"].values]
    fresh = np.arange(periods) > int(panel.attrs["horizon"]) - assumptions.preliminary_months
    coords = {
        "unit": [str(u) for u in panel["unit"].values[fitted]],
        "series": _names(panel, seen),
        "code": list(dict.fromkeys(f"{families[family[u]]}:{hs}" for u, hs in zip(unit, seen.hs, strict=True))),
        "importer": importers,
        "family": families,
        "period": np.datetime_as_string(panel["period"].values, unit="M"),
        "month": np.arange(1, 13),
        "window": [str(v) for v in panel["window"].values],
        "driver": [*names, *(f"{n} rise" for n in names)],
        "lead": np.arange(assumptions.covariate_leads + 1),
        "knot": np.arange(len(knot_basis(room, upto=room + KNOT_MONTHS).T)),
        "contrast": np.arange(len(unit) - len(np.unique(family[unit]))),
        "exit": list(EXITS),
    }
    return Frame(
        capacity=room,
        flows=seen,
        fitted=fitted,
        unit=unit,
        importer=importer,
        family=family,
        kind=kind,
        primary=primary,
        family_seen=family_seen,
        usual=medians(primary, kind),
        control=_control(panel, month)[pd.Index(panel["importer"].values).get_indexer(pd.Index(importers))][importer],
        drivers=drivers,
        wide_drivers=np.einsum("dut,uf->dft", drivers, member / member.sum(0)),
        preliminary=seen.preliminary & fresh,
        lunar=panel["lunar"].values,
        month=month,
        coords=coords,
    )
