r"""Which source says what: the change of a unit's log odds over the last year, shared out among the sources.

With v(S) the log odds of ``restricted`` in the unit's last month with figures, when of the last :data:`WINDOW` months, up to the last
in which any unit has a figure, only the sources in S are known, a source's evidence is its Shapley value (Shapley 1953): the mean change
of v that it makes, over all orders in which the sources could be learnt. The evidence of all sources adds up to v(all) - v(none) exactly,
and each is a log Bayes factor given what came before it, averaged over the orders. v(none) is what the model would say had nothing been
heard for a year, but for the parameters, which know all figures; and what an importer's other goods say is left out of all years at
once. All of it is worked out on fewer draws than the published probability, at whose log odds it is set to end.

Detectability: the probability that a squeeze of a given depth, begun :data:`SQUEEZE_MONTHS` months before the last figure, would by now be
given a probability of one half or more, from the unit's own figures.
"""

from collections.abc import Iterable
from itertools import combinations
from math import factorial

import numpy as np
import xarray as xr
from scipy.special import expit, logit

from model.causes import CAUSES, causes
from model.filtering import filtered
from model.frame import Frame
from model.kernel import MISSING, NU, POSITIVE, ZERO
from model.layers import Draw, side_by_side
from model.states import States

SOURCES = ("exporter", "importer", "other_families", "other_destinations", "total_trade", "covariates")
"""The exporter's figures, the importer's, the importer's other families, the family's other importers, the control, the covariates."""
WINDOW = 12
SQUEEZES = (0.3, 0.6, 0.9)
SQUEEZE_MONTHS = 3
_CLIP = 1e-6


def told_by(draw: Draw, f: Frame, known: Iterable[str], since: int) -> Draw:
    """`draw` as it would be had only the sources `known` been heard from month `since` on."""
    known = set(known)
    late = np.arange(f.kind.shape[1]) >= since
    unit, family, parts = dict(draw.unit), dict(draw.family), draw.parts
    x, scale, kind = unit["x"].copy(), unit["scale"].copy(), unit["kind"].copy()
    if not {"exporter", "importer"} <= known:
        side = {"exporter": 0, "importer": 1}.get(next(iter(known & {"exporter", "importer"}), ""))
        own = np.full_like(kind, MISSING) if side is None else f.flows.kind[:, side]
        if side is not None:
            both = f.flows.positive.all(1)
            alone_x = parts["exporter_x"] + (parts["difference"] if side else 0.0)
            x = np.where(late & both, alone_x, x)
            scale = np.where(late, parts["importer_scale" if side else "exporter_scale"], scale)
        # What one office books of a month in which the other had nothing leave is of the month before.
        own = np.where((own == POSITIVE) & (kind != POSITIVE), MISSING, own)
        kind = np.where(late, own, kind).astype(np.int64)
    if "total_trade" not in known:
        x = x + np.where(late, parts["control"], 0.0)
    if "other_destinations" not in known:
        x = x + np.where(late, family["x"][f.family_of], 0.0)
        unit |= {name: np.where(late, 0.0, unit[name]) for name in ("relief", "parting")}
        family["kind"] = np.where(late, MISSING, family["kind"]).astype(np.int64)
    if "covariates" not in known:
        unit["onset"] = np.where(late, parts["onset_plain"], unit["onset"])
        family["onset"] = np.where(late, parts["onset_plain_wide"], family["onset"])
    changed = Draw(unit | {"x": x, "scale": scale, "kind": kind}, family, parts)
    return changed if "other_families" in known else changed.alone()


