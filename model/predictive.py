r"""What the model says of a month before it is seen, beside what was seen: for posterior predictive checks and LOO-PIT.

A month of a unit may be several figures: of its codes, and of both offices. What is drawn anew is by how much all of them together lie
higher or lower, with the differences between them kept, given the months before and one draw of the parameters:

.. math:: p(\delta \mid y_{<t}, \theta) \propto p(y_t + \delta \mid y_{<t}, \theta)

with every state the unit may be in summed out. For one code of one office that is its one-step predictive density.
"""

from collections.abc import Mapping

import numpy as np

from model.entry import forward
from model.graph import Graph
from model.kernel import POSITIVE, layer
from model.layers import evaluated
from model.smoother import evidence_on_grid

STEP = 0.1
GRID = np.arange(-60, 60) * STEP + STEP / 2
"""Log kg by which a month may lie above what was seen."""


def one_step(graph: Graph, draws: Mapping[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """(sample, unit, period) log kg drawn anew, each month given those before it as they were; NaN where nothing was traded or seen."""
    f = graph.frame
    seen = np.isfinite(f.observed_kg) & (f.observed_kg > 0)
    drawn = np.full((len(next(iter(draws.values()))), *seen.shape), np.nan)
    for s, draw in enumerate(evaluated(graph, draws)):
        given, same = layer(draw.unit), np.ones_like(GRID)
        _, campaign, state = forward(given)
        traded = np.zeros(seen.shape, bool)
        np.logical_or.at(traded, draw.unit["chain"], draw.unit["kind"] == POSITIVE)
        for t in np.flatnonzero((seen & traded).any(0)):
            # x of a month that lies higher by delta is higher by delta.
            as_it_was = (np.outer(draw.unit[name][:, t], same) for name in ("relief", "parting", "hold"))
            density = evidence_on_grid(given, t, -GRID, *as_it_was, 0 * same, campaign, state)
            of = np.flatnonzero(seen[:, t] & traded[:, t])
            drawn[s, of, t] = np.log(f.observed_kg[of, t]) + _one(density[of], rng)
    return drawn


def _one(log_density: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(row,) of each row one of :data:`GRID` by its density, and within its cell uniformly."""
    weight = np.exp(log_density - log_density.max(1, keepdims=True)).cumsum(1)
    cell = (weight < rng.uniform(size=(len(weight), 1)) * weight[:, -1:]).sum(1)
    drawn: np.ndarray = GRID[cell] + rng.uniform(-0.5, 0.5, len(cell)) * STEP
    return drawn
