"""Jumps leave the posterior as it is, reach what a trajectory does not, and move nothing else."""

import dataclasses

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from model.fit import Fit, Left, continued
from model.frame import Frame, contrasts
from model.graph import anchored_course, graph_of
from model.hmc import LONGEST, SHRINK, Target, Tuning, metric, sample
from model.jumps import MONTH, Layout, Repertoire, Stretch, halved, jumped, known_levels, known_months, learnt, promising
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


def tuned(step: float, metric: np.ndarray) -> Tuning:
    return Tuning(np.full(2, step), metric, 0)


def hills(jumps, seed=1):
    starts, tuning = np.array([[-6.0, 0.0], [6.0, 0.0]]), tuned(0.8, np.ones(2))
    return sample(Target(two_hills, slope), starts, tuning, [(jumps, 2)], 1500, [seed], 2, lambda: None)


def ridge(x):
    """Correlation .998: thirty times as long as it is wide."""
    precision = np.linalg.inv(RIDGE)
    return float(-0.5 * x @ precision @ x), -precision @ x


RIDGE = np.array([[1.0, 0.998], [0.998, 1.0]])


def test_a_metric_that_knows_a_ridge_crosses_it_in_a_few_steps_and_samples_the_same_posterior():
    told = {}
    for name, tuning in {"blind": tuned(0.05, np.ones(2)), "knowing": tuned(0.9, RIDGE)}.items():
        told[name] = sample(Target(lambda x: ridge(x)[0], ridge), np.zeros((2, 2)), tuning, [], 1500, [3], 2, lambda: None)
        np.testing.assert_allclose(np.cov(told[name].draws.reshape(-1, 2).T), RIDGE, atol=0.15)
    assert told["knowing"].stats["n_steps"].mean() < told["blind"].stats["n_steps"].mean() / 4


def test_a_metric_is_what_draws_and_gradients_spread_alike_in():
    rng = np.random.default_rng(0)
    draws = rng.multivariate_normal(np.zeros(2), RIDGE, (2, 400)) * [1, 50] + np.array([[[0.0, 0.0]], [[7.0, 300.0]]])
    slopes = rng.standard_t(6, (500, 2)) @ np.array([[3.0, 1.0], [0.0, 0.1]])

    def shrunk(covariance):
        return (covariance + SHRINK * np.diag(np.diag(covariance))) / (1 + SHRINK)

    about_their_own = (draws - draws.mean(1, keepdims=True)).reshape(-1, 2)
    w = metric(draws, slopes)
    there, here = (shrunk(np.cov(v.T, bias=True)) for v in (about_their_own, slopes))
    np.testing.assert_allclose(w @ here @ w, there, rtol=1e-9)
    # Of a normal distribution it is the covariance.
    whole = rng.multivariate_normal(np.zeros(2), [[4.0, 1.0], [1.0, 1.0]], (1, 20_000))
    found = metric(whole, -whole[0] @ np.linalg.inv([[4.0, 1.0], [1.0, 1.0]]))
    np.testing.assert_allclose(np.diag(found), [4.0, 1.0], rtol=0.1)  # shrunk
    assert 0.7 < found[0, 1] < 1


def test_beyond_so_many_dimensions_a_metric_is_its_diagonal(monkeypatch):
    rng = np.random.default_rng(0)
    draws, slopes = rng.normal(0, [1.0, 4.0], (2, 400, 2)), rng.normal(0, [1.0, 0.25], (500, 2))
    whole = np.diag(metric(draws, slopes))
    monkeypatch.setattr("model.hmc.DENSE", 1)
    np.testing.assert_allclose(metric(draws, slopes), whole, rtol=0.1)


def test_energy_is_conserved_by_small_steps_and_told_of_the_state_that_is_kept():
    still = sample(Target(lambda x: ridge(x)[0], ridge), np.ones((2, 2)), tuned(0.01, RIDGE), [], 50, [3], 2, lambda: None)
    fast = sample(Target(lambda x: ridge(x)[0], ridge), np.ones((2, 2)), tuned(1.9, RIDGE), [], 300, [3], 2, lambda: None)
    assert (np.diff(still.draws, axis=1) != 0).any(-1).mean() > 0.99
    rejected = (np.diff(fast.draws, axis=1) == 0).all(-1)
    assert 0.1 < rejected.mean() < 0.95
    np.testing.assert_allclose(fast.stats["logp"], [[ridge(x)[0] for x in chain] for chain in fast.draws])
    assert (fast.stats["energy"] >= -fast.stats["logp"]).all()
    assert not fast.stats["diverging"].any()
    assert still.stats["n_steps"].max() == LONGEST
    far = sample(Target(lambda x: ridge(x)[0], ridge), np.ones((2, 2)), tuned(90.0, RIDGE), [], 9, [3], 2, lambda: None)
    assert far.stats["diverging"].all()


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


