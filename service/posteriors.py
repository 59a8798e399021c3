"""Panel -> posterior that may be published: draws weighed where they can stand for it, a fit where they cannot, and the gate over either.

A fit is put aside as soon as it is made (``work/`` in the store), so that a refresh that was stopped after it, or is told to accept
what the gate said of it, goes on from there.
"""

import hashlib
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
import orjson
import xarray as xr

from data.panel import Panel
from data.store import Store
from model.checks import ORDER, Check, figure_checks, outcome, records, run_checks, weight_checks
from model.fit import Fit, Left, continued, fit
from model.frame import Frame, frame
from model.graph import Graph, graph_of
from model.hmc import Tuning
from model.jumps import Stretch
from model.layers import draws_of
from model.modes import screen
from model.pointwise import health
from model.probabilities import abstentions
from model.reweigh import Draws, reweighed
from model.spec import Assumptions, Computation
from service.decision import OF_ANSWERS, versions
from service.job import Step, Tell
from service.netcdf import from_netcdf, to_netcdf

ATTEMPTS, SEED_STEP = 2, 1000
"""Fits a refresh makes, each with a seed of its own and every other with twice the draws, before the gate's answer stands; the next
refresh goes on with other seeds."""
WEIGHED = 800
"""Draws of a fit that are weighed: enough for the smoothed tail of the weights, few enough for seconds."""
WORK = "work"
REFUSED = ".refused"
"""What is left of a fit that failed its checks: its seed is not tried again on these figures."""
CARRIED = "-carried"
"""Of the name of a fit whose chains are those of the last, carried on: `--full` asks for another."""
FIT = "fit"
GROUPS = ("posterior", "sample_stats", "left")
"""What is stored of a fit; the last is what the next begins with."""


class NothingToFit(ValueError):
    """Every unit of the panel abstains; says why."""


class NeedsFit(ValueError):
    """The draws there are cannot stand for the panel; says why."""


@dataclass(frozen=True)
class Posterior:
    """tree : :data:`GROUPS`. Of a fit made now, health too; where draws were weighed, ``fit``, with these and the panel of the fit that
    they are of. fit : that one's ``snapshot``, ``as_of``, ``fitted_at`` and ``checks``, else None. attempts : of a fit, how each went.
    """

    tree: xr.DataTree
    graph: Graph
    checks: list[Check]
    assumptions: Assumptions
    computation: Computation
    fit: dict[str, Any] | None = None
    attempts: tuple[dict[str, Any], ...] = ()

    def draws(self, wanted: int) -> Draws:
        return draws_of(self.tree["posterior"].to_dataset(), wanted)


def answerable(panel: Panel, a: Assumptions) -> None:
    """Raises NothingToFit."""
    if all(reasons := abstentions(panel, a)):
        why = "; ".join(f"{unit}: {reason}" for unit, reason in zip(panel["unit"].values, reasons, strict=True))
        raise NothingToFit(f"no unit can be answered as of {panel.attrs['as_of']}; {why}. Ingest more months, or a longer history")


def fit_of(tree: xr.DataTree) -> xr.DataTree:
    """What a snapshot's `tree` has of its fit: groups posterior, sample_stats, left and panel."""
    return tree.children.get(FIT, tree)


