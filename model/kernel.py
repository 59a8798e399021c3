r"""The coupled regime chain: its likelihood, the adjoint and the smoother, as numba kernels.

C unit chains of K states in G groups (the families of one importer), T months, N series (the HS codes of the units). A
group has a *campaign* z of its own: :data:`CALM`, :data:`ONSET` (the months in which measures are being taken) or
:data:`ONGOING`; governments squeeze several goods of one partner at a time. Chain c of group g at month t is seen through its
series n, each by ``x`` (log flow minus its open-regime expectation) or not at all. Each state has a *role*: :data:`INNOCENT`,
:data:`MEASURE` (a restriction of the unit's own) or :data:`PARTED` (the unit fares in its own way under what befalls its whole
family). A code of the family may be left out: with probability ``spare`` the series has the shift 0 in states that are not
innocent. A state of ``own_course`` undoes what the unit's family suffers in common: its shift is its own plus ``relief``.

With p = (z_{t-1}, z_t) one of the six :data:`MOVES`, roles a of j and b of k, and move_jk a probability given both,

.. math::
    P(z_t \mid z_{t-1}) &= \begin{cases}\text{onset}_{gt} & \text{calm to onset} \\ \text{pace}_0 & \text{onset to ongoing} \\
                            \text{pace}_1 & \text{ongoing to calm}\end{cases} \\
    P(s_t = k \mid s_{t-1} = j, p) &= \text{move}_{jk}\, Q_{ab}, \qquad
    Q = \begin{pmatrix} (1 - q)(1 - e_p) & (1 - q)\, e_p & q \\ u_p (1 - h) & 1 - u_p & u_p h \\ 1 - h & 1 - h & h \end{pmatrix} \\
    P(\text{zero} \mid s_t = k) &= \sigma(\text{hurdle}_{nt} - \text{slope}\; m_k) \\
    x_{nt} - m_{s_t} &= \rho_n\,(x_{n,t-1} - m_{s_{t-1}}) + \text{scale}_{nt}\;\varepsilon_t, \quad \varepsilon_t \sim t_\nu

with e = ``entry``, u = ``exit``, q = ``parting``, h = ``hold`` and shift :math:`m_k = \log(1 - \text{severity}_k)`. The emission
sits on the pair :math:`(s_{t-1}, s_t)` (Hamilton 1989, Econometrica 57(2), 357-384), and pairs are listed, sorted by the state now:
``before``, ``now``, and ``begun``, the share of month t during which the state now was in force, so that a measure may begin
within a month: its shift is then :math:`\log(1 - \text{begun}\,\text{severity}_k)`. A pair of states may stand in the list several
times. Where the month before has no positive flow the residual has its stationary scale. ``kind`` says what month t shows:
:data:`MISSING`, :data:`ZERO` or :data:`POSITIVE`. The degrees of freedom are the odd constant :data:`NU`, for
which the Student-t density is a rational function: no logarithm and no power in the inner loop.

Given the whole course of z the chains of a group are independent; given only z_t they are not, quite. After each month
the filter keeps :math:`p(z_t) \prod_c p(s_{ct} \mid z_t)`, as Boyen & Koller (1998, UAI, 33-42) do: exact for a
group of one chain, and for several a likelihood of its own right, being a product of one-step predictive densities. What
that costs is measured against full enumeration in ``tests/test_chain_oracle.py``.

``predictive[c, t]`` = log p(y_ct | months before t, chains of the group before c in month t); the sum over all is the log
likelihood, and the gradient is the exact adjoint of the recursion, for any cotangent.
"""

import numpy as np
from numba import njit

MISSING, ZERO, POSITIVE = 0, 1, 2
INNOCENT, MEASURE, PARTED = 0, 1, 2
CALM, ONSET, ONGOING = 0, 1, 2
MOVES = ((CALM, CALM), (CALM, ONSET), (ONSET, ONSET), (ONSET, ONGOING), (ONGOING, ONGOING), (ONGOING, CALM))
"""The campaign's moves in a month, in the order of the axis ``move``."""
CAMPAIGN_START = (0.96, 0.01, 0.03)
NU = 5.0
NEVER_ZERO = -800.0
"""A hurdle at which no state can show a zero."""
CAMPAIGNS, _P, _ROLES = 3, len(MOVES), 3
_FROM, _TO = np.array(MOVES).T.copy()
_START = np.array(CAMPAIGN_START)
_POWER = 3  # (NU + 1) / 2
_NORMAL = 8 / (3 * np.pi * np.sqrt(5))  # Gamma(3) / (Gamma(5/2) sqrt(5 pi)): t_5 at zero, unit scale
_TINY = 1e-300

