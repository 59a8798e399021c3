"""Pointwise log densities beside the draws, so that ``az.loo``, ``az.lfo_cv`` and ``az.psense`` can ask their questions.

The cell is a unit and month: ``log_likelihood["log_flow"]`` is log p(figures of the month | months before, parameters), summed over
codes and offices, 0 where nothing is seen. Being one-step predictive densities they add up to the log likelihood, and leaving out a
cell leaves it out as an observation but not as a history of later months (Bürkner, Gabry & Vehtari 2020, Journal of
Statistical Computation and Simulation 90(14), 2499-2523).
"""

import numpy as np
import xarray as xr
from pymc.stats import compute_log_likelihood, compute_log_prior

from model.fit import Fit, set_data


def with_densities(fit: Fit, draws: int = 250) -> xr.DataTree:
    """DataTree with ``posterior`` thinned to `draws` a chain, ``log_likelihood``, ``log_prior`` and ``observed_data``."""
    posterior = fit.posterior["posterior"].to_dataset()[fit.free]
    kept = np.unique(np.linspace(0, posterior.sizes["draw"] - 1, draws).round().astype(int))
    tree = xr.DataTree.from_dict({"posterior": posterior.isel(draw=kept)})
    graph, f = fit.graph, fit.graph.frame
    set_data(graph)
    options = {"model": graph.model, "progressbar": False, "compile_kwargs": {"mode": "FAST_COMPILE"}}
    for compute in (compute_log_likelihood, compute_log_prior):
        tree = compute(tree, **options)
    seen = tree["log_likelihood"].to_dataset().isel(period=slice(0, f.periods))
    tree["log_likelihood"] = xr.DataTree(seen)
    observed = np.where(np.isnan(f.observed_kg), np.nan, f.observed_kg)
    tree["observed_data"] = xr.DataTree(
        xr.Dataset({"log_flow": (("unit", "period"), observed)}, coords={n: seen[n] for n in ("unit", "period")})
    )
    return tree