def weighed(made: xr.DataTree, meta: dict[str, Any], panel: Panel, a: Assumptions, c: Computation) -> Posterior:
    """The draws of the fit behind a snapshot, given `panel`. made : what is :func:`fit_of` it. meta : its ``id``, and ``fit``, or
    ``as_of``, ``fitted_at`` and ``checks``. a : what was assumed then. Raises NeedsFit."""
    graph = graph_of(frame(made["panel"].to_dataset(), a), a)
    f = frame(panel, a, capacity=graph.frame.capacity)
    if f.structure != graph.frame.structure:
        raise NeedsFit("the panel has another structure: a unit, a code, an office or a control is new, or gone")
    if (graph.frame.family_seen & ~f.family_seen[:, : graph.frame.periods]).any():
        raise NeedsFit("a month in which a family was traded has become one in which it was not")
    drawn = made["posterior"].to_dataset()
    told = reweighed(draws_of(drawn, WEIGHED), graph, f, a, c.seed, c.cores)
    came = meta.get("fit") or {
        "snapshot": meta["id"], "as_of": meta["as_of"], "fitted_at": meta["fitted_at"],
        # Those of the fit, and not of its answers beside earlier ones.
        "checks": [one for one in meta["checks"] if one["name"] not in OF_ANSWERS],
    }  # fmt: skip
    of_fit = [Check(**one) for one in came["checks"]]
    weights = weight_checks(told, of_fit)
    if outcome(weights) != "PASS":
        raise NeedsFit("; ".join(f"{w.name} is {w.value:.2f}, and may be {w.threshold:.2f}" for w in weights if w.outcome != "PASS"))
    groups = {"posterior": _like(drawn, told.draws), "sample_stats": xr.Dataset()}
    groups |= {f"{FIT}/{name}": made[name].to_dataset() for name in (*GROUPS, "panel") if name in made.children}
    return Posterior(xr.DataTree.from_dict(groups), told.graph, [*of_fit, *weights], a, c, came)


def _like(drawn: xr.Dataset, draws: Draws) -> xr.Dataset:
    """`draws` as one chain, in the dimensions and coordinates of `drawn`."""
    coords = {name: v for name, v in drawn.coords.items() if name not in ("chain", "draw")}
    of_draw = {"chain": [0], "draw": np.arange(len(draws["family_course"]))}
    dims = {name: [d for d in drawn[name].dims if d not in of_draw] for name in draws}
    values = {name: (["chain", "draw", *dims[name]], v[None], drawn[name].attrs) for name, v in draws.items()}
    return xr.Dataset(values, coords | of_draw, drawn.attrs)


def fitted(
    panel: Panel, assumptions: Assumptions, computation: Computation, step: Step, aside: Store | None, last: xr.DataTree | None = None,
    accept_review: bool = False,
) -> Posterior:  # fmt: skip
    """A fit, its checks, and where these hold it back another; the better of the two, by its gate. aside : where fits are put aside. last :
    :func:`fit_of` a snapshot of the same model; the first fit carries its chains on where it can, another one begins afresh.
    accept_review : REVIEW does not hold it back."""
    f, attempts, made = frame(panel, assumptions), list[dict[str, Any]](), list[Posterior]()
    left = None if last is None else _carried(last, f, assumptions, computation)
    for place, tried in _tries(aside, panel, assumptions, computation, left is not None).items():
        begun = left if tried.seed == computation.seed else None
        with step("compiling and sampling" if not attempts else f"sampling again, seed {tried.seed}") as tell:
            result, found = _made(aside, place, f, assumptions, tried, tell, begun)
        with step("looking for rival modes"):
            rivals = screen(result, assumptions, tried)
        with step("checking"):
            compared = health(result, seed=tried.seed)
            checks = [*run_checks(result.posterior, result.free, rivals), *figure_checks(compared)]
        began, gate = "afresh" if begun is None else "where the last fit ended", outcome(checks)
        attempts.append({"seed": tried.seed, "draws": tried.draws, "found": found, "began": began, "gate": gate, "checks": records(checks)})
        tree = kept(result)
        tree["health"] = compared
        made.append(Posterior(tree, result.graph, checks, assumptions, tried))
        if gate == "PASS" or (gate == "REVIEW" and accept_review):
            break
        if gate == "FAIL" and aside is not None:
            aside.write(place + REFUSED, orjson.dumps(attempts[-1]))
            aside.delete(place)
    return replace(min(made, key=lambda one: ORDER.index(outcome(one.checks))), attempts=tuple(attempts))


