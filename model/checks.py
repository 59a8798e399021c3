"""Does the fit hold? Each check is a record: value, threshold, outcome and where the threshold comes from (:data:`SOURCES`).

Of LOO-PIT, cells of one unit are not independent, so its threshold is a distance that matters and not the one that chance allows.
Power-scaling: Kallioinen, Paananen, Bürkner & Vehtari (2024), Statistics and Computing 34, 57.
"""

import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import arviz_stats as azs
import numpy as np
import xarray as xr

from model.fit import ESS_A_CHAIN, RHAT
from model.modes import NATS, Rival
from model.reweigh import Reweighed

Outcome = Literal["PASS", "REVIEW", "FAIL"]
ORDER: tuple[Outcome, ...] = ("PASS", "REVIEW", "FAIL")
SENSITIVE = 0.05
"""Power-scaling sensitivity from which a parameter is said to be sensitive."""


_RANKS = "Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Bayesian Analysis 16(2)"
_PARETO = "Vehtari, Simpson, Gelman, Yao & Gabry (2024), JMLR 25(72)"
SOURCES = {
    "rhat_max": _RANKS,
    "ess_bulk_min": _RANKS,
    "ess_tail_min": _RANKS,
    "divergences": "Betancourt (2017), arXiv:1701.02434",
    "bfmi_min": "Betancourt (2016), arXiv:1604.00695",
    "pareto_k_over": _PARETO,
    "weights_pareto_k": _PARETO,
    "weights_ess_min": _RANKS,
    "loo_pit_distance": "Säilynoja, Bürkner & Vehtari (2022), Statistics and Computing 32, 32",
    "prior_conflict": "Evans & Moshonov (2006), Bayesian Analysis 1(4), 893-914",
}
"""By check, whose threshold it is; of the others it is this project's own."""
OWN = "quietquota"

JUMPS, LOST, LEFT_OUT = "unexplained_jumps", "answers_lost", "shards_left_out"
MOST_LOST = 0.1
"""Share of the units answered before that may fall silent in one publication."""


@dataclass(frozen=True)
class Check:
    """worst : the parameter in which `value` was found. review : beyond this, FAIL. source : of the threshold."""

    name: str
    value: float
    threshold: float
    review: float
    outcome: Outcome
    worst: str
    meaning: str
    source: str = OWN


def _judge(value: float, threshold: float, review: float) -> Outcome:
    """PASS up to `threshold`, REVIEW up to `review`, on whichever side of each other the two lie; NaN fails."""
    sign = 1 if review >= threshold else -1
    if sign * value <= sign * threshold:
        return "PASS"
    return "REVIEW" if sign * value <= sign * review else "FAIL"


def _checked(table: Iterable[tuple[str, float, float, float, str, str]]) -> list[Check]:
    """Of rows of name, value, threshold, review, worst, meaning."""
    return [Check(name, v, t, r, _judge(v, t, r), worst, meaning, SOURCES.get(name, OWN)) for name, v, t, r, worst, meaning in table]


def _extreme(dataset: xr.Dataset, worst: str) -> tuple[float, str]:
    """The largest (or smallest) value over all variables, and the name and place it has. NaN is the worst of all."""
    found: list[tuple[float, str]] = []
    for name, array in dataset.data_vars.items():
        values = np.atleast_1d(array.values).ravel()
        at = int(np.flatnonzero(np.isnan(values))[0]) if np.isnan(values).any() else int(getattr(values, worst)())
        place = np.unravel_index(at, array.shape) if array.ndim else ()
        labels = [str(array[d].values[i]) for d, i in zip(array.dims, place, strict=True)]
        found.append((float(values[at]), f"{name}[{', '.join(labels)}]" if labels else str(name)))
    for value, label in found:
        if np.isnan(value):
            return value, label
    return max(found) if worst == "argmax" else min(found)


