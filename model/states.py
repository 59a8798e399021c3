"""The state space of a regime chain and how it moves, from the assumptions."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from model.kernel import INNOCENT, MEASURE, MOVES, PARTED
from model.spec import Assumptions

EXITS = ("calm", "campaign", "end")
"""What a restriction is in when it may end: no campaign, a campaign under way, the month in which a campaign ends."""
EXIT_OF_MOVE = ("calm", "campaign", "campaign", "campaign", "campaign", "end")
"""For each of :data:`model.kernel.MOVES`."""
ENTRIES = ("lone", "join", "late")
ENTRY_OF_MOVE = ("lone", "join", "join", "late", "late", "lone")
"""How a unit becomes restricted: by a measure of its own, as one of those a campaign opens with, or later in a campaign."""
assert len(EXIT_OF_MOVE) == len(ENTRY_OF_MOVE) == len(MOVES)
BEGUN = ((0.5, 0.4), (1.0, 0.6))
"""(share of its first month for which a measure is in force, how often): of seventeen controls by China, Japan and Indonesia whose day
is known, 2010-2026, ten began in a month's first eight days and seven later."""


@dataclass(frozen=True, eq=False)
class States:
    """The state space as arrays: shift (log multiple) and role (:mod:`model.kernel`); for each group of states where its members
    lie, evenly; own_course, 1 for states whose flow does not follow the family's common shortfall.

    before, now, begun, chance : (pair,) the pairs of states, sorted as the kernel wants them; ``chance`` is the share of the
    pair's probability that falls to this entry of the list.
    """

    shift: np.ndarray
    role: np.ndarray
    initial: np.ndarray
    open: np.ndarray
    exempt: np.ndarray
    surge: np.ndarray
    disrupted: np.ndarray
    restricted: np.ndarray
    parted: np.ndarray
    steps: np.ndarray
    after_parting: np.ndarray
    after_measure: np.ndarray
    own_course: np.ndarray
    before: np.ndarray
    now: np.ndarray
    begun: np.ndarray
    chance: np.ndarray


@cache
def states(a: Assumptions) -> States:
    shift, regime = np.log(a.multiple), np.array(a.regime)
    K = len(shift)
    members = {
        "open": np.arange(K) == 0,
        "exempt": np.arange(K) == 1,
        "surge": shift > 0,
        "disrupted": regime == "disrupted",
        "restricted": regime == "restricted",
        "parted": regime == "parted",
    }
    even = {name: where / max(where.sum(), 1) for name, where in members.items()}
    role = np.select([members["restricted"], members["parted"]], [MEASURE, PARTED], INNOCENT).astype(np.int64)
    initial = 0.88 * even["open"] + 0.04 * (even["surge"] + even["disrupted"] + even["restricted"])
    steps = _neighbours(members["restricted"], a.severity_move) + _neighbours(members["parted"], a.severity_move)
    # What has parted and stays down when the family recovers is a restriction of about the same severity; and a unit that a measure
    # of its own no longer holds fares, under a measure on all, about as it did.
    after_parting = _nearest(shift, members["parted"], members["restricted"])
    after_measure = _nearest(shift, members["restricted"], members["parted"])
    # Where licences set the flow, the family's common shortfall does not lower it further.
    own_course = members["exempt"] | members["restricted"] | members["parted"]
    return States(
        shift, role, initial, steps=steps, after_parting=after_parting, after_measure=after_measure, own_course=own_course.astype(float),
        **even, **_pairs(role, members, steps, after_parting + after_measure),
    )  # fmt: skip


def _nearest(shift: np.ndarray, origin: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Steps from each state of `origin` to that of `target` whose shift is nearest."""
    steps = np.zeros((shift.size, shift.size))
    for j in np.flatnonzero(origin):
        steps[j, np.flatnonzero(target)[np.abs(shift[target] - shift[j]).argmin()]] = 1.0
    return steps


def _neighbours(where: np.ndarray, moves: float) -> np.ndarray:
    """Steps along a grid of severities: `moves` to the states beside, else none."""
    steps = np.zeros((where.size, where.size))
    grid = np.flatnonzero(where)
    for r in grid:
        beside = [n for n in (r - 1, r + 1) if n in grid]
        steps[r, beside] = moves / max(len(beside), 1)
        steps[r, r] = 1 - steps[r].sum()
    return steps


def _pairs(role: np.ndarray, members: dict[str, np.ndarray], steps: np.ndarray, crossing: np.ndarray) -> dict[str, np.ndarray]:
    """The pairs between which a move may lead, by the state now and then by the role before."""
    innocent = role == INNOCENT
    leads = np.outer(innocent, ~innocent) | np.outer(~innocent, members["open"]) | (steps > 0) | (crossing > 0)
    leads |= np.outer(members["open"], innocent) | np.outer(members["exempt"] | members["surge"] | members["disrupted"], members["open"])
    leads |= np.outer(members["surge"], members["disrupted"]) | np.diag(innocent)
    at_rest = members["open"] | members["exempt"]
    found = []
    for k in range(role.size):
        for j in np.flatnonzero(leads[:, k])[np.argsort(role[leads[:, k]], kind="stable")]:
            found += [(j, k, *begun) for begun in (BEGUN if at_rest[j] and role[k] == MEASURE else ((1.0, 1.0),))]
    before, now, begun, chance = map(np.array, zip(*found, strict=True))
    return {"before": before, "now": now, "begun": begun, "chance": chance}


def transitions(a: Assumptions, rates: dict[str, Any], depth: tuple[float, ...] | None = None) -> Any:
    """(pair,) ``move`` of the kernel: the probability of the state now, given the one before and the role of the one now.

    rates : monthly probabilities ``exempt_entry``, ``exempt_exit``, ``surge_entry``, ``surge_exit``, ``disruption_entry`` and
    ``disruption_exit``. depth : shares of disruptions that begin at each severity, by default even.
    """
    s = states(a)
    innocent = s.role == INNOCENT
    is_exempt = np.diag((s.exempt > 0).astype(float))
    is_surge, is_disrupted = np.diag((s.surge > 0).astype(float)), np.diag((s.disrupted > 0).astype(float))
    disrupted = s.disrupted.copy()
    if depth is not None:
        disrupted[disrupted > 0] = depth
    after_surge = (1 - a.payback) * s.open + a.payback * disrupted
    from_innocent = (
        np.outer(s.open, s.open) + is_exempt + is_surge + is_disrupted
        + rates["exempt_entry"] * np.outer(s.open, s.exempt - s.open)
        + rates["exempt_exit"] * (np.outer(s.exempt > 0, s.open) - is_exempt)
        + (1 - rates["exempt_entry"]) * rates["surge_entry"] * np.outer(s.open, s.surge - s.open)
        + (1 - rates["exempt_entry"]) * (1 - rates["surge_entry"]) * rates["disruption_entry"] * np.outer(s.open, disrupted - s.open)
        + rates["surge_exit"] * (np.outer(s.surge > 0, after_surge) - is_surge)
        + rates["disruption_exit"] * (np.outer(s.disrupted > 0, s.open) - is_disrupted)
    )  # fmt: skip
    entered = np.outer(innocent, s.restricted + s.parted)
    left = np.outer(s.restricted > 0, s.open) + (1 - a.stays_down) * np.outer(s.parted > 0, s.open) + a.stays_down * s.after_parting
    return (from_innocent + (entered + left + s.after_measure + s.steps))[s.before, s.now] * s.chance
