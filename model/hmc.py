r"""Hamiltonian trajectories with jumps between them.

nutpie, which warms chains up, samples from beginning to end and lets nothing come between two draws. What follows goes on from its draws:
with a random length of path, as Bou-Rabee & Sanz-Serna (2017), Annals of Applied Probability 27(4), 2159-2194, so that no direction is
followed for whole periods; and with a metric of all dimensions, which a warm-up of some hundred draws does not yet know. The metric W, an
estimate of the posterior's covariance, is the one in which draws and gradients of the log density spread alike:

.. math:: W \operatorname{Cov}(\nabla \log p)\, W = \operatorname{Cov}(\theta)

(nutpie's, which is diagonal, solves the same for variances). Trees of NUTS take 15 gradients a draw where half of them do
(docs/decisions/0033).
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.linalg.blas import dsymv, dtrmv
from threadpoolctl import threadpool_limits

from model.jumps import Jumps, jumped

PATH = (1.3, 2.3)
"""Shortest and longest path, in standard deviations: a quarter of a period is 1.6."""
LONGEST = 100
"""Steps at most: a chain that was warmed up badly, whose steps are a thousandth, goes less far, and not for minutes a draw."""
DIVERGED = 1000.0
"""Nats of energy."""
SHRINK = 0.3
"""What the diagonals weigh beside covariances of draws and gradients."""
DENSE = 3000
"""Dimensions from which on a metric is diagonal: a step would cost as much as a gradient, and a gigabyte."""
STATS = ("diverging", "energy", "logp", "mean_tree_accept", "n_steps", "step_size")
"""What is told of a draw, by nutpie's names."""


@dataclass(frozen=True)
class Target:
    """density : x -> log density. gradient : x -> (log density, its gradient). `x` is (dimension,), unconstrained."""

    density: Callable[[np.ndarray], float]
    gradient: Callable[[np.ndarray], tuple[float, np.ndarray]]


@dataclass(frozen=True)
class Tuning:
    """steps : (chain,) lengths, in standard deviations. metric : (dimension, dimension), or (dimension,), its diagonal. of : how many
    draws it was estimated from; 0 for nutpie's.
    """

    steps: np.ndarray
    metric: np.ndarray
    of: int


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


