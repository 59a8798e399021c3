"""Oracles of the regime chain: what it must equal, computed in ways too slow or too simple to be wrong."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from scipy import stats
from scipy.special import expit, logsumexp

import model.xla  # noqa: F401 - tells JAX of the kernels
from model.chain import DIFFERENTIABLE, MONTHLY, regime_chain
from model.entry import _call, _given, adjoint, forward
from model.filtering import filtered_and_smoothed, over_states
from model.kernel import (
    CAMPAIGN_START,
    INNOCENT,
    INPUTS,
    MEASURE,
    MISSING,
    MOVES,
    NU,
    PARTED,
    POSITIVE,
    ZERO,
    by_chain,
    layer,
)
from model.smoother import evidence_on_grid, smooth


def a_problem(seed, chains=1, periods=3, states=3, groups=1, series=None):
    rng = np.random.default_rng(seed)
    n = series or chains + 1
    role = np.r_[np.zeros(states - 2, int), MEASURE, PARTED] if states > 2 else np.zeros(states, int)
    pairs = [
        (j, k, begun)
        for k in range(states)
        for j in np.argsort(role, kind="stable")
        for begun in ((0.4, 1.0) if role[j] == INNOCENT and role[k] == MEASURE else (1.0,))
    ]
    before, now, begun = map(np.array, zip(*pairs, strict=True))
    move = rng.uniform(0.1, 1.0, len(pairs))
    for j in range(states):
        # Given the state before and the role now; of what has parted, whatever else it becomes is one choice.
        for b in ([INNOCENT, MEASURE], [PARTED]) if role[j] == PARTED else ([INNOCENT], [MEASURE], [PARTED]):
            where = (before == j) & np.isin(role[now], b)
            move[where] /= max(move[where].sum(), 1e-9)
    p = {
        "months": periods,
        "x": rng.normal(0, 1, (n, periods)),
        "scale": rng.uniform(0.2, 1, (n, periods)),
        "kind": rng.choice(np.array([MISSING, ZERO, POSITIVE, POSITIVE, POSITIVE], np.int8), (n, periods)),
        "hurdle": rng.normal(-1, 1, (n, periods)),
        "slope": np.array(rng.uniform(0.2, 2)),
        "rho": rng.uniform(-0.5, 0.8, n),
        "spare": rng.uniform(0, 0.7, n),
        "relief": rng.uniform(0, 1.5, (chains, periods)),
        "parting": rng.uniform(0.0, 0.4, (chains, periods)),
        "hold": rng.uniform(0.2, 0.9, (chains, periods)),
        "onset": rng.uniform(0.01, 0.5, (groups, periods)),
        "pace": rng.uniform(0.1, 0.6, 2),
        "entry": rng.uniform(0.01, 0.3, (chains, len(MOVES))),
        "exit": rng.uniform(0.05, 0.6, len(MOVES)),
        "move": move,
        "chain": np.arange(n) % chains,
        "group": np.arange(chains) % groups,
        "initial": rng.dirichlet(np.ones(states)),
        "shift": np.r_[0.0, -np.sort(rng.uniform(0.2, 3, states - 1))],
        "role": role,
        "own_course": np.r_[0.0, 1.0, np.zeros(states - 2)],
        "before": before,
        "now": now,
        "begun": begun,
    }
    assert tuple(p) == INPUTS
    return p


def chance(p, c, t, move, i):
    """P(pair i | state before it, move), from the table in the module's docstring."""
    e, q, u, h = p["entry"][c, move], p["parting"][c, t], p["exit"][move], p["hold"][c, t]
    odds = [[(1 - q) * (1 - e), (1 - q) * e, q], [u * (1 - h), 1 - u, u * h], [1 - h, 1 - h, h]]
    return p["move"][i] * odds[p["role"][p["before"][i]]][p["role"][p["now"][i]]]


