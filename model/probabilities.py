"""Draws -> regime probabilities: what is asked of the posterior, with its conditioning in every name.

``filtered``  p(s_t | figures to month t), parameters from the figures the draws were fitted to
``smoothed``  p(s_t | all figures known at the as-of)
A month for which a unit has no figure is not updated, so its filtered probability *is* the nowcast, p(s_t | figures
that stop before t); the field ``kind`` says which it is.

Scope. Given a draw, the targeted and the product-wide chain are independent, and p(restricted) = 1 - (1 - p_wide)(1 - p_targeted).
In months in which an importer is exempt from what befalls its family, a product-wide measure is not in force against it:
licences are granted country by country.
"""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from scipy.special import expit
from scipy.stats import norm
from scipy.stats import t as student_t

from data.panel import Panel
from model.causes import CAUSES, cause_of, causes
from model.filtering import filtered, filtered_and_smoothed
from model.flows import flows
from model.frame import Frame
from model.graph import Graph
from model.kernel import MISSING, NU, POSITIVE
from model.layers import Draw, evaluated, side_by_side
from model.reading import combined
from model.spec import Assumptions, Computation
from model.states import States, states

QUANTILES = (0.05, 0.95)
STALE_MONTHS = 12
AS_WIDE = float(student_t.ppf(QUANTILES[1], NU) / norm.ppf(QUANTILES[1]))
"""The normal whose 90 % interval is that of the flow's Student-t: of the latter itself a mean in kg there is none."""


def _withheld(unit: np.ndarray, family: np.ndarray, space: States) -> np.ndarray:
    """Expected share withheld by restrictions: the unit's own severity where it has one, else that of the measure on its family."""
    own = (space.restricted > 0) | (space.parted > 0)
    severity = np.where(own, 1 - np.exp(space.shift), 0.0)
    share = cause_of(space)[..., 2:].sum(-1) * np.where(own[:, None], severity[:, None], severity[None, :])
    return ((unit @ share) * family).sum(-1)


def restricted_by_draw(draws: dict[str, np.ndarray], graph: Graph, a: Assumptions) -> Iterator[dict[str, np.ndarray]]:
    """{``filtered``, ``smoothed``: (unit, period) p(restricted)} of each draw."""
    space, f = states(a), graph.frame
    for draw in evaluated(graph, draws):
        layers = zip(("filtered", "smoothed"), filtered_and_smoothed(draw.unit), filtered_and_smoothed(draw.family), strict=True)
        yield {which: causes(own, wide[f.family], space)[..., 2:].sum(-1) for which, own, wide in layers}


def restricted(draws: dict[str, np.ndarray], graph: Graph, a: Assumptions) -> dict[str, np.ndarray]:
    """{``filtered``, ``smoothed``: (unit, period) p(restricted), mean over draws}; the one answer, without the rest of a table."""
    total = {which: np.zeros(graph.frame.unit_kind.shape) for which in ("filtered", "smoothed")}
    for one in restricted_by_draw(draws, graph, a):
        for which, p in one.items():
            total[which] += p
    return {which: v / len(next(iter(draws.values()))) for which, v in total.items()}


