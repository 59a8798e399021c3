// The arithmetic of model/kernel.py's `forward` and `adjoint` in C++ with GCC's vector extension: what the kernel's speed is measured by.
// Chains are worked on eight to a vector, all in one team; names and steps are those of model/kernel.py.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <vector>

constexpr int W = 8, P = 6, Z = 3, A = 3;
constexpr double TINY = 1e-300, NU = 5.0, POWER = 3.0;
constexpr int FROM[P] = {0, 0, 1, 1, 2, 2}, TO[P] = {0, 1, 1, 2, 2, 0};
const double START[Z] = {0.96, 0.01, 0.03}, NORMAL = 8 / (3 * M_PI * std::sqrt(5.0));
enum { MISSING, ZERO, POSITIVE };
typedef double Lanes __attribute__((vector_size(64)));

struct Given {
    int64_t chains, series, groups, states, pairs, months, room;
    double slope;
    const double *x, *scale;
    const int64_t *kind;
    const double *hurdle, *rho, *spare, *relief, *parting, *hold, *onset, *pace, *entry, *exit, *move;
    const int64_t *chain, *group;
    const double *initial, *shift;
    const int64_t *role;
    const double *own_course;
    const int64_t *before, *now;
    const double *begun;
};
struct Pulled { double *x, *scale, *hurdle, *slope, *rho, *spare, *relief, *parting, *hold, *onset, *pace, *entry, *exit, *move; };

template <class T> struct Lined {  // aligned, zeroed
    T *at;
    explicit Lined(size_t n) { at = static_cast<T *>(std::aligned_alloc(64, n * sizeof(T))); std::memset(static_cast<void *>(at), 0, n * sizeof(T)); }
    ~Lined() { std::free(at); }
    T &operator[](size_t i) { return at[i]; }
};

struct View { Lanes base[4], carried, inverse, front, back, calm, relieved, zero_seen, seen, spared, spare, relief; };

struct Room {
    const Given &p;
    int64_t blocks, ranks, K, n;
    std::vector<int64_t> order, first, lanes, rank, combination, measured, bound;
    std::vector<double> lift, before_shift, now_shift;
    bool whole = true;
    Lined<View> view;
    Lined<Lanes> entry, parting, hold, silent, near, f, odds, flow, joint, evidence;

    static int64_t ranks_of(const Given &p) {
        std::vector<int64_t> count(p.chains, 0);
        for (int64_t m = 0; m < p.series; ++m) ++count[p.chain[m]];
        return std::max<int64_t>(1, *std::max_element(count.begin(), count.end()));
    }

