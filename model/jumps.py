r"""Jumps between readings: what a Hamiltonian trajectory does not cross.

A family's month may be "all destinations moved" or "each did something of its own"; a series may have "started from a higher
level" or "been cut". Such readings lie nats apart with a valley between, and a trajectory stays in its own for hundreds of
draws. So between two draws each chain proposes, for one block b of parameters, all else kept,

.. math:: \theta_b \to \theta_b \pm \Delta_b

and the whole density decides (Metropolis). :math:`\Delta_b` is one of three things:

- *learnt*: chains that warmed up apart have come to rest in different readings, and where they differ is told by their means,
  :math:`\bar\theta^{(i)}_b - \bar\theta^{(j)}_b`, over one family and a span of months;
- *known*: one unit's level over a span of years by the logarithm of a severity, "a higher base, and restricted ever since"; or one month
  of a family's course, "nine tenths less for all, most of whom found ways of their own";
- *halved*: where draws of one coordinate fall into two groups, the difference of their means, in that coordinate alone and in all that goes
  with it.

Sign, block and difference do not depend on the state, and what is learnt is learnt before a stage of draws begins: within it the proposal
is symmetric and the posterior is left as it is. Of jumps that are worth trying (:class:`Repertoire`) there are never fewer from stage to
stage: were they chosen by where the chains are now, a rare reading would be left by a jump that does not lead into it. Differences of
past chains as proposals: ter Braak & Vrugt (2008), Statistics and Computing 18, 435-446; of modes: Tjelmeland & Hegland (1998),
Scandinavian Journal of Statistics 25, 205-223.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, combinations, compress, product
from typing import NamedTuple

import numpy as np

from model.frame import KNOT_MONTHS, Frame, contrasts

APART = 1.5
"""Standard deviations (within a stretch) between two stretches' means from which they are taken for two readings."""

MONTH = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
"""Log kg by which a family's month may be read in another way."""
BEYOND, ALWAYS = 4.0, 1.0
"""Standard deviations of the metric up to which a trajectory goes by itself; and log kg from which it is not asked, since the metric of
draws of both readings is wide."""

GOES_WITH, CHANCE = 0.5, 4.0
"""Standard deviations between two groups' means, and standard errors of the smaller group's, from which a coordinate goes with the one by
which they are told apart."""

TWO, FEWEST, MOST = -0.05, 0.01, 12
"""Score from which on draws fall into two groups (those of a normal distribution have 0, give or take a hundredth), share of them in the
smaller group at least, and groups told apart at most."""

SAME = 1.0
"""Standard deviations, of the metric, by which one jump may differ from another, there or back, in any dimension and be no new one: a
stretch that lies apart does so from all others, and in a group of few draws what goes with a coordinate is chance in part."""

TRIES, SHARES = 8, (0.2, 0.3, 0.3, 0.1, 0.1)
"""Jumps tried before each draw; and the shares of known levels, of known months, and of what was learnt of courses, levels, and both, where
there are any."""
HALVED_TRIES = 6
"""And between the two groups that draws of a coordinate fall into. Together they take half of what a draw costs."""

LEAST = -8.0
"""Log ratio of densities below which a jump is not worth trying: it would be taken once in three thousand times."""

Jump = tuple[np.ndarray, np.ndarray]
"""Indices and differences of a block."""
Jumps = list[Jump]


class Layout(dict[str, np.ndarray]):
    """Indices into a draw on the unconstrained scale, by parameter, in its shape."""

    def __init__(self, point: dict[str, np.ndarray]) -> None:
        """point : any, in the order in which it is laid out."""
        ends = np.cumsum([value.size for value in point.values()])
        parts = np.split(np.arange(ends[-1]), ends[:-1])
        super().__init__({n: part.reshape(v.shape) for (n, v), part in zip(point.items(), parts, strict=True)})

    @property
    def size(self) -> int:
        """Dimensions of a draw."""
        return sum(part.size for part in self.values())


class Stretch(NamedTuple):
    """What is kept of a piece of a chain; each (dimension,)."""

    mean: np.ndarray
    variance: np.ndarray

    @classmethod
    def of(cls, draws: np.ndarray) -> "Stretch":
        """draws : (draw, dimension)."""
        return cls(draws.mean(0), draws.var(0))


def learnt(known: Sequence[Stretch], new: Sequence[Stretch], f: Frame, place: Layout) -> list[Jumps]:
    """Where `new` stretches differ from `known` ones and from each other: in courses alone, in levels alone, in both.

    Apart, since levels drift and are many, and a month of a course that has two readings is tried the more often.
    """
    kinds: list[Jumps] = [[], [], []]
    for one, other in chain(product(known, new), combinations(new, 2)):
        difference = one.mean - other.mean
        apart = np.abs(difference) > APART * np.sqrt((one.variance + other.variance) / 2)
        for kind, block in _blocks(apart, place, f):
            kinds[kind].append((block, difference[block]))
    return kinds