def _tries(aside: Store | None, panel: Panel, a: Assumptions, c: Computation, carried: bool) -> dict[str, Computation]:
    """By where each is put aside, the fits that may be made: of seeds that were not refused on these figures before. Of other figures
    nothing stays put aside. carried : that of the first seed has the chains of an earlier fit."""
    tries, refused = dict[str, Computation](), set[str]()
    for n in count():
        tried = c.model_copy(update={"seed": c.seed + SEED_STEP * n, "draws": c.draws * (1 + n % 2)})
        place = _place(panel, a, tried, carried and n == 0)
        if aside is not None and aside.exists(place + REFUSED):
            refused.add(place + REFUSED)
        elif len(tries) == ATTEMPTS:
            break
        else:
            tries[place] = tried
    if aside is not None:
        for old in set(aside.names(WORK)) - set(tries) - refused:
            aside.delete(old)
    return tries


def done_with(store: Store) -> None:
    """Remove what was put aside: it has been published. What was refused stays known; a fit of other figures removes that."""
    for name in store.names(WORK):
        if not name.endswith(REFUSED):
            store.delete(name)


def key(panel: Panel, *records: Assumptions | Computation) -> str:
    """Of what is made of just this by just these versions."""
    asked = orjson.dumps([panel.attrs["fingerprint"], *(r.digest() for r in records), versions()])
    return hashlib.sha256(asked).hexdigest()[:16]


def _place(panel: Panel, a: Assumptions, c: Computation, carried: bool = False) -> str:
    return f"{WORK}/{key(panel, a, c)}{CARRIED if carried else ''}.nc"


def kept(result: Fit) -> xr.DataTree:
    """What of a fit is stored, in :data:`GROUPS`."""
    left = result.left
    of_left = xr.Dataset(
        {
            "end": (("chain", "dimension"), left.ends),
            "step": ("chain", left.tuning.steps),
            "metric": (("dimension", "with_dimension")[: left.tuning.metric.ndim], left.tuning.metric),
            "metric_draws": left.tuning.of,
            "stretch_mean": (("stretch", "dimension"), np.array([s.mean for s in left.stretches])),
            "stretch_variance": (("stretch", "dimension"), np.array([s.variance for s in left.stretches])),
        }
    )
    return xr.DataTree.from_dict({name: result.posterior[name].to_dataset() for name in GROUPS[:2]} | {GROUPS[2]: of_left})


def _remembered(tree: xr.DataTree, graph: Graph) -> Fit:
    """The fit of `graph` that was stored as `tree`."""
    left = tree[GROUPS[2]].to_dataset()
    stretches = zip(left["stretch_mean"].values, left["stretch_variance"].values, strict=True)
    posterior = xr.DataTree.from_dict({name: tree[name].to_dataset() for name in GROUPS[:2]})
    tuning = Tuning(left["step"].values, left["metric"].values, int(left["metric_draws"]))
    leaves = Left(left["end"].values, tuning, tuple(Stretch(*of) for of in stretches))
    return Fit(posterior, graph, [v.name for v in graph.model.free_RVs], leaves)


def _carried(last: xr.DataTree, f: Frame, a: Assumptions, c: Computation) -> Left | None:
    """What the fit behind a snapshot left, carried to `f`; None where that is of another structure, other chains, another sampler."""
    if GROUPS[2] not in last.children or "metric" not in last[GROUPS[2]].data_vars:  # an earlier version left something else
        return None
    left = continued(_remembered(last, graph_of(frame(last["panel"].to_dataset(), a, capacity=f.capacity), a)), f)
    return left if left is not None and len(left.ends) == c.chains > 1 else None


def _made(aside: Store | None, place: str, f: Frame, a: Assumptions, c: Computation, tell: Tell, left: Left | None) -> tuple[Fit, bool]:
    """The fit, and whether it was found put aside."""
    if aside is not None and (found := _recalled(aside, place, f, a)):
        return found, True
    result = fit(f, a, c, tell, after=left)
    if aside is not None:
        aside.write(place, to_netcdf(kept(result)))
    return result, False


def _recalled(store: Store, place: str, f: Frame, a: Assumptions) -> Fit | None:
    """A fit that was put aside; None where there is none that can be read."""
    try:
        content = store.read(place)
    except FileNotFoundError:
        return None
    try:
        return _remembered(from_netcdf(content), graph_of(f, a))
    except (KeyError, OSError, ValueError):
        return None
