r"""The coupled regime chain: its likelihood, the adjoint and the smoother, as numba kernels.

C unit chains of K states in G groups (the families of one importer), T months, N series (the HS codes of the units). A
group has a *campaign* z of its own: :data:`CALM`, :data:`ONSET` (the months in which measures are being taken) or
:data:`ONGOING`; governments squeeze several goods of one partner at a time. Chain c of group g at month t is seen through its
series n, each by ``x`` (log flow minus its open-regime expectation) or not at all. A measure may leave a code of the family
out: with probability ``spare`` the series has the shift 0 in states that are a ``measure``. A state may be ``exempt``: its
shift is its own plus ``relief``, which undoes what the unit's family suffers in common. With shift
:math:`m_k = \log(1 - \text{severity}_k)` and p = (z_{t-1}, z_t) one of the six :data:`MOVES`:

.. math::
    P(z_t \mid z_{t-1}) &= \begin{cases}\text{onset}_{gt} & \text{calm to onset} \\ \text{pace}_0 & \text{onset to ongoing} \\
                            \text{pace}_1 & \text{ongoing to calm}\end{cases} \\
    P(s_t = k \mid s_{t-1} = j, p) &= \text{base}_{pjk} + \text{entry}_{cp}\,\text{tilt}_{pjk}
        + \text{parting}_{ct}\,\text{tilt}_{0jk} \\
    P(\text{zero} \mid s_t = k) &= \sigma(\text{hurdle}_{nt} - \text{slope}\; m_k) \\
    x_{nt} - m_{s_t} &= \rho_n\,(x_{n,t-1} - m_{s_{t-1}}) + \text{scale}_{nt}\;\varepsilon_t, \quad \varepsilon_t \sim t_\nu

so the emission sits on the pair :math:`(s_{t-1}, s_t)` (Hamilton 1989, Econometrica 57(2), 357-384). Where the
month before has no positive flow the residual has its stationary scale. ``kind`` says what month t shows:
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
CALM, ONSET, ONGOING = 0, 1, 2
MOVES = ((CALM, CALM), (CALM, ONSET), (ONSET, ONSET), (ONSET, ONGOING), (ONGOING, ONGOING), (ONGOING, CALM))
"""The campaign's moves in a month, in the order of the axis ``move``."""
CAMPAIGN_START = (0.96, 0.01, 0.03)
NU = 5.0
NEVER_ZERO = -800.0
"""A hurdle at which no state can show a zero."""
CAMPAIGNS, _P = 3, len(MOVES)
_FROM, _TO = np.array(MOVES).T.copy()
_START = np.array(CAMPAIGN_START)
_POWER = 3  # (NU + 1) / 2
_NORMAL = 8 / (3 * np.pi * np.sqrt(5))  # Gamma(3) / (Gamma(5/2) sqrt(5 pi)): t_5 at zero, unit scale
_TINY = 1e-300

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
def _pairs(base, tilt):
    """(before, now, first): the pairs of states between which some move may lead, by the state now; those of k are first[k] to
    first[k + 1]. Entries of `base` and `tilt` that are exactly 0 are structure: no path takes them, and they have no gradient.
    """
    P, K, _ = base.shape
    before, now, first = np.empty(K * K, np.int64), np.empty(K * K, np.int64), np.zeros(K + 1, np.int64)
    count = 0
    for k in range(K):
        for j in range(K):
            open_to = False
            for p in range(P):
                open_to |= base[p, j, k] != 0.0 or tilt[p, j, k] != 0.0
            if open_to:
                before[count], now[count] = j, k
                count += 1
        first[k + 1] = count
    return before[:count].copy(), now[:count].copy(), first


@_compiled
def _month_shifts(c, t, relief, shift, exempt, before, now, shift_before, shift_now):
    """The month's shifts by pair of states: of an exempt state its own plus `relief`."""
    here, there = relief[c, t], relief[c, t - 1] if t > 0 else 0.0
    for i in range(now.size):
        shift_before[i] = shift[before[i]] + exempt[before[i]] * there
        shift_now[i] = shift[now[i]] + exempt[now[i]] * here


