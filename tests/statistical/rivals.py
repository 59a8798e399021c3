"""What is used today: the year-on-year rule, and a two-state Markov regression on each series."""

import warnings

import numpy as np

from model.frame import Frame
from model.kernel import POSITIVE

FALL = -0.3
"""A month is called restricted when its flow is down by so much on the same month a year ago."""


def _log_flow(f: Frame) -> np.ndarray:
    """(unit, period) log of what moved, NaN where nothing did."""
    with np.errstate(divide="ignore"):
        flow = np.log(f.observed_kg)
    return np.where(np.isfinite(flow), flow, np.nan)


def year_on_year(f: Frame) -> np.ndarray:
    """(unit, period) 1 where the flow fell by 30 % on the year, or nothing moved; 0 elsewhere and in the first year."""
    flow = _log_flow(f)
    change = np.full(flow.shape, 0.0)
    change[:, 12:] = flow[:, 12:] - flow[:, :-12]
    nothing = (f.unit_kind != POSITIVE) & (np.arange(flow.shape[1]) >= 12)
    return np.where(nothing | (change < np.log1p(FALL)), 1.0, 0.0)


def markov_regression(f: Frame, learnt: int | None = None) -> np.ndarray:
    """(unit, period) filtered probability of the lower of two regimes of the mean (Hamilton 1989), by maximum likelihood.

    learnt : months from which its parameters are learnt; by default all.
    """
    from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression

    out = np.zeros(f.unit_kind.shape)
    for u, flow in enumerate(_log_flow(f)):
        known = np.flatnonzero(~np.isnan(flow))
        own = known[known < (learnt or flow.size)]
        if own.size < 24:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                model = MarkovRegression(flow[own], k_regimes=2, switching_variance=False)
                fitted = model.fit(disp=False, maxiter=100)
                low = int(np.argmin(fitted.params[[n == "const[0]" or n == "const[1]" for n in model.param_names]]))
                whole = MarkovRegression(flow[known], k_regimes=2, switching_variance=False).filter(fitted.params)
                out[u, known] = whole.filtered_marginal_probabilities[:, low]
            except (np.linalg.LinAlgError, ValueError, RuntimeError):
                continue
    return np.clip(np.nan_to_num(out), 0, 1)
