r"""Old draws, newer panel: what the draws of one fit say of the figures that came after it.

The parameters stay as they were drawn. What a month adds is its family factors g, one number a family, and these are drawn
given the month's figures: for each draw

.. math:: p(g_t \mid g_{<t}, y_{\le t}) \propto p(g_t \mid g_{<t}) \prod_u p(y_{ut} \mid g_t, y_{<t})

on a grid, month after month (a particle filter with one particle a draw, each moved by the best proposal: Doucet, Godsill &
Andrieu 2000, Statistics and Computing 10, 197-208). Revisions of older months are seen.

What new months say of the parameters is told unit by unit. The weights of a panel degenerate within a month or two; those of one
unit do not, and its level, its noise and its bias are its own. So each unit weighs the draws by

.. math:: p(y_{ut} \mid y_{-u,t}, y_{<t}) = \int p(y_{ut} \mid g) \, p(g \mid y_{-u,t}, y_{<t}) \, dg

alone, which is what the block particle filter does (Rebeschini & van Handel 2015, Annals of Applied Probability 25, 2809-2866).
Without it a draw whose level has drifted up since the fit calls its unit restricted month after month, and nothing contradicts it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from data.panel import Panel
from model.chain import MONTHLY
from model.entry import forward
from model.filtering import Kernel
from model.frame import Frame, frame, traded
from model.graph import Graph, common_shortfall, depth, graph_of
from model.kernel import MISSING, POSITIVE, layer
from model.layers import Draw, evaluated
from model.smoother import evidence_on_grid
from model.spec import Assumptions

STEP = 0.05
GRID = np.arange(-4.0, 2.0, STEP)
"""Values of the family factor (log)."""


@dataclass(frozen=True)
class Extended:
    """graph : of the newer panel. draws : with a family factor for each of its months.

    log_predictive : (sample, month) log density of what each new month shows of all units, given the months before it and the
    draw; what leave-future-out validation sums. log_local : (sample, unit) log weight of each draw for each unit, from the new
    months.
    """

    graph: Graph
    draws: dict[str, np.ndarray]
    log_predictive: np.ndarray
    log_local: np.ndarray


def extend(draws: dict[str, np.ndarray], graph: Graph, f: Frame, assumptions: Assumptions, seed: int | Sequence[int]) -> Extended:
    """Carry `draws`, of a fit of `graph`, on to `f`, a frame of the graph's structure (:func:`grown`)."""
    newer = graph_of(f, assumptions)
    unseen = unseen_before(graph.frame, newer.frame)
    fresh = np.flatnonzero(unseen.any(0))
    if not fresh.size:
        samples = len(draws["family_course"])
        return Extended(newer, draws, np.zeros((samples, 0)), np.zeros((samples, len(newer.frame.fitted))))
    rng = np.random.default_rng(seed)
    begun = usual_where(unseen, draws, newer)
    course = begun["family_course"].copy()
    log_predictive, log_local = np.zeros((len(course), len(fresh))), np.zeros((len(course), len(newer.frame.fitted)))
    for s, drawn in enumerate(evaluated(newer, begun)):
        month = Month(drawn, {name: v[s] for name, v in begun.items()}, newer.frame, unseen, assumptions)
        for n, t in enumerate(fresh):
            drawn_month = month.drawn(int(t), rng)
            log_predictive[s, n] = drawn_month.log_density
            course[s, :, t] += drawn_month.factor
            log_local[s] += drawn_month.log_local
    return Extended(newer, draws | {"family_course": course}, log_predictive, log_local)


def usual_where(unseen: np.ndarray, draws: dict[str, np.ndarray], newer: Graph) -> dict[str, np.ndarray]:
    """`draws` with the families' courses on their baselines in months `unseen`, (family, period)."""
    course = draws["family_course"].copy()
    for s, drawn in enumerate(evaluated(newer, draws)):
        course[s, :, : unseen.shape[1]][unseen] = drawn.parts["family_baseline"][unseen]
    return draws | {"family_course": course}


def unseen_before(before: Frame, now: Frame) -> np.ndarray:
    """(family, period of `now`) where a family is seen now and was not."""
    known, shared = np.zeros_like(now.family_seen), min(before.periods, now.periods)
    known[:, :shared] = before.family_seen[:, :shared]
    return np.asarray(now.family_seen & ~known)


@dataclass(frozen=True)
class MonthDrawn:
    """factor : (family,) drawn given the figures up to the month, 0 where none was to be drawn. log_density : of the month's figures.
    log_local : (unit,) that of each unit given the others. log_proposal : density of the factors, as they were drawn."""

    factor: np.ndarray
    log_density: float
    log_local: np.ndarray
    log_proposal: float