@_compiled
def _silence(hurdle, lift, exempt, relieved, silent):
    """silent[k] = p(zero | k), and silent[K] that of a spared series. lift[k] = exp(slope * shift[k]), relieved = exp(slope * relief)."""
    K = lift.size
    calm = np.exp(-hurdle)
    for k in range(K):
        silent[k] = 1.0 / (1.0 + calm * lift[k] * (relieved if exempt[k] > 0 else 1.0))
    silent[K] = 1.0 / (1.0 + calm)


@_compiled
def _leaps(tilt, before, now):
    """leap[i] = what `parting` adds to the step of pair i: the tilt of a campaign that is calm."""
    out = np.empty(now.size)
    for i in range(now.size):
        out[i] = tilt[0, before[i], now[i]]
    return out


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
def _emissions(
    members, x, scale, kind, hurdle, slope, rho, spare, relief, shift, measure, exempt, series, first_series, before, now, f
):  # fmt: skip
    """f[n, t, i] = density of what month t shows of all series of chain members[n], given pair i of states."""
    K, pairs, T = shift.size, now.size, x.shape[1]
    shift_before, shift_now, main = np.empty(pairs), np.empty(pairs), np.empty(pairs)
    silent, lift, measured = np.empty(K + 1), np.exp(slope * shift), np.maximum(measure[before], measure[now])
    f[: members.size] = 1.0
    for n in range(members.size):
        c = members[n]
        for t in range(T):
            _month_shifts(c, t, relief, shift, exempt, before, now, shift_before, shift_now)
            relieved = np.exp(slope * relief[c, t])
            for r in range(first_series[c], first_series[c + 1]):
                m = series[r]
                if kind[m, t] == MISSING:
                    continue
                _silence(hurdle[m, t], lift, exempt, relieved, silent)
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
    members, g_f, x, scale, kind, hurdle, slope, rho, spare, relief, shift, measure, exempt, series, first_series, before, now,
    g_x, g_scale, g_hurdle, g_rho, g_spare, g_relief,
):  # fmt: skip
    """Adds to the gradients what g_f[n, t, i], the pull on log f, means for them; returns that for the slope."""
    K, pairs, T = shift.size, now.size, x.shape[1]
    shift_before, shift_now, main, g_main = np.empty(pairs), np.empty(pairs), np.empty(pairs), np.empty(pairs)
    silent, lift, mass = np.empty(K + 1), np.exp(slope * shift), np.empty(K + 1)
    measured = np.maximum(measure[before], measure[now])
    g_slope = 0.0
    for n in range(members.size):
        c = members[n]
        for t in range(T):
            _month_shifts(c, t, relief, shift, exempt, before, now, shift_before, shift_now)
            relieved = np.exp(slope * relief[c, t])
            for r in range(first_series[c], first_series[c + 1]):
                m = series[r]
                if kind[m, t] == MISSING:
                    continue
                _silence(hurdle[m, t], lift, exempt, relieved, silent)
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
                        g_slope -= pull * (shift[k] + exempt[k] * relief[c, t])
                        g_relief[c, t] -= pull * slope * exempt[k]
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
                    here += pull * exempt[now[i]]
                    there += pull * exempt[before[i]]
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
def _steps(members, base, tilt, entry, before, now, out):
    """out[n, i, p] = p(now | before) of chain members[n] for pair i under move p."""
    for n in range(members.size):
        for i in range(now.size):
            for p in range(_P):
                out[n, i, p] = base[p, before[i], now[i]] + entry[members[n], p] * tilt[p, before[i], now[i]]


