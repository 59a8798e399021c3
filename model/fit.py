"""Frame -> posterior draws: anchored start, NUTS, jumps between readings, everything seeded.

nutpie warms the chains up and finds steps and metric. A single chain goes on with it to the end: short chains, of which a backtest averages
many. Several chains, which must agree, go on with jumps to where the others have been (:mod:`model.jumps`).

The graph round the kernels is compiled by XLA, which does not reorder sums: one seed gives the same draws with a cold and with a warm
cache (docs/decisions/0014).

nutpie is imported where it samples: it brings all of ArviZ's plots and matplotlib, seconds that a night of weighing need not spend.
"""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import arviz_stats as azs
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import model.xla  # noqa: F401 - tells JAX of the kernels
from model.frame import Frame
from model.graph import Equations, Graph, anchored_course, graph_of
from model.jumps import Layout, known, learnt, promising
from model.nuts import STATS, Stage, Target, joined, sample
from model.spec import Assumptions, Computation

if TYPE_CHECKING:
    from nutpie import ChainProgress

NUDGE = 0.02
"""Standard deviation, on the unconstrained scale, by which the start is moved off the anchor: several gradients vanish
exactly there, and the sampler refuses a start with a zero in its gradient."""

_GROUPS = ("warmup_sample_stats", "sample_stats")

WATCHED = 150
"""Draws a chain after nutpie's warm-up, by whose means readings are told apart."""
ROUNDS = (60, 60)
"""Draws a chain, with jumps, after each of which the readings are looked for anew; they belong to the warm-up."""
HALVES = 6
"""At most so many times half of the draws, until the chains agree in the later two thirds of them; the first third is warm-up then."""
RHAT, ESS_A_CHAIN = 1.01, 100.0
"""When chains agree: Vehtari, Gelman, Simpson, Carpenter & Buerkner (2021), Bayesian Analysis 16(2)."""
SEVERITIES = 3
"""How many of the severities, the mildest, a unit's level may jump by."""
TRIES, SHARES = 40, (0.3, 0.5, 0.1, 0.1)
"""Jumps tried before each draw, together a sixth of what the draw costs; and the shares of known levels, and of what was learnt of courses,
levels, and both, of those of which there are any. A month of a course leaves the rarer of its two readings by no other way.
"""

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
    import nutpie

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
    import nutpie

    graph = graph_of(f, assumptions)
    point = anchor(graph) if start is None else start
    point = point + np.random.default_rng(computation.seed).normal(0, NUDGE, point.size)
    compiled = _compiled(graph.equations)
    compiled = compiled.with_data(**{name: jnp.asarray(v) for name, v in f.data().items() if name in compiled._shared_data})
    compiled = dataclasses.replace(compiled, _make_initial_points=lambda seed: point)
    alone = computation.chains == 1
    watched, *rounds = (min(n, computation.draws) for n in (WATCHED, *ROUNDS))
    later = 0 if alone else computation.chains * (sum(rounds) + computation.draws)
    told = 0

    def tell(chains: "list[ChainProgress]") -> None:
        nonlocal told
        told = sum(c.finished_draws for c in chains)
        if progress is not None:
            progress(told, sum(c.total_draws for c in chains) + later)

    warm = nutpie.sample(
        compiled,
        draws=computation.draws if alone else watched,
        tune=computation.tune,
        chains=computation.chains,
        cores=computation.cores,
        seed=computation.seed,
        target_accept=computation.target_accept,
        save_warmup=True,
        progress_bar=False,
        progress_callback=tell,
        store_unconstrained=True,
        store_mass_matrix=True,
    )
    stats = warm["sample_stats"].to_dataset()
    posterior = xr.DataTree.from_dict({"posterior": warm["posterior"].to_dataset(), "sample_stats": stats[list(STATS)]})
    draws = stats["unconstrained_draw"].transpose("chain", "draw", ...).values
    if not alone:
        total = computation.chains * (computation.tune + watched) + later

        def one_more() -> None:
            nonlocal told
            told += 1
            if progress is not None:
                progress(told, max(told, total))

        last = _with_jumps(compiled, graph, assumptions, computation, draws, warm, rounds, one_more)
        posterior, draws = _expanded(compiled, warm["posterior"].to_dataset(), last), last.draws
    return Fit(posterior, graph, [v.name for v in graph.model.free_RVs], draws[0, -1])