def log_chain(p, c, path, campaign):
    """log p(states = path, y of chain c | campaign), straight from the equations of the module; both begin a month early."""
    total = np.log(p["initial"][path[0]])
    for t in range(len(path) - 1):
        move, j, k = MOVES.index((campaign[t], campaign[t + 1])), path[t], path[t + 1]
        before = p["shift"][j] + p["own_course"][j] * p["relief"][c, t - 1]
        of_pairs = 0.0
        for i in np.flatnonzero((p["before"] == j) & (p["now"] == k)):
            silent = p["shift"][k] + p["own_course"][k] * p["relief"][c, t]
            now = np.log(1 - p["begun"][i] * (1 - np.exp(p["shift"][k]))) + p["own_course"][k] * p["relief"][c, t]
            density = chance(p, c, t, move, i)
            for n in np.flatnonzero(p["chain"] == c):
                spare = p["spare"][n] * (max(p["role"][j], p["role"][k]) > 0)
                density *= (1 - spare) * shown(p, n, t, now, before, silent) + spare * shown(p, n, t, 0.0, 0.0, 0.0)
            of_pairs += density
        with np.errstate(divide="ignore"):
            total += np.log(of_pairs)
    return total


def shown(p, n, t, now, before, silent):
    """Probability or density of month t of series n, given the shifts of this month and the one before, and that for a zero."""
    zero = expit(p["hurdle"][n, t] - p["slope"] * silent)
    if p["kind"][n, t] == MISSING:
        return 1.0
    if p["kind"][n, t] == ZERO:
        return zero
    rho, scale, mean = p["rho"][n], p["scale"][n, t], now
    if t and p["kind"][n, t - 1] == POSITIVE:
        mean += rho * (p["x"][n, t - 1] - before)
    else:
        scale /= np.sqrt(1 - rho**2)
    return (1 - zero) * stats.t.pdf(p["x"][n, t], NU, mean, scale)


def log_campaign(p, campaign):
    onset, (a, b) = p["onset"][0], p["pace"]
    total = np.log(CAMPAIGN_START[campaign[0]])
    for t, move in enumerate(itertools.pairwise(campaign)):
        total += np.log([1 - onset[t], onset[t], 1 - a, a, 1 - b, b][MOVES.index(move)])
    return total


def enumerated(p):
    """(log likelihood, (chain, period, state) posterior) by every campaign and every path of every chain of one group."""
    K, T, chains = p["shift"].size, p["x"].shape[1], len(p["entry"])
    campaigns = [z for z in itertools.product(range(3), repeat=T + 1) if all(m in MOVES for m in itertools.pairwise(z))]
    paths = np.array(list(itertools.product(range(K), repeat=T + 1)))
    logs, given = [], []
    for z in campaigns:
        of_paths = [np.array([log_chain(p, c, path, z) for path in paths]) for c in range(chains)]
        logs.append(log_campaign(p, z) + sum(logsumexp(v) for v in of_paths))
        weights = [np.exp(v - logsumexp(v)) for v in of_paths]
        given.append([[[w[paths[:, t + 1] == k].sum() for k in range(K)] for t in range(T)] for w in weights])
    total = logsumexp(logs)
    return total, np.einsum("z,zctk->ctk", np.exp(np.array(logs) - total), np.array(given))


def cut(p, periods):
    return {n: v[:, :periods] if n in MONTHLY else v for n, v in p.items()} | {"months": periods}