@_compiled
def _predict(t, members, state, start, step, parting, leap, f, before, first, joint, evidence):
    """joint[n, p, k] = p(s_t = k, y_t | move p) of each member; evidence[n, p] its sum over k.

    The six moves are written out: their sums stay in registers.
    """
    for n in range(members.size):
        c = members[n]
        total0 = total1 = total2 = total3 = total4 = total5 = _TINY
        for k in range(first.size - 1):
            sum0 = sum1 = sum2 = sum3 = sum4 = sum5 = 0.0
            for i in range(first[k], first[k + 1]):
                j, e, more = before[i], f[n, t, i], parting[c, t] * leap[i]
                if t > 0:
                    calm, onset, ongoing = state[c, t - 1, 0, j] * e, state[c, t - 1, 1, j] * e, state[c, t - 1, 2, j] * e
                else:
                    calm = onset = ongoing = start[j] * e
                sum0 += calm * (step[n, i, 0] + more)
                sum1 += calm * (step[n, i, 1] + more)
                sum2 += onset * (step[n, i, 2] + more)
                sum3 += onset * (step[n, i, 3] + more)
                sum4 += ongoing * (step[n, i, 4] + more)
                sum5 += ongoing * (step[n, i, 5] + more)
            joint[n, 0, k], joint[n, 1, k], joint[n, 2, k] = sum0, sum1, sum2
            joint[n, 3, k], joint[n, 4, k], joint[n, 5, k] = sum3, sum4, sum5
            total0 += sum0
            total1 += sum1
            total2 += sum2
            total3 += sum3
            total4 += sum4
            total5 += sum5
        evidence[n, 0], evidence[n, 1], evidence[n, 2] = total0, total1, total2
        evidence[n, 3], evidence[n, 4], evidence[n, 5] = total3, total4, total5


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
    x, scale, kind, hurdle, slope, rho, spare, relief, parting, onset, pace, entry, base, tilt, chain, group, initial, shift,
    measure, exempt
):  # fmt: skip
    """(predictive[C, T], campaign[G, T, Z], state[C, T, Z, K]): p(z_t | y_1..t) and p(s_t | z_t, y_1..t)."""
    C, T, K, G = entry.shape[0], x.shape[1], shift.size, onset.shape[0]
    predictive, campaign, state = np.empty((C, T)), np.empty((G, T, CAMPAIGNS)), np.zeros((C, T, CAMPAIGNS, K))
    order, first, most = _members(group, G)
    series, first_series, _ = _members(chain, C)
    before, now, first_pair = _pairs(base, tilt)
    leap = _leaps(tilt, before, now)
    f, step = np.empty((most, T, now.size)), np.empty((most, now.size, _P))
    joint, evidence, weight = np.empty((most, _P, K)), np.empty((most, _P)), np.empty(_P)
    for g in range(G):
        members = order[first[g] : first[g + 1]]
        _steps(members, base, tilt, entry, before, now, step)
        _emissions(
            members, x, scale, kind, hurdle, slope, rho, spare, relief, shift, measure, exempt, series, first_series, before, now, f
        )  # fmt: skip
        for t in range(T):
            _predict(t, members, state, initial, step, parting, leap, f, before, first_pair, joint, evidence)
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
    x, scale, kind, hurdle, slope, rho, spare, relief, parting, onset, pace, entry, base, tilt, chain, group, initial, shift,
    measure, exempt,
    campaign, state, weight,
):  # fmt: skip
    """Gradients of sum(weight * predictive) by :data:`model.chain.DIFFERENTIABLE`, in that order."""
    C, T, K, G = entry.shape[0], x.shape[1], shift.size, onset.shape[0]
    g_x, g_scale, g_hurdle = np.zeros(x.shape), np.zeros(x.shape), np.zeros(x.shape)
    g_rho, g_spare, g_relief, g_parting = np.zeros(x.shape[0]), np.zeros(x.shape[0]), np.zeros((C, T)), np.zeros((C, T))
    g_slope, g_onset, g_pace = 0.0, np.zeros((G, T)), np.zeros(2)
    g_entry, g_base, g_tilt = np.zeros(entry.shape), np.zeros(base.shape), np.zeros(tilt.shape)
    order, first, most = _members(group, G)
    series, first_series, _ = _members(chain, C)
    before, now, first_pair = _pairs(base, tilt)
    leap = _leaps(tilt, before, now)
    pairs = now.size
    f, g_f, step = np.empty((most, T, pairs)), np.empty((most, T, pairs)), np.empty((most, pairs, _P))
    joint, evidence, partial = np.empty((most, _P, K)), np.empty((most, _P)), np.empty((most, _P))
    g_step, g_joint, later_state = np.empty((most, pairs, _P)), np.empty((_P, K)), np.empty((most, CAMPAIGNS, K))
    moving, later_campaign, inner = np.empty(_P), np.empty(CAMPAIGNS), np.empty(CAMPAIGNS)
    by_evidence, g_share, g_move_log = np.empty(_P), np.empty(_P), np.empty(_P)
    for g in range(G):
        members = order[first[g] : first[g + 1]]
        N = members.size
        _steps(members, base, tilt, entry, before, now, step)
        _emissions(
            members, x, scale, kind, hurdle, slope, rho, spare, relief, shift, measure, exempt, series, first_series, before, now, f
        )  # fmt: skip
        g_step[:] = 0.0
        later_campaign[:] = 0.0
        later_state[:] = 0.0
        for t in range(T - 1, -1, -1):
            _predict(t, members, state, initial, step, parting, leap, f, before, first_pair, joint, evidence)
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
                for p in range(_P):
                    z = _TO[p]
                    share = moving[p] / max(arrived[z], _TINY)
                    centre = 0.0
                    for s in range(K):
                        centre += later_state[n, z, s] * joint[n, p, s]
                    centre /= evidence[n, p]
                    for s in range(K):
                        g_joint[p, s] = (share * (later_state[n, z, s] - centre) + by_evidence[p]) / evidence[n, p]
                # later_state of month t has been read for the last time and becomes that of month t - 1.
                later_state[n] = 0.0
                for i in range(pairs):
                    j, k, e = before[i], now[i], f[n, t, i]
                    if t > 0:
                        calm, opening, ongoing = state[c, t - 1, 0, j] * e, state[c, t - 1, 1, j] * e, state[c, t - 1, 2, j] * e
                    else:
                        calm = opening = ongoing = initial[j] * e
                    g0, g1, g2, g3, g4, g5 = g_joint[0, k], g_joint[1, k], g_joint[2, k], g_joint[3, k], g_joint[4, k], g_joint[5, k]
                    more = parting[c, t] * leap[i]
                    reach0 = g0 * (step[n, i, 0] + more) + g1 * (step[n, i, 1] + more)
                    reach1 = g2 * (step[n, i, 2] + more) + g3 * (step[n, i, 3] + more)
                    reach2 = g4 * (step[n, i, 4] + more) + g5 * (step[n, i, 5] + more)
                    by_leap = calm * (g0 + g1) + opening * (g2 + g3) + ongoing * (g4 + g5)
                    g_parting[c, t] += leap[i] * by_leap
                    g_tilt[0, j, k] += parting[c, t] * by_leap
                    g_step[n, i, 0] += calm * g0
                    g_step[n, i, 1] += calm * g1
                    g_step[n, i, 2] += opening * g2
                    g_step[n, i, 3] += opening * g3
                    g_step[n, i, 4] += ongoing * g4
                    g_step[n, i, 5] += ongoing * g5
                    later_state[n, 0, j] += e * reach0
                    later_state[n, 1, j] += e * reach1
                    later_state[n, 2, j] += e * reach2
                    g_f[n, t, i] = calm * reach0 + opening * reach1 + ongoing * reach2  # by log f
            for p in range(_P):
                later_campaign[_FROM[p]] += g_move_log[p] / max(earlier[_FROM[p]], _TINY)
            if onset[g, t] > 0.0:
                g_onset[g, t] = g_move_log[1] / onset[g, t] - g_move_log[0] / (1.0 - onset[g, t])
            g_pace[0] += g_move_log[3] / pace[0] - g_move_log[2] / (1.0 - pace[0])
            g_pace[1] += g_move_log[5] / pace[1] - g_move_log[4] / (1.0 - pace[1])
        g_slope += _pull_emissions(
            members, g_f, x, scale, kind, hurdle, slope, rho, spare, relief, shift, measure, exempt, series, first_series, before, now,
            g_x, g_scale, g_hurdle, g_rho, g_spare, g_relief,
        )  # fmt: skip
        for n in range(N):
            c = members[n]
            for i in range(pairs):
                j, k = before[i], now[i]
                for p in range(_P):
                    g_base[p, j, k] += g_step[n, i, p]
                    g_tilt[p, j, k] += entry[c, p] * g_step[n, i, p]
                    g_entry[c, p] += tilt[p, j, k] * g_step[n, i, p]
    return g_x, g_scale, g_hurdle, np.array(g_slope), g_rho, g_spare, g_relief, g_parting, g_onset, g_pace, g_entry, g_base, g_tilt