def _with_jumps(
    compiled: Any, graph: Graph, a: Assumptions, c: Computation, draws: np.ndarray, warm: xr.DataTree, rounds: list[int],
    tell: Callable[[], None],
) -> Stage:  # fmt: skip
    """The warmed-up chains carried on; what is learnt of the readings is learnt in `rounds`, which are left behind."""
    names = inspect.getclosurevars(compiled._make_logp_func).nonlocals["logp_shared_names"]
    data = [compiled._shared_data[name] for name in names]
    density, gradient = _density(compiled._raw_logp_fn), compiled._make_logp_func()
    target = Target(graph.model, lambda x: float(density(x, *data)[0]), lambda x: gradient(x, **compiled._shared_data))
    scales = np.stack([_last_metric(warm, chain) for chain in range(len(draws))])
    steps = warm["sample_stats"]["step_size_bar"].transpose("chain", "draw").values[:, -1]
    place, half = Layout(graph.model.initial_point()), draws.shape[1] // 2
    stretches = [piece for chain in draws for piece in (chain[:half], chain[half:])]
    ends, points = draws[:, -1], np.concatenate([draws[:, half], draws[:, -1]])
    levels = promising(known(graph.frame, place, a.restricted[:SEVERITIES]), points, target.density, c.cores)

    def carry_on(length: int, seed: int) -> Stage:
        """Every chain, with jumps to where any has been so far."""
        nonlocal ends, stretches
        found = [promising(kind, ends, target.density, c.cores) for kind in learnt(stretches, graph.frame, place)]
        some = [(jumps, share) for jumps, share in zip([levels, *found], SHARES, strict=True) if jumps]
        kinds = [(jumps, round(TRIES * share / sum(s for _, s in some))) for jumps, share in some]
        stage = sample(target, ends, steps, scales, kinds, length, seed, c.cores, tell)
        ends, stretches = stage.draws[:, -1], [*stretches, *stage.draws]
        return stage

    for n, length in enumerate(rounds):
        carry_on(length, c.seed + 1 + n)
    stages: list[Stage] = []
    while len(stages) < HALVES:
        stages.append(carry_on((c.draws + len(stages) % 2) // 2, c.seed + 100 * (len(stages) + 1)))
        kept = joined(stages[len(stages) // 3 :])
        if len(stages) > 1 and agree(kept.draws):
            break
    return kept


def agree(draws: np.ndarray) -> bool:
    """Whether (chain, draw, dimension) would pass the gate."""
    every = xr.Dataset({"x": (("chain", "draw", "dimension"), draws)})
    needed = ESS_A_CHAIN * len(draws)
    fewest = min(float(azs.ess(every, method=method)["x"].min()) for method in ("bulk", "tail"))
    return float(azs.rhat(every)["x"].max()) <= RHAT and fewest >= needed


@cache
def _density(raw: Callable[..., Any]) -> Any:
    """nutpie compiles the density with its gradient only; a jump needs no gradient, which is three quarters of the cost."""
    return jax.jit(raw)


def _last_metric(warm: xr.DataTree, chain: int) -> np.ndarray:
    """(dimension,) standard deviations of the metric; nutpie writes it down where it changed, and NaN elsewhere."""
    of_time = [warm[group]["mass_matrix_inv"].isel(chain=chain).transpose("draw", ...).values for group in _GROUPS]
    every = np.concatenate(of_time)
    metric: np.ndarray = every[np.flatnonzero(np.isfinite(every[:, 0]))[-1]]
    return metric


def _expanded(compiled: Any, like: xr.Dataset, stage: Stage) -> xr.DataTree:
    """The draws by name, in the dimensions and coordinates of `like`, nutpie's own of the same model."""
    expand = compiled._make_expand_func(0, 0, 0)
    named = [[expand(x, **compiled._shared_data) for x in chain] for chain in stage.draws]
    dims = ("chain", "draw")
    coords = {name: v for name, v in like.coords.items() if name != "draw"} | {"draw": np.arange(stage.draws.shape[1])}
    values = {
        name: ((*dims, *array.dims[2:]), np.array([[draw[name] for draw in chain] for chain in named]), array.attrs)
        for name, array in like.data_vars.items()
    }
    stats = xr.Dataset({name: (dims, v) for name, v in stage.stats.items()}, {d: coords[d] for d in dims}, {"jumped": stage.jumped})
    return xr.DataTree.from_dict({"posterior": xr.Dataset(values, coords, like.attrs), "sample_stats": stats})