def test_what_goes_wrong_in_one_chain_or_in_who_is_told_ends_the_others_at_once():
    starts, told = np.array([[-6.0, 0.0], [6.0, 0.0]]), []

    def broken(x):
        if x[0] > 0 and len(told) > 20:
            raise FloatingPointError
        return slope(x)

    with pytest.raises(FloatingPointError):
        sample(Target(two_hills, broken), starts, tuned(0.8, np.ones(2)), [], 10**6, [1], 2, lambda: told.append(1))

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(Target(two_hills, slope), starts, tuned(0.8, np.ones(2)), [], 10**6, [1], 2, interrupted)


def test_the_same_seed_gives_the_same_chain_and_another_seed_another():
    jumps = [(np.array([0]), np.array([12.0]))]
    np.testing.assert_array_equal(hills(jumps).draws, hills(jumps).draws)
    assert not np.array_equal(hills(jumps).draws, hills(jumps, seed=2).draws)


def test_a_jump_that_the_density_forbids_is_never_taken():
    x = np.array([0.5])
    at, accepted = jumped(
        x, 0.0, lambda v: 0.0 if v[0] < 1 else -np.inf, [([(np.array([0]), np.array([9.0]))], 1), ([], 3)], np.random.default_rng(0)
    )
    assert at[0] <= x[0]
    assert accepted in (0, 1)
    assert jumped(x, 0.0, lambda v: 0.0, [([], 5), ([], 5)], np.random.default_rng(0)) == (x, 0)


def test_a_known_jump_moves_one_units_level_by_the_severity_and_no_other_series(f, place):
    spread, size = contrasts(f.family_of), sum(v.size for v in place.values())
    moves = known_levels(f, place, (0.55,))
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


def test_a_known_jump_of_a_month_moves_that_month_of_one_course_where_something_is_seen(f, place):
    seen = place["family_course"][:, : f.periods][f.family_seen[:, : f.periods]]
    width = np.full(place.size, 0.01)
    width[seen[0]] = 0.3
    moves = known_months(f, place, width)
    assert {len(block) for block, _ in moves} == {1}
    by = {month: [d[0] for block, d in moves if block[0] == month] for month in seen}
    assert {int(block[0]) for block, _ in moves} <= set(seen)
    assert by[seen[0]] == [by for by in MONTH if by >= 1], "a trajectory goes less far by itself"
    assert all(by[month] == list(MONTH) for month in seen[1:])


def test_what_two_stretches_differ_in_is_proposed_whole_and_nothing_where_they_agree(f, place):
    size, rng = sum(v.size for v in place.values()), np.random.default_rng(0)
    here, there = (rng.normal(0, 0.1, (200, size)) for _ in range(2))
    assert learnt([Stretch.of(here)], [Stretch.of(there)], f, place) == [[], [], []]
    months = place["family_course"][1, 7:10]
    there[:, months] -= 0.8
    [(block, difference)], levels, both = learnt([Stretch.of(here)], [Stretch.of(there)], f, place)
    assert levels == both == []
    np.testing.assert_array_equal(block, months)
    np.testing.assert_allclose(difference, 0.8, atol=0.05)


@pytest.mark.parametrize(("share", "apart"), [(0.5, 3.0), (0.05, 1.0), (0.02, 3.0)])
def test_two_groups_of_draws_are_told_apart_however_few_are_in_one_alone_and_with_all_that_goes_with_them(share, apart):
    rng = np.random.default_rng(0)
    draws = rng.normal(0, 0.1, (2, 500, 3))
    draws[rng.random((2, 500)) < share] += [apart, -2 * apart, 0.0]
    found = halved(draws)
    assert len(found) == 2
    for i, [(alone, by), (block, difference)] in found.items():
        np.testing.assert_array_equal(alone, [i])
        np.testing.assert_array_equal(block, [0, 1])
        np.testing.assert_allclose(np.abs(difference), [apart, 2 * apart], atol=0.1)
        np.testing.assert_array_equal(by, difference[block == i])


def test_draws_of_one_hill_are_not_told_apart_and_what_has_not_moved_neither():
    rng = np.random.default_rng(0)
    assert halved(rng.normal(size=(2, 1000, 200))) == {}
    assert halved(rng.standard_t(8, size=(2, 1000, 50))) == {}
    assert halved(np.zeros((2, 100, 3))) == {}
    assert halved(rng.normal(size=(2, 4, 3))) == {}


def test_a_jump_promises_that_leads_from_one_hill_to_the_other():
    here = np.array([[-6.0, 0.0]])
    across, nowhere = (np.array([0]), np.array([12.0])), (np.array([0]), np.array([30.0]))
    assert promising([nowhere, across, nowhere], here, two_hills, 2) == [False, True, False]