@_compiled
def smooth(
    x, scale, kind, hurdle, slope, rho, spare, relief, parting, onset, pace, entry, base, tilt, chain, group, initial, shift,
    measure, exempt,
    campaign, state,
):  # fmt: skip
    """(campaign[G, T, Z], state[C, T, Z, K]) given all of y, from the filter's; exact for a group of one chain."""
    C, T, K, G = entry.shape[0], x.shape[1], shift.size, onset.shape[0]
    smoothed_campaign, smoothed = np.empty((G, T, CAMPAIGNS)), np.zeros((C, T, CAMPAIGNS, K))
    order, first, most = _members(group, G)
    series, first_series, _ = _members(chain, C)
    before, now, first_pair = _pairs(base, tilt)
    leap = _leaps(tilt, before, now)
    f, step = np.empty((most, T, now.size)), np.empty((most, now.size, _P))
    joint, evidence, weight = np.empty((most, _P, K)), np.empty((most, _P)), np.empty(_P)
    arrive = np.empty((most, _P, K))
    for g in range(G):
        members = order[first[g] : first[g + 1]]
        _steps(members, base, tilt, entry, before, now, step)
        _emissions(
            members, x, scale, kind, hurdle, slope, rho, spare, relief, shift, measure, exempt, series, first_series, before, now, f
        )  # fmt: skip
        for c in members:
            smoothed[c, T - 1] = state[c, T - 1]
        smoothed_campaign[g, T - 1] = campaign[g, T - 1]
        for t in range(T - 1, 0, -1):
            _predict(t, members, state, initial, step, parting, leap, f, before, first_pair, joint, evidence)
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
                        move = step[n, i, p] + parting[c, t] * leap[i]
                        back = arrive[n, p, k] * move * f[n, t, i] / max(joint[n, p, k], _TINY)
                        smoothed[c, t - 1, z, j] += share * state[c, t - 1, z, j] * back
    return smoothed_campaign, smoothed


