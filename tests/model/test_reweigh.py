"""Draws of one fit that stand for a newer panel: the weights are the posterior's own, and say when they cannot."""

import dataclasses

import numpy as np
import pytest

from model.fit import anchor, set_data
from model.graph import graph_of
from model.jumps import Layout
from model.layers import evaluator
from model.reweigh import log_density, reweighed, weighed
from model.simulate import Design, simulate
from model.spec import Assumptions

A = Assumptions()
DESIGN = Design(importers=("JPN", "USA", "KOR"), families=(("magnets", ("850511",)), ("gallium", ("811292", "282560"))), months=40)
KNOWN = 38


@pytest.fixture(scope="module")
def world():
    return simulate(DESIGN, A, 3)


def of(world, months):
    """The graph of a world when `months` of it were known."""
    return dataclasses.replace(graph_of(world.frame, A), frame=world.frame.until(months))


def test_what_figures_change_of_the_models_density_is_what_draws_are_weighed_by(world):
    """Against the graph's own log density, all priors in it, at random points and two panels."""
    newer, older = of(world, 40), of(world, KNOWN)
    model, place = newer.model, Layout(newer.model.initial_point())
    density = model.compile_logp(mode="JAX")
    plain = model.replace_rvs_by_values(model.free_RVs)
    named = model.compile_fn(plain, inputs=model.value_vars, mode="FAST_COMPILE", on_unused_input="ignore", point_fn=False)
    rng = np.random.default_rng(1)
    for _ in range(3):
        point = anchor(newer) + rng.normal(0, 0.1, len(anchor(newer)))
        at = {name: point[indices] for name, indices in place.items()}
        values = dict(zip((v.name for v in model.free_RVs), named(*at.values()), strict=True))
        told, ours = [], []
        for graph in (older, newer):
            set_data(graph)
            model["usual"].set_value(world.frame.usual)  # a prior's centre, of the panel that was fitted
            told.append(float(density(at)))
            draw = evaluator(graph)(values)
            course = values["family_course"][:, : graph.frame.periods] - draw.parts["family_baseline"]
            ours.append(log_density(draw) - 0.5 * (np.where(graph.frame.family_seen, 0.0, course) ** 2).sum())
        assert ours[1] - ours[0] == pytest.approx(told[1] - told[0], rel=1e-9)


def test_weights_of_one_set_of_parameters_are_on_average_the_density_of_the_new_month():
    """Whatever the proposal leaves out: against the factor integrated over a grid."""
    alone = simulate(dataclasses.replace(DESIGN, families=DESIGN.families[1:]), A, 5)
    older, newer = of(alone, 39), of(alone, 40)
    draws = {name: np.stack([v] * 400) for name, v in alone.values.items()}
    weight = np.exp(weighed(draws, older, alone.frame, A, seed=1)[1])
    step, evaluate, course = 0.01, evaluator(newer), alone.values["family_course"].copy()
    baseline, total = evaluate(alone.values).parts["family_baseline"][0, 39], 0.0
    before = log_density(evaluator(older)(alone.values))
    for factor in np.arange(-4, 2, step):
        course[:, 39] = baseline + factor
        total += np.exp(log_density(evaluate(alone.values | {"family_course": course})) - before) * step
    error = weight.std() / np.sqrt(len(weight)) / total
    assert error < 0.02
    assert weight.mean() / total == pytest.approx(1, abs=3.5 * error)


def test_a_panel_that_says_the_same_leaves_every_draw_as_it_is(world):
    draws = {name: np.stack([v * (1 + 0.001 * n) for n in range(40)]) for name, v in world.values.items()}
    told = reweighed(draws, of(world, KNOWN), world.frame.until(KNOWN), A, seed=1)
    assert not told.changed
    assert told.efficiency == pytest.approx(1)
    for name, v in draws.items():
        np.testing.assert_array_equal(told.draws[name], v)


def test_draws_that_the_newer_figures_contradict_go_and_where_few_are_left_the_tail_says_so(world):
    draws = {name: np.stack([v] * 200) for name, v in world.values.items()}
    draws["family_baseline"][20:, :, -1] += 3.0
    told = reweighed(draws, of(world, KNOWN), world.frame, A, seed=1)
    assert told.changed
    assert (told.draws["family_baseline"][:, :, -1] == world.values["family_baseline"][:, -1]).all(1).mean() > 0.9
    assert told.efficiency < 0.2
