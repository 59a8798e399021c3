"""Signals of a panel added up to one log flow a unit, side and month: what the likelihood sees.

``log_kg``, ``kind`` (MISSING, ZERO, POSITIVE) have shape (unit, side, period). Where some HS codes of a family have no
figure, the known ones are scaled up by their usual share if that is at least :data:`SHARE_NEEDED`; otherwise
the month is missing. A code that is 0 is a figure, so a stopped code does lower the sum.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int8, Shaped

from data.panel import SIDES, Panel
from model.chain import MISSING, POSITIVE, ZERO

SHARE_NEEDED = 0.5


@dataclass(frozen=True)
class Flows:
    units: list[str]
    log_kg: Float[np.ndarray, "unit side period"]
    kind: Int8[np.ndarray, "unit side period"]

    @property
    def positive(self) -> Shaped[np.ndarray, "unit side period"]:
        return self.kind == POSITIVE

    def combined_kind(self) -> Int8[np.ndarray, "unit period"]:
        """Positive where either office saw something, zero where one saw nothing and none saw something."""
        zero = (self.kind == ZERO).any(1)
        return np.asarray(np.where(self.positive.any(1), POSITIVE, np.where(zero, ZERO, MISSING)), dtype=np.int8)

    def primary(self) -> Float[np.ndarray, "unit period"]:
        """The exporter's log flow where positive, else the importer's; 0 where neither is."""
        exporter, importer = self.log_kg[:, 0], self.log_kg[:, 1]
        filled = np.where(self.positive[:, 0], exporter, importer)
        return np.where(self.positive.any(1), filled, 0.0)


def flows(panel: Panel) -> Flows:
    units = [str(u) for u in panel["unit"].values]
    signal_kg = panel["kg"].values
    shape = (len(units), len(SIDES), panel.sizes["period"])
    log_kg, kind = np.zeros(shape), np.full(shape, MISSING, np.int8)
    for u, unit in enumerate(units):
        for side, name in enumerate(SIDES):
            mine = (panel["signal_unit"].values == unit) & (panel["signal_side"].values == name)
            if not mine.any():
                continue
            kg = signal_kg[mine]
            known = ~np.isnan(kg)
            usual = np.array([row[k].mean() if k.any() else 0.0 for row, k in zip(kg, known, strict=True)])
            total = usual.sum()
            weight = usual / total if total > 0 else np.full(len(usual), 1 / len(usual))
            share = (weight[:, None] * known).sum(0)
            enough = share >= SHARE_NEEDED
            amount = np.where(enough, np.where(known, kg, 0).sum(0) / np.where(enough, share, 1), 0)
            kind[u, side] = np.where(enough, np.where(amount > 0, POSITIVE, ZERO), MISSING)
            log_kg[u, side] = np.log(np.where(amount > 0, amount, 1))
    return Flows(units, log_kg, kind)
