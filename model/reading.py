"""Figures of two customs offices -> what the kernel is shown of them. The same equations for the sampler's graph and for plain arrays:
`xp` is ``pytensor.tensor`` or ``numpy``. Arrays are (..., series, period).
"""

from typing import Any, NamedTuple

import numpy as np

from model.kernel import MISSING, POSITIVE, ZERO
from model.spec import Assumptions

REFERENCE_LOG_KG = float(np.log(1000.0))


class Reading(NamedTuple):
    """adjustment : added to the primary figure to read the flow off both. variance : of that reading's reporting error (log squared).
    difference : the importer's reading less the exporter's, where both are. both : where they are."""

    adjustment: Any
    variance: Any
    difference: Any
    both: Any


def before(xp: Any, v: Any) -> Any:
    """A month later what there was; the first month as it is."""
    return xp.concatenate([v[..., :1], v[..., :-1]], axis=-1)


def read(
    xp: Any, exporter: Any, importer: Any, sees_exporter: Any, sees_importer: Any, exporter_zero: Any, bias: Any, transit: Any,
    var_exporter: Any, var_importer: Any,
) -> Reading:  # fmt: skip
    """exporter, importer : log kg. sees_* : where they are positive; exporter_zero : where the exporter saw nothing. bias : of the
    importer's figures (log). transit : share of a month that the importer books in the next."""
    both, alone = sees_exporter & sees_importer, sees_importer & ~sees_exporter
    # What was shipped the month before, as a share of this month's; as much as this month's where it is not known.
    carried, nothing = before(xp, sees_exporter), before(xp, exporter_zero)
    ratio = xp.where(nothing, 0.0, xp.exp(xp.clip(xp.where(carried, before(xp, exporter) - exporter, 0.0), -20, 20)))
    difference = (importer - exporter) - bias - xp.log((1 - transit) + transit * ratio)
    weight = var_exporter / (var_exporter + var_importer)
    adjustment = xp.where(both, weight * difference, xp.where(alone, -bias, 0.0))
    variance = xp.where(both, var_exporter * (1 - weight), xp.where(sees_exporter, var_exporter, var_importer))
    return Reading(adjustment, variance, xp.where(both, difference, 0.0), both)


def paid_back(xp: Any, excess: Any, positive: Any, share: Any, a: Assumptions, months: int) -> Any:
    """Log effect of the stock of what was bought ahead in months before. excess : over the expectation that knows of none (log); positive :
    where something was shipped; share : of the stock that is paid back a month."""
    behind = np.subtract.outer(np.arange(months), np.arange(months)) - 1
    decay = np.where(behind >= 0, a.frontload_keep ** np.maximum(behind, 0), 0.0)
    bought = xp.clip(xp.expm1(xp.clip(excess, -5, 2)) - a.frontload_from, 0, 5) * positive
    return -share * xp.dot(bought, decay.T)


def of_two_months(xp: Any, mu: Any, summed: Any, carried: Any = 0.0) -> Any:
    """To be added to the expectation of a cell that holds two months' flow in one figure. carried : to the first month's expectation: the
    family's factor of the second, where nobody has seen the first by itself."""
    return xp.where(summed, xp.log1p(xp.exp(before(xp, mu) + carried - mu)), 0.0)


def combined(kind: np.ndarray) -> np.ndarray:
    """(row, view, period) -> (row, period) what several views of one thing show together: positive if any does, else zero if any does."""
    zero = (kind == ZERO).any(1)
    return np.asarray(np.where((kind == POSITIVE).any(1), POSITIVE, np.where(zero, ZERO, MISSING)), dtype=np.int8)


def carried_over(log_kg: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Where the importer books what was shipped the month before, and nothing was shipped: the exporter's figure is zero, and the
    importer's no more than the exporter's of the month before. Both (series, side, period)."""
    exporter, importer = log_kg[:, 0], log_kg[:, 1]
    shipped = np.full(exporter.shape, -np.inf)
    shipped[:, 1:] = np.where(kind[:, 0, :-1] == POSITIVE, exporter[:, :-1], -np.inf)
    return (kind[:, 0] == ZERO) & (kind[:, 1] == POSITIVE) & (importer <= shipped)


def flow(log_kg: np.ndarray, kind: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(kind, primary), (series, period): positive where either office saw something shipped, zero where one saw nothing and none saw
    something; the exporter's log flow where positive, else the importer's, 0 where nothing was shipped."""
    shown = np.where(carried_over(log_kg, kind), ZERO, combined(kind)).astype(np.int8)
    filled = np.where(kind[:, 0] == POSITIVE, log_kg[:, 0], log_kg[:, 1])
    return shown, np.where(shown == POSITIVE, filled, 0.0)
