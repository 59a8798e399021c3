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

Chains are worked on side by side: the last axis of the arrays inside is the *lane*, a chain, so that loops over it use vector
registers.
"""

from collections import namedtuple
from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numba.core.cpu import CPUTargetOptions
from numba.core.options import TargetOptions

MISSING, ZERO, POSITIVE = 0, 1, 2
INNOCENT, MEASURE, PARTED = 0, 1, 2
CALM, ONSET, ONGOING = 0, 1, 2
MOVES = ((CALM, CALM), (CALM, ONSET), (ONSET, ONSET), (ONSET, ONGOING), (ONGOING, ONGOING), (ONGOING, CALM))
"""The campaign's moves in a month, in the order of the axis ``move``."""
CAMPAIGN_START = (0.96, 0.01, 0.03)
NU = 5.0
NEVER_ZERO = -800.0
"""A hurdle at which no state can show a zero."""
INPUTS = (
    "months",
    "x", "scale", "kind", "hurdle", "slope", "rho", "spare", "relief", "parting", "hold", "onset", "pace", "entry", "exit", "move",
    "chain", "group", "initial", "shift", "role", "own_course", "before", "now", "begun",
)  # fmt: skip
INTEGERS = ("months", "kind", "chain", "group", "role", "before", "now")
Layer: Any = namedtuple("Layer", INPUTS)  # type: ignore[misc]
"""What the kernels take. Only the first ``months`` of what has months are looked at."""
CAMPAIGNS, _P, _ROLES = 3, len(MOVES), 3
_FROM, _TO = np.array(MOVES).T.copy()
_START = np.array(CAMPAIGN_START)
_POWER = 3  # (NU + 1) / 2
_NORMAL = 8 / (3 * np.pi * np.sqrt(5))  # Gamma(3) / (Gamma(5/2) sqrt(5 pi)): t_5 at zero, unit scale
_TINY = 1e-300

_LANES, _WIDTH = 24, 8
"""Chains worked on side by side: about so many, in whole groups, filled up to a multiple of what a vector register holds."""
# What a lane's month shows, as rows of a view. The residual under pair i is BASE[combination_i] + CARRIED shift_before_i - shift_now_i,
# where a combination says which of the two states keep a course of their own; its density is (1 + INVERSE residual^2)^-3 times
# FRONT + BACK p(zero). Where nothing or a zero is shown INVERSE is 0, so that no loop has to ask.
_BASE = 0
_CARRIED, _INVERSE, _FRONT, _BACK, _CALMNESS, _RELIEVED, _ZERO_SEEN, _SEEN, _SPARED, _SPARE, _RELIEF = range(4, 15)
_ROWS = 15


def layer(given: Mapping[str, Any]) -> Any:
    """A :data:`Layer` of one type, so that numba compiles each kernel once."""
    typed = {n: np.ascontiguousarray(given[n], dtype=np.int64 if n in INTEGERS else np.float64) for n in INPUTS}
    return Layer(**typed | {n: typed[n].item() for n in ("months", "slope")})


# One file, although it is long: numba's cache looks at the file of the function it keeps, not at those of the functions in it.
_compiled = njit(cache=True, error_model="numpy")
# numba can tell the compiler that the arrays of a function do not overlap, and has no public switch for it. For loops over lanes,
# which keep to vector registers only so: without it the kernel takes 1.4 times as long.
CPUTargetOptions.noalias = TargetOptions.Mapping("noalias")
_loops = njit(cache=True, error_model="numpy", noalias=True)


@_compiled
def _members(group, groups):
    """(order, first): chains sorted by group, stably; those of group g are order[first[g]:first[g + 1]]."""
    first = np.zeros(groups + 1, np.int64)
    for g in group:
        first[g + 1] += 1
    for g in range(groups):
        first[g + 1] += first[g]
    order, free = np.empty(group.size, np.int64), first[:-1].copy()
    for c in range(group.size):
        order[free[group[c]]] = c
        free[group[c]] += 1
    return order, first


@_compiled
def _ranks(chain, chains):
    """ranks[r, c] = the r-th series of chain c, -1 where it has fewer."""
    order, first = _members(chain, chains)
    ranks = np.full((max((first[1:] - first[:-1]).max(), 1), chains), -1)
    for c in range(chains):
        for r in range(first[c + 1] - first[c]):
            ranks[r, c] = order[first[c] + r]
    return ranks


@_compiled
def _block_end(g, first):
    """Groups g : end are worked on together."""
    end = g + 1
    while end + 1 < first.size and first[end + 1] - first[g] <= _LANES:
        end += 1
    return end