def resampled(log_weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(sample, unit) which draws stand for each unit, in proportion to their weights: systematic resampling.

    Weights are cut off at sqrt(samples) times their mean (Ionides 2008, Journal of Computational and Graphical Statistics 17, 295-311).
    """
    S = len(log_weight)
    weight = np.exp(log_weight - log_weight.max(0))
    weight = np.minimum(weight, weight.mean(0) * np.sqrt(S))
    offset = rng.uniform()
    return np.stack([systematic(column, offset) for column in weight.T], axis=1)


def systematic(weight: np.ndarray, offset: float) -> np.ndarray:
    """(sample,) which of the samples stand for all, in their order, by the teeth of a comb that begins at `offset`, 0..1."""
    S, reached = len(weight), np.cumsum(weight)
    return np.minimum(np.searchsorted(reached / reached[-1], (np.arange(S) + offset) / S), S - 1)


def regime_table(
    draws: dict[str, np.ndarray], graph: Graph, panel: Panel, assumptions: Assumptions, computation: Computation, smooth: bool = True,
    log_local: np.ndarray | None = None,
) -> xr.Dataset:  # fmt: skip
    """All answers of one fit, on (unit, period). `draws` : {free variable: (sample, ...)}, of :func:`model.layers.draws_of`.

    log_local : (sample, unit) each unit's log weights of the draws (:mod:`model.update`); by default all count alike.

    smooth : without it, filtered probabilities stand in the place of smoothed ones, which from the last month with figures on they
    are.

    Variables: ``<filtered|smoothed>`` (unit, period, cause), ``<..>_interval`` (unit, period, quantile) of p(restricted) across draws,
    ``<..>_draws`` (draw, unit, period) float32, ``severity_<..>`` expected share withheld given restricted, ``observed_kg``,
    ``counterfactual_kg`` (mean, and ``_interval``), ``shortfall_kg``, the latter less the former (and ``_interval``), ``is_observed``; on
    unit: ``data_through``, ``months_observed``, ``abstention`` ("" = answers).
    """
    f, space = graph.frame, states(assumptions)
    rng = np.random.default_rng(computation.seed)
    S, (U, T) = len(next(iter(draws.values()))), f.unit_kind.shape
    out = {which: np.empty((S, U, T, len(CAUSES)), np.float32) for which in (("filtered", "smoothed") if smooth else ("filtered",))}
    severity = {which: np.zeros((2, U, T)) for which in out}
    chosen = np.tile(np.arange(S)[:, None], U) if log_local is None else resampled(log_local, rng)
    times = np.stack([np.bincount(column, minlength=S) for column in chosen.T], axis=1)
    counterfactual = np.empty((S, U, T), np.float32)
    probabilities = filtered_and_smoothed if smooth else lambda kernel: (filtered(kernel),)

    def layers(draw: Draw) -> tuple[Draw, list[tuple[str, np.ndarray, np.ndarray]]]:
        return draw, list(zip(out, probabilities(draw.unit), probabilities(draw.family), strict=True))

    for s, (draw, found) in enumerate(side_by_side(layers, evaluated(graph, draws), computation.cores)):
        for which, own, wide in found:
            shared = wide[f.family]
            out[which][s] = causes(own, shared, space)
            severity[which][0] += times[s][:, None] * _withheld(own, shared, space)
            severity[which][1] += times[s][:, None] * out[which][s][..., 2:].sum(-1)
        log_open = open_expectation(draw, wide, f, space)
        hurdle = draw.unit["hurdle"] - draw.unit["slope"] * (log_open - draw.parts["log_expected"])
        counterfactual[s] = open_flow(log_open, draw.unit["scale"], draw.unit["rho"], hurdle, f, rng)
    out = {which: np.take_along_axis(v, chosen[:, :, None, None], axis=0) for which, v in out.items()}
    if not smooth:
        out["smoothed"], severity["smoothed"] = out["filtered"], severity["filtered"]
    counterfactual = np.take_along_axis(counterfactual, chosen[:, :, None], axis=0)
    table = _answers(out, severity)
    table.update(_amounts(counterfactual, f))
    return _on_panel(table, f, panel, assumptions)


def open_expectation(draw: Draw, wide: np.ndarray, f: Frame, space: States) -> np.ndarray:
    """(series, period) log kg expected had the family been open: its factor less what its own regime explains. wide : (family, period,
    state). Where nothing is seen of a family no factor is in what is expected, and nothing to be taken out."""
    explained = np.where(f.family_seen, wide @ space.shift, 0.0)
    return np.asarray(draw.parts["log_expected"] - explained[f.family_of])


def open_flow(
    log_open: np.ndarray, scale: np.ndarray, rho: np.ndarray, hurdle: np.ndarray, f: Frame, rng: np.random.Generator
) -> np.ndarray:
    """(unit, period) kg of an open month, with the month's own noise, nothing where it would have been a month without trade (hurdle : its
    log odds); of the codes that have a figure, or of all where none has. Where the figure is of two months, of both."""
    noise = rng.standard_normal(log_open.shape) * AS_WIDE * scale / np.sqrt(1 - rho[:, None] ** 2)
    counted = (f.kind != MISSING) | (f.unit_kind == MISSING)[f.unit]
    kg = np.where(rng.uniform(size=log_open.shape) < expit(hurdle), 0.0, np.exp(log_open + noise))
    kg[:, 1:] += np.where(f.summed[:, 1:], kg[:, :-1], 0.0)
    return np.eye(len(f.fitted))[f.unit].T @ (kg * counted)


def _answers(out: dict[str, np.ndarray], severity: dict[str, np.ndarray]) -> dict[str, tuple]:
    table: dict[str, tuple] = {}
    for which, draws in out.items():
        restricted = np.clip(draws[..., 2:].sum(-1), 0, 1)
        withheld, weight = severity[which]
        mean = draws.mean(0, dtype=float)
        table[which] = ("unit", "period", "cause"), mean / mean.sum(-1, keepdims=True)
        table[f"{which}_draws"] = ("sample", "unit", "period"), restricted
        table[f"{which}_interval"] = ("unit", "period", "quantile"), np.moveaxis(np.quantile(restricted, QUANTILES, axis=0), 0, -1)
        table[f"severity_{which}"] = ("unit", "period"), withheld / np.maximum(weight, 1e-12)
    return table


def _amounts(counterfactual: np.ndarray, f: Frame) -> dict[str, tuple]:
    observed, expected = f.observed_kg, counterfactual.mean(0, dtype=float)
    between = np.moveaxis(np.quantile(counterfactual, QUANTILES, axis=0), 0, -1)
    place = ("unit", "period")
    band = (*place, "quantile")
    return {
        "observed_kg": (place, observed),
        "counterfactual_kg": (place, expected),
        "counterfactual_kg_interval": (band, between),
        "shortfall_kg": (place, expected - observed),
        "shortfall_kg_interval": (band, between - observed[..., None]),
        "is_observed": (place, f.unit_kind != MISSING),
    }


def _on_panel(table: dict[str, tuple], f: Frame, panel: Panel, assumptions: Assumptions) -> xr.Dataset:
    """Rows for every unit of the panel; those without a positive figure are NaN and abstain."""
    answers = xr.Dataset(
        table, coords={"unit": f.coords["unit"], "period": panel["period"], "cause": list(CAUSES), "quantile": list(QUANTILES)}
    ).reindex(unit=panel["unit"].values)
    kind = _unit_kind(panel)
    observed = kind != MISSING
    answers["is_observed"] = ("unit", "period"), observed
    answers["months_observed"] = ("unit",), observed.sum(1)
    answers["last_observed"] = ("unit",), _last(observed)
    answers["abstention"] = ("unit",), abstentions(panel, assumptions)
    answers = answers.assign_coords(unit_importer=panel["unit_importer"], unit_family=panel["unit_family"])
    answers.attrs = {"as_of": panel.attrs["as_of"], "exporter": panel.attrs["exporter"], "horizon": int(panel.attrs["horizon"])}
    return answers


def _unit_kind(panel: Panel) -> np.ndarray:
    """(unit, period) what each unit of the panel shows, in the codes of which it was ever traded; of one that never was, in all."""
    every = flows(panel)
    series = every.combined_kind()
    traded = (series == POSITIVE).any(1)
    found = []
    for u in range(panel.sizes["unit"]):
        own = every.unit == u
        found.append(combined(series[own & traded if (own & traded).any() else own][None]))
    return np.concatenate(found)


def _last(observed: np.ndarray) -> np.ndarray:
    """(unit,) index of the last month with a figure, -1 where there is none."""
    return np.where(observed.any(1), observed.shape[1] - 1 - observed[:, ::-1].argmax(1), -1)


def abstentions(panel: Panel, assumptions: Assumptions) -> list[str]:
    """Per unit of the panel, why it gets no probability; empty when it gets one."""
    kind = _unit_kind(panel)
    last = _last(kind != MISSING)
    return [abstention(kind[u], int(last[u]), int(panel.attrs["horizon"]), assumptions) for u in range(len(kind))]


def abstention(kind: np.ndarray, last: int, horizon: int, assumptions: Assumptions) -> str:
    """Why a unit gets no probability; empty when it gets one."""
    seen = int((kind != MISSING).sum())
    if seen == 0:
        return "no figure known"
    if not (kind == POSITIVE).any():
        return f"all {seen} known figures are zero: nothing to compare with"
    if seen < assumptions.enough_months:
        return f"{seen} months of figures; {assumptions.enough_months} are needed to tell a season from a restriction"
    if horizon - last > STALE_MONTHS:
        return f"the last figure is {horizon - last} months old"
    return ""
