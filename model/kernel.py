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

Chains are worked on side by side, :data:`WIDTH` to a *block*: the last axis of the arrays inside is the lane, a chain
(:mod:`model.lanes`). A *team* is the blocks worked on together, that of one large group or of several small ones.
"""

import hashlib
from collections import namedtuple
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numba import config, njit

from model.lanes import WIDTH, at, at_least, put, spread

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
_LEAVE = tuple(tuple(p for p, (z, _) in enumerate(MOVES) if z == start) for start in (CALM, ONSET, ONGOING))
_START = np.array(CAMPAIGN_START)
_TEAM = 3 * WIDTH
"""Chains a team holds at most, unless one group alone has more."""
_POWER = 3  # (NU + 1) / 2
_NORMAL = 8 / (3 * np.pi * np.sqrt(5))  # Gamma(3) / (Gamma(5/2) sqrt(5 pi)): t_5 at zero, unit scale
_TINY = 1e-300

# What a lane's month shows, as rows of a view. The residual under pair i is BASE[combination_i] + CARRIED shift_before_i - shift_now_i,
# where a combination says which of the two states keep a course of their own; its density is (1 + INVERSE residual^2)^-3 times
# FRONT + BACK p(zero). Where nothing or a zero is shown INVERSE is 0, so that no loop has to ask.
_BASE = 0
_CARRIED, _INVERSE, _FRONT, _BACK, _CALMNESS, _RELIEVED, _ZERO_SEEN, _SEEN, _SPARED, _SPARE, _RELIEF = range(4, 15)
_ROWS = 15
# What pulls on a lane's figures, summed over pairs of states, as rows of ``sums``.
_BY_BASE = 0
_BY_CARRIED, _BY_SCALE, _BY_SPARE, _BY_HURDLE, _BY_SLOPE, _BY_SILENCE, _BY_X, _BY_RELIEF, _BY_RELIEF_BEFORE, _THERE, _SUMS = range(4, 15)


def layer(given: Mapping[str, Any]) -> Any:
    """A :data:`Layer` of one type, so that numba compiles each kernel once."""
    typed = {n: np.ascontiguousarray(given[n], dtype=np.int64 if n in INTEGERS else np.float64) for n in INPUTS}
    return Layer(**typed | {n: typed[n].item() for n in ("months", "slope")})


# numba's cache looks at the file of the function it keeps and not at those of the functions in it, so its folder bears the name of all.
_SOURCES = b"".join(Path(__file__).with_name(name).read_bytes() for name in ("lanes.py", "kernel.py", "xla.py"))
_FOLDER = Path(config.CACHE_DIR or Path(__file__).with_name("__pycache__"))
config.CACHE_DIR = str(_FOLDER / hashlib.sha256(_SOURCES).hexdigest()[:12])
_compiled = njit(cache=True, error_model="numpy")
# A call would pass some hundred words: each array is its shape and strides too.
_part = njit(error_model="numpy", forceinline=True)

Gradient: Any = namedtuple("Gradient", "x scale hurdle slope rho spare relief parting hold onset pace entry exit move")  # type: ignore[misc]
"""By the inputs that parameters move, each of its input's shape."""
_Tables: Any = namedtuple("_Tables", "order first ranks bound lift shift_before shift_now combination measured")  # type: ignore[misc]
"""order, first : see :func:`_members`. ranks[r, c] : the r-th series of chain c, -1 where it has fewer. bound[k, a] : bound[k, a + 1]
are the pairs that lead to k from a state of role a. lift[k] : exp(slope shift[k]). By pair: log multiples before and now, were there no
relief; the combination of courses; 1 where a code may be left out."""
_Room: Any = namedtuple("_Room", "lanes whole entry parting hold shown silent near f odds flow joint evidence")  # type: ignore[misc]
"""Where a team's month is worked on; the first axis is the block, the last the lane. lanes[b, n] : which chain."""


@_part
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


@_part
def _ranks(chain, chains):
    order, first = _members(chain, chains)
    ranks = np.full((max((first[1:] - first[:-1]).max(), 1), chains), -1)
    for c in range(chains):
        for r in range(first[c + 1] - first[c]):
            ranks[r, c] = order[first[c] + r]
    return ranks


@_part
def _bounds(before, now, role):
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


@_part
def _tables(p):
    order, first = _members(p.group, p.onset.shape[0])
    shift_now = np.log1p(-p.begun * (1.0 - np.exp(p.shift[p.now])))
    combination = (2.0 * p.own_course[p.before] + p.own_course[p.now]).astype(np.int64)
    measured = (np.maximum(p.role[p.before], p.role[p.now]) > 0).astype(np.float64)
    return _Tables(
        order, first, _ranks(p.chain, p.entry.shape[0]), _bounds(p.before, p.now, p.role), np.exp(p.slope * p.shift),
        p.shift[p.before], shift_now, combination, measured,
    )  # fmt: skip