# One file, although it is long: numba's cache looks at the file of the function it keeps, not at those of the functions in it.
_compiled = njit(cache=True, error_model="numpy")


@_compiled
def _members(group, groups):
    """(order, first, most): chains sorted by group, stably; those of group g are order[first[g]:first[g + 1]], at most `most`."""
    first = np.zeros(groups + 1, np.int64)
    for g in group:
        first[g + 1] += 1
    for g in range(groups):
        first[g + 1] += first[g]
    order, free = np.empty(group.size, np.int64), first[:-1].copy()
    for c in range(group.size):
        order[free[group[c]]] = c
        free[group[c]] += 1
    return order, first, (first[1:] - first[:-1]).max()


@_compiled
def _bounds(before, now, role):
    """bound[k, a] : bound[k, a + 1] are the pairs that lead to k from a state of role a; they are sorted so."""
    bound = np.zeros((role.size, _ROLES + 1), np.int64)
    for i in range(now.size):
        bound[now[i], role[before[i]] + 1] += 1
    total = 0
    for k in range(role.size):
        bound[k, 0] = total
        for a in range(_ROLES):
            bound[k, a + 1] += bound[k, a]
        total = bound[k, _ROLES]
    return bound


@_compiled
def _pair_shifts(shift, before, now, begun):
    """(before, now) log multiples of the flow by pair, were there no relief."""
    here = np.log1p(-begun * (1.0 - np.exp(shift[now])))
    return shift[before], here


@_compiled
def _month_shifts(c, t, relief, own_course, before, now, pair_before, pair_now, shift_before, shift_now):
    """The month's shifts by pair of states: of a state of its own course, that plus `relief`."""
    here, there = relief[c, t], relief[c, t - 1] if t > 0 else 0.0
    for i in range(now.size):
        shift_before[i] = pair_before[i] + own_course[before[i]] * there
        shift_now[i] = pair_now[i] + own_course[now[i]] * here


@_compiled
def _silence(hurdle, lift, own_course, relieved, silent):
    """silent[k] = p(zero | k), and silent[K] that of a spared series. lift[k] = exp(slope * shift[k]), relieved = exp(slope * relief)."""
    K = lift.size
    calm = np.exp(-hurdle)
    for k in range(K):
        silent[k] = 1.0 / (1.0 + calm * lift[k] * (relieved if own_course[k] > 0 else 1.0))
    silent[K] = 1.0 / (1.0 + calm)


@_compiled
def _view(n, t, x, scale, kind, rho, shift_before, shift_now, now, silent, main):
    """What month t of series n shows: main[i] its density (or probability) given pair i of states; returned is the same were it
    left out of the measure.
    """
    K = silent.size - 1
    if kind[n, t] == ZERO:
        for i in range(now.size):
            main[i] = silent[now[i]]
        return silent[K]
    paired = t > 0 and kind[n, t - 1] == POSITIVE
    carried = rho[n] if paired else 0.0
    s = scale[n, t] if paired else scale[n, t] / np.sqrt(1.0 - rho[n] * rho[n])
    inverse = 1.0 / (NU * s * s)
    front = _NORMAL / s
    plain = x[n, t] - (rho[n] * x[n, t - 1] if paired else 0.0)
    for i in range(now.size):
        e = plain + carried * shift_before[i] - shift_now[i]
        d = 1.0 / (1.0 + e * e * inverse)
        main[i] = front * d * d * d
    for i in range(now.size):
        main[i] *= 1.0 - silent[now[i]]
    d = 1.0 / (1.0 + plain * plain * inverse)
    return front * d * d * d * (1.0 - silent[K])