def metric(draws: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """W of the module's docstring. draws : (chain, draw, dimension), each chain about its own mean, since chains may not have met yet.
    gradients : (n, dimension), of the log density, at any of them."""
    of_draws = (draws - draws.mean(1, keepdims=True)).reshape(-1, draws.shape[2])
    of_slope = gradients - gradients.mean(0)
    scale = np.sqrt(of_draws.std(0) / of_slope.std(0))
    if scale.size > DENSE:
        return scale**2
    there, here = (_covariance(v) for v in (of_draws / scale, of_slope * scale))
    root = cholesky(here, lower=True)
    values, vectors = np.linalg.eigh(root.T @ there @ root)
    half = solve_triangular(root, vectors * np.sqrt(np.sqrt(values)), lower=True, trans="T")
    return (half @ half.T) * np.outer(scale, scale)


def _covariance(centred: np.ndarray) -> np.ndarray:
    """(dimension, dimension) of (n, dimension), shrunk towards its diagonal."""
    own = centred.T @ centred / len(centred)
    shrunk: np.ndarray = (own + SHRINK * np.diag(np.diag(own))) / (1 + SHRINK)
    return shrunk


class _At(NamedTuple):
    """Log density, its gradient, and the metric times that."""

    density: float
    slope: np.ndarray
    turn: np.ndarray


class _Metric:
    """W, and velocities. Of a symmetric matrix half is read: what a step reads of it, the kernels' figures have to make room for."""

    def __init__(self, metric: np.ndarray) -> None:
        self._metric = metric.T  # in Fortran's order
        self._root = np.asfortranarray(cholesky(metric, lower=True)) if metric.ndim == 2 else np.sqrt(metric)

    def velocity(self, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """One of covariance W, and its kinetic energy."""
        normal = rng.normal(size=len(self._root))
        velocity: np.ndarray = dtrmv(self._root, normal, lower=1) if self._root.ndim == 2 else self._root * normal
        return velocity, 0.5 * float(normal @ normal)

    def at(self, target: Target, x: np.ndarray) -> _At:
        density, slope = target.gradient(x)
        return _At(density, slope, dsymv(1.0, self._metric, slope, lower=1) if self._metric.ndim == 2 else self._metric * slope)


def sample(
    target: Target,
    starts: np.ndarray,
    tuning: Tuning,
    kinds: list[tuple[Jumps, int]],
    draws: int,
    seed: Sequence[int],
    cores: int,
    tell: Callable[[], None],
) -> Stage:
    """`draws` of each chain from `starts` (chain, dimension), jumps of `kinds` before each; one thread a chain, the kernels and XLA run
    without Python's lock. `tell` is called at each draw.
    """
    over, geometry = threading.Event(), _Metric(tuning.metric)

    def chain(c: int) -> tuple[np.ndarray, list[dict[str, float]], int]:
        rng = np.random.default_rng([*seed, c])
        x, visited, stats, accepted = starts[c], np.empty((draws, starts.shape[1])), [], 0
        at = geometry.at(target, x)
        try:
            for d in range(draws):
                if over.is_set():
                    break
                there, taken = jumped(x, at.density, target.density, kinds, rng)
                if taken:
                    x, at = there, geometry.at(target, there)
                x, at, told = _moved(x, at, target, geometry, tuning.steps[c], rng)
                visited[d] = x
                accepted += taken
                stats.append(told)
                tell()
        except BaseException:
            over.set()  # the others need not go on
            raise
        return visited, stats, accepted

    # One thread a chain is one for its products too: those of a library's own would wait for cores on which the other chains work.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(cores) as pool:
        try:
            done = list(pool.map(chain, range(len(starts))))
        finally:
            over.set()  # who is told to stop need not wait for the rest
    stats = {name: np.array([[told[name] for told in told_of] for _, told_of, _ in done]) for name in STATS}
    tried = len(starts) * draws * sum(tries for jumps, tries in kinds if jumps)
    return Stage(np.stack([v for v, _, _ in done]), stats, sum(n for *_, n in done) / max(1, tried))


def _moved(
    x: np.ndarray, at: _At, target: Target, geometry: _Metric, step: float, rng: np.random.Generator
) -> tuple[np.ndarray, _At, dict[str, float]]:
    """Where a trajectory from `x` ends, if that is accepted; what it is like there; and what is told of it."""
    steps, step = min(max(1, round(rng.uniform(*PATH) / step)), LONGEST), step * rng.uniform(0.9, 1.1)
    v, kinetic = geometry.velocity(rng)
    energy = kinetic - at.density
    there, end, gone = x, at, 0
    while gone < steps and np.isfinite(end.density):
        gone += 1
        v, kinetic = _kicked(v, kinetic, end, 0.5 * step)
        there = there + step * v
        end = geometry.at(target, there)
        v, kinetic = _kicked(v, kinetic, end, 0.5 * step)
    risen = kinetic - end.density - energy
    diverged = not risen < DIVERGED  # of NaN too
    accepted = 0.0 if diverged else float(np.exp(min(0.0, -risen)))
    if rng.random() < accepted:
        x, at, energy = there, end, energy + risen
    told = {"diverging": diverged, "energy": energy, "logp": at.density, "mean_tree_accept": accepted, "n_steps": gone, "step_size": step}
    return x, at, told


def _kicked(v: np.ndarray, kinetic: float, at: _At, time: float) -> tuple[np.ndarray, float]:
    """Velocity and kinetic energy, v W^-1 v / 2, after `time` in which the slope is as it is `at` a place: W's inverse is not asked for."""
    return v + time * at.turn, kinetic + time * float(at.slope @ (v + 0.5 * time * at.turn))
