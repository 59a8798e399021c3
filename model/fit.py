"""Frame -> posterior draws: anchored start, Hamiltonian trajectories, jumps between readings, everything seeded.

nutpie warms the chains up and finds their steps. A single chain goes on with it to the end: short chains, of which a backtest averages
many. Several chains, which must agree, go on in a metric of their own (:mod:`model.hmc`), with jumps to where the others have been
(:mod:`model.jumps`). Where a fit of the same structure was made before, its chains are carried on instead: what the next figures change
is a month, and not steps or metric.

The graph round the kernels is compiled by XLA, which does not reorder sums: one seed gives the same draws with a cold and with a warm
cache (docs/decisions/0014).

nutpie is imported where it samples: it brings all of ArviZ's plots and matplotlib, seconds that a night of weighing need not spend.
"""

import dataclasses
import gc
import hashlib
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import compress, count
from typing import TYPE_CHECKING, Any

import arviz_stats as azs
import jax
import jax.numpy as jnp
import numpy as np
import pytensor
import xarray as xr

import model.xla  # noqa: F401 - tells JAX of the kernels
from model.entry import beside, entry
from model.frame import Frame, contrasts, medians
from model.graph import Equations, Graph, anchored_course, graph_of
from model.hmc import STATS, Stage, Target, Tuning, joined, metric, sample
from model.jumps import Layout, Repertoire, Stretch, known_levels, known_months, promising
from model.spec import Assumptions, Computation

if TYPE_CHECKING:
    from nutpie import ChainProgress

NUDGE = 0.02
"""Standard deviation, on the unconstrained scale, by which the start is moved off the anchor: several gradients vanish
exactly there, and the sampler refuses a start with a zero in its gradient."""

_GROUPS = ("warmup_sample_stats", "sample_stats")

DEEPEST = 6
"""A tree of a warm-up doubles so many times at most: its first ones, in a metric that knows nothing, had up to a thousand steps, which took
a third of its time. A single chain's have the ten of nutpie, since its draws are kept."""
WATCHED = 150
"""Draws a chain after nutpie's warm-up, by whose means readings are told apart."""
ROUNDS = (60, 60)
"""Draws a chain, with jumps, after each of which the readings are looked for anew; they belong to the warm-up."""
QUARTERS = 24
"""At most so many times a quarter of the draws, until the chains agree in the later two thirds of them; the first third is warm-up then."""
RHAT, ESS_A_CHAIN = 1.01, 100.0
"""When chains agree: Vehtari, Gelman, Simpson, Carpenter & Buerkner (2021), Bayesian Analysis 16(2)."""
SEVERITIES = 3
"""How many of the severities, the mildest, a unit's level may jump by."""
RETUNED = (2, 4, 8, 16)
"""Quarters after which the metric is estimated anew, of what is kept, where that are more draws than before."""
REMEMBERED = 16
"""Of its own stretches, and of those that it was left, so many a fit leaves to the next, the last."""
METRIC_DRAWS = 1000
"""At so many of the draws, at most, gradients are asked for when a metric is estimated."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Left:
    """What a fit leaves for the next to begin with, on the unconstrained scale.

    ends : (chain, dimension) where its chains came to. stretches : of their draws and of those before, by which readings are told
    apart.
    """

    ends: np.ndarray
    tuning: Tuning
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True)
class Fit:
    """posterior : DataTree of groups posterior, free variables only, and sample_stats. free : their names."""

    posterior: xr.DataTree
    graph: Graph
    free: list[str]
    left: Left


_COMPILING = threading.Lock()
"""PyTensor's settings, which it changes while it compiles, are the process's."""


@cache
def _compiled(equations: Equations) -> Any:
    """Compiled once in a process: another frame of the same structure is other data."""
    import nutpie

    with beside("adjoint"), _quick_to_compile():
        # The data stay arguments (`freeze_model`).
        made = nutpie.compile_pymc_model(equations.model, backend="jax", gradient_backend="jax", freeze_model=False, jitter_rvs=set())
        entry("forward")
        # Of the other one its gradient is told last.
        _within(made._make_logp_func)["logp_fn"].trace(np.zeros(made.n_dim), *_given(made))
    return made


@contextmanager
def _quick_to_compile() -> Iterator[None]:
    """PyTensor makes some hundred thousand objects, through which Python's collector would look again and again, and notes of each variable
    where it was made: a third of the time."""
    collected = gc.isenabled()
    gc.disable()
    try:
        with pytensor.config.change_flags(traceback__limit=0):
            yield
    finally:
        if collected:
            gc.enable()


def _filled(graph: Graph) -> Any:
    """The compiled equations, with the data of the graph's frame."""
    with _COMPILING:
        compiled = _compiled(graph.equations)
    return compiled.with_data(**{name: jnp.asarray(v) for name, v in graph.frame.data().items() if name in compiled._shared_data})