@_part
def _team_end(g, first):
    """Groups g : end are a team."""
    end = g + 1
    while end + 1 < first.size and first[end + 1] - first[g] <= _TEAM:
        end += 1
    return end


@_part
def _lanes_of(shape):
    """Zeros whose last axis is lanes, each within one line of the processor's cache."""
    size = 1
    for length in shape:
        size *= length
    memory = np.zeros(size + WIDTH)
    start = -(memory.ctypes.data // 8) % WIDTH
    return memory[start : start + size].reshape(shape)


@_part
def _room(p, tables, chains):
    """Room for `chains`, the last of which is repeated up to a whole number of blocks; what those lanes say is not used."""
    blocks = (chains.size + WIDTH - 1) // WIDTH
    K, R, pairs = p.shift.size, tables.ranks.shape[0], p.now.size
    lanes, entry, spared = np.empty((blocks, WIDTH), np.int64), _lanes_of((blocks, _P, WIDTH)), 0.0
    for n in range(blocks * WIDTH):
        c = chains[min(n, chains.size - 1)]
        lanes[n // WIDTH, n % WIDTH] = c
        entry[n // WIDTH, :, n % WIDTH] = p.entry[c]
        if tables.ranks[0, c] >= 0:
            spared += p.spare[tables.ranks[0, c]]
    # Where each lane is one series that no measure leaves out, its density is all there is.
    whole = R == 1 and spared == 0.0
    return _Room(
        lanes, whole, entry, _lanes_of((blocks, WIDTH)), _lanes_of((blocks, WIDTH)), _lanes_of((blocks, R, _ROWS, WIDTH)),
        _lanes_of((blocks, R, K + 1, WIDTH)), _lanes_of((blocks, R, pairs, WIDTH)), _lanes_of((blocks, pairs, WIDTH)),
        _lanes_of((blocks, _P, _ROLES, _ROLES, WIDTH)), _lanes_of((blocks, _ROLES, CAMPAIGNS, K, WIDTH)),
        _lanes_of((blocks, _P, K, WIDTH)), _lanes_of((blocks, _P, WIDTH)),
    )  # fmt: skip


@_part
def _show(view, n, kind, x, x_before, paired, scale, rho, hurdle, slope, relief, relief_before, spare):
    """Fill lane n of a view. paired : the month before has a positive flow, x_before."""
    for row in range(_ROWS):
        view[row, n] = 0.0
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


@_part
def _look(p, t, tables, room):
    """Fill a team's views with what month t shows."""
    for b in range(room.lanes.shape[0]):
        for n in range(WIDTH):
            c = room.lanes[b, n]
            room.parting[b, n], room.hold[b, n] = p.parting[c, t], p.hold[c, t]
            for r in range(tables.ranks.shape[0]):
                m = tables.ranks[r, c]
                if m < 0:
                    _show(room.shown[b, r], n, MISSING, 0.0, 0.0, False, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
                    continue
                paired = t > 0 and p.kind[m, t - 1] == POSITIVE
                x_before, relief_before = (p.x[m, t - 1], p.relief[c, t - 1]) if paired else (0.0, 0.0)
                _show(
                    room.shown[b, r], n, p.kind[m, t], p.x[m, t], x_before, paired, p.scale[m, t], p.rho[m], p.hurdle[m, t], p.slope,
                    p.relief[c, t], relief_before, p.spare[m],
                )  # fmt: skip


@_part
def _silence(view, lift, own_course, silent):
    """silent[k] = p(zero | k), and silent[K] that of a spared series."""
    calm, relieved = at(view, _CALMNESS), at(view, _RELIEVED)
    for k in range(lift.size):
        own = own_course[k]
        put(silent, k, 1.0 / (1.0 + calm * lift[k] * (own * relieved + (1.0 - own))))
    put(silent, lift.size, 1.0 / (1.0 + calm))


@_part
def _emit(p, tables, room, b):
    """f[i] = density (or probability) of what all series of a lane show, given pair i of states; near[r, i], its share that the
    residual of the r-th enters by."""
    f = room.f[b]
    for r in range(tables.ranks.shape[0]):
        view, silent, near = room.shown[b, r], room.silent[b, r], room.near[b, r]
        _silence(view, tables.lift, p.own_course, silent)
        carried, inverse, front, back = at(view, _CARRIED), at(view, _INVERSE), at(view, _FRONT), at(view, _BACK)
        spare, spared = at(view, _SPARE), at(view, _SPARED)
        for i in range(p.now.size):
            e = at(view, tables.combination[i]) + carried * tables.shift_before[i] - tables.shift_now[i]
            d = 1.0 / (1.0 + e * e * inverse)
            put(near, i, d)
            density = d * d * d * (front + back * at(silent, p.now[i]))
            if tables.measured[i]:
                density = (1.0 - spare) * density + spare * spared
            put(f, i, density if r == 0 else at(f, i) * density)


@_part
def _odds(entry, exit, parting, hold, odds):
    """odds[p, a, b] = Q of the module's docstring for move p."""
    for p in range(_P):
        u, e, q, h = exit[p], at(entry, p), parting, hold
        put(odds, (p, 0, 0), (1.0 - q) * (1.0 - e))
        put(odds, (p, 0, 1), (1.0 - q) * e)
        put(odds, (p, 0, 2), q)
        put(odds, (p, 1, 0), u * (1.0 - h))
        put(odds, (p, 1, 1), spread(1.0 - u))
        put(odds, (p, 1, 2), u * h)
        put(odds, (p, 2, 0), 1.0 - h)
        put(odds, (p, 2, 1), 1.0 - h)
        put(odds, (p, 2, 2), h)


@_part
def _flows(earlier, f, p, bound, flow):
    """flow[a, z, k] = sum over pairs from role a to k of earlier[z, j] move f: before the odds of a role are counted."""
    for k in range(bound.shape[0]):
        for a in range(_ROLES):
            calm, opening, ongoing = spread(0.0), spread(0.0), spread(0.0)
            for i in range(bound[k, a], bound[k, a + 1]):
                j, g = p.before[i], p.move[i] * at(f, i)
                calm += at(earlier, (CALM, j)) * g
                opening += at(earlier, (ONSET, j)) * g
                ongoing += at(earlier, (ONGOING, j)) * g
            put(flow, (a, CALM, k), calm)
            put(flow, (a, ONSET, k), opening)
            put(flow, (a, ONGOING, k), ongoing)


@_part
def _join(flow, odds, role, joint, evidence):
    """joint[p, k] = p(s_t = k, y_t | move p); evidence[p] its sum over k."""
    for p in range(_P):
        z, total = _FROM[p], spread(_TINY)
        for k in range(role.size):
            b = role[k]
            v = (
                at(odds, (p, 0, b)) * at(flow, (0, z, k))
                + at(odds, (p, 1, b)) * at(flow, (1, z, k))
                + at(odds, (p, 2, b)) * at(flow, (2, z, k))
            )
            put(joint, (p, k), v)
            total += v
        put(evidence, p, total)


@_part
def _reach(p, tables, room, b, earlier):
    """What block b's month shows, by pair of states, flow, move and state: from ``earlier[z, k]`` = p(s_{t-1} = k | z_{t-1})."""
    _emit(p, tables, room, b)
    _odds(room.entry[b], p.exit, at(room.parting, b), at(room.hold, b), room.odds[b])
    _flows(earlier, room.f[b], p, tables.bound, room.flow[b])
    _join(room.flow[b], room.odds[b], p.role, room.joint[b], room.evidence[b])


@_part
def _collapse(share, joint, later):
    """later[z] = sum over the two moves that lead to z of share joint."""
    for k in range(joint.shape[1]):
        put(later, (CALM, k), at(share, 0) * at(joint, (0, k)) + at(share, 5) * at(joint, (5, k)))
        put(later, (ONSET, k), at(share, 1) * at(joint, (1, k)) + at(share, 2) * at(joint, (2, k)))
        put(later, (ONGOING, k), at(share, 3) * at(joint, (3, k)) + at(share, 4) * at(joint, (4, k)))


@_part
def _moves(onset, pace, campaign, out):
    """out[p] = probability of move p, given p(z) the month before."""
    out[0], out[1] = campaign[0] * (1.0 - onset), campaign[0] * onset
    out[2], out[3] = campaign[1] * (1.0 - pace[0]), campaign[1] * pace[0]
    out[4], out[5] = campaign[2] * (1.0 - pace[1]), campaign[2] * pace[1]


@_part
def _weigh(weight, evidence, n):
    """weight <- weight * evidence of a team's n-th lane, normalised; returned is the sum before."""
    b, n = n // WIDTH, n % WIDTH
    total = _TINY
    for p in range(_P):
        weight[p] *= evidence[b, p, n]
        total += weight[p]
    for p in range(_P):
        weight[p] /= total
    return total


@_part
def _put_state(team, chains, out):
    """out[z, k, c] <- team[b, z, k, n] of the lane that is chain c."""
    for z in range(CAMPAIGNS):
        for k in range(out.shape[1]):
            for n in range(chains.size):
                out[z, k, chains[n]] = team[n // WIDTH, z, k, n % WIDTH]


@_part
def _state_before(p, t, lanes, state, out):
    """out[b, z, k] : p(s_{t-1} = k | z_{t-1}, y_1..t-1) of each lane."""
    for b in range(lanes.shape[0]):
        for z in range(CAMPAIGNS):
            for k in range(p.initial.size):
                for n in range(WIDTH):
                    out[b, z, k, n] = state[t - 1, z, k, lanes[b, n]] if t > 0 else p.initial[k]


@_compiled
def forward(p):
    """(predictive[C, T], campaign[G, T, Z], state[T, Z, K, C]): p(z_t | y_1..t) and p(s_t | z_t, y_1..t)."""
    C, K, G, months = p.entry.shape[0], p.shift.size, p.onset.shape[0], p.x.shape[1]
    predictive, campaign, state = np.zeros((C, months)), np.zeros((G, months, CAMPAIGNS)), np.zeros((months, CAMPAIGNS, K, C))
    tables, weight = _tables(p), np.empty(_P)
    g = 0
    while g < G:
        end = _team_end(g, tables.first)
        low, high = tables.first[g], tables.first[end]
        chains = tables.order[low:high]
        room = _room(p, tables, chains)
        blocks = room.lanes.shape[0]
        share = _lanes_of((blocks, _P, WIDTH))
        earlier, later = _lanes_of((blocks, CAMPAIGNS, K, WIDTH)), _lanes_of((blocks, CAMPAIGNS, K, WIDTH))
        _state_before(p, 0, room.lanes, state, earlier)
        for t in range(p.months):
            _look(p, t, tables, room)
            for b in range(blocks):
                _reach(p, tables, room, b, earlier[b])
            for h in range(g, end):
                _moves(p.onset[h, t], p.pace, campaign[h, t - 1] if t > 0 else _START, weight)
                mates = range(tables.first[h] - low, tables.first[h + 1] - low)
                for n in mates:
                    predictive[chains[n], t] = np.log(_weigh(weight, room.evidence, n))
                arrived = campaign[h, t]
                for i in range(_P):
                    arrived[_TO[i]] += weight[i]
                for n in mates:
                    for i in range(_P):
                        share[n // WIDTH, i, n % WIDTH] = weight[i] / max(arrived[_TO[i]], _TINY)
            for b in range(blocks):
                for i in range(_P):
                    put(share[b], i, at(share[b], i) / at(room.evidence[b], i))
                _collapse(share[b], room.joint[b], later[b])
            _put_state(later, chains, state[t])
            earlier, later = later, earlier
        g = end
    return predictive, campaign, state


@_part
def _pull_back(later, joint, evidence, pulled):
    """pulled[p] = what later[z, k], the pull on log p(s_t), means for the share of move p, in units of it."""
    for p in range(_P):
        z, total = _TO[p], spread(0.0)
        for k in range(joint.shape[1]):
            total += at(later, (z, k)) * at(joint, (p, k))
        put(pulled, p, total / at(evidence, p))


@_part
def _pull_joint(share, later, pulled, by_evidence, room, b, role, g_flow, g_odds):
    """g_flow[a, z, k] and g_odds[p, a, b] from the pull on the joint of each move and state."""
    odds, flow = room.odds[b], room.flow[b]
    for z in range(CAMPAIGNS):
        p, q = _LEAVE[z]  # the two moves from z
        each, other = 1.0 / at(room.evidence[b], p), 1.0 / at(room.evidence[b], q)
        by_later, common = at(share, p) * each, (at(by_evidence, p) - at(share, p) * at(pulled, p)) * each
        by_later_q, common_q = at(share, q) * other, (at(by_evidence, q) - at(share, q) * at(pulled, q)) * other
        for c in range(_ROLES):
            p0, p1, p2, q0, q1, q2 = spread(0.0), spread(0.0), spread(0.0), spread(0.0), spread(0.0), spread(0.0)
            for k in range(role.size):
                if role[k] != c:
                    continue
                by_p = by_later * at(later, (_TO[p], k)) + common
                by_q = by_later_q * at(later, (_TO[q], k)) + common_q
                for a in range(_ROLES):
                    put(g_flow, (a, z, k), at(odds, (p, a, c)) * by_p + at(odds, (q, a, c)) * by_q)
                innocent, measure, parted = at(flow, (0, z, k)), at(flow, (1, z, k)), at(flow, (2, z, k))
                p0 += innocent * by_p
                p1 += measure * by_p
                p2 += parted * by_p
                q0 += innocent * by_q
                q1 += measure * by_q
                q2 += parted * by_q
            put(g_odds, (p, 0, c), p0)
            put(g_odds, (p, 1, c), p1)
            put(g_odds, (p, 2, c), p2)
            put(g_odds, (q, 0, c), q0)
            put(g_odds, (q, 1, c), q1)
            put(g_odds, (q, 2, c), q2)


@_part
def _pull_pairs(earlier, f, p, bound, g_flow, later, g_f, g_move):
    """The pull on log f, on move (in units of it) and, added up, on the states of the month before."""
    for k in range(bound.shape[0]):
        for a in range(_ROLES):
            calm, opening, ongoing = at(g_flow, (a, CALM, k)), at(g_flow, (a, ONSET, k)), at(g_flow, (a, ONGOING, k))
            for i in range(bound[k, a], bound[k, a + 1]):
                j, w = p.before[i], p.move[i] * at(f, i)
                put(later, (CALM, j), at(later, (CALM, j)) + w * calm)
                put(later, (ONSET, j), at(later, (ONSET, j)) + w * opening)
                put(later, (ONGOING, j), at(later, (ONGOING, j)) + w * ongoing)
                by_f = w * (at(earlier, (CALM, j)) * calm + at(earlier, (ONSET, j)) * opening + at(earlier, (ONGOING, j)) * ongoing)
                put(g_f, i, by_f)
                put(g_move, i, at(g_move, i) + by_f)


@_part
def _pull_density(p, tables, room, b, r, g_f, sums, mass):
    """In ``sums``: of pull by combination, of pull shift_before and of pull e, where pull is that on the residual less its factor of
    -2 _POWER; and the pull on the odds of being left out. mass[k] : of the pull on log density, by the state now, and mass[K] that on
    log density were the series left out."""
    view, silent, near, bound = room.shown[b, r], room.silent[b, r], room.near[b, r], tables.bound
    carried, inverse, front, back = at(view, _CARRIED), at(view, _INVERSE), at(view, _FRONT), at(view, _BACK)
    spare, spared = at(view, _SPARE), at(view, _SPARED)
    by_carried, by_scale, by_spare, left_out = spread(0.0), spread(0.0), spread(0.0), spread(0.0)
    for row in range(_BY_BASE, _BY_BASE + 4):
        put(sums, row, spread(0.0))
    for k in range(bound.shape[0]):
        total, shown = spread(0.0), front + back * at(silent, k)
        for i in range(bound[k, 0], bound[k, _ROLES]):
            given, d, base, there = at(g_f, i), at(near, i), tables.combination[i], tables.shift_before[i]
            if tables.measured[i] and not room.whole:
                density = d * d * d * shown
                pulled = given / at_least((1.0 - spare) * density + spare * spared, _TINY)
                by_spare += pulled * (spared - density)
                left_out += spare * pulled * spared
                given = (1.0 - spare) * pulled * density
            e = at(view, base) + carried * there - tables.shift_now[i]
            pull = given * e * inverse * d
            put(sums, base, at(sums, base) + pull)
            by_carried += pull * there
            by_scale += pull * e
            total += given
        put(mass, k, total)
    put(mass, bound.shape[0], left_out)
    put(sums, _BY_CARRIED, by_carried)
    put(sums, _BY_SCALE, by_scale)
    put(sums, _BY_SPARE, by_spare)


@_part
def _pull_figures(view, mass, silent, shift, own_course, sums):
    """The last step of what pulls on a block's figures, in ``sums``: on hurdle and slope; on x; on the scale, in units of it; on the relief
    of the month and that before; on rho by way of the month before, less its x's."""
    seen, zero_seen, relief, K = at(view, _SEEN), at(view, _ZERO_SEEN), at(view, _RELIEF), shift.size
    left_out, total = at(mass, K), at(mass, K)
    by_hurdle = left_out * seen * (zero_seen - at(silent, K))
    by_slope, by_relief = spread(0.0), spread(0.0)
    for k in range(K):
        pull = at(mass, k) * seen * (zero_seen - at(silent, k))
        by_hurdle += pull
        by_slope -= pull * (shift[k] + own_course[k] * relief)
        by_relief -= own_course[k] * pull
        total += at(mass, k)
    put(sums, _BY_HURDLE, by_hurdle)
    put(sums, _BY_SLOPE, by_slope)
    put(sums, _BY_SILENCE, by_relief)
    plain, inverse = at(view, _BASE), at(view, _INVERSE)
    alone = left_out * plain * inverse / (1.0 + plain * plain * inverse)
    here, there = at(sums, _BY_BASE + 1) + at(sums, _BY_BASE + 3), at(sums, _BY_BASE + 2) + at(sums, _BY_BASE + 3)
    put(sums, _BY_X, -2.0 * _POWER * (alone + here + at(sums, _BY_BASE) + at(sums, _BY_BASE + 2)))
    put(sums, _BY_SCALE, 2.0 * _POWER * (alone * plain + at(sums, _BY_SCALE)) - total)
    put(sums, _BY_RELIEF, 2.0 * _POWER * here)
    put(sums, _BY_RELIEF_BEFORE, -2.0 * _POWER * at(view, _CARRIED) * there)
    put(sums, _THERE, there)


@_part
def _pull_campaign(p, t, h, begin, stop, room, weight, pulled, arrived, start, own, share, by_evidence, partial, scratch, gradient):
    """Group h's part of a month's step back; begin : stop are its lanes in the team. own[z] : the pull on log p(z_t), replaced by that on
    log p(z_{t-1}). Filled: share[b, p] = p(move p) / p(z_t) and by_evidence[b, p], the pull on log evidence, of its lanes."""
    moving, together, in_state, by_move = scratch
    for i in range(_P):
        together[i], in_state[_TO[i]] = 0.0, 0.0
    _moves(p.onset[h, t], p.pace, start, moving)
    for n in range(begin, stop):
        _weigh(moving, room.evidence, n)
        for i in range(_P):
            partial[n // WIDTH, i, n % WIDTH] = moving[i]
            together[i] += pulled[n // WIDTH, i, n % WIDTH]
    # Through the collapse: state = sum over moves of moving / arrived * joint / evidence.
    for i in range(_P):
        in_state[_TO[i]] += moving[i] / max(arrived[_TO[i]], _TINY) * together[i]
    mean = 0.0
    for i in range(_P):
        z = _TO[i]
        by_move[i] = own[z] + (together[i] - in_state[z]) / max(arrived[z], _TINY)
        mean += moving[i] * by_move[i]
    for i in range(_P):
        by_move[i] = moving[i] * (by_move[i] - mean)
    # log evidence of a chain is in its total and those of its later mates, each with its own posterior over moves.
    following = 0.0
    for n in range(stop - 1, begin - 1, -1):
        b, lane = n // WIDTH, n % WIDTH
        here = weight[room.lanes[b, lane], t]
        for i in range(_P):
            by_move[i] += (here - following) * partial[b, i, lane]
            by_evidence[b, i, lane] = by_move[i]
            share[b, i, lane] = moving[i] / max(arrived[_TO[i]], _TINY)
        following = here
    own[:] = 0.0
    for i in range(_P):
        own[_FROM[i]] += by_move[i] / max(start[_FROM[i]], _TINY)
    if p.onset[h, t] > 0.0:
        gradient.onset[h, t] = by_move[1] / p.onset[h, t] - by_move[0] / (1.0 - p.onset[h, t])
    gradient.pace[0] += by_move[3] / p.pace[0] - by_move[2] / (1.0 - p.pace[0])
    gradient.pace[1] += by_move[5] / p.pace[1] - by_move[4] / (1.0 - p.pace[1])


@_part
def _pull_odds(p, t, room, b, lanes, g_odds, gradient):
    """What a block's ``g_odds`` mean for entry, exit, parting and hold. lanes : how many of its lanes count."""
    for n in range(lanes):
        c, q, h = room.lanes[b, n], room.parting[b, n], room.hold[b, n]
        for i in range(_P):
            e, u, unmoved, begun = p.entry[c, i], p.exit[i], g_odds[i, 0, 0, n], g_odds[i, 0, 1, n]
            ended, parted = g_odds[i, 1, 0, n], g_odds[i, 1, 2, n]
            gradient.entry[c, i] += (1.0 - q) * (begun - unmoved)
            gradient.parting[c, t] += g_odds[i, 0, 2, n] - (1.0 - e) * unmoved - e * begun
            gradient.exit[i] += (1.0 - h) * ended + h * parted - g_odds[i, 1, 1, n]
            gradient.hold[c, t] += g_odds[i, 2, 2, n] - g_odds[i, 2, 0, n] - g_odds[i, 2, 1, n] + u * (parted - ended)


@_part
def _gather(p, t, tables, room, b, r, lanes, sums, gradient):
    """Add ``sums`` to the gradient by the r-th series of a block's first `lanes` lanes."""
    for n in range(lanes):
        c = room.lanes[b, n]
        m = tables.ranks[r, c]
        if m < 0 or p.kind[m, t] == MISSING:
            continue
        gradient.spare[m] += sums[_BY_SPARE, n]
        gradient.hurdle[m, t] += sums[_BY_HURDLE, n]
        gradient.slope[()] += sums[_BY_SLOPE, n]
        gradient.relief[c, t] += p.slope * sums[_BY_SILENCE, n]
        if p.kind[m, t] == ZERO:
            continue
        by_x, by_scale = sums[_BY_X, n], sums[_BY_SCALE, n]
        gradient.x[m, t] += by_x
        gradient.scale[m, t] += by_scale / p.scale[m, t]
        gradient.relief[c, t] += sums[_BY_RELIEF, n]
        if t > 0 and p.kind[m, t - 1] == POSITIVE:
            gradient.x[m, t - 1] -= p.rho[m] * by_x
            gradient.rho[m] -= p.x[m, t - 1] * by_x + 2 * _POWER * (sums[_BY_CARRIED, n] + p.relief[c, t - 1] * sums[_THERE, n])
            gradient.relief[c, t - 1] += sums[_BY_RELIEF_BEFORE, n]
        else:
            gradient.rho[m] += by_scale * p.rho[m] / (1.0 - p.rho[m] * p.rho[m])


@_compiled
def adjoint(p, campaign, state, weight):
    """:data:`Gradient` of sum(weight * predictive)."""
    K, pairs = p.shift.size, p.now.size
    gradient = Gradient(
        np.zeros(p.x.shape), np.zeros(p.x.shape), np.zeros(p.x.shape), np.zeros(()), np.zeros(p.rho.size), np.zeros(p.spare.size),
        np.zeros(p.relief.shape), np.zeros(p.parting.shape), np.zeros(p.hold.shape), np.zeros(p.onset.shape), np.zeros(2),
        np.zeros(p.entry.shape), np.zeros(_P), np.zeros(pairs),
    )  # fmt: skip
    tables = _tables(p)
    g_flow, g_odds = _lanes_of((_ROLES, CAMPAIGNS, K, WIDTH)), _lanes_of((_P, _ROLES, _ROLES, WIDTH))
    g_f, by_move = _lanes_of((pairs, WIDTH)), _lanes_of((pairs, WIDTH))
    sums, mass = _lanes_of((_SUMS, WIDTH)), _lanes_of((K + 1, WIDTH))
    scratch = (np.empty(_P), np.empty(_P), np.empty(_P), np.empty(_P))
    g = 0
    while g < p.onset.shape[0]:
        end = _team_end(g, tables.first)
        low, high = tables.first[g], tables.first[end]
        room = _room(p, tables, tables.order[low:high])
        blocks = room.lanes.shape[0]
        earlier, later = _lanes_of((blocks, CAMPAIGNS, K, WIDTH)), _lanes_of((blocks, CAMPAIGNS, K, WIDTH))
        pulled, by_evidence = _lanes_of((blocks, _P, WIDTH)), _lanes_of((blocks, _P, WIDTH))
        share, partial, later_campaign = _lanes_of((blocks, _P, WIDTH)), _lanes_of((blocks, _P, WIDTH)), np.zeros((end - g, CAMPAIGNS))
        for t in range(p.months - 1, -1, -1):
            _look(p, t, tables, room)
            _state_before(p, t, room.lanes, state, earlier)
            for b in range(blocks):
                _reach(p, tables, room, b, earlier[b])
                _pull_back(later[b], room.joint[b], room.evidence[b], pulled[b])
            for h in range(g, end):
                start, begin, stop = campaign[h, t - 1] if t > 0 else _START, tables.first[h] - low, tables.first[h + 1] - low
                _pull_campaign(
                    p, t, h, begin, stop, room, weight, pulled, campaign[h, t], start, later_campaign[h - g], share, by_evidence, partial,
                    scratch, gradient,
                )  # fmt: skip
            for b in range(blocks):
                lanes = min(WIDTH, high - low - b * WIDTH)
                _pull_joint(share[b], later[b], pulled[b], by_evidence[b], room, b, p.role, g_flow, g_odds)
                _pull_odds(p, t, room, b, lanes, g_odds, gradient)
                later[b] = 0.0
                _pull_pairs(earlier[b], room.f[b], p, tables.bound, g_flow, later[b], g_f, by_move)
                for r in range(tables.ranks.shape[0]):
                    _pull_density(p, tables, room, b, r, g_f, sums, mass)
                    _pull_figures(room.shown[b, r], mass, room.silent[b, r], p.shift, p.own_course, sums)
                    _gather(p, t, tables, room, b, r, lanes, sums, gradient)
        g = end
    for i in range(pairs):
        gradient.move[i] = by_move[i].sum() / max(p.move[i], _TINY)
    return gradient


@_part
def _arrive(i, room, b, later, now, told, arrive):
    """arrive[i, k] = later(k) / (p(k) p(y | move i)), so that times joint[i, k] it is what the later states k of a chain say of them after
    move i, normalised; told[i] is the sum. later : smoothed, now : filtered."""
    z, evidence, total = _TO[i], at(room.evidence[b], i), spread(_TINY)
    for k in range(arrive.shape[1]):
        v = at(later, (z, k)) / (evidence * at_least(at(now, (z, k)), _TINY))
        put(arrive, (i, k), v)
        total += v * at(room.joint[b], (i, k))
    each = 1.0 / total
    for k in range(arrive.shape[1]):
        put(arrive, (i, k), at(arrive, (i, k)) * each)
    put(told, i, total)


@_part
def _back(p, tables, room, b, share, arrive, earlier, out):
    """out[z, j] = sum over the moves i from z of share[i] p(s_{t-1} = j | move i, later months): the smoother's step back."""
    odds, f, bound = room.odds[b], room.f[b], tables.bound
    for k in range(bound.shape[0]):
        c = p.role[k]
        for a in range(_ROLES):
            calm = at(share, 0) * at(arrive, (0, k)) * at(odds, (0, a, c)) + at(share, 1) * at(arrive, (1, k)) * at(odds, (1, a, c))
            opening = at(share, 2) * at(arrive, (2, k)) * at(odds, (2, a, c)) + at(share, 3) * at(arrive, (3, k)) * at(odds, (3, a, c))
            ongoing = at(share, 4) * at(arrive, (4, k)) * at(odds, (4, a, c)) + at(share, 5) * at(arrive, (5, k)) * at(odds, (5, a, c))
            for i in range(bound[k, a], bound[k, a + 1]):
                j, w = p.before[i], p.move[i] * at(f, i)
                put(out, (CALM, j), at(out, (CALM, j)) + w * calm)
                put(out, (ONSET, j), at(out, (ONSET, j)) + w * opening)
                put(out, (ONGOING, j), at(out, (ONGOING, j)) + w * ongoing)
    for z in range(CAMPAIGNS):
        for j in range(bound.shape[0]):
            put(out, (z, j), at(out, (z, j)) * at(earlier, (z, j)))


@_compiled
def smooth(p, campaign, state):
    """(campaign[G, T, Z], state[T, Z, K, C]) given all of y, from the filter's; exact for a group of one chain."""
    K, T = p.shift.size, p.months
    smoothed_campaign, smoothed = np.zeros(campaign.shape), np.zeros(state.shape)
    tables, of_move = _tables(p), np.empty(_P)
    smoothed[T - 1] = state[T - 1]
    smoothed_campaign[:, T - 1] = campaign[:, T - 1]
    g = 0
    while g < p.onset.shape[0]:
        end = _team_end(g, tables.first)
        low, high = tables.first[g], tables.first[end]
        chains = tables.order[low:high]
        room = _room(p, tables, chains)
        blocks = room.lanes.shape[0]
        told, share, arrive = _lanes_of((blocks, _P, WIDTH)), _lanes_of((blocks, _P, WIDTH)), _lanes_of((blocks, _P, K, WIDTH))
        earlier, now = _lanes_of((blocks, CAMPAIGNS, K, WIDTH)), _lanes_of((blocks, CAMPAIGNS, K, WIDTH))
        _state_before(p, T, room.lanes, state, now)
        later = _lanes_of((blocks, CAMPAIGNS, K, WIDTH))
        later[:] = now
        for t in range(T - 1, 0, -1):
            _look(p, t, tables, room)
            _state_before(p, t, room.lanes, state, earlier)
            for b in range(blocks):
                _reach(p, tables, room, b, earlier[b])
                # What the chains' later states say of the move, chain by chain: sum_k smoothed(k) p(k | move) / p(k).
                for i in range(_P):
                    _arrive(i, room, b, later[b], now[b], told[b], arrive[b])
            for h in range(g, end):
                _moves(p.onset[h, t], p.pace, campaign[h, t - 1], of_move)
                mates = range(tables.first[h] - low, tables.first[h + 1] - low)
                for n in mates:
                    _weigh(of_move, room.evidence, n)
                for n in mates:
                    _weigh(of_move, told, n)
                arrived, before_now = np.full(CAMPAIGNS, _TINY), smoothed_campaign[h, t - 1]
                for i in range(_P):
                    arrived[_TO[i]] += of_move[i]
                for i in range(_P):
                    of_move[i] *= smoothed_campaign[h, t, _TO[i]] / arrived[_TO[i]]
                    before_now[_FROM[i]] += of_move[i]
                for n in mates:
                    for i in range(_P):
                        share[n // WIDTH, i, n % WIDTH] = of_move[i] / max(before_now[_FROM[i]], _TINY)
            now[:] = earlier
            later[:] = 0.0
            for b in range(blocks):
                _back(p, tables, room, b, share[b], arrive[b], earlier[b], later[b])
            _put_state(later, chains, smoothed[t - 1])
        g = end
    return smoothed_campaign, smoothed


@_compiled
def evidence_on_grid(p, t, moved, relief_at, parting_at, hold_at, widened, campaign, state):
    """out[c, n] = log p(y_ct | months before t) were, in month t, x of its series less by moved[n], the relief, parting and hold
    relief_at[n], parting_at[n] and hold_at[n], and the square of the scale more by widened[n]; each chain on its own, from the filter
    to t - 1. Only months t - 1 and t are looked at.
    """
    C, points = p.entry.shape[0], moved.size
    out, tables, weight = np.empty((C, points)), _tables(p), np.empty(_P)
    for c in range(C):
        # The grid's points are the lanes.
        room, g = _room(p, tables, np.full(points, c)), p.group[c]
        blocks = room.lanes.shape[0]
        earlier = _lanes_of((blocks, CAMPAIGNS, p.shift.size, WIDTH))
        _state_before(p, t, room.lanes, state, earlier)
        for b in range(blocks):
            for lane in range(WIDTH):
                n = min(b * WIDTH + lane, points - 1)
                room.parting[b, lane], room.hold[b, lane] = parting_at[n], hold_at[n]
                for r in range(tables.ranks.shape[0]):
                    m = tables.ranks[r, c]
                    shown = p.kind[m, t] if m >= 0 else MISSING
                    paired = shown != MISSING and t > 0 and p.kind[m, t - 1] == POSITIVE
                    x_before, relief_before = (p.x[m, t - 1], p.relief[c, t - 1]) if paired else (0.0, 0.0)
                    _show(
                        room.shown[b, r], lane, shown, p.x[m, t] - moved[n], x_before, paired, np.sqrt(p.scale[m, t] ** 2 + widened[n]),
                        p.rho[m], p.hurdle[m, t], p.slope, relief_at[n], relief_before, p.spare[m],
                    )  # fmt: skip
            _reach(p, tables, room, b, earlier[b])
        for n in range(points):
            _moves(p.onset[g, t], p.pace, campaign[g, t - 1] if t > 0 else _START, weight)
            out[c, n] = np.log(_weigh(weight, room.evidence, n))
    return out
