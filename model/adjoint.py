"""The exact adjoint of :func:`model.kernel.run`: what a pull on its predictive densities, any pull, means for its inputs."""

from collections import namedtuple
from typing import Any

import numpy as np

from model.kernel import (
    BACK,
    BASE,
    CALM,
    CAMPAIGNS,
    CARRIED,
    FROM,
    FRONT,
    INVERSE,
    LEAVE,
    MISSING,
    N_MOVES,
    ONGOING,
    ONSET,
    POSITIVE,
    POWER,
    RELIEF,
    ROLES,
    SEEN,
    SPARE,
    SPARED,
    START,
    TINY,
    TO,
    ZERO,
    ZERO_SEEN,
    aligned,
    body,
    look,
    make_room,
    move_campaign,
    part,
    reach,
    state_before,
    tabulated,
    team_end,
    weigh,
)  # fmt: skip
from model.lanes import WIDTH, at, at_least, put, spread

Gradient: Any = namedtuple("Gradient", "x scale hurdle slope rho spare relief parting hold onset pace entry exit move")  # type: ignore[misc]
"""By the inputs that parameters move, each of its input's shape."""

# What pulls on a lane's figures, summed over pairs of states, as rows of ``sums``.
_BY_BASE = 0
_BY_CARRIED, _BY_SCALE, _BY_SPARE, _BY_HURDLE, _BY_SLOPE, _BY_SILENCE, _BY_X, _BY_RELIEF, _BY_RELIEF_BEFORE, _THERE, _SUMS = range(4, 15)


@part
def _pull_back(later, joint, evidence, pulled):
    """pulled[p] = what later[z, k], the pull on log p(s_t), means for the share of move p, in units of it."""
    for p in range(N_MOVES):
        z, total = TO[p], spread(0.0)
        for k in range(joint.shape[1]):
            total += at(later, (z, k)) * at(joint, (p, k))
        put(pulled, p, total / at(evidence, p))


@part
def _pull_joint(share, later, pulled, by_evidence, room, b, role, g_flow, g_odds):
    """g_flow[a, z, k] and g_odds[p, a, b] from the pull on the joint of each move and state."""
    odds, flow = room.odds[b], room.flow[b]
    for z in range(CAMPAIGNS):
        p, q = LEAVE[z]  # the two moves from z
        each, other = 1.0 / at(room.evidence[b], p), 1.0 / at(room.evidence[b], q)
        by_later, common = at(share, p) * each, (at(by_evidence, p) - at(share, p) * at(pulled, p)) * each
        by_later_q, common_q = at(share, q) * other, (at(by_evidence, q) - at(share, q) * at(pulled, q)) * other
        for c in range(ROLES):
            p0, p1, p2, q0, q1, q2 = spread(0.0), spread(0.0), spread(0.0), spread(0.0), spread(0.0), spread(0.0)
            for k in range(role.size):
                if role[k] != c:
                    continue
                by_p = by_later * at(later, (TO[p], k)) + common
                by_q = by_later_q * at(later, (TO[q], k)) + common_q
                for a in range(ROLES):
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


@part
def _pull_pairs(earlier, f, p, bound, g_flow, later, g_f, g_move):
    """The pull on log f, on move (in units of it) and, added up, on the states of the month before."""
    for k in range(bound.shape[0]):
        for a in range(ROLES):
            calm, opening, ongoing = at(g_flow, (a, CALM, k)), at(g_flow, (a, ONSET, k)), at(g_flow, (a, ONGOING, k))
            for i in range(bound[k, a], bound[k, a + 1]):
                j, w = p.before[i], p.move[i] * at(f, i)
                put(later, (CALM, j), at(later, (CALM, j)) + w * calm)
                put(later, (ONSET, j), at(later, (ONSET, j)) + w * opening)
                put(later, (ONGOING, j), at(later, (ONGOING, j)) + w * ongoing)
                by_f = w * (at(earlier, (CALM, j)) * calm + at(earlier, (ONSET, j)) * opening + at(earlier, (ONGOING, j)) * ongoing)
                put(g_f, i, by_f)
                put(g_move, i, at(g_move, i) + by_f)