@_compiled
def _lanes(order, low, high):
    """(lane,) chains order[low:high], the last of them repeated up to a whole number of registers; what those say is not used."""
    count = (high - low + _WIDTH - 1) // _WIDTH * _WIDTH
    lanes = np.empty(count, np.int64)
    for n in range(count):
        lanes[n] = order[min(low + n, high - 1)]
    return lanes


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
def _pairs(p):
    """By pair of states: log multiples before and now, were there no relief; the combination of courses; 1 where a code may be left out."""
    shift_now = np.log1p(-p.begun * (1.0 - np.exp(p.shift[p.now])))
    combination = (2.0 * p.own_course[p.before] + p.own_course[p.now]).astype(np.int64)
    measured = (np.maximum(p.role[p.before], p.role[p.now]) > 0).astype(np.float64)
    return p.shift[p.before], shift_now, combination, measured


@_compiled
def _show(view, n, kind, x, x_before, paired, scale, rho, hurdle, slope, relief, relief_before, spare):
    """Fill lane n of a view. paired : the month before has a positive flow, x_before."""
    view[:, n] = 0.0
    view[_FRONT, n], view[_SPARED, n], view[_SPARE, n], view[_RELIEF, n] = 1.0, 1.0, spare, relief
    if kind == MISSING:
        return
    calm = np.exp(-hurdle)
    silent = 1.0 / (1.0 + calm)
    view[_SEEN, n], view[_CALMNESS, n], view[_RELIEVED, n] = 1.0, calm, np.exp(slope * relief)
    if kind == ZERO:
        view[_ZERO_SEEN, n], view[_FRONT, n], view[_BACK, n], view[_SPARED, n] = 1.0, 0.0, 1.0, silent
        return
    carried = rho if paired else 0.0
    s = scale if paired else scale / np.sqrt(1.0 - rho * rho)
    plain, inverse, front = x - carried * x_before, 1.0 / (NU * s * s), _NORMAL / s
    there, here = carried * relief_before, relief
    view[_BASE, n], view[_BASE + 1, n], view[_BASE + 2, n], view[_BASE + 3, n] = plain, plain - here, plain + there, plain + there - here
    view[_CARRIED, n], view[_INVERSE, n], view[_FRONT, n], view[_BACK, n] = carried, inverse, front, -front
    d = 1.0 / (1.0 + plain * plain * inverse)
    view[_SPARED, n] = front * d * d * d * (1.0 - silent)