def run_checks(posterior: xr.DataTree, free: list[str], rivals: list[Rival]) -> list[Check]:
    """Checks of the sampler on the free parameters `free`, and what the mode screen found."""
    draws = posterior["posterior"].to_dataset()[free]
    chains = draws.sizes["chain"]
    stats = posterior["sample_stats"].to_dataset()
    rhat, rhat_at = _extreme(azs.rhat(draws), "argmax")
    bulk, bulk_at = _extreme(azs.ess(draws, method="bulk"), "argmin")
    tail, tail_at = _extreme(azs.ess(draws, method="tail"), "argmin")
    divergent = float(stats["diverging"].sum())
    total = stats["diverging"].size
    energy = stats["energy"].transpose("chain", "draw").values
    bfmi = ((np.diff(energy, axis=1) ** 2).mean(1) / energy.var(1)).min()
    needed = ESS_A_CHAIN * chains
    # Ranks, which R-hat and effective draws are of, take an infinite value for a large one.
    broken = {str(name): float((~np.isfinite(v.values)).sum()) for name, v in draws.data_vars.items()}
    table = [
        (
            "not_finite",
            sum(broken.values()),
            0.0,
            0.0,
            max(broken, key=lambda n: broken[n]) if any(broken.values()) else "",
            "draws that are no finite number",
        ),
        ("rhat_max", rhat, RHAT, 1.05, rhat_at, "chains agree (largest split R-hat)"),
        ("ess_bulk_min", bulk, needed, needed / 2, bulk_at, "effective draws for means (fewest)"),
        ("ess_tail_min", tail, needed, needed / 2, tail_at, "effective draws for 5 % and 95 % quantiles (fewest)"),
        ("divergences", divergent, 0.0, 0.005 * total, "", f"divergent transitions of {total}"),
        ("bfmi_min", float(bfmi), 0.3, 0.2, "", "energy is explored (smallest over chains)"),
    ]
    return [*_checked(table), _mode_check(rivals)]


def _mode_check(rivals: list[Rival]) -> Check:
    near = [r for r in rivals if r.threatens]
    worst = "; ".join(f"from {r.start}: {r.nats:.0f} nats below, other answers in {r.changed:.0%} of unit-months" for r in near)
    return Check(
        "rival_modes", float(len(near)), 0.0, 0.0, "FAIL" if near else "PASS", worst,
        f"of {len(rivals)} dispersed chains, those in another mode within {NATS:g} nats",
    )  # fmt: skip


def figure_checks(health: xr.DataTree) -> list[Check]:
    """Does the fit describe the figures? health : of :func:`model.pointwise.health`."""
    with warnings.catch_warnings():
        # Of large k, which is what is asked.
        warnings.simplefilter("ignore")
        loo = azs.loo(health, var_name="log_flow", pointwise=True)
        pit = np.sort(np.ravel(azs.loo_pit(replicated(health), var_names="log_flow")["log_flow"].values))
    k = loo.pareto_k.values
    n = int(np.argmax(k))
    place = loo.pareto_k.isel(cell=n)
    below = {str(name): float(v.attrs["below"]) for name, v in health["prior"].to_dataset().data_vars.items()}
    tails = 2 * len(below) * np.array([min(mass, 1 - mass) for mass in below.values()])
    odd = int(np.argmin(tails))  # NaN, if there is one
    even = (np.arange(len(pit)) + 0.5) / len(pit)
    at = int(np.argmax(np.abs(pit - even)))
    table = [
        ("pareto_k_over", float(np.mean(k > loo.good_k)), 0.05, 0.2, f"{place['unit'].item()} {place['period'].item()}: k {k[n]:.2f}",
         f"unit-months that alone move the fit (share with Pareto k over {loo.good_k:.2f})"),
        ("loo_pit_distance", float(np.abs(pit - even)[at]), 0.1, 0.2, f"at {even[at]:.2f}",
         "what is said of left-out months is as sure as it should be (largest distance of LOO-PIT from uniform)"),
        ("prior_conflict", float(np.minimum(tails[odd], 1.0)), 0.01, 0.0, list(below)[odd],
         f"figures are where the priors expect them (tail of a prior beyond its posterior mean, smallest of {len(tails)}, times as many)"),
    ]  # fmt: skip
    return _checked(table)


