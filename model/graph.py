r"""Panel -> ``pm.Model``: the regime model as equations.

For unit u (importer i, family f), month t, with :math:`F` the log flow in kg:

.. math::
    \mu_{ut} &= \text{baseline}_f(t) + g_{ft} + \text{deviation}_u(t) + \text{season}_{f}(t)
               + \text{lunar}_{f} \cdot w_t + \beta\, c_{it} \\
    F_{ut} - \mu_{ut} &= m_{s_{ut}} + \text{AR(1) Student-t} \qquad s_u: \text{targeted chain} \\
    g_{ft} &= m_{w_{ft}} + \text{AR(1) Student-t} \qquad w_f: \text{product-wide chain} \\
    y^X_{ut} &= F_{ut} + e^X_{ut}, \qquad
    y^M_{ut} = b_u + \log\left((1-\tau_i) e^{F_{ut}} + \tau_i e^{F_{u,t-1}}\right) + e^M_{ut}

The family factor g is a parameter, so given the draws the chains are independent and summed out exactly by
:mod:`model.chain`. The two offices report ONE flow: their difference d = y^M - b - (y^X after transit) tells of the
reporters and not of the regime; the flow is read off as :math:`y^X + \omega d`, with
:math:`\omega = \sigma_X^2 / (\sigma_X^2 + \sigma_M^2)`, and its reporting variance shrinks accordingly, while the
process noise stays whole. Counting the two as independent would double the evidence.

``c`` is the control: the pair's total trade, less its own drift, season and lunar effect, by least squares.
Entry into ``restricted``: log odds = alpha + importer + family + sum over covariates and leads 0..3 months.
"""

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from data.panel import Panel
from model.chain import MISSING, NEVER_ZERO, NU, POSITIVE, regime_chain
from model.frame import Frame, contrasts, frame
from model.spec import Assumptions
from model.states import states, transitions

REFERENCE_LOG_KG = float(np.log(1000.0))


def _half_normal(name: str, scale: float, **kwargs: Any) -> Any:
    return pm.HalfNormal(name, scale, **kwargs)


def _baselines(a: Assumptions, f: Frame) -> tuple[Any, Any]:
    """Slow courses of the log flow: of a family's average destination (family, period), and of each unit's deviation
    from it (unit, period), which add up to zero over the family's units.

    Split this way the family's course takes all that its destinations share, and the sampler meets no ridge between
    "all baselines sank a little" and "the family factor sank a little".
    """
    usual = f.usual
    member = np.eye(len(f.coords["family"]))[f.family]
    average = member / member.sum(0)
    drift_sd = pm.LogNormal("drift_sd", *a.drift)
    family = pm.GaussianRandomWalk(
        "family_baseline",
        mu=0,
        sigma=drift_sd,
        init_dist=pm.Normal.dist(average.T @ usual, 1.0),
        dims=("family", "knot"),
    )
    course = pt.dot(family, f.knots.T)
    spread = contrasts(f.family)
    if not spread.size:
        return course, pt.zeros((len(usual), f.knots.shape[0]))
    contrast = pm.GaussianRandomWalk(
        "contrast_baseline",
        mu=0,
        sigma=drift_sd,
        init_dist=pm.Normal.dist(spread.T @ usual, 1.0),
        dims=("contrast", "knot"),
    )
    return course, pt.dot(spread, pt.dot(contrast, f.knots.T))


def _calendar(a: Assumptions, f: Frame) -> Any:
    """Season, lunar new year and the pair's total trade: (unit, period) log effect."""
    season_sd = pm.LogNormal("season_sd", *a.season)
    season = pm.ZeroSumNormal("season", sigma=1.0, dims="month") * season_sd
    location, spread = np.array(a.lunar).T
    lunar = pm.Normal("lunar", location, spread, dims="window")
    calendar = season[f.month][None, :] + pt.dot(lunar, f.lunar)[None, :]
    if len(f.coords["family"]) > 1:
        own_season = pm.ZeroSumNormal("season_family", sigma=0.5, dims=("family", "month")) * season_sd
        own_lunar = pm.Normal("lunar_family", 0, 0.1, dims=("family", "window"))
        calendar = calendar + (own_season[:, f.month] + pt.dot(own_lunar, f.lunar))[f.family]
    if np.any(f.control):
        calendar = calendar + pm.Normal("control_effect", *a.control_effect) * f.control
    return calendar


