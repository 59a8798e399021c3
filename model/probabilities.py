"""Draws -> regime probabilities: what is asked of the posterior, with its conditioning in every name.

``filtered``  p(s_t | figures to month t), parameters from all figures known at the as-of
``smoothed``  p(s_t | all figures known at the as-of)
A month for which a unit has no figure is not updated, so its filtered probability *is* the nowcast, p(s_t | figures
that stop before t); the field ``kind`` says which it is.

Scope. Given a draw, the targeted and the product-wide chain are independent, and p(restricted) = 1 - (1 - p_wide)(1 - p_targeted).
The four causes sum to one: ``targeted`` (in force against this importer, whatever else), ``product_wide`` (in force and
nothing targeted), ``disrupted`` (no restriction, but a chain is disrupted), ``open``.
"""

import numpy as np
import xarray as xr
from jaxtyping import Float

from data.panel import Panel
from model.chain import MISSING, NEVER_ZERO, POSITIVE, regime_probabilities
from model.frame import Frame, frame
from model.spec import Assumptions, Computation
from model.states import states

CAUSES = ("open", "disrupted", "targeted", "product_wide")
QUANTILES = (0.05, 0.95)
STALE_MONTHS = 12


def _spread_over(total: int, wanted: int) -> np.ndarray:
    return np.unique(np.linspace(0, total - 1, min(total, wanted)).round().astype(int))


def causes(unit: Float[np.ndarray, "*b state"], family: Float[np.ndarray, "*b state"], regime: tuple[str, ...]) -> np.ndarray:
    """(..., 4) in the order of :data:`CAUSES`, from state probabilities of the two chains of one draw."""
    is_open, is_restricted = (np.array(regime) == name for name in ("open", "restricted"))
    targeted, wide = unit[..., is_restricted].sum(-1), family[..., is_restricted].sum(-1)
    product_wide = wide * (1 - targeted)
    still_open = unit[..., is_open].sum(-1) * family[..., is_open].sum(-1)
    innocent = (1 - targeted) * (1 - wide) - still_open
    mass = np.clip(np.stack([still_open, innocent, targeted, product_wide], axis=-1), 0, 1)
    return mass / mass.sum(-1, keepdims=True)