    explicit Room(const Given &p)
        : p(p), blocks((p.chains + W - 1) / W), ranks(ranks_of(p)), K(p.states), n(p.pairs), order(p.chains), first(p.groups + 1, 0),
          lanes(blocks * W), rank(ranks * p.chains, -1), combination(n), measured(n), bound(K * (A + 1), 0), lift(K), before_shift(n),
          now_shift(n), view(blocks * ranks), entry(blocks * P), parting(blocks), hold(blocks), silent(blocks * ranks * (K + 1)),
          near(blocks * ranks * n), f(blocks * n), odds(blocks * P * A * A), flow(blocks * A * Z * K), joint(blocks * P * K), evidence(blocks * P) {
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return p.group[a] < p.group[b]; });
        for (int64_t c = 0; c < p.chains; ++c) ++first[p.group[c] + 1];
        std::partial_sum(first.begin(), first.end(), first.begin());
        std::vector<int64_t> free(p.chains, 0);
        for (int64_t m = 0; m < p.series; ++m) rank[free[p.chain[m]]++ * p.chains + p.chain[m]] = m;
        for (int64_t b = 0; b < blocks * W; ++b) {
            int64_t c = lanes[b] = order[std::min(b, p.chains - 1)];
            for (int i = 0; i < P; ++i) entry[b / W * P + i][b % W] = p.entry[c * P + i];
            if (rank[c] >= 0 && p.spare[rank[c]] > 0) whole = false;
        }
        whole = whole && ranks == 1;
        for (int64_t k = 0; k < K; ++k) lift[k] = std::exp(p.slope * p.shift[k]);
        for (int64_t i = 0; i < n; ++i) {
            int64_t j = p.before[i], k = p.now[i];
            before_shift[i] = p.shift[j];
            now_shift[i] = std::log1p(-p.begun[i] * (1 - std::exp(p.shift[k])));
            combination[i] = static_cast<int64_t>(2 * p.own_course[j] + p.own_course[k]);
            measured[i] = std::max(p.role[j], p.role[k]) > 0;
            ++bound[k * (A + 1) + p.role[j] + 1];
        }
        int64_t total = 0;
        for (int64_t k = 0; k < K; ++k) {
            bound[k * (A + 1)] = total;
            for (int a = 0; a < A; ++a) bound[k * (A + 1) + a + 1] += bound[k * (A + 1) + a];
            total = bound[k * (A + 1) + A];
        }
    }

    void show(View &v, int l, int64_t c, int64_t m, int64_t t) {
        const int64_t at = m * p.room + t, here = c * p.room + t;
        for (int q = 0; q < 4; ++q) v.base[q][l] = 0;
        v.carried[l] = v.inverse[l] = v.back[l] = v.calm[l] = v.relieved[l] = v.zero_seen[l] = v.seen[l] = 0;
        v.front[l] = v.spared[l] = 1;
        v.spare[l] = m < 0 ? 0 : p.spare[m];
        v.relief[l] = m < 0 ? 0 : p.relief[here];
        if (m < 0 || p.kind[at] == MISSING) return;
        double calm = std::exp(-p.hurdle[at]), silence = 1 / (1 + calm), relief = p.relief[here];
        v.seen[l] = 1, v.calm[l] = calm, v.relieved[l] = std::exp(p.slope * relief);
        if (p.kind[at] == ZERO) { v.zero_seen[l] = 1, v.front[l] = 0, v.back[l] = 1, v.spared[l] = silence; return; }
        bool paired = t > 0 && p.kind[at - 1] == POSITIVE;
        double rho = p.rho[m], carried = paired ? rho : 0, s = paired ? p.scale[at] : p.scale[at] / std::sqrt(1 - rho * rho);
        double plain = p.x[at] - (paired ? carried * p.x[at - 1] : 0), there = paired ? carried * p.relief[here - 1] : 0;
        double inverse = 1 / (NU * s * s), front = NORMAL / s, d = 1 / (1 + plain * plain * inverse);
        v.base[0][l] = plain, v.base[1][l] = plain - relief, v.base[2][l] = plain + there, v.base[3][l] = plain + there - relief;
        v.carried[l] = carried, v.inverse[l] = inverse, v.front[l] = front, v.back[l] = -front;
        v.spared[l] = front * d * d * d * (1 - silence);
    }

    void look(int64_t t) {
        for (int64_t b = 0; b < blocks; ++b)
            for (int l = 0; l < W; ++l) {
                int64_t c = lanes[b * W + l];
                parting[b][l] = p.parting[c * p.room + t], hold[b][l] = p.hold[c * p.room + t];
                for (int64_t r = 0; r < ranks; ++r) show(view[b * ranks + r], l, c, rank[r * p.chains + c], t);
            }
    }

    void reach(int64_t b, const Lanes *earlier) {
        Lanes *f = &this->f[b * n];
        for (int64_t r = 0; r < ranks; ++r) {
            const View &v = view[b * ranks + r];
            Lanes *s = &silent[(b * ranks + r) * (K + 1)], *near = &this->near[(b * ranks + r) * n];
            for (int64_t k = 0; k < K; ++k) s[k] = 1 / (1 + v.calm * lift[k] * (p.own_course[k] * v.relieved + (1 - p.own_course[k])));
            s[K] = 1 / (1 + v.calm);
            for (int64_t i = 0; i < n; ++i) {
                Lanes e = v.base[combination[i]] + v.carried * before_shift[i] - now_shift[i], d = 1 / (1 + e * e * v.inverse);
                near[i] = d;
                Lanes density = d * d * d * (v.front + v.back * s[p.now[i]]);
                if (measured[i]) density = (1 - v.spare) * density + v.spare * v.spared;
                f[i] = r == 0 ? density : f[i] * density;
            }
        }
        Lanes q = parting[b], h = hold[b];
        for (int i = 0; i < P; ++i) {
            Lanes *o = &odds[(b * P + i) * 9], e = entry[b * P + i];
            double u = p.exit[i];
            o[0] = (1 - q) * (1 - e), o[1] = (1 - q) * e, o[2] = q, o[3] = u * (1 - h), o[4] = Lanes{} + (1 - u), o[5] = u * h, o[6] = o[7] = 1 - h, o[8] = h;
        }
        Lanes *flow = &this->flow[b * A * Z * K];
        for (int64_t k = 0; k < K; ++k)
            for (int a = 0; a < A; ++a) {
                Lanes calm{}, opening{}, ongoing{};
                for (int64_t i = bound[k * (A + 1) + a]; i < bound[k * (A + 1) + a + 1]; ++i) {
                    Lanes g = p.move[i] * f[i];
                    const Lanes *from = earlier + p.before[i];
                    calm += from[0] * g, opening += from[K] * g, ongoing += from[2 * K] * g;
                }
                flow[a * Z * K + k] = calm, flow[a * Z * K + K + k] = opening, flow[a * Z * K + 2 * K + k] = ongoing;
            }
        for (int i = 0; i < P; ++i) {
            Lanes total = Lanes{} + TINY, *o = &odds[(b * P + i) * 9], *from = flow + FROM[i] * K;
            for (int64_t k = 0; k < K; ++k) {
                int c = static_cast<int>(p.role[k]);
                Lanes v = o[c] * from[k] + o[3 + c] * from[Z * K + k] + o[6 + c] * from[2 * Z * K + k];
                joint[(b * P + i) * K + k] = v, total += v;
            }
            evidence[b * P + i] = total;
        }
    }

    void moves(int64_t h, int64_t t, const double *c, double *out) const {
        double o = p.onset[h * p.room + t];
        out[0] = c[0] * (1 - o), out[1] = c[0] * o, out[2] = c[1] * (1 - p.pace[0]), out[3] = c[1] * p.pace[0];
        out[4] = c[2] * (1 - p.pace[1]), out[5] = c[2] * p.pace[1];
    }

    double weigh(double *w, int64_t l) {
        double total = TINY;
        for (int i = 0; i < P; ++i) total += w[i] *= evidence[l / W * P + i][l % W];
        for (int i = 0; i < P; ++i) w[i] /= total;
        return total;
    }

    void before(int64_t t, const double *state, Lanes *out) {
        for (int64_t b = 0; b < blocks; ++b)
            for (int64_t zk = 0; zk < Z * K; ++zk)
                for (int l = 0; l < W; ++l)
                    out[b * Z * K + zk][l] = t > 0 ? state[((t - 1) * Z * K + zk) * p.chains + lanes[b * W + l]] : p.initial[zk % K];
    }
};

