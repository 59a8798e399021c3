"""Months drawn anew, given those before: right for worlds whose parameters are known."""

import numpy as np
import pytest
from scipy.stats import kstest

from model.graph import graph_of
from model.predictive import one_step
from model.simulate import Design, simulate
from model.spec import Assumptions

A = Assumptions()
TWO = (("magnets", ("850511",)), ("metals", ("280530", "284610")))


@pytest.fixture(scope="module")
def worlds():
    return [simulate(Design(importers=("JPN", "USA", "KOR"), families=TWO, months=60), A, seed) for seed in (3, 4, 5)]


def replicated(world, samples):
    many = {name: np.repeat(np.asarray(v)[None], samples, axis=0) for name, v in world.values.items()}
    return one_step(graph_of(world.frame, A), many, np.random.default_rng(1))


def test_given_the_true_parameters_what_came_lies_anywhere_in_what_could_have_come(worlds):
    ranks, rng, samples = [], np.random.default_rng(2), 40
    for world in worlds:
        drawn = replicated(world, samples)
        seen = np.isfinite(drawn[0])
        below = (drawn[:, seen] < np.log(world.frame.observed_kg[seen])).sum(0)
        ranks.append((below + rng.uniform(size=len(below))) / (samples + 1))
    ranks = np.concatenate(ranks)
    assert len(ranks) > 600
    assert kstest(ranks, "uniform").pvalue > 0.001


def test_a_month_of_nothing_is_not_drawn_anew(worlds):
    for world in worlds:
        nothing = ~(np.nan_to_num(world.frame.observed_kg) > 0)
        assert np.isnan(replicated(world, 2)[:, nothing]).all()
