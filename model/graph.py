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

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import jax
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt

import model.xla  # noqa: F401 - tells JAX of the kernels, and of 64 bits
from model.chain import DIFFERENTIABLE, regime_chain
from model.expectation import baselines, calendar, payback, total_trade
from model.frame import Frame, medians
from model.kernel import INPUTS, MISSING, NEVER_ZERO, POSITIVE
from model.moves import moves
from model.observation import spared, two_views
from model.reading import REFERENCE_LOG_KG, before, of_two_months
from model.spec import Assumptions
from model.states import states

SHARPNESS = 0.05
"""Log kg within which the common shortfall bends from 0 to -g."""


def common_shortfall(g: Any, xp: Any = pt) -> Any:
    """What a family suffers in common: -g where its factor g is below 0; smooth, since the sampler needs a gradient."""
    return SHARPNESS * xp.logaddexp(0.0, -g / SHARPNESS)


def depth(common: Any, a: Assumptions, xp: Any = pt) -> Any:
    """0..1, whether a common shortfall is deep enough for importers to go ways of their own."""
    return 1 - xp.exp(-((common / a.parting_from) ** 3))


def _chains(kernel: dict[str, Any]) -> Any:
    """(chain, period) log predictive densities; 0 from month ``months`` on, which nothing is seen of."""
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


@dataclass(frozen=True, eq=False)
class Equations:
    """unit, family : the kernel's arguments for the two layers, by the names
    in :data:`model.chain.INPUTS`, as functions of the free variables and the data.

    parts : ``family_baseline`` (family, period), of an open month, ``onset_plain`` (importer, period), ``onset_plain_wide`` (family,
    period), and on (series, period): ``log_expected``, of the log flow, family factor included; ``log_plain``, the same before payback;
    ``carried``, of a figure of two months, the factor that the first has from the second; ``control``, the control's part in it;
    ``exporter_x`` and ``exporter_scale``, x and scale as the exporter's office alone would have them, ``importer_scale``, ``difference``,
    what the importer's reading adds, and ``difference_scale``, 0 where only one has.
    """

    model: pm.Model
    unit: dict[str, Any]
    family: dict[str, Any]
    parts: dict[str, Any]

    @cached_property
    def function(self) -> Any:
        """(free variables..., data...) -> the kernel's arguments of both layers and the parts, each with a first axis over draws, as the
        free variables have one."""
        given = {v: v.type(v.name) for v in self.model.data_vars}
        outputs = [layer[name] for layer in (self.unit, self.family) for name in INPUTS] + list(self.parts.values())
        inputs = [*self.model.free_RVs, *given.values()]
        of_one = pytensor.function(inputs, outputs, givens=given, mode="JAX", on_unused_input="ignore").vm.jit_fn
        return jax.jit(jax.vmap(of_one, [0] * len(self.model.free_RVs) + [None] * len(given)))


@dataclass(frozen=True)
class Graph:
    """A frame, and the equations for all frames of its structure; the data containers in them may hold another one's data."""

    equations: Equations
    frame: Frame

    @property
    def model(self) -> pm.Model:
        return self.equations.model


def graph_of(f: Frame, assumptions: Assumptions) -> Graph:
    """The graph for `f`, built once in a process for all frames of one structure."""
    return replace(_by_structure(_Structure(f), assumptions), frame=f)


class _Structure:
    """A frame that equals every other of its structure."""

    def __init__(self, f: Frame) -> None:
        self.frame, self.key = f, f.structure

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Structure) and self.key == other.key


@cache
def _by_structure(structure: _Structure, assumptions: Assumptions) -> Graph:
    return build(structure.frame, assumptions)