@part
def _pull_density(p, tables, room, b, r, g_f, sums, mass):
    """In ``sums``: of pull by combination, of pull shift_before and of pull e, where pull is that on the residual less its factor of
    -2 POWER; and the pull on the odds of being left out. mass[k] : of the pull on log density, by the state now, and mass[K] that on
    log density were the series left out."""
    view, silent, near, bound = room.shown[b, r], room.silent[b, r], room.near[b, r], tables.bound
    carried, inverse, front, back = at(view, CARRIED), at(view, INVERSE), at(view, FRONT), at(view, BACK)
    spare, spared = at(view, SPARE), at(view, SPARED)
    by_carried, by_scale, by_spare, left_out = spread(0.0), spread(0.0), spread(0.0), spread(0.0)
    for row in range(_BY_BASE, _BY_BASE + 4):
        put(sums, row, spread(0.0))
    for k in range(bound.shape[0]):
        total, shown = spread(0.0), front + back * at(silent, k)
        for i in range(bound[k, 0], bound[k, ROLES]):
            given, d, base, there = at(g_f, i), at(near, i), tables.combination[i], tables.shift_before[i]
            if tables.measured[i] and not room.whole:
                density = d * d * d * shown
                pulled = given / at_least((1.0 - spare) * density + spare * spared, TINY)
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


@part
def _pull_figures(view, mass, silent, shift, own_course, sums):
    """The last step of what pulls on a block's figures, in ``sums``: on hurdle and slope; on x; on the scale, in units of it; on the relief
    of the month and that before; on rho by way of the month before, less its x's."""
    seen, zero_seen, relief, K = at(view, SEEN), at(view, ZERO_SEEN), at(view, RELIEF), shift.size
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
    plain, inverse = at(view, BASE), at(view, INVERSE)
    alone = left_out * plain * inverse / (1.0 + plain * plain * inverse)
    here, there = at(sums, _BY_BASE + 1) + at(sums, _BY_BASE + 3), at(sums, _BY_BASE + 2) + at(sums, _BY_BASE + 3)
    put(sums, _BY_X, -2.0 * POWER * (alone + here + at(sums, _BY_BASE) + at(sums, _BY_BASE + 2)))
    put(sums, _BY_SCALE, 2.0 * POWER * (alone * plain + at(sums, _BY_SCALE)) - total)
    put(sums, _BY_RELIEF, 2.0 * POWER * here)
    put(sums, _BY_RELIEF_BEFORE, -2.0 * POWER * at(view, CARRIED) * there)
    put(sums, _THERE, there)