def _withheld(unit: np.ndarray, family: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Expected share withheld by restrictions; `kept` is the share each state lets through, 1 where innocent."""
    return 1 - (unit @ kept) * (family @ kept)


def regime_table(posterior: xr.Dataset, panel: Panel, assumptions: Assumptions, computation: Computation) -> xr.Dataset:
    """All answers of one fit, on (unit, period).

    Variables: ``<filtered|smoothed>`` (unit, period, cause), ``<..>_interval`` (unit, period, quantile) of
    p(restricted) across draws, ``<..>_draws`` (draw, unit, period) float32, ``severity_<..>`` expected share withheld given
    restricted, ``observed_kg``, ``counterfactual_kg`` (median, and ``_interval``), ``shortfall_kg`` (mean, ``_interval``),
    ``is_observed``; on unit: ``data_through``, ``months_observed``, ``abstention`` ("" = answers).
    """
    f = frame(panel, assumptions)
    space, regime = states(assumptions), assumptions.regime
    shift, initial = space.shift, space.initial
    kept = np.where(space.restricted > 0, np.exp(shift), 1.0)
    draws = posterior.stack(sample=("chain", "draw"), create_index=False)
    chosen = _spread_over(draws.sizes["sample"], computation.probability_draws)
    values = {name: draws[name].transpose("sample", ...).values[chosen] for name in _NEEDED}
    S, (U, T) = len(chosen), f.kind.shape
    out = {which: np.empty((S, U, T, len(CAUSES)), np.float32) for which in ("filtered", "smoothed")}
    severity = {which: np.zeros((2, U, T)) for which in out}
    log_open = np.empty((S, U, T))
    family_kind = f.family_kind
    silent = np.full(family_kind.shape, NEVER_ZERO)
    ones = np.ones(family_kind.shape[0])
    for s in range(S):
        v = {name: np.array(array[s], order="C") for name, array in values.items()}
        unit = regime_probabilities(
            v["unit_x"], v["unit_scale"], f.kind, v["unit_hurdle"], float(v["hurdle_slope"]),
            np.full(U, v["unit_rho"]), v["unit_entry"], v["unit_base"], v["unit_tilt"], initial, shift,
        )  # fmt: skip
        family = regime_probabilities(
            v["family_x"], v["family_scale"], family_kind, silent, 1.0,
            v["family_rho"] * ones, v["family_entry"], v["family_base"], v["family_tilt"], initial, shift,
        )  # fmt: skip
        for which, own, wide in zip(out, unit, family, strict=True):
            shared = wide[f.family]
            out[which][s] = causes(own, shared, regime)
            severity[which][0] += _withheld(own, shared, kept)
            severity[which][1] += out[which][s][..., 2:].sum(-1)
        log_open[s] = v["log_expected"] - (family[1] @ shift)[f.family]
    table = _answers(out, severity)
    table.update(_amounts(log_open, values["unit_scale"], values["unit_rho"], f, computation.seed))
    return _on_panel(table, f, panel, assumptions)


_NEEDED = (
    "unit_x", "unit_scale", "unit_hurdle", "hurdle_slope", "unit_rho", "unit_entry", "unit_base", "unit_tilt",
    "family_x", "family_scale", "family_rho", "family_entry", "family_base", "family_tilt", "log_expected",
)  # fmt: skip


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


def _amounts(log_open: np.ndarray, scale: np.ndarray, rho: np.ndarray, f: Frame, seed: int) -> dict[str, tuple]:
    """Counterfactual: one month's open-regime flow, with the month's own noise, not the mean of many months."""
    stationary = scale / np.sqrt(1 - rho[:, None, None] ** 2)
    noise = np.random.default_rng(seed).standard_normal(log_open.shape)
    counterfactual = np.exp(log_open + stationary * noise)
    observed = np.where(f.kind == POSITIVE, np.exp(f.primary), 0.0)
    observed = np.where(f.kind == MISSING, np.nan, observed)
    shortfall = counterfactual - observed
    place = ("unit", "period")
    band = (*place, "quantile")
    return {
        "observed_kg": (place, observed),
        "counterfactual_kg": (place, np.exp(np.median(log_open, axis=0))),
        "counterfactual_kg_interval": (band, np.moveaxis(np.quantile(counterfactual, QUANTILES, axis=0), 0, -1)),
        "shortfall_kg": (place, shortfall.mean(0)),
        "shortfall_kg_interval": (band, np.moveaxis(np.quantile(shortfall, QUANTILES, axis=0), 0, -1)),
        "is_observed": (place, f.kind != MISSING),
    }


def _on_panel(table: dict[str, tuple], f: Frame, panel: Panel, assumptions: Assumptions) -> xr.Dataset:
    """Rows for every unit of the panel; those without a positive figure are NaN and abstain."""
    answers = xr.Dataset(
        table, coords={"unit": f.coords["unit"], "period": panel["period"], "cause": list(CAUSES), "quantile": list(QUANTILES)}
    ).reindex(unit=panel["unit"].values)
    kind = f.flows.combined_kind()
    observed = kind != MISSING
    horizon = int(panel.attrs["horizon"])
    last = np.where(observed.any(1), kind.shape[1] - 1 - observed[:, ::-1].argmax(1), -1)
    answers["is_observed"] = ("unit", "period"), observed
    answers["months_observed"] = ("unit",), observed.sum(1)
    answers["last_observed"] = ("unit",), last
    reasons = [abstention(kind[u], int(last[u]), horizon, assumptions) for u in range(len(kind))]
    answers["abstention"] = ("unit",), reasons
    answers = answers.assign_coords(unit_importer=panel["unit_importer"], unit_family=panel["unit_family"])
    answers.attrs = {"as_of": panel.attrs["as_of"], "exporter": panel.attrs["exporter"], "horizon": horizon}
    return answers


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
