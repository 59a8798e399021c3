r"""The coupled regime chain: its equations and its filter, as a numba kernel.

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
likelihood.

Chains are worked on side by side, :data:`WIDTH` to a *block*: the last axis of the arrays inside is the lane, a chain
(:mod:`model.lanes`). A *team* is the blocks worked on together, that of one large group or of several small ones.
:mod:`model.adjoint` and :mod:`model.smoother` go back over the months in the same teams.
"""

import hashlib
from collections import namedtuple
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numba import config, njit

from model.lanes import WIDTH, at, at_some, put, put_some, soon, spread

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
CAMPAIGNS, N_MOVES, ROLES = 3, len(MOVES), 3
FROM, TO = np.array(MOVES).T.copy()
LEAVE = tuple(tuple(p for p, (z, _) in enumerate(MOVES) if z == start) for start in (CALM, ONSET, ONGOING))
START = np.array(CAMPAIGN_START)
_TEAM = 3 * WIDTH
"""Chains a team holds at most, unless one group alone has more."""
POWER = 3  # (NU + 1) / 2
_NORMAL = 8 / (3 * np.pi * np.sqrt(5))  # Gamma(3) / (Gamma(5/2) sqrt(5 pi)): t_5 at zero, unit scale
TINY = 1e-300
AHEAD = 8
"""Months by which figures are asked for from memory before they are needed: a line of the processor's cache holds eight of a series."""

# What a lane's month shows, as rows of a view. The residual under pair i is BASE[combination_i] + CARRIED shift_before_i - shift_now_i,
# where a combination says which of the two states keep a course of their own; its density is (1 + INVERSE residual^2)^-3 times
# FRONT + BACK p(zero). Where nothing or a zero is shown INVERSE is 0, so that no loop has to ask.
BASE = 0
CARRIED, INVERSE, FRONT, BACK, _CALMNESS, _RELIEVED, ZERO_SEEN, SEEN, SPARED, SPARE, RELIEF = range(4, 15)
_ROWS = 15


def layer(given: Mapping[str, Any]) -> Any:
    """A :data:`Layer` of one type, so that numba compiles each kernel once."""
    typed = {n: np.ascontiguousarray(given[n], dtype=np.int64 if n in INTEGERS else np.float64) for n in INPUTS}
    return Layer(**typed | {n: typed[n].item() for n in ("months", "slope")})


# numba's cache looks at the file of the function it keeps and not at those of the functions in it, so its folder bears the name of all.
_FILES = ("lanes", "kernel", "adjoint", "smoother", "entry")
_SOURCES = b"".join(Path(__file__).with_name(f"{name}.py").read_bytes() for name in _FILES)
_FOLDER = Path(config.CACHE_DIR or Path(__file__).with_name("__pycache__"))
config.CACHE_DIR = str(_FOLDER / hashlib.sha256(_SOURCES).hexdigest()[:12])
compiled = njit(cache=True, error_model="numpy", nogil=True)
# What makes arrays is called once or once a team.
making = njit(error_model="numpy")
# What a month is made of. A call would pass some hundred words: each array is its shape and strides too. And what makes no array, and
# returns none, need not count who refers to its views: numba would, many times a month, atomically.
part = njit(error_model="numpy", forceinline=True, _nrt=False)
# What an entry is: not compiled for itself as well.
body = njit(error_model="numpy", inline="always")

Tables: Any = namedtuple("Tables", "order first ranks bound lift shift_before shift_now combination measured")  # type: ignore[misc]
"""order, first : see :func:`members`. ranks[r, c] : the r-th series of chain c, -1 where it has fewer. bound[k, a] : bound[k, a + 1]
are the pairs that lead to k from a state of role a. lift[k] : exp(slope shift[k]). By pair: log multiples before and now, were there no
relief; the combination of courses; 1 where a code may be left out."""
Room: Any = namedtuple("Room", "lanes whole entry parting hold shown silent near f odds flow joint evidence")  # type: ignore[misc]
"""Where a team's month is worked on; the first axis is the block, the last the lane. lanes[b, n] : which chain."""


@making
def members(group, groups):
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


@making
def _ranks(chain, chains):
    order, first = members(chain, chains)
    ranks = np.full((max((first[1:] - first[:-1]).max(), 1), chains), -1)
    for c in range(chains):
        for r in range(first[c + 1] - first[c]):
            ranks[r, c] = order[first[c] + r]
    return ranks


@making
def _bounds(before, now, role):
    # Unsigned, as the indices of pairs are then: of others numba asks whether they count from an axis's end.
    bound = np.zeros((role.size, ROLES + 1), np.uint64)
    for i in range(now.size):
        bound[now[i], role[before[i]] + 1] += np.uint64(1)
    total = np.uint64(0)
    for k in range(role.size):
        bound[k, 0] = total
        for a in range(ROLES):
            bound[k, a + 1] += bound[k, a]
        total = bound[k, ROLES]
    return bound