def anchor(graph: Graph) -> np.ndarray:
    """(dimension,) where sampling starts, on the unconstrained scale: the prior's middle, with courses and levels on the data."""
    set_data(graph)
    start, f = graph.model.initial_point(), graph.frame
    start["family_course"], usual = anchored_course(f), medians(f.primary, f.kind)
    member = np.eye(len(f.coords["family"]))[f.family_of]
    for name, per_series in (("family_baseline", member / member.sum(0)), ("contrast_baseline", contrasts(f.family_of))):
        if name in start:
            start[name] = np.repeat(per_series.T @ usual, start[name].shape[1]).reshape(start[name].shape)
    return np.concatenate([np.ravel(start[v.name]) for v in graph.model.value_vars])


def set_data(graph: Graph) -> None:
    """Fill the data containers of the graph's equations with its frame's data."""
    data = graph.frame.data()
    for variable in graph.model.data_vars:
        variable.set_value(data[variable.name])


def continued(last: Fit, f: Frame) -> Left | None:
    """What `last` left, carried to `f`, of the same structure with months added: the families' courses of new months are moved as
    their destinations did. None where the structure is another one."""
    old = last.graph.frame
    place = Layout(_origin(last.graph.equations))
    if f.structure != old.structure or last.left.ends.shape[1] != place.size:
        return None
    ends, wide = last.left.ends.copy(), last.left.tuning.metric.copy()
    moved, fresh = np.diff(anchored_course(f), axis=1, prepend=0.0), np.zeros(place.size, bool)
    known = np.pad(old.family_seen, [(0, 0), (0, f.capacity - old.periods)])[:, : f.periods]
    for g, t in np.argwhere(f.family_seen & ~known):
        course = place["family_course"][g]
        new, earlier = course[t], course[max(t - 1, 0)]
        ends[:, new], fresh[new] = ends[:, earlier] + moved[g, t], True
        # Where nothing was seen it was as wide as its prior.
        if wide.ndim == 1:
            wide[new] = wide[earlier]
        else:
            wide[new], wide[:, new], wide[new, new] = 0.0, 0.0, wide[earlier, earlier]
    # What they were where nothing was seen is no reading.
    stretches = tuple(s._replace(variance=np.where(fresh, np.inf, s.variance)) for s in last.left.stretches)
    return Left(ends, dataclasses.replace(last.left.tuning, metric=wide), stretches)


def fit(
    f: Frame, assumptions: Assumptions, computation: Computation, progress: Progress | None = None, start: np.ndarray | None = None,
    after: Left | None = None,
) -> Fit:  # fmt: skip
    """Sample the posterior. `progress` is told (steps done, steps in all) over all chains, warm-up included.

    start : (dimension,), on the unconstrained scale; by default the :func:`anchor`. after : what an earlier fit left, :func:`continued`;
    as many chains, and several; they are carried on, and there is no warm-up but that of the jumps.
    """
    graph = graph_of(f, assumptions)
    compiled = _filled(graph)
    free = [v.name for v in graph.model.free_RVs]
    alone = computation.chains == 1
    watched, *rounds = (min(n, computation.draws) for n in (WATCHED, *ROUNDS))
    later = 0 if alone else computation.chains * (sum(rounds) + computation.draws)
    told, total, one = 0, later, threading.Lock()

    def tell(finished: int | None = None, of: int | None = None) -> None:
        """By default, one more; chains tell it from threads of their own."""
        nonlocal told, total
        with one:
            told, total = told + 1 if finished is None else finished, total if of is None else of + later
            if progress is not None:
                progress(told, max(told, total))

    begun = after
    if begun is None:
        point = anchor(graph) if start is None else start
        warm = _warmed_up(compiled, point, computation, computation.draws if alone else watched, tell)
        if alone:
            stats = warm["sample_stats"].to_dataset()[list(STATS)]
            posterior = xr.DataTree.from_dict({"posterior": warm["posterior"].to_dataset(), "sample_stats": stats})
            return Fit(posterior, graph, free, _left(warm))
        begun = _left(warm)
    stage, values, left = _with_jumps(compiled, graph, assumptions, computation, begun, rounds, tell)
    return Fit(_named(graph, compiled, stage, values), graph, free, left)