def known_months(f: Frame, place: Layout, width: np.ndarray) -> Jumps:
    """Each month of each family's course in which something is seen of it, by those of :data:`MONTH` that are :data:`BEYOND` its `width`,
    a standard deviation for each dimension, or :data:`ALWAYS` asked."""
    months = place["family_course"][:, : f.periods][f.family_seen[:, : f.periods]]
    return [(months[n : n + 1], np.array([by])) for n, i in enumerate(months) for by in MONTH if by >= min(ALWAYS, BEYOND * width[i])]


def known_levels(f: Frame, place: Layout, severities: Sequence[float]) -> Jumps:
    """Each unit's level over each run of knots, by each severity; the other series of its family stay where they are."""
    spread, found = contrasts(f.family_of), []
    knots = place["family_baseline"].shape[1]
    for u, g in enumerate(f.family):
        own = f.unit == u
        contrast = spread.T @ own
        moved = np.flatnonzero(np.abs(contrast) > 1e-12)
        share = own.sum() / (f.family_of == g).sum()
        for a, b in combinations(range(knots + 1), 2):
            month = f.knots[:, a:b].sum(1) * share
            seen = np.flatnonzero(month)
            block = [place["family_baseline"][g, a:b], place["family_course"][g, seen]]
            change = [np.full(b - a, share), month[seen]]
            if moved.size:
                block.append(place["contrast_baseline"][moved, a:b].ravel())
                change.append(np.repeat(contrast[moved], b - a))
            for severity in severities:
                found.append((np.concatenate(block), -np.log1p(-severity) * np.concatenate(change)))
    return found


def halved(draws: np.ndarray) -> dict[int, Jumps]:
    """By coordinate, from one to the other of the two groups that its draws, of (chain, draw, dimension), fall into, where they do: of at
    most :data:`MOST` coordinates, those whose draws two normal distributions describe best. Alone, and with what goes with it: what goes
    with it in a group of few draws may be chance."""
    every = draws.reshape(-1, draws.shape[2])
    width = every.std(0)
    scored = sorted((*_two_groups(np.sort(own)), i) for i, own in enumerate(every.T))
    found = {}
    for score, count, i in scored[:MOST]:
        if score > TWO:
            break
        order = np.argsort(every[:, i], kind="stable")
        difference = every[order[count:]].mean(0) - every[order[:count]].mean(0)
        least = max(GOES_WITH, CHANCE / np.sqrt(min(count, len(every) - count)))
        block = np.union1d(np.flatnonzero(np.abs(difference) > least * width), i)
        alone = np.array([i])
        found[i] = [(of, difference[of]) for of in ([alone] if np.array_equal(block, alone) else [alone, block])]
    return found


def _two_groups(ordered: np.ndarray) -> tuple[float, int]:
    """By how much two normal distributions describe draws better than one does, at best: -2 log likelihood a draw, less than 0; and how
    many are in the lower group. Kittler & Illingworth (1986), Pattern Recognition 19(1), 41-47."""
    n = len(ordered)
    fewest = max(10, round(FEWEST * n))
    if n < 2 * fewest or ordered[0] == ordered[-1]:
        return 0.0, 0
    scaled = (ordered - ordered.mean()) / ordered.std()
    below = np.arange(1, n)
    sums, squares, above = np.cumsum(scaled)[:-1], np.cumsum(scaled**2)[:-1], n - below
    lower, upper = (np.maximum(q / m - (s / m) ** 2, 1e-9) for s, q, m in ((sums, squares, below), (-sums, n - squares, above)))
    share = below / n
    cost = share * np.log(lower / share**2) + (1 - share) * np.log(upper / (1 - share) ** 2)
    count = fewest + int(np.argmin(cost[fewest - 1 : n - fewest]))
    return float(cost[count - 1]), count


def promising(jumps: Jumps, points: np.ndarray, log_density: Callable[[np.ndarray], float], cores: int) -> list[bool]:
    """Of each, whether from any of `points`, (n, dimension), forward or backward, it loses no more than :data:`LEAST`. Of thousands few do,
    and a reading with a hundredth of the mass is left again only if the one that leads out of it is tried often."""
    here = [log_density(x) for x in points]

    def promises(jump: Jump) -> bool:
        block, difference = jump
        for x, at in zip(points, here, strict=True):
            for sign in (1, -1):
                there = x.copy()
                there[block] += sign * difference
                if log_density(there) - at >= LEAST:
                    return True
        return False

    with ThreadPoolExecutor(cores) as pool:
        return list(pool.map(promises, jumps))


