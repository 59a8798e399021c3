"""Back over the months of :func:`model.kernel.run`: states given all of them; and a month's density were it another one."""

import numpy as np

from model.kernel import (
    CALM,
    CAMPAIGNS,
    FROM,
    MISSING,
    N_MOVES,
    ONGOING,
    ONSET,
    POSITIVE,
    ROLES,
    START,
    TINY,
    TO,
    aligned,
    compiled,
    look,
    make_room,
    month_by_chain,
    move_campaign,
    part,
    put_state,
    reach,
    show,
    state_before,
    tabulated,
    team_end,
    weigh,
)  # fmt: skip
from model.lanes import WIDTH, at, at_least, put, spread


@part
def _arrive(i, room, b, later, now, told, arrive):
    """arrive[i, k] = later(k) / (p(k) p(y | move i)), so that times joint[i, k] it is what the later states k of a chain say of them after
    move i, normalised; told[i] is the sum. later : smoothed, now : filtered."""
    z, scale, total = TO[i], 1.0 / at(room.evidence[b], i), spread(TINY)
    for k in range(arrive.shape[1]):
        v = at(later, (z, k)) / at_least(at(now, (z, k)), TINY) * scale
        put(arrive, (i, k), v)
        total += v * at(room.joint[b], (i, k))
    each = 1.0 / total
    for k in range(arrive.shape[1]):
        put(arrive, (i, k), at(arrive, (i, k)) * each)
    put(told, i, total)


@part
def _back(p, tables, room, b, share, arrive, earlier, out):
    """out[z, j] = sum over the moves i from z of share[i] p(s_{t-1} = j | move i, later months): the smoother's step back."""
    odds, f, bound = room.odds[b], room.f[b], tables.bound
    for k in range(bound.shape[0]):
        c = p.role[k]
        for a in range(ROLES):
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


@compiled
def smooth(p, campaign, state):
    """(campaign, state), laid out as the filter's, given all of y; exact for a group of one chain."""
    K, T = p.shift.size, p.months
    smoothed_campaign, smoothed = np.zeros(campaign.shape), np.zeros(state.shape)
    tables, of_move = tabulated(p), np.empty(N_MOVES)
    smoothed[T - 1] = state[T - 1]
    smoothed_campaign[:, T - 1] = campaign[:, T - 1]
    g = 0
    while g < p.onset.shape[0]:
        end = team_end(g, tables.first)
        low, high = tables.first[g], tables.first[end]
        chains = tables.order[low:high]
        room = make_room(p, tables, chains)
        blocks = room.lanes.shape[0]
        told, share, arrive = aligned((blocks, N_MOVES, WIDTH)), aligned((blocks, N_MOVES, WIDTH)), aligned((blocks, N_MOVES, K, WIDTH))
        earlier, now = aligned((blocks, CAMPAIGNS, K, WIDTH)), aligned((blocks, CAMPAIGNS, K, WIDTH))
        state_before(p, T, low, high, state, now)
        later = aligned((blocks, CAMPAIGNS, K, WIDTH))
        later[:] = now
        for t in range(T - 1, 0, -1):
            look(p, t, -1, tables, room)
            state_before(p, t, low, high, state, earlier)
            for b in range(blocks):
                reach(p, tables, room, b, earlier[b])
                # What the chains' later states say of the move, chain by chain: sum_k smoothed(k) p(k | move) / p(k).
                for i in range(N_MOVES):
                    _arrive(i, room, b, later[b], now[b], told[b], arrive[b])
            for h in range(g, end):
                move_campaign(p.onset[h, t], p.pace, campaign[h, t - 1], of_move)
                mates = range(tables.first[h] - low, tables.first[h + 1] - low)
                for n in mates:
                    weigh(of_move, room.evidence, n)
                for n in mates:
                    weigh(of_move, told, n)
                arrived, before_now = np.full(CAMPAIGNS, TINY), smoothed_campaign[h, t - 1]
                for i in range(N_MOVES):
                    arrived[TO[i]] += of_move[i]
                for i in range(N_MOVES):
                    of_move[i] *= smoothed_campaign[h, t, TO[i]] / arrived[TO[i]]
                    before_now[FROM[i]] += of_move[i]
                for n in mates:
                    for i in range(N_MOVES):
                        share[n // WIDTH, i, n % WIDTH] = of_move[i] / max(before_now[FROM[i]], TINY)
            now[:] = earlier
            later[:] = 0.0
            for b in range(blocks):
                _back(p, tables, room, b, share[b], arrive[b], earlier[b], later[b])
            put_state(later, low, high, smoothed[t - 1])
        g = end
    return smoothed_campaign, smoothed


@compiled
def evidence_on_grid(p, t, moved, relief_at, parting_at, hold_at, widened, campaign, state):
    """out[c, n] = log p(y_ct | months before t) were, in month t, x of its series less by moved[n], the relief, parting and hold
    relief_at[c, n], parting_at[c, n] and hold_at[c, n], and the square of the scale more by widened[n]; each chain on its own, from the
    filter to t - 1. Only months t - 1 and t are looked at.
    """
    C, points = p.entry.shape[0], moved.size
    out, tables, weight = np.empty((C, points)), tabulated(p), np.empty(N_MOVES)
    before = np.empty((CAMPAIGNS, p.shift.size, C))
    if t == 0:
        for k in range(p.shift.size):
            before[:, k] = p.initial[k]
    else:
        month_by_chain(tables.order, tables.first, state[t - 1], before)
    for c in range(C):
        # The grid's points are the lanes.
        room, g = make_room(p, tables, np.full(points, c)), p.group[c]
        blocks = room.lanes.shape[0]
        earlier = aligned((CAMPAIGNS, p.shift.size, WIDTH))
        for lane in range(WIDTH):
            earlier[:, :, lane] = before[:, :, c]
        for b in range(blocks):
            for lane in range(WIDTH):
                n = min(b * WIDTH + lane, points - 1)
                room.parting[b, lane], room.hold[b, lane] = parting_at[c, n], hold_at[c, n]
                for r in range(tables.ranks.shape[0]):
                    m = tables.ranks[r, c]
                    shown = p.kind[m, t] if m >= 0 else MISSING
                    paired = shown != MISSING and t > 0 and p.kind[m, t - 1] == POSITIVE
                    x_before, relief_before = (p.x[m, t - 1], p.relief[c, t - 1]) if paired else (0.0, 0.0)
                    show(
                        room.shown[b, r], lane, shown, p.x[m, t] - moved[n], x_before, paired, np.sqrt(p.scale[m, t] ** 2 + widened[n]),
                        p.rho[m], p.hurdle[m, t], p.slope, relief_at[c, n], relief_before, p.spare[m],
                    )  # fmt: skip
            reach(p, tables, room, b, earlier)
        for n in range(points):
            move_campaign(p.onset[g, t], p.pace, campaign[g, t - 1] if t > 0 else START, weight)
            out[c, n] = np.log(weigh(weight, room.evidence, n))
    return out
