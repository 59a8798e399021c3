"""Signals of a panel as series: the log flow of one HS code of one unit, as each office saw it.

A two-month sum stands in the second of its months, and the first is missing; it is used where no office has a figure for
either month alone. A sum of nothing is two months of nothing.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Int8, Shaped

from data.panel import SIDES, Panel
from model.kernel import MISSING, POSITIVE, ZERO
from model.reading import flow

Cells = Shaped[np.ndarray, "series side period"]


@dataclass(frozen=True)
class Flows:
    """One row a series, in the panel's order of units. unit : index into the panel's units. hs : HS code.

    kind : MISSING, ZERO, POSITIVE. summed : the figure is of this month and the one before. preliminary : it is a
    first release.
    """

    unit: Int[np.ndarray, " series"]
    hs: list[str]
    log_kg: Float[np.ndarray, "series side period"]
    kind: Int8[np.ndarray, "series side period"]
    summed: Cells
    preliminary: Cells

    @property
    def positive(self) -> Cells:
        return self.kind == POSITIVE

    @property
    def traded(self) -> Int[np.ndarray, " rows"]:
        """Rows of the series that have a positive figure of either office."""
        return np.flatnonzero(self.positive.any((1, 2)))

    def take(self, rows: Shaped[np.ndarray, " rows"]) -> "Flows":
        cells = (v[rows] for v in (self.log_kg, self.kind, self.summed, self.preliminary))
        return Flows(self.unit[rows], [self.hs[r] for r in rows], *cells)

    def combined_kind(self) -> Int8[np.ndarray, "series period"]:
        """What both offices' figures show together (:func:`model.reading.flow`)."""
        return flow(self.log_kg, self.kind)[0]

    def primary(self) -> Float[np.ndarray, "series period"]:
        """The log flow as the exporter's office has it, else the importer's; 0 where nothing was shipped."""
        return flow(self.log_kg, self.kind)[1]


def flows(panel: Panel) -> Flows:
    unit_of = panel.indexes["unit"].get_indexer(pd.Index(panel["signal_unit"].values))
    side_of = np.array([SIDES.index(side) for side in panel["signal_side"].values], dtype=int)
    keys = list(dict.fromkeys(zip(unit_of.tolist(), map(str, panel["signal_hs"].values), strict=True)))
    row_of = np.array([keys.index(key) for key in zip(unit_of.tolist(), map(str, panel["signal_hs"].values), strict=True)], dtype=int)
    shape = (len(keys), len(SIDES), panel.sizes["period"])
    single, double = np.full(shape, np.nan), np.full(shape, np.nan)
    releases = np.zeros(shape, int)
    single[row_of, side_of] = panel["kg"].values
    double[row_of, side_of] = panel["two_month_kg"].values
    releases[row_of, side_of] = panel["releases"].values

    blank = np.isnan(single)
    alone = np.concatenate([np.zeros((*shape[:2], 1), bool), blank[:, :, :-1]], axis=2) & blank
    unknown = alone.all(1, keepdims=True)
    summed = (double > 0) & unknown
    kg = np.where(summed, double, single)
    # Nothing in two months is nothing in either.
    none = (double == 0) & unknown
    kg[none] = 0.0
    kg[:, :, :-1][none[:, :, 1:]] = 0.0
    kind = np.where(np.isnan(kg), MISSING, np.where(kg > 0, POSITIVE, ZERO)).astype(np.int8)
    log_kg = np.log(np.where(kg > 0, kg, 1.0))
    return Flows(np.array([u for u, _ in keys], dtype=int), [hs for _, hs in keys], log_kg, kind, summed, releases == 1)