class Repertoire:
    """The jumps of a fit that are worth trying. None is taken back, and none that is like one that is there is added."""

    def __init__(
        self, known: Sequence[Jumps], f: Frame, place: Layout, width: np.ndarray, log_density: Callable[[np.ndarray], float], cores: int
    ) -> None:
        """known : levels and months. width : (dimension,) standard deviations."""
        self._f, self._place, self._width, self._log_density, self._cores = f, place, width, log_density, cores
        self._known, self._stretches = known, list[Stretch]()
        self._learnt: list[Jumps] = [[], [], []]
        self._waiting: list[Jumps] = [[], [], []]
        self._halves: Jumps = []

    def learn(self, new: Sequence[Stretch], ends: np.ndarray) -> None:
        """What is told by `new` stretches. Where the chains have come to, `ends`, earlier ones that have not promised yet are asked too."""
        for n, jumps in enumerate(learnt(self._stretches, new, self._f, self._place)):
            self._waiting[n] = self._added(self._learnt[n], [*self._waiting[n], *jumps], ends)
        self._stretches += new

    def divide(self, draws: np.ndarray, ends: np.ndarray) -> None:
        """What is told by the groups that `draws` fall into."""
        self._added(self._halves, list(chain.from_iterable(halved(draws).values())), ends)

    def _added(self, known: Jumps, jumps: Jumps, ends: np.ndarray) -> Jumps:
        """Those of `jumps` that are like none of `known` are asked, the last of such as are alike; added if they promise, else returned."""
        asked: Jumps = []
        for jump in reversed(jumps):
            if not any(self._alike(jump, other) for other in (*known, *asked)):
                asked.append(jump)
        good = promising(asked, ends, self._log_density, self._cores)
        known += compress(asked, good)
        return [jump for jump, promises in zip(asked, good, strict=True) if not promises]

    def _alike(self, one: Jump, other: Jump) -> bool:
        gap = np.zeros(self._width.size)
        gap[one[0]] = one[1]
        there, back = gap.copy(), gap
        there[other[0]] -= other[1]
        back[other[0]] += other[1]
        return any((np.abs(of) < SAME * self._width).all() for of in (there, back))

    def kinds(self) -> list[tuple[Jumps, int]]:
        """And how many of each are tried before a draw."""
        some = [(jumps, share) for jumps, share in zip([*self._known, *self._learnt], SHARES, strict=True) if jumps]
        shares = sum(share for _, share in some)
        return [*((jumps, round(TRIES * share / shares)) for jumps, share in some), (self._halves, HALVED_TRIES)]


def _blocks(apart: np.ndarray, place: Layout, f: Frame) -> Iterator[tuple[int, np.ndarray]]:
    """(0, a family's course), (1, its levels) and (2, both) over each run of months in which something of it is `apart`."""
    course, baseline = place["family_course"], place["family_baseline"]
    spread = contrasts(f.family_of)
    of_contrast = f.family_of[np.abs(spread).argmax(0)] if spread.size else np.zeros(0, int)
    for g in range(len(course)):
        for a, b in _runs(apart[course[g]]):
            yield 0, course[g, a:b]
        own = place["contrast_baseline"][of_contrast == g] if spread.size else np.zeros((0, baseline.shape[1]), int)
        for a, b in _runs(apart[baseline[g]]):
            yield 1, baseline[g, a:b]
        for a, b in _runs(apart[own].any(0) if len(own) else np.zeros(baseline.shape[1], bool)):
            yield 1, own[:, a:b].ravel()
        for a, b in _runs(apart[np.vstack([baseline[g][None], own])].any(0)):
            months = course[g, KNOT_MONTHS * max(a - 1, 0) : KNOT_MONTHS * b]
            yield 2, np.concatenate([baseline[g, a:b], own[:, a:b].ravel(), months])


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """[first, after last) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def jumped(
    x: np.ndarray, here: float, log_density: Callable[[np.ndarray], float], kinds: list[tuple[Jumps, int]], rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """(where proposals lead from `x`, of log density `here`; how many were accepted). kinds : jumps, and how many of them are tried."""
    accepted = 0
    for blocks, tries in kinds:
        for _ in range(tries if blocks else 0):
            block, difference = blocks[rng.integers(len(blocks))]
            there = x.copy()
            there[block] += difference if rng.random() < 0.5 else -difference
            density = log_density(there)
            if np.log(rng.random()) < density - here:
                x, here, accepted = there, density, accepted + 1
    return x, accepted