def _warmed_up(compiled: Any, point: np.ndarray, c: Computation, draws: int, tell: Progress) -> xr.DataTree:
    """Chains of nutpie from beside `point`, with what they were tuned to."""
    import nutpie

    beside = point + np.random.default_rng(c.seed).normal(0, NUDGE, point.size)

    def told(chains: "list[ChainProgress]") -> None:
        tell(sum(chain.finished_draws for chain in chains), sum(chain.total_draws for chain in chains))

    sampler = nutpie.sample(
        dataclasses.replace(compiled, _make_initial_points=lambda seed: beside),
        draws=draws,
        tune=c.tune,
        chains=c.chains,
        cores=c.cores,
        seed=c.seed,
        target_accept=c.target_accept,
        maxdepth=10 if c.chains == 1 else DEEPEST,
        save_warmup=True,
        progress_bar=False,
        progress_callback=told,
        store_unconstrained=True,
        store_mass_matrix=True,
        blocking=False,
    )
    try:
        tree: xr.DataTree = sampler.wait()
    except BaseException:
        # Told to wait itself, it would take Ctrl-C for the end, and what there is so far for the whole.
        sampler.cancel()
        raise
    return tree


def _left(warm: xr.DataTree) -> Left:
    """What chains of nutpie leave."""
    stats = warm["sample_stats"].to_dataset()
    draws = stats["unconstrained_draw"].transpose("chain", "draw", ...).values
    half = draws.shape[1] // 2
    scales = np.stack([_last_metric(warm, chain) for chain in range(len(draws))])
    steps = stats["step_size_bar"].transpose("chain", "draw").values[:, -1]
    stretches = tuple(Stretch.of(piece) for chain in draws for piece in (chain[:half], chain[half:]) if len(piece))
    return Left(draws[:, -1], Tuning(steps, (scales**2).mean(0), 0), stretches)