extern "C" void forward(const Given *given, double *predictive, double *campaign, double *state) {
    const Given &p = *given;
    Room room(p);
    const int64_t K = p.states;
    Lined<Lanes> earlier(room.blocks * Z * K), later(room.blocks * Z * K), share(room.blocks * P);
    room.before(0, state, earlier.at);
    for (int64_t t = 0; t < p.months; ++t) {
        room.look(t);
        for (int64_t b = 0; b < room.blocks; ++b) room.reach(b, &earlier[b * Z * K]);
        for (int64_t h = 0; h < p.groups; ++h) {
            double w[P], *arrived = campaign + (h * p.room + t) * Z;
            room.moves(h, t, t > 0 ? arrived - Z : START, w);
            for (int64_t l = room.first[h]; l < room.first[h + 1]; ++l) predictive[room.order[l] * p.room + t] = std::log(room.weigh(w, l));
            arrived[0] = w[0] + w[5], arrived[1] = w[1] + w[2], arrived[2] = w[3] + w[4];
            for (int64_t l = room.first[h]; l < room.first[h + 1]; ++l)
                for (int i = 0; i < P; ++i) share[l / W * P + i][l % W] = w[i] / std::max(arrived[TO[i]], TINY);
        }
        for (int64_t b = 0; b < room.blocks; ++b) {
            Lanes *s = &share[b * P], *j = &room.joint[b * P * K], *out = &later[b * Z * K];
            for (int i = 0; i < P; ++i) s[i] /= room.evidence[b * P + i];
            for (int64_t k = 0; k < K; ++k) {
                out[k] = s[0] * j[k] + s[5] * j[5 * K + k];
                out[K + k] = s[1] * j[K + k] + s[2] * j[2 * K + k];
                out[2 * K + k] = s[3] * j[3 * K + k] + s[4] * j[4 * K + k];
            }
        }
        for (int64_t zk = 0; zk < Z * K; ++zk)
            for (int64_t l = 0; l < p.chains; ++l) state[(t * Z * K + zk) * p.chains + room.order[l]] = later[l / W * Z * K + zk][l % W];
        std::swap(earlier.at, later.at);
    }
}