def evidence(draws: list[Draw], f: Frame, space: States, cores: int = 1) -> xr.Dataset:
    """``evidence`` (unit, source), log Bayes factors; ``log_odds_before`` and ``log_odds_after`` (unit), which differ by their sum."""
    last = _last_seen(f)
    since = max(int(last.max()) - WINDOW + 1, 1)
    every = [frozenset(known) for size in range(len(SOURCES) + 1) for known in combinations(SOURCES, size)]

    def log_odds(known: frozenset[str]) -> np.ndarray:
        restricted = [_restricted(told_by(d, f, known, since), f, space) for d in draws]
        return np.asarray(logit(np.clip(np.mean(restricted, axis=0)[np.arange(len(last)), last], _CLIP, 1 - _CLIP)))

    worth = dict(zip(every, side_by_side(log_odds, every, cores), strict=True))
    n = len(SOURCES)
    shares = np.zeros((len(last), n))
    for i, source in enumerate(SOURCES):
        for told, value in worth.items():
            if source not in told:
                weight = factorial(len(told)) * factorial(n - len(told) - 1) / factorial(n)
                shares[:, i] += weight * (worth[told | {source}] - value)
    before, after = worth[frozenset()], worth[frozenset(SOURCES)]
    return xr.Dataset(
        {"evidence": (("unit", "source"), shares), "log_odds_before": ("unit", before), "log_odds_after": ("unit", after)},
        coords={"unit": f.coords["unit"], "source": list(SOURCES)},
    )


def as_published(found: xr.Dataset, regimes: xr.Dataset) -> xr.Dataset:
    """`found`, with log odds that end at those of the published probability, which is of more draws; the difference is put into what was
    before."""
    last = regimes["last_observed"].clip(0)
    p = regimes["filtered"].isel(period=last).sel(cause=list(CAUSES[2:]), unit=found["unit"]).sum("cause")
    off = logit(p.clip(_CLIP, 1 - _CLIP)).reset_coords(drop=True) - found["log_odds_after"]
    return found.assign({name: found[name] + off for name in ("log_odds_before", "log_odds_after")})


def _restricted(draw: Draw, f: Frame, space: States) -> np.ndarray:
    """(unit, period) filtered p(restricted) of one draw."""
    return causes(filtered(draw.unit), filtered(draw.family)[f.family], space)[..., 2:].sum(-1)


def _last_seen(f: Frame) -> np.ndarray:
    """(unit,) index of the last month with a figure."""
    seen = f.unit_kind != MISSING
    return seen.shape[1] - 1 - seen[:, ::-1].argmax(1)


def detectability(draws: list[Draw], f: Frame, space: States, rng: np.random.Generator) -> xr.Dataset:
    """``detectability`` (unit, squeeze): share of simulated squeezes that are seen; ``squeeze`` is the share withheld.

    Of the months with figures among the last :data:`WINDOW` the unit is simulated as open, months without trade among them, and of the
    last :data:`SQUEEZE_MONTHS` squeezed: what is in force now, or the luck of three orders in a row, does not enter.
    """
    last = _last_seen(f)
    hit = np.zeros((len(last), len(SQUEEZES)))
    ago = last[f.unit][:, None] - np.arange(f.kind.shape[1])
    year, squeezed = (ago >= 0) & (ago < WINDOW), (ago >= 0) & (ago < SQUEEZE_MONTHS)
    for draw in draws:
        unit = draw.alone().unit
        calm, chance = _open_residuals(unit, year, rng), rng.uniform(size=year.shape)
        for n, share in enumerate(SQUEEZES):
            cut = np.where(squeezed, np.log1p(-share), 0.0)
            shown = np.where(chance < expit(unit["hurdle"] - unit["slope"] * cut), ZERO, POSITIVE)
            x = np.where(year, calm + cut, unit["x"])
            kind = np.where(year & (unit["kind"] != MISSING), shown, unit["kind"]).astype(np.int64)
            own = filtered(unit | {"x": x, "kind": kind})[:, :, space.restricted > 0].sum(-1)
            hit[:, n] += own[np.arange(len(last)), last] >= 0.5
    return xr.Dataset(
        {"detectability": (("unit", "squeeze"), hit / len(draws))}, coords={"unit": f.coords["unit"], "squeeze": list(SQUEEZES)}
    )


def _open_residuals(unit: dict[str, np.ndarray], where: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(series, period) AR(1) Student-t residuals of an open regime, begun afresh in the first month of `where`."""
    shocks = rng.standard_t(NU, unit["x"].shape) * unit["scale"]
    out = np.zeros_like(shocks)
    for t in range(shocks.shape[1]):
        before = out[:, t - 1] * where[:, t - 1] if t else 0.0
        out[:, t] = unit["rho"] * before + shocks[:, t]
    return out
