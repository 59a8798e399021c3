r"""The mode screen: is there another way to read the figures that is about as likely?

A posterior of regimes has several modes ("restricted for ever from a higher base", "the noise is large and nothing ever
happened"), and chains that start at one place agree with each other without having looked elsewhere: R-hat is only honest once
somebody has. So short chains start from places far apart, :data:`DISPERSED`, and are let go. One that ends where the fit is has
found nothing. One that ends elsewhere, with other answers, is a *rival*, and its weight is judged by its mean log density:

.. math:: \Delta = \overline{\log p}_{\text{fit}} - \overline{\log p}_{\text{rival}}

which for modes of similar width is the log of their odds; a gap of more than :data:`NATS` leaves the rival less than 1 % of
the mass. Within it the fit is refused: its answers would be one of two. Unless its own chains have been there: what they visit and leave
again has in them the weight that it has, and R-hat and effective draws judge whether they did so often enough. And unless the rival goes
home: let go on for n draws it ends where the fit is, while the fit's N draws never came to it. Chains that are reversible go as often one
way as the other, so the rival has about n / N of the mass at most.
"""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from model.fit import Fit, anchor, fit
from model.frame import Frame
from model.kernel import POSITIVE
from model.layers import draws_of
from model.probabilities import restricted_by_draw
from model.spec import Assumptions, Computation

NATS = 5.0
OTHER_ANSWERS = 0.3
"""Difference of a smoothed p(restricted) that makes another answer of it."""
OTHER_SHARE = 0.01
"""Share of unit-months with other answers that makes a rival of a chain."""
VISITED = 0.005
"""Share of the fit's draws that give a rival's answers where it differs, from which the fit has been there."""
LOOKED_AT = 400
"""Draws of the fit that are looked at."""
SCREEN = {"draws": 40, "tune": 110, "chains": 1, "cores": 1}
LONGER = SCREEN | {"draws": 160, "tune": 60}
"""How a chain goes on that would be a rival."""
LAST = 30
"""Draws by which it is judged where a chain ended."""


@dataclasses.dataclass(frozen=True)
class Rival:
    """start : which of :data:`DISPERSED`. nats : by how much its mean log density lies below the fit's. changed : share of
    unit-months to which it gives other answers. visited : share of the fit's draws that give its answers there."""

    start: str
    nats: float
    changed: float
    visited: float = 0.0

    @property
    def threatens(self) -> bool:
        return self.changed > OTHER_SHARE and self.nats < NATS and self.visited < VISITED


def _higher_base(start: dict[str, np.ndarray], f: Frame) -> None:
    """Baselines at the largest months: everything since is a cut."""
    top = np.array([np.quantile(y[k == POSITIVE], 0.95) for y, k in zip(f.primary, f.kind, strict=True)]) - f.usual
    member = np.eye(len(f.coords["family"]))[f.family_of]
    start["family_baseline"] += (top @ member / member.sum(0))[:, None]


def _noise_only(start: dict[str, np.ndarray], f: Frame) -> None:
    """Large noise and no common course: nothing ever happened."""
    start["noise"] = start["noise"] + 1.2
    start["log_noise"] = start["log_noise"] + 1.2


def _no_common_course(start: dict[str, np.ndarray], f: Frame) -> None:
    """Families' courses flat: what all destinations share is many measures at a time."""
    start["family_course"] = np.repeat(start["family_course"].mean(1, keepdims=True), f.capacity, axis=1)


DISPERSED: dict[str, Callable[[dict[str, np.ndarray], Frame], None]] = {
    "higher base": _higher_base,
    "noise only": _noise_only,
    "no common course": _no_common_course,
}


def screen(fitted: Fit, assumptions: Assumptions, computation: Computation) -> list[Rival]:
    """What short chains from :data:`DISPERSED` found, in that order."""
    f, model = fitted.graph.frame, fitted.graph.model
    by_draw = _restricted(fitted, assumptions, LOOKED_AT)
    here = by_draw.mean(0)
    level = float(fitted.posterior["sample_stats"]["logp"].mean())
    middle = anchor(fitted.graph)
    shapes = {name: np.shape(value) for name, value in model.initial_point().items()}
    sizes = [int(np.prod(shape)) for shape in shapes.values()]

    def begun(name: str) -> Fit:
        parts = np.split(middle, np.cumsum(sizes)[:-1])
        start = {n: part.reshape(shape).copy() for (n, shape), part in zip(shapes.items(), parts, strict=True)}
        DISPERSED[name](start, f)
        at = np.concatenate([np.ravel(start[n]) for n in shapes])
        return fit(f, assumptions, computation.model_copy(update=SCREEN), start=at)

    def judged(name: str, short: Fit) -> Rival:
        there = _restricted(_ended(short), assumptions, LAST).mean(0)
        other = np.abs(there - here) > OTHER_ANSWERS
        alike = np.abs(by_draw[:, other] - there[other]).mean(1) < OTHER_ANSWERS if other.any() else np.ones(1)
        gap = level - float(_ended(short).posterior["sample_stats"]["logp"].mean())
        return Rival(name, gap, float(other.mean()), float(alike.mean()))

    # Sampling only, a thread each: PyTensor's functions, which say what a chain answers, keep what they are given where all see it.
    with ThreadPoolExecutor(computation.cores) as pool:
        chains = dict(zip(DISPERSED, pool.map(begun, DISPERSED), strict=True))
    found = {name: judged(name, short) for name, short in chains.items()}
    for name, rival in found.items():
        if rival.threatens:
            longer = fit(f, assumptions, computation.model_copy(update=LONGER), start=chains[name].left.ends[0])
            found[name] = judged(name, longer)
    return list(found.values())


def _ended(chain: Fit) -> Fit:
    """Its last draws."""
    return dataclasses.replace(chain, posterior=chain.posterior.isel(draw=slice(-LAST, None)))


def _restricted(fitted: Fit, a: Assumptions, draws: int) -> np.ndarray:
    """(draw, unit, period) smoothed p(restricted)."""
    few = draws_of(fitted.posterior["posterior"].to_dataset(), draws)
    return np.stack([one["smoothed"] for one in restricted_by_draw(few, fitted.graph, a)])
