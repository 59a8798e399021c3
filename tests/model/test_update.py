"""Old draws on newer figures: what is drawn month by month is what the graph says at the values drawn."""

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pytest

from data.panel import read_panel
from model.frame import contrasts, frame
from model.graph import graph_of
from model.layers import evaluator
from model.probabilities import open_expectation, resampled
from model.simulate import Design, simulate
from model.spec import Assumptions
from model.states import states
from model.update import STEP, Month, extend, grown

A = Assumptions()
DESIGN = Design(importers=("JPN", "USA", "KOR"), families=(("magnets", ("850511",)), ("gallium", ("811292", "282560"))), months=40)
KNOWN = 36


@pytest.fixture(scope="module")
def world():
    return simulate(DESIGN, A, 3)


@pytest.fixture(scope="module")
def earlier(world):
    """The frame as it was when four months less were known."""
    return world.frame.until(KNOWN)


def test_factors_of_known_months_stay_and_those_of_new_months_are_near_the_truth(world, earlier):
    graph = dataclasses.replace(graph_of(world.frame, A), frame=earlier)
    draws = {name: np.stack([v] * 8) for name, v in world.values.items()}
    extended = extend(draws, graph, world.frame, A, seed=1)
    course = extended.draws["family_course"]
    np.testing.assert_array_equal(course[:, :, :KNOWN], draws["family_course"][:, :, :KNOWN])
    assert np.median(np.abs(course - draws["family_course"])[:, :, KNOWN:]) < 0.4
    assert extended.log_predictive.shape == (8, DESIGN.months - KNOWN)
    assert np.isfinite(extended.log_predictive).all()


def test_the_kernels_arguments_follow_the_factors_drawn(world):
    f = world.frame
    unseen = f.family_seen & (np.arange(DESIGN.months) >= KNOWN)
    evaluate = evaluator(graph_of(f, A))
    course = np.where(unseen, evaluate(world.values).parts["family_baseline"], world.values["family_course"])
    month = Month(evaluate(world.values | {"family_course": course}), world.values, f, unseen, A)
    rng = np.random.default_rng(0)
    for t in range(KNOWN, DESIGN.months):
        course[:, t] += month.drawn(t, rng).factor
    told = evaluate(world.values | {"family_course": course}).unit
    for name in ("relief", "parting", "hold", "scale"):
        np.testing.assert_allclose(month.unit[name], told[name], atol=STEP, err_msg=name)
    # Payback of months drawn is not followed up within the update; all else is.
    assert np.abs(month.unit["x"] - told["x"]).mean() < STEP


def test_new_months_weigh_the_draws_of_the_unit_whose_level_they_contradict_and_of_no_other(world, earlier):
    """In half of the draws one unit's expectation rises steeply after the fit: its own months tell against them."""
    f = world.frame
    graph = dataclasses.replace(graph_of(f, A), frame=earlier)
    draws = {name: np.stack([v] * 8) for name, v in world.values.items()}
    wrong, unit = np.arange(8) >= 4, f.coords["unit"].index("CHN.JPN.gallium")
    spread = contrasts(f.family_of)
    series = np.flatnonzero(f.unit == unit)
    away = np.zeros(len(f.unit))
    away[series] = 1.0
    draws["contrast_baseline"][wrong, :, -1] += 6 * spread.T @ away
    local = extend(draws, graph, f, A, seed=1).log_local
    assert local.shape == (8, len(f.family))
    against = local[~wrong].mean(0) - local[wrong].mean(0)
    assert against[unit] > 2
    # The family's other units are expected a little too low in those draws, as deviations add up to zero.
    assert against[unit] > 2 * np.abs(np.delete(against, unit)).max()


def test_draws_stand_for_a_unit_in_proportion_to_their_weight():
    log_weight = np.log(np.array([[0.1, 1.0], [0.3, 1.0], [0.6, 1.0]])).repeat(100, axis=0)
    chosen = resampled(log_weight, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(chosen[:, 0] // 100), [30, 90, 180], atol=2)
    np.testing.assert_array_equal(np.bincount(chosen[:, 1], minlength=300), 1)


def test_draws_are_not_carried_on_to_a_panel_that_knows_something_new_in_kind(sample_log, sample_watch):
    """Whether there is a control decides whether there is a parameter for it, which other draws would not have."""
    panel = read_panel(sample_log, sample_watch, datetime(2024, 1, 31, tzinfo=UTC))
    graph = graph_of(frame(panel, A), A)
    assert not graph.frame.control.any()
    assert grown(graph, panel, A) is not None
    controlled = dataclasses.replace(graph.frame, control=np.ones_like(graph.frame.control))
    assert grown(dataclasses.replace(graph, frame=controlled), panel, A) is None


def test_draws_are_not_carried_on_to_a_panel_with_a_series_that_was_never_traded_before(sample_log, sample_watch):
    """Its unit would be answered, by draws that know nothing of it."""
    panel = read_panel(sample_log, sample_watch, datetime(2024, 1, 31, tzinfo=UTC))
    row = 0
    mine = (panel["signal_unit"] == panel["signal_unit"][row]) & (panel["signal_hs"] == panel["signal_hs"][row])
    of_nothing = panel.assign(kg=panel["kg"].where(~mine, 0.0), two_month_kg=panel["two_month_kg"].where(~mine, 0.0))
    graph = graph_of(frame(of_nothing, A), A)
    assert len(graph.frame.unit) == len(frame(panel, A).unit) - 1
    assert grown(graph, of_nothing, A) is not None
    assert grown(graph, panel, A) is None


def test_what_would_have_moved_knows_no_measure_where_nothing_is_seen_of_the_family(world, earlier):
    """A product's measure is in the factor of months that are seen, and taken out of these; what is to come is expected without it."""
    draw, space = evaluator(dataclasses.replace(graph_of(world.frame, A), frame=earlier))(world.values), states(A)
    wide = np.zeros((*earlier.family_seen.shape, space.shift.size))
    wide[..., np.flatnonzero(space.restricted)[-1]] = 1.0
    taken = draw.parts["log_expected"] - open_expectation(draw, wide, earlier, space)
    np.testing.assert_allclose(taken[:, :KNOWN], np.where(earlier.family_seen, space.shift[-1], 0.0)[earlier.family_of][:, :KNOWN])
    assert (taken[:, KNOWN:] == 0).all()