@_compiled
def _measured(role, before, now):
    """1 for pairs in which a code may be left out."""
    return (np.maximum(role[before], role[now]) > 0).astype(np.float64)


@_compiled
def _emissions(
    members, x, scale, kind, hurdle, slope, rho, spare, relief, shift, role, own_course, before, now, begun, series, first_series, f
):  # fmt: skip
    """f[n, t, i] = density of what month t shows of all series of chain members[n], given pair i of states."""
    K, pairs, T = shift.size, now.size, x.shape[1]
    shift_before, shift_now, main = np.empty(pairs), np.empty(pairs), np.empty(pairs)
    pair_before, pair_now = _pair_shifts(shift, before, now, begun)
    silent, lift, measured = np.empty(K + 1), np.exp(slope * shift), _measured(role, before, now)
    f[: members.size] = 1.0
    for n in range(members.size):
        c = members[n]
        for t in range(T):
            _month_shifts(c, t, relief, own_course, before, now, pair_before, pair_now, shift_before, shift_now)
            relieved = np.exp(slope * relief[c, t])
            for r in range(first_series[c], first_series[c + 1]):
                m = series[r]
                if kind[m, t] == MISSING:
                    continue
                _silence(hurdle[m, t], lift, own_course, relieved, silent)
                spared = _view(m, t, x, scale, kind, rho, shift_before, shift_now, now, silent, main)
                if spare[m] == 0.0:
                    for i in range(pairs):
                        f[n, t, i] *= main[i]
                else:
                    for i in range(pairs):
                        q = spare[m] * measured[i]
                        f[n, t, i] *= (1.0 - q) * main[i] + q * spared


@_compiled
def _pull_emissions(
    members, g_f, x, scale, kind, hurdle, slope, rho, spare, relief, shift, role, own_course, before, now, begun, series, first_series,
    g_x, g_scale, g_hurdle, g_rho, g_spare, g_relief,
):  # fmt: skip
    """Adds to the gradients what g_f[n, t, i], the pull on log f, means for them; returns that for the slope."""
    K, pairs, T = shift.size, now.size, x.shape[1]
    shift_before, shift_now, main, g_main = np.empty(pairs), np.empty(pairs), np.empty(pairs), np.empty(pairs)
    pair_before, pair_now = _pair_shifts(shift, before, now, begun)
    silent, lift, mass = np.empty(K + 1), np.exp(slope * shift), np.empty(K + 1)
    measured = _measured(role, before, now)
    g_slope = 0.0
    for n in range(members.size):
        c = members[n]
        for t in range(T):
            _month_shifts(c, t, relief, own_course, before, now, pair_before, pair_now, shift_before, shift_now)
            relieved = np.exp(slope * relief[c, t])
            for r in range(first_series[c], first_series[c + 1]):
                m = series[r]
                if kind[m, t] == MISSING:
                    continue
                _silence(hurdle[m, t], lift, own_course, relieved, silent)
                spared = _view(m, t, x, scale, kind, rho, shift_before, shift_now, now, silent, main)
                left_out, by_spare = 0.0, 0.0
                if spare[m] == 0.0 and first_series[c + 1] - first_series[c] == 1:
                    # The only series of its chain is never spared: its density is all there is, and `spare` a constant.
                    g_main[:] = g_f[n, t]
                else:
                    for i in range(pairs):
                        q = spare[m] * measured[i]
                        pulled = g_f[n, t, i] / max((1.0 - q) * main[i] + q * spared, _TINY)
                        by_spare += measured[i] * pulled * (spared - main[i])
                        left_out += q * pulled * spared
                        g_main[i] = (1.0 - q) * pulled * main[i]  # by log main
                g_spare[m] += by_spare
                mass[:] = 0.0
                mass[K] = left_out
                for i in range(pairs):
                    mass[now[i]] += g_main[i]
                zero = kind[m, t] == ZERO
                for k in range(K + 1):
                    pull = mass[k] * (1.0 - silent[k] if zero else -silent[k])
                    g_hurdle[m, t] += pull
                    if k < K:
                        g_slope -= pull * (shift[k] + own_course[k] * relief[c, t])
                        g_relief[c, t] -= pull * slope * own_course[k]
                if zero:
                    continue
                paired = t > 0 and kind[m, t - 1] == POSITIVE
                carried = rho[m] if paired else 0.0
                s = scale[m, t] if paired else scale[m, t] / np.sqrt(1.0 - rho[m] * rho[m])
                inverse = 1.0 / (NU * s * s)
                plain = x[m, t] - (rho[m] * x[m, t - 1] if paired else 0.0)
                pull = plain * inverse / (1.0 + plain * plain * inverse)
                g_plain, g_carried, here, there = left_out * pull, 0.0, 0.0, 0.0
                g_s = left_out * (2 * _POWER * plain * pull - 1.0)
                for i in range(pairs):
                    e = plain + carried * shift_before[i] - shift_now[i]
                    main[i] = e * inverse / (1.0 + e * e * inverse)
                for i in range(pairs):
                    pull = g_main[i] * main[i]
                    g_plain += pull
                    g_carried += pull * shift_before[i]
                    here += pull * own_course[now[i]]
                    there += pull * own_course[before[i]]
                    g_s += 2 * _POWER * (plain + carried * shift_before[i] - shift_now[i]) * pull - g_main[i]
                g_relief[c, t] += 2 * _POWER * here
                g_plain *= -2 * _POWER
                g_x[m, t] += g_plain
                g_scale[m, t] += g_s / scale[m, t]
                if paired:
                    g_x[m, t - 1] -= rho[m] * g_plain
                    g_rho[m] -= x[m, t - 1] * g_plain + 2 * _POWER * g_carried
                    g_relief[c, t - 1] -= 2 * _POWER * carried * there
                else:
                    g_rho[m] += g_s * rho[m] / (1.0 - rho[m] * rho[m])
    return g_slope