@making
def tabulated(p):
    order, first = members(p.group, p.onset.shape[0])
    shift_now = np.log1p(-p.begun * (1.0 - np.exp(p.shift[p.now])))
    combination = (2.0 * p.own_course[p.before] + p.own_course[p.now]).astype(np.int64)
    measured = (np.maximum(p.role[p.before], p.role[p.now]) > 0).astype(np.float64)
    return Tables(
        order, first, _ranks(p.chain, p.entry.shape[0]), _bounds(p.before, p.now, p.role), np.exp(p.slope * p.shift),
        p.shift[p.before], shift_now, combination, measured,
    )  # fmt: skip


@part
def team_end(g, first):
    """Groups g : end are a team."""
    end = g + 1
    while end + 1 < first.size and first[end + 1] - first[g] <= _TEAM:
        end += 1
    return end


@making
def aligned(shape):
    """Zeros whose last axis is lanes, each within one line of the processor's cache."""
    size = 1
    for length in shape:
        size *= length
    memory = np.zeros(size + WIDTH)
    start = -(memory.ctypes.data // 8) % WIDTH
    return memory[start : start + size].reshape(shape)


@making
def make_room(p, tables, chains):
    """Room for `chains`, the last of which is repeated up to a whole number of blocks; what those lanes say is not used."""
    blocks = (chains.size + WIDTH - 1) // WIDTH
    K, R, pairs = p.shift.size, tables.ranks.shape[0], p.now.size
    lanes, entry, spared = np.empty((blocks, WIDTH), np.int64), aligned((blocks, N_MOVES, WIDTH)), 0.0
    for n in range(blocks * WIDTH):
        c = chains[min(n, chains.size - 1)]
        lanes[n // WIDTH, n % WIDTH] = c
        entry[n // WIDTH, :, n % WIDTH] = p.entry[c]
        if tables.ranks[0, c] >= 0:
            spared += p.spare[tables.ranks[0, c]]
    # Where each lane is one series that no measure leaves out, its density is all there is.
    whole = R == 1 and spared == 0.0
    return Room(
        lanes, whole, entry, aligned((blocks, WIDTH)), aligned((blocks, WIDTH)), aligned((blocks, R, _ROWS, WIDTH)),
        aligned((blocks, R, K + 1, WIDTH)), aligned((blocks, R, pairs, WIDTH)), aligned((blocks, pairs, WIDTH)),
        aligned((blocks, N_MOVES, ROLES, ROLES, WIDTH)), aligned((blocks, ROLES, CAMPAIGNS, K, WIDTH)),
        aligned((blocks, N_MOVES, K, WIDTH)), aligned((blocks, N_MOVES, WIDTH)),
    )  # fmt: skip


@part
def show(view, n, kind, x, x_before, paired, scale, rho, hurdle, slope, relief, relief_before, spare):
    """Fill lane n of a view. paired : the month before has a positive flow, x_before."""
    for row in range(_ROWS):
        view[row, n] = 0.0
    view[FRONT, n], view[SPARED, n], view[SPARE, n], view[RELIEF, n] = 1.0, 1.0, spare, relief
    if kind == MISSING:
        return
    calm = np.exp(-hurdle)
    silent = 1.0 / (1.0 + calm)
    view[SEEN, n], view[_CALMNESS, n], view[_RELIEVED, n] = 1.0, calm, np.exp(slope * relief)
    if kind == ZERO:
        view[ZERO_SEEN, n], view[FRONT, n], view[BACK, n], view[SPARED, n] = 1.0, 0.0, 1.0, silent
        return
    carried = rho if paired else 0.0
    s = scale if paired else scale / np.sqrt(1.0 - rho * rho)
    plain, inverse, front = x - carried * x_before, 1.0 / (NU * s * s), _NORMAL / s
    there, here = carried * relief_before, relief
    view[BASE, n], view[BASE + 1, n], view[BASE + 2, n], view[BASE + 3, n] = plain, plain - here, plain + there, plain + there - here
    view[CARRIED, n], view[INVERSE, n], view[FRONT, n], view[BACK, n] = carried, inverse, front, -front
    d = 1.0 / (1.0 + plain * plain * inverse)
    view[SPARED, n] = front * d * d * d * (1.0 - silent)


@part
def look(p, t, step, tables, room):
    """Fill a team's views with what month t shows. step : 1 or -1, where months are gone through forward or back."""
    months, ahead = p.x.shape[1], t + AHEAD * step
    for b in range(room.lanes.shape[0]):
        for n in range(WIDTH):
            c = room.lanes[b, n]
            room.parting[b, n], room.hold[b, n] = p.parting[c, t], p.hold[c, t]
            soon(p.parting, c * months + ahead)
            soon(p.hold, c * months + ahead)
            soon(p.relief, c * months + ahead)
            for r in range(tables.ranks.shape[0]):
                m = tables.ranks[r, c]
                if m < 0:
                    show(room.shown[b, r], n, MISSING, 0.0, 0.0, False, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
                    continue
                soon(p.x, m * months + ahead)
                soon(p.scale, m * months + ahead)
                soon(p.kind, m * months + ahead)
                soon(p.hurdle, m * months + ahead)
                paired = t > 0 and p.kind[m, t - 1] == POSITIVE
                x_before, relief_before = (p.x[m, t - 1], p.relief[c, t - 1]) if paired else (0.0, 0.0)
                show(
                    room.shown[b, r], n, p.kind[m, t], p.x[m, t], x_before, paired, p.scale[m, t], p.rho[m], p.hurdle[m, t], p.slope,
                    p.relief[c, t], relief_before, p.spare[m],
                )  # fmt: skip


@part
def _silence(view, lift, own_course, silent):
    """silent[k] = p(zero | k), and silent[K] that of a spared series."""
    calm, relieved = at(view, _CALMNESS), at(view, _RELIEVED)
    for k in range(lift.size):
        own = own_course[k]
        put(silent, k, 1.0 / (1.0 + calm * lift[k] * (own * relieved + (1.0 - own))))
    put(silent, lift.size, 1.0 / (1.0 + calm))


@part
def emit(p, tables, room, b):
    """f[i] = density (or probability) of what all series of a lane show, given pair i of states; near[r, i], its share that the
    residual of the r-th enters by."""
    f = room.f[b]
    for r in range(tables.ranks.shape[0]):
        view, silent, near = room.shown[b, r], room.silent[b, r], room.near[b, r]
        _silence(view, tables.lift, p.own_course, silent)
        carried, inverse, front, back = at(view, CARRIED), at(view, INVERSE), at(view, FRONT), at(view, BACK)
        spare, spared = at(view, SPARE), at(view, SPARED)
        for i in range(p.now.size):
            e = at(view, tables.combination[i]) + carried * tables.shift_before[i] - tables.shift_now[i]
            d = 1.0 / (1.0 + e * e * inverse)
            put(near, i, d)
            density = d * d * d * (front + back * at(silent, p.now[i]))
            if tables.measured[i]:
                density = (1.0 - spare) * density + spare * spared
            put(f, i, density if r == 0 else at(f, i) * density)


@part
def _odds(entry, exit, parting, hold, odds):
    """odds[p, a, b] = Q of the module's docstring for move p."""
    for p in range(N_MOVES):
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


@part
def _flows(earlier, f, p, bound, flow):
    """flow[a, z, k] = sum over pairs from role a to k of earlier[z, j] move f: before the odds of a role are counted."""
    for k in range(bound.shape[0]):
        for a in range(ROLES):
            calm, opening, ongoing = spread(0.0), spread(0.0), spread(0.0)
            for i in range(bound[k, a], bound[k, a + 1]):
                j, g = p.before[i], p.move[i] * at(f, i)
                calm += at(earlier, (CALM, j)) * g
                opening += at(earlier, (ONSET, j)) * g
                ongoing += at(earlier, (ONGOING, j)) * g
            put(flow, (a, CALM, k), calm)
            put(flow, (a, ONSET, k), opening)
            put(flow, (a, ONGOING, k), ongoing)


@part
def _join(flow, odds, role, joint, evidence):
    """joint[p, k] = p(s_t = k, y_t | move p); evidence[p] its sum over k."""
    for p in range(N_MOVES):
        z, total = FROM[p], spread(TINY)
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


@part
def reach(p, tables, room, b, earlier):
    """What block b's month shows, by pair of states, flow, move and state: from ``earlier[z, k]`` = p(s_{t-1} = k | z_{t-1})."""
    emit(p, tables, room, b)
    _odds(room.entry[b], p.exit, at(room.parting, b), at(room.hold, b), room.odds[b])
    _flows(earlier, room.f[b], p, tables.bound, room.flow[b])
    _join(room.flow[b], room.odds[b], p.role, room.joint[b], room.evidence[b])


@part
def _collapse(share, joint, later):
    """later[z] = sum over the two moves that lead to z of share joint."""
    for k in range(joint.shape[1]):
        put(later, (CALM, k), at(share, 0) * at(joint, (0, k)) + at(share, 5) * at(joint, (5, k)))
        put(later, (ONSET, k), at(share, 1) * at(joint, (1, k)) + at(share, 2) * at(joint, (2, k)))
        put(later, (ONGOING, k), at(share, 3) * at(joint, (3, k)) + at(share, 4) * at(joint, (4, k)))


@part
def move_campaign(onset, pace, campaign, out):
    """out[p] = probability of move p, given p(z) the month before."""
    out[0], out[1] = campaign[0] * (1.0 - onset), campaign[0] * onset
    out[2], out[3] = campaign[1] * (1.0 - pace[0]), campaign[1] * pace[0]
    out[4], out[5] = campaign[2] * (1.0 - pace[1]), campaign[2] * pace[1]


@part
def weigh(weight, evidence, n):
    """weight <- weight * evidence of a team's n-th lane, normalised; returned is the sum before."""
    b, n = n // WIDTH, n % WIDTH
    total = TINY
    for p in range(N_MOVES):
        weight[p] *= evidence[b, p, n]
        total += weight[p]
    for p in range(N_MOVES):
        weight[p] /= total
    return total


@part
def put_state(team, low, high, out):
    """Write team[b, z, k, n] to its place in a month of ``state``."""
    # z and k as one axis: LLVM unrolls a loop in a loop, and makes ready for it each month.
    rows, size = CAMPAIGNS * team.shape[2], high - low
    for b in range(team.shape[0]):
        for row in range(rows):
            put_some(out, rows * low + row * size + b * WIDTH, size - b * WIDTH, at(team, (b, 0, row)))


@part
def state_before(p, t, low, high, state, out):
    """out[b, z, k] : p(s_{t-1} = k | z_{t-1}, y_1..t-1) of each lane of a team; 0 in those beyond its last, but in the first month."""
    if t == 0:
        for k in range(p.initial.size):
            out[:, :, k] = p.initial[k]
        return
    rows, size = CAMPAIGNS * p.initial.size, high - low
    for b in range(out.shape[0]):
        for row in range(rows):
            put(out, (b, 0, row), at_some(state[t - 1], rows * low + row * size + b * WIDTH, size - b * WIDTH))


@body
def run(p, predictive, campaign, state):
    """Fill predictive[C, T], campaign[G, T, Z] = p(z_t | y_1..t) and state[T, Z K C], which holds p(s_t | z_t, y_1..t) as
    :func:`by_chain` reads it. The first two are zero as they come, and so are months of the third that are not looked at."""
    K, G = p.shift.size, p.onset.shape[0]
    tables, weight = tabulated(p), np.empty(N_MOVES)
    g = 0
    while g < G:
        end = team_end(g, tables.first)
        low, high = tables.first[g], tables.first[end]
        chains = tables.order[low:high]
        room = make_room(p, tables, chains)
        blocks = room.lanes.shape[0]
        share = aligned((blocks, N_MOVES, WIDTH))
        earlier, later = aligned((blocks, CAMPAIGNS, K, WIDTH)), aligned((blocks, CAMPAIGNS, K, WIDTH))
        state_before(p, 0, low, high, state, earlier)
        for t in range(p.months):
            look(p, t, 1, tables, room)
            for b in range(blocks):
                reach(p, tables, room, b, earlier[b])
            for h in range(g, end):
                move_campaign(p.onset[h, t], p.pace, campaign[h, t - 1] if t > 0 else START, weight)
                mates = range(tables.first[h] - low, tables.first[h + 1] - low)
                for n in mates:
                    predictive[chains[n], t] = np.log(weigh(weight, room.evidence, n))
                arrived = campaign[h, t]
                for i in range(N_MOVES):
                    arrived[TO[i]] += weight[i]
                for n in mates:
                    for i in range(N_MOVES):
                        share[n // WIDTH, i, n % WIDTH] = weight[i] / max(arrived[TO[i]], TINY)
            for b in range(blocks):
                for i in range(N_MOVES):
                    put(share[b], i, at(share[b], i) / at(room.evidence[b], i))
                _collapse(share[b], room.joint[b], later[b])
            put_state(later, low, high, state[t])
            earlier, later = later, earlier
        g = end


@part
def month_by_chain(order, first, month, out):
    """out[z, k, c] <- a month of ``state``."""
    K, g = out.shape[1], 0
    while g + 1 < first.size:
        end = team_end(g, first)
        low, high = first[g], first[end]
        place = month[CAMPAIGNS * K * low : CAMPAIGNS * K * high].reshape((CAMPAIGNS, K, high - low))
        for z in range(CAMPAIGNS):
            for k in range(K):
                for n in range(high - low):
                    out[z, k, order[low + n]] = place[z, k, n]
        g = end


@compiled
def by_chain(group, groups, state):
    """[T, Z, K, C] of a ``state``. In that, a month's is team by team, each [Z, K, lane]: what is worked on together lies together,
    however many chains there are."""
    order, first = members(group, groups)
    out = np.empty((state.shape[0], CAMPAIGNS, state.shape[1] // (CAMPAIGNS * group.size), group.size))
    for t in range(state.shape[0]):
        month_by_chain(order, first, state[t], out[t])
    return out