def weight_checks(told: Reweighed, of_fit: list[Check]) -> list[Check]:
    """May the draws of a fit stand for a newer panel? of_fit : what was found of that fit; its fewest effective draws are made fewer."""
    samples = float(len(told.draws["family_course"]))
    fewest = min(samples, *(c.value for c in of_fit if c.name in ("ess_bulk_min", "ess_tail_min"))) * told.efficiency
    table = [
        ("weights_pareto_k", told.pareto_k, told.bound, told.bound, "",
         "the fit's draws can stand for newer figures (Pareto k of their weights)"),
        ("weights_ess_min", fewest, ESS_A_CHAIN, ESS_A_CHAIN / 2, "",
         f"effective draws left by weighing, {told.efficiency:.0%} of those of the fit (fewest)"),
    ]  # fmt: skip
    return _checked(table)


def jump_check(jumps: list[tuple[str, float]]) -> Check:
    """jumps : units whose probability moved since the last snapshot with no new figure to explain it, and by how much. At worst REVIEW:
    somebody has to say which of the two was wrong."""
    worst = max(jumps, key=lambda j: abs(j[1]), default=None)
    count = float(len(jumps))
    return Check(
        JUMPS, count, 0.0, max(count, 1.0), "REVIEW" if jumps else "PASS",
        f"{worst[0]}: {worst[1]:+.2f}" if worst else "", "units whose probability moved since the last snapshot and no new figure says why",
    )  # fmt: skip


def lost_check(share: float, unit: str) -> Check:
    """share : of the units that were answered in the last snapshot and are not now; unit : one of them. At worst REVIEW: whoever watches
    other goods from now on can say so."""
    return Check(
        LOST, share, MOST_LOST, 1.0, "REVIEW" if share > MOST_LOST else "PASS", unit,
        "units that were answered are still answered (share that is not): is it the right config, and the right store?",
    )  # fmt: skip


def replicated(health: xr.DataTree) -> xr.DataTree:
    """`health`, of the draws only that have replicates."""
    draw = health["posterior_predictive"]["draw"]
    groups = {name: health[name].to_dataset() for name in ("posterior", "log_likelihood", "posterior_predictive", "observed_data")}
    return xr.DataTree.from_dict({name: v.sel(draw=draw) if "draw" in v.dims else v for name, v in groups.items()})


def power_scaling(health: xr.DataTree) -> list[dict[str, Any]]:
    """Of each parameter that stands for the whole panel: ``name``, its sensitivity to its own ``prior`` and to the ``likelihood``, and the
    ``reading``; the most sensitive to the prior first."""
    names = [str(name) for name in health["prior"].data_vars]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Each one's own prior alone: scaled together, the others' would move it too.
        prior = {n: float(azs.psense(health, var_names=[n], group_var_names=[n], group="prior")[n]) for n in names}
        likelihood = azs.psense(health, var_names=names, group="likelihood")
    found: list[dict[str, Any]] = [{"name": n, "prior": prior[n], "likelihood": float(likelihood[n])} for n in names]
    for one in found:
        to_prior, to_figures = one["prior"] >= SENSITIVE, one["likelihood"] >= SENSITIVE
        one["reading"] = (
            "both matter; they may pull apart" if to_prior and to_figures
            else "the prior decides: figures are silent" if to_prior
            else "the figures decide" if to_figures else "neither moves it"
        )  # fmt: skip
    return sorted(found, key=lambda one: -one["prior"])


def outcome(checks: list[Check]) -> Outcome:
    """The worst of them."""
    return max((c.outcome for c in checks), key=ORDER.index)


def records(checks: list[Check]) -> list[dict[str, object]]:
    return [asdict(c) for c in checks]