def _entry(a: Assumptions, f: Frame) -> tuple[Any, Any]:
    """Monthly probability of entering ``restricted``: targeted (unit, period), product-wide (family, period)."""
    T = f.kind.shape[1]
    odds = pm.Normal("entry_targeted", *a.entry_targeted)
    spread = _half_normal("entry_spread", a.entry_spread)
    by_importer = pm.Normal("entry_importer", 0, 1, dims="importer") * spread
    by_family = pm.Normal("entry_family", 0, 1, dims="family") * spread
    logit = odds + by_importer[f.importer][:, None] + by_family[f.family][:, None]
    if len(f.covariates):
        effect = pm.TruncatedNormal("covariate_effect", *a.covariate_effect, lower=0, dims="covariate")
        lead = pm.Dirichlet("covariate_lead", np.ones(a.covariate_leads + 1), dims=("covariate", "lead"))
        led = np.stack([np.concatenate([np.zeros_like(f.covariates[:, :, :n]), f.covariates[:, :, : T - n]], 2) for n in f.coords["lead"]])
        logit = logit + pt.tensordot(effect[:, None] * lead, led.transpose(1, 0, 2, 3), axes=2)
    else:
        logit = pt.repeat(logit, T, axis=1)
    wide = pm.Normal("entry_wide", *a.entry_wide)
    return pm.math.sigmoid(logit), pt.full((len(f.coords["family"]), T), pm.math.sigmoid(wide))


def _two_views(a: Assumptions, f: Frame) -> tuple[Any, Any, Any]:
    """What the two offices' figures make of one flow, each (unit, period).

    adjustment : added to the primary figure to read the flow off both.
    variance : of that reading's reporting error (log squared), to be added to the process noise.
    mirror : log density of the offices' difference, which the regime does not enter.
    """
    exporter, importer = (f.flows.log_kg[f.fitted, side] for side in (0, 1))
    sees_exporter, sees_importer = (f.flows.positive[f.fitted, side] for side in (0, 1))
    both = f.mirrored
    if not sees_importer.any():
        # One office alone cannot tell its own error from the flow's noise.
        none = pt.zeros(both.shape)
        return none, none, none
    var_exporter = _half_normal("reporting_exporter", a.reporting_exporter) ** 2
    var_importer = _half_normal("reporting_importer", a.reporting_importer) ** 2
    bias = pm.Normal("bias", 0, pm.LogNormal("bias_spread", *a.reporter_bias), dims="unit")[:, None]
    if not both.any():
        alone = sees_importer & ~sees_exporter
        return -bias * alone, pt.where(alone, var_importer, var_exporter), pt.zeros(both.shape)
    share = pm.Beta("transit", *a.transit, dims="importer")[f.importer][:, None]
    before = np.concatenate([exporter[:, :1], exporter[:, :-1]], axis=1)
    carried = np.concatenate([sees_exporter[:, :1], sees_exporter[:, :-1]], axis=1)
    before = np.where(carried, before, exporter)
    in_transit = pt.log((1 - share) + share * np.exp(np.clip(before - exporter, -20, 20)))
    difference = (importer - exporter) - bias - in_transit
    weight = var_exporter / (var_exporter + var_importer)
    adjustment = pt.where(both, weight * difference, -bias * (sees_importer & ~sees_exporter))
    variance = pt.where(both, var_exporter * (1 - weight), pt.where(sees_exporter, var_exporter, var_importer))
    mirror = pm.logp(pm.StudentT.dist(nu=NU, mu=0, sigma=pt.sqrt(var_exporter + var_importer)), difference)
    return adjustment, variance, pt.where(both, mirror, 0.0)


def _unpadded(chains: int, rho: Any, base: Any, tilt: Any) -> tuple[Any, Any, Any]:
    """CustomDist pads its parameters to the batch dimensions; the chains want rho (chain,) and (state, state)."""
    states = base.shape[-1]
    return pt.full((chains,), rho.flatten()[0]), base.reshape((states, states)), tilt.reshape((states, states))


def _family_course(a: Assumptions, f: Frame, baseline: Any, entry: Any, base: Any, tilt: Any) -> Any:
    """Baseline plus g: what all destinations of a family share, itself seen as a regime chain (family, period)."""
    s = states(a)
    kind = f.family_kind
    silent = np.full(kind.shape, NEVER_ZERO)
    noise = pm.LogNormal("noise_family", *a.noise_family)
    scale = pm.Deterministic("family_scale", pt.full(kind.shape, noise), dims=("family", "period"))
    rho = pm.Deterministic("family_rho", pt.tanh(pm.Normal("residual_family", *a.residual_family)))

    def logp(course: Any, baseline: Any, scale: Any, rho: Any, entry: Any, base: Any, tilt: Any) -> Any:
        rhos, base, tilt = _unpadded(kind.shape[0], rho, base, tilt)
        g = course - baseline
        predictive, _ = regime_chain(g, scale, kind, silent, pt.constant(1.0), rhos, entry, base, tilt, s.initial, s.shift)
        # Months that no unit of the family shows do not touch the data; a unit normal keeps them proper.
        return predictive + pt.where(pt.eq(kind, MISSING), -0.5 * g**2, 0.0)

    return pm.CustomDist(
        "family_course",
        baseline,
        scale,
        rho,
        entry,
        base,
        tilt,
        logp=logp,
        support_point=lambda rv, size, baseline, *_: baseline,
        signature="(),(),(),(),(k,k),(k,k)->()",
        dims=("family", "period"),
    )


