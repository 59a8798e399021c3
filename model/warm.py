"""Everything that is compiled, compiled: a small world drawn, fitted for two steps, and answered of. For the building of an image."""

import numpy as np

from model.evidence import detectability, evidence
from model.filtering import filtered_and_smoothed
from model.fit import fit
from model.layers import draws_of, evaluated
from model.simulate import Design, simulate
from model.spec import Assumptions, Computation
from model.states import states
from model.update import extend


def warm() -> None:
    """Fill the caches of numba, XLA and PyTensor, where they are told to be (NUMBA_CACHE_DIR and so on)."""
    a, c = Assumptions(), Computation(draws=2, tune=2, chains=1, cores=1)
    f = simulate(Design(importers=("JPN", "USA"), months=30), a, 1).frame
    result = fit(f.until(29), a, c)
    draws = draws_of(result.posterior["posterior"].to_dataset())
    extend(draws, result.graph, f, a, c.seed)
    few, space = list(evaluated(result.graph, draws)), states(a)
    filtered_and_smoothed(few[0].unit)
    evidence(few[:1], f, space)
    detectability(few[:1], f, space, np.random.default_rng(0))
