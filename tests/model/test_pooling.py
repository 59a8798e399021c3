"""Shared priors from a sample of shards: narrower where shards agree, as wide as they differ, untouched where they are silent."""

import numpy as np
import pytest

from model.pooling import pooled
from model.spec import Assumptions

A = Assumptions()


def posterior(prior, truth, error, rng, samples=4000):
    """Draws of a normal parameter whose figures alone say N(truth + noise, error^2)."""
    location, scale = prior
    seen = truth + rng.normal(0, error)
    variance = 1 / (1 / scale**2 + 1 / error**2)
    return rng.normal(variance * (location / scale**2 + seen / error**2), np.sqrt(variance), samples)


def test_where_shards_agree_the_prior_of_the_others_is_what_they_say():
    rng = np.random.default_rng(2)
    shards = [{"noise": posterior(A.noise, -2.0, 0.1, rng), "drift": np.exp(posterior(A.drift, -1.2, 0.1, rng))} for _ in range(4)]
    told = pooled(A, shards)
    assert told.noise == (pytest.approx(-2.0, abs=0.15), pytest.approx(0.15, abs=0.03))
    assert told.drift == (pytest.approx(-1.2, abs=0.15), pytest.approx(0.125, abs=0.03))
    assert told.season == A.season and told.surge_entry == A.surge_entry


def test_where_shards_differ_a_new_one_may_differ_as_much():
    """Of 300 shards that were not sampled, the 90 % interval of the pooled prior holds nine in ten."""
    rng = np.random.default_rng(3)
    held = []
    for _ in range(300):
        truths = rng.normal(-1.4, 0.25, 6)
        location, scale = pooled(A, [{"noise": posterior(A.noise, t, 0.05, rng)} for t in truths[:5]]).noise
        held.append(abs(truths[5] - location) < 1.645 * scale)
    assert np.mean(held) == pytest.approx(0.9, abs=0.07)


def test_a_shard_that_is_silent_changes_nothing_and_no_prior_gets_wider():
    rng = np.random.default_rng(4)
    silent = {"noise": rng.normal(*A.noise, 4000)}
    assert pooled(A, [silent]).noise == pytest.approx(A.noise, rel=0.1)
    assert pooled(A, [{"noise": posterior(A.noise, -2.0, 0.1, rng)}]).noise == A.noise, "one shard is no sample"
    apart = [{"noise": posterior(A.noise, t, 0.01, rng)} for t in (-5.0, 3.0)]
    assert pooled(A, apart).noise[1] <= A.noise[1]