@_compiled
def _moves(onset, pace, campaign, out):
    """out[p] = probability of move p, given p(z) the month before."""
    out[0], out[1] = campaign[0] * (1.0 - onset), campaign[0] * onset
    out[2], out[3] = campaign[1] * (1.0 - pace[0]), campaign[1] * pace[0]
    out[4], out[5] = campaign[2] * (1.0 - pace[1]), campaign[2] * pace[1]


@_compiled
def _odds(c, t, p, entry, exit, parting, hold, odds):
    """odds[a, b] = Q of the module's docstring for chain c, month t and move p."""
    e, q, u, h = entry[c, p], parting[c, t], exit[p], hold[c, t]
    odds[0, 0], odds[0, 1], odds[0, 2] = (1.0 - q) * (1.0 - e), (1.0 - q) * e, q
    odds[1, 0], odds[1, 1], odds[1, 2] = u * (1.0 - h), 1.0 - u, u * h
    odds[2, 0], odds[2, 1], odds[2, 2] = 1.0 - h, 1.0 - h, h


@_compiled
def _predict(
    t, members, state, start, entry, exit, parting, hold, move, f, before, bound, role, flow, odds, joint, evidence
):  # fmt: skip
    """joint[n, p, k] = p(s_t = k, y_t | move p) of each member; evidence[n, p] its sum over k.

    flow[n, a, z, k] : the same before the odds of a role are counted, by the campaign and role of the month before. odds[n, p] : Q.
    The three campaigns are written out: their sums stay in registers.
    """
    K = role.size
    for n in range(members.size):
        c = members[n]
        for k in range(K):
            for a in range(_ROLES):
                calm = opening = ongoing = 0.0
                for i in range(bound[k, a], bound[k, a + 1]):
                    j, w = before[i], move[i] * f[n, t, i]
                    if t > 0:
                        calm += state[c, t - 1, 0, j] * w
                        opening += state[c, t - 1, 1, j] * w
                        ongoing += state[c, t - 1, 2, j] * w
                    else:
                        calm += start[j] * w
                flow[n, a, 0, k] = calm
                flow[n, a, 1, k] = opening if t > 0 else calm
                flow[n, a, 2, k] = ongoing if t > 0 else calm
        for p in range(_P):
            _odds(c, t, p, entry, exit, parting, hold, odds[n, p])
            z, total = _FROM[p], _TINY
            for k in range(K):
                b = role[k]
                joint[n, p, k] = (
                    odds[n, p, 0, b] * flow[n, 0, z, k] + odds[n, p, 1, b] * flow[n, 1, z, k] + odds[n, p, 2, b] * flow[n, 2, z, k]
                )  # fmt: skip
                total += joint[n, p, k]
            evidence[n, p] = total