@pytest.mark.parametrize("seed", range(4))
def test_of_one_chain_likelihood_and_probabilities_are_the_sums_over_every_path(seed):
    p = a_problem(seed)
    predictive, campaign, state = forward(layer(p))
    filtered = over_states(campaign, state, p["group"])
    for periods in (1, 2, 3):
        total, posterior = enumerated(cut(p, periods))
        assert predictive[0, :periods].sum() == pytest.approx(total, rel=1e-10)
        np.testing.assert_allclose(filtered[0, periods - 1], posterior[0, -1], rtol=1e-9, atol=1e-14)
    smoothed = filtered_and_smoothed(p)[1]
    np.testing.assert_allclose(smoothed, posterior, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("seed", range(4))
def test_what_keeping_the_chains_of_a_campaign_apart_costs_is_small(seed):
    p = a_problem(seed, chains=2)
    total, posterior = enumerated(p)
    assert forward(layer(p))[0].sum() == pytest.approx(total, abs=2e-3)
    np.testing.assert_allclose(filtered_and_smoothed(p)[1], posterior, atol=5e-3)


@pytest.mark.parametrize(("seed", "chains", "groups"), [(0, 5, 2), (1, 5, 2), (2, 5, 2), (3, 5, 2), (4, 11, 1)])
def test_the_gradient_is_the_difference_quotient_for_any_cotangent(seed, chains, groups):
    p = a_problem(seed, chains=chains, periods=6, states=5, groups=groups, series=chains + 3)
    weight = np.random.default_rng(seed).normal(size=(chains, 6))
    _, campaign, state = forward(layer(p))
    gradient = dict(zip(DIFFERENTIABLE, adjoint(layer(p), campaign, state, weight), strict=True))

    def objective(**changed):
        return (weight * forward(layer({**p, **changed}))[0]).sum()

    def central(name, index, h):
        up, down = p[name].copy(), p[name].copy()
        up[index] += h
        down[index] -= h
        return (objective(**{name: up}) - objective(**{name: down})) / (2 * h)

    for name in DIFFERENTIABLE:
        numeric = np.empty_like(p[name])
        for index in np.ndindex(p[name].shape):
            # Richardson's extrapolation to a step of nothing, of order six: one step alone is right to some 1e-7.
            h = 4e-3 * max(abs(p[name][index]), 0.02)
            first, second, third = (central(name, index, h / 2**n) for n in range(3))
            one, other = (4 * second - first) / 3, (4 * third - second) / 3
            numeric[index] = (16 * other - one) / 15
        np.testing.assert_allclose(gradient[name], numeric, rtol=1e-8, atol=1e-9, err_msg=name)


def test_chains_side_by_side_are_what_each_is_alone():
    p = a_problem(5, chains=11, periods=6, states=5, groups=11, series=11)
    of_series, of_chain = ("x", "scale", "kind", "hurdle", "rho", "spare"), ("relief", "parting", "hold", "onset", "entry")
    predictive, campaign, state = forward(layer(p))
    together = by_chain(p["group"], 11, state), by_chain(p["group"], 11, smooth(layer(p), campaign, state)[1])
    for c in range(11):
        alone = p | {name: p[name][c : c + 1] for name in (*of_series, *of_chain)} | {"chain": np.array([0]), "group": np.array([0])}
        own, own_campaign, own_state = forward(layer(alone))
        np.testing.assert_allclose(predictive[c], own[0], rtol=1e-13)
        for every, one in zip(together, (own_state, smooth(layer(alone), own_campaign, own_state)[1]), strict=True):
            np.testing.assert_allclose(every[..., c], by_chain(alone["group"], 1, one)[..., 0], rtol=1e-12, atol=1e-15)


def test_what_lay_in_memory_before_is_in_nothing_that_the_kernels_say():
    p = layer(a_problem(6, chains=11, periods=6, groups=3) | {"months": 4})
    found = forward(p)
    dirty = [np.full(v.shape, np.nan) for v in found]
    _call("forward", _given(p), dirty)
    for one, other in zip(found, dirty, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not found[2][4:].any()
    weight = np.ones_like(found[0])
    pulled = [np.full(np.shape(v), np.nan) for v in adjoint(p, *found[1:], weight)]
    _call("adjoint", [*_given(p), *found[1:], weight], pulled)
    for one, other in zip(adjoint(p, *found[1:], weight), pulled, strict=True):
        np.testing.assert_array_equal(one, other)


def the_op(p):
    variables = {n: pt.tensor(n, dtype=np.asarray(v).dtype, shape=np.shape(v)) for n, v in p.items()}
    return variables, regime_chain(*variables.values())[0]


def test_the_op_in_a_pytensor_graph_is_the_kernel_and_its_adjoint():
    p = a_problem(11, chains=3, series=4)
    variables, predictive = the_op(p)
    gradient = pytensor.grad((predictive**2).sum(), [variables[n] for n in DIFFERENTIABLE])
    compiled = pytensor.function(list(variables.values()), [predictive, *gradient], mode="FAST_COMPILE")
    got, *pulled = compiled(*p.values())
    expected, campaign, state = forward(layer(p))
    np.testing.assert_array_equal(got, expected)
    for name, ours, theirs in zip(DIFFERENTIABLE, adjoint(layer(p), campaign, state, 2 * expected), pulled, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-12, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("months", [6, 4])
def test_what_xla_runs_is_the_kernel_and_its_adjoint(months):
    p = a_problem(12, chains=30, periods=6, groups=7, series=40) | {"months": months}
    variables, predictive = the_op(p)
    in_xla = pytensor.function(list(variables.values()), predictive, mode="JAX").vm.jit_fn
    expected, campaign, state = forward(layer(p))
    np.testing.assert_array_equal(in_xla(*map(jnp.asarray, p.values()))[0], expected)
    assert not expected[:, months:].any()

    def objective(of):
        return (in_xla(*map(jnp.asarray, (p | of).values()))[0] ** 2).sum()

    pulled = jax.grad(objective)({n: jnp.asarray(p[n]) for n in DIFFERENTIABLE})
    for name, ours in zip(DIFFERENTIABLE, adjoint(layer(p), campaign, state, 2 * expected), strict=True):
        np.testing.assert_allclose(pulled[name], ours, rtol=1e-12, atol=1e-14, err_msg=name)


def test_with_one_state_and_nothing_missing_it_is_a_plain_student_t_ar1():
    p = a_problem(3, periods=40, states=2, series=1)
    p["kind"][:], p["hurdle"][:], p["shift"][:], p["relief"][:] = POSITIVE, -800.0, 0.0, 0.0
    p["entry"][:], p["parting"][:] = 0.0, 0.0
    x, scale, rho = p["x"][0], p["scale"][0], p["rho"][0]
    direct = stats.t.logpdf(x[0], NU, 0, scale[0] / np.sqrt(1 - rho**2))
    direct += stats.t.logpdf(x[1:], NU, rho * x[:-1], scale[1:]).sum()
    assert forward(layer(p))[0].sum() == pytest.approx(direct, rel=1e-12)


def test_a_campaign_makes_the_families_of_one_importer_turn_together():
    """The same weak fall is likelier a restriction where a sister family fell at the same time."""
    p = a_problem(7, chains=2, periods=6, series=2)
    steady, falls = np.zeros(6), np.r_[np.zeros(3), np.full(3, -0.8)]
    p["kind"][:], p["hurdle"][:], p["relief"][:], p["parting"][:], p["rho"][:], p["scale"][:], p["spare"][:] = (
        POSITIVE,
        -800.0,
        0.0,
        0.0,
        0.0,
        0.4,
        0.0,
    )
    p["shift"], p["own_course"][:], p["onset"][:] = np.array([0.0, -1.0, -1.0]), 0.0, 0.02
    p["entry"], p["exit"] = np.tile([0.005, 0.5, 0.5, 0.05, 0.05, 0.0], (2, 1)), np.full(6, 0.1)

    def restricted(of_sister):
        x = np.stack([falls, of_sister])
        return filtered_and_smoothed(p | {"x": x})[0][0, -1, 1]

    assert restricted(falls) > restricted(steady) + 0.1


def test_the_grid_of_the_update_is_the_filter_with_one_month_changed():
    p = a_problem(5, chains=2, periods=4, groups=2, series=3)
    _, campaign, state = forward(layer(cut(p, 3)))
    changes = {"moved": [0.0, 0.4], "relief": [0.3, 1.2], "parting": [0.05, 0.3], "hold": [0.5, 0.9], "widened": [0.0, 0.1]}
    given = {name: np.tile(v, (2, 1)) if name in ("relief", "parting", "hold") else np.array(v) for name, v in changes.items()}
    grid = evidence_on_grid(layer(p), 3, *given.values(), campaign, state)
    for n in range(2):
        q = {name: v.copy() if name in MONTHLY else v for name, v in p.items()}
        q["x"][:, 3] -= changes["moved"][n]
        q["scale"][:, 3] = np.sqrt(q["scale"][:, 3] ** 2 + changes["widened"][n])
        for name in ("relief", "parting", "hold"):
            q[name][:, 3] = changes[name][n]
        np.testing.assert_allclose(grid[:, n], forward(layer(q))[0][:, 3], rtol=1e-12)


def test_the_smoother_ends_where_the_filter_ends():
    p = a_problem(9, chains=4, periods=7, groups=2, series=6)
    _, campaign, state = forward(layer(p))
    end_campaign, end_state = smooth(layer(p), campaign, state)
    np.testing.assert_array_equal(end_campaign[:, -1], campaign[:, -1])
    np.testing.assert_array_equal(end_state[-1], state[-1])
    np.testing.assert_allclose(end_campaign.sum(-1), 1, rtol=1e-12)
    np.testing.assert_allclose(by_chain(p["group"], 2, end_state).sum(2), 1, rtol=1e-9)
