"""What would move in the open regime: baseline, season, lunar new year, the pair's total trade, payback. All log kg."""

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from model.frame import Frame, Helmert
from model.kernel import POSITIVE
from model.reading import paid_back
from model.spec import Assumptions

Data = dict[str, Any]
"""The graph's data containers by name (:meth:`model.frame.Frame.data`)."""

OWN_SEASON = 0.5
"""Standard deviation of a family's own month effects, as a share of that of the common ones."""


def baselines(a: Assumptions, f: Frame, data: Data, log_noise: Any) -> tuple[Any, Any]:
    """Slow courses of the log flow: of a family's average series (family, period), and of each series' deviation
    from it (series, period), which add up to zero over the family's series.

    Split this way the family's course takes all that its destinations share, and the sampler meets no ridge between
    "all baselines sank a little" and "the family factor sank a little". A series drifts in proportion to its noise, and at times
    leaps: customers are lost and plants move.
    """
    member = np.eye(len(f.coords["family"]))[f.family_of]
    average = member / member.sum(0)
    family = pm.GaussianRandomWalk(
        "family_baseline",
        mu=0,
        sigma=pm.LogNormal("drift_family", *a.drift_family),
        init_dist=pm.Normal.dist(pt.dot(average.T, data["usual"]), 1.0),
        dims=("family", "knot"),
    )
    course = pt.dot(family, f.knots.T)
    if not f.coords["contrast"].size:
        return course, pt.zeros((len(f.unit), f.capacity))
    helmert = Helmert(f.family_of)
    drift = pm.LogNormal("drift", *a.drift) * pt.sqrt(helmert.squared(pt.exp(2 * log_noise)))
    contrast = pm.RandomWalk(
        "contrast_baseline",
        init_dist=pm.Normal.dist(helmert.of(data["usual"]), 1.0),
        innovation_dist=pm.StudentT.dist(nu=a.drift_tail, mu=0, sigma=drift),
        dims=("contrast", "knot"),
    )
    return course, pt.dot(helmert.spread(contrast), f.knots.T)


def calendar(a: Assumptions, f: Frame, data: Data) -> Any:
    """(family, period) log effects of season and lunar new year."""
    season_sd = pm.LogNormal("season_sd", *a.season)
    several = len(f.coords["family"])
    # The average of the families, and what is each one's own: the sum of a common effect and independent own ones, without their ridge.
    season = pm.ZeroSumNormal("season", sigma=season_sd * np.sqrt(1 + OWN_SEASON**2 / several * (several > 1)), dims="month")
    location, spread = np.array(a.lunar).T
    lunar = pm.Normal("lunar", location, spread, dims="window")
    if several == 1:
        return (pt.dot(season, data["calendar_month"]) + pt.dot(lunar, data["lunar_window"]))[None, :]
    own_season = pm.ZeroSumNormal("season_family", sigma=OWN_SEASON * season_sd, dims=("family", "month"), n_zerosum_axes=2)
    own_lunar = pm.Normal("lunar_family", lunar[None, :], 0.1, dims=("family", "window"))
    return pt.dot(season + own_season, data["calendar_month"]) + pt.dot(own_lunar, data["lunar_window"])


def total_trade(a: Assumptions, f: Frame, data: Data) -> Any:
    """(series, period) log effect of the pair's total trade."""
    if not np.any(f.control):
        return pt.zeros((len(f.unit), f.capacity))
    return pm.Normal("control_effect", *a.control_effect) * data["control"][f.unit]


def payback(a: Assumptions, f: Frame, data: Data, excess: Any) -> Any:
    """(series, period) log effect of the stock of what was bought ahead in months before; `excess` is on the log scale."""
    share = pm.HalfNormal("frontload", a.frontload)
    return paid_back(pt, excess, pt.eq(data["kind"], POSITIVE), share, a, f.capacity)