def build(f: Frame, assumptions: Assumptions) -> Graph:
    a = assumptions
    s = states(a)
    families, T = len(f.coords["family"]), f.capacity
    first = np.datetime64(f.coords["period"][0], "M")
    coords = f.coords | {"period": np.datetime_as_string(first + np.arange(T), unit="M")}
    # Every parameter is bounded by its transform, so checking bounds again only costs compile time.
    with pm.Model(check_bounds=False) as model:
        # XLA wants to know every size.
        model.add_coords(coords, lengths={name: pt.constant(len(labels)) for name, labels in coords.items()})
        data = {name: pm.Data(name, value, shape=value.shape) for name, value in f.data().items()}
        log_noise = pm.Normal("log_noise", pm.Normal("noise", *a.noise), pm.LogNormal("noise_spread", *a.noise_spread), dims="series")
        family_baseline, deviation = baselines(a, f, data, log_noise)
        # A family's course is free, season and new year included: what its destinations show in a month is then one number, and not the sum
        # of three that lie on a ridge.
        family_baseline = family_baseline + calendar(a, f, data)
        control = total_trade(a, f, data)
        targeted, wide = moves(a, f, data)
        shared = {name: pt.constant(getattr(s, name)) for name in ("initial", "shift", "role", "own_course", "before", "now", "begun")}
        shared["months"] = data["months"][0]

        family = shared | vars(wide) | {
            "scale": pt.full((families, T), pm.LogNormal("noise_family", *a.noise_family)),
            "kind": data["family_kind"],
            "hurdle": pt.constant(np.full((families, T), NEVER_ZERO)),
            "slope": pt.constant(np.array(1.0)),
            "rho": pt.full((families,), pt.tanh(pm.Normal("residual_family", *a.residual_family))),
            "spare": pt.zeros(families),
            "relief": pt.zeros((families, T)),
            "parting": pt.zeros((families, T)),
            "hold": pt.zeros((families, T)),
            "chain": pt.constant(np.arange(families)),
            "group": pt.constant(np.arange(families)),
        }  # fmt: skip
        unseen = pt.eq(data["family_kind"], MISSING)

        def family_logp(course: Any, baseline: Any, kernel: dict[str, Any]) -> Any:
            g = course - baseline
            # Months that no unit of the family shows do not touch the data; a unit normal keeps them proper.
            return _chains(kernel | {"x": g}) + pt.where(unseen, -0.5 * g**2, 0.0)

        course = _with_density(
            "family_course", family_baseline, family, family_logp,
            support_point=lambda rv, size, baseline, *_: baseline, dims=("family", "period"),
        )  # fmt: skip
        family["x"] = pt.where(unseen, 0.0, course - family_baseline)

        plain = (family_baseline + family["x"])[f.family_of] + deviation + control
        views = two_views(a, f, data)
        carried = pt.zeros((len(f.unit), T))

        def of_both(expected: Any) -> Any:
            """What a figure of two months is set against, where there are such."""
            return expected + of_two_months(pt, expected, pt.eq(data["summed"], 1), carried) if f.flows.summed.any() else expected

        if f.flows.summed.any():
            # The two months of a sum have one factor, where only their sum shows it.
            carried = pt.where(before(pt, unseen), family["x"], 0.0)[f.family_of]
        mu = plain + payback(a, f, data, data["primary"] + views.adjustment - of_both(plain))
        common = common_shortfall(family["x"])
        uneven = pm.HalfNormal("unevenness", a.unevenness) * common
        process = pt.exp(2 * log_noise)[:, None] + uneven[f.family_of] ** 2
        slope = pm.LogNormal("hurdle_slope", *a.hurdle_slope)
        own_hurdle = pm.Normal("hurdle_series", 0, 1, dims="series") * pm.LogNormal("hurdle_spread", *a.hurdle_spread)
        own_hurdle = own_hurdle + pm.Normal("hurdle", *a.hurdle)
        deep = depth(common, a)[f.family]
        unit = shared | vars(targeted) | {
            "x": data["primary"] + views.adjustment - of_both(mu),
            "scale": pt.sqrt(process + views.variance),
            "kind": data["kind"],
            "hurdle": own_hurdle[:, None] - slope * (mu - REFERENCE_LOG_KG),
            "slope": slope,
            "rho": pt.full((len(f.unit),), pt.tanh(pm.Normal("residual", *a.residual))),
            "spare": spared(a, f),
            "relief": common[f.family],
            "parting": pm.Beta("parting", *a.parting) * deep,
            "hold": a.hold * deep,
            "chain": pt.constant(f.unit),
            "group": pt.constant(f.importer),
        }  # fmt: skip
        member = np.eye(len(f.fitted))[f.unit].T
        # The value is the unit's flow; its density is that of the figures of each code.
        _with_density(
            "log_flow", pt.dot(member, views.mirror), unit, lambda _, mirror, kernel: _chains(kernel) + mirror,
            observed=data["observed"], dims=("unit", "period"),
        )  # fmt: skip
    parts = {
        "log_expected": mu,
        "log_plain": plain,
        "carried": carried,
        "family_baseline": family_baseline,
        "control": control,
        "onset_plain": targeted.onset_plain,
        "onset_plain_wide": wide.onset_plain,
        "exporter_x": data["primary"] - of_both(mu),
        "difference": views.difference,
        "difference_scale": views.spread,
        "exporter_scale": pt.sqrt(process + views.variances[0]),
        "importer_scale": pt.sqrt(process + views.variances[1]),
    }
    return Graph(Equations(model, unit, family, parts), f)


def anchored_course(f: Frame) -> np.ndarray:
    """(family, period) where sampling starts: a family's course through the middle of its destinations, at their usual levels.

    Default starts with jitter strand chains in modes such as "restricted for ever from a higher base".
    """
    usual = medians(f.primary, f.kind)
    deviation = np.where(f.kind == POSITIVE, f.primary, np.nan) - usual[:, None]
    course = np.zeros((len(f.coords["family"]), f.capacity))
    for g in range(len(course)):
        rows, some = deviation[f.family_of == g], np.flatnonzero(f.family_seen[g])
        course[g] = usual[f.family_of == g].mean()
        if len(rows) > 1:
            course[g, some] += np.clip(np.nanmedian(rows[:, some], axis=0), -3, 3)
    return course