def _retuned(tuning: Tuning, draws: np.ndarray, target: Target, cores: int) -> Tuning:
    """With the metric of `draws`, (chain, draw, dimension), where they are more than it has been estimated from, and have moved."""
    count = draws.shape[0] * draws.shape[1]
    if count <= tuning.of or not draws.std(1).all():
        return tuning
    some = draws[:, :: -(-count // METRIC_DRAWS)].reshape(-1, draws.shape[2])
    with ThreadPoolExecutor(cores) as pool:
        slopes = np.stack(list(pool.map(lambda x: target.gradient(x)[1], some)))
    return Tuning(tuning.steps, metric(draws, slopes), count)


def _with_jumps(
    compiled: Any, graph: Graph, a: Assumptions, c: Computation, begun: Left, rounds: list[int], tell: Callable[[], None]
) -> tuple[Stage, np.ndarray, Left]:
    """Chains carried on from `begun`, what they are in the model's own terms, and what they leave. After `rounds`, which are left behind, a
    quarter at a time: readings go on being learnt, of what is no more taken back, and the gate's R-hat and effective draws say when it is
    enough. They are the rule by which a fit ends, so that its passing them is no second opinion; the screen for rival modes is."""
    data, density, gradient = _given(compiled), _density(compiled._raw_logp_fn), compiled._make_logp_func()
    target = Target(lambda x: float(density(x, *data)[0]), lambda x: gradient(x, **compiled._shared_data))
    place, ends, tuning = Layout(_origin(graph.equations)), begun.ends, begun.tuning
    # Of where it begins too: carried on by the numbers by which the last fit went, a fit would go that one's ways again.
    numbers = [c.seed, int.from_bytes(hashlib.sha256(ends.tobytes()).digest()[:8])]
    width = np.sqrt(tuning.metric if tuning.metric.ndim == 1 else np.diag(tuning.metric))
    known = known_levels(graph.frame, place, a.restricted[:SEVERITIES]), known_months(graph.frame, place, width)
    worth = [list(compress(jumps, promising(jumps, ends, target.density, c.cores))) for jumps in known]
    jumps = Repertoire(worth, graph.frame, place, width, target.density, c.cores)
    own, new, made = list[Stretch](), list(begun.stretches), count()

    def carry_on(length: int) -> Stage:
        """Every chain, with jumps to where any has been so far."""
        nonlocal ends, new
        jumps.learn(new, ends)
        stage = sample(target, ends, tuning, jumps.kinds(), length, [*numbers, next(made)], c.cores, tell)
        ends, new = stage.draws[:, -1], [Stretch.of(chain) for chain in stage.draws]
        own.extend(new)
        return stage

    learning = joined([carry_on(length) for length in rounds])
    jumps.divide(learning.draws, ends)
    tuning = _retuned(tuning, learning.draws, target, c.cores)
    stages, expanded, late = list[Stage](), list[np.ndarray](), np.zeros(0, int)
    for quarter in range(1, QUARTERS + 1):
        stages.append(carry_on(-(-c.draws // 4)))
        expanded.append(_expanded(compiled, stages[-1].draws))
        if quarter % 3 == 0:
            del stages[0], expanded[0]  # a third is left behind
        kept = joined(stages)
        if quarter > 1 and not (late := unsettled(expanded, late)).size:
            break
        jumps.divide(kept.draws, ends)
        if quarter in RETUNED:
            tuning = _retuned(tuning, kept.draws, target, c.cores)
    told = (*begun.stretches[-REMEMBERED:], *own[-REMEMBERED:])
    return kept, np.concatenate(expanded, axis=1), Left(ends, _retuned(tuning, kept.draws, target, c.cores), told)


def unsettled(pieces: Sequence[np.ndarray], suspects: np.ndarray) -> np.ndarray:
    """Places of some values that R-hat or effective draws of the gate would not let pass; none if all would. It is asked of what is
    published: R-hat of distances from the median is another on another scale.

    pieces : (chain, draw, value) each, one after the other. suspects : places that are asked first, alone: it is mostly the same few that
    are late, and all take seconds.
    """
    everywhere = np.arange(pieces[0].shape[2])
    with np.errstate(all="ignore"):  # what has not moved at all has no variance, and is not settled
        for asked in (suspects, everywhere):
            every = xr.Dataset({"x": (("chain", "draw", "value"), np.concatenate([piece[..., asked] for piece in pieces], axis=1))})
            late = asked[~(azs.rhat(every)["x"].values <= RHAT)] if asked.size else asked
            if late.size:
                return late
        # They take four times as long as R-hat.
        needed = ESS_A_CHAIN * every.sizes["chain"]
        enough = [azs.ess(every, method=method)["x"].values >= needed for method in ("bulk", "tail")]
        return everywhere[~np.logical_and(*enough)]


@cache
def _origin(equations: Equations) -> dict[str, np.ndarray]:
    """Some point: the parameters' names, order and shapes. PyMC compiles a function to find one."""
    return dict(equations.model.initial_point())


def _within(function: Callable[..., Any]) -> Any:
    """What a function of nutpie's was made with, by name: there is no other way to it."""
    return inspect.getclosurevars(function).nonlocals


def _given(compiled: Any) -> list[Any]:
    """The data, as its density takes them."""
    return [compiled._shared_data[name] for name in _within(compiled._make_logp_func)["logp_shared_names"]]


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


def _expanded(compiled: Any, draws: np.ndarray) -> np.ndarray:
    """(chain, draw, value) of what `draws`, (chain, draw, dimension), are in the model's own terms; :func:`_named` tells them apart."""
    of = _within(compiled._make_expand_func)
    given = [compiled._shared_data[name] for name in of["expand_shared_names"]]
    values = _of_each(of["expand_fn"], len(given))(draws.reshape(-1, draws.shape[2]), *given)
    return np.concatenate([np.asarray(v).reshape(*draws.shape[:2], -1) for v in values], axis=2)


@cache
def _of_each(raw: Callable[..., Any], given: int) -> Any:
    """nutpie expands one draw at a time, of which Python makes sixty arrays each."""
    return jax.jit(jax.vmap(raw, [0] + [None] * given))


def _named(graph: Graph, compiled: Any, stage: Stage, values: np.ndarray) -> xr.DataTree:
    """`values` of :func:`_expanded` in the dimensions and coordinates of the model, and what is told of the draws."""
    of, (chains, draws) = _within(compiled._make_expand_func), values.shape[:2]
    parts = np.split(values, np.cumsum([np.prod(shape, dtype=int) for shape in of["shapes"]])[:-1], axis=2)
    every = {n: part.reshape(chains, draws, *shape) for n, part, shape in zip(of["names"], parts, of["shapes"], strict=True)}
    named = {v.name: every[v.name] for v in graph.model.free_RVs}
    of_draw = {"chain": np.arange(chains), "draw": np.arange(draws)}
    dims = {n: graph.model.named_vars_to_dims.get(n) or [f"{n}_dim_{axis}" for axis in range(v.ndim - 2)] for n, v in named.items()}
    used = {d for of in dims.values() for d in of}
    coords = of_draw | {d: list(v) for d, v in graph.model.coords.items() if d in used and v is not None}
    arrays = {n: (("chain", "draw", *dims[n]), v) for n, v in named.items()}
    stats = xr.Dataset({name: (("chain", "draw"), v) for name, v in stage.stats.items()}, of_draw, {"jumped": stage.jumped})
    # ArviZ looks for the names of its dimensions.
    return xr.DataTree.from_dict({"posterior": xr.Dataset(arrays, coords, {"sample_dims": ["chain", "draw"]}), "sample_stats": stats})
