"""Frame -> posterior draws: anchored start, NUTS (nutpie), everything seeded.

The graph round the kernels is compiled by XLA, which does not reorder sums: one seed gives the same draws with a cold and with a warm
cache (docs/decisions/0014).
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np
import nutpie
import xarray as xr

import model.xla  # noqa: F401 - tells JAX of the kernels
from model.frame import Frame
from model.graph import Equations, Graph, anchored_course, graph_of
from model.spec import Assumptions, Computation

NUDGE = 0.02
"""Standard deviation, on the unconstrained scale, by which the start is moved off the anchor: several gradients vanish
exactly there, and the sampler refuses a start with a zero in its gradient."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Fit:
    """posterior : DataTree of nutpie (posterior, sample_stats), free variables only. free : their names.

    end : (dimension,), where the first chain ended, on the unconstrained scale.
    """

    posterior: xr.DataTree
    graph: Graph
    free: list[str]
    end: np.ndarray


@cache
def _compiled(equations: Equations) -> Any:
    """Compiled once in a process: another frame of the same structure is other data."""
    # The data stay arguments (`freeze_model`).
    return nutpie.compile_pymc_model(equations.model, backend="jax", gradient_backend="jax", freeze_model=False, jitter_rvs=set())


def anchor(graph: Graph) -> np.ndarray:
    """(dimension,) where sampling starts, on the unconstrained scale: the prior's middle, with the families' courses on the data."""
    set_data(graph)
    start = graph.model.initial_point()
    start["family_course"] = anchored_course(graph.frame)
    return np.concatenate([np.ravel(start[v.name]) for v in graph.model.value_vars])


def set_data(graph: Graph) -> None:
    """Fill the data containers of the graph's equations with its frame's data."""
    data = graph.frame.data()
    for variable in graph.model.data_vars:
        variable.set_value(data[variable.name])


def continued(last: Fit, f: Frame) -> np.ndarray | None:
    """(dimension,) where to start on `f`, of the same structure with months added: where `last` ended, and the families' courses
    of new months moved as their destinations did. None where the structure is another one."""
    old = last.graph.frame
    if f.structure != old.structure:
        return None
    start, at = last.end.copy(), 0
    for name, value in last.graph.model.initial_point().items():
        if name == "family_course":
            course = start[at : at + value.size].reshape(value.shape)
        at += value.size
    moved = np.diff(anchored_course(f), axis=1, prepend=0.0)
    known = np.pad(old.family_seen, [(0, 0), (0, f.capacity - old.periods)])[:, : f.periods]
    for g, t in np.argwhere(f.family_seen & ~known):
        course[g, t] = course[g, max(t - 1, 0)] + moved[g, t]
    return start


def fit(
    f: Frame, assumptions: Assumptions, computation: Computation, progress: Progress | None = None, start: np.ndarray | None = None
) -> Fit:
    """Sample the posterior. `progress` is told (steps done, steps in all) over all chains, warm-up included.

    start : (dimension,), on the unconstrained scale; by default the :func:`anchor`.
    """
    graph = graph_of(f, assumptions)
    point = anchor(graph) if start is None else start
    point = point + np.random.default_rng(computation.seed).normal(0, NUDGE, point.size)
    compiled = _compiled(graph.equations)
    compiled = compiled.with_data(**{name: jnp.asarray(v) for name, v in f.data().items() if name in compiled._shared_data})
    compiled = dataclasses.replace(compiled, _make_initial_points=lambda seed: point)

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
        store_unconstrained=True,
    )
    stats = posterior["sample_stats"].to_dataset()
    posterior["sample_stats"] = xr.DataTree(stats.drop_vars("unconstrained_draw"))
    end = stats["unconstrained_draw"].isel(chain=0, draw=-1).values
    return Fit(posterior, graph, [v.name for v in graph.model.free_RVs], end)