@_compiled
def evidence_on_grid(
    t, moved,
    x, scale, kind, hurdle, slope, rho, spare, relief, parting, onset, pace, entry, base, tilt, chain, group, initial, shift,
    measure, exempt,
    campaign, state,
):  # fmt: skip
    """out[c, n] = log p(y_ct | months before t) were x of its series less by moved[n], each chain on its own; from the filter to t - 1.

    Only months t - 1 and t are looked at.
    """
    C, K = entry.shape[0], shift.size
    out = np.empty((C, moved.size))
    series, first_series, _ = _members(chain, C)
    before, now, first_pair = _pairs(base, tilt)
    leap = _leaps(tilt, before, now)
    pairs = now.size
    f, step = np.empty((1, t + 1, pairs)), np.empty((1, pairs, _P))
    joint, evidence, weight = np.empty((1, _P, K)), np.empty((1, _P)), np.empty(_P)
    shift_before, shift_now, main = np.empty(pairs), np.empty(pairs), np.empty(pairs)
    silent, lift, trial = np.empty(K + 1), np.exp(slope * shift), x[:, : t + 1].copy()
    measured = np.maximum(measure[before], measure[now])
    for c in range(C):
        g = group[c]
        members = np.array([c])
        _steps(members, base, tilt, entry, before, now, step)
        _month_shifts(c, t, relief, shift, exempt, before, now, shift_before, shift_now)
        relieved = np.exp(slope * relief[c, t])
        for n in range(moved.size):
            f[0, t] = 1.0
            for r in range(first_series[c], first_series[c + 1]):
                m = series[r]
                if kind[m, t] == MISSING:
                    continue
                trial[m, t] = x[m, t] - moved[n]
                _silence(hurdle[m, t], lift, exempt, relieved, silent)
                spared = _view(m, t, trial, scale, kind, rho, shift_before, shift_now, now, silent, main)
                for i in range(pairs):
                    q = spare[m] * measured[i]
                    f[0, t, i] *= (1.0 - q) * main[i] + q * spared
            _predict(t, members, state, initial, step, parting, leap, f, before, first_pair, joint, evidence)
            _moves(onset[g, t], pace, campaign[g, t - 1] if t > 0 else _START, weight)
            out[c, n] = np.log(_weigh(weight, evidence[0]))
    return out
