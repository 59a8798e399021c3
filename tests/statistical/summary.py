"""What the pieces of a validation come to: plain numbers, for the document and for the tests."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

LEVELS = (0.5, 0.8, 0.9)
BURN = 12
"""First months of a world that are not judged: nothing can be known of them."""


def pieces(folder: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(p.read_text()) for p in sorted(folder.glob(f"{kind}-*.json"), key=lambda p: int(p.stem.split("-")[1]))]
    return [piece for piece in found if piece["fitted"]]


def parameter_ranks(worlds: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """{parameter: (world, component) ranks, 0..1}."""
    return {name: np.array([w["ranks"][name] for w in worlds]) for name in worlds[0]["ranks"]}


def coverage(ranks: np.ndarray, level: float) -> float:
    """Share of true values inside the central interval."""
    inside = np.abs(ranks - 0.5) < level / 2
    return float(inside.mean())


def band(worlds: int, points: np.ndarray, level: float = 0.95, simulations: int = 2000, seed: int = 1) -> np.ndarray:
    """Half-width, per point, of the simultaneous band of the ECDF of `worlds` uniform values less the diagonal.

    By simulation (Säilynoja, Bürkner & Vehtari 2022, Statistics and Computing 32, 32): the pointwise level is tuned until `level` of
    all simulated ECDFs lie wholly inside.
    """
    u = np.random.default_rng(seed).uniform(size=(simulations, worlds))
    below = (u[:, :, None] <= points).sum(1)
    tail = np.minimum(stats.binom.cdf(below, worlds, points), stats.binom.sf(below - 1, worlds, points)).min(1)
    cut = np.quantile(tail, 1 - level)
    return np.maximum(stats.binom.ppf(1 - cut, worlds, points) / worlds - points, points - stats.binom.ppf(cut, worlds, points) / worlds)


def outside(values: np.ndarray) -> float:
    """How far the ECDF of values in 0..1 leaves the 95 % band at worst, in half-widths: up to 1 is inside."""
    points = np.linspace(0.02, 0.98, 49)
    ecdf = (values[:, None] <= points).mean(0)
    return float((np.abs(ecdf - points) / band(len(values), points)).max())


def first_component(ranks: np.ndarray) -> np.ndarray:
    """(world,) ranks of a parameter; of a vector those of its first component, since components of a world depend."""
    return ranks.reshape(len(ranks), -1)[:, 0]


@dataclass(frozen=True)
class Said:
    """p, y : (world, unit x month) probabilities and whether they were true; months before BURN are left out."""

    p: np.ndarray
    y: np.ndarray

    @property
    def brier(self) -> np.ndarray:
        """(world,)"""
        return ((self.p - self.y) ** 2).mean(1)

    @property
    def skill(self) -> float:
        base = self.y.mean()
        return float(1 - self.brier.mean() / (base * (1 - base)))

    @property
    def log_score(self) -> np.ndarray:
        """(world,) mean log probability of what was true."""
        q = np.clip(self.p, 1e-4, 1 - 1e-4)
        return np.log(np.where(self.y == 1, q, 1 - q)).mean(1)

    def reliability(self, resamples: int = 300) -> list[tuple[float, float, float, float, int]]:
        """Per bin of p: mean p, share true, its 5 % and 95 % bootstrap quantiles over worlds, rows."""
        edges = np.array([0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 1.0001])
        at = np.digitize(self.p, edges) - 1
        rng = np.random.default_rng(1)
        out = []
        for b in range(len(edges) - 1):
            mine = at == b
            if not mine.any():
                continue
            hits, rows = (self.y * mine).sum(1), mine.sum(1)
            picks = rng.integers(len(hits), size=(resamples, len(hits)))
            shares = hits[picks].sum(1) / np.maximum(rows[picks].sum(1), 1)
            low, high = np.quantile(shares, [0.05, 0.95])
            out.append((float(self.p[mine].mean()), float(self.y[mine].mean()), float(low), float(high), int(mine.sum())))
        return out

    def calibration_error(self, bins: int = 10) -> float:
        p, y = self.p.ravel(), self.y.ravel()
        return float(sum(len(i) * abs(p[i].mean() - y[i].mean()) for i in np.array_split(np.argsort(p, kind="stable"), bins)) / p.size)

    def randomised(self, seed: int = 1) -> np.ndarray:
        """(world,) one unit-month a world: uniform if the probability is right (randomised probability integral transform)."""
        rng = np.random.default_rng(seed)
        rows = np.arange(len(self.p))
        cell = rng.integers(self.p.shape[1], size=len(rows))
        p, y, u = self.p[rows, cell], self.y[rows, cell], rng.uniform(size=len(rows))
        return np.where(y == 1, 1 - p + u * p, u * (1 - p))


def said(worlds: list[dict[str, Any]], of: Any) -> Said:
    """`of` : piece -> (unit, period) probabilities."""
    p = np.array([np.array(of(w))[:, BURN:].ravel() for w in worlds])
    y = np.array([np.array(w["restricted"])[:, BURN:].ravel() for w in worlds])
    return Said(p, y)


def recovery(worlds: list[dict[str, Any]]) -> dict[str, float]:
    """{scalar parameter: correlation over worlds of posterior mean and true value}."""
    scalar = [n for n, v in worlds[0]["values"].items() if len(v) == 1 and n in worlds[0]["means"]]
    pairs = {n: np.array([(w["values"][n][0], w["means"][n][0]) for w in worlds]).T for n in scalar}
    return {n: float(stats.spearmanr(*pair).statistic) for n, pair in pairs.items()}
