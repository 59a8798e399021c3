"""Worlds drawn from the model's own prior predictive, with the truth beside them.

Parameters come from the priors of :func:`model.graph.build`; regimes, flows and the figures of two offices from the equations of
:mod:`model.kernel` and :mod:`model.graph`, forward in time. What the model takes as given (calendar, covariates, the pair's total
trade) is simulated apart. A fit to such a world must recover what it was made of: that is simulation-based calibration.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
from scipy.special import expit

from data.calendar import LUNAR_WINDOWS, lunar_exposure
from model.drivers import measured, rise, standardised
from model.flows import Flows
from model.frame import KNOT_MONTHS, Frame, knot_basis
from model.graph import build
from model.kernel import CAMPAIGN_START, INNOCENT, MOVES, NU, POSITIVE, ZERO
from model.layers import Draw, evaluator
from model.reading import REFERENCE_LOG_KG
from model.spec import Assumptions
from model.states import EXITS, States, states


@dataclass(frozen=True)
class Design:
    """What is watched, from when, and how long."""

    importers: tuple[str, ...] = ("JPN", "USA", "KOR", "DEU", "NLD", "IND")
    families: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("rare_earth_magnets", ("850511",)),
        ("rare_earth_compounds", ("284610", "284690")),
        ("gallium_germanium", ("811292", "282560")),
    )
    start: str = "2018-01"
    months: int = 96


@dataclass(frozen=True)
class World:
    """frame : the figures, as the model would read them from a log of final releases. values : {free variable: true value}.

    unit_state, family_state : (unit, period) and (family, period), indices of the states. tension : (importer, period). total : (importer,
    period) log kg of all goods. first_log_kg : (series, side, period), log kg of the first releases.
    """

    frame: Frame
    values: dict[str, np.ndarray]
    unit_state: np.ndarray
    family_state: np.ndarray
    tension: np.ndarray
    total: np.ndarray
    first_log_kg: np.ndarray


def simulate(design: Design, assumptions: Assumptions, seed: int) -> World:
    rng = np.random.default_rng(seed)
    template, tension, total = _template(design, assumptions, rng)
    graph = build(template, assumptions)
    own = [v for v in graph.model.free_RVs if v.name != "family_course"]
    values = dict(zip((v.name for v in own), pm.draw(own, random_seed=rng, mode="FAST_COMPILE"), strict=True))
    values = {name: np.asarray(v, dtype=float) for name, v in values.items()}
    evaluate = evaluator(graph)
    values["family_course"] = np.zeros(template.family_seen.shape)
    values["family_course"] = evaluate(values).parts["family_baseline"]
    families = evaluate(values)
    family_state, g = _family_factors(families, assumptions, rng)
    values["family_course"] = values["family_course"] + g
    units = evaluate(values)
    pairs = paths(units.unit, rng)
    frame = _figures(template, units, values, pairs, assumptions, rng)
    preliminary = rng.normal(0, 1, frame.flows.log_kg.shape) * float(values.get("preliminary", assumptions.preliminary))
    return World(frame, values, units.unit["now"][pairs], family_state, tension, total, frame.flows.log_kg + preliminary)


def _template(design: Design, a: Assumptions, rng: np.random.Generator) -> tuple[Frame, np.ndarray, np.ndarray]:
    """A frame in which every figure is known, to be filled."""
    periods = pd.period_range(design.start, periods=design.months, freq="M")
    T, names = len(periods), [name for name, _ in design.families]
    units = [(i, f) for f in range(len(names)) for i in range(len(design.importers))]
    series = [(u, hs) for u, (_, f) in enumerate(units) for hs in design.families[f][1]]
    importer, family = np.array(units).T
    unit = np.array([u for u, _ in series])
    tension = _tension(len(design.importers), T, rng)
    level = standardised(tension, *measured(tension), a.covariate_fade)
    drivers = np.stack([level, rise(level, a.covariate_memory)])[:, importer]
    demand = np.stack([_ar1(T, 0.8, 0.03, rng) for _ in design.importers])
    total = rng.normal(21, 0.5, (len(design.importers), 1)) + demand + rng.normal(0, 0.05, demand.shape)
    member = np.eye(len(names))[family]
    shape = (len(series), 2, T)
    usual = rng.normal(11.5, 1.0, len(series))
    log_kg = np.broadcast_to(usual[:, None, None], shape).copy()
    flows = Flows(unit, [hs for _, hs in series], log_kg, np.full(shape, POSITIVE, np.int8), np.zeros(shape, bool), np.zeros(shape, bool))
    exporter = "CHN"
    coords: dict[str, Any] = {
        "unit": [f"{exporter}.{design.importers[i]}.{names[f]}" for i, f in units],
        "importer": list(design.importers),
        "family": names,
        "period": [str(p) for p in periods],
        "month": np.arange(1, 13),
        "window": list(LUNAR_WINDOWS),
        "driver": ["diplomatic_tension", "diplomatic_tension rise"],
        "lead": np.arange(a.covariate_leads + 1),
        "knot": np.arange(len(knot_basis(T, upto=T + KNOT_MONTHS).T)),
        "contrast": np.arange(len(unit) - len(np.unique(family[unit]))),
        "exit": list(EXITS),
    }
    coords["series"] = [f"{coords['unit'][u]}:{hs}" for u, hs in series]
    coords["code"] = list(dict.fromkeys(f"{names[family[u]]}:{hs}" for u, hs in series))
    frame = Frame(
        capacity=T,
        flows=flows,
        fitted=np.arange(len(units)),
        unit=unit,
        importer=importer,
        family=family,
        kind=flows.combined_kind(),
        primary=flows.primary(),
        family_seen=np.ones((len(names), T), bool),
        usual=usual,
        control=demand[importer],
        drivers=drivers,
        wide_drivers=np.einsum("dut,uf->dft", drivers, member / member.sum(0)),
        preliminary=np.zeros(shape, bool),
        lunar=lunar_exposure(periods),
        month=np.array([p.month - 1 for p in periods]),
        coords=coords,
    )
    return frame, tension, total


def _ar1(months: int, rho: float, sd: float, rng: np.random.Generator) -> np.ndarray:
    """Stationary, with innovations of `sd`."""
    out = np.empty(months)
    out[0] = rng.normal(0, sd / np.sqrt(1 - rho**2))
    for t in range(1, months):
        out[t] = rho * out[t - 1] + rng.normal(0, sd)
    return out


def _tension(importers: int, months: int, rng: np.random.Generator) -> np.ndarray:
    """(importer, period): a slow index with incidents that fade."""
    index = np.stack([_ar1(months, 0.7, 0.5, rng) for _ in range(importers)])
    for row in index:
        for t in np.flatnonzero(rng.uniform(size=months) < 0.03):
            row[t:] += rng.gamma(4, 0.7) * 0.8 ** np.arange(months - t)
    return index


def _choose(weights: np.ndarray, rng: np.random.Generator) -> int:
    return int(rng.choice(len(weights), p=weights / weights.sum()))


def _chances(kernel: dict[str, np.ndarray], c: Any, t: int, move: int, state: Any) -> np.ndarray:
    """(pair,) probability that chain c, in `state` the month before, takes the pair in month t."""
    e, q, u, h = kernel["entry"][c, move], kernel["parting"][c, t], kernel["exit"][move], kernel["hold"][c, t]
    odds = np.array([[(1 - q) * (1 - e), (1 - q) * e, q], [u * (1 - h), 1 - u, u * h], [1 - h, 1 - h, h]])
    role = kernel["role"]
    return np.where(kernel["before"] == state, kernel["move"] * odds[role[kernel["before"]], role[kernel["now"]]], 0.0)


def paths(kernel: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """(chain, period) pairs of states, each group's chains moving with its campaign."""
    chains, T = len(kernel["group"]), kernel["onset"].shape[1]
    path = np.empty((chains, T), int)
    for g in range(len(kernel["onset"])):
        members = np.flatnonzero(kernel["group"] == g)
        z = _choose(np.array(CAMPAIGN_START), rng)
        state = [_choose(kernel["initial"], rng) for _ in members]
        for t in range(T):
            leave = (kernel["onset"][g, t], *kernel["pace"])[z]
            moved = rng.uniform() < leave
            to = (z + 1) % 3 if moved else z
            for n, c in enumerate(members):
                path[c, t] = _choose(_chances(kernel, c, t, MOVES.index((z, to)), state[n]), rng)
                state[n] = int(kernel["now"][path[c, t]])
            z = to
    return path