class Month:
    """One draw whose family factors of unseen months are drawn month after month."""

    def __init__(self, drawn: Draw, values: dict[str, np.ndarray], f: Frame, unseen: np.ndarray, a: Assumptions) -> None:
        """unseen : (family, period) the factors that are to be drawn; they are 0 in `drawn`."""
        self.unit = drawn.unit | {n: drawn.unit[n].copy() for n in MONTHLY}
        self.family = drawn.family | {n: drawn.family[n].copy() for n in MONTHLY}
        self.family["kind"][unseen] = MISSING
        self.unseen, self.frame = unseen, f
        common = common_shortfall(GRID, np)
        deep = depth(common, a, np)
        uneven, parting = float(values["unevenness"]), float(values["parting"])
        widened = uneven**2 * (common**2 - common_shortfall(0.0, np) ** 2)
        self.given_factor = {"relief_at": common, "parting_at": parting * deep, "hold_at": a.hold * deep, "widened": widened}
        self.plain = {name: np.zeros_like(GRID) for name in self.given_factor}

    def drawn(self, t: int, rng: np.random.Generator) -> MonthDrawn:
        """Month t, the months before it being drawn."""
        f, wanted = self.frame, self.unseen[:, t]
        self.family["kind"][wanted, t] = POSITIVE
        log_prior = _on_grid(self.family, t, -GRID, self.plain)
        log_likelihood = _on_grid(self.unit, t, GRID, self.given_factor)
        # A zero says nothing of the factor that a neighbour's positive figure would not say better.
        informs = np.bincount(self.unit["chain"], self.unit["kind"][:, t] == POSITIVE) > 0
        g, at, total = np.zeros(len(wanted)), np.full(len(wanted), np.abs(GRID).argmin()), 0.0
        local, log_proposal = np.zeros(len(f.family)), 0.0
        for n in np.flatnonzero(wanted):
            log_weight = log_prior[n] + log_likelihood[informs & (f.family == n)].sum(0)
            weight = np.exp(log_weight - log_weight.max())
            total += log_weight.max() + np.log(weight.sum() * STEP)
            own = np.flatnonzero(f.family == n)
            of_others = log_weight - np.where(informs[own, None], log_likelihood[own], 0.0)
            local[own] = logsumexp(of_others + log_likelihood[own], axis=1) - logsumexp(of_others, axis=1)
            at[n] = rng.choice(GRID.size, p=weight / weight.sum())
            within, log_density = _within(log_weight, int(at[n]), rng)
            g[n] = GRID[at[n]] + within
            log_proposal += log_weight[at[n]] - log_weight.max() - np.log(weight.sum()) + log_density
        alone = ~informs & wanted[f.family]
        total += log_likelihood[alone, at[f.family[alone]]].sum()
        self._become(t, g, at)
        return MonthDrawn(g, float(total), local, float(log_proposal))

    def _become(self, t: int, g: np.ndarray, at: np.ndarray) -> None:
        """Put the factors drawn in their place, with all that depends on them."""
        own, series = (np.flatnonzero(self.unseen[of, t]) for of in (self.frame.family, self.frame.family_of))
        self.family["x"][:, t] += g
        self.unit["x"][:, t] -= g[self.frame.family_of]
        for name in ("relief", "parting", "hold"):
            self.unit[name][own, t] = self.given_factor[f"{name}_at"][at[self.frame.family[own]]]
        widened = self.given_factor["widened"][at[self.frame.family_of[series]]]
        self.unit["scale"][series, t] = np.sqrt(self.unit["scale"][series, t] ** 2 + widened)


def _within(log_weight: np.ndarray, n: int, rng: np.random.Generator) -> tuple[float, float]:
    """(where in the n-th cell of the grid, log density of it there): as steep as the weights are, which may change by a nat in a cell."""
    below, above = max(n - 1, 0), min(n + 1, GRID.size - 1)
    rise = np.clip((log_weight[above] - log_weight[below]) / (above - below), -20.0, 20.0) + 1e-9
    u = np.log1p(rng.uniform() * np.expm1(rise)) / rise
    return float((u - 0.5) * STEP), float(np.log(rise / np.expm1(rise)) + rise * u - np.log(STEP))


def grown(graph: Graph, panel: Panel, assumptions: Assumptions) -> Frame | None:
    """The panel's frame, if it has every series that the graph was built for, no other that was ever traded, and these make a frame of its
    structure; else None. A control that has become long enough to be used, for one, is a parameter that the graph's draws have no value of.
    """
    have = {f"{unit}:{hs}" for unit, hs in zip(panel["signal_unit"].values, panel["signal_hs"].values, strict=True)}
    if not set(traded(panel)) <= set(graph.frame.coords["series"]) <= have:
        return None
    f = frame(panel, assumptions, like=graph.frame)
    return f if f.structure == graph.frame.structure else None


def _on_grid(kernel: Kernel, t: int, moved: np.ndarray, given_factor: dict[str, np.ndarray]) -> np.ndarray:
    """(chain, grid) log p(y_t | y_<t) were x_t less by each of `moved`, and what depends on the factor as `given_factor` says."""
    given = layer(kernel | {"months": t})
    _, campaign, state = forward(given)
    of_every = [np.tile(given_factor[name], (len(kernel["spare"]), 1)) for name in ("relief_at", "parting_at", "hold_at")]
    return evidence_on_grid(given, t, moved, *of_every, given_factor["widened"], campaign, state)