@_compiled
def _weigh(weight, evidence):
    """weight <- weight * evidence, normalised; returned is the sum before."""
    total = _TINY
    for p in range(_P):
        weight[p] *= evidence[p]
        total += weight[p]
    for p in range(_P):
        weight[p] /= total
    return total


@_compiled
def forward(
    x, scale, kind, hurdle, slope, rho, spare, relief, parting, hold, onset, pace, entry, exit, move, chain, group, initial, shift,
    role, own_course, before, now, begun,
):  # fmt: skip
    """(predictive[C, T], campaign[G, T, Z], state[C, T, Z, K]): p(z_t | y_1..t) and p(s_t | z_t, y_1..t)."""
    C, T, K, G = entry.shape[0], x.shape[1], shift.size, onset.shape[0]
    predictive, campaign, state = np.empty((C, T)), np.empty((G, T, CAMPAIGNS)), np.zeros((C, T, CAMPAIGNS, K))
    order, first, most = _members(group, G)
    series, first_series, _ = _members(chain, C)
    bound = _bounds(before, now, role)
    f, flow, odds = np.empty((most, T, now.size)), np.empty((most, _ROLES, CAMPAIGNS, K)), np.empty((most, _P, _ROLES, _ROLES))
    joint, evidence, weight = np.empty((most, _P, K)), np.empty((most, _P)), np.empty(_P)
    for g in range(G):
        members = order[first[g] : first[g + 1]]
        _emissions(
            members, x, scale, kind, hurdle, slope, rho, spare, relief, shift, role, own_course, before, now, begun, series, first_series, f
        )  # fmt: skip
        for t in range(T):
            _predict(t, members, state, initial, entry, exit, parting, hold, move, f, before, bound, role, flow, odds, joint, evidence)
            _moves(onset[g, t], pace, campaign[g, t - 1] if t > 0 else _START, weight)
            for n in range(members.size):
                predictive[members[n], t] = np.log(_weigh(weight, evidence[n]))
            arrived = campaign[g, t]
            arrived[:] = 0.0
            for p in range(_P):
                arrived[_TO[p]] += weight[p]
            for n in range(members.size):
                c = members[n]
                for p in range(_P):
                    share = weight[p] / max(arrived[_TO[p]], _TINY) / evidence[n, p]
                    for s in range(K):
                        state[c, t, _TO[p], s] += share * joint[n, p, s]
    return predictive, campaign, state