def build(panel: Panel, assumptions: Assumptions) -> pm.Model:
    a, f = assumptions, frame(panel, assumptions)
    s = states(a)
    # Every parameter is bounded by its transform, so checking bounds again only costs compile time.
    with pm.Model(coords=f.coords, check_bounds=False) as model:
        family_baseline, deviation = _baselines(a, f)
        calendar = _calendar(a, f)
        rates = {n: pm.Beta(n, *getattr(a, n)) for n in ("surge_entry", "surge_exit", "disruption_exit", "restriction_exit")}
        entry, entry_wide = _entry(a, f)
        base, tilt = _kept("unit", transitions(a, rates | {"disruption_entry": pm.Beta("disruption_entry", *a.disruption_entry)}))
        entry_wide_disrupted = pm.Beta("disruption_entry_wide", *a.disruption_entry_wide)
        wide = _kept("family", transitions(a, rates | {"disruption_entry": entry_wide_disrupted}))
        entry_wide = pm.Deterministic("family_entry", entry_wide, dims=("family", "period"))
        course = _family_course(a, f, family_baseline, entry_wide, *wide)
        factor = pm.Deterministic("family_x", (course - family_baseline) * f.family_seen, dims=("family", "period"))

        course = family_baseline + factor
        mu = pm.Deterministic("log_expected", course[f.family] + deviation + calendar, dims=("unit", "period"))
        log_noise = pm.Normal("log_noise", pm.Normal("noise", *a.noise), pm.LogNormal("noise_spread", *a.noise_spread), dims="unit")
        adjustment, variance, mirror = _two_views(a, f)
        scale = pt.sqrt(pt.exp(2 * log_noise)[:, None] + variance)
        slope = pm.LogNormal("hurdle_slope", *a.hurdle_slope)
        hurdle = pm.Normal("hurdle", *a.hurdle) - slope * (mu - REFERENCE_LOG_KG)
        rho = pm.Deterministic("unit_rho", pt.tanh(pm.Normal("residual", *a.residual)))
        kernel = {"x": f.primary + adjustment - mu, "scale": scale, "hurdle": hurdle, "entry": entry}
        kernel = {name: pm.Deterministic(f"unit_{name}", value, dims=("unit", "period")) for name, value in kernel.items()}

        def logp(primary: Any, adjustment: Any, mu: Any, scale: Any, hurdle: Any, entry: Any, mirror: Any, *rest: Any) -> Any:
            slope, rho, base, tilt = rest
            rhos, base, tilt = _unpadded(len(f.fitted), rho, base, tilt)
            slope = slope.flatten()[0]
            x = primary + adjustment - mu
            return regime_chain(x, scale, f.kind, hurdle, slope, rhos, entry, base, tilt, s.initial, s.shift)[0] + mirror

        pm.CustomDist(
            "log_flow",
            adjustment,
            mu,
            kernel["scale"],
            kernel["hurdle"],
            kernel["entry"],
            mirror,
            slope,
            rho,
            base,
            tilt,
            logp=logp,
            signature=",".join(["()"] * 8 + ["(k,k)"] * 2) + "->()",
            observed=f.primary,
            dims=("unit", "period"),
        )
    return model


def _kept(layer: str, matrices: tuple[Any, Any]) -> list[Any]:
    return [
        pm.Deterministic(f"{layer}_{name}", matrix, dims=("state", "state_next"))
        for name, matrix in zip(("base", "tilt"), matrices, strict=True)
    ]


def anchored_start(panel: Panel, assumptions: Assumptions) -> dict[str, np.ndarray]:
    """Where sampling starts: baselines at the units' usual levels, a family's course through the middle of its destinations.

    Default starts with jitter strand chains in modes such as "restricted for ever from a higher base".
    """
    f = frame(panel, assumptions)
    usual = f.usual
    deviation = np.where(f.kind == POSITIVE, f.primary, np.nan) - usual[:, None]
    course = np.zeros(f.family_seen.shape)
    for g in range(len(course)):
        rows, some = deviation[f.family == g], f.family_seen[g]
        course[g] = usual[f.family == g].mean()
        if len(rows) > 1:
            course[g, some] += np.clip(np.nanmedian(rows[:, some], axis=0), -3, 3)
    return {"family_course": course}