extern "C" void adjoint(const Given *given, const double *campaign, const double *state, const double *weight, const Pulled *out) {
    const Given &p = *given;
    const Pulled &g = *out;
    Room room(p);
    const int64_t K = p.states, n = p.pairs, B = room.blocks;
    Lined<Lanes> earlier(B * Z * K), later(B * Z * K), pulled(B * P), by_evidence(B * P), share(B * P), partial(B * P), g_flow(A * Z * K),
        g_odds(P * A * A), g_f(n), by_move(n), mass(K + 1);
    std::vector<double> own_of(p.groups * Z, 0.0);
    for (int64_t t = p.months - 1; t >= 0; --t) {
        room.look(t);
        room.before(t, state, earlier.at);
        for (int64_t b = 0; b < B; ++b) {
            room.reach(b, &earlier[b * Z * K]);
            for (int i = 0; i < P; ++i) {
                Lanes total{};
                for (int64_t k = 0; k < K; ++k) total += later[b * Z * K + TO[i] * K + k] * room.joint[(b * P + i) * K + k];
                pulled[b * P + i] = total / room.evidence[b * P + i];
            }
        }
        for (int64_t h = 0; h < p.groups; ++h) {
            const double *arrived = campaign + (h * p.room + t) * Z, *start = t > 0 ? arrived - Z : START;
            double w[P], together[P] = {}, in_state[Z] = {}, by[P], mean = 0, following = 0, *own = &own_of[h * Z];
            room.moves(h, t, start, w);
            for (int64_t l = room.first[h]; l < room.first[h + 1]; ++l) {
                room.weigh(w, l);
                for (int i = 0; i < P; ++i) partial[l / W * P + i][l % W] = w[i], together[i] += pulled[l / W * P + i][l % W];
            }
            for (int i = 0; i < P; ++i) in_state[TO[i]] += w[i] / std::max(arrived[TO[i]], TINY) * together[i];
            for (int i = 0; i < P; ++i) {
                by[i] = own[TO[i]] + (together[i] - in_state[TO[i]]) / std::max(arrived[TO[i]], TINY);
                mean += w[i] * by[i];
            }
            for (int i = 0; i < P; ++i) by[i] = w[i] * (by[i] - mean);
            for (int64_t l = room.first[h + 1] - 1; l >= room.first[h]; --l) {
                double here = weight[room.lanes[l] * p.room + t];
                for (int i = 0; i < P; ++i) {
                    by[i] += (here - following) * partial[l / W * P + i][l % W];
                    by_evidence[l / W * P + i][l % W] = by[i];
                    share[l / W * P + i][l % W] = w[i] / std::max(arrived[TO[i]], TINY);
                }
                following = here;
            }
            own[0] = own[1] = own[2] = 0;
            for (int i = 0; i < P; ++i) own[FROM[i]] += by[i] / std::max(start[FROM[i]], TINY);
            double onset = p.onset[h * p.room + t];
            if (onset > 0) g.onset[h * p.room + t] = by[1] / onset - by[0] / (1 - onset);
            g.pace[0] += by[3] / p.pace[0] - by[2] / (1 - p.pace[0]);
            g.pace[1] += by[5] / p.pace[1] - by[4] / (1 - p.pace[1]);
        }
        for (int64_t b = 0; b < B; ++b) {
            const int64_t lanes = std::min<int64_t>(W, p.chains - b * W);
            const Lanes *flow = &room.flow[b * A * Z * K];
            for (int z = 0; z < Z; ++z) {
                const int i = 2 * z, j = i + 1;
                Lanes one = 1 / room.evidence[b * P + i], two = 1 / room.evidence[b * P + j];
                Lanes s = share[b * P + i] * one, c = (by_evidence[b * P + i] - share[b * P + i] * pulled[b * P + i]) * one;
                Lanes s2 = share[b * P + j] * two, c2 = (by_evidence[b * P + j] - share[b * P + j] * pulled[b * P + j]) * two;
                const Lanes *o = &room.odds[(b * P + i) * 9], *o2 = o + 9;
                for (int r = 0; r < A; ++r) {
                    Lanes sum[2 * A] = {};
                    for (int64_t k = 0; k < K; ++k) {
                        if (p.role[k] != r) continue;
                        Lanes u = s * later[b * Z * K + TO[i] * K + k] + c, v = s2 * later[b * Z * K + TO[j] * K + k] + c2;
                        for (int a = 0; a < A; ++a) {
                            g_flow[a * Z * K + z * K + k] = o[a * A + r] * u + o2[a * A + r] * v;
                            sum[a] += flow[a * Z * K + z * K + k] * u, sum[A + a] += flow[a * Z * K + z * K + k] * v;
                        }
                    }
                    for (int a = 0; a < A; ++a) g_odds[i * 9 + a * A + r] = sum[a], g_odds[j * 9 + a * A + r] = sum[A + a];
                }
            }
            for (int64_t l = 0; l < lanes; ++l) {
                int64_t c = room.lanes[b * W + l];
                double q = room.parting[b][l], h = room.hold[b][l];
                for (int i = 0; i < P; ++i) {
                    const Lanes *o = &g_odds[i * 9];
                    double e = p.entry[c * P + i], u = p.exit[i];
                    g.entry[c * P + i] += (1 - q) * (o[1][l] - o[0][l]);
                    g.parting[c * p.room + t] += o[2][l] - (1 - e) * o[0][l] - e * o[1][l];
                    g.exit[i] += (1 - h) * o[3][l] + h * o[5][l] - o[4][l];
                    g.hold[c * p.room + t] += o[8][l] - o[6][l] - o[7][l] + u * (o[5][l] - o[3][l]);
                }
            }
            Lanes *back = &later[b * Z * K], *from = &earlier[b * Z * K], *f = &room.f[b * n];
            std::fill(back, back + Z * K, Lanes{});
            for (int64_t k = 0; k < K; ++k)
                for (int a = 0; a < A; ++a) {
                    Lanes calm = g_flow[a * Z * K + k], opening = g_flow[a * Z * K + K + k], ongoing = g_flow[a * Z * K + 2 * K + k];
                    for (int64_t i = room.bound[k * (A + 1) + a]; i < room.bound[k * (A + 1) + a + 1]; ++i) {
                        int64_t j = p.before[i];
                        Lanes w = p.move[i] * f[i];
                        back[j] += w * calm, back[K + j] += w * opening, back[2 * K + j] += w * ongoing;
                        Lanes by = w * (from[j] * calm + from[K + j] * opening + from[2 * K + j] * ongoing);
                        g_f[i] = by, by_move[i] += by;
                    }
                }
            for (int64_t r = 0; r < room.ranks; ++r) {
                const View &v = room.view[b * room.ranks + r];
                const Lanes *s = &room.silent[(b * room.ranks + r) * (K + 1)], *near = &room.near[(b * room.ranks + r) * n];
                Lanes base[4] = {}, by_carried{}, by_scale{}, by_spare{}, left_out{};
                for (int64_t k = 0; k < K; ++k) {
                    Lanes total{}, shown = v.front + v.back * s[k];
                    for (int64_t i = room.bound[k * (A + 1)]; i < room.bound[k * (A + 1) + A]; ++i) {
                        Lanes in = g_f[i], d = near[i];
                        if (room.measured[i] && !room.whole) {
                            Lanes density = d * d * d * shown, mix = (1 - v.spare) * density + v.spare * v.spared;
                            Lanes by = in / (mix > TINY ? mix : Lanes{} + TINY);
                            by_spare += by * (v.spared - density), left_out += v.spare * by * v.spared;
                            in = (1 - v.spare) * by * density;
                        }
                        Lanes e = v.base[room.combination[i]] + v.carried * room.before_shift[i] - room.now_shift[i], pull = in * e * v.inverse * d;
                        base[room.combination[i]] += pull;
                        by_carried += pull * room.before_shift[i], by_scale += pull * e, total += in;
                    }
                    mass[k] = total;
                }
                mass[K] = left_out;
                Lanes by_hurdle = left_out * v.seen * (v.zero_seen - s[K]), by_slope{}, by_relief{}, sum = left_out;
                for (int64_t k = 0; k < K; ++k) {
                    Lanes pull = mass[k] * v.seen * (v.zero_seen - s[k]);
                    by_hurdle += pull, by_slope -= pull * (p.shift[k] + p.own_course[k] * v.relief), by_relief -= p.own_course[k] * pull, sum += mass[k];
                }
                for (int64_t l = 0; l < lanes; ++l) {
                    int64_t c = room.lanes[b * W + l], m = room.rank[r * p.chains + c], at = m * p.room + t, here = c * p.room + t;
                    if (m < 0 || p.kind[at] == MISSING) continue;
                    g.spare[m] += by_spare[l], g.hurdle[at] += by_hurdle[l], *g.slope += by_slope[l], g.relief[here] += p.slope * by_relief[l];
                    if (p.kind[at] == ZERO) continue;
                    double plain = v.base[0][l], inverse = v.inverse[l], carried = v.carried[l];
                    double alone = left_out[l] * plain * inverse / (1 + plain * plain * inverse);
                    double now = base[1][l] + base[3][l], there = base[2][l] + base[3][l];
                    double by_x = -2 * POWER * (alone + now + base[0][l] + base[2][l]), by_s = 2 * POWER * (alone * plain + by_scale[l]) - sum[l];
                    g.relief[here] += 2 * POWER * now, g.x[at] += by_x, g.scale[at] += by_s / p.scale[at];
                    if (t > 0 && p.kind[at - 1] == POSITIVE) {
                        g.x[at - 1] -= p.rho[m] * by_x;
                        g.rho[m] -= p.x[at - 1] * by_x + 2 * POWER * (by_carried[l] + p.relief[here - 1] * there);
                        g.relief[here - 1] -= 2 * POWER * carried * there;
                    } else g.rho[m] += by_s * p.rho[m] / (1 - p.rho[m] * p.rho[m]);
                }
            }
        }
    }
    for (int64_t i = 0; i < n; ++i) {
        double sum = 0;
        for (int l = 0; l < W; ++l) sum += by_move[i][l];
        g.move[i] = sum / std::max(p.move[i], TINY);
    }
}