@_compiled
def adjoint(
    x, scale, kind, hurdle, slope, rho, spare, relief, parting, hold, onset, pace, entry, exit, move, chain, group, initial, shift,
    role, own_course, before, now, begun,
    campaign, state, weight,
):  # fmt: skip
    """Gradients of sum(weight * predictive) by :data:`model.chain.DIFFERENTIABLE`, in that order."""
    C, T, K, G = entry.shape[0], x.shape[1], shift.size, onset.shape[0]
    g_x, g_scale, g_hurdle = np.zeros(x.shape), np.zeros(x.shape), np.zeros(x.shape)
    g_rho, g_spare, g_relief = np.zeros(x.shape[0]), np.zeros(x.shape[0]), np.zeros((C, T))
    g_parting, g_hold = np.zeros((C, T)), np.zeros((C, T))
    g_slope, g_onset, g_pace = 0.0, np.zeros((G, T)), np.zeros(2)
    g_entry, g_exit, g_move = np.zeros(entry.shape), np.zeros(_P), np.zeros(now.size)
    order, first, most = _members(group, G)
    series, first_series, _ = _members(chain, C)
    bound = _bounds(before, now, role)
    pairs = now.size
    f, g_f = np.empty((most, T, pairs)), np.empty((most, T, pairs))
    flow, odds = np.empty((most, _ROLES, CAMPAIGNS, K)), np.empty((most, _P, _ROLES, _ROLES))
    joint, evidence, partial = np.empty((most, _P, K)), np.empty((most, _P)), np.empty((most, _P))
    g_flow, g_odds = np.empty((_ROLES, CAMPAIGNS, K)), np.empty((_ROLES, _ROLES))
    later_state, later_campaign, inner = np.empty((most, CAMPAIGNS, K)), np.empty(CAMPAIGNS), np.empty(CAMPAIGNS)
    moving, by_evidence, g_share, g_move_log = np.empty(_P), np.empty(_P), np.empty(_P), np.empty(_P)
    for g in range(G):
        members = order[first[g] : first[g + 1]]
        N = members.size
        _emissions(
            members, x, scale, kind, hurdle, slope, rho, spare, relief, shift, role, own_course, before, now, begun, series, first_series, f
        )  # fmt: skip
        later_campaign[:] = 0.0
        later_state[:] = 0.0
        for t in range(T - 1, -1, -1):
            _predict(t, members, state, initial, entry, exit, parting, hold, move, f, before, bound, role, flow, odds, joint, evidence)
            earlier = campaign[g, t - 1] if t > 0 else _START
            _moves(onset[g, t], pace, earlier, moving)
            for n in range(N):
                _weigh(moving, evidence[n])
                partial[n] = moving
            arrived = campaign[g, t]
            # Through the collapse: state = sum over moves of moving / arrived * joint / evidence.
            g_share[:] = 0.0
            for n in range(N):
                for p in range(_P):
                    pulled = 0.0
                    for s in range(K):
                        pulled += later_state[n, _TO[p], s] * joint[n, p, s]
                    g_share[p] += pulled / evidence[n, p]
            inner[:] = 0.0
            for p in range(_P):
                inner[_TO[p]] += moving[p] / max(arrived[_TO[p]], _TINY) * g_share[p]
            mean = 0.0
            for p in range(_P):
                z = _TO[p]
                by_evidence[p] = later_campaign[z] + (g_share[p] - inner[z]) / max(arrived[z], _TINY)
                mean += moving[p] * by_evidence[p]
            for p in range(_P):
                by_evidence[p] = moving[p] * (by_evidence[p] - mean)
                g_move_log[p] = by_evidence[p]
            later_campaign[:] = 0.0
            # log evidence of chain n is in the totals of chains n, n + 1, ..., each with its own posterior over moves.
            for n in range(N - 1, -1, -1):
                c = members[n]
                following = weight[members[n + 1], t] if n + 1 < N else 0.0
                for p in range(_P):
                    by_evidence[p] += (weight[c, t] - following) * partial[n, p]
                    g_move_log[p] += (weight[c, t] - following) * partial[n, p]
                g_flow[:] = 0.0
                for p in range(_P):
                    z, to = _FROM[p], _TO[p]
                    share = moving[p] / max(arrived[to], _TINY)
                    centre = 0.0
                    for s in range(K):
                        centre += later_state[n, to, s] * joint[n, p, s]
                    centre /= evidence[n, p]
                    g_odds[:] = 0.0
                    for s in range(K):
                        pull = (share * (later_state[n, to, s] - centre) + by_evidence[p]) / evidence[n, p]
                        b = role[s]
                        for a in range(_ROLES):
                            g_flow[a, z, s] += odds[n, p, a, b] * pull
                            g_odds[a, b] += flow[n, a, z, s] * pull
                    e, q, u, h = entry[c, p], parting[c, t], exit[p], hold[c, t]
                    g_entry[c, p] += (1.0 - q) * (g_odds[0, 1] - g_odds[0, 0])
                    g_parting[c, t] += g_odds[0, 2] - (1.0 - e) * g_odds[0, 0] - e * g_odds[0, 1]
                    g_exit[p] += (1.0 - h) * g_odds[1, 0] + h * g_odds[1, 2] - g_odds[1, 1]
                    g_hold[c, t] += g_odds[2, 2] - g_odds[2, 0] - g_odds[2, 1] + u * (g_odds[1, 2] - g_odds[1, 0])
                # later_state of month t has been read for the last time and becomes that of month t - 1.
                later_state[n] = 0.0
                for k in range(K):
                    for a in range(_ROLES):
                        g0, g1, g2 = g_flow[a, 0, k], g_flow[a, 1, k], g_flow[a, 2, k]
                        for i in range(bound[k, a], bound[k, a + 1]):
                            j, w = before[i], move[i] * f[n, t, i]
                            if t > 0:
                                reach = state[c, t - 1, 0, j] * g0 + state[c, t - 1, 1, j] * g1 + state[c, t - 1, 2, j] * g2
                                later_state[n, 0, j] += w * g0
                                later_state[n, 1, j] += w * g1
                                later_state[n, 2, j] += w * g2
                            else:
                                reach = initial[j] * (g0 + g1 + g2)
                            g_f[n, t, i] = w * reach  # by log f
                            g_move[i] += f[n, t, i] * reach
            for p in range(_P):
                later_campaign[_FROM[p]] += g_move_log[p] / max(earlier[_FROM[p]], _TINY)
            if onset[g, t] > 0.0:
                g_onset[g, t] = g_move_log[1] / onset[g, t] - g_move_log[0] / (1.0 - onset[g, t])
            g_pace[0] += g_move_log[3] / pace[0] - g_move_log[2] / (1.0 - pace[0])
            g_pace[1] += g_move_log[5] / pace[1] - g_move_log[4] / (1.0 - pace[1])
        g_slope += _pull_emissions(
            members, g_f, x, scale, kind, hurdle, slope, rho, spare, relief, shift, role, own_course, before, now, begun, series,
            first_series, g_x, g_scale, g_hurdle, g_rho, g_spare, g_relief,
        )  # fmt: skip
    return (
        g_x, g_scale, g_hurdle, np.array(g_slope), g_rho, g_spare, g_relief, g_parting, g_hold, g_onset, g_pace, g_entry, g_exit, g_move
    )  # fmt: skip


