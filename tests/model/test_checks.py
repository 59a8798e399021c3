"""The gate: good draws pass, each kind of bad draws does not."""

import numpy as np
import pytest
import xarray as xr

from model.checks import outcome, run_checks
from model.modes import Rival


def tree(draws, diverging=0):
    chains, n = draws.shape[:2]
    energy = np.random.default_rng(1).normal(size=(chains, n))
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
