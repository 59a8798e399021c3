"""Panel -> posterior draws: anchored start, NUTS (nutpie), everything seeded.

PyTensor's default ``numba__fastmath`` gives one seed different draws with a cold and a warm cache; it is switched
off here, before PyTensor is used (docs/decisions/0004).
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import nutpie
import pytensor
import xarray as xr

from data.panel import Panel
from model.frame import frame
from model.graph import Graph, anchored_start, build
from model.spec import Assumptions, Computation

pytensor.config.numba__fastmath = False

NUDGE = 0.02
"""Standard deviation, on the unconstrained scale, by which the start is moved off the anchor: several gradients vanish
exactly there, and the sampler refuses a start with a zero in its gradient."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Fit:
    """posterior : DataTree of nutpie (posterior, sample_stats), free variables only."""

    posterior: xr.DataTree
    graph: Graph
    free: list[str]


def fit(panel: Panel, assumptions: Assumptions, computation: Computation, progress: Progress | None = None) -> Fit:
    """Sample the posterior. `progress` is told (steps done, steps in all) over all chains, warm-up included."""
    f = frame(panel, assumptions)
    graph = build(f, assumptions)
    compiled = nutpie.compile_pymc_model(graph.model, initial_points=anchored_start(f), jitter_rvs=set())
    anchor = compiled.initial_point_func
    noise = np.random.default_rng(computation.seed).normal(0, NUDGE, compiled.n_dim)
    compiled = dataclasses.replace(compiled, initial_point_func=lambda seed: anchor(0) + noise)

    def tell(chains: list[nutpie.ChainProgress]) -> None:
        if progress is not None:
            progress(sum(c.finished_draws for c in chains), sum(c.total_draws for c in chains))

    posterior = nutpie.sample(
        compiled,
        draws=computation.draws,
        tune=computation.tune,
        chains=computation.chains,
        cores=computation.cores,
        seed=computation.seed,
        target_accept=computation.target_accept,
        save_warmup=False,
        progress_bar=False,
        progress_callback=tell,
    )
    return Fit(posterior, graph, [v.name for v in graph.model.free_RVs])