def _family_factors(draw: Draw, a: Assumptions, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(states, g), each (family, period)."""
    kernel, space = draw.family, states(a)
    path = paths(kernel, rng)
    g = np.empty(path.shape)
    for f, row in enumerate(path):
        for t, pair in enumerate(row):
            before = g[f, t - 1] - space.shift[space.before[pair]] if t else None
            g[f, t] = _begun(space, pair) + _step(before, kernel["rho"][f], kernel["scale"][f, t], rng)
    return kernel["now"][path], g


def _begun(space: States, pair: int) -> float:
    """Log of what is left in a month of a pair of states: of the first month of a measure a part was before it."""
    return float(np.log1p(-space.begun[pair] * (1 - np.exp(space.shift[space.now[pair]]))))


def _step(residual: float | None, rho: float, scale: float, rng: np.random.Generator) -> float:
    """The next AR(1) Student-t residual; the first of a run has the stationary scale."""
    if residual is None:
        return float(scale / np.sqrt(1 - rho**2) * rng.standard_t(NU))
    return float(rho * residual + scale * rng.standard_t(NU))


def readings(
    f: Frame, draw: Draw, values: dict[str, np.ndarray], path: np.ndarray, a: Assumptions, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(kind, log kg), each (series, period): flows as both offices' figures agree on them, given the pairs of states in `path`."""
    kernel, space = draw.unit, states(a)
    (N, T), own = f.kind.shape, space.role != INNOCENT
    slope, frontload = (float(values[name]) for name in ("hurdle_slope", "frontload"))
    hurdle = float(values["hurdle"]) + float(values["hurdle_spread"]) * values["hurdle_series"]
    kind, reading = np.full((N, T), POSITIVE, np.int8), np.zeros((N, T))
    for n in range(N):
        stock, x = 0.0, None
        relieved = np.outer(kernel["relief"][f.unit[n]], space.own_course)
        for t, pair in enumerate(path[f.unit[n]]):
            before, now = space.before[pair], space.now[pair]
            here, there = _begun(space, pair) + relieved[t, now], space.shift[before]
            if t:
                there += relieved[t - 1, before]
            if rng.uniform() < kernel["spare"][n] * max(own[before], own[now]):
                here = there = 0.0
                silent = 0.0
            else:
                silent = space.shift[now] + relieved[t, now]
            mu = draw.parts["log_plain"][n, t] - frontload * stock
            stock *= a.frontload_keep
            if rng.uniform() < expit(hurdle[n] - slope * (mu - REFERENCE_LOG_KG) - slope * silent):
                kind[n, t], x = ZERO, None
                continue
            x = here + _step(None if x is None else x - there, kernel["rho"][n], kernel["scale"][n, t], rng)
            reading[n, t] = mu + x
            excess = np.expm1(np.clip(reading[n, t] - draw.parts["log_plain"][n, t], -5, 2))
            stock += np.clip(excess - a.frontload_from, 0, 5)
    return kind, reading


def _figures(f: Frame, draw: Draw, values: dict[str, np.ndarray], path: np.ndarray, a: Assumptions, rng: np.random.Generator) -> Frame:
    """The template with figures in it: the flow as both offices' readings agree on it, then each office's own."""
    kind, reading = readings(f, draw, values, path, a, rng)
    N, T = kind.shape
    var_exporter, var_importer = (float(values[f"reporting_{side}"]) ** 2 for side in ("exporter", "importer"))
    difference = np.sqrt(var_exporter + var_importer) * rng.standard_t(NU, (N, T))
    share = values["transit"][f.importer][f.unit]
    exporter = reading - var_exporter / (var_exporter + var_importer) * difference
    importer = exporter + values["bias"][:, None] + difference
    for t in range(1, T):
        carried = np.where(kind[:, t - 1] == POSITIVE, np.exp(np.clip(exporter[:, t - 1] - exporter[:, t], -20, 20)), 0.0)
        importer[:, t] += np.log((1 - share) + share * carried)
    seen = kind[:, None, :] == POSITIVE
    flows = dataclasses.replace(
        f.flows, log_kg=np.where(seen, np.stack([exporter, importer], axis=1), 0.0), kind=np.repeat(kind[:, None, :], 2, axis=1)
    )
    family_seen = np.zeros_like(f.family_seen)
    np.logical_or.at(family_seen, f.family_of, kind == POSITIVE)
    return dataclasses.replace(f, flows=flows, kind=flows.combined_kind(), primary=flows.primary(), family_seen=family_seen)
