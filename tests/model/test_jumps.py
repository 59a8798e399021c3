"""Jumps leave the posterior as it is, reach what a trajectory does not, and move nothing else."""

import dataclasses

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy.stats import norm

from model.fit import Fit, Left, continued
from model.frame import Frame, contrasts
from model.graph import anchored_course, graph_of
from model.jumps import Layout, Stretch, jumped, known, learnt, promising
from model.nuts import Target, Tuning, sample
from model.simulate import Design, simulate
from model.spec import Assumptions

A = Assumptions()
MAGNETS_AND_METALS = (("magnets", ("850511",)), ("compounds", ("284610", "284690")))


@pytest.fixture(scope="module")
def f() -> Frame:
    return simulate(Design(importers=("JPN", "USA", "KOR"), families=MAGNETS_AND_METALS, months=40), A, 3).frame


@pytest.fixture(scope="module")
def place(f) -> Layout:
    return Layout(graph_of(f, A).model.initial_point())


def two_hills(x: np.ndarray) -> float:
    """Three quarters of the mass at -6, a quarter at 6; sd 1."""
    return float(np.logaddexp(np.log(0.75) + norm.logpdf(x[0], -6), np.log(0.25) + norm.logpdf(x[0], 6)) + norm.logpdf(x[1]))


def slope(x: np.ndarray) -> tuple[float, np.ndarray]:
    left = 1 / (1 + np.exp(np.clip(np.log(1 / 3) + 12 * x[0], -700, 700)))
    return two_hills(x), np.array([-(x[0] + 6) * left - (x[0] - 6) * (1 - left), -x[1]])


def tuned(steps: float, ridge: list[int], covariance: np.ndarray) -> Tuning:
    return Tuning(np.full(2, steps), np.ones((2, 2)), np.array(ridge, int), covariance)


def hills(jumps, seed=1):
    with pm.Model() as model:
        pm.Flat("x", shape=2)
    starts, tuning = np.array([[-6.0, 0.0], [6.0, 0.0]]), tuned(0.8, [], np.zeros((0, 0)))
    return sample(Target(model, model.initial_point(), two_hills, slope), starts, tuning, [(jumps, 2)], 1500, seed, 2, lambda: None)


def test_a_metric_that_knows_a_ridge_crosses_it_in_a_few_steps_and_samples_the_same_posterior():
    """Correlation .998: thirty times as long as it is wide."""
    covariance = np.array([[1.0, 0.998], [0.998, 1.0]])
    precision = np.linalg.inv(covariance)
    with pm.Model() as model:
        pm.Flat("x", shape=2)

    def density(x):
        return float(-0.5 * x @ precision @ x)

    target = Target(model, model.initial_point(), density, lambda x: (density(x), -precision @ x))
    told = {}
    for name, tuning in {"blind": tuned(0.05, [], np.zeros((0, 0))), "knowing": tuned(0.9, [0, 1], covariance)}.items():
        told[name] = sample(target, np.zeros((2, 2)), tuning, [], 1000, 3, 2, lambda: None)
        np.testing.assert_allclose(np.cov(told[name].draws.reshape(-1, 2).T), covariance, atol=0.15)
    assert told["knowing"].stats["n_steps"].mean() < told["blind"].stats["n_steps"].mean() / 4


def test_without_jumps_a_chain_stays_on_its_hill_and_with_them_it_spends_its_share_on_each():
    block = np.array([0])
    apart = hills([]).draws[..., 0]
    assert (apart[0] < 0).all()
    assert (apart[1] > 0).all()
    together = hills([(block, np.array([12.5]))])
    # 3,000 draws of some hundreds of crossings.
    assert (together.draws[..., 0] < 0).mean(1) == pytest.approx([0.75, 0.75], abs=0.06)
    assert together.draws[..., 1].std() == pytest.approx(1, abs=0.08)
    assert not together.stats["diverging"].any()


def test_the_same_seed_gives_the_same_chain_and_another_seed_another():
    jumps = [(np.array([0]), np.array([12.0]))]
    np.testing.assert_array_equal(hills(jumps).draws, hills(jumps).draws)
    assert not np.array_equal(hills(jumps).draws, hills(jumps, seed=2).draws)


def test_a_jump_that_the_density_forbids_is_never_taken():
    x = np.array([0.5])
    at, accepted = jumped(
        x, lambda v: 0.0 if v[0] < 1 else -np.inf, [([(np.array([0]), np.array([9.0]))], 1), ([], 3)], np.random.default_rng(0)
    )
    assert at[0] <= x[0]
    assert accepted in (0, 1)
    assert jumped(x, lambda v: 0.0, [([], 5), ([], 5)], np.random.default_rng(0)) == (x, 0)


def test_a_known_jump_moves_one_units_level_by_the_severity_and_no_other_series(f, place):
    spread, size = contrasts(f.family_of), sum(v.size for v in place.values())
    moves = known(f, place, (0.55,))
    runs = len(f.coords["knot"]) * (len(f.coords["knot"]) + 1) // 2
    assert len(moves) == len(f.fitted) * runs
    for n, (block, difference) in enumerate(moves):
        step = np.zeros(size)
        step[block] = difference
        course, baseline = step[place["family_course"]], step[place["family_baseline"]] @ f.knots.T
        np.testing.assert_allclose(course, baseline, atol=1e-12)  # the family's factor stays
        level = course[f.family_of] + spread @ step[place["contrast_baseline"]] @ f.knots.T
        np.testing.assert_allclose(level[f.unit != n // runs], 0, atol=1e-12)
        assert np.abs(level[f.unit == n // runs]).max() <= -np.log(0.45) + 1e-12


def test_what_two_stretches_differ_in_is_proposed_whole_and_nothing_where_they_agree(f, place):
    size, rng = sum(v.size for v in place.values()), np.random.default_rng(0)
    here, there = (rng.normal(0, 0.1, (200, size)) for _ in range(2))
    assert learnt([Stretch.of(here), Stretch.of(there)], f, place) == [[], [], []]
    months = place["family_course"][1, 7:10]
    there[:, months] -= 0.8
    [(block, difference)], levels, both = learnt([Stretch.of(here), Stretch.of(there)], f, place)
    assert levels == both == []
    np.testing.assert_array_equal(block, months)
    np.testing.assert_allclose(difference, 0.8, atol=0.05)


def test_only_jumps_that_promise_are_kept():
    here = np.array([[-6.0, 0.0]])
    across, nowhere = (np.array([0]), np.array([12.0])), (np.array([0]), np.array([30.0]))
    assert promising([nowhere, across, nowhere], here, two_hills, 2) == [across]


def test_chains_are_carried_to_new_months_as_their_destinations_moved_and_no_further(f, place):
    known = f.periods - 2
    ends = np.random.default_rng(1).normal(size=(2, place.size))
    last = Fit(
        xr.DataTree(), dataclasses.replace(graph_of(f, A), frame=f.until(known)), [], Left(ends, tuned(1.0, [], np.zeros((0, 0))), ())
    )
    left = continued(last, f)
    moved = np.diff(anchored_course(f), axis=1)
    for g, course in enumerate(place["family_course"]):
        for t in np.flatnonzero(f.family_seen[g, known : f.periods]) + known:
            np.testing.assert_allclose(left.ends[:, course[t]], left.ends[:, course[t - 1]] + moved[g, t - 1])
    old = np.setdiff1d(np.arange(place.size), place["family_course"][:, known:])
    np.testing.assert_array_equal(left.ends[:, old], ends[:, old])
    assert f.family_seen[:, known:].any()
