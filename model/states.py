"""The state space of a regime chain and how it moves, from the assumptions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytensor.tensor as pt

from model.spec import Assumptions

EXITS = ("calm", "campaign", "end")
"""What a restriction is in when it may end: no campaign, a campaign under way, the month in which a campaign ends."""
EXIT_OF_MOVE = ("calm", "campaign", "campaign", "campaign", "campaign", "end")
"""For each of :data:`model.kernel.MOVES`."""
ENTRIES = ("lone", "join", "late")
ENTRY_OF_MOVE = ("lone", "join", "join", "late", "late", "lone")
"""How a unit becomes restricted: by a measure of its own, as one of those a campaign opens with, or later in a campaign."""


@dataclass(frozen=True)
class States:
    """The state space as arrays: shift (log multiple), for each group of states where its members lie,
    evenly; measure, 1 for states in which a measure may spare a code; own_course, 1 for those whose flow does not follow the
    family's common shortfall."""

    shift: np.ndarray
    initial: np.ndarray
    open: np.ndarray
    exempt: np.ndarray
    surge: np.ndarray
    disrupted: np.ndarray
    restricted: np.ndarray
    steps: np.ndarray
    measure: np.ndarray
    own_course: np.ndarray


def states(a: Assumptions) -> States:
    shift, regime = np.log(a.multiple), np.array(a.regime)
    K = len(shift)
    members = {
        "open": np.arange(K) == 0,
        "exempt": np.arange(K) == 1,
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
    # Where licences set the flow, the family's common shortfall does not lower it further.
    own_course = members["exempt"] | members["restricted"]
    return States(shift, initial, steps=steps, measure=members["restricted"].astype(float), own_course=own_course.astype(float), **even)


def transitions(a: Assumptions, rates: dict[str, Any]) -> tuple[Any, Any]:
    """(base, tilt), each (move, state, state): p(k | j) = base + entry * tilt; rows of base sum to 1 and of tilt to 0.

    rates : monthly probabilities ``exempt_entry``, ``exempt_exit``, ``surge_entry``, ``surge_exit``, ``disruption_entry``,
    ``disruption_exit``, and ``restriction_exit`` for each of :data:`EXITS`. The moves of a campaign differ in how easily a
    restriction ends.
    """
    s = states(a)
    is_exempt = np.diag((s.exempt > 0).astype(float))
    is_surge, is_disrupted = np.diag((s.surge > 0).astype(float)), np.diag((s.disrupted > 0).astype(float))
    after_surge = (1 - a.payback) * s.open + a.payback * s.disrupted
    stay = (
        np.outer(s.open, s.open) + is_exempt + is_surge + is_disrupted + s.steps
        + rates["exempt_entry"] * np.outer(s.open, s.exempt - s.open)
        + rates["exempt_exit"] * (np.outer(s.exempt > 0, s.open) - is_exempt)
        + (1 - rates["exempt_entry"]) * rates["surge_entry"] * np.outer(s.open, s.surge - s.open)
        + (1 - rates["exempt_entry"]) * (1 - rates["surge_entry"]) * rates["disruption_entry"] * np.outer(s.open, s.disrupted - s.open)
        + rates["surge_exit"] * (np.outer(s.surge > 0, after_surge) - is_surge)
        + rates["disruption_exit"] * (np.outer(s.disrupted > 0, s.open) - is_disrupted)
    )  # fmt: skip
    leave = np.outer(s.restricted > 0, s.open) - s.steps
    innocent = (s.restricted == 0).astype(float)
    base = [stay + rates["restriction_exit"][EXITS.index(name)] * leave for name in EXIT_OF_MOVE]
    tilt = np.outer(innocent, s.restricted) - innocent[:, None] * stay
    return _stack(base), _stack([tilt] * len(base))


def _stack(matrices: list[Any]) -> Any:
    return np.stack(matrices) if isinstance(matrices[0], np.ndarray) else pt.stack(matrices)