@part
def _pull_campaign(p, t, h, begin, stop, room, weight, pulled, arrived, start, own, share, by_evidence, partial, scratch, gradient):
    """Group h's part of a month's step back; begin : stop are its lanes in the team. own[z] : the pull on log p(z_t), replaced by that on
    log p(z_{t-1}). Filled: share[b, p] = p(move p) / p(z_t) and by_evidence[b, p], the pull on log evidence, of its lanes."""
    moving, together, in_state, by_move = scratch
    for i in range(N_MOVES):
        together[i], in_state[TO[i]] = 0.0, 0.0
    move_campaign(p.onset[h, t], p.pace, start, moving)
    for n in range(begin, stop):
        weigh(moving, room.evidence, n)
        for i in range(N_MOVES):
            partial[n // WIDTH, i, n % WIDTH] = moving[i]
            together[i] += pulled[n // WIDTH, i, n % WIDTH]
    # Through the collapse: state = sum over moves of moving / arrived * joint / evidence.
    for i in range(N_MOVES):
        in_state[TO[i]] += moving[i] / max(arrived[TO[i]], TINY) * together[i]
    mean = 0.0
    for i in range(N_MOVES):
        z = TO[i]
        by_move[i] = own[z] + (together[i] - in_state[z]) / max(arrived[z], TINY)
        mean += moving[i] * by_move[i]
    for i in range(N_MOVES):
        by_move[i] = moving[i] * (by_move[i] - mean)
    # log evidence of a chain is in its total and those of its later mates, each with its own posterior over moves.
    following = 0.0
    for n in range(stop - 1, begin - 1, -1):
        b, lane = n // WIDTH, n % WIDTH
        here = weight[room.lanes[b, lane], t]
        for i in range(N_MOVES):
            by_move[i] += (here - following) * partial[b, i, lane]
            by_evidence[b, i, lane] = by_move[i]
            share[b, i, lane] = moving[i] / max(arrived[TO[i]], TINY)
        following = here
    own[:] = 0.0
    for i in range(N_MOVES):
        own[FROM[i]] += by_move[i] / max(start[FROM[i]], TINY)
    if p.onset[h, t] > 0.0:
        gradient.onset[h, t] = by_move[1] / p.onset[h, t] - by_move[0] / (1.0 - p.onset[h, t])
    gradient.pace[0] += by_move[3] / p.pace[0] - by_move[2] / (1.0 - p.pace[0])
    gradient.pace[1] += by_move[5] / p.pace[1] - by_move[4] / (1.0 - p.pace[1])


@part
def _pull_odds(p, t, room, b, lanes, g_odds, gradient):
    """What a block's ``g_odds`` mean for entry, exit, parting and hold. lanes : how many of its lanes count."""
    for n in range(lanes):
        c, q, h = room.lanes[b, n], room.parting[b, n], room.hold[b, n]
        for i in range(N_MOVES):
            e, u, unmoved, begun = p.entry[c, i], p.exit[i], g_odds[i, 0, 0, n], g_odds[i, 0, 1, n]
            ended, parted = g_odds[i, 1, 0, n], g_odds[i, 1, 2, n]
            gradient.entry[c, i] += (1.0 - q) * (begun - unmoved)
            gradient.parting[c, t] += g_odds[i, 0, 2, n] - (1.0 - e) * unmoved - e * begun
            gradient.exit[i] += (1.0 - h) * ended + h * parted - g_odds[i, 1, 1, n]
            gradient.hold[c, t] += g_odds[i, 2, 2, n] - g_odds[i, 2, 0, n] - g_odds[i, 2, 1, n] + u * (parted - ended)


@part
def _gather(p, t, tables, room, b, r, lanes, sums, gradient):
    """Add ``sums`` to the gradient by the r-th series of a block's first `lanes` lanes."""
    for n in range(lanes):
        c = room.lanes[b, n]
        m = tables.ranks[r, c]
        if m < 0 or p.kind[m, t] == MISSING:
            continue
        gradient.spare[m] += sums[_BY_SPARE, n]
        gradient.hurdle[m, t] += sums[_BY_HURDLE, n]
        gradient.slope[0] += sums[_BY_SLOPE, n]
        gradient.relief[c, t] += p.slope * sums[_BY_SILENCE, n]
        if p.kind[m, t] == ZERO:
            continue
        by_x, by_scale = sums[_BY_X, n], sums[_BY_SCALE, n]
        gradient.x[m, t] += by_x
        gradient.scale[m, t] += by_scale / p.scale[m, t]
        gradient.relief[c, t] += sums[_BY_RELIEF, n]
        if t > 0 and p.kind[m, t - 1] == POSITIVE:
            gradient.x[m, t - 1] -= p.rho[m] * by_x
            gradient.rho[m] -= p.x[m, t - 1] * by_x + 2 * POWER * (sums[_BY_CARRIED, n] + p.relief[c, t - 1] * sums[_THERE, n])
            gradient.relief[c, t - 1] += sums[_BY_RELIEF_BEFORE, n]
        else:
            gradient.rho[m] += by_scale * p.rho[m] / (1.0 - p.rho[m] * p.rho[m])


@body
def pull(p, campaign, state, weight, gradient):
    """Add that of sum(weight * predictive) to ``gradient``, a :data:`Gradient`. campaign, state : the filter's."""
    K, pairs = p.shift.size, p.now.size
    tables = tabulated(p)
    g_flow, g_odds = aligned((ROLES, CAMPAIGNS, K, WIDTH)), aligned((N_MOVES, ROLES, ROLES, WIDTH))
    g_f, by_move = aligned((pairs, WIDTH)), aligned((pairs, WIDTH))
    sums, mass = aligned((_SUMS, WIDTH)), aligned((K + 1, WIDTH))
    scratch = (np.empty(N_MOVES), np.empty(N_MOVES), np.empty(N_MOVES), np.empty(N_MOVES))
    g = 0
    while g < p.onset.shape[0]:
        end = team_end(g, tables.first)
        low, high = tables.first[g], tables.first[end]
        room = make_room(p, tables, tables.order[low:high])
        blocks = room.lanes.shape[0]
        earlier, later = aligned((blocks, CAMPAIGNS, K, WIDTH)), aligned((blocks, CAMPAIGNS, K, WIDTH))
        pulled, by_evidence = aligned((blocks, N_MOVES, WIDTH)), aligned((blocks, N_MOVES, WIDTH))
        share, partial, later_campaign = (
            aligned((blocks, N_MOVES, WIDTH)),
            aligned((blocks, N_MOVES, WIDTH)),
            np.zeros((end - g, CAMPAIGNS)),
        )
        for t in range(p.months - 1, -1, -1):
            look(p, t, -1, tables, room)
            state_before(p, t, low, high, state, earlier)
            for b in range(blocks):
                reach(p, tables, room, b, earlier[b])
                _pull_back(later[b], room.joint[b], room.evidence[b], pulled[b])
            for h in range(g, end):
                start, begin, stop = campaign[h, t - 1] if t > 0 else START, tables.first[h] - low, tables.first[h + 1] - low
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
        gradient.move[i] = by_move[i].sum() / max(p.move[i], TINY)
