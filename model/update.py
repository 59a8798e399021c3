r"""Old draws, newer panel: what the draws of one fit say of the figures that came after it.

The parameters stay as they were drawn. What a month adds is its family factors g, one number a family, and these are drawn
given the month's figures: for each draw

.. math:: p(g_t \mid g_{<t}, y_{\le t}) \propto p(g_t \mid g_{<t}) \prod_u p(y_{ut} \mid g_t, y_{<t})

on a grid, month after month (a particle filter with one particle a draw, each moved by the best proposal and not
reweighted: Doucet, Godsill & Andrieu 2000, Statistics and Computing 10, 197-208). Revisions of older months are seen.
"""

import numpy as np

from data.panel import Panel
from model.chain import INPUTS
from model.frame import frame
from model.graph import Graph, build
from model.kernel import MISSING, POSITIVE, evidence_on_grid, forward
from model.layers import Kernel, evaluator
from model.spec import Assumptions

GRID = np.arange(-4.0, 2.0, 0.05)
"""Values of the family factor (log)."""


def extend(
    draws: dict[str, np.ndarray], graph: Graph, panel: Panel, assumptions: Assumptions, seed: int
) -> tuple[Graph, dict[str, np.ndarray]]:
    """The graph of `panel`, for the units of `graph`, and `draws` with a family factor for each of its months."""
    newer = build(frame(panel, assumptions, like=graph.frame), assumptions)
    old, new = graph.frame.family_seen, newer.frame.family_seen
    shared = min(old.shape[1], new.shape[1])
    known = np.zeros_like(new)
    known[:, :shared] = old[:, :shared]
    fresh = np.flatnonzero((new & ~known).any(0))
    evaluate = evaluator(newer)
    rng = np.random.default_rng(seed)
    samples = len(draws["family_course"])
    course = np.empty((samples, *new.shape))
    for s in range(samples):
        values = {name: v[s] for name, v in draws.items()}
        values["family_course"] = np.zeros(new.shape)
        baseline = evaluate(values).parts["family_baseline"]
        values["family_course"] = course[s]
        course[s] = baseline
        course[s, :, :shared] = np.where(known[:, :shared], draws["family_course"][s][:, :shared], baseline[:, :shared])
        if not fresh.size:
            continue
        drawn = evaluate(values)
        unit, family = dict(drawn.unit), dict(drawn.family)
        unseen = new & ~known
        unit["kind"], family["kind"] = unit["kind"].copy(), np.where(unseen, MISSING, family["kind"]).astype(np.int8)
        for t in fresh:
            g = _draw_factors(unit, family, newer.frame.family, int(t), unseen[:, t], rng)
            course[s, :, t] += g
            unit["x"][:, t] -= g[newer.frame.family_of]
            family["x"][:, t] += g
            family["kind"][unseen[:, t], t] = POSITIVE
    return newer, draws | {"family_course": course}


def extendable(graph: Graph, panel: Panel) -> bool:
    """Whether the panel begins in the same month and has every series that the graph was built for."""
    begins = graph.frame.coords["period"][0] == np.datetime_as_string(panel["period"].values[0], unit="M")
    have = {f"{unit}:{hs}" for unit, hs in zip(panel["signal_unit"].values, panel["signal_hs"].values, strict=True)}
    return bool(begins) and set(graph.frame.coords["series"]) <= have


def _draw_factors(unit: Kernel, family: Kernel, family_of: np.ndarray, t: int, wanted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(family,) draws of month t's family factors given months to t; 0 where not `wanted`."""
    shown = family | {"kind": family["kind"].copy()}
    shown["kind"][wanted, t] = POSITIVE
    log_prior = _on_grid(shown, t, -GRID)
    # A zero says nothing of the factor that a neighbour's positive figure would not say better.
    seen = np.bincount(unit["chain"], unit["kind"][:, t] == POSITIVE) > 0
    log_likelihood = _on_grid(unit, t, GRID)
    g = np.zeros(len(wanted))
    for f in np.flatnonzero(wanted):
        log_weight = log_prior[f] + log_likelihood[seen & (family_of == f)].sum(0)
        weight = np.exp(log_weight - log_weight.max())
        # Within its cell of the grid, uniformly.
        g[f] = rng.choice(GRID, p=weight / weight.sum()) + rng.uniform(-0.5, 0.5) * (GRID[1] - GRID[0])
    return g


def _on_grid(kernel: Kernel, t: int, moved: np.ndarray) -> np.ndarray:
    """(chain, grid) log p(y_t | y_<t) were x_t less by each of `moved`."""
    inputs = [kernel[n] for n in INPUTS]
    past = {n: kernel[n][:, :t] for n in ("x", "scale", "kind", "hurdle", "relief", "parting", "onset")}
    _, campaign, state = forward(*((kernel | {n: np.ascontiguousarray(v) for n, v in past.items()})[n] for n in INPUTS))
    return evidence_on_grid(t, moved, *inputs, campaign, state)
