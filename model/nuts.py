"""Hamiltonian steps with jumps between them: PyMC's NUTS with the steps and metric that nutpie's warm-up found.

nutpie samples a chain from beginning to end and lets nothing come between two draws; PyMC's step method does. It also lets a few
coordinates have a covariance of their own, where they lie on a ridge that a diagonal metric does not see.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
from pymc.blocking import RaveledVars
from pymc.step_methods.hmc.quadpotential import QuadPotentialDiag
from scipy.linalg import solve_triangular

from model.jumps import Jumps, jumped

STATS = {"diverging": "diverging", "energy": "energy", "logp": "model_logp", "n_steps": "tree_size", "step_size": "step_size"}
"""What is kept of a step, by nutpie's names, and PyMC's."""


@dataclass(frozen=True)
class Target:
    """origin : some point of the `model`, by parameter. density : x -> log density. gradient : x -> (log density, its gradient). `x` is
    (dimension,), unconstrained."""

    model: pm.Model
    origin: dict[str, np.ndarray]
    density: Callable[[np.ndarray], float]
    gradient: Callable[[np.ndarray], tuple[float, np.ndarray]]


@dataclass(frozen=True)
class Tuning:
    """steps : (chain,) lengths. scales : (chain, dimension) standard deviations of the metric. ridge : (n,) coordinates of which it
    has a `covariance`, (n, n), instead."""

    steps: np.ndarray
    scales: np.ndarray
    ridge: np.ndarray
    covariance: np.ndarray


class _Metric(QuadPotentialDiag):
    def __init__(self, scales: np.ndarray, tuning: Tuning, rng: np.random.Generator) -> None:
        super().__init__(scales**2, rng=rng)
        self._ridge, self._covariance = tuning.ridge, tuning.covariance
        self._root = np.linalg.cholesky(tuning.covariance).T

    def velocity(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        v: np.ndarray = np.multiply(x, self.v, out=out)
        v[self._ridge] = self._covariance @ x[self._ridge]
        return v

    def random(self) -> np.ndarray:
        p: np.ndarray = super().random()
        p[self._ridge] = solve_triangular(self._root, p[self._ridge] * self.s[self._ridge])
        return p

    def energy(self, x: np.ndarray, velocity: np.ndarray | None = None) -> float:
        return float(0.5 * np.dot(x, self.velocity(x) if velocity is None else velocity))

    def velocity_energy(self, x: np.ndarray, v_out: np.ndarray) -> float:
        return self.energy(x, self.velocity(x, v_out))


@dataclass(frozen=True)
class Stage:
    """draws : (chain, draw, dimension). stats : (chain, draw) each. jumped : share of proposed jumps that were accepted."""

    draws: np.ndarray
    stats: dict[str, np.ndarray]
    jumped: float


def joined(stages: Sequence[Stage]) -> Stage:
    """Stages of equal length, one after the other."""
    stats = {name: np.concatenate([s.stats[name] for s in stages], axis=1) for name in STATS}
    return Stage(np.concatenate([s.draws for s in stages], axis=1), stats, float(np.mean([s.jumped for s in stages])))


class _Density:
    """A :class:`Target` as PyMC's integrator asks for it."""

    _raveled_inputs = True
    dtype = "float64"

    def __init__(self, target: Target) -> None:
        self._pytensor_function = target.gradient
        self._extra_vars_shared: dict[str, Any] = {}


def sample(
    target: Target,
    starts: np.ndarray,
    tuning: Tuning,
    kinds: list[tuple[Jumps, int]],
    draws: int,
    seed: int,
    cores: int,
    tell: Callable[[], None],
) -> Stage:
    """`draws` of each chain from `starts` (chain, dimension), jumps of `kinds` before each; one thread a chain, the kernels and XLA run
    without Python's lock. `tell` is called at each draw.
    """
    over = threading.Event()

    def chain(c: int) -> tuple[np.ndarray, list[dict[str, Any]], int]:
        rng = np.random.default_rng([seed, c])
        step = pm.NUTS(
            model=target.model, initial_point=target.origin, logp_dlogp_func=_Density(target), adapt_step_size=False, rng=rng.spawn(1)[0],
            potential=_Metric(tuning.scales[c], tuning, rng.spawn(1)[0]), step_scale=tuning.steps[c] * starts.shape[1] ** 0.25,
        )  # fmt: skip
        step.tune = False
        x, visited, stats, accepted = starts[c], np.empty((draws, starts.shape[1])), [], 0
        for d in range(draws):
            if over.is_set():
                break
            x, taken = jumped(x, target.density, kinds, rng)
            raveled, [told] = step.astep(RaveledVars(x, ()))
            x = visited[d] = raveled.data
            accepted += taken
            stats.append(told)
            tell()
        return visited, stats, accepted

    with ThreadPoolExecutor(cores) as pool:
        try:
            done = list(pool.map(chain, range(len(starts))))
        finally:
            over.set()  # whoever is told to stop need not wait for the rest
    stats = {name: np.array([[told[theirs] for told in told_of] for _, told_of, _ in done]) for name, theirs in STATS.items()}
    return Stage(
        np.stack([v for v, _, _ in done]), stats, sum(n for *_, n in done) / max(1, len(starts) * draws * sum(tries for _, tries in kinds))
    )
