r"""A snapshot's draws, and figures or tensions that nobody has reported: what would be believed of a unit.

The draws are filtered over the changed figures, with the equations and the kernel they came from; nothing is fitted. What a figure says of
the unit's own level and noise it says by weighing the draws, as in :mod:`model.update`: draw d counts

.. math:: w_d \propto p(y'_u \mid \theta_d) / p(y_u \mid \theta_d)

with y' the unit's figures as asked and y as they are, at most sqrt(D) times its share. All else stays as it was drawn: the family's
common course, and with it what is thought of other importers' measures, and what covariates are measured by.

This module needs NumPy and numba alone: the service asks it in a process of its own.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from model.causes import CAUSES, meanings, mixed
from model.drivers import driving, led
from model.entry import forward
from model.filtering import over_states
from model.kernel import MISSING, POSITIVE, ZERO, layer
from model.reading import REFERENCE_LOG_KG, flow, of_two_months, paid_back, read
from model.spec import Assumptions
from model.states import states

CORES = 2
APPROXIMATIONS = (
    "nothing is fitted: the draws of the published fit are filtered, and weighed by what the figures asked about say of this unit",
    "the family's common course stays as published; in months that nobody has reported it is at its usual level, give or take its noise",
    "covariates are measured against their published course",
)


class NotAsked(ValueError):
    """A change that cannot be thought through; says why."""


@dataclass(frozen=True)
class Figures:
    """What the two offices have, (series, side, period), and covariates (covariate, unit, period). summed : (series, period).
    first_release : a figure of the last year, not yet revised."""

    log_kg: np.ndarray
    kind: np.ndarray
    summed: np.ndarray
    first_release: np.ndarray
    covariates: np.ndarray


@dataclass(frozen=True)
class Believed:
    """cause : (draw, period, cause) of the unit, filtered. log_likelihood : (draw,) of its figures."""

    cause: np.ndarray
    log_likelihood: np.ndarray


class Held:
    """What a snapshot holds of one importer: one group of chains.

    arrays, each with the draw first: on (series, period) ``plain``, the log expectation before payback, ``carried`` to that of the first
    of two months in one figure, and ``process``, the variance of the flow; on series ``own_hurdle``, ``bias``, ``rho``, ``spare``; on
    (unit, period) ``wide``, the meanings of the family's state, and ``relief``, ``parting``, ``hold``; ``transit``, ``frontload``; the
    offices' variances ``reporting_exporter``, ``reporting_importer`` and ``preliminary``; of a campaign's beginning ``odds`` and
    ``led_effect`` (driver, lead); the kernel's ``pace``, ``entry``, ``exit``, ``move``. The others are the
    figures themselves and what they are about; ``offices`` : 2 where the fit has seen both sides of some flow, 1 where it has seen some
    importer's figure, else 0.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], a: Assumptions) -> None:
        # Snapshots of before have nothing carried.
        told = {"carried": np.array(0.0), **arrays}
        self.arrays = {n: v.astype(float) if v.dtype == np.float32 else v for n, v in told.items()}
        self.a, self.space = a, states(a)
        self.units, self.hs = [str(u) for u in arrays["unit"]], [str(h) for h in arrays["hs"]]
        self.periods = [str(p) for p in arrays["period"]]
        self.of_unit, _, self.cause = meanings(self.space)
        self.known = Figures(*(arrays[n] for n in ("log_kg", "kind", "summed", "first_release", "covariates")))
        self._before: dict[str, Believed] = {}

    def kernels(self, figures: Figures) -> dict[str, np.ndarray]:
        """The kernel's arguments of every draw, by name; those that figures or covariates enter."""
        h, told = self.arrays, figures
        sees = told.kind == POSITIVE
        kind, primary = flow(told.log_kg, told.kind)
        variance = [
            h[f"reporting_{side}"][:, None, None] + h["preliminary"][:, None, None] * told.first_release[:, n]
            for n, side in enumerate(("exporter", "importer"))
        ]
        reading = read(
            np, told.log_kg[:, 0], told.log_kg[:, 1], sees[:, 0], sees[:, 1], told.kind[:, 0] == ZERO, h["bias"][:, :, None],
            h["transit"][:, None, None], *variance,
        )  # fmt: skip
        read_off = primary + reading.adjustment
        positive, months = kind == POSITIVE, len(self.periods)
        excess = read_off - h["plain"] - of_two_months(np, h["plain"], told.summed, h["carried"])
        mu = h["plain"] + paid_back(np, excess, positive, h["frontload"][:, None, None], self.a, months)
        return {
            "x": read_off - mu - of_two_months(np, mu, told.summed, h["carried"]),
            "scale": np.sqrt(h["process"] + reading.variance),
            "kind": np.broadcast_to(kind, mu.shape),
            "hurdle": h["own_hurdle"][:, :, None] - h["slope"][:, None, None] * (mu - REFERENCE_LOG_KG),
            "onset": self._onset(told.covariates)[:, None, :],
        }

    def _onset(self, covariates: np.ndarray) -> np.ndarray:
        """(draw, period) probability that a campaign begins."""
        h, a = self.arrays, self.a
        log_odds = np.repeat(h["odds"][:, None], len(self.periods), axis=1)
        if len(covariates):
            centre, spread = h["measures"]
            drivers = driving(covariates, centre, spread, a.covariate_fade, a.covariate_memory).mean(1)
            log_odds = log_odds + np.tensordot(h["led_effect"], led(drivers, a.covariate_leads + 1), axes=2)
        return np.asarray(1 / (1 + np.exp(-log_odds)))

    def believed(self, unit: str, figures: Figures) -> Believed:
        """What every draw makes of `unit`."""
        h, s, u = self.arrays, self.space, self.units.index(unit)
        changing = self.kernels(figures)
        drawn = {n: h[n] for n in ("slope", "rho", "spare", "relief", "parting", "hold", "pace", "entry", "exit", "move")}
        fixed = {n: getattr(s, n) for n in ("initial", "shift", "role", "own_course", "before", "now", "begun")}
        fixed |= {"months": np.array(len(self.periods)), "chain": h["chain"], "group": np.zeros(len(self.units), int)}

        def one(d: int) -> tuple[np.ndarray, float]:
            kernel = fixed | {n: v[d] for n, v in (drawn | changing).items()}
            predictive, campaign, state = forward(layer(kernel))
            return over_states(campaign, state, kernel["group"])[u], float(predictive[u].sum())

        with ThreadPoolExecutor(CORES) as pool:
            states_of, likelihood = zip(*pool.map(one, range(len(h["odds"]))), strict=True)
        return Believed(mixed(np.stack(states_of) @ self.of_unit, h["wide"][:, u], self.cause), np.array(likelihood))

    def before(self, unit: str) -> Believed:
        if unit not in self._before:
            self._before[unit] = self.believed(unit, self.known)
        return self._before[unit]

    def changed(self, unit: str, releases: Sequence[Mapping[str, Any]], covariates: Sequence[Mapping[str, Any]]) -> tuple[Figures, int]:
        """(figures as asked, the first month that they touch). Raises NotAsked."""
        told = replace(self.known, **{n: v.copy() for n, v in vars(self.known).items()})
        touched = []
        for release in releases:
            n, side, t = self._row(unit, release.get("hs_code")), self._side(release["reporter"]), self._month(release["period"])
            kg = float(release["net_weight_kg"])
            for of_two in np.flatnonzero(told.summed[n, t : t + 2]) + t:
                # As a panel has it: a sum of two months says nothing once either is known by itself.
                told.kind[n, :, of_two], told.log_kg[n, :, of_two], told.summed[n, of_two] = MISSING, 0.0, False
            told.kind[n, side, t] = POSITIVE if kg > 0 else ZERO
            told.log_kg[n, side, t] = np.log(kg) if kg > 0 else 0.0
            told.first_release[n, side, t] = t > int(self.arrays["horizon"]) - self.a.preliminary_months
            touched.append(t)
        names = [str(c) for c in self.arrays["covariate"]]
        for value in covariates:
            if value["series"] not in names:
                raise NotAsked(f"no covariate {value['series']!r}; the snapshot has {', '.join(names) or 'none'}")
            t = self._month(value["period"])
            told.covariates[names.index(value["series"]), :, t] = float(value["value"])
            touched.append(t)
        sees = told.kind == POSITIVE
        if int(self.arrays["offices"]) < int(sees[:, 1].any()) + int(sees.all(1).any()):
            office = self.arrays["importer"]
            raise NotAsked(f"the fit has seen no flow from both sides, so it cannot say what a figure of {office}'s office means")
        return told, min(touched)

    def rows(self, unit: str) -> list[int]:
        """The unit's series."""
        return [n for n, c in enumerate(self.arrays["chain"]) if self.units[c] == unit]

    def _row(self, unit: str, hs: str | None) -> int:
        rows = self.rows(unit)
        codes = [self.hs[n] for n in rows]
        if hs is None and len(rows) == 1:
            return rows[0]
        if hs not in codes:
            why = "hs_code is needed, since the unit has several" if hs is None else f"{hs} is none that has ever moved"
            raise NotAsked(f"{unit}: {why}: {', '.join(codes)}")
        return rows[codes.index(hs)]

    def _side(self, reporter: str) -> int:
        offices = [str(self.arrays[side]) for side in ("exporter", "importer")]
        if reporter not in offices:
            raise NotAsked(f"reporter {reporter!r} is neither of the unit's offices, {' and '.join(offices)}")
        return offices.index(reporter)

    def _month(self, period: str) -> int:
        if period not in self.periods:
            raise NotAsked(f"period {period!r} is none of {self.periods[0]} to {self.periods[-1]}, which the snapshot speaks of")
        return self.periods.index(period)


