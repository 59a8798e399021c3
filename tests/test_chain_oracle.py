"""Oracles of the regime chain: what it must equal, computed in ways too slow or too simple to be wrong."""

import itertools

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from scipy import stats
from scipy.special import expit, logsumexp

from model.chain import MISSING, NU, POSITIVE, ZERO, adjoint, forward, regime_chain, regime_probabilities

NAMES = ["x", "scale", "kind", "hurdle", "slope", "rho", "entry", "base", "tilt", "initial", "shift"]
DIFFERENTIABLE = ["x", "scale", "hurdle", "slope", "rho", "entry", "base", "tilt"]


def a_problem(seed, chains=3, periods=5, states=3):
    rng = np.random.default_rng(seed)
    base = rng.dirichlet(np.ones(states), states)
    return {
        "x": rng.normal(0, 1, (chains, periods)),
        "scale": rng.uniform(0.2, 1, (chains, periods)),
        "kind": rng.choice(np.array([MISSING, ZERO, POSITIVE, POSITIVE, POSITIVE], np.int8), (chains, periods)),
        "hurdle": rng.normal(-1, 1, (chains, periods)),
        "slope": np.array(rng.uniform(0.2, 2)),
        "rho": rng.uniform(-0.5, 0.8, chains),
        "entry": rng.uniform(0.01, 0.3, (chains, periods)),
        "base": base,
        "tilt": rng.dirichlet(np.ones(states), states) - base,
        "initial": rng.dirichlet(np.ones(states)),
        "shift": np.r_[0.0, -np.sort(rng.uniform(0.2, 3, states - 1))],
    }


def log_joint(p, c, path, periods):
    """log p(states = path, y_1..periods) of chain c, straight from the equations of the module."""
    total = np.log(p["initial"][path[0]])
    for t in range(periods):
        if t:
            total += np.log(p["base"][path[t - 1], path[t]] + p["entry"][c, t] * p["tilt"][path[t - 1], path[t]])
        shift, kind = p["shift"][path[t]], p["kind"][c, t]
        zero = expit(p["hurdle"][c, t] - p["slope"] * shift)
        if kind == ZERO:
            total += np.log(zero)
        if kind == POSITIVE:
            rho, scale, mean = p["rho"][c], p["scale"][c, t], shift
            if t and p["kind"][c, t - 1] == POSITIVE:
                mean += rho * (p["x"][c, t - 1] - p["shift"][path[t - 1]])
            else:
                scale /= np.sqrt(1 - rho**2)
            total += np.log1p(-zero) + stats.t.logpdf(p["x"][c, t], NU, mean, scale)
    return total


def enumerated(p, c, periods):
    paths = list(itertools.product(range(p["shift"].size), repeat=periods))
    return paths, np.array([log_joint(p, c, path, periods) for path in paths])


@pytest.mark.parametrize("seed", range(6))
def test_the_likelihood_is_the_sum_over_every_state_path(seed):
    p = a_problem(seed)
    predictive, filtered = forward(*p.values())
    for c in range(3):
        for periods in range(1, 6):
            paths, joint = enumerated(p, c, periods)
            assert predictive[c, :periods].sum() == pytest.approx(logsumexp(joint), rel=1e-10)
            last = np.array([path[-1] for path in paths])
            weight = np.exp(joint - logsumexp(joint))
            exact = [weight[last == k].sum() for k in range(3)]
            np.testing.assert_allclose(filtered[c, periods - 1], exact, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("seed", range(6))
def test_smoothed_probabilities_are_the_marginals_of_every_state_path(seed):
    p = a_problem(seed)
    _, smoothed = regime_probabilities(**{**p, "slope": float(p["slope"])})
    for c in range(3):
        paths, joint = enumerated(p, c, 5)
        weight = np.exp(joint - logsumexp(joint))
        for t in range(5):
            at = np.array([path[t] for path in paths])
            np.testing.assert_allclose(smoothed[c, t], [weight[at == k].sum() for k in range(3)], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("seed", range(6))
def test_the_gradient_is_the_central_difference_for_any_cotangent(seed):
    p = a_problem(seed)
    weight = np.random.default_rng(seed).normal(size=p["x"].shape)
    predictive, filtered = forward(*p.values())
    gradient = dict(zip(DIFFERENTIABLE, adjoint(*p.values(), predictive, filtered, weight), strict=True))

    def objective(**changed):
        return (weight * forward(*{**p, **changed}.values())[0]).sum()

    for name in DIFFERENTIABLE:
        numeric = np.empty_like(p[name])
        for index in np.ndindex(p[name].shape):
            h = 1e-6
            up, down = p[name].copy(), p[name].copy()
            up[index] += h
            down[index] -= h
            numeric[index] = (objective(**{name: up}) - objective(**{name: down})) / (2 * h)
        np.testing.assert_allclose(gradient[name], numeric, rtol=2e-6, atol=2e-8, err_msg=name)


def test_the_op_in_a_pytensor_graph_is_the_kernel_and_its_adjoint():
    p = a_problem(11)
    variables = {n: pt.tensor(n, dtype=np.asarray(v).dtype, shape=np.shape(v)) for n, v in p.items()}
    predictive, _ = regime_chain(*variables.values())
    total = (predictive**2).sum()
    gradient = pytensor.grad(total, [variables[n] for n in DIFFERENTIABLE])
    compiled = pytensor.function(list(variables.values()), [predictive, *gradient], mode="NUMBA")
    got, *pulled = compiled(*p.values())
    expected, filtered = forward(*p.values())
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    for name, ours, theirs in zip(DIFFERENTIABLE, adjoint(*p.values(), expected, filtered, 2 * expected), pulled, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-10, atol=1e-12, err_msg=name)


def test_with_one_state_and_nothing_missing_it_is_a_plain_student_t_ar1():
    p = a_problem(3, chains=1, periods=40, states=1)
    p["kind"][:] = POSITIVE
    p["hurdle"][:] = -800.0
    p["base"][:], p["tilt"][:], p["initial"][:] = 1.0, 0.0, 1.0
    x, scale, rho = p["x"][0], p["scale"][0], p["rho"][0]
    direct = stats.t.logpdf(x[0], NU, 0, scale[0] / np.sqrt(1 - rho**2))
    direct += stats.t.logpdf(x[1:], NU, rho * x[:-1], scale[1:]).sum()
    assert forward(*p.values())[0].sum() == pytest.approx(direct, rel=1e-12)


def test_a_month_with_nothing_seen_moves_the_states_by_the_transition_alone():
    p = a_problem(5)
    p["kind"][:, -1] = MISSING
    predictive, filtered = forward(*p.values())
    step = p["base"][None] + p["entry"][:, -1, None, None] * p["tilt"][None]
    np.testing.assert_allclose(filtered[:, -1], np.einsum("cj,cjk->ck", filtered[:, -2], step), rtol=1e-12)
    np.testing.assert_allclose(predictive[:, -1], 0, atol=1e-12)