@_compiled
def smooth(
    x, scale, kind, hurdle, slope, rho, spare, relief, parting, hold, onset, pace, entry, exit, move, chain, group, initial, shift,
    role, own_course, before, now, begun,
    campaign, state,
):  # fmt: skip
    """(campaign[G, T, Z], state[C, T, Z, K]) given all of y, from the filter's; exact for a group of one chain."""
    C, T, K, G = entry.shape[0], x.shape[1], shift.size, onset.shape[0]
    smoothed_campaign, smoothed = np.empty((G, T, CAMPAIGNS)), np.zeros((C, T, CAMPAIGNS, K))
    order, first, most = _members(group, G)
    series, first_series, _ = _members(chain, C)
    bound = _bounds(before, now, role)
    f, flow, odds = np.empty((most, T, now.size)), np.empty((most, _ROLES, CAMPAIGNS, K)), np.empty((most, _P, _ROLES, _ROLES))
    joint, evidence, weight = np.empty((most, _P, K)), np.empty((most, _P)), np.empty(_P)
    arrive = np.empty((most, _P, K))
    for g in range(G):
        members = order[first[g] : first[g + 1]]
        _emissions(
            members, x, scale, kind, hurdle, slope, rho, spare, relief, shift, role, own_course, before, now, begun, series, first_series, f
        )  # fmt: skip
        for c in members:
            smoothed[c, T - 1] = state[c, T - 1]
        smoothed_campaign[g, T - 1] = campaign[g, T - 1]
        for t in range(T - 1, 0, -1):
            _predict(t, members, state, initial, entry, exit, parting, hold, move, f, before, bound, role, flow, odds, joint, evidence)
            _moves(onset[g, t], pace, campaign[g, t - 1], weight)
            for n in range(members.size):
                _weigh(weight, evidence[n])
            # What the chains' later states say of the move, chain by chain: sum_k smoothed(k) p(k | move) / p(k).
            for n in range(members.size):
                c = members[n]
                for p in range(_P):
                    told = _TINY
                    for k in range(K):
                        ratio = joint[n, p, k] / evidence[n, p] / max(state[c, t, _TO[p], k], _TINY)
                        arrive[n, p, k] = smoothed[c, t, _TO[p], k] * ratio
                        told += arrive[n, p, k]
                    weight[p] *= told
                    for k in range(K):
                        arrive[n, p, k] /= told
                weight /= weight.sum()
            for z in range(CAMPAIGNS):
                total = _TINY
                for p in range(_P):
                    if _TO[p] == z:
                        total += weight[p]
                for p in range(_P):
                    if _TO[p] == z:
                        weight[p] *= smoothed_campaign[g, t, z] / total
            earlier = smoothed_campaign[g, t - 1]
            earlier[:] = 0.0
            for p in range(_P):
                earlier[_FROM[p]] += weight[p]
            for n in range(members.size):
                c = members[n]
                for p in range(_P):
                    z = _FROM[p]
                    share = weight[p] / max(earlier[z], _TINY)
                    for i in range(now.size):
                        j, k = before[i], now[i]
                        step = odds[n, p, role[j], role[k]] * move[i]
                        back = arrive[n, p, k] * step * f[n, t, i] / max(joint[n, p, k], _TINY)
                        smoothed[c, t - 1, z, j] += share * state[c, t - 1, z, j] * back
    return smoothed_campaign, smoothed


