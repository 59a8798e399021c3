"""The gate: good draws pass, each kind of bad draws does not."""

import numpy as np
import pytest
import xarray as xr

from model.checks import Check, outcome, run_checks, weight_checks
from model.modes import Rival
from model.reweigh import Reweighed


def tree(draws, diverging=0, energy=None):
    chains, n = draws.shape[:2]
    energy = np.random.default_rng(1).normal(size=(chains, n)) if energy is None else energy
    divergent = np.zeros((chains, n), bool)
    divergent[0, :diverging] = True
    return xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({"a": (("chain", "draw", "unit"), draws)}, {"unit": ["x", "y"]}),
            "sample_stats": xr.Dataset({"diverging": (("chain", "draw"), divergent), "energy": (("chain", "draw"), energy)}),
        }
    )


@pytest.fixture
def good():
    return np.random.default_rng(0).normal(size=(2, 1000, 2))


def test_independent_draws_pass(good):
    assert outcome(run_checks(tree(good), ["a"], [])) == "PASS"


def test_a_chain_in_another_mode_fails_and_is_named(good):
    good[1, :, 1] += 3
    checks = {c.name: c for c in run_checks(tree(good), ["a"], [])}
    assert checks["rhat_max"].outcome == "FAIL"
    assert checks["rhat_max"].worst == "a[y]"


def test_a_sticky_chain_fails_on_effective_draws(good):
    sticky = np.repeat(good[:, ::50], 50, axis=1)
    assert {c.name: c.outcome for c in run_checks(tree(sticky), ["a"], [])}["ess_bulk_min"] == "FAIL"


def test_a_few_divergences_ask_for_review_and_many_fail(good):
    outcomes = [{c.name: c.outcome for c in run_checks(tree(good, n), ["a"], [])}["divergences"] for n in (0, 3, 50)]
    assert outcomes == ["PASS", "REVIEW", "FAIL"]


def test_a_nan_never_passes(good):
    good[0, 5, 0] = np.nan
    assert outcome(run_checks(tree(good), ["a"], [])) == "FAIL"


def test_a_rival_mode_refuses_the_fit_only_if_it_is_near_and_answers_otherwise(good):
    far, same, near = Rival("higher base", 40.0, 0.2), Rival("noise only", 0.1, 0.0), Rival("no common course", 2.0, 0.1)
    been_there = Rival("higher base", -3.0, 0.07, visited=0.01)
    assert outcome(run_checks(tree(good), ["a"], [far, same, been_there])) == "PASS"
    checks = {c.name: c for c in run_checks(tree(good), ["a"], [far, near])}
    assert checks["rival_modes"].outcome == "FAIL"
    assert "no common course" in checks["rival_modes"].worst


def _bad(rng):
    """(kind, tree, rivals) of posteriors that must not be published; ten kinds, five each."""
    draws = rng.normal(size=(2, 1000, 2))
    for n in range(5):
        stuck = draws.copy()
        stuck[1, :, n % 2] = stuck[1, 0, n % 2]
        yield "a chain that stands still", tree(stuck), []
        for share, kind in ((1.0, "the same mean, another spread"), (0.0, "a shift of half a standard deviation")):
            moved = draws.copy()
            moved[1] = moved[1] * (1 + 3 * share) + 0.5 * (1 - share)
            yield kind, tree(moved), []
        yield "fifty effective draws", tree(np.repeat(draws[:, :25], 40, axis=1)), []
        trend = draws + np.linspace(0, 2, 1000)[None, :, None]
        yield "chains that are still on their way", tree(trend), []
        switched = draws.copy()
        switched[:, 500:] = switched[:, 500:, ::-1] + np.array([3.0, -3.0])
        yield "labels switched half way", tree(switched), []
        broken = draws.copy()
        broken[n % 2, 17 * n, 0] = np.inf if n % 2 else np.nan
        yield "not a number", tree(broken), []
        yield "divergences", tree(draws, diverging=20 + n), []
        yield "too few draws", tree(draws[:, : 20 + n]), []
        yield "energy that is not explored", tree(draws, energy=np.cumsum(rng.normal(size=(2, 1000)), axis=1)), []
        yield "a rival near by", tree(draws), [Rival("higher base", 0.9 * n, 0.1)]
        draws = rng.normal(size=(2, 1000, 2))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_bad_posteriors_are_refused_every_one_and_good_ones_hardly_ever():
    rng = np.random.default_rng(11)
    passed = [kind for kind, bad, rivals in _bad(rng) if outcome(run_checks(bad, ["a"], rivals)) == "PASS"]
    assert passed == []
    refused = [outcome(run_checks(tree(rng.normal(size=(2, 1000, 2))), ["a"], [])) != "PASS" for _ in range(200)]
    assert np.mean(refused) <= 0.01


def test_weighed_draws_may_stand_for_newer_figures_by_their_tail_and_by_how_many_are_left():
    draws = {"family_course": np.zeros((800, 1, 1))}
    of_fit = [Check("ess_bulk_min", 400.0, 200.0, 100.0, "PASS", "", ""), Check("ess_tail_min", 300.0, 200.0, 100.0, "PASS", "", "")]

    def judged(k, efficiency):
        return outcome(weight_checks(Reweighed(None, draws, k, efficiency, True), of_fit))

    assert [judged(0.3, 0.5), judged(0.0, 1.0)] == ["PASS", "PASS"]
    assert judged(0.66, 0.5) == "FAIL", "for 800 draws the bound is 0.656"
    assert [judged(0.3, 0.3), judged(0.3, 0.1)] == ["REVIEW", "FAIL"], "90 and 30 effective draws are left"
    assert judged(np.inf, 0.5) == "FAIL"
