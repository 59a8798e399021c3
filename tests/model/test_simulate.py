"""Worlds from the prior predictive: they are what the model's equations say."""

from dataclasses import replace

import numpy as np
import pytest

from model.entry import forward
from model.graph import build
from model.kernel import INNOCENT, MEASURE, NU, POSITIVE, layer
from model.layers import evaluator
from model.simulate import Design, _family_factors, simulate
from model.spec import Assumptions
from model.states import states

A = Assumptions()
SMALL = Design(importers=("JPN", "USA", "KOR"), families=(("magnets", ("850511",)), ("gallium", ("811292", "282560"))), months=60)


@pytest.fixture(scope="module")
def worlds():
    return [simulate(SMALL, A, seed) for seed in range(5)]


def test_the_same_seed_is_the_same_world(worlds):
    again = simulate(SMALL, A, 1)
    np.testing.assert_array_equal(again.frame.flows.log_kg, worlds[1].frame.flows.log_kg)
    np.testing.assert_array_equal(again.unit_state, worlds[1].unit_state)
    assert not np.array_equal(worlds[0].frame.flows.log_kg, worlds[1].frame.flows.log_kg)


def test_at_the_truth_the_residuals_are_student_t(worlds):
    """x less the true state's shift, AR(1) taken out and scaled, over all worlds: median and quartiles of t with 5 degrees."""
    scaled = []
    for w in worlds:
        drawn = evaluator(build(w.frame, A))(w.values)
        k, shift = drawn.unit, states(A).shift + 0.0
        own = states(A).own_course
        here = shift[w.unit_state] + own[w.unit_state] * k["relief"]
        residual = k["x"] - here[w.frame.unit]
        steps = residual[:, 1:] - k["rho"][:, None] * residual[:, :-1]
        open_ = (w.frame.kind == POSITIVE) & (states(A).role[w.unit_state] == INNOCENT)[w.frame.unit]
        both = open_[:, 1:] & open_[:, :-1]
        scaled.append((steps / k["scale"][:, 1:])[both])
    z = np.concatenate(scaled)
    assert len(z) > 800
    quartile = 0.7267  # of Student-t with five degrees of freedom
    assert NU == 5
    np.testing.assert_allclose(np.quantile(z, [0.25, 0.5, 0.75]), [-quartile, 0, quartile], atol=0.1)


def test_a_measure_on_a_product_is_at_times_in_force_for_half_of_its_first_month(worlds):
    """Families' factors without noise, as the kernel has them: of first months some are half a measure's, all later ones are whole."""
    space, firsts = states(A), []
    for seed, w in enumerate(worlds):
        drawn = evaluator(build(w.frame, A))(w.values)
        silenced = {"scale": drawn.family["scale"] * 1e-9, "rho": drawn.family["rho"] * 0, "onset": drawn.family["onset"] + 1}
        quiet = replace(drawn, family=drawn.family | silenced)
        state, g = _family_factors(quiet, A, np.random.default_rng(seed))
        for f, t in np.argwhere(space.role[state] == MEASURE):
            if t and space.role[state[f, t - 1]] == INNOCENT:
                firsts.append(np.expm1(g[f, t]) / np.expm1(space.shift[state[f, t]]))
            elif t:
                assert g[f, t] == pytest.approx(space.shift[state[f, t]], abs=1e-6)
    assert {round(share, 3) for share in firsts} == {0.5, 1.0}


def test_at_the_truth_the_likelihood_is_finite_and_beats_a_wrong_level(worlds):
    w = worlds[0]
    graph = build(w.frame, A)
    evaluate = evaluator(graph)
    wrong = w.values | {"log_noise": w.values["log_noise"] + 1.5}

    def log_likelihood(values):
        return forward(layer(evaluate(values).unit))[0].sum()

    assert np.isfinite(log_likelihood(w.values))
    assert log_likelihood(w.values) > log_likelihood(wrong)