def answer(held: Held, unit: str, releases: Sequence[Mapping[str, Any]], covariates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """JSON-able: every month from the first that is touched on, before and after. Raises NotAsked."""
    if unit not in held.units:
        raise NotAsked(f"{unit}: the snapshot gives it no probability, so there is nothing to change")
    figures, first = held.changed(unit, releases, covariates)
    before, after = held.before(unit), held.believed(unit, figures)
    even = np.full(len(before.cause), 1 / len(before.cause))
    weight = _weights(after.log_likelihood - before.log_likelihood)
    seen = (figures.kind[held.rows(unit)] != MISSING).any((0, 1))
    return {
        "draws": len(weight),
        "effective_draws": round(float(1 / (weight**2).sum()), 1),
        "months": [
            {
                "period": held.periods[t],
                "kind": "filtered" if seen[t] else "nowcast",
                "before": _told(before.cause[:, t], even),
                "after": _told(after.cause[:, t], weight),
            }
            for t in range(first, len(held.periods))
        ],
        "approximations": list(APPROXIMATIONS),
    }


def _weights(log_ratio: np.ndarray) -> np.ndarray:
    weight = np.exp(log_ratio - log_ratio.max())
    weight = np.minimum(weight, weight.mean() * np.sqrt(len(weight)))
    return np.asarray(weight / weight.sum())


def _told(cause: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
    """cause : (draw, cause)."""
    restricted, mean = cause[:, 2:].sum(-1), weight @ cause
    order = np.argsort(restricted)
    reached = np.cumsum(weight[order])
    low, high = (float(restricted[order][min(int(np.searchsorted(reached, q)), len(order) - 1)]) for q in (0.05, 0.95))
    return {
        "probability": round(float(mean[2:].sum()), 6),
        "probability_interval": [round(min(max(v, 0.0), 1.0), 6) for v in (low, high)],
        "causes": {name: round(float(v), 6) for name, v in zip(CAUSES, mean, strict=True)},
    }
