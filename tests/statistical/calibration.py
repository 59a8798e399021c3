"""Fits to worlds drawn from the model's own prior predictive: what each said of a truth that is known.

Simulation-based calibration (Talts, Betancourt, Simpson, Vehtari & Gelman 2018, arXiv:1804.06788): over worlds, the rank of the true
value among posterior draws is uniform if, and only if everywhere, the posterior is right. The same is asked of the regimes: where the
model says p, a share p is true. Beside each world's own answer stand those of the model less one of its parts.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import arviz_stats as azs
import numpy as np
from rivals import markov_regression, year_on_year

from model.causes import CAUSES, cause_of
from model.fit import Fit, fit
from model.frame import Frame
from model.graph import graph_of
from model.kernel import MISSING
from model.layers import draws_of
from model.probabilities import restricted
from model.simulate import Design, World, simulate
from model.spec import Assumptions, Computation
from model.states import states
from model.update import extend

A = Assumptions()
DESIGN = Design(importers=("JPN", "USA", "KOR"), families=(("magnets", ("850511",)), ("gallium", ("811292", "282560"))), months=48)
COMPUTATION = Computation(draws=100, tune=250, cores=1)
"""As a refresh fits, with two chains and jumps between readings: a single short chain stays in one of them (docs/decisions/0028). Where
they do not agree they go on, up to three times as many."""
ALONE = Computation(draws=200, tune=250, chains=1, cores=1, target_accept=0.85)
"""Where averages over worlds are compared, and no answer is looked at for itself."""
DRAWS = 100
"""Draws of a fit from which its answers are computed."""
LEAST_RANKS = 9
"""Draws a chain keeps at least when it is thinned."""
KNOWN = 36
"""Months from which a part's worth for the following year is judged: leave-future-out."""
WITHOUT: dict[str, Assumptions] = {
    "product-wide layer": A.model_copy(update={"product_wide": (-15.0, 0.1)}),
    "campaigns": A.model_copy(update={"campaign": (-15.0, 0.1)}),
}
"""Parts that are assumptions; the mirror and the covariates are left out of the data instead."""


def world_of(seed: int) -> World | None:
    """None where a series never moves: nothing would be fitted to it."""
    world = simulate(DESIGN, A, seed)
    return world if (world.frame.kind == 2).any(1).all() else None


def ranks(result: Fit, values: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, list[float]]:
    """{parameter: where in 0..1 its true values lie among the draws}; of the families' courses a few months only.

    Each component's chain is thinned to as many draws as it has effective ones: neighbours in a chain are alike, and a truth would lie
    outside them all too often however right the posterior is (Talts et al., section 5.1).
    """
    posterior = result.posterior["posterior"].to_dataset()
    effective, out = azs.ess(posterior, method="bulk"), {}
    for name, draws in draws_of(posterior, posterior.sizes["chain"] * posterior.sizes["draw"]).items():
        chain, truth, enough = (np.reshape(v, (-1, values[name].size)) for v in (draws, values[name], effective[name].values))
        some = rng.integers(truth.size, size=4) if name == "family_course" else np.arange(truth.size)
        out[name] = [_rank(chain[:, k], float(truth[0, k]), float(enough[0, k]), rng) for k in some]
    return out


def _rank(chain: np.ndarray, truth: float, effective: float, rng: np.random.Generator) -> float:
    few = chain[np.linspace(0, len(chain) - 1, int(np.clip(np.nan_to_num(effective), LEAST_RANKS, len(chain)))).round().astype(int)]
    below, ties = (few < truth).sum(), (few == truth).sum()
    return float((below + rng.integers(0, ties + 1) + rng.uniform()) / (len(few) + 1))


def means(result: Fit) -> dict[str, list[float]]:
    posterior = result.posterior["posterior"].to_dataset()
    return {str(n): np.ravel(v.mean(("chain", "draw")).values).tolist() for n, v in posterior.items() if n != "family_course"}


def regimes(result: Fit, a: Assumptions) -> dict[str, np.ndarray]:
    """{filtered, smoothed: (unit, period) p(restricted)}."""
    return restricted(draws_of(result.posterior["posterior"].to_dataset(), DRAWS), result.graph, a)


def truth_of(world: World) -> np.ndarray:
    """(unit, period) whether a restriction is in force."""
    cause = cause_of(states(A))[world.unit_state, world.family_state[world.frame.family]].argmax(-1)
    return cause >= CAUSES.index("targeted")


def leave_future_out(f: Frame, a: Assumptions, seed: int) -> float:
    """Log density of the months from KNOWN on, given a fit to those before: one step at a time, parameters as they were drawn."""
    result = fit(f.until(KNOWN), a, ALONE.model_copy(update={"seed": seed}))
    draws = draws_of(result.posterior["posterior"].to_dataset(), DRAWS)
    told = extend(draws, dataclasses.replace(graph_of(f, a), frame=f.until(KNOWN)), f, a, seed).log_predictive.sum(1)
    return float(np.logaddexp.reduce(told) - np.log(len(told)))


def less_data(f: Frame, part: str) -> Frame:
    if part == "covariates":
        return dataclasses.replace(f, drivers=np.zeros_like(f.drivers), wide_drivers=np.zeros_like(f.wide_drivers))
    kind = f.flows.kind.copy()
    kind[:, 1] = MISSING
    return dataclasses.replace(f, flows=dataclasses.replace(f.flows, kind=kind))


def calibrate(seed: int, folder: Path) -> None:
    """Fit the world of `seed` and write what was said of it to `folder`, unless that is done."""
    _piece(folder / f"world-{seed}.json", seed, _calibrated)


def weigh_parts(seed: int, folder: Path) -> None:
    """The same for what the model less each of its parts says of it, and how well each foresees a year."""
    _piece(folder / f"parts-{seed}.json", seed, _less_each_part)


def _piece(path: Path, seed: int, of: Callable[[World, int], dict[str, Any]]) -> None:
    if path.exists():
        return
    world = world_of(seed)
    found: dict[str, Any] = {"seed": seed, "fitted": world is not None}
    if world is not None:
        found |= {"restricted": truth_of(world).astype(int).tolist()} | of(world, seed)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(found))
    partial.replace(path)


def _calibrated(world: World, seed: int) -> dict[str, Any]:
    result = fit(world.frame, A, COMPUTATION.model_copy(update={"seed": seed}))
    return {
        "ranks": ranks(result, world.values, np.random.default_rng(seed)),
        "means": means(result),
        "values": {n: np.ravel(v).tolist() for n, v in world.values.items() if n != "family_course"},
        "said": {which: np.round(p, 5).tolist() for which, p in regimes(result, A).items()},
        "divergences": int(result.posterior["sample_stats"]["diverging"].sum()),
        "year_on_year": year_on_year(world.frame).tolist(),
        "markov_regression": markov_regression(world.frame).tolist() if seed % 4 == 0 else None,
    }


def _less_each_part(world: World, seed: int) -> dict[str, Any]:
    f = world.frame
    variants = {"": (f, A)} | {part: (less_data(f, part), A) for part in ("mirror", "covariates")}
    variants |= {part: (f, a) for part, a in WITHOUT.items()}
    found: dict[str, Any] = {}
    for part, (frame, a) in variants.items():
        result = fit(frame, a, ALONE.model_copy(update={"seed": seed}))
        found[f"said:{part}"] = np.round(regimes(result, a)["filtered"], 5).tolist()
        # Other data have no comparable density.
        found[f"foreseen:{part}"] = None if part == "mirror" else leave_future_out(frame, a, seed)
    return found
