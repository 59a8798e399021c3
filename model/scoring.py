"""How good forecasts were, where the truth is known: calibration, sharpness and speed, each with a bootstrap interval.

Skill is against the base rate of the rows scored. ``log``: mean negative log likelihood, p clipped to 1e-4..1 - 1e-4.
``ece``: expected calibration error over ten bins of equal mass (Naeini, Cooper & Hauskrecht 2015, AAAI). ``auroc``: probability that a
restricted month ranks above an unrestricted one (Mann & Whitney 1947). ``ap``: average precision. ``sure``: share restricted of the
months given :data:`SURE` or more; NaN where there are none.

A *spell* is a run of restricted months of one unit, at least :data:`SPELL_MONTHS` long and at some time :data:`SPELL_DEPTH` deep.
It is caught at the first as-of whose forecast speaks of a month of the spell at or above the threshold; ``caught3``, if that is one
of its first three months. A *false alarm* is a run of consecutive forecasts at or above the threshold that speak of *clean*
months: unrestricted, with unrestricted neighbours. The threshold is the lowest one with at most :data:`FALSE_ALARMS` a clean unit-year.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

SPELL_MONTHS, SPELL_DEPTH, FALSE_ALARMS, BURN_MONTHS, SURE = 3, 0.3, 0.1, 24, 0.95
UNIT = ["world", "family", "importer"]
KINDS = ("realtime", "nowcast", "retrospective")


class ScoringError(ValueError):
    """Forecasts or truth that cannot be scored; says which column or row."""


def ordinal(months: pd.Series) -> np.ndarray:
    return pd.PeriodIndex(months, freq="M").asi8


def prepared(truth: pd.DataFrame, forecasts: pd.DataFrame, world: str) -> pd.DataFrame:
    """Forecasts with the truth beside them and ``of``, one of :data:`KINDS`.

    truth : family, importer, period, restricted (0 or 1), depth. forecasts : the columns of the forecast format.
    """
    for frame, name, columns in ((truth, "truth", ["family", "importer", "period", "restricted", "depth"]),
                                 (forecasts, "forecasts", ["as_of", "family", "importer", "period", "kind", "probability"])):  # fmt: skip
        if missing := [c for c in columns if c not in frame]:
            raise ScoringError(f"{name}: no column {', '.join(missing)}")
    outside = ~forecasts["probability"].between(0, 1)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise ScoringError(f"forecasts: row {row + 2}: probability {forecasts['probability'].iloc[row]} is not within 0..1")
    key = ["as_of", "family", "importer", "period"]
    if (twice := forecasts.duplicated(key)).any():
        row = int(np.flatnonzero(twice)[0])
        raise ScoringError(f"forecasts: row {row + 2}: a second probability for {forecasts[key].iloc[row].to_dict()}")
    t = truth[["family", "importer", "period", "restricted", "depth"]].copy()
    t["month"] = ordinal(t["period"])
    t = t.sort_values("month")
    around = t.groupby(["family", "importer"])["restricted"]
    t["clean"] = (t["restricted"] + around.shift(1).fillna(0) + around.shift(-1).fillna(0)) == 0
    f = forecasts[[*key, "kind", "probability"]].copy()
    f["as_of"] = pd.to_datetime(f["as_of"], utc=True, format="ISO8601")
    f["said_in"] = ordinal(f["as_of"].dt.strftime("%Y-%m"))
    rows = f.merge(t.drop(columns="period").assign(period=t["period"]), on=["family", "importer", "period"])
    last, begin = rows["as_of"].max(), t["month"].min() + BURN_MONTHS
    of_kind = {
        "realtime": rows["kind"] == "filtered",
        "nowcast": (rows["kind"] == "nowcast") & (rows["month"] == rows["said_in"]),
        "retrospective": (rows["as_of"] == last) & rows["kind"].isin(["smoothed", "filtered"]) & (rows["month"] >= begin),
    }  # fmt: skip
    return pd.concat([rows[mask].assign(of=name, world=world) for name, mask in of_kind.items()], ignore_index=True)


def probability_scores(y: np.ndarray, p: np.ndarray) -> dict[str, float]:
    """y : 0 or 1. p : probabilities. NaN where only one class occurs."""
    base = y.mean()
    q = np.clip(p, 1e-4, 1 - 1e-4)
    brier, log = np.mean((p - y) ** 2), -np.mean(np.where(y == 1, np.log(q), np.log(1 - q)))
    bins = reliability(y, p)
    scores = {"rows": len(y), "base_rate": base, "brier": brier, "log": log}
    scores["ece"] = float(np.average(np.abs(bins["forecast"] - bins["observed"]), weights=bins["rows"]))
    scores["sure"] = float(y[p >= SURE].mean()) if (p >= SURE).any() else np.nan
    positives = y.sum()
    if positives in (0, len(y)):
        return scores | dict.fromkeys(("skill", "log_skill", "auroc", "ap"), np.nan)
    entropy = -(base * np.log(base) + (1 - base) * np.log(1 - base))
    above = rankdata(p)[y == 1].sum() - positives * (positives + 1) / 2
    # Average precision: precision at each distinct threshold, weighted by the recall it adds.
    order = np.argsort(-p, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(p[order]) != 0, True])
    hits = np.cumsum(y[order])[ends]
    precision, recall = hits / (ends + 1), hits / positives
    return scores | {
        "skill": 1 - brier / (base * (1 - base)),
        "log_skill": 1 - log / entropy,
        "auroc": above / (positives * (len(y) - positives)),
        "ap": float((precision * np.diff(recall, prepend=0)).sum()),
    }


def reliability(y: np.ndarray, p: np.ndarray, bins: int = 10) -> dict[str, np.ndarray]:
    """Bins of equal mass by forecast: rows, mean forecast and observed share. Tied forecasts share their outcome."""
    _, tie = np.unique(p, return_inverse=True)
    shared = (np.bincount(tie, y) / np.bincount(tie))[tie]
    parts = [part for part in np.array_split(np.argsort(p, kind="stable"), bins) if len(part)]
    return {
        "rows": np.array([len(part) for part in parts]),
        "forecast": np.array([p[part].mean() for part in parts]),
        "observed": np.array([shared[part].mean() for part in parts]),
    }


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """(first, last) of each run of True."""
    edges = np.diff(np.r_[0, mask.astype(int), 0])
    return list(zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist(), strict=True))


@dataclass(frozen=True)
class Detection:
    """Per unit and threshold: what its spells and its clean months came to, so that units can be resampled.

    thresholds : (threshold,), descending. spells, years : (unit,). alarms : (unit, threshold) false alarms. caught, caught3 : (unit,
    threshold) spells. delays : (unit, threshold) sum of the months from a spell's start to the as-of that caught it.
    """

    thresholds: np.ndarray
    spells: np.ndarray
    years: np.ndarray
    alarms: np.ndarray
    caught: np.ndarray
    caught3: np.ndarray
    delays: np.ndarray

    def at_false_alarm_limit(self, units: np.ndarray) -> dict[str, float]:
        rate = self.alarms[units].sum(0) / max(self.years[units].sum(), 1e-9)
        over = np.flatnonzero(rate > FALSE_ALARMS)
        n = (over[0] if over.size else len(self.thresholds)) - 1
        if n < 0:
            return {"threshold": np.nan, "false_alarms": 0.0, "caught": 0.0, "caught3": 0.0, "delay": np.nan}
        spells, caught = self.spells[units].sum(), self.caught[units, n].sum()
        return {
            "threshold": float(self.thresholds[n]),
            "false_alarms": float(rate[n]),
            "caught": caught / spells if spells else np.nan,
            "caught3": self.caught3[units, n].sum() / spells if spells else np.nan,
            "delay": self.delays[units, n].sum() / caught if caught else np.nan,
        }


def detection(rows: pd.DataFrame, truth: pd.DataFrame, thresholds: np.ndarray | None = None) -> Detection:
    """rows : one of the kinds ``realtime`` and ``nowcast``. truth : family, importer, period, restricted, depth, world."""
    if thresholds is None:
        grid = np.unique(np.r_[rows["probability"].to_numpy(), 0.5])[::-1]
        thresholds = grid if len(grid) <= 600 else grid[np.unique(np.linspace(0, len(grid) - 1, 600).astype(int))]
    of_unit = dict(list(truth.assign(month=ordinal(truth["period"])).groupby(UNIT)))
    collected: dict[str, list[Any]] = {name: [] for name in ("spells", "years", "alarms", "caught", "caught3", "delays")}
    for key, mine in rows.groupby(UNIT):
        r, t = mine.sort_values("as_of"), of_unit[key].sort_values("month")
        above = r["probability"].to_numpy()[:, None] >= thresholds
        month, said, clean = r["month"].to_numpy(), r["said_in"].to_numpy(), r["clean"].to_numpy(bool)
        alarm = above & clean[:, None]
        starts = alarm & ~np.concatenate([np.zeros((1, len(thresholds)), bool), alarm[:-1]])
        spells = 0
        caught, caught3, delays = np.zeros(len(thresholds)), np.zeros(len(thresholds)), np.zeros(len(thresholds))
        months = t["month"].to_numpy()
        for first, last in runs(t["restricted"].to_numpy() == 1):
            deep = t["depth"].to_numpy()[first : last + 1].max() >= SPELL_DEPTH
            if last - first + 1 < SPELL_MONTHS or not deep or months[first] < month.min():
                continue
            inside = np.flatnonzero((month >= months[first]) & (month <= months[last]))
            spells += 1
            if not inside.size:
                continue
            hit = above[inside].any(0)
            at = inside[above[inside].argmax(0)]
            caught += hit
            caught3 += hit & (month[at] - months[first] < 3)
            delays += np.where(hit, said[at] - months[first], 0)
        for name, value in (("spells", spells), ("years", clean.sum() / 12), ("alarms", starts.sum(0)), ("caught", caught),
                            ("caught3", caught3), ("delays", delays)):  # fmt: skip
            collected[name].append(value)
    return Detection(thresholds, **{name: np.array(v, dtype=float) for name, v in collected.items()})


def score(pairs: list[tuple[str, pd.DataFrame, pd.DataFrame]], resamples: int = 400, seed: int = 20260301) -> dict[str, dict[str, Any]]:
    """{kind: {figure: (value, low, high)}} with 5-95 % bootstrap intervals, pooled over the (name, truth, forecasts) given.

    Units are resampled, within their worlds; with five worlds or more, worlds are.
    """
    truth = pd.concat([t.assign(world=name) for name, t, _ in pairs])
    everything = pd.concat([prepared(t, f, name) for name, t, f in pairs])
    rng = np.random.default_rng(seed)
    out: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        rows = everything[everything["of"] == kind]
        if rows.empty:
            continue
        unit, keys = pd.factorize(pd.MultiIndex.from_frame(rows[UNIT]), sort=True)
        world = np.array([k[0] for k in keys])
        of_unit = [np.flatnonzero(unit == u) for u in range(len(keys))]
        y, p = rows["restricted"].to_numpy(float), rows["probability"].to_numpy(float)
        found = detection(rows, truth) if kind != "retrospective" else None

        def figures(units: np.ndarray, y: np.ndarray = y, p: np.ndarray = p, found: Detection | None = found,
                    of_unit: list[np.ndarray] = of_unit) -> dict[str, float]:  # fmt: skip
            at = np.concatenate([of_unit[u] for u in units])
            bins = {f"bin{n}": v for n, v in enumerate(reliability(y[at], p[at])["observed"])}
            return probability_scores(y[at], p[at]) | (found.at_false_alarm_limit(units) if found else {}) | bins

        point = figures(np.arange(len(keys)))
        drawn = pd.DataFrame([figures(_resampled(world, rng)) for _ in range(resamples)])
        low, high = drawn.quantile(0.05), drawn.quantile(0.95)
        bins = reliability(y, p)
        out[kind] = {name: (float(v), float(low[name]), float(high[name])) for name, v in point.items() if not name.startswith("bin")}
        out[kind]["reliability"] = {name: v.tolist() for name, v in bins.items()} | {
            f"observed_{which}": [float(of[f"bin{n}"]) for n in range(len(bins["rows"]))] for which, of in (("low", low), ("high", high))
        }
    return out


def _resampled(world: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    worlds = np.unique(world)
    members = [np.flatnonzero(world == w) for w in worlds]
    if len(worlds) >= 5:
        return np.concatenate([members[w] for w in rng.integers(len(worlds), size=len(worlds))])
    return np.concatenate([rng.choice(m, len(m)) for m in members])