@pytest.mark.parametrize("of", ["stretches", "groups"])
def test_a_jump_out_of_a_rare_reading_is_offered_into_it_too_once_a_chain_has_been_there(f, place, of):
    month, rng = place["family_course"][1, 7], np.random.default_rng(0)
    common = rng.normal(0, 0.1, (1, 400, place.size))
    rare = common.copy()
    rare[..., month] -= 0.8
    jumps = Repertoire([[], []], f, place, np.full(place.size, 0.1), lambda x: -20.0 * (abs(x[month]) > 0.4), 2)

    def offered_where_chains_are(draws):
        if of == "stretches":
            jumps.learn([], draws[:, -1])
        else:
            jumps.divide(np.concatenate([common, rare[:, :100]], axis=1), draws[:, -1])
        return [month in block for kind, _ in jumps.kinds() for block, _ in kind]

    jumps.learn([Stretch.of(common[0]), Stretch.of(rare[0])] if of == "stretches" else [], common[:, -1])
    assert offered_where_chains_are(common) == []
    assert offered_where_chains_are(rare) == [True]
    assert offered_where_chains_are(common) == [True]


def test_what_many_stretches_tell_alike_is_one_jump_there_or_back_and_what_differs_in_size_another(f, place):
    months, rng = place["family_course"][1, 7:10], np.random.default_rng(0)
    jumps = Repertoire([[], []], f, place, np.full(place.size, 0.1), lambda x: 0.0, 2)

    def sizes(*shifts):
        draws = rng.normal(0, 0.1, (len(shifts), 400, place.size))
        draws[:, :, months] += np.array(shifts)[:, None, None]
        jumps.learn([Stretch.of(of) for of in draws], draws[:, -1])
        return [round(abs(difference.mean()), 1) for kind, _ in jumps.kinds() for _, difference in kind]

    assert sizes(0.0, 0.0, 0.0, 0.8) == [0.8]
    assert sizes(0.0, 0.8, 0.0) == [0.8]
    assert sorted(sizes(2.4)) == [0.8, 1.6, 2.4]


def test_a_jump_that_does_not_promise_stands_in_the_way_of_no_other_like_it(f, place):
    month, rng = place["family_course"][1, 7], np.random.default_rng(0)
    draws = rng.normal(0, 0.1, (3, 400, place.size))
    draws[1, :, month] += 0.9
    draws[2, :, month] += 0.96
    # Narrow hills, .96 apart.
    jumps = Repertoire([[], []], f, place, np.full(place.size, 0.1), lambda x: -20.0 * (abs((x[month] + 0.48) % 0.96 - 0.48) > 0.03), 2)
    ends = np.zeros((1, place.size))
    for of in draws:
        jumps.learn([Stretch.of(of)], ends)
    assert {round(abs(float(difference[0])), 2) for kind, _ in jumps.kinds() for _, difference in kind} <= {0.95, 0.96, 0.97}
    assert any(kind for kind, _ in jumps.kinds())


def test_a_jump_between_two_groups_is_kept_when_the_draws_tell_no_more_of_it(f, place):
    rng = np.random.default_rng(0)
    one = rng.normal(0, 0.1, (1, 400, place.size))
    two = one.copy()
    two[:, :50, 3] += 2.0
    jumps = Repertoire([[], []], f, place, np.full(place.size, 0.1), lambda x: 0.0, 2)
    for draws in (two, one):
        jumps.divide(draws, draws[:, -1])
        assert [block.tolist() for kind, _ in jumps.kinds() for block, _ in kind] == [[3]]


def test_chains_are_carried_to_new_months_as_their_destinations_moved_and_no_further(f, place):
    known = f.periods - 2
    ends, wide = np.random.default_rng(1).normal(size=(2, place.size)), np.eye(place.size) + 0.1
    last = Fit(xr.DataTree(), dataclasses.replace(graph_of(f, A), frame=f.until(known)), [], Left(ends, tuned(1.0, wide), ()))
    left = continued(last, f)
    moved = np.diff(anchored_course(f), axis=1)
    for g, course in enumerate(place["family_course"]):
        for t in np.flatnonzero(f.family_seen[g, known : f.periods]) + known:
            np.testing.assert_allclose(left.ends[:, course[t]], left.ends[:, course[t - 1]] + moved[g, t - 1])
            alone = left.tuning.metric[course[t]]
            assert (np.flatnonzero(alone), alone[course[t]]) == (course[t], wide[0, 0]), "it has been as wide as its prior"
    old = np.setdiff1d(np.arange(place.size), place["family_course"][:, known:])
    np.testing.assert_array_equal(left.ends[:, old], ends[:, old])
    assert f.family_seen[:, known:].any()