@_compiled
def evidence_on_grid(
    t, moved, relief_at, parting_at, hold_at, widened,
    x, scale, kind, hurdle, slope, rho, spare, relief, parting, hold, onset, pace, entry, exit, move, chain, group, initial, shift,
    role, own_course, before, now, begun,
    campaign, state,
):  # fmt: skip
    """out[c, n] = log p(y_ct | months before t) were, in month t, x of its series less by moved[n], the relief, parting and hold
    relief_at[n], parting_at[n] and hold_at[n], and the square of the scale more by widened[n]; each chain on its own, from the filter
    to t - 1. Only months t - 1 and t are looked at.
    """
    C, K = entry.shape[0], shift.size
    out = np.empty((C, moved.size))
    series, first_series, _ = _members(chain, C)
    bound = _bounds(before, now, role)
    pairs = now.size
    f, flow, odds = np.empty((1, t + 1, pairs)), np.empty((1, _ROLES, CAMPAIGNS, K)), np.empty((1, _P, _ROLES, _ROLES))
    joint, evidence, weight = np.empty((1, _P, K)), np.empty((1, _P)), np.empty(_P)
    shift_before, shift_now, main = np.empty(pairs), np.empty(pairs), np.empty(pairs)
    pair_before, pair_now = _pair_shifts(shift, before, now, begun)
    silent, lift, measured = np.empty(K + 1), np.exp(slope * shift), _measured(role, before, now)
    x_, scale_, relief_ = x[:, : t + 1].copy(), scale[:, : t + 1].copy(), relief[:, : t + 1].copy()
    parting_, hold_ = parting[:, : t + 1].copy(), hold[:, : t + 1].copy()
    for c in range(C):
        g = group[c]
        members = np.array([c])
        for n in range(moved.size):
            relief_[c, t], parting_[c, t], hold_[c, t] = relief_at[n], parting_at[n], hold_at[n]
            _month_shifts(c, t, relief_, own_course, before, now, pair_before, pair_now, shift_before, shift_now)
            relieved = np.exp(slope * relief_[c, t])
            f[0, t] = 1.0
            for r in range(first_series[c], first_series[c + 1]):
                m = series[r]
                if kind[m, t] == MISSING:
                    continue
                x_[m, t], scale_[m, t] = x[m, t] - moved[n], np.sqrt(scale[m, t] ** 2 + widened[n])
                _silence(hurdle[m, t], lift, own_course, relieved, silent)
                spared = _view(m, t, x_, scale_, kind, rho, shift_before, shift_now, now, silent, main)
                for i in range(pairs):
                    q = spare[m] * measured[i]
                    f[0, t, i] *= (1.0 - q) * main[i] + q * spared
            _predict(t, members, state, initial, entry, exit, parting_, hold_, move, f, before, bound, role, flow, odds, joint, evidence)
            _moves(onset[g, t], pace, campaign[g, t - 1] if t > 0 else _START, weight)
            out[c, n] = np.log(_weigh(weight, evidence[0]))
    return out