@_compiled
def _look(p, t, lanes, ranks, lift, view, silent):
    """Fill view[r] and silent[r] with what month t shows of the r-th series of each lane."""
    for r in range(ranks.shape[0]):
        for n in range(lanes.size):
            c = lanes[n]
            m = ranks[r, c]
            if m < 0:
                _show(view[r], n, MISSING, 0.0, 0.0, False, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
                continue
            paired = t > 0 and p.kind[m, t - 1] == POSITIVE
            x_before, relief_before = (p.x[m, t - 1], p.relief[c, t - 1]) if paired else (0.0, 0.0)
            _show(
                view[r], n, p.kind[m, t], p.x[m, t], x_before, paired, p.scale[m, t], p.rho[m], p.hurdle[m, t], p.slope, p.relief[c, t],
                relief_before, p.spare[m],
            )  # fmt: skip
        _silence(view[r], lift, p.own_course, silent[r])


@_loops
def _silence(view, lift, own_course, silent):
    """silent[k] = p(zero | k), and silent[K] that of a spared series. lift[k] = exp(slope shift[k])."""
    K = lift.size
    for k in range(K):
        own = own_course[k]
        for n in range(view.shape[1]):
            silent[k, n] = 1.0 / (1.0 + view[_CALMNESS, n] * lift[k] * (own * view[_RELIEVED, n] + (1.0 - own)))
    for n in range(view.shape[1]):
        silent[K, n] = 1.0 / (1.0 + view[_CALMNESS, n])


@_loops
def _densities(view, silent, shift_before, shift_now, combination, now, out):
    """out[i] = density (or probability) of what a view shows, given pair i of states."""
    for i in range(now.size):
        base, k, there, here = combination[i], now[i], shift_before[i], shift_now[i]
        for n in range(view.shape[1]):
            e = view[base, n] + view[_CARRIED, n] * there - here
            d = 1.0 / (1.0 + e * e * view[_INVERSE, n])
            out[i, n] = d * d * d * (view[_FRONT, n] + view[_BACK, n] * silent[k, n])


@_loops
def _mix(view, main, measured, f):
    """f times the mixture of `main` and what the series shows were it left out of the measure."""
    for i in range(main.shape[0]):
        for n in range(view.shape[1]):
            q = measured[i] * view[_SPARE, n]
            f[i, n] *= (1.0 - q) * main[i, n] + q * view[_SPARED, n]


@_compiled
def _whole(p, lanes, ranks):
    """Whether each lane is one series that no measure leaves out: its density is then all there is."""
    if ranks.shape[0] > 1:
        return False
    kept = 0.0
    for c in lanes:
        kept += p.spare[ranks[0, c]] if ranks[0, c] >= 0 else 0.0
    return kept == 0.0


@_compiled
def _emit(view, silent, shift_before, shift_now, combination, measured, now, whole, main, f):
    """f[i] = density of what all series of a lane show, given pair i of states."""
    if whole:
        _densities(view[0], silent[0], shift_before, shift_now, combination, now, f)
        return
    f[:] = 1.0
    for r in range(view.shape[0]):
        _densities(view[r], silent[r], shift_before, shift_now, combination, now, main)
        _mix(view[r], main, measured, f)


@_loops
def _odds(entry, exit, parting, hold, odds):
    """odds[p, a, b] = Q of the module's docstring for move p."""
    for p in range(_P):
        u = exit[p]
        for n in range(parting.size):
            e, q, h = entry[p, n], parting[n], hold[n]
            odds[p, 0, 0, n] = (1.0 - q) * (1.0 - e)
            odds[p, 0, 1, n] = (1.0 - q) * e
            odds[p, 0, 2, n] = q
            odds[p, 1, 0, n] = u * (1.0 - h)
            odds[p, 1, 1, n] = 1.0 - u
            odds[p, 1, 2, n] = u * h
            odds[p, 2, 0, n] = 1.0 - h
            odds[p, 2, 1, n] = 1.0 - h
            odds[p, 2, 2, n] = h


@_loops
def _flows(earlier, f, move, before, bound, calm, opening, ongoing, flow):
    """flow[a, z, k] = sum over pairs from role a to k of earlier[z, j] move f: before the odds of a role are counted."""
    for k in range(bound.shape[0]):
        for a in range(_ROLES):
            calm[:] = 0.0
            opening[:] = 0.0
            ongoing[:] = 0.0
            for i in range(bound[k, a], bound[k, a + 1]):
                j, w = before[i], move[i]
                for n in range(f.shape[1]):
                    g = w * f[i, n]
                    calm[n] += earlier[0, j, n] * g
                    opening[n] += earlier[1, j, n] * g
                    ongoing[n] += earlier[2, j, n] * g
            for n in range(f.shape[1]):
                flow[a, 0, k, n] = calm[n]
            for n in range(f.shape[1]):
                flow[a, 1, k, n] = opening[n]
            for n in range(f.shape[1]):
                flow[a, 2, k, n] = ongoing[n]


@_loops
def _join(flow, odds, role, joint, evidence):
    """joint[p, k] = p(s_t = k, y_t | move p); evidence[p] its sum over k."""
    for p in range(_P):
        z = _FROM[p]
        for n in range(evidence.shape[1]):
            evidence[p, n] = _TINY
        for k in range(role.size):
            b = role[k]
            for n in range(evidence.shape[1]):
                v = odds[p, 0, b, n] * flow[0, z, k, n] + odds[p, 1, b, n] * flow[1, z, k, n] + odds[p, 2, b, n] * flow[2, z, k, n]
                joint[p, k, n] = v
                evidence[p, n] += v


@_loops
def _collapse(share, joint, later):
    """later[z] = sum over the two moves that lead to z of share joint."""
    for k in range(joint.shape[1]):
        for n in range(joint.shape[2]):
            later[0, k, n] = share[0, n] * joint[0, k, n] + share[5, n] * joint[5, k, n]
        for n in range(joint.shape[2]):
            later[1, k, n] = share[1, n] * joint[1, k, n] + share[2, n] * joint[2, k, n]
        for n in range(joint.shape[2]):
            later[2, k, n] = share[3, n] * joint[3, k, n] + share[4, n] * joint[4, k, n]


@_compiled
def _moves(onset, pace, campaign, out):
    """out[p] = probability of move p, given p(z) the month before."""
    out[0], out[1] = campaign[0] * (1.0 - onset), campaign[0] * onset
    out[2], out[3] = campaign[1] * (1.0 - pace[0]), campaign[1] * pace[0]
    out[4], out[5] = campaign[2] * (1.0 - pace[1]), campaign[2] * pace[1]


@_compiled
def _weigh(weight, evidence, n):
    """weight <- weight * evidence of lane n, normalised; returned is the sum before."""
    total = _TINY
    for p in range(_P):
        weight[p] *= evidence[p, n]
        total += weight[p]
    for p in range(_P):
        weight[p] /= total
    return total


@_compiled
def _entries(p, lanes):
    entry = np.empty((_P, lanes.size))
    for n in range(lanes.size):
        entry[:, n] = p.entry[lanes[n]]
    return entry


@_compiled
def _put(state, lanes, out):
    """out[z, k, c] <- state[z, k, n] of the lane n that is chain c."""
    for z in range(CAMPAIGNS):
        for k in range(state.shape[1]):
            for n in range(lanes.size):
                out[z, k, lanes[n]] = state[z, k, n]


@_compiled
def _state_before(p, t, lanes, state, out):
    """out[z, k] : p(s_{t-1} = k | z_{t-1}, y_1..t-1) of each lane."""
    for z in range(CAMPAIGNS):
        for k in range(p.initial.size):
            for n in range(lanes.size):
                out[z, k, n] = state[t - 1, z, k, lanes[n]] if t > 0 else p.initial[k]


@_compiled
def forward(p):
    """(predictive[C, T], campaign[G, T, Z], state[T, Z, K, C]): p(z_t | y_1..t) and p(s_t | z_t, y_1..t)."""
    C, T, K, G = p.entry.shape[0], p.months, p.shift.size, p.onset.shape[0]
    room = p.x.shape[1]
    predictive, campaign, state = np.zeros((C, room)), np.zeros((G, room, CAMPAIGNS)), np.zeros((room, CAMPAIGNS, K, C))
    order, first = _members(p.group, G)
    ranks, bound, lift = _ranks(p.chain, C), _bounds(p.before, p.now, p.role), np.exp(p.slope * p.shift)
    shift_before, shift_now, combination, measured = _pairs(p)
    R, weight = ranks.shape[0], np.empty(_P)
    g = 0
    while g < G:
        end = _block_end(g, first)
        low, high = first[g], first[end]
        lanes = _lanes(order, low, high)
        N, whole, entries = lanes.size, _whole(p, lanes, ranks), _entries(p, lanes)
        view, silent, main, f = np.empty((R, _ROWS, N)), np.empty((R, K + 1, N)), np.empty((p.now.size, N)), np.empty((p.now.size, N))
        odds, flow = np.empty((_P, _ROLES, _ROLES, N)), np.empty((_ROLES, CAMPAIGNS, K, N))
        joint, evidence, share = np.empty((_P, K, N)), np.empty((_P, N)), np.zeros((_P, N))
        calm, opening, ongoing = np.empty(N), np.empty(N), np.empty(N)
        state_before, state_now = np.empty((CAMPAIGNS, K, N)), np.empty((CAMPAIGNS, K, N))
        _state_before(p, 0, lanes, state, state_before)
        for t in range(T):
            _look(p, t, lanes, ranks, lift, view, silent)
            _emit(view, silent, shift_before, shift_now, combination, measured, p.now, whole, main, f)
            _odds(entries, p.exit, p.parting[lanes, t], p.hold[lanes, t], odds)
            _flows(state_before, f, p.move, p.before, bound, calm, opening, ongoing, flow)
            _join(flow, odds, p.role, joint, evidence)
            for h in range(g, end):
                _moves(p.onset[h, t], p.pace, campaign[h, t - 1] if t > 0 else _START, weight)
                for n in range(first[h] - low, first[h + 1] - low):
                    predictive[lanes[n], t] = np.log(_weigh(weight, evidence, n))
                arrived = campaign[h, t]
                arrived[:] = 0.0
                for i in range(_P):
                    arrived[_TO[i]] += weight[i]
                for n in range(first[h] - low, first[h + 1] - low):
                    for i in range(_P):
                        share[i, n] = weight[i] / max(arrived[_TO[i]], _TINY) / evidence[i, n]
            _collapse(share, joint, state_now)
            _put(state_now, lanes[: high - low], state[t])
            state_before, state_now = state_now, state_before
        g = end
    return predictive, campaign, state


@_loops
def _pull_back(later, joint, evidence, pulled):
    """pulled[p] = what later[z, k], the pull on log p(s_t), means for the share of move p, in units of it."""
    for p in range(_P):
        z = _TO[p]
        for n in range(evidence.shape[1]):
            pulled[p, n] = 0.0
        for k in range(joint.shape[1]):
            for n in range(evidence.shape[1]):
                pulled[p, n] += later[z, k, n] * joint[p, k, n]
        for n in range(evidence.shape[1]):
            pulled[p, n] /= evidence[p, n]


@_loops
def _pull_joint(share, later, pulled, by_evidence, evidence, odds, flow, role, pull, g_flow, g_odds):
    """g_flow[a, z, k] and g_odds[p, a, b] from the pull on the joint of each move and state."""
    N = evidence.shape[1]
    g_flow[:] = 0.0
    g_odds[:] = 0.0
    for p in range(_P):
        z, to = _FROM[p], _TO[p]
        for k in range(role.size):
            b = role[k]
            for n in range(N):
                pull[n] = (share[p, n] * (later[to, k, n] - pulled[p, n]) + by_evidence[p, n]) / evidence[p, n]
            for a in range(_ROLES):
                for n in range(N):
                    g_flow[a, z, k, n] += odds[p, a, b, n] * pull[n]
                for n in range(N):
                    g_odds[p, a, b, n] += flow[a, z, k, n] * pull[n]


@_loops
def _pull_pairs(earlier, f, move, before, bound, g_flow, later_calm, later_opening, later_ongoing, g_f, g_move):
    """The pull on log f, on move (in units of it) and, added up, on the states of the month before."""
    for k in range(bound.shape[0]):
        for a in range(_ROLES):
            for i in range(bound[k, a], bound[k, a + 1]):
                j, v = before[i], move[i]
                for n in range(f.shape[1]):
                    w = v * f[i, n]
                    by_calm, by_opening, by_ongoing = g_flow[a, 0, k, n], g_flow[a, 1, k, n], g_flow[a, 2, k, n]
                    later_calm[j, n] += w * by_calm
                    later_opening[j, n] += w * by_opening
                    later_ongoing[j, n] += w * by_ongoing
                    by_f = w * (earlier[0, j, n] * by_calm + earlier[1, j, n] * by_opening + earlier[2, j, n] * by_ongoing)
                    g_f[i, n] = by_f
                    g_move[i, n] += by_f


@_loops
def _pull_mix(view, main, measured, f, g_f, g_main, by_spare, left_out):
    """The pull of a mixture on log main, on the odds of being left out, and on the density were the series left out."""
    by_spare[:] = 0.0
    left_out[:] = 0.0
    for i in range(main.shape[0]):
        for n in range(view.shape[1]):
            q = measured[i] * view[_SPARE, n]
            pulled = g_f[i, n] / max((1.0 - q) * main[i, n] + q * view[_SPARED, n], _TINY)
            by_spare[n] += measured[i] * pulled * (view[_SPARED, n] - main[i, n])
            left_out[n] += q * pulled * view[_SPARED, n]
            g_main[i, n] = (1.0 - q) * pulled * main[i, n]


@_loops
def _pull_residual(view, g_main, shift_before, shift_now, combination, now, by_base, by_carried, by_scale, mass):
    """by_base[combination], by_carried and by_scale : sums over pairs of pull, pull shift_before and pull e, where pull is that on
    the residual less its factor of -2 _POWER; mass[k] : of the pull on log density, by the state now.
    """
    for i in range(now.size):
        base, k, there, here = combination[i], now[i], shift_before[i], shift_now[i]
        for n in range(view.shape[1]):
            e = view[base, n] + view[_CARRIED, n] * there - here
            pull = g_main[i, n] * e * view[_INVERSE, n] / (1.0 + e * e * view[_INVERSE, n])
            by_base[base, n] += pull
            by_carried[n] += pull * there
            by_scale[n] += pull * e
            mass[k, n] += g_main[i, n]


@_loops
def _pull_silence(view, mass, silent, shift, own_course, by_hurdle, by_slope, by_relief):
    """What the masses mean for the odds of a zero. mass[K] : of a spared series. by_relief is in units of the slope."""
    K = shift.size
    for k in range(K + 1):
        own = own_course[k] if k < K else 0.0
        moved = shift[k] if k < K else 0.0
        of_state = 1.0 if k < K else 0.0
        for n in range(view.shape[1]):
            pull = mass[k, n] * view[_SEEN, n] * (view[_ZERO_SEEN, n] - silent[k, n])
            by_hurdle[n] += pull
            by_slope[n] -= of_state * pull * (moved + own * view[_RELIEF, n])
            by_relief[n] -= own * pull


@_compiled
def adjoint(p, campaign, state, weight):
    """Gradients of sum(weight * predictive) by :data:`model.chain.DIFFERENTIABLE`, in that order."""
    C, T, K, G = p.entry.shape[0], p.months, p.shift.size, p.onset.shape[0]
    g_x, g_scale, g_hurdle = np.zeros(p.x.shape), np.zeros(p.x.shape), np.zeros(p.x.shape)
    g_rho, g_spare, g_relief = np.zeros(p.rho.size), np.zeros(p.spare.size), np.zeros(p.relief.shape)
    g_parting, g_hold = np.zeros(p.parting.shape), np.zeros(p.hold.shape)
    g_slope, g_onset, g_pace = 0.0, np.zeros(p.onset.shape), np.zeros(2)
    g_entry, g_exit, g_move = np.zeros(p.entry.shape), np.zeros(_P), np.zeros(p.now.size)
    order, first = _members(p.group, G)
    ranks, bound, lift = _ranks(p.chain, C), _bounds(p.before, p.now, p.role), np.exp(p.slope * p.shift)
    shift_before, shift_now, combination, measured = _pairs(p)
    R, pairs = ranks.shape[0], p.now.size
    moving, pulled_move, in_state = np.empty(_P), np.empty(_P), np.empty(CAMPAIGNS)
    by_move, by_chain = np.empty(_P), np.empty(_P)
    g = 0
    while g < G:
        end = _block_end(g, first)
        low, high = first[g], first[end]
        lanes = _lanes(order, low, high)
        N, whole, entries = lanes.size, _whole(p, lanes, ranks), _entries(p, lanes)
        view, silent, main, f = np.empty((R, _ROWS, N)), np.empty((R, K + 1, N)), np.empty((pairs, N)), np.empty((pairs, N))
        odds, flow = np.empty((_P, _ROLES, _ROLES, N)), np.empty((_ROLES, CAMPAIGNS, K, N))
        joint, evidence, share, partial = np.empty((_P, K, N)), np.empty((_P, N)), np.zeros((_P, N)), np.zeros((_P, N))
        calm, opening, ongoing = np.empty(N), np.empty(N), np.empty(N)
        earlier, later, later_campaign = np.empty((CAMPAIGNS, K, N)), np.zeros((CAMPAIGNS, K, N)), np.zeros((end - g, CAMPAIGNS))
        pulled, by_evidence, pull = np.empty((_P, N)), np.zeros((_P, N)), np.empty(N)
        g_flow, g_odds = np.empty((_ROLES, CAMPAIGNS, K, N)), np.empty((_P, _ROLES, _ROLES, N))
        g_f, g_main, g_move_lane = np.empty((pairs, N)), np.empty((pairs, N)), np.zeros((pairs, N))
        by_base, by_carried, by_scale, mass = np.empty((4, N)), np.empty(N), np.empty(N), np.empty((K + 1, N))
        by_spare, left_out, by_hurdle, by_slope, by_relief = np.empty(N), np.zeros(N), np.empty(N), np.empty(N), np.empty(N)
        for t in range(T - 1, -1, -1):
            _look(p, t, lanes, ranks, lift, view, silent)
            _emit(view, silent, shift_before, shift_now, combination, measured, p.now, whole, main, f)
            _state_before(p, t, lanes, state, earlier)
            parted, held = p.parting[lanes, t], p.hold[lanes, t]
            _odds(entries, p.exit, parted, held, odds)
            _flows(earlier, f, p.move, p.before, bound, calm, opening, ongoing, flow)
            _join(flow, odds, p.role, joint, evidence)
            _pull_back(later, joint, evidence, pulled)
            for h in range(g, end):
                own, mates = later_campaign[h - g], range(first[h] - low, first[h + 1] - low)
                start = campaign[h, t - 1] if t > 0 else _START
                arrived = campaign[h, t]
                _moves(p.onset[h, t], p.pace, start, moving)
                for n in mates:
                    _weigh(moving, evidence, n)
                    partial[:, n] = moving
                # Through the collapse: state = sum over moves of moving / arrived * joint / evidence.
                pulled_move[:] = 0.0
                for n in mates:
                    pulled_move += pulled[:, n]
                in_state[:] = 0.0
                for i in range(_P):
                    in_state[_TO[i]] += moving[i] / max(arrived[_TO[i]], _TINY) * pulled_move[i]
                mean = 0.0
                for i in range(_P):
                    z = _TO[i]
                    by_move[i] = own[z] + (pulled_move[i] - in_state[z]) / max(arrived[z], _TINY)
                    mean += moving[i] * by_move[i]
                for i in range(_P):
                    by_move[i] = moving[i] * (by_move[i] - mean)
                # log evidence of a chain is in its total and those of its later mates, each with its own posterior over moves.
                by_chain[:] = by_move
                following = 0.0
                for n in range(first[h + 1] - low - 1, first[h] - low - 1, -1):
                    here = weight[lanes[n], t]
                    for i in range(_P):
                        by_chain[i] += (here - following) * partial[i, n]
                        by_evidence[i, n] = by_chain[i]
                        share[i, n] = moving[i] / max(arrived[_TO[i]], _TINY)
                    following = here
                own[:] = 0.0
                for i in range(_P):
                    own[_FROM[i]] += by_chain[i] / max(start[_FROM[i]], _TINY)
                if p.onset[h, t] > 0.0:
                    g_onset[h, t] = by_chain[1] / p.onset[h, t] - by_chain[0] / (1.0 - p.onset[h, t])
                g_pace[0] += by_chain[3] / p.pace[0] - by_chain[2] / (1.0 - p.pace[0])
                g_pace[1] += by_chain[5] / p.pace[1] - by_chain[4] / (1.0 - p.pace[1])
            _pull_joint(share, later, pulled, by_evidence, evidence, odds, flow, p.role, pull, g_flow, g_odds)
            for n in range(high - low):
                c = lanes[n]
                for i in range(_P):
                    o, e, q, u, h = g_odds[i, :, :, n], p.entry[c, i], parted[n], p.exit[i], held[n]
                    g_entry[c, i] += (1.0 - q) * (o[0, 1] - o[0, 0])
                    g_parting[c, t] += o[0, 2] - (1.0 - e) * o[0, 0] - e * o[0, 1]
                    g_exit[i] += (1.0 - h) * o[1, 0] + h * o[1, 2] - o[1, 1]
                    g_hold[c, t] += o[2, 2] - o[2, 0] - o[2, 1] + u * (o[1, 2] - o[1, 0])
            later[:] = 0.0
            _pull_pairs(earlier, f, p.move, p.before, bound, g_flow, later[0], later[1], later[2], g_f, g_move_lane)
            for r in range(R):
                if whole:
                    g_main[:] = g_f
                else:
                    _densities(view[r], silent[r], shift_before, shift_now, combination, p.now, main)
                    _pull_mix(view[r], main, measured, f, g_f, g_main, by_spare, left_out)
                by_base[:] = 0.0
                by_carried[:] = 0.0
                by_scale[:] = 0.0
                mass[:] = 0.0
                _pull_residual(view[r], g_main, shift_before, shift_now, combination, p.now, by_base, by_carried, by_scale, mass)
                mass[K] = left_out
                by_hurdle[:] = 0.0
                by_slope[:] = 0.0
                by_relief[:] = 0.0
                _pull_silence(view[r], mass, silent[r], p.shift, p.own_course, by_hurdle, by_slope, by_relief)
                for n in range(high - low):
                    c = lanes[n]
                    m = ranks[r, c]
                    if m < 0 or p.kind[m, t] == MISSING:
                        continue
                    if not whole:
                        g_spare[m] += by_spare[n]
                    g_hurdle[m, t] += by_hurdle[n]
                    g_slope += by_slope[n]
                    g_relief[c, t] += p.slope * by_relief[n]
                    if p.kind[m, t] == ZERO:
                        continue
                    plain, inverse, carried = view[r, _BASE, n], view[r, _INVERSE, n], view[r, _CARRIED, n]
                    alone = left_out[n] * plain * inverse / (1.0 + plain * plain * inverse)
                    here, there = by_base[1, n] + by_base[3, n], by_base[2, n] + by_base[3, n]
                    g_plain = -2 * _POWER * (alone + here + by_base[0, n] + by_base[2, n])
                    g_s = 2 * _POWER * (alone * plain + by_scale[n]) - mass[:, n].sum()
                    g_relief[c, t] += 2 * _POWER * here
                    g_x[m, t] += g_plain
                    g_scale[m, t] += g_s / p.scale[m, t]
                    if t > 0 and p.kind[m, t - 1] == POSITIVE:
                        g_x[m, t - 1] -= p.rho[m] * g_plain
                        g_rho[m] -= p.x[m, t - 1] * g_plain + 2 * _POWER * (by_carried[n] + p.relief[c, t - 1] * there)
                        g_relief[c, t - 1] -= 2 * _POWER * carried * there
                    else:
                        g_rho[m] += g_s * p.rho[m] / (1.0 - p.rho[m] * p.rho[m])
        for i in range(pairs):
            for n in range(high - low):
                g_move[i] += g_move_lane[i, n] / max(p.move[i], _TINY)
        g = end
    return (
        g_x, g_scale, g_hurdle, np.array(g_slope), g_rho, g_spare, g_relief, g_parting, g_hold, g_onset, g_pace, g_entry, g_exit, g_move
    )  # fmt: skip


@_loops
def _arrive(p, z, joint, evidence, later, later_now, told, arrive):
    """arrive[k] = later(k) p(k | move p) / p(k), normalised; told is its sum. later : smoothed, later_now : filtered."""
    for n in range(told.size):
        told[n] = _TINY
    for k in range(joint.shape[1]):
        for n in range(told.size):
            v = later[z, k, n] * joint[p, k, n] / evidence[p, n] / max(later_now[z, k, n], _TINY)
            arrive[k, n] = v
            told[n] += v
    for k in range(joint.shape[1]):
        for n in range(told.size):
            arrive[k, n] /= told[n]


@_loops
def _back(p, z, share, arrive, joint, odds, role, move, f, earlier, before, now, out):
    """out[z, j] += share p(s_{t-1} = j | move p, s_t): one move's part of the smoother's step back."""
    for i in range(now.size):
        j, k = before[i], now[i]
        a, b, v = role[j], role[k], move[i]
        for n in range(share.size):
            out[z, j, n] += share[n] * earlier[z, j, n] * arrive[k, n] * odds[p, a, b, n] * v * f[i, n] / max(joint[p, k, n], _TINY)


@_compiled
def smooth(p, campaign, state):
    """(campaign[G, T, Z], state[T, Z, K, C]) given all of y, from the filter's; exact for a group of one chain."""
    C, T, K, G = p.entry.shape[0], p.months, p.shift.size, p.onset.shape[0]
    smoothed_campaign, smoothed = np.zeros(campaign.shape), np.zeros(state.shape)
    order, first = _members(p.group, G)
    ranks, bound, lift = _ranks(p.chain, C), _bounds(p.before, p.now, p.role), np.exp(p.slope * p.shift)
    shift_before, shift_now, combination, measured = _pairs(p)
    R, weight = ranks.shape[0], np.empty((G, _P))
    smoothed[T - 1] = state[T - 1]
    smoothed_campaign[:, T - 1] = campaign[:, T - 1]
    g = 0
    while g < G:
        end = _block_end(g, first)
        low, high = first[g], first[end]
        lanes = _lanes(order, low, high)
        N, whole, entries = lanes.size, _whole(p, lanes, ranks), _entries(p, lanes)
        view, silent, main, f = np.empty((R, _ROWS, N)), np.empty((R, K + 1, N)), np.empty((p.now.size, N)), np.empty((p.now.size, N))
        odds, flow = np.empty((_P, _ROLES, _ROLES, N)), np.empty((_ROLES, CAMPAIGNS, K, N))
        joint, evidence, share = np.empty((_P, K, N)), np.empty((_P, N)), np.zeros(N)
        calm, opening, ongoing = np.empty(N), np.empty(N), np.empty(N)
        earlier, here, there = np.empty((CAMPAIGNS, K, N)), np.empty((CAMPAIGNS, K, N)), np.empty((CAMPAIGNS, K, N))
        told, arrive = np.empty((_P, N)), np.empty((_P, K, N))
        _state_before(p, T, lanes, state, here)
        there[:] = here
        for t in range(T - 1, 0, -1):
            _look(p, t, lanes, ranks, lift, view, silent)
            _emit(view, silent, shift_before, shift_now, combination, measured, p.now, whole, main, f)
            _state_before(p, t, lanes, state, earlier)
            _odds(entries, p.exit, p.parting[lanes, t], p.hold[lanes, t], odds)
            _flows(earlier, f, p.move, p.before, bound, calm, opening, ongoing, flow)
            _join(flow, odds, p.role, joint, evidence)
            # What the chains' later states say of the move, chain by chain: sum_k smoothed(k) p(k | move) / p(k).
            for i in range(_P):
                _arrive(i, _TO[i], joint, evidence, there, here, told[i], arrive[i])
            for h in range(g, end):
                of_move = weight[h]
                _moves(p.onset[h, t], p.pace, campaign[h, t - 1], of_move)
                mates = range(first[h] - low, first[h + 1] - low)
                for n in mates:
                    _weigh(of_move, evidence, n)
                for n in mates:
                    _weigh(of_move, told, n)
                for z in range(CAMPAIGNS):
                    total = _TINY
                    for i in range(_P):
                        if _TO[i] == z:
                            total += of_move[i]
                    for i in range(_P):
                        if _TO[i] == z:
                            of_move[i] *= smoothed_campaign[h, t, z] / total
                before_now = smoothed_campaign[h, t - 1]
                before_now[:] = 0.0
                for i in range(_P):
                    before_now[_FROM[i]] += of_move[i]
            here[:] = earlier
            there[:] = 0.0
            for i in range(_P):
                z = _FROM[i]
                for h in range(g, end):
                    for n in range(first[h] - low, first[h + 1] - low):
                        share[n] = weight[h, i] / max(smoothed_campaign[h, t - 1, z], _TINY)
                _back(i, z, share, arrive[i], joint, odds, p.role, p.move, f, earlier, p.before, p.now, there)
            _put(there, lanes[: high - low], smoothed[t - 1])
        g = end
    return smoothed_campaign, smoothed


@_compiled
def evidence_on_grid(p, t, moved, relief_at, parting_at, hold_at, widened, campaign, state):
    """out[c, n] = log p(y_ct | months before t) were, in month t, x of its series less by moved[n], the relief, parting and hold
    relief_at[n], parting_at[n] and hold_at[n], and the square of the scale more by widened[n]; each chain on its own, from the filter
    to t - 1. Only months t - 1 and t are looked at.
    """
    C, K, points = p.entry.shape[0], p.shift.size, moved.size
    out = np.empty((C, points))
    ranks, bound, lift = _ranks(p.chain, C), _bounds(p.before, p.now, p.role), np.exp(p.slope * p.shift)
    shift_before, shift_now, combination, measured = _pairs(p)
    R, N = ranks.shape[0], points
    view, silent, main, f = np.empty((R, _ROWS, N)), np.empty((R, K + 1, N)), np.empty((p.now.size, N)), np.empty((p.now.size, N))
    odds, flow = np.empty((_P, _ROLES, _ROLES, N)), np.empty((_ROLES, CAMPAIGNS, K, N))
    joint, evidence, weight = np.empty((_P, K, N)), np.empty((_P, N)), np.empty(_P)
    calm, opening, ongoing, earlier = np.empty(N), np.empty(N), np.empty(N), np.empty((CAMPAIGNS, K, N))
    for c in range(C):
        # The grid's points are the lanes.
        lanes = np.full(N, c)
        for r in range(R):
            m = ranks[r, c]
            shown = p.kind[m, t] if m >= 0 else MISSING
            paired = shown != MISSING and t > 0 and p.kind[m, t - 1] == POSITIVE
            x_before, relief_before = (p.x[m, t - 1], p.relief[c, t - 1]) if paired else (0.0, 0.0)
            for n in range(N):
                wider = np.sqrt(p.scale[m, t] ** 2 + widened[n])
                _show(
                    view[r], n, shown, p.x[m, t] - moved[n], x_before, paired, wider, p.rho[m], p.hurdle[m, t], p.slope, relief_at[n],
                    relief_before, p.spare[m],
                )  # fmt: skip
            _silence(view[r], lift, p.own_course, silent[r])
        _emit(view, silent, shift_before, shift_now, combination, measured, p.now, False, main, f)
        _state_before(p, t, lanes, state, earlier)
        _odds(_entries(p, lanes), p.exit, parting_at, hold_at, odds)
        _flows(earlier, f, p.move, p.before, bound, calm, opening, ongoing, flow)
        _join(flow, odds, p.role, joint, evidence)
        g = p.group[c]
        for n in range(points):
            _moves(p.onset[g, t], p.pace, campaign[g, t - 1] if t > 0 else _START, weight)
            out[c, n] = np.log(_weigh(weight, evidence, n))
    return out
