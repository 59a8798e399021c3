"""The state space of a regime chain and how it moves, from the assumptions."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from model.spec import Assumptions


@dataclass(frozen=True)
class States:
    """The state space as arrays: shift (log multiple), and for each group of states where its members lie, evenly."""

    shift: np.ndarray
    initial: np.ndarray
    open: np.ndarray
    surge: np.ndarray
    disrupted: np.ndarray
    restricted: np.ndarray
    steps: np.ndarray


def states(a: Assumptions) -> States:
    shift, regime = np.log(a.multiple), np.array(a.regime)
    K = len(shift)
    members = {
        "open": np.arange(K) == 0,
        "surge": shift > 0,
        "disrupted": regime == "disrupted",
        "restricted": regime == "restricted",
    }
    even = {name: where / max(where.sum(), 1) for name, where in members.items()}
    initial = 0.88 * even["open"] + 0.04 * (even["surge"] + even["disrupted"] + even["restricted"])
    steps = np.zeros((K, K))
    grid = np.flatnonzero(members["restricted"])
    for r in grid:
        neighbours = [n for n in (r - 1, r + 1) if n in grid]
        steps[r, neighbours] = a.severity_move / len(neighbours)
        steps[r, r] = 1 - steps[r].sum()
    return States(shift, initial, steps=steps, **even)


def transitions(a: Assumptions, rates: dict[str, Any]) -> tuple[Any, Any]:
    """(base, tilt), each (state, state): p(k | j) = base + entry * tilt; rows of base sum to 1 and of tilt to 0.

    rates : monthly probabilities ``surge_entry``, ``surge_exit``, ``disruption_entry``, ``disruption_exit``,
    ``restriction_exit``.
    """
    s = states(a)
    is_surge, is_disrupted = np.diag((s.surge > 0).astype(float)), np.diag((s.disrupted > 0).astype(float))
    after_surge = (1 - a.payback) * s.open + a.payback * s.disrupted
    base = (
        np.outer(s.open, s.open) + is_surge + is_disrupted + s.steps
        + rates["surge_entry"] * np.outer(s.open, s.surge - s.open)
        + (1 - rates["surge_entry"]) * rates["disruption_entry"] * np.outer(s.open, s.disrupted - s.open)
        + rates["surge_exit"] * (np.outer(s.surge > 0, after_surge) - is_surge)
        + rates["disruption_exit"] * (np.outer(s.disrupted > 0, s.open) - is_disrupted)
        + rates["restriction_exit"] * (np.outer(s.restricted > 0, s.open) - s.steps)
    )  # fmt: skip
    innocent = (s.restricted == 0).astype(float)
    return base, np.outer(innocent, s.restricted) - innocent[:, None] * base
