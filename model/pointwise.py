"""Pointwise log densities beside the draws, so that ``az.loo``, ``az.lfo_cv`` and ``az.psense`` can ask their questions.

A ``cell`` is a unit and month with figures: ``log_likelihood["log_flow"]`` is log p(figures of the month | months before, parameters),
over codes and offices. Being one-step predictive densities they add up to the log likelihood, and leaving out a cell leaves it out as
an observation but not as a history of later months (Bürkner, Gabry & Vehtari 2020, Journal of Statistical Computation and
Simulation 90(14), 2499-2523).
"""

from typing import Literal

import numpy as np
import xarray as xr
from pymc.stats import compute_log_likelihood, compute_log_prior

from model.fit import Fit, set_data


def with_densities(fit: Fit, draws: int = 250, by: Literal["cell", "period"] = "cell") -> xr.DataTree:
    """DataTree with ``posterior`` thinned to `draws` a chain, ``log_likelihood``, ``log_prior`` and ``observed_data`` (log kg).

    by : ``cell``, or ``period``: all units of a month together, for ``az.lfo_cv(..., time_dim="period")``.
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
        cells, kg = (v.isel(period=np.unique(period)).sum("unit") for v in (cells, kg))
    tree["log_likelihood"] = xr.DataTree(xr.Dataset({"log_flow": cells}))
    tree["observed_data"] = xr.DataTree(xr.Dataset({"log_flow": np.log(kg.clip(1))}))
    return tree
