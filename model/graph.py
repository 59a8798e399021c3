r"""Panel -> ``pm.Model``: the regime model as equations.

For unit u (importer i, family f), month t, with :math:`F` the log flow in kg:

.. math::
    \mu_{ut} &= \text{baseline}_f(t) + g_{ft} + \text{deviation}_u(t) + \text{season}_{f}(t)
               + \text{lunar}_{f} \cdot w_t + \beta\, c_{it} - \phi\, S_{ut} \\
    S_{ut} &= \delta S_{u,t-1} + (e^{F_{u,t-1} - \mu^0_{u,t-1}} - 1 - \epsilon)_+ \\
    F_{ut} - \mu_{ut} &= m_{s_{ut}} + \text{AR(1) Student-t} \qquad s_u: \text{targeted chain} \\
    g_{ft} &= m_{w_{ft}} + \text{AR(1) Student-t} \qquad w_f: \text{product-wide chain} \\
    y^X_{ut} &= F_{ut} + e^X_{ut}, \qquad
    y^M_{ut} = b_u + \log\left((1-\tau_i) e^{F_{ut}} + \tau_i e^{F_{u,t-1}}\right) + e^M_{ut}

The family factor g is a parameter, so given the draws the chains of different importers are independent, and all are summed out by
:mod:`model.kernel`. The targeted chains of one importer share its campaign; each product-wide chain is a group of one, whose
campaign is the measure on the product. The two offices report ONE flow: their difference d = y^M - b - (y^X after transit) tells of
the reporters and not of the regime; the flow is read off as :math:`y^X + \omega d`, with
:math:`\omega = \sigma_X^2 / (\sigma_X^2 + \sigma_M^2)`, and its reporting variance shrinks accordingly, while the
process noise stays whole. Counting the two as independent would double the evidence.

``c`` is the control: the pair's total trade, less its own course, season and lunar effect. S is the stock of what was bought
ahead, over an expectation :math:`\mu^0` that knows of none. A campaign begins with log odds = alpha + importer + sum over
drivers (covariates and their rises) and leads 0..3 months.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from model.chain import DIFFERENTIABLE, INPUTS, regime_chain
from model.frame import Frame, contrasts
from model.kernel import MISSING, NEVER_ZERO, NU, POSITIVE
from model.spec import Assumptions
from model.states import ENTRIES, ENTRY_OF_MOVE, states, transitions

REFERENCE_LOG_KG = float(np.log(1000.0))
PARTING_FROM = 0.8
"""Common shortfall (log) beyond which importers go ways of their own; well below it they do not."""
SHARPNESS = 0.05
"""Log kg within which the common shortfall bends from 0 to -g."""


def _half_normal(name: str, scale: float, **kwargs: Any) -> Any:
    return pm.HalfNormal(name, scale, **kwargs)


def _baselines(a: Assumptions, f: Frame) -> tuple[Any, Any]:
    """Slow courses of the log flow: of a family's average series (family, period), and of each series' deviation
    from it (series, period), which add up to zero over the family's series.

    Split this way the family's course takes all that its destinations share, and the sampler meets no ridge between
    "all baselines sank a little" and "the family factor sank a little".
    """
    usual = f.usual
    member = np.eye(len(f.coords["family"]))[f.family_of]
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
    spread = contrasts(f.family_of)
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
    """(season, lunar new year and the pair's total trade, the last of them alone), both (series, period) log effects."""
    season_sd = pm.LogNormal("season_sd", *a.season)
    season = pm.ZeroSumNormal("season", sigma=1.0, dims="month") * season_sd
    location, spread = np.array(a.lunar).T
    lunar = pm.Normal("lunar", location, spread, dims="window")
    calendar = season[f.month][None, :] + pt.dot(lunar, f.lunar)[None, :]
    if len(f.coords["family"]) > 1:
        own_season = pm.ZeroSumNormal("season_family", sigma=0.5, dims=("family", "month")) * season_sd
        own_lunar = pm.Normal("lunar_family", 0, 0.1, dims=("family", "window"))
        calendar = calendar + (own_season[:, f.month] + pt.dot(own_lunar, f.lunar))[f.family_of]
    if not np.any(f.control):
        return calendar, pt.zeros(f.kind.shape)
    control = pm.Normal("control_effect", *a.control_effect) * f.control[f.unit]
    return calendar + control, control


@dataclass(frozen=True)
class Moves:
    """How one layer's campaigns and chains move: the kernel's arguments of the same names, and ``onset_plain``, the onset were
    every covariate at its mean."""

    onset: Any
    pace: Any
    entry: Any
    base: Any
    tilt: Any
    onset_plain: Any


def _moves(a: Assumptions, f: Frame) -> tuple[Moves, Moves]:
    """(targeted, product-wide): groups are importers, and families."""
    rates = {n: pm.Beta(n, *getattr(a, n)) for n in ("surge_entry", "surge_exit", "exempt_entry", "exempt_exit")}
    alpha, beta = np.array(a.restriction_exit).T
    rates["restriction_exit"] = pm.Beta("restriction_exit", alpha, beta, dims="exit")
    disruption = {n: pm.Beta(n, *getattr(a, n)) for n in ("disruption_entry", "disruption_exit")}
    disruption_wide = {n: pm.Beta(f"{n}_wide", *getattr(a, f"{n}_wide")) for n in disruption}
    targeted = transitions(a, rates | disruption)
    wide = transitions(a, rates | disruption_wide | {"exempt_entry": 0.0})  # a family has nothing to be exempt from

    spread = _half_normal("entry_spread", a.entry_spread)
    odds = pm.Normal("campaign", *a.campaign) + pm.Normal("campaign_importer", 0, 1, dims="importer") * spread
    onset, plain = _onset(a, f, odds[:, None], "covariate_effect", _of_importers(f))
    onset_wide, plain_wide = _onset(a, f, pm.Normal("product_wide", *a.product_wide), "covariate_effect_wide", f.wide_drivers)

    alpha, beta = np.array(a.campaign_pace).T
    pace = pm.Beta("campaign_pace", alpha, beta, shape=2)
    by_family = pm.Normal("entry_family", 0, 1, dims="family") * spread
    entry = {name: pm.Normal(f"entry_{name}", *getattr(a, f"entry_{name}")) for name in ENTRIES}
    per_move = pt.stack([entry[name] for name in ENTRY_OF_MOVE])
    of_unit = pm.math.sigmoid(per_move[None, :] + by_family[f.family][:, None])
    of_family = np.tile([WIDE_ENTRY[name] for name in ENTRY_OF_MOVE], (len(f.coords["family"]), 1))
    return Moves(onset, pace, of_unit, *targeted, plain), Moves(onset_wide, pace, pt.constant(of_family), *wide, plain_wide)


WIDE_ENTRY = {"lone": 0.0, "join": 0.9, "late": 0.02}
"""A measure on a product is its own campaign: the family chain follows it at once."""


def _of_importers(f: Frame) -> np.ndarray:
    """(driver, importer, period): the mean over the importer's units."""
    member = np.eye(len(f.coords["importer"]))[f.importer]
    return np.einsum("dut,ui->dit", f.drivers, member / member.sum(0))


def _onset(a: Assumptions, f: Frame, odds: Any, effect_name: str, drivers: np.ndarray) -> tuple[Any, Any]:
    """(group, period) probability that a campaign begins, and the same were every driver at its mean."""
    plain = pt.zeros(drivers.shape[1:]) + pm.math.sigmoid(odds)
    T = drivers.shape[2]
    if not len(drivers):
        return plain, plain
    effect = pm.TruncatedNormal(effect_name, *a.covariate_effect, lower=0, dims="driver")
    lead = pm.Dirichlet(f"{effect_name}_lead", np.ones(a.covariate_leads + 1), dims=("driver", "lead"))
    led = np.stack([np.concatenate([np.zeros_like(drivers[:, :, :n]), drivers[:, :, : T - n]], 2) for n in f.coords["lead"]])
    return pm.math.sigmoid(odds + pt.tensordot(effect[:, None] * lead, led.transpose(1, 0, 2, 3), axes=2)), plain


@dataclass(frozen=True)
class Views:
    """What the two offices' figures make of one flow, each (series, period).

    adjustment : added to the primary figure to read the flow off both. variance : of that reading's reporting error (log
    squared), to be added to the process noise. mirror : log density of the offices' difference, which the regime does not enter.
    difference : the importer's reading less the exporter's, where both are. variances : of each office alone.
    """

    adjustment: Any
    variance: Any
    mirror: Any
    difference: Any
    variances: tuple[Any, Any]


def _two_views(a: Assumptions, f: Frame) -> Views:
    exporter, importer = (f.flows.log_kg[:, side] for side in (0, 1))
    sees_exporter, sees_importer = (f.flows.positive[:, side] for side in (0, 1))
    both = sees_exporter & sees_importer
    none = pt.zeros(both.shape)
    extra = _half_normal("preliminary", a.preliminary) ** 2 if f.preliminary.any() else 0.0
    extra_exporter, extra_importer = (none + extra * f.preliminary[:, side] for side in (0, 1))
    if not sees_importer.any():
        # One office alone cannot tell its own error from the flow's noise.
        return Views(none, extra_exporter, none, none, (extra_exporter, extra_exporter))
    var_exporter = _half_normal("reporting_exporter", a.reporting_exporter) ** 2 + extra_exporter
    var_importer = _half_normal("reporting_importer", a.reporting_importer) ** 2 + extra_importer
    bias = pm.Normal("bias", 0, pm.LogNormal("bias_spread", *a.reporter_bias), dims="series")[:, None]
    if not both.any():
        alone = sees_importer & ~sees_exporter
        return Views(-bias * alone, pt.where(alone, var_importer, var_exporter), none, none, (var_exporter, var_importer))
    share = pm.Beta("transit", *a.transit, dims="importer")[f.importer][f.unit][:, None]
    before = np.concatenate([exporter[:, :1], exporter[:, :-1]], axis=1)
    carried = np.concatenate([sees_exporter[:, :1], sees_exporter[:, :-1]], axis=1)
    before = np.where(carried, before, exporter)
    in_transit = pt.log((1 - share) + share * np.exp(np.clip(before - exporter, -20, 20)))
    difference = (importer - exporter) - bias - in_transit
    weight = var_exporter / (var_exporter + var_importer)
    adjustment = pt.where(both, weight * difference, -bias * (sees_importer & ~sees_exporter))
    variance = pt.where(both, var_exporter * (1 - weight), pt.where(sees_exporter, var_exporter, var_importer))
    mirror = pm.logp(pm.StudentT.dist(nu=NU, mu=0, sigma=pt.sqrt(var_exporter + var_importer)), difference)
    return Views(adjustment, variance, pt.where(both, mirror, 0.0), pt.where(both, difference, 0.0), (var_exporter, var_importer))


def _summed(f: Frame, mu: Any) -> Any:
    """(series, period) to be added to the expectation of a cell that holds two months' flow in one figure."""
    primary = np.where(f.flows.positive[:, 0], f.flows.summed[:, 0], f.flows.summed[:, 1])
    if not primary.any():
        return 0.0
    before = pt.concatenate([mu[:, :1], mu[:, :-1]], axis=1)
    return pt.where(primary, pt.log1p(pt.exp(before - mu)), 0.0)


def _frontloaded(a: Assumptions, f: Frame, excess: Any) -> Any:
    """(series, period): the stock of what was bought ahead, from months before only."""
    T = f.kind.shape[1]
    behind = np.subtract.outer(np.arange(T), np.arange(T)) - 1
    decay = np.where(behind >= 0, a.frontload_keep ** np.maximum(behind, 0), 0.0)
    bought = pt.clip(pt.expm1(pt.clip(excess, -5, 2)) - a.frontload_from, 0, 5) * (f.kind == POSITIVE)
    return pt.dot(bought, decay.T)


def _chains(kernel: dict[str, Any]) -> Any:
    return regime_chain(*(kernel[n] for n in INPUTS))[0]


def _with_density(name: str, cell: Any, kernel: dict[str, Any], logp: Any, **kwargs: Any) -> Any:
    """A CustomDist on (chain, period) whose log density is ``logp(value, cell, kernel)``; `cell` is on (chain, period).

    The kernel's parameters enter whole, with core dimensions of their own; CustomDist pads them to the batch dimensions, so
    they are given their own shape back.
    """
    parameters = {n: kernel[n] for n in DIFFERENTIABLE if n in kernel}
    ndim = {n: v.type.ndim for n, v in parameters.items()}
    core = ",".join(f"({','.join(f'{n}{d}' for d in range(max(ndim[n], 1)))})" for n in parameters)

    def density(value: Any, cell: Any, *given: Any) -> Any:
        own = {
            n: v.reshape(v.shape[v.ndim - ndim[n] :], ndim=ndim[n]) if ndim[n] else v.flatten()[0]
            for n, v in zip(parameters, given, strict=True)
        }
        return logp(value, cell, kernel | own)

    whole = (pt.atleast_1d(v) for v in parameters.values())
    return pm.CustomDist(name, cell, *whole, logp=density, signature=f"(),{core}->()", **kwargs)


@dataclass(frozen=True)
class Graph:
    """unit, family : the kernel's arguments for the two layers, by the names
    in :data:`model.chain.INPUTS`, as functions of the free variables.

    parts : ``family_baseline`` (family, period), ``onset_plain`` (importer, period), ``onset_plain_wide`` (family, period), and
    on (series, period): ``log_expected``, of the log flow, family factor included; ``log_plain``, the same before payback;
    ``control``, the control's part in it; ``exporter_x`` and ``exporter_scale``, x and scale as the exporter's office alone would
    have them, ``importer_scale``, and ``difference``, what the importer's reading adds. model : for sampling.
    """

    model: pm.Model
    unit: dict[str, Any]
    family: dict[str, Any]
    parts: dict[str, Any]
    frame: Frame


def build(f: Frame, assumptions: Assumptions) -> Graph:
    a = assumptions
    s = states(a)
    families, T = f.family_seen.shape
    # Every parameter is bounded by its transform, so checking bounds again only costs compile time.
    with pm.Model(coords=f.coords, check_bounds=False) as model:
        family_baseline, deviation = _baselines(a, f)
        calendar, control = _calendar(a, f)
        targeted, wide = _moves(a, f)
        shared = {
            name: pt.constant(v)
            for name, v in (("initial", s.initial), ("shift", s.shift), ("measure", s.measure), ("exempt", s.own_course))
        }

        family = shared | vars(wide) | {
            "scale": pt.full((families, T), pm.LogNormal("noise_family", *a.noise_family)),
            "kind": pt.constant(f.family_kind),
            "hurdle": pt.full((families, T), NEVER_ZERO),
            "slope": pt.constant(1.0),
            "rho": pt.full((families,), pt.tanh(pm.Normal("residual_family", *a.residual_family))),
            "spare": pt.zeros(families),
            "relief": pt.zeros((families, T)),
            "parting": pt.zeros((families, T)),
            "chain": pt.constant(np.arange(families)),
            "group": pt.constant(np.arange(families)),
        }  # fmt: skip

        def family_logp(course: Any, baseline: Any, kernel: dict[str, Any]) -> Any:
            g = course - baseline
            # Months that no unit of the family shows do not touch the data; a unit normal keeps them proper.
            return _chains(kernel | {"x": g}) + pt.where(pt.eq(f.family_kind, MISSING), -0.5 * g**2, 0.0)

        course = _with_density(
            "family_course", family_baseline, family, family_logp,
            support_point=lambda rv, size, baseline, *_: baseline, dims=("family", "period"),
        )  # fmt: skip
        family["x"] = (course - family_baseline) * f.family_seen

        plain = (family_baseline + family["x"])[f.family_of] + deviation + calendar
        views = _two_views(a, f)
        mu = plain - _half_normal("frontload", a.frontload) * _frontloaded(a, f, f.primary + views.adjustment - plain)
        log_noise = pm.Normal("log_noise", pm.Normal("noise", *a.noise), pm.LogNormal("noise_spread", *a.noise_spread), dims="series")
        # Smooth, since the sampler needs a gradient: the common shortfall, -g where g is below 0.
        common = SHARPNESS * pt.softplus(-family["x"] / SHARPNESS)
        uneven = _half_normal("unevenness", a.unevenness) * common
        process = pt.exp(2 * log_noise)[:, None] + uneven[f.family_of] ** 2
        slope = pm.LogNormal("hurdle_slope", *a.hurdle_slope)
        seen = mu + _summed(f, mu)
        unit = shared | vars(targeted) | {
            "x": f.primary + views.adjustment - seen,
            "scale": pt.sqrt(process + views.variance),
            "kind": pt.constant(f.kind),
            "hurdle": pm.Normal("hurdle", *a.hurdle) - slope * (mu - REFERENCE_LOG_KG),
            "slope": slope,
            "rho": pt.full((len(f.unit),), pt.tanh(pm.Normal("residual", *a.residual))),
            "spare": _spared(a, f),
            "relief": common[f.family],
            "parting": (pm.Beta("parting", *a.parting) * (1 - pt.exp(-((common / PARTING_FROM) ** 3))))[f.family],
            "chain": pt.constant(f.unit),
            "group": pt.constant(f.importer),
        }  # fmt: skip
        member = np.eye(len(f.fitted))[f.unit].T
        # The value is the unit's flow; its density is that of the figures of each code.
        _with_density(
            "log_flow", pt.dot(member, views.mirror), unit, lambda _, mirror, kernel: _chains(kernel) + mirror,
            observed=np.log(np.maximum(np.nan_to_num(f.observed_kg), 1.0)), dims=("unit", "period"),
        )  # fmt: skip
    parts = {
        "log_expected": mu,
        "log_plain": plain,
        "family_baseline": family_baseline,
        "control": control,
        "onset_plain": targeted.onset_plain,
        "onset_plain_wide": wide.onset_plain,
        "exporter_x": f.primary - seen,
        "difference": views.difference,
        "exporter_scale": pt.sqrt(process + views.variances[0]),
        "importer_scale": pt.sqrt(process + views.variances[1]),
    }
    return Graph(model, unit, family, parts, f)


def _spared(a: Assumptions, f: Frame) -> Any:
    """(series,) probability that a measure on the family leaves the series' code out; 0 where it is the only one."""
    if not f.several.any():
        return pt.zeros(len(f.unit))
    families = f.coords["family"]
    code = [f.coords["code"].index(f"{families[g]}:{hs}") for g, hs in zip(f.family_of, f.flows.hs, strict=True)]
    return pm.Beta("spare", *a.spare, dims="code")[code] * f.several


def anchored_start(f: Frame) -> dict[str, np.ndarray]:
    """Where sampling starts: baselines at the units' usual levels, a family's course through the middle of its destinations.

    Default starts with jitter strand chains in modes such as "restricted for ever from a higher base".
    """
    usual = f.usual
    deviation = np.where(f.kind == POSITIVE, f.primary, np.nan) - usual[:, None]
    course = np.zeros(f.family_seen.shape)
    for g in range(len(course)):
        rows, some = deviation[f.family_of == g], f.family_seen[g]
        course[g] = usual[f.family_of == g].mean()
        if len(rows) > 1:
            course[g, some] += np.clip(np.nanmedian(rows[:, some], axis=0), -3, 3)
    return {"family_course": course}
