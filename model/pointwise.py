"""Pointwise log densities beside the draws, so that ``az.loo``, ``az.lfo_cv`` and ``az.psense`` can ask their questions.

A ``cell`` is a unit and month with figures: ``log_likelihood["log_flow"]`` is log p(figures of the month | months before, parameters),
over codes and offices. Being one-step predictive densities they add up to the log likelihood, and leaving out a cell leaves it out as
an observation but not as a history of later months (Bürkner, Gabry & Vehtari 2020, Journal of Statistical Computation and
Simulation 90(14), 2499-2523).
"""

from dataclasses import replace
from typing import Any, Literal

import arviz_stats as azs
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import xarray as xr
from pymc.stats import compute_log_likelihood, compute_log_prior

from model.fit import Fit, fit, set_data
from model.frame import Frame
from model.graph import graph_of
from model.layers import draws_of
from model.predictive import one_step
from model.spec import Assumptions, Computation
from model.update import extend


def with_densities(fit: Fit, draws: int = 250, by: Literal["cell", "period"] = "cell") -> xr.DataTree:
    """DataTree with ``posterior`` thinned to `draws` a chain, ``log_likelihood``, ``log_prior`` and ``observed_data`` (log kg).

    by : ``cell``, or ``period``: all units of a month together, for ``az.lfo_cv(..., time_dim="period")`` with :class:`FutureLeftOut`.
    """
    posterior = fit.posterior["posterior"].to_dataset()[fit.free]
    kept = np.unique(np.linspace(0, posterior.sizes["draw"] - 1, draws).round().astype(int))
    tree = xr.DataTree.from_dict({"posterior": posterior.isel(draw=kept)})
    graph, f = fit.graph, fit.graph.frame
    set_data(graph)
    options = {"model": graph.model, "progressbar": False, "compile_kwargs": {"mode": "FAST_COMPILE"}}
    for compute in (compute_log_likelihood, compute_log_prior):
        tree = compute(tree, **options)
    cells = tree["log_likelihood"].to_dataset()["log_flow"].isel(period=slice(0, f.periods))
    kg = xr.DataArray(f.observed_kg, dims=("unit", "period"), coords={n: cells[n] for n in ("unit", "period")})
    unit, period = np.nonzero(~np.isnan(f.observed_kg))
    if by == "cell":
        where = {"unit": xr.DataArray(unit, dims="cell"), "period": xr.DataArray(period, dims="cell")}
        cells, kg = cells.isel(where).assign_coords(cell=np.arange(len(unit))), kg.isel(where)
    else:
        cells, kg = (v.isel(period=_seen(f)).sum("unit") for v in (cells, kg))
    tree["log_likelihood"] = xr.DataTree(xr.Dataset({"log_flow": cells}))
    tree["observed_data"] = xr.DataTree(xr.Dataset({"log_flow": np.log(kg.clip(1))}))
    return tree


def health(fit: Fit, draws: int = 200, replicates: int = 50, seed: int = 0, prior: int = 1000) -> xr.DataTree:
    """:func:`with_densities` of cells with a positive figure, and what ArviZ's checks compare them with: ``posterior_predictive``, for
    `replicates` of the draws a chain each month given those before it (:func:`model.predictive.one_step`), and ``prior``, of the parameters
    that stand for the whole panel, with the prior's mass ``below`` the posterior mean of each."""
    rng, f = np.random.default_rng(seed), fit.graph.frame
    tree = with_densities(fit, draws)
    cells = tree["log_likelihood"].to_dataset()["log_flow"]
    kept = np.unique(np.linspace(0, cells.sizes["draw"] - 1, replicates).round().astype(int))
    unit, period = np.nonzero(~np.isnan(f.observed_kg))
    flows = one_step(fit.graph, draws_of(tree["posterior"].to_dataset().isel(draw=kept)), rng)[:, unit, period]
    traded = np.isfinite(flows).all(0)
    some = cells.isel(draw=kept)
    for group, values in {"posterior_predictive": some.copy(data=flows.reshape(some.shape)), "log_likelihood": cells}.items():
        tree[group] = xr.DataTree(xr.Dataset({"log_flow": values.isel(cell=traded)}))
    tree["observed_data"] = xr.DataTree(tree["observed_data"].to_dataset().isel(cell=traded))
    wanted = {v.name: v for v in fit.graph.model.free_RVs if v.ndim == 0}
    drawn = pm.draw([*wanted.values()], prior, mode="FAST_COMPILE", random_seed=rng)
    below = _below({name: (v, float(tree["posterior"][name].mean())) for name, v in wanted.items()})
    named = {n: (("chain", "draw"), values[None], {"below": below[n]}) for n, values in zip(wanted, drawn, strict=True)}
    tree["prior"] = xr.DataTree(xr.Dataset(named))  # type: ignore[arg-type]
    return tree


def _below(of: dict[str, tuple[Any, float]]) -> dict[str, float]:
    """Mass of the prior below a value, by name; priors that hang on other parameters are taken at these, which are drawn from theirs."""
    masses = pytensor.function([], [pt.exp(pm.logcdf(variable, at)) for variable, at in of.values()], mode="FAST_COMPILE")()
    return {name: float(mass) for name, mass in zip(of, masses, strict=True)}


class FutureLeftOut(azs.SamplingWrapper):  # type: ignore[misc]
    """For ``az.lfo_cv``: fits to the months before a forecast's, and the density of those after, one step at a time.

    The family factor of a month to come is integrated out over a grid, given the months before it (:mod:`model.update`); the parameters
    stay as they were drawn.
    """

    def __init__(self, f: Frame, assumptions: Assumptions, computation: Computation, draws: int = 100) -> None:
        super().__init__(graph_of(f, assumptions))
        self.frame, self.assumptions, self.computation, self.draws = f, assumptions, computation, draws

    def sel_observations(self, idx: np.ndarray) -> tuple[Frame, np.ndarray]:
        """(the frame until the first of the months left out, those months)."""
        months = _seen(self.frame)[idx]
        return self.frame.until(int(months[0])), months

    def sample(self, modified_observed_data: Frame) -> Fit:
        return fit(modified_observed_data, self.assumptions, self.computation)

    def get_inference_data(self, fitted_model: Fit) -> xr.DataTree:
        return xr.DataTree.from_dict({"posterior": fitted_model.posterior["posterior"].to_dataset()[fitted_model.free]})

    def log_likelihood__i(self, excluded_obs: np.ndarray, idata__i: xr.DataTree) -> Any:
        """(sample, period) log density of each of the months left out, given those before it."""
        known = replace(self.model, frame=self.frame.until(int(excluded_obs[0])))
        draws = draws_of(idata__i["posterior"].to_dataset(), self.draws)
        told = extend(draws, known, self.frame, self.assumptions, self.computation.seed).log_predictive
        return xr.DataArray(told, dims=("sample", "period"))


def _seen(f: Frame) -> np.ndarray:
    """Indices of the months in which something was traded."""
    return np.flatnonzero(f.family_seen.any(0))
