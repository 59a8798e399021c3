"""Covariates -> what drives the odds that a campaign begins: levels in standard deviations, their rises, and leads."""

import numpy as np


def measured(covariate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(centre, spread) of each unit's own series, (unit, period), in robust statistics; NaN where nothing is known.

    The unit of measurement is the geometric mean of the series' own spread and of the usual one among the units: series of one
    index are comparable, but not wholly, and a calm series must not be blown up.
    """
    centre = np.full(len(covariate), np.nan)
    spread = np.full(len(covariate), np.nan)
    for u, row in enumerate(covariate):
        if (known := row[~np.isnan(row)]).size:
            centre[u] = np.median(known)
            spread[u] = 1.4826 * np.median(np.abs(known - centre[u])) or np.std(known) or 1.0
    return (centre, spread) if np.isnan(spread).all() else (centre, np.sqrt(spread * np.nanmedian(spread)))


def standardised(covariate: np.ndarray, centre: np.ndarray, spread: np.ndarray, fade: float) -> np.ndarray:
    """(unit, period) in standard deviations; unknown months fade to 0."""
    out = np.zeros_like(covariate)
    for u in np.flatnonzero(~np.isnan(spread)):
        value = 0.0
        for t, z in enumerate((covariate[u] - centre[u]) / spread[u]):
            value = value * fade if np.isnan(z) else float(np.clip(z, -4, 4))
            out[u, t] = value
    return out


def rise(level: np.ndarray, memory: int) -> np.ndarray:
    """(unit, period): by how much a series exceeds its mean of the `memory` months before; 0 in the first month."""
    out = np.zeros_like(level)
    for t in range(1, level.shape[1]):
        out[:, t] = level[:, t] - level[:, max(0, t - memory) : t].mean(1)
    return out


def driving(covariates: np.ndarray, centre: np.ndarray, spread: np.ndarray, fade: float, memory: int) -> np.ndarray:
    """(driver, unit, period): each covariate's level, then each one's rise. covariates : (covariate, unit, period)."""
    level = np.stack([standardised(*one, fade) for one in zip(covariates, centre, spread, strict=True)])
    return np.concatenate([level, np.stack([rise(c, memory) for c in level])])


def led(drivers: np.ndarray, leads: int) -> np.ndarray:
    """(driver, lead, ..., period): the drivers as they were 0, 1, ... months before."""
    T = drivers.shape[-1]
    return np.stack([np.concatenate([np.zeros_like(drivers[..., :n]), drivers[..., : T - n]], -1) for n in range(leads)], axis=1)
