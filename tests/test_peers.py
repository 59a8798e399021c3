"""What `make bench` measures the kernel by computes the same: a second opinion on the kernel, too."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from test_chain_oracle import a_problem

from benchmarks.peers import cpp, jax_scan
from model.adjoint import Gradient
from model.entry import adjoint, forward
from model.kernel import by_chain, layer


@pytest.fixture(scope="module", params=[(3, 1), (11, 3)])
def problem(request):
    chains, groups = request.param
    return layer(a_problem(chains, chains=chains, periods=6, states=4, groups=groups, series=chains + 4))


def test_a_scan_over_months_finds_the_same_likelihood_and_gradient(problem):
    predictive, campaign, state = forward(problem)
    value, gradient = jax_scan.value_and_gradient(problem)()
    np.testing.assert_allclose(value, predictive.sum(), rtol=1e-10)
    for name, own, other in zip(Gradient._fields, adjoint(problem, campaign, state, np.ones_like(predictive)), gradient, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-7, atol=1e-9, err_msg=name)
    assert jnp.isfinite(value)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_same_arithmetic_in_cpp_finds_the_same(problem):
    ours, theirs = forward(problem), cpp.forward(problem)
    by_state = by_chain(problem.group, len(ours[1]), ours[2])
    for own, other in zip((*ours[:2], by_state), theirs, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-11, atol=1e-13)
    weight = np.random.default_rng(0).uniform(0.5, 1.5, ours[0].shape)
    for name, own, other in zip(
        Gradient._fields, adjoint(problem, *ours[1:], weight), cpp.adjoint(problem, *theirs[1:], weight), strict=True
    ):
        np.testing.assert_allclose(own, other, rtol=1e-9, atol=1e-11, err_msg=name)
